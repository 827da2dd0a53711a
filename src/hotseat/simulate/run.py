"""One policy on one trace and one fleet, island by island. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from hotseat.simulate.fleet import Fleet
from hotseat.simulate.policies import Policy
from hotseat.simulate.results import Meter, Results, Tally
from hotseat.simulate.trace import Trace
from hotseat.simulate.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    policy: Policy
    fleet: Fleet
    results: Results
    tallies: tuple[Tally, ...]
    """One a member of the fleet."""
    meters: dict[int, Meter]
    """One a GPU."""
    seconds: float
    """From the first arrival until nothing happened any more."""
    decisions: int
    """How often the policy was asked."""

    @property
    def seats_taken(self) -> int:
        return sum(tally.seats_taken for tally in self.tallies)


def simulate(
    trace: Trace,
    fleet: Fleet,
    policy: Policy,
    *,
    tick: Callable[[int], None] = lambda _requests: None,
    every: bool = False,
) -> Outcome:
    """All requests of `trace`, whose every model is served by a member of `fleet`. `every`: see `world`."""
    results = Results(trace)
    tallies = {number: Tally() for number in range(len(fleet.members))}
    meters = {index: Meter() for index in fleet.devices}
    seconds, decisions = 0.0, 0
    islands = fleet.islands()
    requests = _by_island(trace, fleet, [members for _, members in islands])
    for (devices, members), some in zip(islands, requests, strict=True):
        world = World(
            fleet=fleet,
            devices=sorted(devices),
            members=members,
            policy=policy,
            results=results,
            requests=some,
            every=every,
        )
        world.run(tick)
        tallies |= world.tallies
        meters |= world.meters
        seconds = max(seconds, world.now)
        decisions += world.decisions
    return Outcome(
        policy=policy,
        fleet=fleet,
        results=results,
        tallies=tuple(tallies.values()),
        meters=meters,
        seconds=seconds,
        decisions=decisions,
    )


def _by_island(trace: Trace, fleet: Fleet, islands: list[list[int]]) -> list[array[int]]:
    """The requests of each, in order."""
    home = {member: number for number, members in enumerate(islands) for member in members}
    of_model = [home[member] for member in fleet.serves]
    out = [array("l") for _ in islands]
    for request, model in enumerate(trace.models):
        out[of_model[model]].append(request)
    return out
