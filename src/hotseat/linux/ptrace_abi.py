"""ptrace(2), wait(2), signalfd(2) and rt_sigqueueinfo(2) through ctypes, names as in the headers.

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
SI_TKILL = -6
SIGINFO_SIZE = 128

# <linux/prctl.h>, <sys/signalfd.h>
PR_SET_NAME = 15
SFD_NONBLOCK = os.O_NONBLOCK
SFD_CLOEXEC = os.O_CLOEXEC

# <asm/unistd.h>: x86-64 has its own numbers, every newer architecture the generic ones
_NR_rt_sigqueueinfo, _NR_rt_tgsigqueueinfo = (129, 297) if platform.machine() == "x86_64" else (138, 240)
_SIGSET_SIZE = 128

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_libc.syscall.restype = ctypes.c_long
_libc.signalfd.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class Change(NamedTuple):
    """What wait(2) tells of a tracee: a ptrace-stop or its death.

    `event` is a PTRACE_EVENT_*, 0 for a signal-delivery-stop of `signal`, `DEATH` for its death.
    """

    tid: int
    signal: int
    event: int


DEATH = -1


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


def queue_signal(pid: int, tid: int | None, info: bytes) -> None:
    """rt_tgsigqueueinfo (rt_sigqueueinfo without `tid`): queue a signal as `info` says, sender included.

    The kernel lets nobody forge a si_code of its own (>= 0, or SI_TKILL): those go as SI_QUEUE.
    """
    number = int.from_bytes(info[:4], "little")
    if si_code(info) >= 0 or si_code(info) == SI_TKILL:
        info = info[:8] + SI_QUEUE.to_bytes(4, "little", signed=True) + info[12:]
    block = ctypes.create_string_buffer(info, SIGINFO_SIZE)
    if tid is None:
        _check(_libc.syscall(_NR_rt_sigqueueinfo, pid, number, block))
    else:
        _check(_libc.syscall(_NR_rt_tgsigqueueinfo, pid, tid, number, block))


def wait_change(tid: int | None = None, *, deaths: bool = True) -> Change | None:
    """The next stop (or death, then it is reaped) of a thread that the caller traces; None if there is none now.

    `tid`: of this one only. "Any" costs the kernel a walk over all tracees for each answer.
    Once a process is reaped the kernel tells its real parent. If that is a thread of the calling process, the status
    is gone instead: ask without `deaths` there. (The other way round does not exist: stops are reported to a tracer
    whether it asks for them or not.)
    """
    options = os.WSTOPPED | WAIT_OWN | (os.WEXITED if deaths else 0)
    try:
        found = os.waitid(os.P_ALL if tid is None else os.P_PID, tid or 0, options)
    except ChildProcessError:
        return None
    if found is None:
        return None
    if found.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
        return Change(found.si_pid, 0, DEATH)
    return Change(found.si_pid, found.si_status & 0xFF, found.si_status >> 8)


def reap(tid: int) -> bool:
    """Reap a thread that is known to be dead and is traced by any thread of the calling process."""
    try:
        return os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | __WALL) is not None
    except ChildProcessError:
        return False


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
