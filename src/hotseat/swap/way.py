"""Which way a workload's device memory takes out and in, and why: by the store, or by the driver."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hotseat.gpu.preload import Preload
from hotseat.store.port import TURNED_OFF, Held
from hotseat.words import ProcessRef

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`name`: "interposed" (all CUDA processes by the store), "custom-storage" (the same without the interposer),
    "driver", "mixed", or "" where nothing uses CUDA."""

    name: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Whether the store moves processes without the interposer; `why` not, where one runs."""

    works: bool = False
    why: str = ""
    room: int = 0
    """Bytes that its arena has at most."""


def takes_custom(preload: Preload, *, listed: Mapping[int, int], offered: bool) -> bool:
    """Of one that the store does not hold. One that has the interposer and is not connected never does: memory that a
    store lent it could not be restored (FACTS.md). `listed`: its bytes by device; where a device does not say them, no
    room could be made sure of."""
    return offered and not (preload.loaded and preload.store) and bool(listed) and all(listed.values())


def by_custom(preloads: Mapping[K, Preload], *, listed: Mapping[K, Mapping[int, int]], offer: Offer) -> set[K]:
    """Of one workload's, by whatever names them. What could never have room in the arena all goes by the driver."""
    able = {one for one in preloads if takes_custom(preloads[one], listed=listed.get(one, {}), offered=offer.works)}
    return able if sum(sum(listed[one].values()) for one in able) <= offer.room else set()


def way_of(
    *,
    cuda: Collection[ProcessRef],
    held: Mapping[ProcessRef, Held],
    custom: Collection[ProcessRef],
    preloads: Mapping[ProcessRef, Preload],
    listed: Mapping[ProcessRef, Mapping[int, int]],
    store: str,
    offer: Offer,
) -> Way:
    """`preloads`, `listed`: of those of `cuda` that are not in `held`; `custom`: those that go by custom storage.
    `store`: why none answers, or ""."""
    if not cuda:
        return Way()
    rest = [process for process in cuda if process not in held]
    custom = {*custom, *(process for process, one in held.items() if one.custom)}
    interposed = held.keys() - custom
    driver = [process for process in rest if process not in custom]
    whys = [
        why_driver(one.pid, preloads.get(one, Preload()), listed=listed.get(one, {}), store=store, offer=offer)
        for one in driver
    ]
    if custom:
        whys.insert(0, why_custom([one.pid for one in custom]))
    if driver:
        return Way(name="driver" if len(driver) == len(cuda) else "mixed", why="; ".join(whys))
    if custom:
        return Way(name="mixed" if interposed else "custom-storage", why="; ".join(whys))
    lent = sum(one.lent_bytes for one in held.values())
    return Way(name="interposed", why="the store lends it memory" if lent else "the store holds its blocks")


def why_custom(pids: Collection[int]) -> str:
    told = ", ".join(map(str, sorted(pids)))
    return f"the store has the driver map the memory of process{'es' if len(pids) > 1 else ''} {told}"


def why_driver(pid: int, preload: Preload, *, listed: Mapping[int, int], store: str, offer: Offer) -> str:
    """Why a process that the store does not hold takes the driver's way."""
    if not preload.loaded:
        wanted = offer.why and offer.why != TURNED_OFF
        without = f", and the store has no custom storage: {offer.why}" if wanted else ""
        if offer.works and listed and all(listed.values()):
            without = ", and for custom storage its workload holds more than the store's arena"
        elif offer.works:
            without = ", and no device says how much it holds, for which custom storage would have to make room"
        return f"process {pid} {preload.why_not()}{without}"
    if not preload.store:
        return f"process {pid} has the interposer without HOTSEAT_STORE, so that it passes everything through"
    if store:
        return f"process {pid} is interposed, and {store}"
    return (
        f"process {pid} is interposed and not connected to the store: it has no context yet, or a driver that "
        "the interposer does not know (its log says so)"
    )
