"""What is kept of containers long gone goes; what may still be wanted stays, and no lock has two holders for it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from hotseat.daemon.learned import Learned
from hotseat.daemon.learned_store import LearnedStore
from hotseat.errors import Busy
from hotseat.swap import guard
from hotseat.swap.journal import Journal
from hotseat.swap.records import Record
from hotseat.swap.tidy import KEPT, tidy
from hotseat.words import Direction, State, SwapReport

NOW = 1_000_000_000.0
OLD = NOW - KEPT - 1


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(directory=tmp_path)
    yield made
    made.close()


def report(at: float) -> SwapReport:
    return SwapReport(
        workload="a",
        direction=Direction.OUT,
        phases=(),
        gpu_bytes={0: 7},
        processes=1,
        cuda_processes=1,
        threads=1,
        started_at=at,
    )


def lock_file(journal: Journal, key: str, at: float) -> Path:
    with guard.only_one(journal.locks, key=key, name="a"):
        pass
    path = journal.locks / guard.file_of(key)
    os.utime(path, (at, at))
    return path


def test_history_and_locks_of_the_gone_go_and_all_others_stay(journal: Journal):
    for key, at in {"here": OLD, "recent": NOW - KEPT + 1, "parked": OLD, "gone": OLD}.items():
        journal.add_report(key=key, report=report(at))
        lock_file(journal, key, at)
    journal.add_report(key="mixed", report=report(OLD))
    journal.add_report(key="mixed", report=report(NOW))
    journal.write(Record(key="parked", name="p", started_at=1.0, state=State.PARKED, note=""))
    assert tidy(journal, names=(), keys=["here"], now=NOW) == 2
    kept = {key: len(journal.reports(key=key)) for key in ("here", "recent", "parked", "gone", "mixed")}
    assert kept == {"here": 1, "recent": 1, "parked": 1, "gone": 0, "mixed": 2}
    assert {path.name for path in journal.locks.iterdir()} == {guard.file_of(k) for k in ("here", "recent", "parked")}
    assert tidy(journal, names=(), keys=["here"], now=NOW) == 0


def test_what_was_learned_stays_while_its_workload_is_there_or_was_seen_lately(journal: Journal):
    for wall, names in ((OLD, ("here", "gone")), (NOW - KEPT + 1, ("recent",))):
        store = LearnedStore(journal, clock=lambda: 0.0, wall=lambda wall=wall: wall)
        store.save({name: Learned(container=name) for name in names})
    assert tidy(journal, names=["here"], keys=(), now=NOW) == 1
    assert set(LearnedStore(journal, clock=lambda: 0.0).load()) == {"here", "recent"}


def test_a_state_directory_without_locks_has_nothing_to_tidy(journal: Journal):
    assert tidy(journal, names=(), keys=(), now=NOW) == 0


def test_a_lock_that_is_held_or_was_used_since_is_not_removed(journal: Journal):
    path = lock_file(journal, "k", OLD)
    with guard.only_one(journal.locks, key="k", name="a"):
        os.utime(path, (OLD, OLD))
        assert not guard.remove(path, before=NOW)
        with pytest.raises(Busy), guard.only_one(journal.locks, key="k", name="a"):
            pass
    os.utime(path, (NOW, NOW))
    assert not guard.remove(path, before=NOW)
    assert guard.remove(path, before=NOW + 1)
    assert not guard.remove(path, before=NOW + 1)


def test_who_opened_a_lock_that_is_then_removed_locks_the_new_one(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    path = lock_file(journal, "k", OLD)
    flock, taken = fcntl.flock, []

    def removed_in_between(fd: int, how: int) -> None:
        if not taken:
            path.unlink()  # as `remove` of another process does, after this one has opened the file
        taken.append(os.fstat(fd).st_ino)
        flock(fd, how)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", removed_in_between)
        lock = guard.only_one(journal.locks, key="k", name="a")
        lock.__enter__()
    assert len(taken) == 2
    assert path.stat().st_ino == taken[1]
    with pytest.raises(Busy), guard.only_one(journal.locks, key="k", name="a"):
        pass
    lock.__exit__(None, None, None)
