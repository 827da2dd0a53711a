"""The executor runs any plan; here plans made up by Hypothesis, over a performer that only writes down."""

from __future__ import annotations

import asyncio

import pytest
import swap_checks as checks
from hypothesis import given
from hypothesis import strategies as st

from hotseat.errors import Failed
from hotseat.swap.executor import Cancelled, End, Ended, Executor, to_a_stable_end
from hotseat.swap.meter import OVERHEAD, Meter
from hotseat.swap.plan import Do, Plan, Step
from hotseat.words import Direction, State

EFFECTS = [Do.LOCK, Do.FREEZE, Do.CATCH_UP, Do.CHECKPOINT, Do.PAUSE]
UNDOS = [Do.UNLOCK, Do.LET_GO, Do.UNPAUSE, None]
steps = st.builds(
    lambda effect, undo, verify: Step(name=effect, part="hotseat", effect=effect, undo=undo, verify=verify),
    st.sampled_from(EFFECTS),
    st.sampled_from(UNDOS),
    st.sampled_from([Do.LOOK, None]),
)


class Writer:
    """Performs nothing. Fails at the numbers in `fail`, counted over all calls."""

    def __init__(self, fail: set[int]) -> None:
        self.fail = fail
        self.did: list[Do] = []
        self.noted: list[tuple[str, bool]] = []

    async def perform(self, do: Do) -> None:
        self.did.append(do)
        if len(self.did) - 1 in self.fail:
            raise Failed(f"{do} failed")

    def note(self, *, step: Step, committed: bool) -> None:
        self.noted.append((step.name, committed))


def plan_of(steps: list[Step], commit: int) -> Plan:
    return Plan(
        direction=Direction.OUT,
        origin=State.SEATED,
        goal=State.PARKED,
        steps=tuple(steps),
        commit=min(commit, len(steps)),
    )


async def run(plan: Plan, writer: Writer, cancelled: asyncio.Event | None = None) -> Ended:
    executor = Executor(
        performer=writer, note=writer.note, meter=Meter(), tell=lambda phase, what: None, cancelled=cancelled
    )
    return await executor.run(plan)


@given(steps=st.lists(steps, max_size=6), commit=st.integers(0, 6), fail=st.integers(0, 14))
def test_a_plan_ends_done_undone_or_broken_by_where_it_failed(steps: list[Step], commit: int, fail: int):
    plan, writer = plan_of(steps, commit), Writer({fail})
    ended = checks.run(run(plan, writer))
    sequence = [(step, do) for step in plan.steps for do in (step.effect, step.verify) if do is not None]
    if fail >= len(sequence):
        assert ended.end is End.DONE
        assert writer.did == [do for _, do in sequence]
        return
    failed = ended.step
    assert failed is sequence[fail][0]
    index = len(writer.noted) - 1
    if index >= plan.commit:
        assert ended.end is End.BROKEN
        assert len(writer.did) == fail + 1, "nothing is undone after the commit"
    else:
        assert ended.end is End.UNDONE
        undos = [step.undo for step in reversed(plan.steps[: index + 1]) if step.undo]
        assert writer.did[fail + 1 :] == undos


@given(steps=st.lists(steps, min_size=1, max_size=6), fail=st.sets(st.integers(0, 12)))
def test_a_failing_undo_keeps_no_other_from_being_run(steps: list[Step], fail: set[int]):
    fail = fail | {len([do for step in steps for do in (step.effect, step.verify) if do]) - 1}
    writer = Writer(fail)
    ended = checks.run(run(plan_of(steps, len(steps)), writer))
    assert ended.end is End.UNDONE
    ran = len(writer.noted)
    undos = [step.undo for step in reversed(steps[:ran]) if step.undo]
    assert [do for do in writer.did if do in UNDOS] == undos
    assert len(ended.undo_errors) == len([n for n in fail if n > min(fail) and n < len(writer.did)])


