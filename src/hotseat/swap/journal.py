"""What hotseat must know after it died: one SQLite file that all hotseat processes of a host share.

WAL mode, so that readers never wait; every write is one short transaction under BEGIN IMMEDIATE. `synchronous=NORMAL`
survives the death of hotseat, which is the case that matters: parked processes do not outlive a power cut anyway.
The calls block, each for well under a millisecond. One `Journal` belongs to one thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hotseat.errors import Failed, UsageError
from hotseat.swap.records import Record, dump_holdings, dump_report, load_holdings, load_report
from hotseat.words import State, SwapReport

_A = TypeVar("_A")
_B = TypeVar("_B")

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE workloads (
  key TEXT PRIMARY KEY, name TEXT NOT NULL, started_at REAL NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL,
  step TEXT NOT NULL, committed INTEGER NOT NULL, holdings TEXT NOT NULL, parked TEXT NOT NULL, owner TEXT NOT NULL,
  updated_at REAL NOT NULL);
CREATE TABLE reservations (
  key TEXT NOT NULL, name TEXT NOT NULL, device INTEGER NOT NULL, bytes INTEGER NOT NULL, pids TEXT NOT NULL,
  owner TEXT NOT NULL, PRIMARY KEY (key, device));
CREATE TABLE epoch (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT INTO epoch VALUES (1, 0);
CREATE TABLE history (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, report TEXT NOT NULL);
CREATE INDEX history_by_key ON history (key, id);
"""
MIGRATIONS = {
    1: """
CREATE TABLE learned (
  name TEXT PRIMARY KEY, container TEXT NOT NULL, memory TEXT, seconds TEXT NOT NULL, rate REAL NOT NULL,
  rate_at REAL NOT NULL);
""",
}
"""Schema version -> what makes the next one of it. A new journal runs through all of them."""
KEPT_REPORTS = 50
"""Reports kept per container; the scheduler learns costs from the newest."""
COLUMNS = "key, name, started_at, state, note, step, committed, holdings, parked, owner"


def default_state_dir() -> Path:
    """/var/lib/hotseat for root, $XDG_STATE_HOME/hotseat (or ~/.local/state/hotseat) for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/hotseat")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "hotseat"


class Journal:
    """Opens (and makes, if need be) `directory`/journal.db. `UsageError` if the directory cannot be written."""

    def __init__(self, *, directory: Path | None = None) -> None:
        self.directory = directory or default_state_dir()
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(self.directory / "journal.db", timeout=5.0, isolation_level=None)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"cannot use the state directory {self.directory}: {error}",
                hint="name one that you may write, or run as the user that owns it",
            ) from error

    def _prepare(self) -> None:
        # Two processes may open a new file at once: both wait (timeout above), the second finds the schema made.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                _run(db, SCHEMA)
                version = 1
            while version in MIGRATIONS:
                _run(db, MIGRATIONS[version])
                version += 1
                db.execute(f"PRAGMA user_version={version}")
            if version != SCHEMA_VERSION:
                raise Failed(
                    f"the journal in {self.directory} has schema {version}, this hotseat knows {SCHEMA_VERSION}",
                    hint="use the hotseat version that wrote it to bring everything back, then remove journal.db",
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction. Nothing in the block may await."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise Failed(
                f"the journal in {self.directory} cannot be written: {error}",
                hint="check that its disk has room and that nothing else holds journal.db open",
            ) from error

    def read(self, key: str) -> Record | None:
        """`Failed`, as from all that read, if it cannot be read."""
        rows = self.rows(f"SELECT {COLUMNS} FROM workloads WHERE key = ?", key)
        return self._made(_record, rows[0]) if rows else None

    def all(self) -> Sequence[Record]:
        rows = self.rows(f"SELECT {COLUMNS} FROM workloads ORDER BY name, key")
        return [self._made(_record, row) for row in rows]

    def write(self, record: Record) -> None:
        values = (
            *(record.key, record.name, record.started_at, record.state, record.note, record.step, record.committed),
            *(dump_holdings(record.holdings), json.dumps(sorted(record.parked.items())), record.owner, time.time()),
        )
        marks = ", ".join("?" * len(values))
        with self.transaction() as db:
            db.execute(f"INSERT OR REPLACE INTO workloads ({COLUMNS}, updated_at) VALUES ({marks})", values)

    def forget(self, key: str) -> None:
        """Drop its record and its reservations; its history stays."""
        with self.transaction() as db:
            db.execute("DELETE FROM workloads WHERE key = ?", (key,))
            if db.execute("DELETE FROM reservations WHERE key = ?", (key,)).rowcount:
                db.execute("UPDATE epoch SET value = value + 1")

    def add_report(self, *, key: str, report: SwapReport) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT INTO history (key, name, at, report) VALUES (?, ?, ?, ?)",
                (key, report.workload, report.started_at, dump_report(report)),
            )
            db.execute(
                "DELETE FROM history WHERE key = ? AND id <= "
                "(SELECT id FROM history WHERE key = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (key, key, KEPT_REPORTS),
            )

    def reports(self, *, key: str) -> Sequence[SwapReport]:
        """Of this container, oldest first, at most `KEPT_REPORTS`."""
        rows = self.rows("SELECT report FROM history WHERE key = ? ORDER BY id", key)
        return [self._made(load_report, text) for (text,) in rows]

    def forget_old(self, *, before: float, names: Collection[str], keys: Collection[str]) -> int:
        """Drop the history of containers that did not swap since `before` (seconds since the epoch), and what was
        learned of workloads not seen since then, but for these `keys` and `names`. Returns how many rows."""
        with self.transaction() as db:
            last = db.execute("SELECT key FROM history GROUP BY key HAVING max(at) < ?", (before,)).fetchall()
            learned = db.execute("SELECT name FROM learned WHERE rate_at < ?", (before,)).fetchall()
            gone = [row for row in last if row[0] not in keys]
            unseen = [row for row in learned if row[0] not in names]
            return sum(
                db.execute(f"DELETE FROM {what} = ?", row).rowcount
                for what, rows in (("history WHERE key", gone), ("learned WHERE name", unseen))
                for row in rows
            )

    @property
    def locks(self) -> Path:
        """The directory of `guard.only_one`."""
        return self.directory / "swaps"

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Also for the modules that keep a table of their own in this file. `Failed`."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _made(self, make: Callable[[_A], _B], value: _A) -> _B:
        try:
            return make(value)
        except (ValueError, TypeError, KeyError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> Failed:
        return Failed(
            f"the journal in {self.directory} cannot be read: {error!r}",
            hint="check its disk, and that only hotseat writes journal.db",
        )

    def close(self) -> None:
        self._db.close()


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        db.execute(statement)


def _record(row: Sequence[object]) -> Record:
    key, name, started_at, state, note, step, committed, holdings, parked, owner = row
    return Record(
        key=str(key),
        name=str(name),
        started_at=float(str(started_at)),
        state=State(str(state)),
        note=str(note),
        step=str(step),
        committed=bool(committed),
        holdings=load_holdings(str(holdings)),
        parked=dict(json.loads(str(parked))),
        owner=str(owner),
    )
