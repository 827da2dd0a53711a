"""A Hypothesis state machine: several workloads, two hotseat processes, a person, and faults, in any order.

Invariants: see `swap_checks.stable`, `World.violations`, and the end of each rule. A fault that the real world forgives
must be forgiven here; one that it does not must end in a quarantine that says why.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import looptime
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from swap_checks import close, stable
from swap_strikes import HotseatDied, Strike, What
from swap_world import MIB, World

from hotseat.errors import HotseatError, NoRoom, Quarantined, Refused, RolledBack
from hotseat.platforms.port import Status
from hotseat.testing.gpu import Effect, Fault
from hotseat.words import State, SwapReport

NAMES = ("a", "b", "c")
CALLS = (
    *("find", "state", "lock", "checkpoint", "restore", "unlock"),
    *("use", "seize", "settle", "let_run", "inspect", "pause", "unpause", "kill"),
)
READING = (Effect.RESULT, Effect.HANG, Effect.HANG_AFTER, Effect.WORKER_DIES, Effect.WORKER_DIES_AFTER)
OPS = ("find", "state", "lock", "checkpoint", "restore", "unlock")

names = st.sampled_from(NAMES)
strikes = st.builds(
    Strike, call=st.sampled_from(CALLS), what=st.sampled_from(What), skip=st.integers(0, 3), times=st.integers(1, 3)
)
faults = st.builds(
    Fault,
    op=st.sampled_from(OPS),
    effect=st.sampled_from([*READING, Effect.DIE]),
    skip=st.integers(0, 4),
    times=st.integers(1, 2),
) | st.builds(Fault, op=st.sampled_from(OPS[2:]), effect=st.just(Effect.FAIL), skip=st.integers(0, 4))
some_strikes = st.lists(strikes, max_size=2)
some_faults = st.lists(faults, max_size=2)


class Swaps(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hotseat-machine-"))
        self.loop = looptime.new_event_loop(start=0)
        self.world = World(state_dir=self.directory, devices=(1000 * MIB, 600 * MIB))

    def teardown(self) -> None:
        self.world.journal.close()
        close(self.loop)
        shutil.rmtree(self.directory)

    @initialize()
    def two_that_do_not_fit_together_and_one_beside(self) -> None:
        self.world.container("a", {0: 400 * MIB}, {0: 100 * MIB, 1: 300 * MIB})
        self.world.container("c", others=2)
        self.swap("a", [], [], out=True)
        self.world.container("b", {0: 700 * MIB})

    # -- what hotseat is asked to do

    @rule(name=names, strikes=some_strikes, faults=some_faults)
    def park(self, name: str, strikes: list[Strike], faults: list[Fault]) -> None:
        self.swap(name, strikes, faults, out=True)

    @rule(name=names, strikes=some_strikes, faults=some_faults)
    def seat(self, name: str, strikes: list[Strike], faults: list[Fault]) -> None:
        self.swap(name, strikes, faults, out=False)

    def swap(self, name: str, strikes: list[Strike], faults: list[Fault], *, out: bool) -> None:
        self.loop.run_until_complete(self._swap(name, strikes, faults, out=out))

    async def _swap(self, name: str, strikes: list[Strike], faults: list[Fault], *, out: bool) -> None:
        world = self.world
        box = world.boxes[name]
        before = await world.swapper().observe(world.workload(name))
        others = {other: self.shown(other) for other in world.boxes if other != name}
        world.strikes, world.gpu.faults = strikes, faults
        world.calls.clear()
        came = await self._attempt(name, out=out)
        world.strikes, world.gpu.faults = [], []
        committed = "checkpoint" in world.calls or "restore" in world.calls
        if isinstance(came, HotseatDied):
            await world.swapper().recover(world.workload(name))
        seen = await stable(world, name)
        assert {other: self.shown(other) for other in others} == others, "another workload was touched"
        if isinstance(came, Quarantined):
            assert seen.state is State.QUARANTINED
            assert seen.note
        if isinstance(came, Refused) and not isinstance(came, NoRoom):
            assert seen.state is before.state
        if isinstance(came, SwapReport):
            assert seen.state is (State.PARKED if out else State.SEATED)
        if isinstance(came, RolledBack):
            assert seen.state in (State.SEATED, State.PARKED)
        quiet = not isinstance(came, HotseatDied) and not any(f.effect in (Effect.FAIL, Effect.DIE) for f in faults)
        if not committed and quiet and box.container.status is not Status.EXITED and len(strikes) + len(faults) <= 1:
            assert seen.state is before.state or isinstance(came, SwapReport), (before, seen, came)
        if not strikes and not faults:
            assert isinstance(came, (SwapReport, Refused)), came

    async def _attempt(self, name: str, *, out: bool) -> object:
        swapper, workload = self.world.swapper(), self.world.workload(name)
        self.world.caller = asyncio.create_task(swapper.swap_out(workload) if out else swapper.swap_in(workload))
        try:
            return await self.world.caller
        except (HotseatError, asyncio.CancelledError) as error:
            return error
        except HotseatDied as died:
            self.world.hotseat_dies()
            return died

    # -- what others do meanwhile

    @rule(name=names)
    def a_person_restarts_it(self, name: str) -> None:
        world = self.world
        box = world.boxes[name]
        world.restart(box)
        for device, nbytes in ((0, 700 * MIB),) if name == "b" else ():
            if world.gpu.free(device) >= nbytes:
                world.spawn(box, {device: nbytes})

    @rule(name=names)
    def a_person_unpauses_it(self, name: str) -> None:
        box = self.world.boxes[name]
        if box.container.status is Status.PAUSED:
            self.world.set_status(box, Status.RUNNING)

    @rule(name=names)
    def a_person_kills_it(self, name: str) -> None:
        self.world.exit(self.world.boxes[name])

    # -- what must hold at all times

    def shown(self, name: str) -> object:
        box, processes = self.world.boxes[name], self.world.gpu.processes
        gpu = [
            (ref, one.state, one.on_device, dict(one.holds)) for ref, one in processes.items() if ref in box.processes
        ]
        return box.container, list(box.processes), set(box.held), gpu

    @invariant()
    def the_rules_of_the_driver_were_kept(self) -> None:
        assert self.world.violations == []

    @invariant()
    def nothing_is_promised_between_swaps(self) -> None:
        assert self.world.promised() == {}

    @invariant()
    def no_restore_ran_out_of_memory(self) -> None:
        assert not any(process.lost for process in self.world.gpu.processes.values())


Swaps.TestCase.settings = settings(
    max_examples=120, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSwaps = Swaps.TestCase
