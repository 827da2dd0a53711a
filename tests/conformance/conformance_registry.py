"""The table of checks. A check is a function that returns what it saw; `expected` is what the real driver showed.

`source` says where the expectation was first seen: "FACTS" (the project's earlier measurements), "header" (cuda.h's
words) or "run" (this suite). All of them were then seen on an H200 with driver 580.159.04: h200-580.159.04.json.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    name: str
    expected: Any
    run: Any
    source: str
    alone: bool
    """Reads or fills the whole device: nothing else may run meanwhile."""


CHECKS: dict[str, Check] = {}


def check(expected, *, source="FACTS", alone=False):
    def add(function):
        name = function.__name__
        assert name not in CHECKS, name
        CHECKS[name] = Check(name=name, expected=expected, run=function, source=source, alone=alone)
        return function

    return add


def seen(value):
    """As JSON would bring it back."""
    if isinstance(value, tuple | list):
        return [seen(item) for item in value]
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    return value
