"""Which processes may be adopted, and what is written down of one. Reads /proc, touches nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from hotseat.errors import NotFound, Refused
from hotseat.linux import proc
from hotseat.platforms.process_registry import Record, boot_id, check_name

_KTHREADD = 2
_CONTAINER = re.compile(r"/(docker-|libpod-(?:payload-)?|)([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
"""Docker's and Podman's cgroup names, by cgroupfs and by systemd. Kubernetes' are another's business."""


def record(pid: int, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> Record:
    """`name` is the process id where none is given. Not written anywhere yet."""
    if name is not None:
        check_name(name)
    found = proc.stat(pid) if pid > 0 else None
    ref = proc.ref(pid) if found else None
    if found is None or ref is None or found.state in proc.DEAD:
        raise NotFound(f"no process {pid} runs", hint="`ps -e` lists what there is")
    if pid == 1:
        raise Refused("process 1 is the init of this host", rule="never init", hint="name the workload's own process")
    if pid == _KTHREADD or found.ppid == _KTHREADD:
        raise Refused(f"process {pid} ({found.name}) is the kernel's", rule="never the kernel", hint="name a program")
    if container := container_of((proc.read(f"{proc.PROC}/{pid}/cgroup") or b"").decode()):
        raise Refused(
            f"process {pid} ({found.name}) is part of the container {container}",
            rule="containers by their platform",
            hint=f"name the container instead: {container}",
        )
    if pid in _ourselves():
        raise Refused(
            f"hotseat itself runs beneath process {pid} ({found.name})",
            rule="never ourselves",
            hint="paused, it could not be told to go on; name the workload's own process",
        )
    return Record(
        id=f"{pid}-{ref.start_time}",
        name=name or str(pid),
        command=(proc.command(pid),),
        labels=dict(labels or {}),
        adopted=ref,
        boot_id=boot_id(),
    )


def container_of(membership: str) -> str | None:
    """ "docker:4f1c..." if one of these cgroups (/proc/PID/cgroup) is a container's. Pure."""
    found = _CONTAINER.search(membership)
    if found is None or "kubepods" in membership:
        return None
    return f"{'podman' if 'libpod' in found[1] else 'docker'}:{found[2][:12]}"


def _ourselves() -> set[int]:
    """This process and all above it."""
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = proc.stat(pid)
        pid = found.ppid if found else 0
    return line
