"""The workers: deadlines, deaths, identity, concurrency. On the scripted driver, which hangs and crashes when told."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from gpu_bench import Script, exists, ref_of, until, wait_dead

from hotseat.errors import DriverFailed, DriverTimeout, ProcessGone, WorkerDied
from hotseat.words import ProcessRef, ProcessState

Start = Callable[[], "subprocess.Popen[bytes]"]


def fds() -> list[str]:
    here = "/proc/self/fd"
    out = []
    for name in os.listdir(here):
        try:
            out.append(os.readlink(f"{here}/{name}"))
        except FileNotFoundError:
            continue
    return out


class TestDeadlines:
    async def test_hang_names_process_and_call_and_the_next_call_works(self, script: Script, process: Start) -> None:
        stuck, well = ref_of(process().pid), ref_of(process().pid)
        script.set("checkpoint", "hang", pid=stuck.pid)
        async with script.client() as gpu:
            with pytest.raises(DriverTimeout) as caught:
                await gpu.checkpoint([stuck, well], deadline=0.3)
            assert caught.value.details["processes"] == [stuck]
            assert caught.value.details["call"] == "cuCheckpointProcessCheckpoint"
            assert [one.process for one in caught.value.details["outcomes"]] == [well]
            assert str(stuck.pid) in caught.value.message
            assert caught.value.hint
            assert await gpu.states([stuck, well], deadline=20) == dict.fromkeys([stuck, well], ProcessState.RUNNING)

    async def test_worker_that_hung_is_dead(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        script.set("restore", "hang")
        async with script.client(spares=0) as gpu:
            await gpu.start()
            (worker,) = map(ref_of, gpu.worker_pids)
            with pytest.raises(DriverTimeout):
                await gpu.restore([ref], deadline=0.2)
            await until(lambda: not exists(worker))

    async def test_hang_in_one_workload_costs_another_nothing(self, script: Script, process: Start) -> None:
        stuck, well = ref_of(process().pid), ref_of(process().pid)
        script.set("checkpoint", "hang", pid=stuck.pid)
        async with script.client() as gpu:
            hanging = asyncio.create_task(gpu.checkpoint([stuck], deadline=600))
            await until(lambda: ("checkpoint", stuck.pid) in script.calls)
            assert [one.ok for one in await gpu.lock([well], timeout=20)] == [True]
            assert [one.ok for one in await gpu.checkpoint([well], deadline=20)] == [True]
            assert await gpu.states([well], deadline=20) == {well: ProcessState.RUNNING}
            assert not hanging.done()
            await gpu.aclose()
            with pytest.raises(WorkerDied):
                await hanging

    async def test_init_that_hangs(self, script: Script) -> None:
        script.set("init", "hang")
        async with script.client(start_deadline=0.3) as gpu:
            with pytest.raises(DriverTimeout, match="ready within"):
                await gpu.start()
        assert gpu.worker_pids == frozenset()

    async def test_nvml_that_hangs_is_replaced(self, script: Script) -> None:
        script.set("nvml-count", "hang")
        async with script.client(nvml_deadline=0.3, start_deadline=0.3) as gpu:
            with pytest.raises(DriverTimeout):
                await gpu.use()
            script.unset("nvml-count")
            gpu._nvml._start_deadline = 20.0
            assert (await gpu.use())[0].free_bytes == 1000

    async def test_full_pool_is_waited_for_no_longer_than_told(self, script: Script, process: Start) -> None:
        first, second = ref_of(process().pid), ref_of(process().pid)
        script.set("lock", "hang", pid=first.pid)
        async with script.client(limit=1, start_deadline=1.0) as gpu:
            hanging = asyncio.create_task(gpu.lock([first], timeout=600))
            await until(lambda: ("lock", first.pid) in script.calls)
            with pytest.raises(DriverTimeout, match="no GPU worker"):
                await gpu.lock([second], timeout=5)
            assert ("lock", second.pid) not in script.calls
            await gpu.aclose()
            with pytest.raises(WorkerDied):
                await hanging

    async def test_lock_hands_its_timeout_to_the_driver_and_never_zero(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        async with script.client() as gpu:
            await gpu.lock([ref], timeout=2.5)
            await gpu.lock([ref], timeout=0.0001)
            assert ("lock-timeout-2500", ref.pid) in script.calls
            assert ("lock-timeout-1", ref.pid) in script.calls
            for timeout in (0.0, -1.0, float("nan")):
                with pytest.raises(ValueError, match="timeout above 0"):
                    await gpu.lock([ref], timeout=timeout)


class TestDeaths:
    async def test_worker_killed_in_the_middle_of_a_call(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        script.set("checkpoint", "hang")
        async with script.client(spares=0) as gpu:
            call = asyncio.create_task(gpu.checkpoint([ref], deadline=600))
            await until(lambda: ("checkpoint", ref.pid) in script.calls)
            (worker,) = gpu.worker_pids
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(WorkerDied, match="killed by signal 9") as caught:
                await call
            assert caught.value.details["processes"] == [ref]
            assert script.calls.count(("checkpoint", ref.pid)) == 1, "a call that changes something is never repeated"
            assert await gpu.states([ref], deadline=20) == {ref: ProcessState.RUNNING}

    async def test_query_is_repeated_once_when_its_worker_dies(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        script.set("state", "hang")
        async with script.client(spares=1) as gpu:
            query = asyncio.create_task(gpu.states([ref], deadline=600))
            await until(lambda: ("state", ref.pid) in script.calls)
            script.set("state", "value 2")
            for worker in gpu.worker_pids:
                os.kill(worker, signal.SIGKILL)
            assert await query == {ref: ProcessState.CHECKPOINTED}

    async def test_driver_that_crashes_its_worker_says_so(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        script.set("state", "crash")
        async with script.client() as gpu:
            with pytest.raises(WorkerDied, match="signal 6"):
                await gpu.states([ref], deadline=20)
            assert script.calls.count(("state", ref.pid)) == 2
            script.unset("state")
            assert await gpu.states([ref], deadline=20) == {ref: ProcessState.RUNNING}

    async def test_idle_worker_that_dies_is_replaced_before_anyone_asks(self, script: Script) -> None:
        async with script.client(spares=1) as gpu:
            await gpu.start()
            await until(lambda: len(gpu.worker_pids) == 2)  # the one that was lent, and the spare beside it
            before = gpu.worker_pids
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            await until(lambda: bool(gpu.worker_pids - before))

    async def test_worker_dies_with_its_parent_though_a_call_hangs(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        script.set("checkpoint", "hang")
        program = textwrap.dedent(f"""
            import asyncio
            from hotseat.gpu.client import GpuClient
            from hotseat.words import ProcessRef

            async def main():
                gpu = GpuClient(libcuda={str(script.library)!r}, libnvml={str(script.library)!r}, spares=0)
                await gpu.start()
                print(*gpu.worker_pids, flush=True)
                await gpu.checkpoint([ProcessRef({ref.pid}, {ref.start_time})], deadline=600)

            asyncio.run(main())
        """)
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=subprocess.PIPE, env=os.environ | script.environ
        )
        assert parent.stdout is not None
        worker = ref_of(int(await asyncio.wait_for(parent.stdout.readline(), 20)))
        await until(lambda: ("checkpoint", ref.pid) in script.calls)
        parent.kill()
        await asyncio.wait_for(parent.wait(), 20)
        await until(lambda: not exists(worker))

    async def test_worker_dies_with_its_parent_though_its_socket_stays_open(self, script: Script) -> None:
        """Another child may have inherited the parent's end; then there is no end of file."""
        ours, theirs = socket.socketpair()
        program = textwrap.dedent(f"""
            import os, subprocess, sys, time
            worker = [sys.executable, "-m", "hotseat.gpu.worker", "{theirs.fileno()}", "cuda", str(os.getpid())]
            print(subprocess.Popen([*worker, {str(script.library)!r}], pass_fds=[{theirs.fileno()}]).pid, flush=True)
            time.sleep(600)
        """)
        with ours, theirs:
            parent = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                program,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=os.environ | script.environ,
            )
            assert parent.stdout is not None
            worker = ref_of(int(await asyncio.wait_for(parent.stdout.readline(), 20)))
            await until(lambda: ("init", 0) in script.calls)
            await asyncio.to_thread(ours.recv, 1)  # its hello: it has asked the kernel for its death by now
            parent.kill()
            await asyncio.wait_for(parent.wait(), 20)
            await until(lambda: not exists(worker))

    async def test_worker_whose_parent_is_gone_already_does_not_start(self, script: Script) -> None:
        ours, theirs = os.pipe()
        worker = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "hotseat.gpu.worker", str(theirs), "cuda", "1", str(script.library)],
            pass_fds=[theirs],
        )
        os.close(theirs)
        assert await asyncio.wait_for(worker.wait(), 20) == 0
        os.close(ours)
        assert script.calls == []

    async def test_worker_by_hand_explains_itself(self) -> None:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hotseat.gpu.worker", stderr=subprocess.PIPE
        )
        _, said = await asyncio.wait_for(worker.communicate(), 20)
        assert worker.returncode == 1
        assert b"usage" in said


