"""Findings about container platforms and each container. Pure functions over facts."""

from __future__ import annotations

from hotseat.cli.doctor.facts import ContainerFact, Driver, Finding, Host, Level, PlatformFact, ProcessFact
from hotseat.cli.doctor.rules_machine import IPC_RELEASE
from hotseat.config.units import format_size
from hotseat.platforms import remedies


def platform(facts: PlatformFact, *, cgroups: str = "v2") -> list[Finding]:
    """`cgroups`: the host's mode, as in `facts.Cgroups`."""

    def finding(level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
        return Finding(subject=facts.name, check="platform", level=level, what=what, why=why, way_out=way_out)

    if facts.answers:
        parts = [f"{facts.name} {facts.version}".strip(), f"at {facts.socket}" if facts.socket else ""]
        parts += [f"runtime {facts.runtime}" if facts.runtime else "", f"API {facts.api}" if facts.api else ""]
        parts += [f"cgroups by {facts.cgroup_driver}" if facts.cgroup_driver else ""]
        found = [finding(Level.OK, ", ".join(part for part in parts if part))]
        if facts.runtime == "crun" and cgroups == "hybrid":
            found.append(
                finding(
                    Level.WARN,
                    "its runtime crun starts no container here",
                    "crun refuses cgroup v1 with a separate v2 tree",
                    f'{facts.name} --runtime runc, or `runtime = "runc"` in containers.conf',
                )
            )
        return found
    if facts.program is None and facts.socket is None:
        return [finding(Level.OK, f"{facts.name} is not installed")]
    start = {"docker": "systemctl start docker", "podman": "systemctl start podman.socket"}.get(facts.name, "")
    return [
        finding(
            Level.WARN,
            f"{facts.name} is installed but does not answer ({facts.error or 'no socket'})",
            "its containers cannot be seen",
            f"start it ({start}) and see that you may open its socket" if start else "start it",
        )
    ]


def container(facts: ContainerFact, *, driver: Driver, host: Host) -> list[Finding]:
    """All that speaks for or against parking this container."""
    if facts.error:
        return [_finding(facts, "look", Level.WARN, f"could not be examined: {facts.error}")]
    if not facts.processes:
        return [_finding(facts, "state", Level.OK, f"{facts.status}; nothing to park")]
    on_gpu = [process for process in facts.processes if process.uses_gpu]
    out = [
        *_cuda(facts, on_gpu),
        *_memory(facts, on_gpu, host),
        *_unsupported(facts, on_gpu),
        *_several(facts, on_gpu, driver),
        *_threads(facts),
    ]
    if all(finding.level is Level.OK for finding in out):
        held = format_size(sum(process.gpu_bytes for process in on_gpu))
        pids = ", ".join(str(process.pid) for process in on_gpu)
        summary = f"can be parked: {held} on the GPU, CUDA processes {pids}" if on_gpu else "uses no GPU"
        out.insert(0, _finding(facts, "park", Level.OK, summary))
    return out


def _finding(facts: ContainerFact, check: str, level: Level, what: str, why: str = "", way_out: str = "") -> Finding:
    return Finding(
        subject=f"{facts.platform}:{facts.name}", check=check, level=level, what=what, why=why, way_out=way_out
    )


def _cuda(facts: ContainerFact, on_gpu: list[ProcessFact]) -> list[Finding]:
    return [
        _finding(
            facts,
            "libcuda",
            Level.FAIL,
            f"pid {process.pid} ({process.command}) has a GPU open but no libcuda that can be seen",
            "the driver would find no GPU state in it and the checkpoint would be empty without an error",
            "is it linked statically, or not a CUDA program (Vulkan, OpenCL)? Such processes cannot be parked",
        )
        for process in on_gpu
        if process.libcuda is None
    ]


def _memory(facts: ContainerFact, on_gpu: list[ProcessFact], host: Host) -> list[Finding]:
    need = sum(process.parks_bytes for process in on_gpu)
    if not need:
        return []
    if facts.memory_limit is not None and facts.memory_used + need > facts.memory_limit:
        return [
            _finding(
                facts,
                "memory limit",
                Level.FAIL,
                f"parking needs {format_size(need)} of host memory; the container's limit is "
                f"{format_size(facts.memory_limit)} and {format_size(facts.memory_used)} are used",
                "the driver puts the GPU's memory into the process itself, so it counts against the container",
                f"{remedies.raise_memory_limit(facts.platform, facts.name, facts.memory_used + need + need // 20)}, "
                "or start it anew without a limit",
            )
        ]
    if need > host.memory_available:
        return [
            _finding(
                facts,
                "host memory",
                Level.FAIL,
                f"parking needs {format_size(need)} of host memory; {format_size(host.memory_available)} are available",
                "the GPU's memory moves into host memory while the workload is parked",
                "free some, or give the engine a smaller KV cache",
            )
        ]
    return []


def _unsupported(facts: ContainerFact, on_gpu: list[ProcessFact]) -> list[Finding]:
    out = []
    for process in on_gpu:
        who = f"pid {process.pid} ({process.command})"
        if process.managed_bytes:
            out.append(
                _finding(
                    facts,
                    "unified memory",
                    Level.FAIL,
                    f"{who} maps {format_size(process.managed_bytes)} of unified (managed) memory",
                    "the driver cannot checkpoint cudaMallocManaged memory",
                    "turn it off in the engine (llama.cpp: unset GGML_CUDA_ENABLE_UNIFIED_MEMORY)",
                )
            )
        environment = process.environment
        if any("MIG-" in environment.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")):
            out.append(
                _finding(
                    facts,
                    "mig",
                    Level.FAIL,
                    f"{who} runs on a MIG instance",
                    "the driver cannot checkpoint processes on a MIG instance",
                    "give it a whole GPU",
                )
            )
        if "CUDA_MPS_PIPE_DIRECTORY" in environment:
            out.append(
                _finding(
                    facts,
                    "mps",
                    Level.FAIL,
                    f"{who} is a client of MPS (CUDA_MPS_PIPE_DIRECTORY is set)",
                    "the driver cannot checkpoint clients of MPS",
                    "start it without MPS: hotseat's turns replace sharing by MPS",
                )
            )
    return out


def _several(facts: ContainerFact, on_gpu: list[ProcessFact], driver: Driver) -> list[Finding]:
    """Several CUDA processes: IPC cannot be seen from outside, so this can only warn."""
    out = []
    nccl = [process for process in on_gpu if "libnccl" in process.libraries]
    if len(on_gpu) > 1 and len(facts.devices) > 1 and nccl:
        nvls = [process for process in nccl if process.environment.get("NCCL_NVLS_ENABLE") != "0"]
        if nvls:
            out.append(
                _finding(
                    facts,
                    "nvls",
                    Level.WARN,
                    "NCCL over several GPUs with NVLS allowed",
                    "NVLS multicast memory cannot be checkpointed",
                    "start it with NCCL_NVLS_ENABLE=0 NCCL_CUMEM_ENABLE=0",
                )
            )
    release = int((driver.release or "0").split(".")[0] or 0)
    if len(on_gpu) > 1 and release < IPC_RELEASE and (nccl or any("libnvshmem" in p.libraries for p in on_gpu)):
        out.append(
            _finding(
                facts,
                "ipc",
                Level.WARN,
                f"{len(on_gpu)} CUDA processes with a communication library; they may share memory by CUDA IPC",
                f"drivers before {IPC_RELEASE} cannot checkpoint CUDA IPC, and it cannot be seen from outside",
                "try it on a copy first; NCCL_P2P_DISABLE=1 makes NCCL do without IPC",
            )
        )
    return out


def _threads(facts: ContainerFact) -> list[Finding]:
    out = []
    for process in facts.processes:
        who = f"pid {process.pid} ({process.command})"
        if process.tracer:
            out.append(
                _finding(
                    facts,
                    "traced",
                    Level.FAIL,
                    f"{who} is traced by pid {process.tracer} ({process.tracer_command or 'unknown'})",
                    "a thread has one tracer at most, so hotseat cannot hold it",
                    "detach the debugger",
                )
            )
        if process.state == "D":
            out.append(
                _finding(
                    facts,
                    "uninterruptible",
                    Level.WARN,
                    f"{who} is in uninterruptible sleep now",
                    "a thread that stays there cannot be frozen; parking then rolls back after its deadline",
                    "usually over in a moment; else look at its disk or network file system",
                )
            )
        if process.state == "T":
            out.append(
                _finding(
                    facts,
                    "stopped",
                    Level.WARN,
                    f"{who} is stopped by a signal",
                    "the driver cannot lock a process whose threads do not run",
                    f"kill -CONT {process.pid}",
                )
            )
    return out
