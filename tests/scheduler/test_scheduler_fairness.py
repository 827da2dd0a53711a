"""Over time: capacity holds at every instant, everybody is served, nobody waits past the bound that decide states."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_simulation import Sim, Simulation

from hotseat.scheduler.turns import HEAD_START
from hotseat.words import State

MIN_STAY, OUT, IN = 5.0, 2.0, 1.0
NAMES = "abcde"


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[int, int], dict[str, Sim]]:
    """Workloads of all sizes on one to three devices, each with swaps of its own that may take longer than any seat is
    configured to last, frozen or drained; beside them, on some devices, one that is pinned."""
    capacity = dict.fromkeys(range(draw(st.integers(1, 3))), 10)
    sims, room = {}, dict(capacity)
    for index in draw(st.sets(st.sampled_from(list(capacity)))):
        sims[f"pinned{index}"] = Sim(need={index: draw(st.integers(1, 6))}, state=State.SEATED, pinned=True)
        room[index] -= sims[f"pinned{index}"].need[index]
    for name in NAMES[: draw(st.integers(2, 5))]:
        on = draw(st.sets(st.sampled_from(list(capacity)), min_size=1))
        sims[name] = Sim(
            need={index: draw(st.integers(1, room[index])) for index in on},
            priority=draw(st.sampled_from([-1, 0, 0, 2])),
            swap_out=draw(st.floats(0.1, 4 * MIN_STAY)),
            swap_in=draw(st.floats(0.1, 4 * MIN_STAY)),
            drain=draw(st.none() | st.floats(0, 4 * MIN_STAY)),
            rate=draw(st.sampled_from([0.0, 0.02, 1.0])),
            prefetch=draw(st.booleans()),
        )
    return capacity, sims


@settings(max_examples=300, deadline=None)
@given(
    tables(),
    st.lists(
        st.tuples(
            st.floats(0, 90, allow_nan=False),
            st.integers(0, 7),
            st.floats(0.1, 60, allow_nan=False),
            st.sampled_from([-2, 0, 0, 3]),
        ),
        max_size=25,
    ),
    st.sampled_from([0.0, 1.0]),
)
def test_no_request_waits_past_its_bound(
    table: tuple[dict[int, int], dict[str, Sim]], requests: list[tuple[float, int, float, int]], linger: float
) -> None:
    """Everything fits beside what is pinned, and nothing is foreign: so the devices could serve each of them."""
    capacity, sims = table
    names = list(sims)
    arrivals = [(at, names[who % len(names)], work, priority) for at, who, work, priority in requests]
    sim = Simulation(capacity, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY, linger=linger)
    sim.run(arrivals, until=1e6)
    assert sorted(sim.served) == sorted(name for _, name, _, _ in arrivals)
    assert not sim.blocked
    seen = [sims[name].priority + priority for _, name, _, priority in arrivals] + [0] * (linger > 0)
    movers = [one for one in sims.values() if not one.pinned]
    out = max((one.drain or 0.0) + (one.swap_out or 0.0) for one in movers)
    back = max(one.swap_in or 0.0 for one in movers)
    assert sim.longest_wait <= bound(len(movers), max(seen, default=0) - min(seen, default=0), out=out, back=back)


def bound(workloads: int, priorities: int = 0, *, out: float = OUT, back: float = IN) -> float:
    """As the docstring of `decide` has it."""
    head_start, longest_stay = HEAD_START * priorities, max(MIN_STAY, out + back)
    return head_start + workloads * (longest_stay + head_start + out + back) + 1e-6


def test_a_stream_of_important_requests_does_not_starve_a_lowly_one() -> None:
    """Without end, for three workloads that each want the whole device: the lowly one still has its bound."""
    sims = {name: Sim(need={0: 10}, priority=20) for name in "abc"} | {"lowly": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY)
    stream = [(0.5 * n, "abc"[n % 3], 4.0) for n in range(500)]
    sim.run([*stream, (10.0, "lowly", 1.0)], until=250.0)
    assert "lowly" in sim.served
    assert sim.waits["lowly"] <= bound(4, 20)


def test_the_important_one_waits_less_while_both_want_the_seat_all_the_time() -> None:
    sims = {"high": Sim(need={0: 10}, priority=10), "low": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY)
    sim.run([(0.0, "low", 200.0), (0.1, "high", 200.0)], until=1e5)
    assert sim.waits["high"] < sim.waits["low"] <= bound(2, 10)


def test_the_important_one_is_not_frozen_for_one_that_it_would_overtake_at_once() -> None:
    """Its swap out takes less than its head start. Once the other has waited so long, it leaves, and not in vain."""
    sims = {"high": Sim(need={0: 10}, state=State.SEATED, priority=20), "low": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=13.0, swap_in=5.0, min_stay=MIN_STAY)
    sim.run([(0.0, "high", 400.0), (100.0, "low", 3.0)], until=1e5)
    assert sorted(sim.served) == ["high", "low"]
    assert sim.swaps == 4, "each out and in once"
    assert sim.waits["low"] == 20 + 13 + 5


def test_two_long_answers_take_turns_and_both_end() -> None:
    sims = {"a": Sim(need={0: 10}, state=State.SEATED), "b": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY)
    sim.run([(0, "a", 60.0), (1, "b", 60.0)], until=1e5)
    assert sorted(sim.served) == ["a", "b"]
    assert sim.swaps >= 20, "neither ran to its end at the other's expense"
    assert sim.longest_wait <= bound(2)


def test_a_stream_of_small_ones_does_not_starve_a_large_one() -> None:
    sims = {name: Sim(need={0: 4}) for name in "abcd"} | {"large": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY)
    small = [(0.7 * n, "abcd"[n % 4], 3.0) for n in range(200)]
    sim.run([*small, (10.0, "large", 1.0)], until=1e5)
    assert sim.served.count("large") == 1
    assert sim.longest_wait <= bound(5)


def test_requests_in_turn_do_not_swap_for_each_of_them() -> None:
    """Two clients that each ask again at once: `linger` and `min_stay` keep a seat for many requests."""
    sims = {"a": Sim(need={0: 10}, state=State.SEATED), "b": Sim(need={0: 10})}
    sim = Simulation({0: 10}, sims, swap_out=OUT, swap_in=IN, min_stay=MIN_STAY, linger=0.5)
    sim.run([(0.2 * n, "ab"[n % 2], 0.1) for n in range(500)], until=1e5)
    assert len(sim.served) == 500
    assert sim.swaps < 100
