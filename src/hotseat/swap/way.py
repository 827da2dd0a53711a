"""Which way a workload's device memory takes out and in, and why: by the store, or by the driver."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hotseat.gpu.preload import Preload
from hotseat.store.port import Held
from hotseat.words import ProcessRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`name`: "interposed" (all CUDA processes by the store), "driver", "mixed", or "" where nothing uses CUDA."""

    name: str = ""
    why: str = ""


def way_of(
    *, cuda: Collection[ProcessRef], held: Mapping[ProcessRef, Held], preloads: Mapping[ProcessRef, Preload], store: str
) -> Way:
    """`preloads`: of those of `cuda` that are not in `held`. `store`: why none answers, or ""."""
    if not cuda:
        return Way()
    rest = [process for process in cuda if process not in held]
    if not rest:
        lent = sum(one.lent_bytes for one in held.values())
        return Way(name="interposed", why="the store lends it memory" if lent else "the store holds its blocks")
    why = "; ".join(why_driver(process.pid, preloads.get(process, Preload()), store=store) for process in rest)
    return Way(name="mixed" if held else "driver", why=why)


def why_driver(pid: int, preload: Preload, *, store: str) -> str:
    """Why a process that the store does not hold takes the driver's way."""
    if not preload.loaded:
        return f"process {pid} {preload.why_not()}"
    if not preload.store:
        return f"process {pid} has the interposer without HOTSEAT_STORE, so that it passes everything through"
    if store:
        return f"process {pid} is interposed, and {store}"
    return (
        f"process {pid} is interposed and not connected to the store: it has no context yet, or a driver that "
        "the interposer does not know (its log says so)"
    )
