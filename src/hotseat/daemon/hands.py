"""Effects on the world, one workload at a time: swaps, cold starts, probes, looks. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from hotseat.config import Store
from hotseat.config import Workload as Spec
from hotseat.daemon.hooks import HookCalls
from hotseat.daemon.interposing import interposer_for
from hotseat.daemon.making import explained, made
from hotseat.errors import Busy, EngineFailed, HotseatError, NotFound, PlatformFailed, Unavailable
from hotseat.gateway.health import Health
from hotseat.gpu.port import DeviceTruth
from hotseat.platforms.port import Container, Platform, Status
from hotseat.scheduler import STOP_DRAIN
from hotseat.store.port import Moved
from hotseat.swap.port import BringsAhead, Observation, Progress, StoreRoom, Swapper, Workload
from hotseat.swap.storing import Part
from hotseat.words import DeviceUse, Direction, PhaseTime, State, SwapReport

_LOOPBACK = "127.0.0.1"
LOOK_EVERY = 0.25
"""Seconds between looks at a container that starts."""


class Hands(Protocol):
    """What the actor has done for it. All raise `HotseatError`s."""

    def equip(self, specs: Mapping[str, Spec], *, caps: Mapping[int, int]) -> None:
        """From now on act by these."""
        ...

    async def swap_out(
        self, name: str, *, whole: bool, drained: Callable[[], Coroutine[Any, Any, Any]], progress: Progress
    ) -> SwapReport:
        """`whole`: no context of it stays on a device, whatever its settings say; one that stayed leaves.
        `drained` returns once the gateway has no request in flight; used if the workload is to be drained."""
        ...

    async def swap_in(self, name: str, *, progress: Progress) -> SwapReport: ...

    async def start(self, name: str, *, progress: Progress) -> SwapReport: ...

    async def stop(
        self, name: str, *, drained: Callable[[], Coroutine[Any, Any, Any]] | None, progress: Progress
    ) -> None:
        """Its answers end first, `Busy` if they do not; then its container has `stop_grace` to end by itself.

        `drained` as for `swap_out`; None: they are lost anyway. Done already, if it does not run."""
        ...

    async def recover(self, name: str) -> None: ...

    async def store(self, name: str, *, progress: Progress, part: Part) -> Moved | None:
        """What is parked of it goes to the store's disk; done already, if it is there. None: there can be no store."""
        ...

    async def fetch(self, name: str, *, progress: Progress, part: Part) -> Moved | None:
        """What of it is on the store's disk comes back into its arena; done already, if it is there."""
        ...

    async def ahead(self, name: str) -> None:
        """Begin to bring in what is parked of it, if the store has it. It stays parked until its swap in."""
        ...

    async def none_ahead(self) -> None:
        """What has come so is given up, and nothing more does that was asked for before. Never raises."""
        ...

    async def devices(self) -> Sequence[DeviceUse]: ...

    async def store_room(self) -> StoreRoom | None:
        """None: there is no store, or it does not answer."""
        ...

    async def probe(self, name: str, container: Container) -> None: ...

    async def observe(self, name: str) -> Observation | None:
        """None: there is no such container."""
        ...

    async def glance(self, name: str) -> Container | None:
        """Only its container: a hundredth of the work."""
        ...


@runtime_checkable
class Recovers(Protocol):
    """A swapper that ends what a hotseat which died has begun."""

    async def recover(self, workload: Workload) -> Observation: ...


@runtime_checkable
class Stores(BringsAhead, Protocol):
    """A swapper that has a store."""

    async def store(
        self, workload: Workload, *, progress: Progress | None = None, part: Part | None = None
    ) -> Moved: ...

    async def fetch(
        self, workload: Workload, *, progress: Progress | None = None, part: Part | None = None
    ) -> Moved: ...

    async def store_room(self) -> StoreRoom | None: ...

    async def none_ahead(self) -> None: ...


