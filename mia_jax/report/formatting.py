"""Numbers as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mia_jax.report.inputs import Row, finite

NOT_ESTIMABLE = "not estimable: fewer than one expected false positive"


def number(value: Any, digits: int = 3, absent: str = "n/e", separator: str = "") -> str:
    """A plain number, "0.764"; `absent` where there is none. separator: of thousands."""
    known = finite(value)
    return absent if known is None else f"{known:{separator}.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference, "+0.051"; what rounds to nothing has a plus."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def count(value: Any) -> str:
    """A count with separators; "none" where there is none."""
    return number(value, 0, "none", ",")


def rate(value: float) -> str:
    """A rate somebody chose, in percent without needless digits: 0.001 is "0.1%"."""
    return f"{100 * value:g}%"


def percent(value: Any, absent: str = "n/e") -> str:
    """A measured rate: one decimal, two below 1 %: "13.5%", "0.42%"."""
    known = finite(value)
    if known is None:
        return absent
    return f"{100 * known:.{1 if known == 0 or abs(known) >= 0.01 else 2}f}%"


def interval(row: Row, name: str, style: Any = number) -> str:
    """The interval of an estimate as "0.741 to 0.787"; empty where there is none."""
    low, high = bounds(row, name)
    return "" if low is None or high is None else f"{style(low)} to {style(high)}"


def interval_name(confidence: float) -> str:
    """What an interval is called: "95% interval"."""
    return f"{rate(confidence)} interval"


def with_interval(row: Row, name: str, confidence: float, style: Any = number) -> str:
    """An estimate in a sentence: "0.764 (95% interval 0.741 to 0.787)"."""
    between = interval(row, name, style)
    return f"{style(row[name])} ({f'{interval_name(confidence)} {between}' if between else 'no interval'})"


def bounds(row: Row, name: str) -> tuple[float | None, float | None]:
    """The low and high end of the interval of `name` in a row."""
    prefix = f"{name}_" if name else ""
    return finite(row.get(f"{prefix}low")), finite(row.get(f"{prefix}high"))


def probability(value: Any, absent: str = "not estimable") -> str:
    """A p-value in a table: "0.012", "< 0.001"."""
    known = finite(value)
    return "< 0.001" if known is not None and known < 0.001 else number(known, absent=absent)


def p_value(value: float) -> str:
    """A p-value in a sentence: "p = 0.012", "p < 0.001"."""
    return f"p {probability(value)}" if value < 0.001 else f"p = {probability(value)}"


def tiny(value: float) -> str:
    """A chosen small number written out, 0.00001, down to a millionth of a millionth."""
    return f"{value:.12f}".rstrip("0").rstrip(".") if value >= 1e-12 or value == 0 else f"{value:g}"


def chosen_out_of(value: float) -> str:
    """A chosen rate in whole cases: 0.01 is "1 in 100", 0.05 is "5 in 100"."""
    for total in (10, 100, 1_000, 10_000, 100_000):
        cases = value * total
        if cases >= 0.5 and abs(cases - round(cases)) < 1e-6:
            return f"{round(cases)} in {total:,}"
    return rate(value)


def measured_out_of(value: float) -> str:
    """A measured rate in rounded cases: 0.135 is "about 14 in 100"; "none of the" for zero."""
    if value <= 0:
        return "none of the"
    total = 100 if value >= 0.095 else 1_000 if value >= 0.0095 else 10_000
    return f"about {round(value * total):,} in {total:,}"


def listed(names: Sequence[object]) -> str:
    """Names as English lists them: "a, b and c"."""
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 model", "2 models"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
