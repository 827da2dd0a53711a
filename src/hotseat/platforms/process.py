"""Bare process trees: those that hotseat starts, and any other that is adopted by its process id.

A tree that hotseat starts has a cgroup of its own where one can be made, and a shim that outlives hotseat
(`process_shim`); what is written down of it (`process_registry`) lets every hotseat process find it by name. An
adopted tree stays where it is: its processes are those beneath the adopted one, its pause is SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hotseat.config.paths import state_directory
from hotseat.errors import NotFound, PlatformFailed, ProcessGone, Refused, UsageError
from hotseat.linux.port import HostMemory
from hotseat.platforms import adoption, changes
from hotseat.platforms.port import Container, PlatformEvent, Status
from hotseat.platforms.process_launch import check_bare, launch
from hotseat.platforms.process_registry import Record, Registry, boot_id
from hotseat.platforms.process_tree import Tree, ended, signal_each, started_at
from hotseat.platforms.spec import ContainerSpec
from hotseat.words import ProcessRef

KILL_DEADLINE = 10.0
"""Seconds from SIGKILL until the shim has reaped all; a process in uninterruptible sleep is late."""
SHIM_DEADLINE = 12.0
"""Seconds a shim may need from the end of its process: it kills and reaps what is left of the tree."""
SHORTEST_PREFIX = 4
LOOK_EVERY = 0.4
"""Seconds between two looks for events. An exit is noticed at once, by pidfd."""
LOG_PERIOD = 0.25
"""Seconds between two looks at a log that is followed."""


class ProcessPlatform:
    """`directory`: where the registry is, by default in hotseat's state directory."""

    name = "process"

    def __init__(self, *, directory: Path | None = None) -> None:
        self._registry = Registry(directory or state_directory() / "processes")
        self._trees: dict[str, tuple[float, Tree]] = {}
        """Container key -> start of its present incarnation, and that."""

    async def list(self) -> Sequence[Container]:
        found = []
        for record in self._registry.records():
            with contextlib.suppress(NotFound, PlatformFailed):
                container = await self._container(record)
                if record.adopted is not None and container.status is Status.EXITED:
                    self._forget(container)  # it can neither run nor be started again
                else:
                    found.append(container)
        return found

    async def inspect(self, ref: str) -> Container:
        """`ref`: a name, an id or its prefix, or the id of any process on this host."""
        ref = ref.removeprefix(f"{self.name}:")
        for record in self._matching(ref):
            return await self._container(record)
        if ref.isdigit():
            return await self._container(self._adoptable(int(ref)))
        pid, dash, _ = ref.partition("-")
        if dash and pid.isdigit() and (record := self._adoptable(int(pid))).id == ref:
            return await self._container(record)  # by the id of a process that is not registered yet
        raise NotFound(f"no process workload {ref}", hint="`hotseat ps` lists all; any process goes by its id")

    async def adopt(self, pid: int, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> Container:
        """Take a process that hotseat did not start into the registry, with all beneath it. Touches it in no way.

        `NotFound`: no such process. `Refused`: it must not be parked (hotseat itself, the kernel, init)."""
        record = self._adoptable(pid, name=name, labels=labels or {})
        self._remember(record)
        return await self._container(record)

    async def create(self, spec: ContainerSpec) -> Container:
        """Write it down; `start` runs it. `UsageError`: needs what a bare process cannot have."""
        check_bare(spec)
        record = Record(
            id=uuid.uuid4().hex,
            name=spec.name,
            command=spec.command,
            env=dict(spec.env),
            labels=dict(spec.labels),
            workdir=spec.workdir,
            ulimits=dict(spec.ulimits),
            memory_limit=spec.memory_limit,
        )
        self._registry.add(record)
        return await self._container(record)

    async def pids(self, container: Container) -> Sequence[ProcessRef]:
        return self.read_pids(container)

    def read_pids(self, container: Container) -> Sequence[ProcessRef]:
        return self._tree(container).processes()

    async def start(self, container: Container) -> Container:
        record = self._record(container)
        if record.adopted is not None:
            raise Refused(
                f"{container.name} was not started by hotseat",
                rule="only what hotseat started starts again",
                hint="start it yourself, or create a workload that runs its command",
            )
        before = await self._container(record)
        if before.status in (Status.RUNNING, Status.PAUSED):
            return before
        identity = f"{record.name}-{uuid.uuid4().hex[:12]}"
        await launch(self._registry, record, env={**os.environ, **record.env}, identity=identity)
        return await self._container(record)

    async def stop(self, container: Container, *, grace: float) -> None:
        tree = self._living(container)
        if tree is None:
            return
        everything = _processes(tree)
        tree.signal_main(signal.SIGTERM)
        with contextlib.suppress(ProcessGone):
            await tree.unpause()  # to let it die; the signal is the first thing it sees
        if not await ended(tree.main, deadline=grace):
            await self.kill(container)
            return
        if tree.shim is None:
            signal_each(everything, signal.SIGKILL)
        await self._wait_end(tree)

    async def kill(self, container: Container) -> None:
        tree = self._living(container)
        if tree is not None:
            await tree.kill_all()
            await self._wait_end(tree)

    async def pause(self, container: Container) -> None:
        tree = self._tree(container)
        self._remember(self._record(container))  # an adopted process must be found again to be unpaused
        await tree.pause()

    async def unpause(self, container: Container) -> None:
        await self._tree(container).unpause()

    async def memory(self, container: Container) -> HostMemory:
        return self._tree(container).memory()

    async def logs(self, container: Container, *, tail: int = 100) -> str:
        return self._registry.log_tail(container.name, lines=tail)

    async def follow_logs(self, container: Container, *, tail: int = 100) -> AsyncGenerator[bytes]:
        position, text = self._registry.log_end(container.name, lines=tail)
        while True:
            if text:
                yield text
            ended = not await self._runs(container)
            position, text = self._registry.log_since(container.name, position)
            if ended and not text:
                return
            if not text:
                await asyncio.sleep(LOG_PERIOD)

    async def _runs(self, container: Container) -> bool:
        try:
            now = await self.inspect(container.id)
        except NotFound:
            return False
        return now.started_at == container.started_at and now.status in (Status.RUNNING, Status.PAUSED)

    def events(self) -> AsyncIterator[PlatformEvent]:
        return self._events()

    async def remove(self, container: Container) -> None:
        """Kill it if hotseat started it, and forget it. An adopted one runs on. Nothing happens if it is gone."""
        try:
            record = self._record(container)
        except NotFound:
            return
        if record.adopted is None:
            await self.kill(container)
        self._forget(container)

    async def aclose(self) -> None:
        """Nothing ends: shims and what they keep go on."""

    async def _events(self) -> AsyncGenerator[PlatformEvent]:
        seen = changes.look(await self.list())
        while True:
            await self._something(seen)
            now = changes.look(await self.list())
            for event in changes.between(seen, now, at=time.time()):
                yield event
            seen = now

    async def _something(self, seen: changes.Look) -> None:
        """Until one of the processes ends, at most until it is time to look."""
        alive = [key for key, container in seen.items() if container.pid is not None and key in self._trees]
        waiting = [ended(self._trees[key][1].main, deadline=LOOK_EVERY) for key in alive]
        tasks = [asyncio.ensure_future(one) for one in (*waiting, asyncio.sleep(LOOK_EVERY, result=True))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _matching(self, ref: str) -> Sequence[Record]:
        """At most one record. `UsageError` if a prefix fits several."""
        records = self._registry.records()
        exact = [record for record in records if ref in (record.name, record.id)]
        if exact:
            return exact[:1]
        if ref.isdigit():  # a process id, never the beginning of an id
            return [record for record in records if self._main_pid(record) == int(ref)][:1]
        fitting = [record for record in records if len(ref) >= SHORTEST_PREFIX and record.id.startswith(ref)]
        if len(fitting) > 1:
            names = ", ".join(record.name for record in fitting)
            raise UsageError(f"{ref} may be any of {names}", hint="use the name")
        return fitting

    def _adoptable(self, pid: int, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> Record:
        """`Refused` for a part of a workload: two of them may never have a process in common."""
        record = adoption.record(pid, name=name, labels=labels)
        for other in self._registry.records():
            tree = self._present(other)[1]
            if tree is not None and record.adopted != tree.main and record.adopted in _processes(tree):
                raise Refused(
                    f"process {pid} is part of the workload {other.name}",
                    rule="one process, one workload",
                    hint=f"name the workload instead: {other.name}",
                )
        return record

    def _main_pid(self, record: Record) -> int | None:
        tree = self._present(record)[1]
        return tree.main.pid if tree is not None and tree.alive() else None

    def _present(self, record: Record) -> tuple[float, Tree | None]:
        """The last incarnation of this boot, alive or not, with its start; None if there is none."""
        if record.adopted is not None:
            if record.boot_id != boot_id():
                return 0.0, None
            return started_at(record.adopted), Tree(name=record.name, main=record.adopted)
        run = self._registry.run(record.name)
        if run is None:
            return 0.0, None
        if run.boot_id != boot_id():
            return run.started_at, None
        return run.started_at, Tree(name=record.name, main=run.main, shim=run.shim, cgroup=run.freezer)

    async def _container(self, record: Record) -> Container:
        start, tree = self._present(record)
        if tree is not None and not tree.alive() and tree.shim_alive():
            await tree.wait_end(deadline=SHIM_DEADLINE)  # it writes down how the process ended
        container = Container(
            platform=self.name,
            id=record.id,
            name=record.name,
            image=record.command[0],
            status=Status.CREATED if start == 0.0 and record.adopted is None else Status.EXITED,
            pid=None,
            started_at=start,
            labels=record.labels,
            shares_memory_limit=record.memory_limit is not None,
            addresses=("127.0.0.1",),
        )
        if tree is not None and tree.alive():
            self._trees[container.key] = (start, tree)
            status = Status.PAUSED if tree.paused() else Status.RUNNING
            return replace(container, status=status, pid=tree.main.pid)
        self._trees.pop(container.key, None)
        end = self._registry.exit(record.name)
        if end is not None and end.started_at == start:
            return replace(container, exit_code=end.code)
        return container

    def _tree(self, container: Container) -> Tree:
        """Its present incarnation. `ProcessGone` if that is not the one of `container`, or there is none."""
        start, tree = self._trees.get(container.key, (0.0, None))
        if tree is None or start != container.started_at:
            start, tree = self._present(self._record(container))
        if tree is None or container.pid != tree.main.pid or not tree.alive():
            raise ProcessGone(f"{container.name} does not run any more", hint="inspect it again")
        return tree

    def _living(self, container: Container) -> Tree | None:
        """The tree to end, whichever incarnation it is; None if there is none."""
        tree = self._present(self._record(container))[1]
        return tree if tree is not None and tree.alive() else None

    def _record(self, container: Container) -> Record:
        try:
            record = self._registry.record(container.name)
        except NotFound:
            pid, dash, _ = container.id.partition("-")
            if not dash:
                raise
            record = adoption.record(int(pid), name=None)
        if record.id != container.id:
            raise NotFound(f"{container.name} ({container.id}) is no more", hint="`hotseat ps` lists all")
        return record

    def _remember(self, record: Record) -> None:
        """Write an adopted process down, once."""
        if record.adopted is None:
            return
        try:
            known = self._registry.record(record.name)
        except NotFound:
            self._registry.add(record)
            return
        if known.id != record.id:
            if known.adopted is None or self._main_pid(known) is not None:
                raise Refused(
                    f"the name {record.name} is taken", rule="one name, one workload", hint="choose another one"
                )
            self._registry.remove(known.name)
            self._registry.add(record)

    def _forget(self, container: Container) -> None:
        self._registry.remove(container.name)
        self._trees.pop(container.key, None)

    async def _wait_end(self, tree: Tree) -> None:
        if not await tree.wait_end(deadline=KILL_DEADLINE):
            raise PlatformFailed(
                f"{tree.name} did not end within {KILL_DEADLINE:g} s of SIGKILL",
                hint="a process in uninterruptible sleep (state D in `ps`) waits for the kernel, often for a disk",
            )


def _processes(tree: Tree) -> Sequence[ProcessRef]:
    try:
        return tree.processes()
    except ProcessGone:
        return ()
