"""ptrace(2), wait(2), signalfd(2) and rt_tgsigqueueinfo(2) through ctypes, names as in the headers.

Imports nothing of hotseat. Every function raises `OSError` with the call's errno and nothing else.
ptrace belongs to the thread that seized: all of these must be called by that thread.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Iterable
from typing import NamedTuple

# <linux/ptrace.h>
PTRACE_CONT = 7
PTRACE_DETACH = 17
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_LISTEN = 0x4208

PTRACE_EVENT_FORK = 1
PTRACE_EVENT_VFORK = 2
PTRACE_EVENT_CLONE = 3
PTRACE_EVENT_EXEC = 4
PTRACE_EVENT_STOP = 128

PTRACE_O_TRACEFORK = 1 << PTRACE_EVENT_FORK
PTRACE_O_TRACEVFORK = 1 << PTRACE_EVENT_VFORK
PTRACE_O_TRACECLONE = 1 << PTRACE_EVENT_CLONE
PTRACE_O_TRACEEXEC = 1 << PTRACE_EVENT_EXEC

# <linux/wait.h>
__WNOTHREAD = 0x20000000
__WALL = 0x40000000
WAIT_OWN = __WALL | __WNOTHREAD | os.WNOHANG
"""Only what the calling thread traces, whatever its exit signal, without waiting: never another thread's child."""

# <asm-generic/siginfo.h>
SI_QUEUE = -1
SIGINFO_SIZE = 128
CLD_TRAPPED = 4

# <linux/prctl.h>, <sys/signalfd.h>
PR_SET_NAME = 15
SFD_NONBLOCK = os.O_NONBLOCK
SFD_CLOEXEC = os.O_CLOEXEC

_NR_rt_tgsigqueueinfo = 297 if platform.machine() == "x86_64" else 240
_SIGSET_SIZE = 128

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_libc.syscall.restype = ctypes.c_long
_libc.signalfd.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class Stop(NamedTuple):
    """One ptrace-stop: `event` is a PTRACE_EVENT_*, or 0 for a signal-delivery-stop of `signal`."""

    tid: int
    signal: int
    event: int


def _check(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def ptrace(request: int, tid: int, data: int = 0) -> None:
    _check(_libc.ptrace(request, tid, None, data))


def geteventmsg(tid: int) -> int:
    """PTRACE_GETEVENTMSG: the new thread's id at a fork, vfork or clone event, the former one at an exec event."""
    message = ctypes.c_ulong()
    _check(_libc.ptrace(PTRACE_GETEVENTMSG, tid, None, ctypes.addressof(message)))
    return message.value


def getsiginfo(tid: int) -> bytes:
    """PTRACE_GETSIGINFO: the siginfo_t of the signal-delivery-stop that `tid` is in."""
    info = ctypes.create_string_buffer(SIGINFO_SIZE)
    _check(_libc.ptrace(PTRACE_GETSIGINFO, tid, None, ctypes.addressof(info)))
    return info.raw


def si_code(info: bytes) -> int:
    """siginfo_t.si_code: positive when the kernel itself raised the signal (a fault, a child's exit)."""
    return int.from_bytes(info[8:12], "little", signed=True)


def rt_tgsigqueueinfo(tgid: int, tid: int, info: bytes) -> None:
    """Queue a signal to one thread as `info` says, sender included.

    The kernel lets nobody forge a si_code of its own (>= 0, or SI_TKILL): those go as SI_QUEUE.
    """
    number = int.from_bytes(info[:4], "little")
    if si_code(info) >= 0 or si_code(info) == -6:
        info = info[:8] + SI_QUEUE.to_bytes(4, "little", signed=True) + info[12:]
    _check(_libc.syscall(_NR_rt_tgsigqueueinfo, tgid, tid, number, ctypes.create_string_buffer(info, SIGINFO_SIZE)))


def wait_stop(tid: int | None = None) -> Stop | None:
    """The next ptrace-stop of a thread that the caller traces (`tid`, or any); None if there is none now.

    Reaps nothing. "Any" costs the kernel a walk over all tracees for each answer, so ask for known ones by id.
    """
    try:
        found = os.waitid(os.P_ALL if tid is None else os.P_PID, tid or 0, os.WSTOPPED | WAIT_OWN)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return Stop(found.si_pid, found.si_status & 0xFF, found.si_status >> 8)


def reap(tid: int | None = None, *, any_thread: bool = False) -> int | None:
    """Reap one dead thread that the caller (`any_thread`: any thread of its process) traces: `tid`, or whichever.

    Returns its id, None if none is dead.

    The kernel then tells the exit of a process to its real parent, unless that is a thread of the calling process:
    in that case the status is gone, so never call it for such a child.
    """
    try:
        whose = WAIT_OWN & ~__WNOTHREAD if any_thread else WAIT_OWN
        found = os.waitid(os.P_ALL if tid is None else os.P_PID, tid or 0, os.WEXITED | whose)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def signalfd(signals: Iterable[int]) -> int:
    """A descriptor that is readable while one of `signals` is pending. Block them first."""
    mask = bytearray(_SIGSET_SIZE)
    for number in signals:
        mask[(number - 1) // 8] |= 1 << (number - 1) % 8
    block = (ctypes.c_char * _SIGSET_SIZE).from_buffer(mask)
    return _check(_libc.signalfd(-1, ctypes.addressof(block), SFD_NONBLOCK | SFD_CLOEXEC))


def set_name(name: str) -> None:
    """PR_SET_NAME: what /proc/PID/comm shows of the calling thread."""
    _check(_libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0))


FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS})
"""Signals that an instruction raises; going on without them would raise them again for ever."""
