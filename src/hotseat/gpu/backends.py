"""Ways to take a workload off a GPU, and where another one would enter.

There are two kinds. `CUDA_CHECKPOINT` moves device memory only, in and out of a live process:
`gpu.port.CheckpointDriver`. `AMDGPU_CRIU` has no such call: the kernel's KFD hands queues and VRAM to CRIU's amdgpu
plugin, which writes them into the images of the *whole* process tree, and the tree ends. So it is not another
`CheckpointDriver`. It gives seated -> stored and back, by the `ImageDriver` protocol below; whoever writes it needs
- criu >= 4.0 with amdgpu_plugin.so, as root, /dev/kfd and the /dev/dri render nodes of the container;
- every GPU process in the dumped tree (the plugin restores queues and events by process);
- VRAM room at restore, checked before, as for a swap in; the same gfx target (KFD_*_CHECK of criu-amdgpu-plugin(1)).
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Protocol

from hotseat.errors import Refused
from hotseat.gpu.amd import AmdFacts
from hotseat.words import ProcessRef


class Backend(enum.StrEnum):
    CUDA_CHECKPOINT = "cuda-checkpoint"
    AMDGPU_CRIU = "amdgpu-criu"


class ImageDriver(Protocol):
    """Whole process trees to disk and back. Not implemented by hotseat yet."""

    async def dump(self, root: ProcessRef, images: Path, *, deadline: float) -> None:
        """Write the tree under `root` with its device memory to the empty directory `images`; the tree ends. On
        failure it runs on as if nothing had happened (`Failed`)."""
        ...

    async def restore(self, images: Path, *, deadline: float) -> ProcessRef:
        """Bring the tree back under its old pids. The images stay, so that a failure may be tried again (`Failed`)."""
        ...


IMPLEMENTED = frozenset({Backend.CUDA_CHECKPOINT})


def backend_for(*, nvidia: int, amd: AmdFacts) -> Backend:
    """The backend of a machine with `nvidia` NVIDIA GPUs and these AMD ones. `Refused` if hotseat has none for it."""
    if nvidia:
        return Backend.CUDA_CHECKPOINT
    if any(gpu.compute for gpu in amd.gpus):
        return require(Backend.AMDGPU_CRIU)
    raise Refused(
        "this machine has no GPU that hotseat can work with",
        rule="no-gpu",
        hint="to try hotseat without one, use the emulated driver: `hotseat demo`",
    )


def require(backend: Backend) -> Backend:
    """`Refused` for a backend that hotseat does not have yet."""
    if backend in IMPLEMENTED:
        return backend
    raise Refused(
        "parking on AMD GPUs is not supported yet",
        rule="amd-not-supported",
        hint="stop and start such containers instead, or dump them by hand: `criu dump` with CRIU's amdgpu plugin "
        "(criu-amdgpu-plugin(1))",
    )
