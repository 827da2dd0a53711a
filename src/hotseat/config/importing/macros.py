"""llama-swap's macros: ${NAME}, ${env.NAME}, ${PORT}, ${MODEL_ID}. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_MACRO = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_DEEPEST = 20
_LONGEST = 1 << 16


class Macros:
    """`note` is told of each that has no value. `ValueError`: they stand in each other for ever."""

    def __init__(self, values: Mapping[str, Any], *, env: Mapping[str, str], note: Callable[[str], None]) -> None:
        self._values = {name: _text(value) for name, value in values.items()}
        self._env = env
        self._note = note
        self.used: set[str] = set()

    def expand(self, text: str) -> str:
        for _ in range(_DEEPEST):
            expanded = _MACRO.sub(self._value, text)
            if expanded == text:
                return text
            if len(expanded) > _LONGEST:
                break
            text = expanded
        raise ValueError("its macros stand in each other for ever")

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        self.used.add(name)
        if name.startswith("env."):
            value = self._env.get(name.removeprefix("env."))
            if value is None:
                self._note(f"${{{name}}}: not set in this environment; left as it stands")
                return match[0]
            return value
        if name in self._values:
            return self._values[name]
        self._note(f"${{{name}}}: no such macro; left as it stands")
        return match[0]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
