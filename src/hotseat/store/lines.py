"""What is asked and answered on the control socket, for both of its ends: one JSON line each way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotseat.store.port import Held, Moved, Status
from hotseat.words import ProcessRef

VERSION = 1
LINE_MAX = 1 << 20
"""Bytes of a request."""
ANSWER_MAX = 16 << 20


class Request(msgspec.Struct):
    op: str
    processes: list[tuple[int, int]] = []
    """(pid, start time)."""
    deadline: float = 5.0
    version: int = VERSION
    device_bytes: list[dict[str, int]] = []
    """Of `admit`: bytes by device UUID, one a process."""
    leave: dict[str, int] = {}
    """Of `ahead`: bytes by device UUID."""
    ahead: dict[str, int] = {}
    """Of `move_in`: the same."""
    alone: bool = False
    """Of `claim`."""


class Error(msgspec.Struct):
    code: str
    message: str
    hint: str = ""
    details: dict[str, Any] = {}
    rule: str = ""


class Answer(msgspec.Struct, omit_defaults=True):
    error: Error | None = None
    held: list[tuple[int, int, Held]] = []
    moved: Moved | None = None
    status: Status | None = None
    """Without its processes, whose names are no JSON keys: they are in `held`."""


def flat(held: Mapping[ProcessRef, Held]) -> list[tuple[int, int, Held]]:
    return [(*ref, one) for ref, one in held.items()]