class RealHands:
    def __init__(
        self,
        specs: Mapping[str, Spec],
        *,
        swapper: Swapper,
        devices: DeviceTruth,
        platforms: Mapping[str, Platform],
        health: Health,
        hooks: HookCalls,
        caps: Mapping[int, int],
        store: Store,
    ) -> None:
        self._specs = specs
        self._store = store
        self._hooks = hooks
        self._swapper = swapper
        self._platforms = platforms
        self._health = health
        self._caps = caps
        self._devices = devices
        self._starts = 0
        """Cold starts so far: they reserve nothing."""
        self._who_comes = asyncio.Lock()

    def equip(self, specs: Mapping[str, Spec], *, caps: Mapping[int, int]) -> None:
        self._specs = specs
        self._caps = caps

    async def swap_out(
        self, name: str, *, whole: bool, drained: Callable[[], Coroutine[Any, Any, Any]], progress: Progress
    ) -> SwapReport:
        limit = self._specs[name].drain

        async def drain() -> None:
            try:
                await asyncio.wait_for(drained(), limit)
            except TimeoutError:
                return  # what is left is frozen in mid-answer

        spec, workload = self._specs[name], await self._workload(name)

        async def prepare() -> None:
            progress("before_park", "start")
            await self._hooks.before_park(name, spec, base_url(name, spec, workload.container))
            progress("before_park", "done")

        try:
            return await self._swapper.swap_out(
                workload,
                keep=spec.context == "keep" and not whole,
                drain=drain if limit is not None else None,
                prepare=prepare if spec.hooks.before_park else None,
                progress=progress,
            )
        except BaseException:
            await self._wake_if_seated(workload, spec)
            raise

    async def swap_in(self, name: str, *, progress: Progress) -> SwapReport:
        spec, workload = self._specs[name], await self._workload(name)
        healthy = self._probe_of(name, workload.container, within=spec.health_timeout)

        async def probe() -> None:
            if spec.hooks.after_seat:
                await self._hooks.after_seat(name, spec, base_url(name, spec, workload.container))
            await healthy()

        return await self._swapper.swap_in(workload, caps=self._caps, probe=probe, progress=progress)

    async def start(self, name: str, *, progress: Progress) -> SwapReport:
        """Start its container (make it first, if it is a process) and wait until the engine answers."""
        spec, platform = self._specs[name], self._platform(name)
        begun, clock = time.time(), time.perf_counter()
        await self.none_ahead()
        progress("start", "start")
        container = await made(name, spec, platform, interposer=interposer_for(spec, self._store))
        if container.status is Status.PAUSED:
            raise Unavailable(f"{name} is paused by {spec.platform}", rule="what others paused stays paused")
        if container.status is not Status.RUNNING:
            try:
                container = await platform.start(container)
            except (NotFound, PlatformFailed) as error:
                raise explained(error, spec) from error
            self._hooks.forget(name)
        started = time.perf_counter()
        progress("start", "done")
        progress("probe", "start")
        await self._wait_healthy(name, container)
        progress("probe", "done")
        seen = await self._swapper.observe(Workload(name=name, container=container, platform=platform))
        phases = (
            PhaseTime(name="start", seconds=started - clock, part="platform"),
            PhaseTime(name="probe", seconds=time.perf_counter() - started, part="engine"),
        )
        return SwapReport(
            workload=name,
            direction=Direction.IN,
            phases=phases,
            gpu_bytes=dict(seen.gpu_bytes),
            processes=len(seen.processes),
            cuda_processes=len(seen.cuda),
            threads=0,
            started_at=begun,
        )

    async def stop(
        self, name: str, *, drained: Callable[[], Coroutine[Any, Any, Any]] | None, progress: Progress
    ) -> None:
        spec, platform = self._specs[name], self._platform(name)
        if drained is not None:
            limit = STOP_DRAIN if spec.drain is None else spec.drain
            try:
                await asyncio.wait_for(drained(), limit)
            except TimeoutError:
                raise Busy(
                    f"{name} was to be stopped, but still answers after {limit:g} s",
                    rule="a stop cuts no answer",
                    hint="try again later, or raise `drain`",
                ) from None
        progress("stop", "start")
        container = (await self._workload(name)).container
        if container.status is Status.RUNNING and spec.hooks.before_park:
            await self._hooks.before_park(name, spec, base_url(name, spec, container))
        if container.status not in (Status.EXITED, Status.CREATED):
            try:
                await platform.stop(container, grace=spec.stop_grace)
            except BaseException:
                await self._wake_if_seated(Workload(name=name, container=container, platform=platform), spec)
                raise
        self._hooks.forget(name)
        progress("stop", "done")

    async def recover(self, name: str) -> None:
        if isinstance(self._swapper, Recovers):
            await self._swapper.recover(await self._workload(name))

    async def store(self, name: str, *, progress: Progress, part: Part) -> Moved | None:
        if not isinstance(self._swapper, Stores):
            return None
        return await self._swapper.store(await self._workload(name), progress=progress, part=part)

    async def fetch(self, name: str, *, progress: Progress, part: Part) -> Moved | None:
        if not isinstance(self._swapper, Stores):
            return None
        return await self._swapper.fetch(await self._workload(name), progress=progress, part=part)

    async def ahead(self, name: str) -> None:
        if isinstance(self._swapper, Stores):
            starts, workload = self._starts, await self._workload(name)
            async with self._who_comes:
                if starts == self._starts:
                    await self._swapper.ahead(workload, caps=self._caps)

    async def none_ahead(self) -> None:
        """What begins to start finds the memory free, and from now on nobody comes ahead into it."""
        self._starts += 1
        if isinstance(self._swapper, Stores):
            async with self._who_comes:
                with contextlib.suppress(HotseatError):
                    await self._swapper.none_ahead()

    async def devices(self) -> Sequence[DeviceUse]:
        return await self._devices.use()

    async def store_room(self) -> StoreRoom | None:
        return await self._swapper.store_room() if isinstance(self._swapper, Stores) else None

    async def probe(self, name: str, container: Container) -> None:
        spec = self._specs[name]
        if self._hooks.pending(name):  # a swap out ended, or hotseat did, between its sleep and the commit
            await self._hooks.after_seat(name, spec, base_url(name, spec, container))
        await self._probe_of(name, container, within=spec.health_timeout)()

    async def observe(self, name: str) -> Observation | None:
        try:
            return await self._swapper.observe(await self._workload(name))
        except NotFound:
            return None

    async def glance(self, name: str) -> Container | None:
        try:
            return await self._platform(name).inspect(self._specs[name].ref(name))
        except NotFound:
            return None

    async def _wake_if_seated(self, workload: Workload, spec: Spec) -> None:
        """After a swap out or a stop that failed: it runs on as if nothing had happened."""
        name = workload.name
        if not self._hooks.pending(name):
            return
        try:
            seen = await self._swapper.observe(workload)
        except HotseatError:
            return  # the next probe wakes it
        if seen.state is State.SEATED:
            await self._hooks.undo(name, spec, base_url(name, spec, seen.container))

    async def _workload(self, name: str) -> Workload:
        platform = self._platform(name)
        container = await platform.inspect(self._specs[name].ref(name))
        return Workload(name=name, container=container, platform=platform)

    def _platform(self, name: str) -> Platform:
        return self._platforms[self._specs[name].platform]

    async def _wait_healthy(self, name: str, container: Container) -> None:
        """Until the engine answers. `EngineFailed` at once if its container ends meanwhile, with its last words."""
        platform = self._platform(name)
        probe = asyncio.ensure_future(self._probe_of(name, container, within=self._specs[name].start_timeout)())
        try:
            while True:
                await asyncio.wait({probe}, timeout=LOOK_EVERY)
                if probe.done():
                    return probe.result()
                now = await platform.inspect(container.id)
                if now.status in (Status.EXITED, Status.CREATED):
                    said = (await platform.logs(now, tail=5)).strip()
                    raise EngineFailed(
                        f"{name} ended while it started (exit code {now.exit_code})" + (f": {said}" if said else ""),
                        hint=f"its log has more; is its command right? It ran on {self._specs[name].platform}",
                    )
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    def _probe_of(self, name: str, container: Container, *, within: float) -> Callable[[], Awaitable[None]]:
        spec = self._specs[name]
        return lambda: self._health.wait(name, base_url(name, spec, container) + spec.health, within=within)


def base_url(name: str, spec: Spec, container: Container) -> str:
    """Where its engine listens."""
    if spec.url is not None:
        return spec.url
    if not container.addresses:
        raise Unavailable(
            f"{name} has no address that this host reaches",
            hint="give `url` instead of `port`, with a published port, or put it on a network",
            rule="an engine must be reachable",
        )
    address, port = container.addresses[0], spec.port
    if address == _LOOPBACK and port is not None:
        port = container.published.get(port, port)  # rootless: no address of its own, only published ports
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}"
