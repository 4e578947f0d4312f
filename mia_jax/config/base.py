"""How the sections of a config are made: frozen dataclasses that check themselves, in one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import Field

_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

AtLeast1 = Annotated[int, Field(ge=1)]
AtLeast0 = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # JAX's keys would take a larger one for another
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]

_OURS = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "a valid array": "a list of values, as in (1, 2)",
    "a valid ": "a ",
    "a integer": "a whole number",
    "a dictionary": "names with their values, as in {'name': ...}",
}
"""pydantic's words for what is allowed, and those of all other messages here."""

MANY_NAMES = 10
"""Above which a refusal names the closest choices, not all."""


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one sentence for the person at the keyboard."""


Section = TypeVar("Section")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def section(cls: type[Section]) -> type[Section]:
    """A frozen dataclass that checks its fields when it is made, with a `ConfigError` where one is wrong."""
    checked = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    check = checked.__init__

    def init(self: Any, **fields: Any) -> None:
        try:
            check(self, **fields)
        except pydantic.ValidationError as error:
            raise ConfigError(sentence(error, cls)) from None

    checked.__init__ = init
    return cast(type[Section], checked)


def sentence(error: pydantic.ValidationError, root: type) -> str:
    """The first of pydantic's findings as one sentence naming field, value and what is allowed."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)
    place = [_name(root), *(str(part) for part in first["loc"])]
    within = bool(first["loc"]) and isinstance(first["loc"][-1], int)  # a list, of which one value is refused
    field = ".".join(place[:-1] if within else place)
    if first["type"] == "unexpected_keyword_argument":
        names = ", ".join(known.name for known in dataclasses.fields(_section_at(root, place[1:-1])))
        return f"{field} does not exist: {'.'.join(place[:-1])} has {names}."
    if field.endswith(".[key]"):
        field = f"a name in {'.'.join(place[:-2])}"
    allowed = first["msg"].replace("Input should be", "it must be", 1)
    for theirs, ours in _OURS.items():
        allowed = allowed.replace(theirs, ours)
    names = re.findall(r"'(\w+)'", first["ctx"]["expected"]) if first["type"] == "literal_error" else []
    if len(names) > MANY_NAMES:
        close = difflib.get_close_matches(str(first["input"]), names, 3, 0.3) or names[:3]
        allowed = (
            f"there is no such name; the closest are {', '.join(map(repr, close))}, and --help lists all"
        )
    return f"{field} {'holds' if within else 'is'} {first['input']!r}: {allowed[0].lower()}{allowed[1:]}."


def _name(root: type) -> str:
    """How a person calls a config or a section made by itself: config, TradeoffConfig, DataConfig."""
    return "config" if root.__name__ == "Config" else root.__name__


def _section_at(root: Any, place: list[str]) -> Any:
    """The section class at a dotted place below `root`."""
    for name in place:
        of_names = typing.get_origin(root) is dict
        root = typing.get_args(root)[1] if of_names else typing.get_type_hints(root)[name]
    return root
