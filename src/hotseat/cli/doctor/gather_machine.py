"""Reads facts about the host from /proc, /sys and the loader. `root` lets tests give a tree of their own."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from hotseat.cli.doctor.facts import Amd, Cgroups, Host, Rights
from hotseat.gpu.amd import detect
from hotseat.gpu.describe import mps_pids
from hotseat.linux import proc

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
"""linux/ptrace.h."""
PLUGIN_PLACES = ("usr/lib/criu", "usr/local/lib/criu", "usr/lib/x86_64-linux-gnu/criu")


def read(path: Path) -> str | None:
    """The file's text, stripped; None if it is not there or may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def rights(root: Path = Path("/")) -> Rights:
    status = read(root / "proc/self/status") or ""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    scope = read(root / "proc/sys/kernel/yama/ptrace_scope")
    effective = fields.get("CapEff", "").strip()
    return Rights(
        euid=os.geteuid(),
        capabilities=int(effective, 16) if effective else None,
        ptrace_scope=int(scope) if scope and scope.isdigit() else None,
        ptrace_works=_try_ptrace(),
        user_namespace=not _whole_uid_map(read(root / "proc/self/uid_map")),
    )


def _whole_uid_map(text: str | None) -> bool:
    """The first user namespace maps every uid to itself."""
    return text is None or text.split() == ["0", "0", str(2**32 - 1)]


def _try_ptrace() -> bool | None:
    """Seize a child of our own, as a swap seizes strangers; None where libc is not as we know it."""
    try:
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    except (OSError, AttributeError):
        return None
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            works = ptrace(PTRACE_SEIZE, child.pid, None, None) == 0
        finally:
            child.kill()
            child.wait(timeout=10)
    return bool(works)


def cgroups(root: Path = Path("/")) -> Cgroups:
    """From /proc/mounts: which hierarchies there are and whether one with a freezer can be written."""
    unified: str | None = None
    freezer: str | None
    memory: str | None
    v1: dict[str, str] = {}
    for line in (read(root / "proc/mounts") or "").splitlines():
        _, where, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            unified = unified or where
        elif kind == "cgroup":
            for controller in options.split(","):
                v1.setdefault(controller, where)
    if unified and not v1:
        freezer, memory, mode = unified, unified, "v2"
    elif v1:
        # The v1 freezer where there is one; else the separate v2 tree, which freezes as well.
        freezer, memory = v1.get("freezer", unified), v1.get("memory", unified)
        mode = "hybrid" if unified else "v1"
    else:
        return Cgroups(mode="none", freezer=None)
    return Cgroups(
        mode=mode,
        freezer=freezer,
        writable=freezer is not None and os.access(root / freezer.lstrip("/"), os.W_OK),
        memory=memory,
    )


def host(root: Path = Path("/")) -> Host:
    memory = proc.parse_fields(proc.read(str(root / "proc/meminfo")) or b"")
    pages = read(root / "sys/kernel/mm/transparent_hugepage/enabled") or ""
    chosen = pages[pages.find("[") + 1 : pages.find("]")] if "[" in pages else "unknown"
    return Host(
        kernel=read(root / "proc/sys/kernel/osrelease") or "unknown",
        memory_total=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        swap_total=memory.get("SwapTotal", 0),
        huge_pages=chosen,
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        nproc=resource.getrlimit(resource.RLIMIT_NPROC)[0],
        mps=mps_pids(root / "proc"),
    )


def amd(root: Path = Path("/")) -> Amd:
    seen = detect(root)
    plugin = next(
        (str(path) for place in PLUGIN_PLACES if (path := root / place / "amdgpu_plugin.so").is_file()),
        None,
    )
    return Amd(
        gpus=len(seen.gpus),
        kfd=seen.kfd,
        criu=_first_line("criu", "--version"),
        plugin=plugin,
    )


def _first_line(program: str, *arguments: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return path
    return (done.stdout or done.stderr).strip().partition("\n")[0] or path