class TestIdentity:
    async def test_reused_pid_is_never_touched(self, script: Script, process: Start) -> None:
        now = ref_of(process().pid)
        before = ProcessRef(now.pid, now.start_time - 1)
        well = ref_of(process().pid)
        async with script.client() as gpu:
            for call in (
                gpu.lock([well, before], timeout=5),
                gpu.checkpoint([well, before], deadline=5),
                gpu.restore([well, before], deadline=5),
                gpu.unlock([well, before], deadline=5),
                gpu.states([well, before], deadline=5),
            ):
                with pytest.raises(ProcessGone) as caught:
                    await call
                assert caught.value.details["processes"] == [before]
                assert caught.value.details["outcomes"] == []
            assert before not in await gpu.find_cuda([well, before], deadline=5)
        assert {pid for _, pid in script.calls if pid} == {well.pid}, "the other was only asked whether it uses CUDA"
        assert {name for name, pid in script.calls if pid} == {"find"}

    async def test_zombie_and_thread_are_no_processes(self, script: Script, process: Start) -> None:
        dead = process()
        zombie = ref_of(dead.pid)
        dead.kill()
        wait_dead(dead.pid)
        async with script.client() as gpu:
            with pytest.raises(ProcessGone):
                await gpu.lock([zombie], timeout=5)
            for nobody in (ProcessRef(0, 0), ProcessRef(-1, 0), ProcessRef(2**22 + 1, 5)):
                with pytest.raises(ProcessGone):
                    await gpu.unlock([nobody], deadline=5)
        assert [call for call in script.calls if call[1]] == []

    async def test_process_that_ends_within_its_call(self, script: Script, process: Start) -> None:
        victim = process()
        ref, well = ref_of(victim.pid), ref_of(process().pid)
        script.set("lock", "gate 999", pid=ref.pid)
        async with script.client() as gpu:
            call = asyncio.create_task(gpu.lock([ref, well], timeout=60))
            await until(lambda: ("lock", ref.pid) in script.calls)
            victim.kill()
            wait_dead(victim.pid)
            script.unset("lock", pid=ref.pid)
            with pytest.raises(ProcessGone) as caught:
                await call
            assert caught.value.details["processes"] == [ref]
            assert [one.process for one in caught.value.details["outcomes"]] == [well]


