"""Stopping threads as hotseat does: PTRACE_SEIZE, PTRACE_INTERRUPT. One owner thread, the check's main thread."""

import ctypes as C
import os

import conformance_driver as driver

_libc = C.CDLL(None, use_errno=True)
_libc.ptrace.restype = C.c_long
_libc.ptrace.argtypes = (C.c_long, C.c_long, C.c_void_p, C.c_void_p)
CONT, DETACH, SEIZE, INTERRUPT = 7, 17, 0x4206, 0x4207
_WALL = 0x40000000


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) < 0:
        raise OSError(C.get_errno(), os.strerror(C.get_errno()))


def stop(pid, but=()):
    """Stops every thread but some; returns them."""
    tids = [tid for tid in driver.threads(pid) if tid not in but]
    for tid in tids:
        _ptrace(SEIZE, tid)
    for tid in tids:
        _ptrace(INTERRUPT, tid)
    for tid in tids:
        os.waitpid(tid, _WALL)
    return tids


def let_run(tid):
    _ptrace(CONT, tid)


def release(tids, running=()):
    for tid in running:
        _ptrace(INTERRUPT, tid)
        os.waitpid(tid, _WALL)
    for tid in tids:
        _ptrace(DETACH, tid)
