"""What --help prints."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from absl import flags

from mia_jax.command import as_typed, installed
from mia_jax.config import AttacksConfig, Config, ReportConfig
from mia_jax.config.base import MANY_NAMES


def help_text(command: Callable[[], None], config: str = "digits.py") -> str:
    """What --help prints: the command, its flags and, where it takes a config, every field of it."""
    text = [str(inspect.getdoc(command)), "", "Flags:"]
    of_modules = flags.FLAGS.flags_by_module_dict()
    own = [flag for module, found in of_modules.items() if module.startswith("mia_jax.cli") for flag in found]
    for flag in own:
        default = _default_config(config) if flag.name == "config" else flag.default
        nothing = default is None or default is False or default in ("", [])
        shown = "" if nothing else f" (default: {default})"
        text.append(f"  --{flag.name}: {flag.help}{shown}")
    for section in (AttacksConfig, ReportConfig):
        if dataclasses.fields(section)[-1].name in flags.FLAGS:
            text += ["", *_said(section)]
    if "config" in flags.FLAGS:
        text += [
            "",
            "Fields of the config, each settable as --config.FIELD=VALUE. Shown is the value of a field that the",
            "config file leaves out, and what else it may be. Several names have commas between them:",
            *_field_lines(),
        ]
        text += [
            "",
            "Example:",
            f"  python scripts/{command.__name__}.py {'' if installed() else f'--config=configs/{config} '}"
            "--config.training.epochs=30 --workdir=runs/short",
        ]
    if "config" in flags.FLAGS or "attacks" in flags.FLAGS:
        text += ["", *_attack_lines()]
    return as_typed("\n".join(text))


def _default_config(config: str) -> str:
    """Which config is read where none is named."""
    return f"{config} of the package" if installed() else f"configs/{config}"


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
    config = Config()
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}
    families = sections.pop("families")
    alone = {name: value for name, value in sections.items() if not dataclasses.is_dataclass(value)}
    lines = ["", *_said(Config), *(f"  --config.{name}={value!r}" for name, value in alone.items())]
    for name, section in sections.items():
        if name == "training":
            lines += ["", *_said(type(next(iter(families.values()))))]
            for family, values in families.items():
                lines += _section_lines(f"families.{family}", values)
        if name not in alone:
            lines += ["", *_said(type(section)), *_section_lines(name, section)]
    return lines


def _section_lines(name: str, section: Any) -> list[str]:
    """The fields of one section with their defaults, and what else they may be."""
    types = typing.get_type_hints(type(section))
    lines = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        lines.append(f"  --config.{name}.{field.name}={value!r}{_others(types[field.name], value)}")
    return lines


def _others(type_: Any, value: Any) -> str:
    """What a field may be other than its default, where it chooses among a few names."""
    several = typing.get_origin(type_) is tuple
    choices = typing.get_args(type_)[0] if several else type_
    names = typing.get_args(choices) if typing.get_origin(choices) is typing.Literal else ()
    rest = [repr(name) for name in names if name != value]
    if not rest or len(names) > MANY_NAMES:
        return ""
    return f"  ({'any of' if several else 'or'} {', '.join(rest)})"


def _said(section: type) -> list[str]:
    """What the docstring of a section says, indented."""
    return [f"    {line}".rstrip() for line in str(inspect.getdoc(section)).splitlines()]
