"""What a swap refuses before it touches anything, and why. Pure; each refusal names its rule and the way out."""

from __future__ import annotations

from collections.abc import Collection

from hotseat.config.units import format_size
from hotseat.errors import NoRoom, Refused
from hotseat.linux.port import HostMemory
from hotseat.platforms import remedies
from hotseat.platforms.port import Container, Status
from hotseat.store.port import HeldState
from hotseat.swap.policy import Policy
from hotseat.swap.port import Observation
from hotseat.words import ProcessRef, ProcessState, State


def refuse_out(name: str, seen: Observation, *, recorded: bool) -> Refused | None:
    """Why `name` must not be swapped out now, or None. A parked workload is not refused: that is done already.
    `recorded`: the journal has a record of it."""
    container = seen.container
    if seen.state is State.QUARANTINED:
        return quarantined(name, seen)
    if seen.state is State.STOPPED:
        return Refused(
            f"{name} does not run ({container.status})",
            rule="not running",
            hint=f"nothing is to be parked; to start it: {remedies.start(container.platform, container.name)}",
        )
    if seen.state is State.PAUSED:
        return Refused(
            f"{name} was paused by someone else and a frozen process cannot be locked",
            rule="paused",
            hint=f"{_unpause(container)}; then try again",
        )
    if seen.state is State.PARKED:
        return None if recorded else _checkpointed_by_others(name)
    strange = sorted(process.pid for process, state in seen.cuda.items() if state not in (ProcessState.RUNNING, None))
    if strange:
        return Refused(
            f"process {', '.join(map(str, strange))} of {name} is locked or checkpointed by someone else",
            rule="foreign checkpoint",
            hint="finish that first, e.g. `cuda-checkpoint --toggle --pid PID`, then try again",
            pids=strange,
        )
    return None


def refuse_lent(name: str, seen: Observation, *, lent: Collection[ProcessRef], store: str) -> Refused | None:
    """Why the store's part of a swap out cannot be done. `lent`: its processes that came back by the store earlier, so
    that the store's memory may be mapped in them; without the store a checkpoint would lose them (FACTS.md).
    `store`: why none answers."""
    for process in seen.cuda:
        held = seen.held.get(process)
        if held is None and process in lent:
            why = store or "the store does not know it"
            hint = "start the store again (hotseat store run --arena SIZE), or restart the workload: a cold start"
        elif held is not None and held.state is HeldState.LOST:
            why, hint = f"the store has lost it: {held.note}", "restart the workload: a cold start"
        elif held is not None and not held.connected:
            why, hint = "its connection to the store is lost and not made again yet", "try again"
        else:
            continue
        return Refused(
            f"process {process.pid} of {name} uses memory of the store, and {why}; parked now it could not be restored",
            rule="store",
            hint=hint,
            pids=[process.pid],
        )
    return None


def refuse_in(name: str, seen: Observation, *, recorded: bool) -> Refused | None:
    """Why `name` must not be swapped in now, or None. A seated workload is not refused: that is done already."""
    container = seen.container
    if seen.state is State.QUARANTINED:
        return quarantined(name, seen)
    if seen.state is State.STOPPED:
        return Refused(
            f"{name} does not run ({container.status}) {seen.note}".strip(),
            rule="not running",
            hint=f"nothing is parked; to start it: {remedies.start(container.platform, container.name)}",
        )
    if seen.state is State.PAUSED:
        return Refused(
            f"{name} was paused by someone else, not parked by hotseat",
            rule="paused",
            hint=_unpause(container),
        )
    if seen.state is State.PARKED and not recorded:
        return _checkpointed_by_others(name)
    return None


def _unpause(container: Container) -> str:
    return remedies.unpause(container.platform, container.name, pid=container.pid)


def _checkpointed_by_others(name: str) -> Refused:
    return Refused(
        f"{name} was checkpointed by someone else, and no one recorded how much device memory it needs",
        rule="foreign checkpoint",
        hint="bring it back with the tool that parked it; a restore that runs out of memory is final",
    )


def no_custom_storage(name: str, *, why: str) -> Refused:
    """For one that was parked by it. The store has its memory, and could not give it back."""
    return Refused(
        f"{name} was parked by custom storage, and this store has none: {why}",
        rule="custom storage",
        hint="start the store as it was (hotseat store run --custom-storage), or restart the workload: a cold start",
    )


def quarantined(name: str, seen: Observation) -> Refused:
    container = seen.container
    ended = container.status in (Status.EXITED, Status.CREATED)
    way = (remedies.start if ended else remedies.restart)(container.platform, container.name)
    return Refused(
        f"{name} is quarantined: {seen.note}",
        rule="quarantined",
        hint=f"a cold start ends the quarantine: {way}",
    )


def admit(name: str, *, container: Container, host: HostMemory, gpu_bytes: int, policy: Policy) -> NoRoom | None:
    """Whether the host can take what the devices give up. The driver moves it into the processes' own memory, so it
    counts against the container's limit too (FACTS.md)."""
    need = policy.host_need(gpu_bytes)
    rooms = [("the host has", host.available, "free memory on the host: park or stop something else, or add memory")]
    if host.limit is not None and container.shares_memory_limit:
        hint = remedies.raise_memory_limit(container.platform, container.name, host.used + need)
        rooms.append(("the container's memory limit leaves", max(0, host.limit - host.used), hint))
    what, room, hint = min(rooms, key=lambda entry: entry[1])
    if room >= need:
        return None
    lacking = need - room
    return NoRoom(
        f"parking {name} takes {format_size(need)} of host memory, {what} {format_size(room)}: "
        f"{lacking} bytes are lacking",
        rule="host memory",
        hint=hint,
        needed=need,
        available=room,
        lacking=lacking,
    )
