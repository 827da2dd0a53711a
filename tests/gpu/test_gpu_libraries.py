"""Which library was loaded, whether it can serve, and what is said when it cannot. On the scripted driver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gpu_bench import Script, compile_driver, ref_of

from hotseat.errors import DriverFailed
from hotseat.gpu.client import GpuClient

Start = Callable[[], "subprocess.Popen[bytes]"]


class TestLibraries:
    async def test_no_driver_installed(self) -> None:
        async with GpuClient(libcuda="libcuda-that-is-not.so.1", libnvml="libnvml-that-is-not.so.1") as gpu:
            with pytest.raises(DriverFailed, match=r"libcuda-that-is-not\.so\.1") as caught:
                await gpu.start()
            assert "driver installed" in caught.value.hint
            with pytest.raises(DriverFailed, match=r"libnvml-that-is-not\.so\.1"):
                await gpu.use()

    @pytest.mark.parametrize(("result", "advice"), [(34, "stubs"), (100, "nvidia-smi"), (803, "differ in version")])
    async def test_init_that_fails_says_what_to_do(self, script: Script, result: int, advice: str) -> None:
        script.set("init", f"result {result}")
        async with script.client() as gpu:
            with pytest.raises(DriverFailed) as caught:
                await gpu.start()
            assert caught.value.result == result
            assert advice in caught.value.hint
            script.unset("init")
            await gpu.start()  # a failed start is tried anew

    async def test_driver_older_than_the_checkpoint_api(self, script: Script, process: Start, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        old = compile_driver(tmp_path / "old", "-DOLD_DRIVER")
        async with script.client(libcuda=str(old)) as gpu:
            assert "cuCheckpointProcessLock" in (await gpu.start()).missing
            with pytest.raises(DriverFailed, match="lacks cuCheckpointProcessLock") as caught:
                await gpu.lock([ref_of(process().pid)], timeout=5)
            assert "570" in caught.value.hint

    async def test_says_which_file_the_loader_chose(self, script: Script, tmp_path: Path) -> None:
        chosen = tmp_path / "lib"
        chosen.mkdir()
        (chosen / "libcuda.so.1").write_bytes(script.library.read_bytes())
        environ = script.environ | {"LD_LIBRARY_PATH": str(chosen)}
        async with GpuClient(environ=environ) as gpu:
            assert (await gpu.start()).library == str(chosen / "libcuda.so.1")

    async def test_gpu_memory_that_the_library_knows_nothing_of(self, script: Script, process: Start) -> None:
        """A wrong libcuda means "no GPU state" and a checkpoint that succeeds empty (FACTS.md)."""
        holder, other = ref_of(process().pid), ref_of(process().pid)
        script.set("holder", f"value {holder.pid}")
        script.set("find", "result 1", pid=holder.pid)
        async with script.client() as gpu:
            with pytest.raises(DriverFailed, match="knows nothing of it") as caught:
                await gpu.find_cuda([holder, other], deadline=20)
            assert caught.value.details["processes"] == [holder]
            assert caught.value.details["found"] == {other: other.pid}
            assert caught.value.details["library"] == str(script.library)
            assert await gpu.find_cuda([other], deadline=20) == {other: other.pid}

    @pytest.mark.parametrize("result", [1, 3])
    async def test_processes_without_cuda_are_left_out(self, script: Script, process: Start, result: int) -> None:
        one, other = ref_of(process().pid), ref_of(process().pid)
        script.set("find", f"result {result}", pid=one.pid)
        async with script.client() as gpu:
            assert await gpu.find_cuda([one, other], deadline=20) == {other: other.pid}

    async def test_other_answers_of_find_are_failures(self, script: Script, process: Start) -> None:
        script.set("find", "result 801")
        async with script.client() as gpu:
            with pytest.raises(DriverFailed, match="CUDA_ERROR_NOT_SUPPORTED"):
                await gpu.find_cuda([ref_of(process().pid)], deadline=20)

    async def test_nvml_that_fails_once_is_asked_again(self, script: Script) -> None:
        """As when the driver was reloaded under a worker that had it open."""
        async with script.client() as gpu:
            (before,) = await gpu.use()
            (worker,) = gpu.worker_pids
            script.set("nvml-memory", "result 999")
            with pytest.raises(DriverFailed, match="NVML"):
                await gpu.use()
            assert worker not in gpu.worker_pids
            script.unset("nvml-memory")
            assert await gpu.use() == (before,)
