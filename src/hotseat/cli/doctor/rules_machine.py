"""Findings about the machine: driver, devices, rights, cgroups, host. Pure functions over facts."""

from __future__ import annotations

from hotseat.cli.doctor.facts import Amd, Cgroups, Driver, Finding, Gpu, Host, Level, Rights
from hotseat.config.units import format_size

CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21
"""Bits of capability.h."""
CHECKPOINT_RELEASE = 570
IPC_RELEASE = 610
"""First driver release whose checkpoint knows CUDA IPC (and only under --launch-job)."""
ENOUGH_FILES = 1024


def driver(facts: Driver, amd: Amd) -> list[Finding]:
    def finding(check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject="driver", check=check, level=level, what=what, why=why, way_out=way_out)

    if facts.libcuda is None:
        return [
            finding(
                "libcuda",
                Level.WARN if amd.gpus else Level.FAIL,
                f"libcuda.so.1 cannot be loaded ({facts.error or 'not found'})",
                "parking a GPU process goes through NVIDIA's checkpoint API in it",
                "install NVIDIA's driver, 570 or newer; to try hotseat without a GPU: hotseat demo --emulated",
            )
        ]
    out = []
    if facts.emulated:
        out.append(
            finding(
                "emulated",
                Level.WARN,
                f"this is the emulated driver ({facts.libcuda})",
                "a test bench and a demo stage: no GPU is behind it and no performance figure comes from it",
                "unset the variables that choose it to use a real GPU",
            )
        )
    elif facts.error:
        out.append(
            finding(
                "libcuda",
                Level.FAIL,
                f"{facts.libcuda} does not initialise: {facts.error}",
                "without cuInit no checkpoint call is possible",
                "see `nvidia-smi` and `dmesg`; in a container the GPU must be passed through",
            )
        )
    else:
        version = facts.version or 0
        out.append(
            finding(
                "libcuda",
                Level.OK,
                f"{facts.libcuda}, CUDA {version // 1000}.{version % 1000 // 10}, driver {facts.release or 'unknown'}",
            )
        )
    if facts.checkpoint_api:
        out.append(finding("checkpoint", Level.OK, "the checkpoint API is there"))
    else:
        out.append(
            finding(
                "checkpoint",
                Level.FAIL,
                "this libcuda has no checkpoint API (cuCheckpointProcessCheckpoint)",
                "nothing else can take the GPU from a process and give it back",
                f"upgrade the driver to {CHECKPOINT_RELEASE} or newer",
            )
        )
    if facts.nvml_error:
        out.append(
            finding(
                "nvml",
                Level.FAIL,
                f"NVML does not work: {facts.nvml_error}",
                "the device's own free memory is what a seat is granted against; a restore that runs out is final",
                "libnvidia-ml.so.1 must come from the same driver release as the kernel module",
            )
        )
    if facts.others:
        out.append(
            finding(
                "libcuda copies",
                Level.WARN,
                f"more than one libcuda.so.1: also {', '.join(facts.others)}",
                "a library that does not fit the kernel module sees no GPU state, and a checkpoint of it is empty",
                "remove stubs and compat libraries from the loader's path",
            )
        )
    return out


def amd_gpus(facts: Amd) -> list[Finding]:
    if not facts.gpus:
        return []
    have = f"{facts.gpus} AMD GPU{'s' if facts.gpus > 1 else ''}"
    tools = f"criu: {facts.criu or 'not found'}; amdgpu plugin: {facts.plugin or 'not found'}"
    return [
        Finding(
            subject="amd",
            check="support",
            level=Level.WARN,
            what=f"{have} seen, {'with' if facts.kfd else 'without'} /dev/kfd ({tools})",
            why="hotseat parks NVIDIA GPUs; AMD's way is CRIU's amdgpu plugin, which hotseat does not drive yet",
            way_out="workloads on these GPUs are left alone; use CRIU by hand, or run them elsewhere",
        )
    ]


def gpu(facts: Gpu) -> list[Finding]:
    subject = f"gpu {facts.index}"

    def finding(check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject=subject, check=check, level=level, what=what, why=why, way_out=way_out)

    emulated = ", emulated" if facts.emulated else ""
    size = f"{format_size(facts.used_bytes)} of {format_size(facts.total_bytes)} used"
    out = [finding("memory", Level.OK, f"{facts.name}{emulated}: {size}")]
    if facts.mig:
        out.append(
            finding(
                "mig",
                Level.FAIL,
                "MIG is on",
                "the driver cannot checkpoint processes on a MIG instance",
                f"nvidia-smi -i {facts.index} -mig 0, if nobody needs the instances",
            )
        )
    if facts.compute_mode == "prohibited":
        out.append(
            finding(
                "compute mode",
                Level.FAIL,
                "compute mode is PROHIBITED",
                "no process can open a context on it",
                f"nvidia-smi -i {facts.index} -c DEFAULT",
            )
        )
    elif (facts.compute_mode or "").startswith("exclusive"):
        out.append(
            finding(
                "compute mode",
                Level.WARN,
                "compute mode is EXCLUSIVE",
                "only one process at a time gets a context, so a workload of several CUDA processes cannot be seated",
                f"nvidia-smi -i {facts.index} -c DEFAULT",
            )
        )
    if facts.foreign:
        held = sum(facts.foreign.values())
        out.append(
            finding(
                "foreign processes",
                Level.WARN,
                f"{format_size(held)} held by pids {', '.join(map(str, facts.foreign))}, in no container known here",
                "hotseat respects them: that memory is simply not free",
                "park one by its number (hotseat park PID), or stop it yourself",
            )
        )
    return out


