"""What the client and its worker processes say to each other: msgpack messages, each after its length. No I/O here.

A message is 4 bytes of length (little-endian) and that many bytes of msgpack. The worker speaks first (`Hello`), then
answers each `Request` by any number of `Items` and one `Done` or `Broken` with the request's id.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_MESSAGE = 16 << 20
"""Bytes. A longer length means that the other side is not one of ours."""

HEADER = 4

GONE = -1
"""`Item.result` of a process that has ended or whose pid belongs to another now. It was not called."""


class Hello(msgspec.Struct, tag="hello", array_like=True):
    """The worker is ready, or says in `error` why it never will be."""

    role: str
    """"cuda" or "nvml"."""
    library: str = ""
    """The file that was loaded, as /proc/self/maps shows it."""
    error: str = ""
    result: int = 0
    """CUresult or nvmlReturn behind `error`."""
    missing: list[str] = []
    """Checkpoint calls that the library lacks."""
    version: str = ""
    """CUDA version of the driver ("13.0"), or the driver's own version from NVML ("580.159.04")."""
    device_names: list[str] = []


class Request(msgspec.Struct, tag="request", array_like=True):
    id: int
    op: str
    processes: list[tuple[int, int]] = []
    """(pid, start time)."""
    timeout_ms: int = 0


class Item(msgspec.Struct, array_like=True):
    """One process's answer. `value` is a thread id, a process state or nothing; `seconds` the time inside the call."""

    index: int
    result: int
    value: int = 0
    seconds: float = 0.0


class Items(msgspec.Struct, tag="items", array_like=True):
    id: int
    items: list[Item]


class Done(msgspec.Struct, tag="done", array_like=True):
    id: int
    body: Any = None


class Broken(msgspec.Struct, tag="broken", array_like=True):
    """The request as a whole could not be served."""

    id: int
    error: str
    result: int = 0


class NvmlProcess(msgspec.Struct, array_like=True):
    pid: int
    used_bytes: int


class NvmlDevice(msgspec.Struct, array_like=True):
    """One device as NVML reports it now."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    processes: list[NvmlProcess]


class NvmlFacts(msgspec.Struct, array_like=True):
    """What doctor asks of one device. None: NVML does not say."""

    index: int
    mig: bool | None
    compute_mode: str | None
    persistence: bool | None


class NvmlReport(msgspec.Struct, array_like=True):
    nvml_version: str
    devices: list[NvmlFacts]


Answer = Hello | Items | Done | Broken

_encoder = msgspec.msgpack.Encoder()
_answers = msgspec.msgpack.Decoder(Answer)
_requests = msgspec.msgpack.Decoder(Request)


def encode(message: Answer | Request) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(HEADER, "little") + body


def decode_answer(body: bytes) -> Answer:
    """`msgspec.DecodeError` if the worker said something else."""
    answer: Answer = _answers.decode(body)
    return answer


def decode_request(body: bytes) -> Request:
    return _requests.decode(body)
