"""Sizes and durations as people write them. Pure.

A size is bytes (`int`), a duration is seconds (`float`). Errors are `ValueError` and say what to write instead
(never `TypeError`: pydantic turns only the former into a mistake with a place).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from hotseat.config.base import Wrong

_DECIMAL = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZES = _DECIMAL | _BINARY
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

SIZE_PATTERN = r"^\d+(\.\d+)?\s*([KMGT]i?)?B$"
DURATION_PATTERN = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"


def parse_size(value: object) -> int:
    """`"20GiB"`, `"1.5 GB"`, or a whole number of bytes."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Wrong("not a size", 'write for example "20GiB"')
    if isinstance(value, int):
        if value < 0:
            raise Wrong("a size cannot be negative", 'write for example "20GiB"')
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise Wrong(f"{value!r} is not a size", 'write for example "20GiB"')
    number, unit = match.groups()
    if not unit:
        if "." in number:
            raise Wrong(f"{value!r} has no unit", f'write for example "{number}GiB"')
        return int(number)
    factor = _SIZES.get(unit.upper())
    if factor is None:
        hint = f'"{number}{unit}iB" (1024) or "{number}{unit}B" (1000)' if unit.upper() in "KMGT" else '"20GiB"'
        raise Wrong(f"{value!r} is not a size", f"write {hint}")
    return round(float(number) * factor)


def parse_duration(value: object) -> float:
    """`"500ms"`, `"5s"`, `"1m30s"`. A bare number is refused (seconds? minutes?), but for 0."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Wrong("not a duration", 'write for example "5s"')
    if isinstance(value, int | float):
        raise Wrong(f"{value} has no unit", f'write "{value}s"')
    text = value.strip().replace(" ", "")
    if text == "0":
        return 0.0
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Wrong(f"{value!r} is not a duration", 'write for example "500ms", "5s" or "1m30s"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _duration_or_off(value: object) -> float | None:
    # YAML 1.1 reads a bare `off` as false.
    if value is None or value is False or (isinstance(value, str) and value.strip().lower() == "off"):
        return None
    if value is True:
        raise Wrong("not a duration", 'say for how long at most, for example "30s", or "off"')
    return parse_duration(value)


def format_size(nbytes: int) -> str:
    """For messages: the largest binary unit that leaves at least 1, one digit after the point where needed."""
    for name, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f}".removesuffix(".0") + " " + name
    return f"{nbytes} B"


_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0}],
    "examples": ["20GiB"],
}
_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}],
    "examples": ["5s", "1m30s"],
}
_DURATION_OR_OFF_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": "off"}, {"const": False}],
    "examples": ["30s", "off"],
}

Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
DurationOrOff = Annotated[float | None, BeforeValidator(_duration_or_off), WithJsonSchema(_DURATION_OR_OFF_SCHEMA)]
