"""A container platform in memory: `port.Platform` without a daemon, with faults on demand.

It passes the same contract suite as Docker, Podman and bare processes. `behind` does what a person does behind
hotseat's back. Its processes exist nowhere else: pids count up from 5,000,001, beyond what a kernel gives out (2^22).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from hotseat.errors import HotseatError, NotFound, PlatformFailed, ProcessGone, Refused
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Container, EventKind, PlatformEvent, Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.words import ProcessRef

FIRST_PID = 5_000_001
_ALIVE = (Status.RUNNING, Status.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the processes of a container do."""

    children: int = 0
    says: tuple[str, ...] = ()
    """Lines at its start."""
    chatters: bool = False
    """Says one more line whenever someone reads its log while it runs."""
    sigterm_code: int | None = 143
    """Exit code when asked to end; None: does not listen."""


@dataclass(kw_only=True)
class _Held:
    container: Container
    program: Program
    processes: list[ProcessRef] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    memory: HostMemory


@dataclass(kw_only=True)
class _Fault:
    error: HotseatError | None
    after: bool
    times: int
    delay: float


class FakePlatform:
    """Time is counted in steps: each event is a second after the one before it."""

    def __init__(self, *, name: str = "docker", available: int = 64 << 30) -> None:
        self.name = name
        self.available = available
        """Bytes of host memory that `memory` reports."""
        self.calls: list[tuple[str, str]] = []
        """(method, container name) of every call that changes something, in order."""
        self.behind = Behind(self)
        self._held: dict[str, _Held] = {}
        self._programs: dict[str, Program] = {}
        self._faults: dict[str, list[_Fault]] = {}
        self._listeners: set[asyncio.Queue[PlatformEvent]] = set()
        self._pids = itertools.count(FIRST_PID)
        self._ids = itertools.count(1)
        self._clock = itertools.count(1_000_000_000)

    # What tests set up

    def fault(
        self, method: str, error: HotseatError | None = None, *, after: bool = False, times: int = 1, delay: float = 0.0
    ) -> None:
        """The next `times` calls of `method` raise `error`, before they take effect or `after` they did, `delay`
        seconds late. Without an error they are just late."""
        self._faults.setdefault(method, []).append(_Fault(error=error, after=after, times=times, delay=delay))

    def program(self, name: str, program: Program) -> None:
        """Containers of this name run this, from their next start on."""
        self._programs[name] = program

    def set_processes(self, name: str, processes: Sequence[ProcessRef]) -> Container:
        """These are the container's processes now, the first one its main one: for use with other doubles."""
        held = self._find(name)
        held.processes = list(processes)
        held.container = replace(held.container, pid=processes[0].pid)
        return held.container

    def fork(self, name: str) -> ProcessRef:
        held = self._find(name)
        held.processes.append(self._process())
        return held.processes[-1]

    def write_log(self, name: str, text: str) -> None:
        self._find(name).log.append(text)

    # port.Platform

    async def list(self) -> Sequence[Container]:
        async with self._call("list"):
            return [held.container for held in self._held.values()]

    async def labelled(self, label: str) -> Sequence[Container]:
        async with self._call("labelled"):
            return [held.container for held in self._held.values() if label in held.container.labels]

    async def inspect(self, ref: str) -> Container:
        async with self._call("inspect"):
            return self._find(ref).container

    async def create(self, spec: ContainerSpec) -> Container:
        async with self._call("create", spec.name):
            if any(held.container.name == spec.name for held in self._held.values()):
                raise Refused(f"the name {spec.name} is taken", rule="one name, one workload", hint="choose another")
            container = Container(
                platform=self.name,
                id=f"{next(self._ids):064x}"[::-1],
                name=spec.name,
                image=spec.image,
                status=Status.CREATED,
                pid=None,
                started_at=0.0,
                labels=dict(spec.labels),
                shares_memory_limit=spec.memory_limit is not None,
                addresses=("127.0.0.1",) if spec.network == "host" else (),
                ports=tuple(sorted({*spec.expose, *(port.inside for port in spec.publish)})),
                published={port.inside: port.host for port in spec.publish},
            )
            memory = HostMemory(available=self.available, limit=spec.memory_limit)
            self._held[container.id] = _Held(container=container, program=Program(), memory=memory)
            self._tell(EventKind.CREATED, container)
            return container

    async def rename(self, container: Container, name: str) -> Container:
        async with self._call("rename", name):
            self.behind.rename(container.id, name)
            return self._find(container.id).container

    async def pids(self, container: Container) -> Sequence[ProcessRef]:
        async with self._call("pids"):
            return self.read_pids(container)

    def read_pids(self, container: Container) -> Sequence[ProcessRef]:
        held = self._find(container.id)
        if container.pid is None or held.container.pid != container.pid:
            raise ProcessGone(f"the first process of {container.name} ended", hint="inspect it again")
        return sorted(held.processes)

    async def start(self, container: Container) -> Container:
        async with self._call("start", container.name):
            held = self._find(container.id)
            if held.container.status not in _ALIVE:
                held.program = self._programs.get(held.container.name, Program())
                held.processes = [self._process() for _ in range(1 + held.program.children)]
                held.log.extend(f"{line}\n" for line in held.program.says)
                pid, now = held.processes[0].pid, self._now()
                held.container = replace(held.container, exit_code=None, status=Status.RUNNING, pid=pid, started_at=now)
                self._tell(EventKind.STARTED, held.container)
            return held.container

    async def stop(self, container: Container, *, grace: float) -> None:
        async with self._call("stop", container.name):
            held = self._find(container.id)
            if held.container.status in _ALIVE:
                self._end(held, code=137 if held.program.sigterm_code is None else held.program.sigterm_code)

    async def kill(self, container: Container) -> None:
        async with self._call("kill", container.name):
            held = self._find(container.id)
            if held.container.status in _ALIVE:
                self._end(held, code=137)

    async def pause(self, container: Container) -> None:
        async with self._call("pause", container.name):
            self._freeze(container.id, True)

    async def unpause(self, container: Container) -> None:
        async with self._call("unpause", container.name):
            self._freeze(container.id, False)

    async def memory(self, container: Container) -> HostMemory:
        async with self._call("memory"):
            return self._find(container.id).memory

    async def logs(self, container: Container, *, tail: int = 100) -> str:
        async with self._call("logs"):
            held = self._find(container.id)
            if held.program.chatters and held.container.status is Status.RUNNING:
                held.log.append(f"line {len(held.log)}\n")
            lines = "".join(held.log).splitlines(keepends=True)
            return "".join(lines[-tail:])

    async def follow_logs(self, container: Container, *, tail: int = 100) -> AsyncGenerator[bytes]:
        held = self._find(container.id)
        position = max(0, len(held.log) - tail)
        while True:
            alive = held.container.status in _ALIVE and held.container.started_at == container.started_at
            new, position = held.log[position:], len(held.log)
            if new:
                yield "".join(new).encode()
            elif not alive:
                return
            else:
                await asyncio.sleep(0.01)

    async def remove(self, container: Container) -> None:
        async with self._call("remove", container.name):
            held = self._held.get(container.id)
            if held is None:
                return
            if held.container.status in _ALIVE:
                self._end(held, code=137)
            del self._held[container.id]
            self._tell(EventKind.REMOVED, held.container)

    def events(self) -> AsyncIterator[PlatformEvent]:
        queue: asyncio.Queue[PlatformEvent] = asyncio.Queue()
        self._listeners.add(queue)
        return self._events(queue)

    async def aclose(self) -> None:
        """Nothing is held open."""

    # Inside

    async def _events(self, queue: asyncio.Queue[PlatformEvent]) -> AsyncGenerator[PlatformEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    @contextlib.asynccontextmanager
    async def _call(self, method: str, name: str = "") -> AsyncGenerator[None]:
        if name:
            self.calls.append((method, name))
        fault = self._next_fault(method)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.error is not None and not fault.after:
                raise fault.error
        yield
        if fault is not None and fault.error is not None:
            raise fault.error

    def _next_fault(self, method: str) -> _Fault | None:
        waiting = self._faults.get(method)
        if not waiting:
            return None
        fault = waiting[0]
        fault.times -= 1
        if fault.times <= 0:
            waiting.pop(0)
        return fault

    def _find(self, ref: str) -> _Held:
        ref = ref.removeprefix(f"{self.name}:")
        for held in self._held.values():
            if ref in (held.container.name, held.container.id):
                return held
        fitting = [held for identity, held in self._held.items() if ref and identity.startswith(ref)]
        if len(fitting) != 1:
            raise NotFound(f"no container {ref}", hint="list them")
        return fitting[0]

    def _freeze(self, identity: str, wanted: bool) -> None:
        held = self._find(identity)
        if held.container.status not in _ALIVE:
            raise PlatformFailed(f"{held.container.name} does not run", hint="start it first")
        status = Status.PAUSED if wanted else Status.RUNNING
        if held.container.status is not status:
            held.container = replace(held.container, status=status)
            self._tell(EventKind.PAUSED if wanted else EventKind.UNPAUSED, held.container)

    def _end(self, held: _Held, *, code: int) -> None:
        held.processes = []
        held.container = replace(held.container, status=Status.EXITED, pid=None, exit_code=code)
        self._tell(EventKind.EXITED, held.container)

    def _process(self) -> ProcessRef:
        pid = next(self._pids)
        return ProcessRef(pid, pid * 7)

    def _now(self) -> float:
        return float(next(self._clock))

    def _tell(self, kind: EventKind, container: Container) -> None:
        event = PlatformEvent(kind=kind, key=container.key, name=container.name, at=self._now())
        for queue in self._listeners:
            queue.put_nowait(event)


class Behind:
    """What a person does at another terminal: no faults, not in `calls`, noticed by the events."""

    def __init__(self, platform: FakePlatform) -> None:
        self._platform = platform

    def pause(self, name: str) -> None:
        self._platform._freeze(name, True)

    async def start(self, name: str) -> None:
        await self._platform.start(self._platform._find(name).container)

    def stop(self, name: str) -> None:
        held = self._platform._find(name)
        if held.container.status in _ALIVE:
            code = held.program.sigterm_code
            self._platform._end(held, code=137 if code is None else code)

    def unpause(self, name: str) -> None:
        self._platform._freeze(name, False)

    def kill(self, name: str) -> None:
        held = self._platform._find(name)
        if held.container.status in _ALIVE:
            self._platform._end(held, code=137)

    def rename(self, name: str, new: str) -> None:
        held = self._platform._find(name)
        held.container = replace(held.container, name=new)
        self._platform._tell(EventKind.RENAMED, held.container)

    def crash(self, name: str, *, code: int) -> None:
        self._platform._end(self._platform._find(name), code=code)