def test_every_step_is_written_down_before_it_begins():
    class Late(Writer):
        async def perform(self, do: Do) -> None:
            assert self.noted[-1][0] == do
            await super().perform(do)

    writer = Late(set())
    plain = [Step(name=do, part="hotseat", effect=do) for do in EFFECTS]
    assert checks.run(run(plan_of(plain, 2), writer)).end is End.DONE
    assert [committed for _, committed in writer.noted] == [False, False, True, True, True]


def test_a_commit_that_cannot_be_written_down_is_not_made():
    class Full(Writer):
        def note(self, *, step: Step, committed: bool) -> None:
            if committed:
                raise Failed("disk full")

    writer = Full(set())
    plan = plan_of(
        [
            Step(name="lock", part="driver", effect=Do.LOCK, undo=Do.UNLOCK),
            *[Step(name="checkpoint", part="driver", effect=Do.CHECKPOINT)],
        ],
        1,
    )
    ended = checks.run(run(plan, writer))
    assert ended.end is End.UNDONE
    assert writer.did == [Do.LOCK, Do.UNLOCK]


def test_cancelled_before_the_commit_it_undoes_and_after_it_goes_on():
    async def main(cancel_at: int) -> tuple[Ended, list[Do]]:
        cancelled = asyncio.Event()

        class Cancelling(Writer):
            async def perform(self, do: Do) -> None:
                await super().perform(do)
                if len(self.did) == cancel_at:
                    cancelled.set()

        writer = Cancelling(set())
        two = [
            Step(name="lock", part="driver", effect=Do.LOCK, undo=Do.UNLOCK),
            Step(name="checkpoint", part="driver", effect=Do.CHECKPOINT),
            Step(name="pause", part="platform", effect=Do.PAUSE),
        ]
        return await run(plan_of(two, 1), writer, cancelled), writer.did

    ended, did = checks.run(main(1))
    assert isinstance(ended.error, Cancelled)
    assert did == [Do.LOCK, Do.UNLOCK]
    ended, did = checks.run(main(2))
    assert ended.end is End.DONE
    assert did == [Do.LOCK, Do.CHECKPOINT, Do.PAUSE]


@pytest.mark.looptime
async def test_an_interruptible_wait_is_broken_off_at_once():
    cancelled = asyncio.Event()

    class Waiting(Writer):
        async def perform(self, do: Do) -> None:
            await super().perform(do)
            if do is Do.RESERVE:
                await asyncio.sleep(1000)

    writer = Waiting(set())
    step = Step(name="reserve", part="wait", effect=Do.RESERVE, undo=Do.GIVE_BACK, interruptible=True)
    task = asyncio.create_task(run(plan_of([step], 1), writer, cancelled))
    await asyncio.sleep(1)
    cancelled.set()
    ended = await task
    assert isinstance(ended.error, Cancelled)
    assert writer.did == [Do.RESERVE, Do.GIVE_BACK]
    assert asyncio.get_running_loop().time() < 2


@pytest.mark.looptime
async def test_a_cancelled_caller_gets_its_cancellation_only_once_the_end_is_stable():
    ends: list[str] = []

    async def work(cancelled: asyncio.Event) -> None:
        await cancelled.wait()
        await asyncio.sleep(10)
        ends.append("stable")
        raise Failed("told to nobody")

    task = asyncio.create_task(to_a_stable_end(work))
    await asyncio.sleep(1)
    for _ in range(3):  # asked again and again
        task.cancel()
        await asyncio.sleep(1)
    assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["stable"]


def test_every_second_lands_in_exactly_one_phase():
    now = [0.0]
    meter = Meter(clock=lambda: now[0])
    now[0] = 1
    with meter.phase("find"):
        now[0] = 2
        with meter.of("driver"), meter.of("platform"):
            now[0] = 5
    with meter.phase("lock", part="driver"):
        now[0] = 6
        with meter.of("driver"):
            now[0] = 10
    told = [(phase.name, phase.part, phase.seconds) for phase in meter.phases()]
    assert told == [
        ("find", "hotseat", 1),
        ("find", "driver", 3),
        ("lock", "driver", 4),
        (OVERHEAD, "hotseat", 2),
    ]
    assert sum(seconds for _, _, seconds in told) == 10
