"""What of a device is foreign: memory on the move is not, whoever the device's list says that it belongs to."""

from __future__ import annotations

from dataclasses import replace

from daemon_world import NEED, Real, World

from hotseat import config
from hotseat.daemon import messages as m
from hotseat.daemon import rooms, showing
from hotseat.daemon.book import Job, JobKind, Record
from hotseat.store.port import Held, HeldState
from hotseat.words import Device, DeviceUse, State

ONE = Device(index=0, uuid="GPU-0", name="one", total_bytes=10)


def record(name: str, state: State, *, job: JobKind | None = None) -> Record:
    spec = config.parse(f"workloads: {{{name}: {{port: 1}}}}").workloads[name]
    out = Record(name=name, spec=spec, state=state)
    out.looked = True
    seen = Real(state).seen(name)
    out.observation, out.pids = seen, frozenset(process.pid for process in seen.processes)
    if job is not None:
        out.job = Job(kind=job, begun=0.0)
        out.state = State.SWAPPING_OUT if job is JobKind.SWAP_OUT else State.SWAPPING_IN
    return out


def use(used: int, **listed: int) -> DeviceUse:
    processes = {list(NEED).index(name) * 100 + 1: nbytes for name, nbytes in listed.items()}
    return DeviceUse(device=ONE, used_bytes=used, free_bytes=10 - used, processes=processes)


def test_what_nobody_of_ours_holds_is_foreign() -> None:
    seated = record("b", State.SEATED)
    assert rooms.foreign(use(6, b=6), [seated]) == 0
    assert rooms.foreign(use(9, b=6), [seated]) == 3


def test_what_was_never_looked_at_is_foreign_though_its_processes_are_known() -> None:
    added = record("b", State.STOPPED)
    added.observation, added.pids, added.looked = None, frozenset({101}), False
    assert rooms.foreign(use(6, b=6), [added]) == 6


def test_memory_that_is_not_listed_yet_belongs_to_the_restore_under_way() -> None:
    coming = record("b", State.PARKED, job=JobKind.SWAP_IN)
    assert rooms.foreign(use(4), [coming]) == 0
    assert rooms.foreign(use(6), [coming]) == 0
    assert rooms.foreign(use(6, b=6), [coming]) == 0
    assert rooms.foreign(use(9), [coming]) == 3  # more than it needs is somebody else's


def test_memory_that_is_no_more_listed_belongs_to_the_checkpoint_under_way() -> None:
    going = record("b", State.SEATED, job=JobKind.SWAP_OUT)
    assert rooms.foreign(use(6), [going]) == 0
    assert rooms.foreign(use(8), [going]) == 2


def test_a_park_of_what_is_parked_already_hides_nothing() -> None:
    assert rooms.foreign(use(6), [record("b", State.PARKED, job=JobKind.SWAP_OUT)]) == 6


def test_a_context_that_leaves_answers_for_nothing_that_the_list_names() -> None:
    """The figures are from before it came there: c had all of it but for a stranger's 3."""
    going, seated = record("b", State.PARKED, job=JobKind.SWAP_OUT), record("c", State.SEATED)
    assert going.job is not None
    assert going.observation is not None
    going.job.gives_up = True
    going.observation = replace(going.observation, gpu_bytes={0: 2})
    named = DeviceUse(device=ONE, used_bytes=9, free_bytes=1, processes={**use(6, c=6).processes, 4242: 3})
    assert rooms.foreign(named, [going, seated]) == 3
    assert rooms.foreign(use(8, c=6), [going, seated]) == 0, "not named any more"


def test_one_that_moves_does_not_hide_what_others_hold() -> None:
    coming, seated = record("c", State.PARKED, job=JobKind.SWAP_IN), record("b", State.SEATED)
    assert rooms.foreign(use(10, b=6), [coming, seated]) == 0
    assert rooms.foreign(use(10, b=5), [coming, seated]) == 1


