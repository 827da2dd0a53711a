"""What to run: one record for every platform. Pure, no I/O.

Used by the demo, the tests, the bench and `hotseat up`; containers that hotseat did not create need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host path shown inside the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume that the platform keeps under a name; made when it is not there."""

    name: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port of this host that leads to one inside."""

    address: str
    host: int
    inside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container to create. A field that a platform cannot honour is refused by its `create`, never dropped."""

    name: str
    command: tuple[str, ...]
    """With an image it may be empty: the image's own."""
    entrypoint: tuple[str, ...] | None = None
    """In place of the image's."""
    image: str = ""
    """Empty for a bare process tree, or with `rootfs`."""
    rootfs: Path | None = None
    """A root file system in place of an image (Podman only)."""
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    volumes: tuple[Volume, ...] = ()
    publish: tuple[Publish, ...] = ()
    expose: tuple[int, ...] = ()
    """TCP ports that it says it listens on."""
    gpus: Literal["all"] | tuple[int, ...] = ()
    """Device indices. Docker hands them in by the NVIDIA runtime, Podman by CDI."""
    devices: tuple[str, ...] = ()
    """Host device paths (same path inside), or CDI names such as "nvidia.com/gpu=0" (Podman only)."""
    network: str = "host"
    """"host", "none", "bridge", a network's name or "container:NAME"."""
    workdir: str | None = None
    user: str | None = None
    ulimits: Mapping[str, int] = field(default_factory=dict)
    """Soft and hard at once, by the names of setrlimit(2) in lower case: {"nofile": 8192}."""
    memory_limit: int | None = None
    """Bytes."""
    shm_size: int | None = None
    """Bytes of /dev/shm."""
    cap_add: tuple[str, ...] = ()
    """Without "CAP_": ("SYS_PTRACE",)."""
    cap_drop: tuple[str, ...] = ()
    seccomp: bool = True
    """False: run without the platform's seccomp filter."""
    private_cgroups: bool = False
    """A cgroup namespace of its own."""
