"""Where the owner of a hold runs, and the line to it.

`ProcessOwners`, the rule: a process of its own, forked per hold. wait(2) keeps one list of children per process, and
ptrace stops appear on it: traced from a thread of the parent's own process, a child's stops would be taken for exits
by whoever waits for that child there (asyncio's and libuv's child watchers do). It also stays quick while the event
loop is busy, and a hold that hangs is ended without touching another.

`ThreadOwners`, the exception: a thread of this process, for Yama's ptrace_scope 1 without CAP_SYS_PTRACE, where only
an ancestor may trace. Processes to be held that way must not be direct children of this process; a grandchild will do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import hotseat
from hotseat.errors import FreezeFailed
from hotseat.linux import proc
from hotseat.linux.owner import Owner

START = 5.0
"""Seconds in which a new owner must say hello."""
GRACE = 1.0
"""Seconds beyond a request's own deadline in which the owner must answer, and in which it must end."""

_CAP_SYS_PTRACE = 19
_SPAWN = "import sys; sys.path.append(sys.argv[1]); from hotseat.linux.owner import main; main(int(sys.argv[2]))"


class Line:
    """The asking end: one request at a time."""

    def __init__(self, *, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffer = b""
        self._turn = asyncio.Lock()
        self._pid = 0
        self._tid = 0
        self._fd = -1

    async def open(self) -> None:
        hello = await self._read(START)
        self._pid, self._tid = hello["pid"], hello["tid"]
        if self._pid != os.getpid():
            self._fd = os.pidfd_open(self._pid)

    async def call(self, op: str, *, deadline: float, **arguments: Any) -> dict[str, Any]:
        """The reply, also when it is an error. `FreezeFailed` if the owner is gone or does not answer; closed then."""
        async with self._turn:
            try:
                request = json.dumps({"op": op, "deadline": deadline, **arguments}).encode() + b"\n"
                async with asyncio.timeout(deadline + GRACE):
                    await asyncio.get_running_loop().sock_sendall(self._sock, request)
                return await self._read(deadline + GRACE)
            except (OSError, TimeoutError) as error:
                await self.close()
                raise _lost(op, str(error) or f"no answer in {deadline + GRACE:.1f} s") from error

    async def close(self) -> None:
        """Hang up, and wait until the kernel has let go of everything. Idempotent."""
        self._sock.close()
        if self._fd < 0:
            await self._ended(10 * GRACE)  # a thread cannot be killed, only waited for
        elif not await self._ended(GRACE):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)
            await self._ended(GRACE)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _read(self, deadline: float) -> dict[str, Any]:
        async with asyncio.timeout(deadline):
            while b"\n" not in self._buffer:
                data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20)
                if not data:
                    raise ConnectionResetError("it ended")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def _ended(self, deadline: float) -> bool:
        """The kernel lets go when the owner's OS thread ends, which is a little after it hangs up."""
        end = time.monotonic() + deadline
        pause = 0.0002
        while self._alive():
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.01)
        return True

    def _alive(self) -> bool:
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return not poll.poll(0)
        return self._tid != 0 and proc.stat(self._tid) is not None


class Owners(Protocol):
    async def connect(self) -> Line:
        """A new owner, ready to seize."""
        ...

    def close(self) -> None:
        """Make no more owners; those that live go on until their lines are closed."""
        ...


class ProcessOwners:
    def __init__(self) -> None:
        self._forker: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def connect(self) -> Line:
        for attempt in (1, 2):
            control = self._start()
            ours, theirs = socket.socketpair()
            line = Line(sock=ours)
            try:
                with theirs:
                    socket.send_fds(control, [b"h"], [theirs.fileno()])
                await line.open()
                return line
            except (OSError, TimeoutError) as error:
                await line.close()
                self.close()  # the forker itself was killed: one new one
                if attempt == 2:
                    raise _lost("start", str(error) or f"no answer in {START:.0f} s") from error
            except BaseException:
                await line.close()
                raise
        raise AssertionError("unreachable")

    def _start(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            root = str(Path(hotseat.__file__).parent.parent)
            with theirs:
                # A session of its own: Ctrl-C in a terminal must not break a hold in the middle of a swap.
                self._forker = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _SPAWN, root, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        return self._control

    def close(self) -> None:
        if self._control is not None and self._forker is not None:
            self._control.close()
            try:
                self._forker.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._forker.kill()
                self._forker.wait()
            self._control = self._forker = None


class ThreadOwners:
    async def connect(self) -> Line:
        ours, theirs = socket.socketpair()
        line = Line(sock=ours)
        threading.Thread(
            target=lambda: Owner(sock=theirs, own_children=True).run(), name="hotseat-tracer", daemon=True
        ).start()
        await line.open()
        return line

    def close(self) -> None:
        pass


def choose() -> Owners:
    """The rule, unless the kernel lets only ancestors trace."""
    scope = int(proc.read("/proc/sys/kernel/yama/ptrace_scope") or b"0")
    return ThreadOwners() if scope == 1 and not _may_trace() else ProcessOwners()


def _may_trace() -> bool:
    for line in (proc.read("/proc/self/status") or b"").split(b"\n"):
        if line.startswith(b"CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_PTRACE & 1)
    return False


def _lost(op: str, why: str) -> FreezeFailed:
    return FreezeFailed(
        f"the tracer that holds the threads failed at {op!r} ({why}); the kernel has let all of them go",
        hint="try again; if it comes back, look for memory pressure in the kernel log",
    )
