"""The keeper: holds what must outlive the worker, and starts a worker again when it dies. Never touches CUDA.

It holds the arena, the record of what is parked, both listening sockets, a secret, and a descriptor of each block that
is on a device in the store's care; so nothing is lost whatever the worker does. It lives as long as the store.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from hotseat.errors import NoRoom, Refused
from hotseat.gpu.procfs import memory_bytes
from hotseat.store import keeping
from hotseat.store.digest import CHUNK
from hotseat.store.port import AGENTS, CONTROL
from hotseat.store.private import private
from hotseat.store.spare import SMALL_PIECE, spare_bytes
from hotseat.store.spilled import claimed, empty

HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Whoever has it mapped can count on its size."""
RETRY_FIRST, RETRY_LAST = 0.1, 30.0
"""Seconds until a worker that died is started again: doubled while it keeps dying within `STEADY`."""
STEADY = 10.0
END_WITHIN = 5.0
"""Seconds for a worker that was told to end."""
WORKER = (sys.executable, "-P", "-m", "hotseat.store.worker")


@dataclass(frozen=True, kw_only=True)
class Options:
    directory: Path
    arena: int | None = None
    """Bytes. None: learned from what is parked, within the host's memory."""
    agents_mode: int = 0o600
    compare: bool = False
    """Compare bytes where digests are equal."""
    library: str = "libcuda.so.1"
    threads: int = 8
    """That populate the arena."""
    spill: Path | None = None
    """Directory of its own on a local disk, for what is stored. None: nothing is spilled."""
    custom_storage: bool = False
    """Move processes without the interposer by the driver's custom storage, where it has that."""
    spill_limit: int | None = None
    """Bytes of the files there, at most."""


