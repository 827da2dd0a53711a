"""One worker process as the client holds it: start it, exchange messages with it, kill it, reap it.

Everything here runs on the event loop and never waits without a deadline, not even for a killed process to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hotseat.errors import DriverFailed, DriverTimeout, WorkerDied
from hotseat.gpu import advice, wire

KILL_DEADLINE = 2.0
"""Seconds a killed worker is waited for. One that sits in uninterruptible sleep ends later and is reaped then."""

STDERR_TAIL = 2000
"""Bytes of a dead worker's last words that are shown."""

HIDDEN = ("CUDA_VISIBLE_DEVICES",)
"""Not handed to workers: they must see every GPU, whatever the shell that started hotseat was meant to see."""


class WorkerProcess:
    """Made by `start`. Used by one task at a time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        words: int,
    ) -> None:
        self.hello = wire.Hello(role="")
        self.on_exit: Callable[[WorkerProcess], None] = lambda worker: None
        """Called on the event loop once the process has ended, whoever ended it."""
        self._process = process
        self._reader = reader
        self._writer = writer
        self._words = words
        self._ids = 0
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    async def start(cls, *, role: str, library: str, environ: Mapping[str, str], deadline: float) -> WorkerProcess:
        """Start a worker and hear its hello. `DriverFailed` if it cannot serve, `DriverTimeout` after `deadline` s."""
        with contextlib.ExitStack() as undo:
            try:
                words = os.memfd_create("hotseat-worker-stderr", os.MFD_CLOEXEC)
                undo.callback(os.close, words)
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                with theirs:
                    ours.setblocking(False)
                    reader, writer = await asyncio.open_unix_connection(sock=ours)
                    undo.callback(writer.transport.abort)
                    process = _spawn(role, library, theirs.fileno(), words, environ)
                    undo.callback(process.wait, KILL_DEADLINE)
                    undo.callback(process.kill)
                    worker = cls(process, reader=reader, writer=writer, words=words)
            except OSError as error:
                raise DriverFailed(
                    f"cannot start a GPU worker: {error}",
                    hint="this host lacks memory, or hotseat's limits (`ulimit -a`) files or processes",
                ) from error
            undo.pop_all()
        try:
            async with asyncio.timeout(deadline):
                answer = await worker._receive()
            if not isinstance(answer, wire.Hello):
                raise WorkerDied(f"the GPU worker began with {type(answer).__name__} instead of a greeting")
            if answer.error:
                raise advice.no_start(answer)
        except TimeoutError:
            await worker.aclose()
            raise DriverTimeout(
                f"the GPU worker ({role}) was not ready within {deadline:g} s",
                hint="the driver's initialisation hangs: look at `nvidia-smi` and `dmesg` on this host",
                call="cuInit" if role == "cuda" else "nvmlInit",
            ) from None
        except BaseException:
            await worker.aclose()
            raise
        worker.hello = answer
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._exited.is_set() and not self._reader.at_eof()

    async def exchange(
        self,
        op: str,
        *,
        processes: Sequence[tuple[int, int]] = (),
        timeout_ms: int = 0,
        on_items: Callable[[Sequence[wire.Item]], None] = lambda items: None,
    ) -> Any:
        """One request and all its answers. No deadline of its own: the caller has one, and kills us if it passes.

        `WorkerDied` if the process ends, `DriverFailed` if it cannot serve the request.
        """
        self._ids += 1
        request = wire.Request(self._ids, op, list(processes), timeout_ms)
        self._writer.write(wire.encode(request))
        while True:
            match await self._receive():
                case wire.Items(id=self._ids, items=items):
                    on_items(items)
                case wire.Done(id=self._ids, body=body):
                    return body
                case wire.Broken(id=self._ids, error=error, result=result):
                    raise DriverFailed(error, result=result or None, hint=advice.WORKER_BROKEN)
                case other:
                    raise WorkerDied(f"the GPU worker spoke out of turn: {other!r}", hint=advice.WORKER_BROKEN)

    async def _receive(self) -> wire.Answer:
        try:
            length = int.from_bytes(await self._reader.readexactly(wire.HEADER), "little")
            if length > wire.MAX_MESSAGE:
                raise WorkerDied(f"the GPU worker sent a message of {length} bytes", hint=advice.WORKER_BROKEN)
            return wire.decode_answer(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            # The end of file comes a moment before the exit status.
            await self.wait(deadline=KILL_DEADLINE)
            raise WorkerDied(f"the GPU worker {self._obituary()}", hint=advice.WORKER_DIED) from None

    def _obituary(self) -> str:
        status = self._process.returncode
        how = "closed its connection" if status is None else f"ended with exit status {status}"
        if status is not None and status < 0:
            how = f"was killed by signal {-status}"
        size = os.fstat(self._words).st_size
        words = os.pread(self._words, STDERR_TAIL, max(0, size - STDERR_TAIL)).decode(errors="replace").strip()
        return f"(pid {self.pid}) {how}" + (f"; it said: {words}" if words else "")

    def kill(self) -> None:
        """SIGKILL to our own child, which we have not reaped, so the pid is its own. Idempotent."""
        if self._process.returncode is None:
            self._process.kill()

    async def wait(self, *, deadline: float) -> bool:
        """Whether the process ended within `deadline` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._exited.wait()
        return self._exited.is_set()

    async def aclose(self) -> None:
        """Kill it, wait a moment for its end, give back what it took here. Never raises for a process that lingers."""
        self.kill()
        await self.wait(deadline=KILL_DEADLINE)
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        if self._words >= 0:
            os.close(self._words)
            self._words = -1

    def _reap(self) -> None:
        if self._process.poll() is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._exited.set()
        self.on_exit(self)


def _spawn(role: str, library: str, fd: int, words: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Forks on the calling thread, which must be the event loop's: a worker dies with the thread that made it.
    Blocks for about a millisecond (vfork)."""
    # -P: never import from the directory that we happen to be in. A session of its own: Ctrl-C at a terminal is for us.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "hotseat.gpu.worker", str(fd), role, str(os.getpid()), library],
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        pass_fds=[fd],
        env={name: value for name, value in environ.items() if name not in HIDDEN},
        start_new_session=True,
    )