def rights(facts: Rights) -> list[Finding]:
    def finding(check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject="rights", check=check, level=level, what=what, why=why, way_out=way_out)

    root = facts.euid == 0
    can_trace = bool((facts.capabilities or 0) >> CAP_SYS_PTRACE & 1)
    out = []
    if root and not facts.user_namespace:
        out.append(finding("user", Level.OK, "root"))
    else:
        out.append(
            finding(
                "user",
                Level.WARN,
                "root of a user namespace only" if root else f"not root (uid {facts.euid})",
                "containers of other users and of the system's Docker and Podman are out of reach",
                "run as root for those; your own processes and rootless Podman work as you are",
            )
        )
    if facts.ptrace_works is False:
        out.append(
            finding(
                "ptrace",
                Level.FAIL,
                "a process cannot be seized with ptrace",
                "every thread but the driver's must be held while a checkpoint runs",
                "allow ptrace: CAP_SYS_PTRACE, and no seccomp profile that forbids it",
            )
        )
    elif facts.ptrace_scope and not can_trace:
        level = Level.FAIL if facts.ptrace_scope >= 2 else Level.WARN
        out.append(
            finding(
                "ptrace",
                level,
                f"Yama's ptrace_scope is {facts.ptrace_scope} and CAP_SYS_PTRACE is missing",
                "only children may be traced" if level is Level.WARN else "nothing may be traced without it",
                "run as root, or as root: sysctl kernel.yama.ptrace_scope=0",
            )
        )
    else:
        scope = "no Yama" if facts.ptrace_scope is None else f"ptrace_scope {facts.ptrace_scope}"
        out.append(finding("ptrace", Level.OK, f"processes can be held ({scope})"))
    return out


def cgroups(facts: Cgroups, *, euid: int) -> list[Finding]:
    def finding(level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject="cgroups", check="freezer", level=level, what=what, why=why, way_out=way_out)

    if facts.freezer is None:
        return [
            finding(
                Level.FAIL,
                f"cgroup {facts.mode}: no freezer found",
                "it is what keeps a parked process tree stopped, also when hotseat is gone",
                "mount cgroup2, or the v1 freezer, at /sys/fs/cgroup",
            )
        ]
    if not facts.writable:
        return [
            finding(
                Level.WARN,
                f"cgroup {facts.mode}, freezer at {facts.freezer}, not writable",
                "bare process trees cannot be frozen by cgroup; they are stopped by signal instead, which they can see",
                "run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes hotseat ..."
                if euid
                else "mount it writable (a container needs -v /sys/fs/cgroup:/sys/fs/cgroup:rw)",
            )
        ]
    memory = f", memory at {facts.memory}" if facts.memory else ""
    return [finding(Level.OK, f"cgroup {facts.mode}, freezer at {facts.freezer}{memory}")]


def host(facts: Host, *, gpu_bytes: int) -> list[Finding]:
    """`gpu_bytes`: memory that seated workloads hold on all devices now."""

    def finding(check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject="host", check=check, level=level, what=what, why=why, way_out=way_out)

    out = []
    memory = f"{format_size(facts.memory_available)} of {format_size(facts.memory_total)} available"
    if gpu_bytes > facts.memory_available:
        out.append(
            finding(
                "memory",
                Level.WARN,
                f"{memory}; the GPUs hold {format_size(gpu_bytes)} now",
                "a parked workload keeps its GPU memory in host memory; not all of them could be parked at once",
                "add memory, or let fewer large models share this machine",
            )
        )
    else:
        out.append(finding("memory", Level.OK, memory))
    if facts.nofile < ENOUGH_FILES:
        out.append(
            finding(
                "open files",
                Level.WARN,
                f"at most {facts.nofile} open files",
                "the gateway needs two for each client that waits, the swap one for each process",
                "ulimit -n 8192",
            )
        )
    if facts.mps:
        out.append(
            finding(
                "mps",
                Level.FAIL,
                f"MPS runs (pids {', '.join(map(str, facts.mps))})",
                "the driver cannot checkpoint processes that are clients of MPS",
                "echo quit | nvidia-cuda-mps-control, then start the workloads again",
            )
        )
    if facts.huge_pages == "never":
        out.append(
            finding(
                "huge pages",
                Level.WARN,
                "transparent huge pages are off",
                "parking moves GPU memory into the process's own; small pages make that slower",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            )
        )
    return out
