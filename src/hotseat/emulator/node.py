"""An emulated node: its files, its environment, what is on it, and its faults."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import shutil
import struct
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hotseat import native
from hotseat.emulator import layout
from hotseat.emulator.faults import Fault, FaultKind
from hotseat.errors import NotFound, UsageError

LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
_STATES = ("running", "locked", "checkpointed", "failed", "checkpointing", "restoring")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One living process that has called cuInit on the node."""

    pid: int
    """In its own pid namespace."""
    pid_namespace: int
    name: str
    state: str
    """The checkpoint state: "running", "locked", "checkpointed", "failed", "checkpointing" or "restoring"."""
    lost: bool
    """A restore failed; only a kill is left."""
    bytes: dict[int, int]
    """Device index -> bytes held, the context's included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    device_bytes: tuple[int, ...]
    used_bytes: tuple[int, ...]
    """What living processes hold, by device index; without what NVML would still show under a late release."""
    processes: tuple[Holding, ...]


class EmulatedNode:
    """A directory that holds an emulated node. `create` makes one, the constructor opens one that is there."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """`NotFound` if no node lies there, `UsageError` if another version of hotseat made it."""
        self.directory = Path(directory)
        self._path = self.directory / "nvidiactl"
        try:
            size = self._path.stat().st_size
        except OSError:
            size = 0
        if size < ctypes.sizeof(layout.Shared) or not self._path.is_file():
            raise NotFound(
                f"no emulated node in {self.directory}",
                hint=f"python -m hotseat.emulator create {self.directory} --device 1GiB",
            )
        with self._mapped() as (shared, _):
            if (shared.magic, shared.version) != (layout.MAGIC, layout.VERSION):
                raise UsageError(f"{self._path} was made by another version", hint="delete the directory, create anew")

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        *,
        devices: Sequence[int],
        context_bytes: int = 16 << 20,
        preallocate: bool = False,
        custom_storage: bool = False,
        name: str = "hotseat emulated GPU",
    ) -> EmulatedNode:
        """Makes `directory` (which may exist, without a node) a node with one device per entry of `devices` (bytes).

        `context_bytes` is what a context costs on its device. A page of device memory counts against the memory cgroup
        of the process that touches it first; with `preallocate` all of it is touched now, by the caller, and stays.
        `custom_storage`: a driver of CUDA 13.4 (615), which checkpoints into its caller; else one of CUDA 13.0 (580).
        Put the directory on a tmpfs (/dev/shm), or the kernel writes "device memory" to disk.
        """
        if not 1 <= len(devices) <= layout.MAX_DEVICES:
            raise UsageError(f"a node has 1 to {layout.MAX_DEVICES} devices, not {len(devices)}")
        if any(size < layout.GRANULE for size in devices):
            raise UsageError(f"a device has at least {layout.GRANULE} bytes")
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        if (root / "nvidiactl").exists():
            raise UsageError(f"{root} holds a node already", hint="delete it first, or choose another directory")
        shared = layout.Shared(
            magic=layout.MAGIC,
            version=layout.VERSION,
            flags=(layout.KEEP_PAGES if preallocate else 0) | (layout.CUSTOM_STORAGE if custom_storage else 0),
            device_count=len(devices),
            device_size=ctypes.sizeof(layout.DeviceRecord),
            slot_size=ctypes.sizeof(layout.Slot),
            fault_size=ctypes.sizeof(layout.FaultRecord),
            share_size=ctypes.sizeof(layout.Share),
            context_bytes=context_bytes,
        )
        end = ctypes.sizeof(layout.Shared)
        for index, size in enumerate(devices):
            granules = size // layout.GRANULE
            record = shared.device[index]
            record.uuid[:] = uuid.uuid4().bytes
            record.name = name.encode()
            record.bytes = granules * layout.GRANULE
            record.granules = granules
            record.owners = end
            end += (granules * 2 + 63) // 64 * 64
            record.places = end
            end += (granules * 8 + 63) // 64 * 64
            _make_file(root / f"nvidia{index}", granules * layout.GRANULE, fill=preallocate)
        shared.file_bytes = end
        # The control file last and by rename: whoever sees it sees a whole node.
        draft = root / ".nvidiactl"
        _make_file(draft, end, fill=False)
        with draft.open("r+b") as file:
            file.write(bytes(shared))
        draft.rename(root / "nvidiactl")
        return cls(root)

    @classmethod
    @contextmanager
    def temporary(
        cls,
        *,
        devices: Sequence[int],
        context_bytes: int = 16 << 20,
        preallocate: bool = False,
        custom_storage: bool = False,
    ) -> Iterator[EmulatedNode]:
        """A node for the time of a `with` block, in memory where the machine has /dev/shm."""
        shm = Path("/dev/shm")
        parent = str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None
        root = tempfile.mkdtemp(prefix="hotseat-", dir=parent)
        os.chmod(root, 0o755)  # other users' containers reach the files by bind mount, other users' processes by path
        try:
            yield cls.create(
                root,
                devices=devices,
                context_bytes=context_bytes,
                preallocate=preallocate,
                custom_storage=custom_storage,
            )
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def remove(self) -> None:
        """Deletes the node's directory. Processes that have it open keep what they hold until they end."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to find the node and the libraries.

        `NotFound` if this installation has no compiled libraries.
        """
        for library in LIBRARIES:
            native.path(library)
        before = os.environ.get("LD_LIBRARY_PATH")
        path = str(native.DIRECTORY) + (f":{before}" if before else "")
        return {"LD_LIBRARY_PATH": path, "HOTSEAT_EMULATOR_DIR": str(self.directory.absolute())}

    def mounts(
        self, *, devices: Sequence[int] | None = None, library_directory: str = "/usr/lib/x86_64-linux-gnu"
    ) -> list[tuple[str, str]]:
        """(host path, container path) pairs to bind-mount, read-write, into a container; no environment is needed.

        `devices`: indices the container may see, None = all. `library_directory`: one that the image's loader searches.
        """
        with self._mapped() as (shared, _):
            chosen = range(shared.device_count) if devices is None else devices
            names = ["nvidiactl", *(f"nvidia{index}" for index in chosen)]
        pairs = [(str(self.directory.absolute() / name), f"/dev/{name}") for name in names]
        return pairs + [(str(native.path(name)), f"{library_directory}/{name}") for name in LIBRARIES]

    def uuids(self) -> tuple[str, ...]:
        """The devices' names as NVML gives them, in index order."""
        with self._mapped() as (shared, _):
            return tuple(f"GPU-{uuid.UUID(bytes=bytes(d.uuid))}" for d in shared.device[: shared.device_count])

    def set_fault(self, fault: Fault) -> int:
        """Arms `fault`; returns its index, for `clear_fault`. `NotFound` for a pid that is not there."""
        namespace, inner = _inner_pid(fault.pid) if fault.pid is not None else (0, 0)
        with self._mapped() as (shared, _):
            for index in range(layout.MAX_FAULTS):
                record = shared.fault[index]
                if record.armed:
                    continue
                record.kind = int(fault.kind)
                record.pid_ns, record.pid = namespace, inner
                record.op = fault.op.encode()
                record.value = fault.value
                record.skip = fault.skip
                record.left = -1 if fault.times is None else fault.times
                record.fired = 0
                record.armed = 1
                return index
        raise UsageError(f"all {layout.MAX_FAULTS} faults are set", hint="clear some")

    def clear_fault(self, index: int) -> None:
        with self._mapped() as (shared, _):
            shared.fault[index].armed = 0

    def clear_faults(self) -> None:
        """Clears all. Calls that hang because of one go on."""
        for index in range(layout.MAX_FAULTS):
            self.clear_fault(index)

    def faults(self) -> tuple[Fault, ...]:
        """Those that are set, spent ones included. `pid` is the one in the process's own pid namespace."""
        with self._mapped() as (shared, _):
            return tuple(
                Fault(
                    kind=FaultKind(record.kind),
                    op=record.op.decode(),
                    pid=record.pid or None,
                    value=record.value,
                    skip=max(record.skip, 0),
                    times=None if record.left < 0 else record.left,
                    fired=record.fired,
                    index=index,
                )
                for index, record in enumerate(shared.fault)
                if record.armed
            )

    def report(self) -> NodeReport:
        """Who holds what, read now. Takes no lock that a process on the node could wait for."""
        with self._mapped() as (shared, memory), self._path.open("r+b") as control:
            fd = control.fileno()
            alive = [bool(s.used) and _locked(fd, layout.LIVE_BYTE + i) for i, s in enumerate(shared.slot)]
            held: list[dict[int, int]] = [{} for _ in range(layout.MAX_SLOTS)]
            used = []
            for device in range(shared.device_count):
                record = shared.device[device]
                total = 0
                for owner in memoryview(memory[record.owners : record.owners + 2 * record.granules]).cast("H"):
                    is_share = bool(owner & layout.SHARE_BIT)
                    if is_share and not _locked(fd, layout.SHARE_BYTE + (owner & ~layout.SHARE_BIT)):
                        continue
                    slot = (shared.share[owner & ~layout.SHARE_BIT].holder if is_share else owner) - 1
                    if slot >= 0 and alive[slot]:
                        held[slot][device] = held[slot].get(device, 0) + layout.GRANULE
                    elif not is_share:
                        continue
                    total += layout.GRANULE
                used.append(total)
            return NodeReport(
                device_bytes=tuple(shared.device[i].bytes for i in range(shared.device_count)),
                used_bytes=tuple(used),
                processes=tuple(
                    Holding(
                        pid=slot.pid,
                        pid_namespace=slot.pid_ns,
                        name=slot.name.decode(errors="replace"),
                        state=_STATES[slot.state],
                        lost=bool(slot.flags & 1),
                        bytes=held[index],
                    )
                    for index, slot in enumerate(shared.slot)
                    if alive[index]
                ),
            )

    @contextmanager
    def _mapped(self) -> Iterator[tuple[layout.Shared, mmap.mmap]]:
        """The control file as records and as bytes. Unmapped when the last reference to either goes."""
        with self._path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        yield layout.Shared.from_buffer(memory), memory


def _make_file(path: Path, size: int, *, fill: bool) -> None:
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o666)
        if fill:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _locked(fd: int, byte: int) -> bool:
    """Does anyone hold a lock on this byte of the control file (fcntl(2), F_OFD_GETLK)?"""
    record = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, record)
    return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)


def _inner_pid(pid: int) -> tuple[int, int]:
    """(inode of its pid namespace, its pid there)."""
    try:
        namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise NotFound(f"no process {pid} to set a fault for ({error.strerror})") from error
    inner = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
    return namespace, int(inner)