class TestConcurrency:
    @pytest.mark.parametrize("call", ["lock", "checkpoint", "restore", "unlock", "state"])
    async def test_calls_on_several_processes_are_inside_the_driver_together(
        self, script: Script, process: Start, call: str
    ) -> None:
        refs = [ref_of(process().pid) for _ in range(8)]
        script.set(call, "meet 8")
        async with script.client() as gpu:
            if call == "lock":
                assert all(one.ok for one in await gpu.lock(refs, timeout=30))
            elif call == "state":
                assert len(await gpu.states(refs, deadline=30)) == 8
            else:
                assert all(one.ok for one in await getattr(gpu, call)(refs, deadline=30))

    async def test_hundred_processes_are_asked_in_one_message(self, script: Script, process: Start) -> None:
        ref = ref_of(process().pid)
        others = [ProcessRef(ref.pid, ref.start_time + n) for n in range(1, 100)]
        sent: list[str] = []
        async with script.client() as gpu:
            await gpu.start()
            (worker,) = (one for one in gpu._pool.workers)
            real = worker._writer.write
            worker._writer.write = lambda data: (sent.append("message"), real(data))[1]  # type: ignore[method-assign]
            assert await gpu.find_cuda([ref, *others], deadline=20) == {ref: ref.pid}
        assert len(sent) == 1

    async def test_event_loop_is_never_blocked(self, script: Script, process: Start) -> None:
        """With the loop in debug mode a callback that blocks is logged; a blocking driver call would take seconds."""
        refs = [ref_of(process().pid) for _ in range(4)]
        script.set("checkpoint", "hang", pid=refs[0].pid)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with script.client() as gpu:
            await gpu.start()
            counting = asyncio.create_task(count())
            before = turns
            with pytest.raises(DriverTimeout):
                await gpu.checkpoint(refs, deadline=0.5)
            counting.cancel()
        assert turns - before > 100

    async def test_cancelled_caller_leaves_the_driver_to_finish(self, script: Script, process: Start) -> None:
        first, second = ref_of(process().pid), ref_of(process().pid)
        script.set("checkpoint", "gate 0", pid=first.pid)
        async with script.client(spares=0) as gpu:
            call = asyncio.create_task(gpu.checkpoint([first], deadline=30))
            await until(lambda: ("checkpoint", first.pid) in script.calls)
            workers = gpu.worker_pids
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            (worker,) = gpu._pool.workers
            assert worker.alive
            assert worker.pid in workers
            # Its worker is not lent while it is busy: the next call gets another, and the first one ends by itself.
            assert [one.ok for one in await gpu.checkpoint([second], deadline=20)] == [True]
            assert len(gpu.worker_pids) == 2
            assert gpu._pool.idle == 1
            script.unset("checkpoint", pid=first.pid)
            await until(lambda: gpu._pool.idle == 2)

    async def test_cancelled_while_waiting_for_a_worker(self, script: Script, process: Start) -> None:
        first, second = ref_of(process().pid), ref_of(process().pid)
        script.set("lock", "meet 1", pid=first.pid)
        async with script.client(limit=1) as gpu:
            await gpu.start()
            worker = await gpu._pool.borrow()
            waiting = asyncio.create_task(gpu.lock([second], timeout=5))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gpu._pool.give_back(worker)
            assert [one.ok for one in await gpu.lock([first], timeout=20)] == [True]
        assert ("lock", second.pid) not in script.calls


