"""The state machine of `test_swap_machine` over workloads whose blocks the store has, and that come in ahead."""

from __future__ import annotations

import contextlib

import test_swap_machine as machine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from swap_strikes import HotseatDied, Strike, What
from swap_world import MIB

from hotseat.errors import HotseatError
from hotseat.testing.gpu import Effect, Fault

CALLS = (
    *("held", "take", "move_out", "move_in", "give", "claim", "claim", "ahead"),
    *("state", "lock", "checkpoint", "restore", "unlock", "use", "inspect", "pause", "unpause"),
)
DEATHS = (What.DIE, What.DIE_AFTER)
strikes = st.builds(
    Strike, call=st.sampled_from(CALLS), what=st.sampled_from(What), skip=st.integers(0, 3), times=st.integers(1, 3)
)
some_strikes = st.lists(strikes, max_size=3).filter(
    # A swap that is cancelled and then killed raises its cancellation here: nobody would know of the death.
    lambda some: not {What.CANCEL} < {one.what for one in some if one.what in (What.CANCEL, *DEATHS)}
)
faults = st.builds(
    Fault,
    op=st.sampled_from(machine.OPS),
    effect=st.sampled_from([*machine.READING, Effect.DIE]),
    skip=st.integers(0, 4),
    times=st.integers(1, 2),
)
some_faults = st.lists(faults, max_size=1)


class SwapsAhead(machine.Swaps):
    @initialize()
    def two_that_do_not_fit_together_and_one_beside(self) -> None:
        self.world.store.slow = True
        self.world.container("a", {0: 50 * MIB}, {0: 100 * MIB, 1: 40 * MIB})
        self.world.interpose("a", {0: 350 * MIB}, {1: 260 * MIB})
        self.world.container("c", others=2)
        self.swap("a", [], [], out=True)
        self.world.container("b", {0: 100 * MIB})
        self.world.interpose("b", {0: 600 * MIB})

    @rule(name=machine.names, strikes=some_strikes, faults=some_faults)
    def park(self, name: str, strikes: list[Strike], faults: list[Fault]) -> None:
        self.swap(name, strikes, faults, out=True)

    @rule(name=machine.names, strikes=some_strikes, faults=some_faults)
    def seat(self, name: str, strikes: list[Strike], faults: list[Fault]) -> None:
        self.swap(name, strikes, faults, out=False)

    @rule(name=machine.names, strikes=some_strikes)
    def comes_ahead(self, name: str, strikes: list[Strike]) -> None:
        self.loop.run_until_complete(self._ahead(name, strikes))

    async def _ahead(self, name: str, strikes: list[Strike]) -> None:
        others = {other: self.shown(other) for other in self.world.boxes}
        self.world.strikes = strikes
        with contextlib.suppress(HotseatError, HotseatDied):
            await self.world.swapper().ahead(self.world.workload(name))
        self.world.strikes = []
        assert {other: self.shown(other) for other in others} == others

    @rule()
    def more_of_it_comes(self) -> None:
        self.world.store.grow()


SwapsAhead.TestCase.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSwapsAhead = SwapsAhead.TestCase
