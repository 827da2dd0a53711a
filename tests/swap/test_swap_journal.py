"""The journal: one file, several processes, and what a death in the middle leaves in it."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.errors import Busy, Failed, UsageError
from hotseat.swap import guard
from hotseat.swap.journal import KEPT_REPORTS, SCHEMA, SCHEMA_VERSION, Journal, default_state_dir
from hotseat.swap.records import Holding, Record, dump_holdings, dump_report, load_holdings, load_report, total
from hotseat.swap.reservations import Promise, Reservations, shortages
from hotseat.words import Device, DeviceUse, Direction, PhaseTime, ProcessRef, State, SwapReport

SPAWN = multiprocessing.get_context("spawn")
A, B = ProcessRef(101, 5), ProcessRef(102, 6)
devices = st.dictionaries(st.integers(0, 3), st.integers(0, 1 << 40), max_size=3)
holdings = st.lists(
    st.builds(
        Holding,
        process=st.builds(ProcessRef, st.integers(1, 1 << 22), st.integers(0, 1 << 62)),
        restore_thread=st.integers(1, 1 << 22),
        gpu=devices,
    ),
    max_size=4,
    unique_by=lambda one: one.process,
).map(tuple)
RECORD = Record(
    key="docker:1",
    name="a",
    started_at=7.25,
    state=State.PARKED,
    note="n",
    holdings=(
        Holding(process=A, restore_thread=1, gpu={0: 30}),
        Holding(process=B, restore_thread=2, gpu={0: 10, 1: 5}),
    ),
    parked={0: 42, 1: 5},
)


def report(number: int = 1) -> SwapReport:
    return SwapReport(
        workload="a",
        direction=Direction.OUT,
        phases=(PhaseTime(name="lock", seconds=0.5, part="driver"), PhaseTime(name="overhead", seconds=0.25)),
        gpu_bytes={0: 7},
        processes=3,
        cuda_processes=2,
        threads=9,
        started_at=float(number),
    )


def use(index: int, *, total_bytes: int = 100, used: int = 0, processes: dict[int, int] | None = None) -> DeviceUse:
    device = Device(index=index, uuid=f"u{index}", name="d", total_bytes=total_bytes)
    return DeviceUse(device=device, used_bytes=used, free_bytes=total_bytes - used, processes=processes or {})


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(directory=tmp_path)
    yield made
    made.close()


def keeper(journal: Journal, *, alive: bool = True) -> Reservations:
    return Reservations(journal=journal, alive=lambda process: alive)


# -- records


@given(holdings)
def test_holdings_come_back_from_json(some: tuple[Holding, ...]):
    assert load_holdings(dump_holdings(some)) == some


def test_a_report_comes_back_from_json():
    assert load_report(dump_report(report())) == report()


@given(holdings, st.data())
def test_a_part_never_needs_more_than_the_whole_nor_less_than_it_held(some: tuple[Holding, ...], data):
    whole = total(some)
    parked = {index: nbytes + data.draw(st.integers(0, 100)) for index, nbytes in whole.items()}
    record = Record(key="k", name="n", started_at=1.0, state=State.PARKED, holdings=some, parked=parked)
    part = data.draw(st.sets(st.sampled_from([one.process for one in some]))) if some else set()
    need = record.need(part)
    held = total([one for one in some if one.process in part])
    assert all(need.get(index, 0) >= nbytes for index, nbytes in held.items())
    assert all(nbytes <= parked.get(index, 0) for index, nbytes in need.items())
    if some:
        assert record.need([one.process for one in some]) == parked


# -- the file


def test_what_is_written_is_read_by_another_connection(journal: Journal, tmp_path: Path):
    journal.write(RECORD)
    other = Journal(directory=tmp_path)
    assert other.read("docker:1") == RECORD
    assert list(other.all()) == [RECORD]
    other.forget("docker:1")
    assert journal.read("docker:1") is None
    other.close()


def test_reports_are_kept_in_order_and_not_for_ever(journal: Journal):
    for number in range(KEPT_REPORTS + 5):
        journal.add_report(key="k", report=report(number))
    journal.add_report(key="other", report=report(99))
    kept = journal.reports(key="k")
    assert [one.started_at for one in kept] == [float(number) for number in range(5, KEPT_REPORTS + 5)]


def test_a_journal_of_an_earlier_hotseat_is_taken_over(tmp_path: Path):
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript(SCHEMA + "PRAGMA user_version=1;")
    db.close()
    old = Journal(directory=tmp_path)
    old.write(RECORD)
    old.close()
    again = Journal(directory=tmp_path)
    assert again.read("docker:1") == RECORD
    assert again.rows("SELECT * FROM learned") == []
    assert again.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    again.close()


def test_a_journal_of_a_later_hotseat_is_not_touched(journal: Journal, tmp_path: Path):
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Failed, match="schema 99"):
        Journal(directory=tmp_path)


def test_a_directory_that_cannot_be_used_is_a_usage_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="state directory"):
        Journal(directory=tmp_path / "file")


def test_a_transaction_that_fails_leaves_nothing(journal: Journal):
    def broken() -> None:
        with journal.transaction() as db:
            db.execute("DELETE FROM epoch")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert keeper(journal).epoch() == 0


def test_the_state_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state_dir() == Path("/var/lib/hotseat")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    assert default_state_dir() == Path("/x/state/hotseat")
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert default_state_dir() == Path.home() / ".local/state/hotseat"


def _take(directory: str, key: str, rounds: int, out: multiprocessing.Queue) -> None:
    journal = Journal(directory=Path(directory))
    reservations = Reservations(journal=journal, alive=lambda process: True)
    granted = 0
    for _ in range(rounds):
        epoch = reservations.epoch()
        room = [use(0, total_bytes=100)]
        if reservations.grant(key=key, name=key, need={0: 60}, pids=[], uses=room, caps={}, epoch=epoch) == []:
            mine = reservations.all()
            assert [one.key for one in mine] == [key], mine
            granted += 1
            reservations.give_back(key)
        journal.write(Record(key=key, name=key, started_at=1.0, state=State.PARKED))
    journal.close()
    out.put((key, granted))


def test_two_processes_at_once_are_never_both_granted_what_only_one_can_have(tmp_path: Path):
    out = SPAWN.Queue()
    workers = [SPAWN.Process(target=_take, args=(str(tmp_path), key, 60, out)) for key in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sum(out.get(timeout=10)[1] for _ in workers) > 0
    journal = Journal(directory=tmp_path)
    assert [record.key for record in journal.all()] == ["a", "b"]
    journal.close()


# -- reservations


def test_room_is_what_the_device_has_free_less_what_others_were_promised_and_have_not_taken():
    promise = Promise(key="b", name="b", device=0, nbytes=50, pids=frozenset({7}))
    assert shortages(need={0: 50}, uses=[use(0)], caps={}, promises=[promise]) == []
    (short,) = shortages(need={0: 51}, uses=[use(0)], caps={}, promises=[promise])
    assert (short.lacking, short.free, short.others) == (1, 100, {"b": 50})
    taking = use(0, used=30, processes={7: 30})  # b has 30 of its 50 already: 70 free, 20 still promised
    assert shortages(need={0: 50}, uses=[taking], caps={}, promises=[promise]) == []
    assert shortages(need={0: 51}, uses=[taking], caps={}, promises=[promise]) != []


def test_a_device_that_is_not_there_has_no_room():
    (short,) = shortages(need={3: 1}, uses=[use(0)], caps={}, promises=[])
    assert (short.device, short.free) == (3, 0)


def test_a_reading_that_may_be_stale_grants_nothing(journal: Journal):
    reservations = keeper(journal)
    epoch = reservations.epoch()
    assert reservations.grant(key="a", name="a", need={0: 60}, pids=[], uses=[use(0)], caps={}, epoch=epoch) == []
    ask = {"key": "b", "name": "b", "need": {0: 60}, "pids": [], "uses": [use(0)], "caps": {}}
    assert reservations.grant(**ask, epoch=epoch) is None
    assert reservations.grant(**ask, epoch=reservations.epoch()) != []
    reservations.give_back("a")
    assert reservations.grant(**ask, epoch=reservations.epoch()) == []


@pytest.mark.parametrize(
    ("committed", "processes_live", "counts"), [(False, True, False), (True, True, True), (True, False, False)]
)
def test_a_dead_owners_promise_counts_only_while_its_restore_may_go_on(
    journal: Journal, tmp_path: Path, committed: bool, processes_live: bool, counts: bool
):
    from dataclasses import replace

    reservations = keeper(journal, alive=processes_live)
    reservations.grant(
        key="docker:1", name="a", need={0: 60}, pids=[], uses=[use(0)], caps={}, epoch=reservations.epoch()
    )
    journal.write(replace(RECORD, state=State.SWAPPING_IN, committed=committed))
    assert len(reservations.all()) == 1
    with journal.transaction() as db:
        db.execute("UPDATE reservations SET owner = 'another boot:1:1'")
    assert bool(reservations.all()) is counts


# -- the guard and who is who


def _exit_at_once(out: multiprocessing.Queue) -> None:
    out.put(guard.identity())


def test_an_identity_is_alive_until_its_process_ends():
    assert guard.alive(guard.identity())
    out = SPAWN.Queue()
    child = SPAWN.Process(target=_exit_at_once, args=(out,))
    child.start()
    theirs = out.get(timeout=30)
    child.join(timeout=30)
    assert not guard.alive(theirs)
    assert not guard.alive("")
    assert not guard.alive(guard.identity().replace(guard.boot_id(), "another-boot"))
    assert not guard.alive(guard.identity() + "1")


def _hold(directory: str, ready: multiprocessing.Queue) -> None:
    with guard.only_one(Path(directory), key="k", name="a"):
        ready.put(os.getpid())
        import time

        time.sleep(60)


def test_the_guard_is_between_processes_and_ends_with_its_holder(tmp_path: Path):
    ready = SPAWN.Queue()
    child = SPAWN.Process(target=_hold, args=(str(tmp_path), ready))
    child.start()
    pid = ready.get(timeout=30)
    with pytest.raises(Busy, match=f"hotseat process {pid} a"), guard.only_one(tmp_path, key="k", name="a"):
        pass
    with guard.only_one(tmp_path, key="another", name="b"):
        pass
    child.kill()
    child.join(timeout=30)
    with guard.only_one(tmp_path, key="k", name="a"):
        pass