def make_arena(nbytes: int | None) -> int:
    """A memfd: of reserved huge pages where there are enough of them. `NoRoom` if this host lacks the memory. None:
    one that takes nothing until it is populated, and could take all that may be."""
    if nbytes is None:
        return _sealed(max(spare_bytes() // SMALL_PIECE, 1) * SMALL_PIECE)
    nbytes = max(nbytes // CHUNK, 1) * CHUNK
    try:
        reserved = int(HUGE.read_text()) * CHUNK
    except (OSError, ValueError):
        reserved = 0
    if reserved >= nbytes:
        return _sealed(nbytes, os.MFD_HUGETLB | os.MFD_HUGE_2MB)
    _, available = memory_bytes()
    if nbytes > available:
        raise NoRoom(
            f"an arena of {nbytes >> 20} MiB does not fit: this host has {available >> 20} MiB available",
            hint="give the store a smaller arena (--arena), or reserve huge pages (vm.nr_hugepages)",
            missing=nbytes - available,
        )
    return _sealed(nbytes)


def _sealed(nbytes: int, flags: int = 0) -> int:
    fd = os.memfd_create("hotseat-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, nbytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


class Keeper:
    """Made and run once; the process's main thread waits in `run`."""

    def __init__(self, options: Options, *, worker: Sequence[str] = WORKER) -> None:
        """`Refused` if another store runs in the directory or spills to the same, or if one of the two is shared with
        others; `NoRoom` as from `make_arena`. `worker`: its command."""
        self._options, self._worker = options, worker
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:  # a shell's usual 1024 is soon used up: a descriptor for each block
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._spill = None if options.spill is None else claimed(options.spill)
        agents = (options.directory / AGENTS).parent
        private(options.directory, ours=(CONTROL, agents.name).__contains__)
        agents.mkdir(exist_ok=True)
        os.chmod(agents, 0o711)  # who is in a container reaches it by the mount, whatever user that is
        self._control = _listen(options.directory / CONTROL, socket.SOCK_STREAM, 0o600)
        self._agents = _listen(options.directory / AGENTS, socket.SOCK_SEQPACKET, options.agents_mode)
        self._arena = make_arena(options.arena)
        self._index = [_small("hotseat-index-a"), _small("hotseat-index-b")]
        self._secret = _small("hotseat-secret")
        os.pwrite(self._secret, secrets.token_bytes(32), 0)
        self._kept: dict[tuple[int, int, int], tuple[keeping.Kept, int]] = {}
        self._starts = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT. The exit status."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        delay = RETRY_FIRST
        while True:
            began = time.monotonic()
            worker, channel = self._start()
            if self._serve(worker, channel, wake):
                self._end(worker, channel)
                self._clean_up()
                return 0
            channel.close()
            status = worker.wait()
            delay = RETRY_FIRST if time.monotonic() - began > STEADY else min(delay * 2, RETRY_LAST)
            print(f"store: the worker ended with {status}; a new one takes over in {delay:g} s", file=sys.stderr)
            if _ready(wake, within=delay):
                self._clean_up()
                return 0

    def _clean_up(self) -> None:
        for name in (AGENTS, CONTROL):
            (self._options.directory / name).unlink(missing_ok=True)
        if self._options.spill is not None:
            empty(self._options.spill)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._starts += 1
        parts = {
            "keeping": theirs.fileno(),
            "arena": self._arena,
            "index": self._index,
            "secret": self._secret,
            "agents": self._agents.fileno(),
            "control": self._control.fileno(),
            "starts": self._starts,
            "learned": self._options.arena is None,
            "spill": None if self._options.spill is None else str(self._options.spill),
            **{
                name: value
                for name, value in asdict(self._options).items()
                if name in ("compare", "custom_storage", "library", "threads", "spill_limit")
            },
        }
        fds = [theirs.fileno(), self._arena, *self._index, self._secret, self._agents.fileno(), self._control.fileno()]
        with theirs:
            worker = subprocess.Popen(
                [*self._worker, json.dumps(parts)],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
            )
        return worker, ours

    def _serve(self, worker: subprocess.Popen[bytes], channel: socket.socket, wake: socket.socket) -> bool:
        """Answers the worker until it ends (False) or we are told to (True)."""
        while True:
            _ready(channel, wake)
            if _ready(wake, within=0):
                return True
            if not self._answered(channel):
                return False

    def _end(self, worker: subprocess.Popen[bytes], channel: socket.socket) -> None:
        """Answers it until it has ended: it cannot while it waits for an answer."""
        worker.terminate()
        over = time.monotonic() + END_WITHIN
        while _ready(channel, within=max(0.0, over - time.monotonic())) and self._answered(channel):
            pass
        try:
            worker.wait(max(0.0, over - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"store: the worker did not end within {END_WITHIN:g} s and is killed", file=sys.stderr)
            worker.kill()

    def _answered(self, channel: socket.socket) -> bool:
        """One message; False if the worker has ended."""
        try:
            message, fds = keeping.receive(channel)
            if message is None:
                return False
            self._answer(channel, message, fds)
        except OSError:
            return False
        return True

    def _answer(self, channel: socket.socket, message: keeping.Message, fds: list[int]) -> None:
        match message:
            case keeping.Put(kept=some):
                if len(fds) < len(some) or len(self._kept) + len(some) > keeping.most():
                    for fd in fds:
                        os.close(fd)
                    keeping.send(channel, keeping.Full(keeping.most()))
                    return
                for kept, fd in zip(some, fds, strict=True):
                    name = (kept.pid, kept.start, kept.id)
                    self._forget(name)
                    self._kept[name] = (kept, fd)
            case keeping.Drop(names=names):
                for name in names:
                    self._forget(name)
            case keeping.Lend(names=names):
                for name in names:
                    if name in self._kept:
                        kept, fd = self._kept[name]
                        self._kept[name] = (msgspec.structs.replace(kept, lent=True), fd)
            case keeping.List():
                everything = list(self._kept.values())
                for start in range(0, len(everything), keeping.PUT_AT_ONCE):
                    part = everything[start : start + keeping.PUT_AT_ONCE]
                    keeping.send(channel, keeping.Put([kept for kept, _ in part]), [fd for _, fd in part])
        keeping.send(channel, keeping.Ok())

    def _forget(self, name: tuple[int, int, int]) -> None:
        if name in self._kept:
            os.close(self._kept.pop(name)[1])


def _ready(*socks: socket.socket, within: float | None = None) -> bool:
    """One of them can be read. By poll: descriptors of blocks may have numbers beyond those that select takes."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if within is None else within * 1000))


def _small(name: str) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.fchmod(fd, 0o600)
    return fd


def _listen(path: Path, kind: socket.SocketKind, mode: int) -> socket.socket:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise Refused(
                f"a store runs already: it answers at {path}", hint="end it first, or choose another directory"
            )
    sock = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o177)  # it never exists with more rights than it should have
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    os.chmod(path, mode)
    sock.listen(128)
    return sock
