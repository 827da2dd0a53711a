"""What doctor looked at, as records. Nothing here reads anything; None means "could not be found out"."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotseat.gpu.preload import Preload
from hotseat.swap.scene import CONTEXT_MOST
from hotseat.swap.way import Offer


class Level(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, but not for everything or not for ever."""
    FAIL = "fail"
    """Will not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what it is, why that matters, what to do about it."""

    subject: str
    check: str
    level: Level
    what: str
    why: str = ""
    way_out: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "check": self.check,
            "level": self.level.value,
            "what": self.what,
            "why": self.why,
            "way_out": self.way_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """libcuda as a process of this machine finds it."""

    libcuda: str | None
    """Path of the library that was loaded."""
    emulated: bool = False
    version: int | None = None
    """cuDriverGetVersion, 13000 for CUDA 13.0."""
    release: str | None = None
    """The kernel module's, "580.159.04"."""
    checkpoint_api: bool = False
    error: str = ""
    """Why it could not be loaded or initialised."""
    nvml_error: str = ""
    others: tuple[str, ...] = ()
    """Other files of that name which the loader knows; a container may find one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    index: int
    name: str
    uuid: str
    total_bytes: int
    used_bytes: int
    emulated: bool = False
    mig: bool | None = None
    compute_mode: str | None = None
    """NVML's word: "default", "exclusive thread", "prohibited", "exclusive process"."""
    foreign: Mapping[int, int] = field(default_factory=dict)
    """Pid -> bytes of processes in no container that hotseat knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amd:
    gpus: int = 0
    kfd: bool = False
    criu: str | None = None
    """Version line of the criu program."""
    plugin: str | None = None
    """Path of CRIU's amdgpu plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    euid: int
    capabilities: int | None
    """CapEff of /proc/self/status."""
    ptrace_scope: int | None
    """/proc/sys/kernel/yama/ptrace_scope; None where the kernel has no Yama."""
    ptrace_works: bool | None = None
    """A child could be seized just now."""
    user_namespace: bool = False
    """Inside a user namespace: root here is not root of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    mode: str
    """"v2", "v1", "hybrid" (v1 with a separate v2 tree) or "none"."""
    freezer: str | None
    """Mount point of the hierarchy whose freezer would be used."""
    writable: bool = False
    memory: str | None = None
    """Mount point of the hierarchy that limits memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    kernel: str
    memory_total: int
    memory_available: int
    swap_total: int
    huge_pages: str
    """Transparent huge pages: "always", "madvise", "never" or "unknown"."""
    nofile: int
    """Soft limit of open files; each thread held and each process watched takes one."""
    nproc: int
    """Soft limit of processes; -1 = none."""
    mps: tuple[int, ...] = ()
    """Pids of nvidia-cuda-mps-control and nvidia-cuda-mps-server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFact:
    """One container platform of this machine."""

    name: str
    program: str | None
    socket: str | None = None
    answers: bool = False
    version: str = ""
    api: str = ""
    runtime: str = ""
    cgroup_driver: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFact:
    """One process of a container, as /proc shows it."""

    pid: int
    command: str
    threads: int
    state: str
    """The letter of proc(5): R, S, D, T, t, Z, ..."""
    uses_gpu: bool
    """Has a GPU device (or the emulated one) open."""
    libcuda: str | None = None
    """Path of the libcuda in its address space, as the process sees it."""
    managed_bytes: int = 0
    """Unified memory mapped into its address space."""
    tracer: int = 0
    tracer_command: str = ""
    libraries: frozenset[str] = frozenset()
    """Those of `gpu.inspect.SHARING` in its address space."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Those of `gpu.inspect.VARIABLES` that it was started with."""
    gpu_bytes: int = 0
    resident: int = 0
    preload: Preload = field(default_factory=Preload)
    held_bytes: int | None = None
    """Of its memory that the store moves; None: the store does not hold it."""
    custom: bool = False
    """The store moves it by custom storage, or would."""

    @property
    def parks_bytes(self) -> int:
        """Host memory of its own that parking takes. What the store moves goes into its arena, outside of it."""
        return min(self.gpu_bytes, CONTEXT_MOST) if self.custom else max(0, self.gpu_bytes - (self.held_bytes or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFact:
    key: str
    name: str
    platform: str
    status: str
    processes: tuple[ProcessFact, ...] = ()
    devices: frozenset[int] = frozenset()
    """Indices of the GPUs that its processes use."""
    memory_limit: int | None = None
    memory_used: int = 0
    error: str = ""
    """Why it could not be looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFact:
    """The snapshot store. Bytes."""

    socket: str
    running: bool = False
    arena: int = 0
    ready: int = 0
    used: int = 0
    held: Mapping[int, int] = field(default_factory=dict)
    """Pid -> bytes of device memory of every process that is connected to it, seated or parked."""
    custom_storage: bool = False
    """It moves processes without the interposer too."""
    no_custom_storage: str = ""
    """Why not, where it runs."""
    room: int = 0
    """Bytes that its arena has at most."""
    customs: frozenset[int] = frozenset()
    """Pids of `held` that left by it."""
    note: str = ""
    """Why it does not run, or works only in part."""

    @property
    def offer(self) -> Offer:
        return Offer(works=self.custom_storage, why=self.no_custom_storage, room=self.room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    driver: Driver
    gpus: tuple[Gpu, ...]
    amd: Amd
    rights: Rights
    cgroups: Cgroups
    host: Host
    store: StoreFact
    platforms: tuple[PlatformFact, ...]
    containers: tuple[ContainerFact, ...]
