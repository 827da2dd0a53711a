"""Where the compiled parts lie: the emulated driver's libraries, the interposer and the demo engine."""

from __future__ import annotations

from pathlib import Path

from hotseat.errors import NotFound

DIRECTORY = Path(__file__).parent / "_native"
"""Holds libcuda.so.1, libnvidia-ml.so.1 (both the emulated driver), libhotseat-interposer.so, hotseat-demo-engine."""


def path(name: str) -> Path:
    """The compiled part `name`. `NotFound` if this installation was made without a compiler."""
    found = DIRECTORY / name
    if not found.is_file():
        raise NotFound(
            f"{name} is not part of this installation ({DIRECTORY})",
            hint="in a source tree run `make build`; otherwise install the wheel that carries the compiled parts",
        )
    return found