def test_a_parked_workload_answers_for_nothing() -> None:
    assert rooms.foreign(use(6), [record("b", State.PARKED)]) == 6


def test_a_first_cold_start_may_be_all_there_is() -> None:
    starting = record("b", State.STOPPED, job=JobKind.START)
    assert starting.need is None
    assert rooms.foreign(use(7), [starting]) == 0


def test_a_cap_is_the_size() -> None:
    (room,) = rooms.rooms([use(6, b=4)], {0: 8}, [record("b", State.SEATED)])
    assert (room.size, room.foreign, room.capacity) == (8, 2, 6)


def test_what_came_ahead_of_a_parked_one_is_as_good_as_free_and_counted_once_while_that_one_swaps_in() -> None:
    assert rooms.foreign(use(8), [record("b", State.PARKED)], ahead=6) == 2
    assert rooms.foreign(use(8), [record("b", State.PARKED, job=JobKind.SWAP_IN)], ahead=6) == 2
    assert rooms.foreign(use(9, c=4), [record("b", State.PARKED), record("c", State.SEATED)], ahead=3) == 2
    (shown,) = showing.devices([use(8)], {"b": record("b", State.PARKED)}, {}, ahead={"GPU-0": 6})
    assert shown["foreign_bytes"] == 2
    (room,) = rooms.rooms([use(8)], {}, [], ahead={"GPU-0": 6, "GPU-1": 2})
    assert (room.foreign, room.capacity) == (2, 8)


def test_a_seat_is_kept_at_least_as_long_as_it_costs() -> None:
    one = record("b", State.SEATED)
    assert one.min_stay == 5.0
    one.learned.took(JobKind.SWAP_OUT, 8.0)
    one.learned.took(JobKind.SWAP_IN, 3.0)
    assert one.min_stay == one.view(0.0).min_stay == 11.0


def test_one_that_is_stopped_and_started_keeps_its_seat_as_long_as_that_takes() -> None:
    one = record("b", State.SEATED)
    one.learned.took(JobKind.START, 40.0)
    assert one.min_stay == 5.0  # the price of a cold start that no swap asks for
    one.learned.took(JobKind.STOP, 2.0)
    assert one.min_stay == 42.0
    one.learned.took(JobKind.SWAP_OUT, 8.0)
    assert one.min_stay == 8.0


def test_what_sits_over_a_cap_when_the_daemon_begins_is_parked_once_it_has_no_work() -> None:
    text = "workloads:\n  b: {port: 2, min_stay: 0, linger: 1s}\n  c: {port: 3, min_stay: 0, linger: 1s}\n"
    world = World(text, seated="bc")  # 6 and 4 of 10
    ticket = world.ask("c")
    world.send(m.Probed(workload="c", number=world.probes.pop("c")))
    waits = world.ask("b")
    world.send(m.Probed(workload="b", number=world.probes.pop("b")))
    world.configure(text, caps={0: 8})
    assert world.jobs == {}, "both answer somebody"
    world.send(m.Left(ticket=ticket))
    world.tick(1.0)
    assert world.jobs == {"c": JobKind.SWAP_OUT}
    assert world.core.records["c"].note == "more sits than the cap of its device allows"
    world.end_job("c")
    world.send(m.Left(ticket=waits))
    world.tick(5.0)
    assert world.jobs == {}, "b alone fits"


def test_memory_that_the_store_lends_is_its_workloads() -> None:
    """A device lists it in the store's name."""
    seated = record("b", State.SEATED)
    assert seated.observation is not None
    (process,) = seated.observation.processes
    lent = Held(state=HeldState.RUNNING, blocks=1, bytes=5, device_bytes={"GPU-0": 5}, lent_bytes=5)
    seated.observation = replace(seated.observation, held={process: lent})
    assert rooms.foreign(use(6, b=1), [seated]) == 0
    assert rooms.foreign(use(8, b=1), [seated]) == 2
    assert rooms.foreign(use(6, b=6), [seated]) == 0  # or in the process's own
