"""What a driver's result means and what to do about it: the one place that makes errors of results. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotseat.errors import DriverFailed, DriverTimeout, ProcessGone
from hotseat.gpu import wire
from hotseat.gpu.cuda_abi import result_name
from hotseat.gpu.port import Outcome
from hotseat.words import ProcessRef

CALLS = {
    "find": "cuCheckpointProcessGetRestoreThreadId",
    "state": "cuCheckpointProcessGetState",
    "lock": "cuCheckpointProcessLock",
    "checkpoint": "cuCheckpointProcessCheckpoint",
    "restore": "cuCheckpointProcessRestore",
    "unlock": "cuCheckpointProcessUnlock",
}
"""Operation -> the driver's name for it."""

DOCTOR = "`hotseat doctor` shows what is there"

WORKER_DIED = (
    "it was replaced; nothing is known of the call that it made, so ask for the process states. If it ends again and "
    "again, look at `dmesg` for a killed or crashed process"
)

WORKER_BROKEN = "this is a fault in hotseat or two versions of it side by side; restart the daemon, and report it"

_START = {
    34: "a stub of libcuda was loaded, made for linking only: take .../stubs out of LD_LIBRARY_PATH",
    100: "no GPU: is the driver's module loaded (`nvidia-smi`), is /dev/nvidia0 there and may this user open it?",
    800: "the driver's device files may not be opened: run as root or join their group",
    802: "the NVSwitch fabric is not ready: start nvidia-fabricmanager",
    803: "libcuda and the loaded kernel module differ in version: reboot, or install the matching libcuda",
    999: "the driver failed to start: look at `dmesg`, and try `nvidia-modprobe -u -c=0`",
}
"""cuInit's results."""

_CALL = {
    ("lock", 600): "the process finished no GPU work within the lock's timeout and runs on: try again, drain its "
    "requests first, or allow more time",
    ("lock", 401): "it is locked or parked already",
    ("checkpoint", 401): "only a locked process can be checkpointed",
    ("checkpoint", 2): "the host lacks memory for the GPU's state: raise the container's memory limit or free memory",
    ("restore", 2): "the device had too little free memory; the driver cannot restore this process any more. "
    "Stop the container and start it again",
    ("restore", 304): "the driver cannot restore this process (an earlier restore failed). Stop the container and "
    "start it again",
    ("restore", 401): "only a parked process can be restored",
    ("restore", 801): "its memory was imported from another process at checkpoint; the driver cannot bring it back. "
    "Stop the container and start it again",
    ("unlock", 401): "it is not locked",
}

_ANY = {
    2: "the host or the device lacks memory",
    401: "the process was in another state than the call needs; ask for the process states",
    500: "this driver lacks the call: it needs driver 570 or newer",
    800: "this user may not control that process: run as root, or as the user who owns it",
    801: "the driver cannot checkpoint this process (managed memory, MIG, MPS, IPC are not supported)",
}


def hint(op: str, result: int) -> str:
    """What to do about `result` of operation `op`, "" if nothing is known."""
    return _CALL.get((op, result)) or _ANY.get(result, "")


def no_start(hello: wire.Hello) -> DriverFailed:
    """The worker's library cannot serve."""
    fallback = "is the NVIDIA driver installed on this host? " + DOCTOR
    library = hello.library or ("libcuda" if hello.role == "cuda" else "NVML")
    return DriverFailed(
        f"no GPU driver to work with: {hello.error}",
        result=hello.result or None,
        hint=_START.get(hello.result, fallback) if hello.role == "cuda" else fallback,
        library=library,
    )


def missing_symbols(hello: wire.Hello) -> DriverFailed:
    return DriverFailed(
        f"{hello.library} lacks {', '.join(hello.missing)}",
        hint="the checkpoint API needs driver 570 or newer; " + DOCTOR,
        library=hello.library,
    )


def failed(op: str, outcomes: Sequence[Outcome], **details: object) -> DriverFailed:
    """At least one outcome is not ok. The first such one gives result and hint."""
    bad = [outcome for outcome in outcomes if not outcome.ok]
    what = ", ".join(f"process {one.process.pid}: {result_name(one.result)}" for one in bad)
    return DriverFailed(
        f"{CALLS[op]} failed for {what}",
        result=bad[0].result,
        hint=hint(op, bad[0].result),
        call=CALLS[op],
        outcomes=list(outcomes),
        **details,
    )


def timed_out(op: str, pending: Sequence[ProcessRef], outcomes: Sequence[Outcome], deadline: float) -> DriverTimeout:
    pids = ", ".join(str(one.pid) for one in pending)
    return DriverTimeout(
        f"{CALLS[op]} of process {pids} did not return within {deadline:g} s",
        hint="its worker was killed. A process that is frozen (paused, stopped) cannot answer: thaw it; "
        "otherwise look at `dmesg` for driver errors",
        call=CALLS[op],
        processes=list(pending),
        outcomes=list(outcomes),
    )


def gone(op: str, processes: Sequence[ProcessRef], outcomes: Sequence[Outcome]) -> ProcessGone:
    pids = ", ".join(str(one.pid) for one in processes)
    return ProcessGone(
        f"process {pids} ended before {CALLS[op]} was done, or its pid belongs to another process now",
        hint="list the container's processes again",
        call=CALLS[op],
        processes=list(processes),
        outcomes=list(outcomes),
    )


def unknown_holders(
    holders: Mapping[ProcessRef, int], *, library: str, found: Mapping[ProcessRef, int]
) -> DriverFailed:
    """NVML lists these with GPU memory, but the checkpoint API says that they do not use CUDA: parking them would
    free nothing and look like success."""
    who = ", ".join(f"process {one.pid} ({nbytes} bytes)" for one, nbytes in holders.items())
    return DriverFailed(
        f"{who} holds GPU memory, but {library} knows nothing of it",
        hint="a wrong libcuda was loaded here (check LD_LIBRARY_PATH), the process uses MPS or Vulkan, or its own "
        "libcuda is older than 570; " + DOCTOR,
        processes=list(holders),
        found=dict(found),
        library=library,
    )
