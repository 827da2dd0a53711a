"""What is written down of process workloads, so that any hotseat process on this host finds them by name.

    DIRECTORY/NAME/workload.json   what to run, or what was adopted; written once, complete
    DIRECTORY/NAME/run.json        the present (or last) incarnation, by the shim
    DIRECTORY/NAME/exit.json       how that one ended, by the shim
    DIRECTORY/NAME/log             what it says, over all incarnations
    DIRECTORY/NAME/lock            held by the shim while its process runs

Each file is replaced as a whole. All is readable by its owner alone: environments hold secrets.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hotseat.errors import NotFound, PlatformFailed, Refused, UsageError
from hotseat.linux.cgroup import Cgroup
from hotseat.linux.own_cgroup import OwnCgroup
from hotseat.words import ProcessRef

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
LOG_TAIL_BYTES = 1 << 20
"""Of a log at most this much of its end is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One process workload. `adopted` names the process, if hotseat did not start it."""

    id: str
    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """What the spec adds to the environment of the hotseat process that starts it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    ulimits: Mapping[str, int] = field(default_factory=dict)
    memory_limit: int | None = None
    adopted: ProcessRef | None = None
    boot_id: str = ""
    """Of the boot in which it was adopted: start times count from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One incarnation, as its shim wrote it down."""

    main: ProcessRef
    shim: ProcessRef
    boot_id: str
    freezer: Cgroup | None
    """Its own cgroup, the one that freezes."""
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    code: int
    started_at: float
    """Of the incarnation that ended: another one's is not this one's."""


class Registry:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, record: Record) -> None:
        """`Refused` if the name is taken, `UsageError` if it cannot be one."""
        if record.adopted is None or record.name != str(record.adopted.pid):
            check_name(record.name)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        here = self.directory / record.name
        # Complete before it has its name: no other process ever sees half of it.
        making = self.directory / f".new-{uuid.uuid4().hex}"
        making.mkdir(mode=0o700)
        _write(making / "workload.json", asdict(record))
        try:
            making.rename(here)  # fails on a directory that is not empty
        except OSError as error:
            shutil.rmtree(making)
            raise Refused(
                f"the name {record.name} is taken",
                rule="one name, one workload",
                hint=f"choose another one, or remove what has it ({here})",
            ) from error

    def records(self) -> list[Record]:
        """All that can be read; what cannot is named in the log."""
        try:
            names = sorted(entry for entry in os.listdir(self.directory) if NAME.fullmatch(entry))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                found.append(self.record(name))
            except NotFound:
                continue  # removed meanwhile
            except PlatformFailed as error:
                log.warning("%s", error)
        return found

    def record(self, name: str) -> Record:
        data = self._read(name, "workload.json")
        if data is None:
            raise NotFound(f"no process workload {name}", hint="`hotseat ps` lists all")
        try:
            adopted = data.pop("adopted")
            return Record(
                **{**data, "command": tuple(data["command"]), "adopted": ProcessRef(*adopted) if adopted else None}
            )
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(name, "workload.json", error) from error

    def run(self, name: str) -> Run | None:
        data = self._read(name, "run.json")
        if data is None:
            return None
        try:
            return Run(
                main=ProcessRef(int(data["pid"]), int(data["start_time"])),
                shim=ProcessRef(int(data["shim_pid"]), int(data["shim_start_time"])),
                boot_id=str(data["boot_id"]),
                freezer=_cgroup(data["freezer"]),
                started_at=float(data["started_at"]),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(name, "run.json", error) from error

    def exit(self, name: str) -> Exit | None:
        data = self._read(name, "exit.json")
        if data is None:
            return None
        try:
            return Exit(code=int(data["code"]), started_at=float(data["started_at"]))
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(name, "exit.json", error) from error

    def prepare_start(self, name: str, *, env: Mapping[str, str], own: OwnCgroup | None) -> Path:
        """Write what only this start needs; the shim takes it away. Returns the workload's directory."""
        here = self.directory / name
        start: dict[str, Any] = {"env": dict(env), "cgroups": [], "freezer": None, "boot_id": boot_id()}
        if own is not None:
            freezer = own.freezer
            start["cgroups"] = sorted({str(one.path) for one in (freezer, own.memory or freezer)})
            start["freezer"] = {"path": str(freezer.path), "version": freezer.version, "top": str(freezer.top)}
        _write(here / "start.json", start)
        return here

    def log_tail(self, name: str, *, lines: int) -> str:
        return self.log_end(name, lines=lines)[1].decode(errors="replace")

    def log_end(self, name: str, *, lines: int) -> tuple[int, bytes]:
        """Where the log ends, and its last lines."""
        end, text = self.log_since(name, -LOG_TAIL_BYTES)
        return end, b"".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else b""

    def log_since(self, name: str, position: int) -> tuple[int, bytes]:
        """Where the log ends now, and what it has from `position` on (at most `LOG_TAIL_BYTES`). A negative position
        counts from the end; one behind the end means that the log began anew."""
        try:
            with (self.directory / name / "log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if position < 0:
                    position = max(0, size + position)
                file.seek(0 if position > size else position)
                text = file.read(LOG_TAIL_BYTES)
                return file.tell(), text
        except FileNotFoundError:
            return 0, b""

    def remove(self, name: str) -> None:
        # Out of sight at once, however long its files take to go.
        gone = self.directory / f".gone-{uuid.uuid4().hex}"
        try:
            (self.directory / name).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def _read(self, name: str, file: str) -> dict[str, Any] | None:
        try:
            data = json.loads((self.directory / name / file).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise self._damaged(name, file, error) from error
        if not isinstance(data, dict):
            raise self._damaged(name, file, TypeError("not an object"))
        return data

    def _damaged(self, name: str, file: str, error: Exception) -> PlatformFailed:
        here = self.directory / name
        return PlatformFailed(f"{here / file} cannot be read: {error}", hint=f"end what it ran, then remove {here}")


def check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name.isdigit():
        raise UsageError(
            f"{name!r} cannot name a workload",
            hint="letters, digits, '_', '.', '-'; a number alone would be taken for a process id",
        )


def boot_id() -> str:
    """Start times and pids mean nothing beyond the boot they come from."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _cgroup(data: Mapping[str, Any] | None) -> Cgroup | None:
    if data is None:
        return None
    return Cgroup(path=Path(data["path"]), version=int(data["version"]), top=Path(data["top"]))


def _write(path: Path, data: Mapping[str, Any]) -> None:
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