class TestHousekeeping:
    async def test_no_file_descriptor_leaks(self, script: Script, process: Start) -> None:
        refs = [ref_of(process().pid) for _ in range(3)]
        script.set("unlock", "hang", pid=refs[2].pid)
        async with script.client(spares=0) as gpu:
            await gpu.start()
            await gpu.use()
            before = len(fds())
            (worker,) = (one.pid for one in gpu._pool.workers)
            worker_before = len(os.listdir(f"/proc/{worker}/fd"))
            for _ in range(100):
                await gpu.states(refs, deadline=20)
                await gpu.find_cuda(refs, deadline=20)
            assert len(fds()) == before
            assert len(os.listdir(f"/proc/{worker}/fd")) == worker_before
            assert len(os.listdir(f"/proc/{worker}/task")) <= 2, "threads end with their request"
            for _ in range(3):
                with pytest.raises(DriverTimeout):
                    await gpu.unlock(refs, deadline=0.1)
            await gpu.states(refs[:2], deadline=20)
            await until(lambda: len(fds()) == before)
        assert not any("hotseat-worker" in fd for fd in fds())

    async def test_start_that_lacks_descriptors_says_so_and_leaks_none(self, script: Script) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with script.client() as gpu:
            before = len(fds())
            for room in range(4):
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + room, hard))
                try:
                    with pytest.raises(DriverFailed, match="cannot start a GPU worker") as caught:
                        await gpu.start()
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert "ulimit" in caught.value.hint
                await asyncio.sleep(0)
                assert len(fds()) == before
            await gpu.start()

    async def test_close_leaves_no_process_and_is_final(self, script: Script, process: Start) -> None:
        gpu = script.client(spares=2)
        await gpu.start()
        await gpu.use()
        await until(lambda: len(gpu.worker_pids) == 4)  # NVML, one that was lent, two spares
        workers = [ref_of(pid) for pid in gpu.worker_pids]
        await gpu.aclose()
        await gpu.aclose()
        assert not any(exists(worker) for worker in workers)
        for call in (gpu.start(), gpu.use(), gpu.find_cuda([ref_of(process().pid)], deadline=5)):
            with pytest.raises(WorkerDied, match="closed"):
                await call

    async def test_nothing_asked_nothing_started(self, script: Script) -> None:
        async with script.client() as gpu:
            assert await gpu.find_cuda([], deadline=5) == {}
            assert await gpu.checkpoint([], deadline=5) == []
            assert gpu.worker_pids == frozenset()

    def test_works_on_uvloop(self, script: Script, process: Start) -> None:
        import uvloop

        ref = ref_of(process().pid)
        script.set("lock", "hang")

        async def main() -> None:
            async with script.client() as gpu:
                with pytest.raises(DriverTimeout):
                    await gpu.lock([ref], timeout=0.1)
                assert await gpu.states([ref], deadline=20) == {ref: ProcessState.RUNNING}
                assert len(await gpu.use()) == 1

        uvloop.run(main())
