"""Which way a workload's device memory takes out and in, and why: by the store, or by the driver."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hotseat.store.port import Held
from hotseat.words import ProcessRef

LIBRARY = "/libhotseat-interposer.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`name`: "interposed" (all CUDA processes by the store), "driver", "mixed", or "" where nothing uses CUDA."""

    name: str = ""
    why: str = ""


def way_of(
    *, cuda: Collection[ProcessRef], held: Mapping[ProcessRef, Held], loaded: Collection[ProcessRef], store: str
) -> Way:
    """`loaded`: those of `cuda` that have the interposer's library mapped. `store`: why none answers, or ""."""
    if not cuda:
        return Way()
    rest = [process for process in cuda if process not in held]
    if not rest:
        lent = sum(one.lent_bytes for one in held.values())
        return Way(name="interposed", why="the store lends it memory" if lent else "the store holds its blocks")
    why = "; ".join(_why(process, loaded=process in loaded, store=store) for process in rest)
    return Way(name="mixed" if held else "driver", why=why)


def _why(process: ProcessRef, *, loaded: bool, store: str) -> str:
    if not loaded:
        return f"process {process.pid} has not loaded the interposer (started without it, a static binary, or musl)"
    if store:
        return f"process {process.pid} is interposed, and {store}"
    return f"process {process.pid} has loaded the interposer and is not connected to the store"


def interposer_in(processes: Collection[ProcessRef]) -> Collection[ProcessRef]:
    """Those that have the interposer's library mapped. Reads /proc; one that ended has it not."""
    return [process for process in processes if _maps(process.pid)]


def _maps(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as lines:
            return any(LIBRARY.encode() in line for line in lines)
    except OSError:
        return False
