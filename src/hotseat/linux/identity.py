"""A process held by a pidfd, so that a signal never reaches another one that took over its pid."""

from __future__ import annotations

import os
import select
import signal
from types import TracebackType

from hotseat.errors import ProcessGone
from hotseat.linux import proc
from hotseat.words import ProcessRef


class Process:
    """One process for as long as it lives. Close it, or use it in a `with`."""

    def __init__(self, *, ref: ProcessRef, fd: int) -> None:
        self.ref = ref
        self.fd = fd

    @classmethod
    def open(cls, ref: ProcessRef) -> Process:
        """`ProcessGone` if it ended or its pid belongs to another process now."""
        try:
            fd = os.pidfd_open(ref.pid)
        except OSError as error:  # ESRCH: gone; EINVAL: the pid is a thread's now
            raise _gone(ref) from error
        # The descriptor pins whatever has the pid now, so the start time is compared after opening, not before.
        if not proc.same(ref):
            os.close(fd)
            raise _gone(ref)
        return cls(ref=ref, fd=fd)

    def alive(self) -> bool:
        """False once it ended, also while it is a zombie that nobody has reaped."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return not poll.poll(0)

    def signal(self, number: signal.Signals) -> None:
        """`ProcessGone` if it has been reaped; a zombie takes any signal without effect."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError as error:
            raise _gone(self.ref) from error

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: tuple[type[BaseException], BaseException, TracebackType] | None) -> None:
        self.close()


def _gone(ref: ProcessRef) -> ProcessGone:
    return ProcessGone(
        f"process {ref.pid} ended, or its pid belongs to another process now",
        hint="list the workload's processes again (`hotseat ps`)",
        pid=ref.pid,
        start_time=ref.start_time,
    )
