"""Reads facts about one process from /proc; no driver call, so it is safe on anything, frozen or not."""

from __future__ import annotations

import os
from pathlib import Path

from hotseat.cli.doctor.facts import INTERESTING, VARIABLES, ProcessFact
from hotseat.cli.doctor.gather_machine import read

LOW_ADDRESSES = 1 << 40
"""A CUDA context maps one /dev/nvidia-uvm window of its own, below 64 GiB. What cudaMallocManaged maps lies where mmap
puts it, far above (measured on driver 580: plain and pinned allocations add no nvidia-uvm mapping, managed ones do)."""

GPU_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")


def process(pid: int, *, gpu_bytes: int = 0, root: Path = Path("/")) -> ProcessFact | None:
    """None if it is gone."""
    here = root / "proc" / str(pid)
    status = read(here / "status")
    if status is None:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    tracer = int(fields.get("TracerPid", "0"))
    libcuda, managed, libraries, devices = _maps(read(here / "maps") or "")
    return ProcessFact(
        pid=pid,
        command=fields.get("Name", "?").strip(),
        threads=int(fields.get("Threads", "1")),
        state=fields.get("State", "?").split()[0],
        uses_gpu=bool(gpu_bytes) or devices or _opens_gpu(here / "fd"),
        libcuda=libcuda,
        managed_bytes=managed,
        tracer=tracer,
        tracer_command=(read(root / "proc" / str(tracer) / "comm") or "") if tracer else "",
        libraries=libraries,
        environment=_environment(here / "environ"),
        gpu_bytes=gpu_bytes,
        resident=int(fields.get("VmRSS", "0 kB").split()[0]) * 1024,
    )


def _maps(text: str) -> tuple[str | None, int, frozenset[str], bool]:
    """(path of libcuda, bytes of managed memory, interesting libraries, a GPU device is mapped)."""
    libcuda: str | None = None
    managed = 0
    libraries: set[str] = set()
    devices = False
    for line in text.splitlines():
        parts = line.split(None, 5)
        if len(parts) < 6:
            continue
        path = parts[5].removesuffix(" (deleted)")
        name = path.rsplit("/", 1)[-1]
        if name.startswith("libcuda.so"):
            libcuda = path
        elif path == "/dev/nvidia-uvm":
            start, end = (int(side, 16) for side in parts[0].split("-"))
            managed += end - start if start >= LOW_ADDRESSES else 0
        libraries.update(word for word in INTERESTING if name.startswith(word))
        devices = devices or path in GPU_DEVICES
    return libcuda, managed, frozenset(libraries), devices


def _opens_gpu(directory: Path) -> bool:
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    for name in names:
        try:
            target = os.readlink(directory / name)
        except OSError:
            continue
        # The emulated driver's files have the same names in another directory.
        if target in GPU_DEVICES or target.rsplit("/", 1)[-1] in ("nvidiactl", "nvidia0"):
            return True
    return False


def _environment(path: Path) -> dict[str, str]:
    try:
        raw = path.read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in raw.split(b"\0"))
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, _, value in pairs
        if key.decode(errors="replace") in VARIABLES
    }
