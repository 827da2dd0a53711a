"""The state machine of `test_swap_machine` over workloads that go by custom storage, with a store whose worker dies."""

from __future__ import annotations

import test_swap_machine as machine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from swap_strikes import Strike, What

CALLS = (
    *("admit", "dismiss", "custom_checkpoint", "custom_restore", "copy_out", "copy_in", "held"),
    *("find", "state", "lock", "unlock", "use", "seize", "settle", "let_run", "inspect", "pause", "unpause", "kill"),
)
strikes = st.builds(
    Strike, call=st.sampled_from(CALLS), what=st.sampled_from(What), skip=st.integers(0, 3), times=st.integers(1, 3)
)
some_strikes = st.lists(strikes, max_size=3)


class CustomSwaps(machine.Swaps):
    def __init__(self) -> None:
        super().__init__()
        self.world.store.custom_storage = True

    @rule(name=machine.names, strikes=some_strikes, out=st.booleans())
    def move(self, name: str, strikes: list[Strike], out: bool) -> None:
        self.swap(name, strikes, [], out=out)

    @rule()
    def the_stores_worker_dies(self) -> None:
        self.world.store.worker_dies()


CustomSwaps.TestCase.settings = settings(
    max_examples=60, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCustomSwaps = CustomSwaps.TestCase
