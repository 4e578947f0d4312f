"""What --help prints."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from absl import flags

from mia_jax.config import AttacksConfig, Config, ReportConfig


def help_text(command: Callable[[], None], config: str = "digits.py") -> str:
    """What --help prints: the command, its flags and, where it takes a config, every field of it."""
    text = [str(inspect.getdoc(command)), "", "Flags:"]
    of_modules = flags.FLAGS.flags_by_module_dict()
    own = [flag for module, found in of_modules.items() if module.startswith("mia_jax.cli") for flag in found]
    for flag in own:
        default = f"configs/{config}" if flag.name == "config" else flag.default
        text.append(f"  --{flag.name}: {flag.help}" + (f" (default: {default})" if default else ""))
    for section in (AttacksConfig, ReportConfig):
        if dataclasses.fields(section)[-1].name in flags.FLAGS:
            text += ["", *_said(section)]
    if "config" in flags.FLAGS:
        text += ["", "Fields of the config, each settable as --config.FIELD=VALUE:", *_field_lines()]
        text += [
            "",
            "Example:",
            f"  python scripts/{command.__name__}.py --config=configs/{config} --config.training.epochs=30 "
            "--workdir=runs/short",
        ]
    if "config" in flags.FLAGS or "attacks" in flags.FLAGS:
        text += ["", *_attack_lines()]
    return "\n".join(text)


def _attack_lines() -> list[str]:
    """One line for each attack: its name, its title and the arrays it needs."""
    from mia_jax.attacks import catalogue

    lines = ['Attacks, and the arrays that each needs ("all": every one whose arrays are there):']
    everything = catalogue(AttacksConfig())
    width = max(map(len, everything))
    for one in everything.values():
        lines.append(f"  {one.name:{width}}  {one.title} ({', '.join(sorted(one.needs))})")
    return lines


def _field_lines() -> list[str]:
    """One line for each field of the default config, each section with its docstring."""
    lines = []
    config = Config()
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}
    for name, section in sections.items():
        if dataclasses.is_dataclass(section):
            lines += _section_lines(name, section)
        elif name == "families":
            for family, values in section.items():
                lines += _section_lines(f"families.{family}", values)
        else:
            lines.append(f"  --config.{name}={section!r}")
    return lines


def _section_lines(name: str, section: Any) -> list[str]:
    """The fields of one section with their defaults, below what its docstring says."""
    said = _said(type(section))
    fields = [f"  --config.{name}.{f.name}={getattr(section, f.name)!r}" for f in dataclasses.fields(section)]
    return ["", *said, *fields]


def _said(section: type) -> list[str]:
    """What the docstring of a section says, indented."""
    return [f"    {line}".rstrip() for line in str(inspect.getdoc(section)).splitlines()]
