"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from hotseat.config.units import format_size
from hotseat.words import DeviceUse


def describe(uses: Sequence[DeviceUse]) -> dict[str, str]:
    """CPU, memory, kernel, devices; no host name, no path."""
    return {
        "cpu": f"{_cpu()}, {os.cpu_count()} threads",
        "memory": format_size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "devices": "; ".join(
            f"{use.device.name} ({format_size(use.device.total_bytes)}{', emulated' if use.device.emulated else ''})"
            for use in uses
        )
        or "none",
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
