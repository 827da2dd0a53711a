"""The port over the control socket: one connection a call, so that calls may run beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from hotseat.errors import DriverFailed, Failed, HotseatError, Unavailable
from hotseat.store.lines import ANSWER_MAX, Answer, Request
from hotseat.store.port import Held, Moved, Status
from hotseat.words import ProcessRef

GRACE = 12.0
"""Seconds that the answer to a deadline may come after it: a copy is stopped, what was taken is given back."""


class StoreClient:
    """Implements `hotseat.store.port.Store`. `path`: of the control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def held(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        try:
            return _by_ref(await self._ask("held", processes, deadline))
        except _NoStore:
            return {}

    async def take(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        return _by_ref(await self._ask("take", processes, deadline))

    async def move_out(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        return (await self._ask("move_out", processes, deadline)).moved or Moved()

    async def move_in(
        self, processes: Sequence[ProcessRef], *, ahead: Mapping[str, int] | None = None, deadline: float
    ) -> Moved:
        return (await self._ask("move_in", processes, deadline, ahead=ahead)).moved or Moved()

    async def ahead(
        self, processes: Sequence[ProcessRef], *, leave: Mapping[str, int] | None = None, deadline: float
    ) -> None:
        await self._ask("ahead", processes, deadline, leave=leave)

    async def claim(
        self, processes: Sequence[ProcessRef], *, alone: bool, deadline: float
    ) -> Mapping[ProcessRef, Held]:
        try:
            return _by_ref(await self._ask("claim", processes, deadline, alone=alone))
        except _NoStore:
            return {}

    async def give(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        return _by_ref(await self._ask("give", processes, deadline))

    async def admit(self, processes: Mapping[ProcessRef, Mapping[str, int]], *, deadline: float) -> None:
        await self._ask("admit", list(processes), deadline, device_bytes=[dict(one) for one in processes.values()])

    async def dismiss(self, processes: Sequence[ProcessRef], *, deadline: float) -> None:
        await self._ask("dismiss", processes, deadline)

    async def checkpoint(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        return (await self._ask("checkpoint", processes, deadline)).moved or Moved()

    async def restore(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        return (await self._ask("restore", processes, deadline)).moved or Moved()

    async def localise(self, processes: Sequence[ProcessRef], *, deadline: float) -> Mapping[ProcessRef, Held]:
        return _by_ref(await self._ask("localise", processes, deadline))

    async def spill(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        return (await self._ask("spill", processes, deadline)).moved or Moved()

    async def fetch(self, processes: Sequence[ProcessRef], *, deadline: float) -> Moved:
        return (await self._ask("fetch", processes, deadline)).moved or Moved()

    async def forget(self, process: ProcessRef, *, deadline: float) -> None:
        await self._ask("forget", [process], deadline)

    async def status(self, *, deadline: float) -> Status:
        try:
            answer = await self._ask("status", [], deadline)
        except Unavailable as error:
            return Status(running=False, note=error.message)
        return replace(answer.status or Status(running=False), processes=_by_ref(answer))

    async def aclose(self) -> None:
        """Nothing stays open between calls."""

    async def _ask(
        self,
        op: str,
        processes: Sequence[ProcessRef],
        deadline: float,
        *,
        device_bytes: list[dict[str, int]] | None = None,
        leave: Mapping[str, int] | None = None,
        ahead: Mapping[str, int] | None = None,
        alone: bool = False,
    ) -> Answer:
        named = [(ref.pid, ref.start_time) for ref in processes]
        request = Request(
            op,
            named,
            deadline=deadline,
            device_bytes=device_bytes or [],
            leave=dict(leave or {}),
            ahead=dict(ahead or {}),
            alone=alone,
        )
        try:
            async with asyncio.timeout(deadline + GRACE):
                line = await self._exchange(msgspec.json.encode(request) + b"\n")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            hint = "start it: hotseat store run --arena SIZE"
            raise _NoStore(f"no store answers at {self._path}", hint=hint) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(
                f"the store at {self._path} did not answer: {error or 'it took too long'}",
                hint="its keeper starts a new worker; ask `held` where the processes are",
            ) from error
        if not line.endswith(b"\n"):
            raise Unavailable("the store ended while it worked", hint="ask `held` where the processes are")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error is not None:
            raise _error(answer)
        return answer

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=ANSWER_MAX)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


class _NoStore(Unavailable):
    pass


def _by_ref(answer: Answer) -> dict[ProcessRef, Held]:
    return {ProcessRef(pid, start): held for pid, start, held in answer.held}


def _kinds(kind: type[HotseatError]) -> Iterator[type[HotseatError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _error(answer: Answer) -> HotseatError:
    """The store's error as it was raised there."""
    assert answer.error is not None
    error = answer.error
    kind = next((kind for kind in _kinds(HotseatError) if kind.code == error.code), Failed)
    if issubclass(kind, DriverFailed):
        result = error.details.pop("result", None)
        return kind(error.message, result=result, hint=error.hint, rule=error.rule, **error.details)
    return kind(error.message, hint=error.hint, rule=error.rule, **error.details)
