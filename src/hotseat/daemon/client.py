"""The other end of the control API, for commands and programs. Errors are those that the daemon raised."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from hotseat.config import paths
from hotseat.daemon import wire
from hotseat.errors import Failed, HotseatError, NotFound
from hotseat.swap.port import Progress
from hotseat.words import DeviceUse, SwapReport

QUICK = 10.0
"""Seconds for a question that moves nothing. A swap takes as long as it takes: the daemon has the deadlines."""
SILENCE = 60.0
"""Seconds without a sign of life until a daemon that stops is given up. It gives one each 15 s."""
NOTES_EVERY = 0.5
"""Seconds between two questions how far something is."""
MISSES = 2
"""Questions in a row that a daemon may leave unanswered during a swap, until it is given up."""


class Client:
    """`async with Client(path) as client`. Every call raises `NotFound` if no daemon listens there."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.control_socket()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(path=str(self.path), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def alive(self) -> bool:
        """Whether a daemon answers there."""
        try:
            await self.health()
        except NotFound:
            return False
        return True

    async def health(self) -> dict[str, Any]:
        return dict(await self._call("GET", "/v1/health"))

    async def workloads(self) -> list[dict[str, Any]]:
        """One object per workload, as `hotseat ps --json` prints them."""
        return list(await self._call("GET", "/v1/workloads"))

    async def devices(self) -> Sequence[DeviceUse]:
        return [wire.use_from(item) for item in await self._call("GET", "/v1/devices")]

    async def park(self, name: str, *, whole: bool = False, progress: Progress | None = None) -> Sequence[SwapReport]:
        """`whole`: nothing of it stays on a device, also no context."""
        return await self._swap(f"/v1/workloads/{name}/park", {"whole": True} if whole else None, progress)

    async def seat(self, name: str, *, progress: Progress | None = None) -> Sequence[SwapReport]:
        """The reports of all swaps made for it, its own last."""
        return await self._swap(f"/v1/workloads/{name}/seat", None, progress)

    async def swap(
        self, going_in: str, going_out: str | None = None, *, progress: Progress | None = None
    ) -> Sequence[SwapReport]:
        return await self._swap("/v1/swap", {"in": going_in, "out": going_out}, progress)

    async def spill(self, name: str, *, told: Callable[[str], None] | None = None) -> dict[str, Any]:
        """What is parked of it goes to the store's disk; docs/api.md has what comes back. `told`: of its note, again
        and again, which says how far it is."""
        return await self._by_the_store("spill", name, told)

    async def fetch(self, name: str, *, told: Callable[[str], None] | None = None) -> dict[str, Any]:
        """... and back into host memory."""
        return await self._by_the_store("fetch", name, told)

    async def snapshot(self) -> dict[str, Any]:
        """Devices, workloads and rates: what `hotseat top` draws."""
        return dict(await self._call("GET", "/v1/snapshot"))

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncGenerator[bytes]:
        """What it has written; with `follow` what comes after too, until it ends."""
        path = f"/v1/workloads/{quote(name, safe='')}/logs?tail={tail}" + ("&follow=1" if follow else "")
        async with self._request("GET", path, None) as response:
            if response.status >= 400:
                raise wire.error_from(wire.decode(await response.read())["error"])
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            except aiohttp.ClientError as error:
                raise Failed(f"the daemon at {self.path} broke off", hint="does it still run?") from error

    async def prewarm(self, name: str, *, seconds: float) -> dict[str, Any]:
        """It will be wanted for so long; 0 takes that back. {"workload", "state", "seconds"}, at once."""
        return dict(await self._call("POST", f"/v1/workloads/{name}/prewarm", {"seconds": seconds}))

    async def reload(self) -> dict[str, Any]:
        """What it did, as `reload.Reloaded.as_dict`. `ConfigError` with every mistake: nothing has changed."""
        return dict(await self._call("POST", "/v1/reload"))

    async def stop(self, *, parked: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Stop the daemon gracefully. Every step as it happens; the last has "step": "ended" and "parked": [NAME, ...].

        `Failed` if the daemon ends, or gives no sign of life for `SILENCE` seconds, before that."""
        async with self._request("GET", "/v1/events", None) as response:
            await self._call("POST", "/v1/stop", {"parked": parked})
            try:
                async for event in _events(response, silence=SILENCE):
                    if event["kind"] == "stop":
                        yield event
                        if event["step"] == "ended":
                            return
            except (TimeoutError, aiohttp.ClientError) as error:
                raise Failed(
                    f"the daemon at {self.path} fell silent while it stopped", hint="its log says why"
                ) from error
        raise Failed(f"the daemon at {self.path} ended before it had stopped in order", hint="its log says why")

    async def events(self, *, after: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """From now on, as they happen; each has "seq", "at", "kind", "workload" and what belongs to its kind.
        `after`: first those kept whose "seq" is greater; 0 for all that are kept."""
        query = "" if after is None else f"?after={after}"
        async with self._request("GET", f"/v1/events{query}", None) as response:
            async for event in _events(response):
                yield event

    async def _swap(self, path: str, body: Any, progress: Progress | None) -> Sequence[SwapReport]:
        async with contextlib.AsyncExitStack() as stack:
            if progress is not None:
                follow = asyncio.create_task(self._follow(progress))
                stack.push_async_callback(_end, follow)
                # So that the first phase is seen too; a daemon that is gone shows in the call itself.
                await asyncio.wait({follow}, timeout=0.05)
            answer = await self._watched(self._call("POST", path, body, quick=False))
        return [wire.report_from(item) for item in answer["reports"]]

    async def _by_the_store(self, what: str, name: str, told: Callable[[str], None] | None) -> dict[str, Any]:
        path = f"/v1/workloads/{quote(name, safe='')}"
        async with contextlib.AsyncExitStack() as stack:
            if told is not None:
                stack.push_async_callback(_end, asyncio.create_task(self._notes(path, told)))
            return dict(await self._watched(self._call("POST", f"{path}/{what}", quick=False)))

    async def _notes(self, path: str, told: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(NOTES_EVERY)
            told(str((await self._call("GET", path))["note"]))

    async def _watched(self, call: Coroutine[Any, Any, Any]) -> Any:
        """A swap takes as long as it takes, while the daemon lives: it is asked for that all along."""
        task = asyncio.create_task(call)
        try:
            misses = 0
            while not (await asyncio.wait({task}, timeout=QUICK))[0]:
                try:
                    await self.health()
                    misses = 0
                except HotseatError:
                    misses += 1
                    if misses == MISSES:
                        raise
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, progress: Progress) -> None:
        async for event in self.events():
            if event["kind"] == "phase":
                progress(str(event.get("phase", "")), str(event.get("status", "")))

    async def _call(self, method: str, path: str, body: Any = None, *, quick: bool = True) -> Any:
        try:
            async with asyncio.timeout(QUICK if quick else None), self._request(method, path, body) as response:
                answer = wire.decode(await response.read())
        except TimeoutError as error:
            raise Failed(f"the daemon at {self.path} does not answer", hint="its log says why; restart it") from error
        except aiohttp.ClientError as error:
            raise Failed(
                f"the daemon at {self.path} broke off: {error or type(error).__name__}",
                hint="`hotseat ps` shows how far it came; the next start of the daemon ends what it left",
            ) from error
        if response.status >= 400:
            raise wire.error_from(answer["error"])
        return answer

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("use it as `async with Client(...)`")
        data = None if body is None else wire.encode(body)
        try:
            response = await self._session.request(method, f"http://hotseat{path}", data=data)
        except aiohttp.ClientConnectorError as error:
            raise NotFound(
                f"no hotseat daemon listens at {self.path}",
                hint="start one: hotseat up; --control names another socket",
            ) from error
        async with response:
            yield response


async def _events(response: aiohttp.ClientResponse, *, silence: float | None = None) -> AsyncIterator[dict[str, Any]]:
    seq = 0
    while True:
        async with asyncio.timeout(silence):
            line = await response.content.readline()
        if not line:
            return
        if line.startswith(b"id: "):
            seq = int(line[4:])
        elif line.startswith(b"data: "):
            yield {"seq": seq, **wire.decode(line[6:])}


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
