"""Doctor's readings against trees that look like /proc and /sys of machines that we do not have here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotseat.cli.doctor import gather, gather_machine, gather_process
from hotseat.cli.doctor.facts import Level
from hotseat.cli.doctor.rules_machine import rights as judge_rights
from hotseat.linux import proc
from hotseat.words import ProcessRef


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("mounts", "mode", "freezer", "memory"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", "v2", "/sys/fs/cgroup", "/sys/fs/cgroup"),
        (
            "cgroup /cg/freezer cgroup rw,freezer 0 0\ncgroup /cg/memory cgroup rw,memory 0 0",
            "v1",
            "/cg/freezer",
            "/cg/memory",
        ),
        (
            "cgroup /cg/memory cgroup rw,memory 0 0\ncgroup2 /cg/unified cgroup2 rw 0 0",
            "hybrid",
            "/cg/unified",
            "/cg/memory",
        ),
        ("proc /proc proc rw 0 0", "none", None, None),
    ],
)
def test_cgroup_mode_is_read_from_the_mounts(
    tmp_path: Path, mounts: str, mode: str, freezer: str | None, memory: str | None
) -> None:
    put(tmp_path, "proc/mounts", mounts + "\n")
    read = gather_machine.cgroups(tmp_path)
    assert (read.mode, read.freezer, read.memory) == (mode, freezer, memory)
    assert not read.writable
    if freezer is not None:
        (tmp_path / freezer.lstrip("/")).mkdir(parents=True)
        assert gather_machine.cgroups(tmp_path).writable


def test_rights_of_a_user_in_a_rootless_container(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/status", "Name:\tx\nCapEff:\t0000000000080000\n")
    put(tmp_path, "proc/self/uid_map", "         0       1000          1\n")
    put(tmp_path, "proc/sys/kernel/yama/ptrace_scope", "1\n")
    read = gather_machine.rights(tmp_path)
    assert read.capabilities == 1 << 19
    assert read.ptrace_scope == 1
    assert read.user_namespace
    assert any(finding.level is Level.WARN for finding in judge_rights(read))


def test_this_process_may_seize_its_own_child() -> None:
    assert gather_machine.rights().ptrace_works is True


def test_host_memory_huge_pages_and_mps(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal: 2048 kB\nMemAvailable: 1024 kB\nSwapTotal: 0 kB\n")
    put(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")
    put(tmp_path, "proc/42/comm", "nvidia-cuda-mps\n")
    put(tmp_path, "proc/43/comm", "bash\n")
    read = gather_machine.host(tmp_path)
    assert (read.memory_total, read.memory_available) == (2 << 20, 1 << 20)
    assert read.huge_pages == "never"
    assert read.mps == (42,)


def test_amd_gpus_are_counted_by_vendor(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/drm/card0/device/vendor", "0x1002\n")
    put(tmp_path, "sys/class/drm/card1/device/vendor", "0x10de\n")
    put(tmp_path, "sys/class/drm/card0-DP-1/status", "connected\n")
    put(tmp_path, "dev/kfd", "")
    put(tmp_path, "usr/lib/criu/amdgpu_plugin.so", "")
    read = gather_machine.amd(tmp_path)
    assert (read.gpus, read.kfd) == (1, True)
    assert read.plugin == str(tmp_path / "usr/lib/criu/amdgpu_plugin.so")


STATUS = (
    "Name:\tengine\nState:\tS (sleeping)\nTgid:\t9\nPid:\t9\nPPid:\t1\nTracerPid:\t{tracer}\nVmRSS:\t   2048 kB\n"
    "Threads:\t7\n"
)
ENGINE = ProcessRef(9, 777)
CONTEXT = (
    "204a00000-204c00000 rw-s 00000000 00:06 5 /dev/nvidia-uvm\n7f00-7f10 r-xp 0 0:1 1 /usr/lib/libcuda.so.580.1\n"
)
MANAGED = "7f1ee4000000-7f1ee8000000 rw-s 00000000 00:06 5 /dev/nvidia-uvm\n"


def engine(root: Path, *, tracer: int = 0) -> None:
    put(root, "proc/9/status", STATUS.format(tracer=tracer))
    put(root, "proc/9/stat", f"9 (engine) S 1 {'0 ' * 17}{ENGINE.start_time}\n")


def test_a_context_alone_is_no_unified_memory_and_a_managed_allocation_is(tmp_path: Path) -> None:
    engine(tmp_path)
    put(tmp_path, "proc/9/maps", CONTEXT)
    plain = gather_process.process(ENGINE, root=tmp_path)
    assert plain is not None
    assert (plain.managed_bytes, plain.libcuda, plain.uses_gpu) == (0, "/usr/lib/libcuda.so.580.1", True)
    put(tmp_path, "proc/9/maps", CONTEXT + MANAGED)
    managed = gather_process.process(ENGINE, root=tmp_path)
    assert managed is not None
    assert managed.managed_bytes == 64 << 20


def test_tracer_environment_and_libraries_of_a_process(tmp_path: Path) -> None:
    engine(tmp_path, tracer=5)
    put(tmp_path, "proc/5/comm", "gdb\n")
    put(tmp_path, "proc/9/maps", "7f00-7f10 r-xp 0 0:1 1 /usr/lib/libnccl.so.2 (deleted)\n")
    put(tmp_path, "proc/9/environ", "NCCL_NVLS_ENABLE=0\0SECRET=x\0CUDA_VISIBLE_DEVICES=MIG-1\0")
    fact = gather_process.process(ENGINE, root=tmp_path)
    assert fact is not None
    assert (fact.tracer, fact.tracer_command, fact.threads, fact.resident) == (5, "gdb", 7, 2 << 20)
    assert fact.libraries == {"libnccl"}
    # Nothing of the environment is read that is not asked for.
    assert fact.environment == {"NCCL_NVLS_ENABLE": "0", "CUDA_VISIBLE_DEVICES": "MIG-1"}
    assert not fact.uses_gpu


def test_open_device_files_count_also_those_of_the_emulated_driver(tmp_path: Path) -> None:
    engine(tmp_path)
    descriptors = tmp_path / "proc/9/fd"
    descriptors.mkdir()
    (descriptors / "3").symlink_to("/run/stage/nvidiactl")
    fact = gather_process.process(ENGINE, root=tmp_path)
    assert fact is not None
    assert fact.uses_gpu


def test_a_process_that_is_gone_is_none_and_a_living_one_is_read() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ref = proc.ref(child.pid)
        assert ref is not None
        fact = gather_process.process(ref)
        assert fact is not None
        assert fact.command.startswith("python")
        child.kill()
        child.wait()
    assert gather_process.process(ref) is None
    own = proc.ref(os.getpid())
    assert own is not None
    assert gather_process.process(own, gpu_bytes=5) is not None


def test_kernel_release_from_both_kinds_of_module(tmp_path: Path) -> None:
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (builder)\n"
    put(tmp_path, "proc/driver/nvidia/version", line)
    assert gather.kernel_release(tmp_path) == "580.159.04"
    put(tmp_path, "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86  Mon Jan 1\n")
    assert gather.kernel_release(tmp_path) == "570.86"
    assert gather.kernel_release(tmp_path / "nowhere") is None
