"""Facts for doctor: the driver, the devices, a process seen from outside, AMD GPUs and their seam."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gpu_bench import MIB, EmulatedBench, Script, ref_of

from hotseat.errors import Refused
from hotseat.gpu import advice, amd, backends, cuda_abi, inspect, procfs
from hotseat.gpu.client import GpuClient
from hotseat.gpu.describe import describe, mps_pids
from hotseat.words import ProcessRef

ROOT = Path(__file__).parents[2]


class TestAbi:
    @pytest.mark.parametrize(
        "struct", ["Lock", "Checkpoint", "Restore", "Unlock"], ids=["lock", "checkpoint", "restore", "unlock"]
    )
    def test_argument_structs_are_64_bytes_as_in_cuda_h(self, struct: str) -> None:
        assert ctypes.sizeof(getattr(cuda_abi, f"CUcheckpoint{struct}Args")) == 64

    def test_offsets(self) -> None:
        assert cuda_abi.CUcheckpointLockArgs.timeoutMs.offset == 0
        assert cuda_abi.CUcheckpointRestoreArgs.gpuPairsCount.offset == 8
        assert cuda_abi.CUcheckpointRestoreArgs.reserved1.offset == 56

    def test_imports_nothing_of_hotseat(self) -> None:
        source = Path(cuda_abi.__file__).read_text()
        assert not re.search(r"^(from|import) hotseat", source, re.MULTILINE)

    def test_result_names(self) -> None:
        assert cuda_abi.result_name(401) == "CUDA_ERROR_ILLEGAL_STATE (401)"
        assert cuda_abi.result_name(12345) == "CUresult (12345)"

    @pytest.mark.parametrize(
        ("op", "result", "says"),
        [("restore", 2, "start it again"), ("lock", 600, "drain"), ("checkpoint", 2, "host"), ("unlock", 800, "root")],
    )
    def test_hints_depend_on_the_call(self, op: str, result: int, says: str) -> None:
        assert says in advice.hint(op, result)


class TestDescribe:
    async def test_scripted_driver(self, script: Script) -> None:
        async with script.client() as gpu:
            facts = await describe(gpu)
        assert facts.libcuda == facts.libnvml == str(script.library)
        assert (facts.cuda_version, facts.driver_version, facts.nvml_version) == ("13.0", "580.0", "13.580")
        (device,) = facts.devices
        assert (device.mig, device.compute_mode, device.persistence) == (True, "exclusive process", None)
        (problem,) = facts.problems
        assert "different drivers" in problem.message, "its NVML says emulated, its libcuda does not"

    async def test_no_driver_is_a_fact_and_no_failure(self) -> None:
        async with GpuClient(libcuda="libno-cuda.so.1", libnvml="libno-nvml.so.1") as gpu:
            facts = await describe(gpu)
        assert [one.result for one in facts.problems] == [None, None]
        assert all(one.hint for one in facts.problems)
        assert not facts.can_checkpoint
        assert facts.devices == ()

    @pytest.mark.emulated
    async def test_emulated_driver(self) -> None:
        with EmulatedBench.open() as bench:
            facts = await describe(bench.client)
            await bench.client.aclose()
        assert facts.problems == ()
        assert facts.can_checkpoint
        assert facts.emulated
        assert facts.libcuda.endswith("/_native/libcuda.so.1")
        assert facts.libnvml.endswith("/_native/libnvidia-ml.so.1")
        assert [one.device.total_bytes for one in facts.devices] == [bench.CAPACITY] * 2

    def test_mps_daemon_by_name(self, tmp_path: Path) -> None:
        for pid, name in ((7, "nvidia-cuda-mps"), (8, "sh"), (12, "nvidia-cuda-mps")):
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
        (tmp_path / "9").mkdir()  # ended meanwhile
        (tmp_path / "self").mkdir()
        assert mps_pids(tmp_path) == (7, 12)


class TestInspect:
    def fake(self, tmp_path: Path, *, maps: str = "", environ: str = "", files: tuple[str, ...] = ()) -> ProcessRef:
        here = tmp_path / "42"
        (here / "fd").mkdir(parents=True)
        fields = ["S", *["0"] * 18, "777"]
        (here / "stat").write_text(f"42 (a name) with) brackets) {' '.join(fields)}\n")
        (here / "maps").write_text(maps)
        (here / "environ").write_text(environ)
        for number, target in enumerate(files):
            (here / "fd" / str(number)).symlink_to(target)
        (here / "exe").symlink_to(sys.executable)
        return ProcessRef(42, 777)

    def test_all_that_can_be_seen(self, tmp_path: Path) -> None:
        ref = self.fake(
            tmp_path,
            maps="10000000-20000000 rw-s 00000000 00:06 5 /dev/nvidia-uvm\n"
            "7f0000000000-7f0000200000 rw-s 00000000 00:06 5 /dev/nvidia-uvm\n"
            "7f1000000000-7f1000001000 r-xp 00000000 08:01 9 /usr/lib/libcuda.so.580.1 (deleted)\n"
            "7f2000000000-7f2000001000 r-xp 00000000 08:01 8 /opt/libnccl.so.2\n"
            "7f3000000000-7f3000001000 rw-p 00000000 00:00 0\n",
            environ="HOME=/\0CUDA_MPS_PIPE_DIRECTORY=/run/mps\0",
            files=("/dev/nvidia0", "/dev/nvidia-uvm", "/dev/null", "socket:[5]", "/dev/nvidia0"),
        )
        hints = inspect.inspect_process(ref, proc=tmp_path)
        assert hints is not None
        assert hints.libcuda == "/usr/lib/libcuda.so.580.1"
        assert hints.managed_bytes == 2 * MIB
        assert hints.libraries == {"libnccl"}
        assert hints.mps_pipe == "/run/mps"
        assert hints.environment == {"CUDA_MPS_PIPE_DIRECTORY": "/run/mps"}, "and nothing that was not asked for"
        assert hints.devices == ("/dev/nvidia-uvm", "/dev/nvidia0")
        assert hints.opens_uvm
        assert hints.static is False

    @pytest.mark.parametrize(
        ("maps", "files", "uses"),
        [
            ("200000000-200001000 rw-s 00000000 00:06 5 /dev/nvidia1\n", (), True),
            ("", ("/run/stage/nvidiactl",), True),
            ("200000000-200001000 r--s 00000000 00:06 5 /dev/dri/card0\n", ("/dev/nvidia-caps",), False),
        ],
        ids=["mapped and closed", "emulated", "other devices"],
    )
    def test_a_device_open_or_mapped_is_use_of_the_gpu(
        self, tmp_path: Path, maps: str, files: tuple[str, ...], uses: bool
    ) -> None:
        hints = inspect.inspect_process(self.fake(tmp_path, maps=maps, files=files), proc=tmp_path)
        assert hints is not None
        assert hints.uses_gpu is uses

    def test_default_mps_pipe_by_open_file(self, tmp_path: Path) -> None:
        ref = self.fake(tmp_path, files=("/tmp/nvidia-mps/control",))
        hints = inspect.inspect_process(ref, proc=tmp_path)
        assert hints is not None
        assert hints.mps_pipe == "/tmp/nvidia-mps"

    def test_what_may_not_be_read_is_none(self, tmp_path: Path) -> None:
        ref = self.fake(tmp_path)
        for name in ("maps", "environ", "exe"):
            (tmp_path / "42" / name).unlink()
        (tmp_path / "42" / "fd").rmdir()
        hints = inspect.inspect_process(ref, proc=tmp_path)
        assert hints is not None
        assert (hints.libcuda, hints.managed_bytes, hints.mps_pipe, hints.devices, hints.static) == (None,) * 5
        assert (hints.maps_device, hints.environment) == (None, None)
        assert not hints.opens_uvm

    def test_another_process_of_the_same_pid(self, tmp_path: Path) -> None:
        ref = self.fake(tmp_path)
        assert inspect.inspect_process(ProcessRef(ref.pid, 778), proc=tmp_path) is None
        assert inspect.inspect_process(ProcessRef(43, 777), proc=tmp_path) is None

    def test_static_program(self, tmp_path: Path) -> None:
        source = tmp_path / "wait.c"
        source.write_text("#include <unistd.h>\nint main(void) { return (int)read(0, &(char){0}, 1); }\n")
        for flags, static in ((["-static"], True), ([], False)):
            subprocess.run(["cc", *flags, "-o", tmp_path / "wait", source], check=True, timeout=60)
            with subprocess.Popen([tmp_path / "wait"], stdin=subprocess.PIPE) as child:
                hints = inspect.inspect_process(ref_of(child.pid))
                child.kill()
            assert hints is not None
            assert hints.static is static

    @pytest.mark.emulated
    async def test_process_on_the_emulated_driver(self) -> None:
        with EmulatedBench.open() as bench:
            cuda, plain = await bench.start({0: 2 * MIB}), await bench.plain()
            seen = inspect.inspect_process(cuda)
            other = inspect.inspect_process(plain)
            await bench.client.aclose()
        assert seen is not None
        assert seen.libcuda is not None
        assert seen.libcuda.endswith("/_native/libcuda.so.1")
        assert seen.devices is not None
        assert any(one.endswith("/nvidiactl") for one in seen.devices)
        assert other is not None
        assert (other.libcuda, other.devices) == ("", ())


class TestProcfs:
    def test_thread_by_its_id_in_another_pid_namespace(self, process: Callable[[], subprocess.Popen[bytes]]) -> None:
        pid = process().pid
        assert procfs.host_thread(pid, pid) == pid
        assert procfs.host_thread(pid, 2**22 + 5) == 2**22 + 5, "no thread answers to it"

    @pytest.mark.root
    def test_thread_in_a_new_pid_namespace(self) -> None:
        command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo ready; read line"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as unshare:
            assert unshare.stdout is not None
            assert unshare.stdout.readline() == b"ready\n"
            (inner,) = map(int, Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split())
            assert procfs.host_thread(inner, 1) == inner
            unshare.kill()

    def test_own_start_time_is_the_kernels(self) -> None:
        stat = Path("/proc/self/stat").read_text()
        assert procfs.start_time(os.getpid()) == int(stat.rsplit(")", 1)[1].split()[19])
        assert procfs.start_time(2**22 + 5) is None

    def test_mapped_file(self) -> None:
        address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
        assert address is not None
        assert "libc" in procfs.mapped_file(address)
        assert procfs.mapped_file(1) == ""


class TestAmd:
    def machine(self, root: Path, *, kfd: bool = True) -> Path:
        """A CPU, an MI250 and a Radeon that KFD does not know, as sysfs shows them."""
        nodes = root / "sys/class/kfd/kfd/topology/nodes"
        for name, gpu_id, properties in (
            ("0", "0", "cpu_cores_count 64\nsimd_count 0\n"),
            ("1", "51234", "simd_count 440\ngfx_target_version 90010\ndrm_render_minor 128\n"),
        ):
            (nodes / name / "mem_banks/0").mkdir(parents=True)
            (nodes / name / "gpu_id").write_text(f"{gpu_id}\n")
            (nodes / name / "name").write_text("aldebaran\n" if gpu_id != "0" else "\n")
            (nodes / name / "properties").write_text(properties)
            (nodes / name / "mem_banks/0/properties").write_text("heap_type 1\nsize_in_bytes 68702699520\n")
        for card, vendor, minor in (("card0", "0x1002", 128), ("card1", "0x1002", 129), ("card2", "0x10de", 130)):
            device = root / "sys/class/drm" / card / "device"
            (device / f"drm/renderD{minor}").mkdir(parents=True)
            (device / "vendor").write_text(f"{vendor}\n")
            (device / "mem_info_vram_total").write_text("8573157376\n")
        (root / "sys/class/drm/card0-DP-1").mkdir()
        (root / "dev").mkdir()
        if kfd:
            (root / "dev/kfd").touch()
        return root

    def test_gpus_of_both_trees_once_each(self, tmp_path: Path) -> None:
        facts = amd.detect(self.machine(tmp_path))
        assert facts.kfd
        first, second = facts.gpus
        assert (first.node, first.name, first.gfx, first.render_minor) == ("1", "aldebaran", "gfx90a", 128)
        assert (first.total_bytes, first.compute) == (68702699520, True)
        assert (second.node, second.render_minor, second.total_bytes) == ("card1", 129, 8573157376)
        assert not second.compute

    @pytest.mark.parametrize(("version", "name"), [("90402", "gfx942"), ("110000", "gfx1100"), ("0", "")])
    def test_names_of_targets(self, version: str, name: str) -> None:
        assert amd._gfx(int(version)) == name

    def test_machine_without_any(self, tmp_path: Path) -> None:
        assert amd.detect(tmp_path) == amd.AmdFacts(gpus=(), kfd=False)

    def test_seam_refuses_by_name_and_with_a_way_out(self, tmp_path: Path) -> None:
        facts = amd.detect(self.machine(tmp_path))
        assert backends.backend_for(nvidia=1, amd=facts) is backends.Backend.CUDA_CHECKPOINT
        with pytest.raises(Refused) as caught:
            backends.backend_for(nvidia=0, amd=facts)
        assert caught.value.rule == "amd-not-supported"
        assert "criu" in caught.value.hint
        with pytest.raises(Refused) as caught:
            backends.backend_for(nvidia=0, amd=amd.AmdFacts(gpus=(), kfd=False))
        assert caught.value.rule == "no-gpu"
        assert caught.value.hint
