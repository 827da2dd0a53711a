"""Processes that do a check's work and can be killed while they do it.

The check itself never loads libcuda: every actor is a child that does, so that a call that never returns can be killed
and looked at from outside."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import conformance_driver as driver

PATIENCE = 4.0  # seconds after which a call counts as hanging; run.py sets it
HANG = "hang"
ROLES = Path(__file__).with_name("conformance_actors.py")


class Died(Exception):
    """The actor ended; its wait status is the argument."""


class Actor:
    """A child that runs `Class(...)` and answers calls of its methods, one at a time."""

    def __init__(self, factory):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            serve(theirs, factory)
        theirs.close()
        self.socket = ours

    def start(self, method, *args):
        """Asks for a call without waiting for the answer."""
        data = pickle.dumps((method, args))
        self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def answer(self, patience=None):
        """The answer of the call asked for last; HANG if there is none in time (it may still come: ask again)."""
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        data = b""
        want = 4
        while True:
            ready, _, _ = select.select([self.socket], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return HANG
            try:
                got = self.socket.recv(want - len(data))
            except ConnectionResetError:
                got = b""
            if not got:
                raise Died(self.ended())
            data += got
            if len(data) == want == 4:
                want, data = int.from_bytes(data, "big"), b""
                data = self._rest(want)
                return pickle.loads(data)

    def ended(self):
        """Waits for the end; the wait status."""
        return os.waitpid(self.pid, 0)[1]

    def _rest(self, size):
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data

    def call(self, method, *args, patience=30.0):
        self.start(method, *args)
        return self.answer(patience)

    def __getattr__(self, name):
        return lambda *args: self.call(name, *args)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Spawned(Actor):
    """The same by fork and exec, for callers that have threads. `name`: a class of conformance_actors."""

    def __init__(self, name, env=None, prefix=()):
        ours, theirs = socket.socketpair()
        command = [*prefix, sys.executable, str(ROLES), name, driver.LIBRARY, driver.NVML, str(theirs.fileno())]
        self.process = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()])
        self.pid = self.process.pid
        theirs.close()
        self.socket = ours

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()

    def ended(self):
        """The exit code, negative for a signal."""
        return self.process.wait(10)


def serve(sock, factory):
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subject = factory()
        while True:
            head = sock.recv(4)
            if not head:
                os._exit(0)
            data = b""
            while len(data) < int.from_bytes(head, "big"):
                data += sock.recv(int.from_bytes(head, "big") - len(data))
            method, args = pickle.loads(data)
            reply = pickle.dumps(getattr(subject, method)(*args))
            sock.sendall(len(reply).to_bytes(4, "big") + reply)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)
