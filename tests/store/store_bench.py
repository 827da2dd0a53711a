"""A store and agents as real processes on an emulated node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hotseat.emulator.node import EmulatedNode
from hotseat.gpu.procfs import start_time
from hotseat.store.client import StoreClient
from hotseat.store.port import Held, HeldState, Status
from hotseat.store.wire import GRANULE
from hotseat.words import ProcessRef

WITHIN = 30.0
AGENT = Path(__file__).with_name("agent.py")


async def hotseat(*words: str, environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of `hotseat WORDS`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hotseat", *words),
        env=dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def short(tmp_path: Path, *, sudden: str = "") -> tuple[Path, dict[str, str]]:
    """The file that says that somebody waits for memory of all devices, and the environment of a store that takes two
    chunks at a time. `sudden`: a place where it ends once `tmp_path`/now is there, see ./sudden."""
    flag, here = tmp_path / "short", Path(__file__).with_name("short")
    environ = {"PYTHONPATH": str(here), "SHORT": str(flag)}
    return flag, environ | ({"SUDDEN": f"{sudden}:{tmp_path / 'now'}"} if sudden else {})


class Workload:
    """One agent process; `ask` speaks its commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        start = start_time(process.pid)
        assert start is not None
        self.ref = ProcessRef(process.pid, start)

    async def ask(self, *words: object) -> object:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        async with asyncio.timeout(WITHIN):
            line = await self.process.stdout.readline()
        assert line, "the agent ended"
        return json.loads(line)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Bench:
    """Use in an `async with`. `arena`: chunks; None: it learns. `ready`: it will become so. `crowded`: descriptors that
    its keeper has beside its own."""

    def __init__(
        self,
        node: EmulatedNode,
        directory: Path,
        *,
        arena: int | None = 64,
        options: Sequence[str] = (),
        ready: bool = True,
        spills: bool = True,
        environ: Mapping[str, str] | None = None,
        crowded: int = 0,
    ) -> None:
        self.node, self.directory = node, directory
        self.spill = directory.with_name("spill")
        self._more = environ or {}
        self.client = StoreClient(directory / "control.sock")
        self._arguments = [f"--directory={directory}", "--threads=2", *options]
        self._arguments += [] if arena is None else [f"--arena={arena * GRANULE}"]
        self._arguments += [f"--spill={self.spill}"] if spills else []
        self._ready, self._crowded = ready, crowded
        self._workloads: list[Workload] = []
        self._keeper: asyncio.subprocess.Process | None = None

    @property
    def agents(self) -> Path:
        """The socket of the agents."""
        return self.directory / "agents" / "store.sock"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.node.environment(), **self._more}

    async def __aenter__(self) -> Bench:
        crowd = f"import os; [os.dup(1) for _ in range({self._crowded})]"
        main = (
            ["-c", f"{crowd}; from hotseat.store.__main__ import main; main()"]
            if self._crowded
            else ["-m", "hotseat.store"]
        )
        command = [sys.executable, *main, *self._arguments]
        self._keeper = await asyncio.create_subprocess_exec(*command, env=self.environ)
        await self.until(lambda status: status.running and (status.ready == status.arena or not self._ready))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.end()

    async def end(self) -> None:
        """Also of a store that somebody has ended already."""
        for workload in self._workloads:
            await workload.kill()
        assert self._keeper is not None
        if self._keeper.returncode is None:
            self._keeper.terminate()
        async with asyncio.timeout(WITHIN):
            assert await self._keeper.wait() == 0

    async def kill_keeper(self) -> None:
        """And start another store in the same directory."""
        assert self._keeper is not None
        self._keeper.kill()
        await self._keeper.wait()
        await self.until(lambda status: not status.running)
        await self.__aenter__()

    async def kill_worker(self) -> None:
        """And wait until the next one serves with a whole arena."""
        before = await self.client.status(deadline=WITHIN)
        os.kill(before.worker, signal.SIGKILL)
        await self.next_worker(starts=before.starts)

    async def next_worker(self, *, starts: int = 1) -> None:
        """Until one that came after so many serves with a whole arena."""
        await self.until(lambda now: now.running and now.starts > starts and now.ready == now.arena)

    async def until(self, true: Callable[[Status], bool]) -> Status:
        """The first status of which this is true; asks again until then."""
        async with asyncio.timeout(WITHIN):
            while True:
                status = await self.client.status(deadline=WITHIN)
                if true(status):
                    return status
                await asyncio.sleep(0.01)

    async def start(self, *, plain: bool = False) -> Workload:
        """`plain`: it knows nothing of the store."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(AGENT), "" if plain else str(self.agents)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environ,
        )
        workload = Workload(process)
        self._workloads.append(workload)
        if plain:
            await workload.ask("read")
        else:
            await self.connected(workload)
        return workload

    async def connected(self, workload: Workload) -> None:
        await self.until(lambda status: workload.ref in status.processes and status.processes[workload.ref].connected)

    async def held(self, workload: Workload) -> Held:
        return (await self.client.held([workload.ref], deadline=WITHIN))[workload.ref]

    async def state(self, workload: Workload) -> HeldState:
        return (await self.held(workload)).state

    def files(self) -> list[Path]:
        """Of what is on disk."""
        return sorted(self.spill.iterdir())

    def device_bytes(self) -> int:
        """Used on the first device, without contexts (the node is made with none)."""
        return self.node.report().used_bytes[0]
