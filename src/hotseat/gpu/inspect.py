"""What can be seen of a process's use of the GPU from outside, without any driver call: safe on anything, frozen too.

Pure reading of /proc. It says what is seen and never more: whether a process *allocated* managed memory, or shares
memory by CUDA IPC, only that process knows. `None` means that it could not be read.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hotseat.gpu import procfs
from hotseat.words import ProcessRef

MANAGED_ABOVE = 1 << 40
"""Addresses. A CUDA context maps one /dev/nvidia-uvm window of its own, below 64 GiB. What cudaMallocManaged maps lies
where mmap puts it, far above (measured on driver 580: plain and pinned allocations add no nvidia-uvm mapping, managed
ones do)."""

MPS_PIPE = "CUDA_MPS_PIPE_DIRECTORY"
MPS_PIPE_DEFAULT = "/tmp/nvidia-mps"

VARIABLES = (
    MPS_PIPE,
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NCCL_NVLS_ENABLE",
    "NCCL_CUMEM_ENABLE",
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC",
)
"""Nothing else is read of a process's environment: it may hold secrets."""

DEVICE = re.compile(r"/.*/nvidia(ctl|-uvm|\d+)")

PT_INTERP = 3  # elf.h


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessHints:
    process: ProcessRef
    libcuda: str | None
    """File mapped as libcuda, in the process's own mount namespace; "" if none is mapped."""
    devices: tuple[str, ...] | None
    """NVIDIA device files that it has open, sorted: "/dev/nvidia0", "/dev/nvidia-uvm", "/dev/nvidiactl". The emulated
    driver's have these names in other directories."""
    maps_device: bool | None
    """One of them is mapped: its descriptor may be closed since."""
    managed_bytes: int | None
    """Address space that looks like managed memory. 0 does not prove that there is none."""
    mps_pipe: str | None
    """Where it would meet an MPS daemon; "" if neither its environment nor its open files speak of one."""
    environment: Mapping[str, str] | None
    """Those of `VARIABLES` that it was started with."""
    libraries: frozenset[str]
    """Communication libraries in its address space that may share device memory by IPC: "libnccl", "libnvshmem"."""
    static: bool | None
    """Linked statically: no library can be preloaded into it."""

    @property
    def uses_gpu(self) -> bool:
        """Has a device open or mapped, as far as it could be read."""
        return bool(self.devices) or bool(self.maps_device)

    @property
    def opens_uvm(self) -> bool:
        """Every CUDA process does; it does not mean that it uses managed memory."""
        return any(one.endswith("/nvidia-uvm") for one in self.devices or ())


SHARING = ("libnccl", "libnvshmem")


def inspect_process(ref: ProcessRef, *, proc: Path = Path("/proc")) -> ProcessHints | None:
    """None if the process has ended, before or while it was read."""
    here = proc / str(ref.pid)
    if procfs.start_time(ref.pid, proc=str(proc)) != ref.start_time:
        return None
    maps = _text(here / "maps")
    libcuda, managed, mapped, libraries = _maps(maps) if maps is not None else (None, None, None, frozenset[str]())
    files = _open_files(here / "fd")
    environment = _environment(here / "environ")
    hints = ProcessHints(
        process=ref,
        libcuda=libcuda,
        devices=None if files is None else tuple(sorted(filter(DEVICE.fullmatch, files))),
        maps_device=mapped,
        managed_bytes=managed,
        mps_pipe=_mps_pipe(environment, files),
        environment=environment,
        libraries=libraries,
        static=is_static(here / "exe"),
    )
    return hints if procfs.start_time(ref.pid, proc=str(proc)) == ref.start_time else None


def _maps(text: str) -> tuple[str, int, bool, frozenset[str]]:
    """(libcuda, bytes that look like managed memory, a device is mapped, libraries)."""
    libcuda, managed, device = "", 0, False
    libraries: set[str] = set()
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6:
            continue
        path = fields[5].removesuffix(" (deleted)")
        name = path.rsplit("/", 1)[-1]
        if name.startswith("libcuda.so"):
            libcuda = path
        if path == "/dev/nvidia-uvm":
            low, high = (int(side, 16) for side in fields[0].split("-"))
            managed += high - low if low >= MANAGED_ABOVE else 0
        device = device or DEVICE.fullmatch(path) is not None
        libraries.update(word for word in SHARING if name.startswith(word))
    return libcuda, managed, device, frozenset(libraries)


def _open_files(directory: Path) -> set[str] | None:
    try:
        names = os.listdir(directory)
    except OSError:
        return None
    files = set()
    for name in names:
        try:
            files.add(os.readlink(directory / name))
        except OSError:
            continue  # closed meanwhile
    return files


def _environment(environ: Path) -> dict[str, str] | None:
    text = _text(environ)
    if text is None:
        return None
    pairs = (item.partition("=") for item in text.split("\0"))
    return {name: value for name, _, value in pairs if name in VARIABLES}


def _mps_pipe(environment: Mapping[str, str] | None, files: set[str] | None) -> str | None:
    if environment is None or files is None:
        return None
    if MPS_PIPE in environment:
        return environment[MPS_PIPE]
    return MPS_PIPE_DEFAULT if any(one.startswith(MPS_PIPE_DEFAULT + "/") for one in files) else ""


def is_static(exe: Path) -> bool | None:
    """Whether an ELF file names no interpreter (its dynamic loader); elf(5)."""
    try:
        with exe.open("rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2:  # 64-bit
                return None
            (offset,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            file.seek(offset)
            table = file.read(size * count)
    except OSError:
        return None
    return not any(struct.unpack_from("<I", table, at)[0] == PT_INTERP for at in range(0, len(table) - 3, size or 1))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
