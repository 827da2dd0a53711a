"""Findings about the snapshot store, and about the way that a container's memory takes. Pure functions over facts."""

from __future__ import annotations

from collections.abc import Sequence

from hotseat.cli.doctor.facts import ContainerFact, Finding, Level, ProcessFact, StoreFact
from hotseat.config.units import format_size
from hotseat.store.port import TURNED_OFF
from hotseat.swap.way import why_custom, why_driver

START = "hotseat store run --arena SIZE"


def store(facts: StoreFact, *, containers: Sequence[ContainerFact]) -> list[Finding]:
    def finding(check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject="store", check=check, level=level, what=what, why=why, way_out=way_out)

    if not facts.running:
        processes = (process for container in containers for process in container.processes)
        loaded = [str(process.pid) for process in processes if process.preload.loaded and process.preload.store]
        if not loaded:
            return [finding("runs", Level.OK, f"no store runs ({facts.socket}); all memory takes the driver's way")]
        return [
            finding(
                "runs",
                Level.WARN,
                f"{facts.note or 'no store runs'}, and processes {', '.join(loaded)} are interposed",
                "without it they are parked by the driver, or not at all if an earlier store lent them memory",
                START,
            )
        ]
    by_custom = [
        process
        for container in containers
        for process in container.processes
        if process.custom and process.pid not in facts.customs
    ]
    wanted = sum(facts.held.values()) + sum(process.gpu_bytes for process in by_custom)
    populated = "" if facts.ready == facts.arena else f", {format_size(facts.ready)} of it populated so far"
    size = f"an arena of {format_size(facts.arena)}{populated}, {format_size(facts.used)} used"
    interposed = len(facts.held) - len(facts.customs)
    customs = len(facts.customs) + len(by_custom)
    others = f" and {customs} without the interposer" if customs else ""
    demand = f"{interposed} interposed processes{others} with {format_size(wanted)} of device memory"
    out = []
    if facts.custom_storage:
        out.append(
            finding(
                "custom storage",
                Level.WARN,
                "processes without the interposer go by the driver's custom storage",
                "hotseat has run that on the emulated driver only, never on a GPU",
                "try it on a copy of the workload first; a store without --custom-storage leaves them to the driver",
            )
        )
    elif facts.no_custom_storage not in ("", TURNED_OFF):
        out.append(
            finding(
                "custom storage",
                Level.WARN,
                f"custom storage was asked for, and there is none: {facts.no_custom_storage}",
                "processes without the interposer take the driver's way",
                "docs/store.md tells what it needs",
            )
        )
    if facts.note:
        out.append(
            finding("works", Level.WARN, f"works only in part: {facts.note}", "it cannot move all it should", START)
        )
    if wanted > facts.arena:
        out.append(
            finding(
                "arena",
                Level.WARN,
                f"{size}; {demand}",
                "they cannot all be parked at once, unless enough of it is zero or the same",
                "start the store with a larger --arena once nothing is parked (hotseat store stop)",
            )
        )
    else:
        out.append(finding("arena", Level.OK, f"{size}; {demand}"))
    return out


def way(facts: ContainerFact, *, store: StoreFact) -> list[Finding]:
    """Which way its memory takes, and why. Nothing where it uses no GPU."""

    def finding(level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        subject = f"{facts.platform}:{facts.name}"
        return Finding(subject=subject, check="way", level=level, what=what, why=why, way_out=way_out)

    on_gpu = [process for process in facts.processes if process.uses_gpu]
    customs = [process for process in on_gpu if process.custom]
    rest = [process for process in on_gpu if process.held_bytes is None and not process.custom]
    if not on_gpu:
        return []
    whys = [why_custom([process.pid for process in customs])] if customs else []
    if not rest:
        mixed = "custom-storage" if len(customs) == len(on_gpu) else "mixed"
        return [finding(Level.OK, f"{mixed}: {whys[0]}" if whys else "interposed: the store moves its memory")]
    name = "driver" if len(rest) == len(on_gpu) else "mixed"
    silent = "" if store.running else "no store runs"
    whys += [
        why_driver(process.pid, process.preload, listed={0: process.gpu_bytes}, store=silent, offer=store.offer)
        for process in rest
    ]
    level = Level.WARN if any(_meant_otherwise(process) for process in rest) else Level.OK
    return [
        finding(
            level,
            f"{name}: {'; '.join(whys)}",
            "the driver moves it many times slower than the store would",
            _way_out(rest, store=store),
        )
    ]


def _meant_otherwise(process: ProcessFact) -> bool:
    """Somebody wanted it interposed."""
    return process.preload.loaded or process.preload.named


def _way_out(rest: Sequence[ProcessFact], *, store: StoreFact) -> str:
    if not store.running:
        return START
    if any(process.preload.obstacle() for process in rest):
        return "nothing needs to be done: it is parked and seated all the same"
    return "start it with the interposer: `interposed` in hotseat.yaml, or hotseat store cdi"
