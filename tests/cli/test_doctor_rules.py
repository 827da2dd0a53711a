"""The rules of doctor on facts alone: every trap of the driver is named before it is tried, with a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotseat.cli.doctor import rules_containers, rules_machine
from hotseat.cli.doctor.facts import (
    Amd,
    Cgroups,
    ContainerFact,
    Driver,
    Finding,
    Gpu,
    Host,
    Level,
    PlatformFact,
    ProcessFact,
    Rights,
)

GIB = 1 << 30

DRIVER = Driver(libcuda="/lib/libcuda.so.1", version=13000, release="580.159.04", checkpoint_api=True)
HOST = Host(
    kernel="6.18",
    memory_total=64 * GIB,
    memory_available=32 * GIB,
    swap_total=0,
    huge_pages="madvise",
    nofile=8192,
    nproc=-1,
)
GPU = Gpu(index=0, name="H200", uuid="GPU-1", total_bytes=139 * GIB, used_bytes=0)
RIGHTS = Rights(euid=0, capabilities=(1 << 41) - 1, ptrace_scope=1, ptrace_works=True)
ENGINE = ProcessFact(
    pid=10, command="engine", threads=5, state="S", uses_gpu=True, libcuda="/lib/libcuda.so.1", gpu_bytes=8 * GIB
)


def box(*processes: ProcessFact, **changes: object) -> ContainerFact:
    fact = ContainerFact(key="docker:1", name="llama", platform="docker", status="running", processes=processes)
    return replace(fact, **changes)  # type: ignore[arg-type]


def container(fact: ContainerFact, *, driver: Driver = DRIVER, host: Host = HOST) -> list[Finding]:
    return rules_containers.container(fact, driver=driver, host=host)


def only(findings: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def bad(findings: list[Finding]) -> dict[str, Level]:
    return {finding.check: finding.level for finding in findings if finding.level is not Level.OK}


def test_a_good_machine_has_nothing_to_complain_about() -> None:
    findings = [
        *rules_machine.driver(DRIVER, Amd()),
        *rules_machine.gpu(GPU),
        *rules_machine.rights(RIGHTS),
        *rules_machine.cgroups(Cgroups(mode="v2", freezer="/sys/fs/cgroup", writable=True), euid=0),
        *rules_machine.host(HOST, gpu_bytes=0),
        *container(box(ENGINE)),
    ]
    assert bad(findings) == {}
    assert only(findings, "park").what == "can be parked: 8 GiB on the GPU, CUDA processes 10"


@pytest.mark.parametrize(
    ("driver", "check", "level"),
    [
        (Driver(libcuda=None, error="not found"), "libcuda", Level.FAIL),
        (replace(DRIVER, checkpoint_api=False), "checkpoint", Level.FAIL),
        (replace(DRIVER, error="CUDA_ERROR_NO_DEVICE"), "libcuda", Level.FAIL),
        (replace(DRIVER, nvml_error="mismatch"), "nvml", Level.FAIL),
        (replace(DRIVER, others=("/opt/stubs/libcuda.so.1",)), "libcuda copies", Level.WARN),
        (replace(DRIVER, emulated=True), "emulated", Level.WARN),
    ],
)
def test_driver(driver: Driver, check: str, level: Level) -> None:
    findings = rules_machine.driver(driver, Amd())
    assert bad(findings) == {check: level}
    assert only([f for f in findings if f.level is not Level.OK], check).way_out


def test_no_nvidia_driver_on_an_amd_machine_is_no_failure_and_the_amd_gpus_are_named() -> None:
    amd = Amd(gpus=2, kfd=True, criu="Version: 4.2", plugin="/usr/lib/criu/amdgpu_plugin.so")
    assert bad(rules_machine.driver(Driver(libcuda=None), amd)) == {"libcuda": Level.WARN}
    (finding,) = rules_machine.amd_gpus(amd)
    assert finding.level is Level.WARN
    assert "2 AMD GPUs" in finding.what
    assert "amdgpu_plugin.so" in finding.what


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (replace(GPU, mig=True), {"mig": Level.FAIL}),
        (replace(GPU, mig=None), {}),
        (replace(GPU, compute_mode="default"), {}),
        (replace(GPU, compute_mode="prohibited"), {"compute mode": Level.FAIL}),
        (replace(GPU, compute_mode="exclusive process"), {"compute mode": Level.WARN}),
        (replace(GPU, foreign={77: GIB}), {"foreign processes": Level.WARN}),
    ],
)
def test_gpu(gpu: Gpu, expected: dict[str, Level]) -> None:
    assert bad(rules_machine.gpu(gpu)) == expected


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        (replace(RIGHTS, euid=1000, capabilities=0, ptrace_scope=0), {"user": Level.WARN}),
        (replace(RIGHTS, euid=1000, capabilities=0), {"user": Level.WARN, "ptrace": Level.WARN}),
        (replace(RIGHTS, euid=1000, capabilities=0, ptrace_scope=3), {"user": Level.WARN, "ptrace": Level.FAIL}),
        (replace(RIGHTS, euid=1000, capabilities=1 << 19, ptrace_scope=2), {"user": Level.WARN}),
        (replace(RIGHTS, ptrace_works=False), {"ptrace": Level.FAIL}),
        (replace(RIGHTS, user_namespace=True), {"user": Level.WARN}),
    ],
)
def test_rights(rights: Rights, expected: dict[str, Level]) -> None:
    assert bad(rules_machine.rights(rights)) == expected


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    [
        (Cgroups(mode="none", freezer=None), Level.FAIL),
        (Cgroups(mode="v2", freezer="/sys/fs/cgroup"), Level.WARN),
        (Cgroups(mode="hybrid", freezer="/sys/fs/cgroup/freezer", writable=True, memory="/m"), Level.OK),
    ],
)
def test_cgroups(cgroups: Cgroups, expected: Level) -> None:
    (finding,) = rules_machine.cgroups(cgroups, euid=0)
    assert finding.level is expected
    assert cgroups.mode in finding.what


@pytest.mark.parametrize(
    ("host", "gpu_bytes", "expected"),
    [
        (HOST, 33 * GIB, {"memory": Level.WARN}),
        (HOST, 31 * GIB, {}),
        (replace(HOST, nofile=256), 0, {"open files": Level.WARN}),
        (replace(HOST, mps=(9,)), 0, {"mps": Level.FAIL}),
        (replace(HOST, huge_pages="never"), 0, {"huge pages": Level.WARN}),
    ],
)
def test_host(host: Host, gpu_bytes: int, expected: dict[str, Level]) -> None:
    assert bad(rules_machine.host(host, gpu_bytes=gpu_bytes)) == expected


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (PlatformFact(name="docker", program="/usr/bin/docker", answers=True, version="20.10"), Level.OK),
        (PlatformFact(name="docker", program=None), Level.OK),
        (PlatformFact(name="podman", program="/usr/bin/podman", error="refused"), Level.WARN),
    ],
)
def test_platform(fact: PlatformFact, expected: Level) -> None:
    (finding,) = rules_containers.platform(fact)
    assert finding.level is expected


@pytest.mark.parametrize(
    ("runtime", "mode", "warns"), [("crun", "hybrid", 1), ("runc", "hybrid", 0), ("crun", "v2", 0)]
)
def test_a_runtime_that_refuses_the_hosts_cgroups_is_told(runtime: str, mode: str, warns: int) -> None:
    fact = PlatformFact(name="podman", program="/usr/bin/podman", answers=True, version="4.3.1", runtime=runtime)
    found = rules_containers.platform(fact, cgroups=mode)
    assert [finding.level for finding in found] == [Level.OK] + [Level.WARN] * warns


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (replace(ENGINE, libcuda=None), {"libcuda": Level.FAIL}),
        (replace(ENGINE, managed_bytes=GIB), {"unified memory": Level.FAIL}),
        (replace(ENGINE, environment={"NVIDIA_VISIBLE_DEVICES": "MIG-1"}), {"mig": Level.FAIL}),
        (replace(ENGINE, environment={"NVIDIA_VISIBLE_DEVICES": "all"}), {}),
        (replace(ENGINE, environment={"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"}), {"mps": Level.FAIL}),
        (replace(ENGINE, tracer=5, tracer_command="gdb"), {"traced": Level.FAIL}),
        (replace(ENGINE, state="D"), {"uninterruptible": Level.WARN}),
        (replace(ENGINE, state="T"), {"stopped": Level.WARN}),
    ],
)
def test_process_of_a_container(process: ProcessFact, expected: dict[str, Level]) -> None:
    findings = container(box(process))
    assert bad(findings) == expected
    assert all(finding.way_out and finding.why for finding in findings if finding.level is not Level.OK)


def test_memory_limit_is_held_against_what_parking_would_need() -> None:
    # 8 GiB of GPU memory on top of 2 GiB used: 10 GiB are enough, a byte less is not.
    assert bad(container(box(ENGINE, memory_limit=10 * GIB, memory_used=2 * GIB))) == {}
    tight = container(box(ENGINE, memory_limit=10 * GIB - 1, memory_used=2 * GIB))
    assert bad(tight) == {"memory limit": Level.FAIL}
    assert "docker update --memory" in only(tight, "memory limit").way_out


def test_host_memory_is_held_against_what_parking_would_need() -> None:
    assert bad(container(box(ENGINE), host=replace(HOST, memory_available=8 * GIB))) == {}
    assert bad(container(box(ENGINE), host=replace(HOST, memory_available=8 * GIB - 1))) == {"host memory": Level.FAIL}


def test_two_ranks_with_nccl_warn_of_ipc_and_nvls_until_the_driver_or_the_environment_says_otherwise() -> None:
    rank = replace(ENGINE, libraries=frozenset({"libnccl"}))
    ranks = box(rank, replace(rank, pid=11), devices=frozenset({0, 1}))
    assert bad(container(ranks)) == {"nvls": Level.WARN, "ipc": Level.WARN}
    assert bad(container(ranks, driver=replace(DRIVER, release="610.1"))) == {"nvls": Level.WARN}
    without = replace(rank, environment={"NCCL_NVLS_ENABLE": "0"})
    assert bad(container(box(without, replace(without, pid=11), devices=frozenset({0, 1})))) == {"ipc": Level.WARN}
    assert bad(container(box(rank))) == {}


def test_a_container_without_processes_or_without_gpu_is_fine_and_an_unreadable_one_is_not() -> None:
    assert bad(container(box(status="exited"))) == {}
    no_gpu = container(box(replace(ENGINE, uses_gpu=False, libcuda=None, gpu_bytes=0)))
    assert only(no_gpu, "park").what == "uses no GPU"
    assert bad(container(box(error="no permission"))) == {"look": Level.WARN}
