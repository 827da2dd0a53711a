"""Which processes may be adopted, and what is written down of one. Reads /proc, touches nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hotseat.errors import NotFound, Refused
from hotseat.linux import proc
from hotseat.platforms.process_registry import Record, boot_id, check_name

_KTHREADD = 2


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


def _ourselves() -> set[int]:
    """This process and all above it."""
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = proc.stat(pid)
        pid = found.ppid if found else 0
    return line
