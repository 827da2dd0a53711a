"""A device as data, as the page at /ui, `hotseat top` and `--json` have it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotseat.words import DeviceUse


def device_entry(
    use: DeviceUse, *, owner: Mapping[int, str], cap: int | None = None, foreign: int | None = None
) -> dict[str, Any]:
    """Who holds how much of it, by the device's own account of the processes. `owner`: pid -> workload; `cap`: bytes
    that hotseat may use of it; `foreign`: bytes of nobody of ours. None: all that no owner holds."""
    held: dict[str, int] = {}
    for pid, nbytes in use.processes.items():
        if pid in owner:
            held[owner[pid]] = held.get(owner[pid], 0) + nbytes
    return {
        "index": use.device.index,
        "uuid": use.device.uuid,
        "name": use.device.name,
        "emulated": use.device.emulated,
        "total_bytes": use.device.total_bytes,
        "cap_bytes": cap,
        "used_bytes": use.used_bytes,
        "free_bytes": use.free_bytes,
        "held": held,
        "foreign_bytes": max(0, use.used_bytes - sum(held.values())) if foreign is None else foreign,
    }
