"""The owner of one hold: the OS thread that seized, answering requests on a socket until it is told to let go.

It runs as a process of its own, or, where only an ancestor may trace, as a thread (`hotseat.linux.owners` chooses).
Requests and replies are JSON, one a line. End of file on the socket means: let go. So whoever asks may die at any
instruction, and no thread stays held by a tracer that nobody speaks to.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hotseat.linux import ptrace_abi as abi
from hotseat.linux.tracer import Tracer, TracerError

NAME = "hotseat-tracer"
HALT = 0.1
"""Seconds that a release waits at most for threads that were let run."""


class Hangup(Exception):
    """Whoever asked is gone."""


class Owner:
    def __init__(self, *, sock: socket.socket, own_children: bool = False) -> None:
        """`own_children`: this is a thread of a process that may be the real parent of what it traces."""
        self._sock = sock
        self._buffer = b""
        self._own_children = own_children
        self._tracer = Tracer(own_children=own_children)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._news = -1
        if not own_children:
            # SIGCHLD goes to a process, not to a thread: only a process of our own may wait for it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            self._news = abi.signalfd({signal.SIGCHLD})
            self._poll.register(self._news, select.POLLIN)

    def run(self) -> None:
        """Serve until hang-up. Returning is not enough to let go: the OS thread must end."""
        try:
            self._say({"pid": os.getpid(), "tid": threading.get_native_id()})
            while True:
                self._serve(self._next())
        except (Hangup, BrokenPipeError, ConnectionResetError):
            self._let_go()
        finally:
            self._sock.close()

    # -- requests -------------------------------------------------------------------------------------------------

    def _serve(self, request: dict[str, Any]) -> None:
        reply: dict[str, Any] = {}
        try:
            match request["op"]:
                case "seize":
                    with self._reaper_beside():
                        reply["new"] = self._tracer.seize(request["processes"])
                case "settle":
                    self._settle(request["deadline"])
                case "let_run":
                    self._tracer.let_run(request["tids"])
        except TracerError as error:
            reply = {"error": error.kind, "facts": error.facts}
        reply["threads"] = self._tracer.threads
        reply["processes"] = list(self._tracer.processes.items())
        self._say(reply)

    def _settle(self, deadline: float) -> None:
        """Wait until all are held. Looks into /proc only at those that keep it waiting, ever less often."""
        end = time.monotonic() + deadline
        patience = 0.002
        self._tracer.bury()
        waiting = self._tracer.unsettled()
        while True:
            news = self._tracer.collect(waiting)
            waiting = self._tracer.unsettled()
            if not waiting and not news:
                return
            if waiting and time.monotonic() >= end:
                raise TracerError("unsettled", count=len(waiting), **self._tracer.describe(waiting[0]))
            if not news and not self._wait(min(patience, end - time.monotonic())):
                self._tracer.bury()
                self._tracer.examine(waiting)
                patience = min(patience * 2, 0.05)

    def _let_go(self) -> None:
        """Stop also what was let run, so that a SIGSTOP under way (the stopper's) stops all before any goes on."""
        self._tracer.halt()
        end = time.monotonic() + HALT
        while (waiting := self._tracer.unsettled()) and time.monotonic() < end:
            if not self._tracer.collect(waiting):
                self._tracer.give_up(waiting)
                time.sleep(0.0002)
        self._tracer.give_back_signals()

    @contextmanager
    def _reaper_beside(self) -> Iterator[None]:
        """Reap the dead from a second thread while this one is stuck in PTRACE_SEIZE.

        A thread that calls execve holds its process's cred_guard_mutex until every other thread of the process is
        dead and reaped; PTRACE_SEIZE of that thread waits for the mutex; and the dead are ours to reap.
        """
        done = threading.Event()

        def reap() -> None:
            while not done.wait(0.05):
                self._tracer.reap_beside()

        beside = threading.Thread(target=reap, daemon=True)
        beside.start()
        try:
            yield
        finally:
            done.set()
            beside.join()

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wait(self, timeout: float | None) -> bool:
        """Wait for news of tracees in the middle of a request; False if there was none in time."""
        if self._news < 0:
            time.sleep(min(timeout or 0.0, 0.001))
            ready = self._poll.poll(0)
        else:
            ready = self._poll.poll(None if timeout is None else timeout * 1000)
        if any(fd == self._sock.fileno() for fd, _ in ready):
            raise Hangup  # nobody speaks before the reply but by hanging up
        return self._drain(ready)

    def _next(self) -> dict[str, Any]:
        """The next request. Meanwhile stops and deaths are taken in as they come."""
        pause = 1.0
        while b"\n" not in self._buffer:
            ready = self._poll.poll(None if self._news >= 0 else pause)
            if any(fd == self._sock.fileno() for fd, _ in ready):
                data = self._sock.recv(1 << 20)
                if not data:
                    raise Hangup
                self._buffer += data
            if self._drain(ready) or self._news < 0:
                # Without a signalfd: look often while something happens, at last five times a second.
                pause = 1.0 if self._tracer.collect(self._tracer.unsettled()) else min(pause * 1.5, 200.0)
                if pause == 200.0:
                    self._tracer.bury()
        line, _, self._buffer = self._buffer.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        return request

    def _drain(self, ready: list[tuple[int, int]]) -> bool:
        if any(fd == self._news for fd, _ in ready):
            os.read(self._news, abi.SIGINFO_SIZE * 8)
            return True
        return False

    def _say(self, reply: dict[str, Any]) -> None:
        self._sock.sendall(json.dumps(reply).encode() + b"\n")


def main(control_fd: int) -> None:
    """Fork one owner for every socket that comes over `control_fd`. Entry point of the owners' process."""
    control = socket.socket(fileno=control_fd)
    abi.set_name(NAME)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # owners are nobody's business when they end
    gc.freeze()  # keep pages shared with the forks
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            status = 1
            try:
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, the kernel would reap our tracees
                Owner(sock=socket.socket(fileno=fds[0])).run()
                status = 0
            finally:
                os._exit(status)
        os.close(fds[0])
