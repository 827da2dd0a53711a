"""What every container platform must do: one suite for Docker, Podman, bare processes and the double in memory.

A thin test module per platform inherits `PlatformContract` (and what else its platform can do) and gives it a `stage`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest
from platforms_waiting import DEADLINE, Listener, eventually

from hotseat.errors import NotFound, ProcessGone
from hotseat.linux import proc
from hotseat.platforms.port import Container, EventKind, Platform, Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.words import ProcessRef

CREATED, STARTED, EXITED = EventKind.CREATED, EventKind.STARTED, EventKind.EXITED
PAUSED, UNPAUSED, REMOVED = EventKind.PAUSED, EventKind.UNPAUSED, EventKind.REMOVED

FOREST = "trap 'exit 7' TERM; echo hello; (sleep 1000 & sleep 1000) & sleep 1000 & while :; do sleep 0.05; done"
"""A first process with children and orphans, that ends with 7 when asked to."""
CHILDREN = 3
COUNTER = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"
"""Says something new all the time: silence means that it does not run."""
TALKER = "echo one; echo two >&2; sleep 0.3; echo three; sleep 1000"
STUBBORN = "trap '' TERM; while :; do sleep 0.05; done"


class Stage(Protocol):
    """One platform, and a person at another terminal beside it."""

    platform: Platform

    def spec(self, name: str, script: str, **more: Any) -> ContainerSpec: ...

    async def create(self, spec: ContainerSpec) -> Container: ...

    async def remove(self, container: Container) -> None: ...

    async def person(self, verb: str, container: Container) -> None:
        """ "pause", "unpause", "kill", "stop", "start" behind hotseat's back."""


class StageWithDoor(Stage, Protocol):
    async def enter(self, container: Container) -> None:
        """Start one more process in the running container, from outside (docker exec)."""


class PlatformContract:
    @pytest.fixture
    async def listener(self, stage: Stage) -> AsyncIterator[Listener]:
        listener = Listener(stage.platform)
        await asyncio.sleep(0.05)  # it listens from here on
        yield listener
        await listener.aclose()

    @pytest.fixture
    async def make(self, stage: Stage, unique: Callable[[str], str]) -> AsyncIterator[Callable[..., Any]]:
        """Create (and start) containers that are gone after the test."""
        made: list[Container] = []

        async def make(script: str = FOREST, *, start: bool = True, **more: Any) -> Container:
            container = await stage.create(stage.spec(unique("c"), script, **more))
            made.append(container)
            return await stage.platform.start(container) if start else container

        yield make
        for container in made:
            await stage.remove(container)

    async def test_created_is_not_started(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make(start=False, labels={"a": "b", "hotseat.model": "x/y"})
        assert (container.status, container.pid, container.exit_code) == (Status.CREATED, None, None)
        assert container.labels == {"a": "b", "hotseat.model": "x/y"}
        assert container.platform == stage.platform.name
        assert container.key == f"{stage.platform.name}:{container.id}"

    async def test_start_gives_a_pid_and_a_start_time(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        assert container.status is Status.RUNNING
        assert container.pid is not None
        assert container.pid > 1
        assert container.started_at > 0
        assert container.addresses == ("127.0.0.1",)

    async def test_is_found_by_name_id_prefix_and_key(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        for ref in (container.name, container.id, container.id[:14], container.key):
            assert (await stage.platform.inspect(ref)).id == container.id, ref

    async def test_is_listed_running_or_not(self, stage: Stage, make: Callable[..., Any]) -> None:
        running, created = await make(), await make(start=False)
        listed = {container.key: container for container in await stage.platform.list()}
        assert listed[running.key] == running
        assert listed[created.key] == created

    async def test_what_is_not_there_is_not_found(self, stage: Stage) -> None:
        with pytest.raises(NotFound) as caught:
            await stage.platform.inspect("no-such-thing")
        assert caught.value.hint

    async def test_removed_is_not_found(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await stage.remove(container)
        await stage.remove(container)
        with pytest.raises(NotFound):
            await stage.platform.inspect(container.id)

    async def test_pids_are_all_processes_sorted(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await grown(stage, container, 1 + CHILDREN)
        processes = await stage.platform.pids(container)
        assert processes == sorted(processes)
        assert container.pid in [process.pid for process in processes]
        assert all(process.start_time > 0 for process in processes)

    async def test_pids_of_what_ended_are_refused(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await stage.platform.kill(container)
        with pytest.raises(ProcessGone):
            stage.platform.read_pids(container)
        again = await stage.platform.start(container)
        assert stage.platform.read_pids(again)
        with pytest.raises(ProcessGone):
            stage.platform.read_pids(container)

    async def test_pause_stops_every_thread_and_unpause_lets_them_go(
        self, stage: Stage, make: Callable[..., Any]
    ) -> None:
        container = await make(COUNTER)
        await says_something_new(stage, container)
        await stage.platform.pause(container)
        paused = await stage.platform.inspect(container.id)
        assert paused.status is Status.PAUSED
        assert (paused.pid, paused.started_at) == (container.pid, container.started_at)
        assert await is_silent(stage, container)
        assert stage.platform.read_pids(container)
        await stage.platform.unpause(container)
        assert (await stage.platform.inspect(container.id)).status is Status.RUNNING
        await says_something_new(stage, container)

    async def test_pause_and_unpause_are_idempotent(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await stage.platform.unpause(container)
        await stage.platform.pause(container)
        await stage.platform.pause(container)
        assert (await stage.platform.inspect(container.id)).status is Status.PAUSED
        await stage.platform.unpause(container)
        await stage.platform.unpause(container)
        assert (await stage.platform.inspect(container.id)).status is Status.RUNNING

    async def test_two_pauses_at_once_both_succeed(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await asyncio.gather(*(stage.platform.pause(container) for _ in range(3)))
        assert (await stage.platform.inspect(container.id)).status is Status.PAUSED

    async def test_stop_asks_first(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await says(stage, container, "hello")
        await stage.platform.stop(container, grace=DEADLINE)
        after = await stage.platform.inspect(container.id)
        assert (after.status, after.pid, after.exit_code) == (Status.EXITED, None, 7)

    async def test_stop_kills_what_does_not_listen(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make(STUBBORN)
        await grown(stage, container, 2)
        await stage.platform.stop(container, grace=1.0)
        assert (await stage.platform.inspect(container.id)).exit_code == 137

    async def test_what_is_paused_can_be_stopped(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await says(stage, container, "hello")
        await stage.platform.pause(container)
        await stage.platform.stop(container, grace=DEADLINE)
        assert (await stage.platform.inspect(container.id)).exit_code == 7

    async def test_what_is_paused_can_be_killed(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await stage.platform.pause(container)
        await stage.platform.kill(container)
        after = await stage.platform.inspect(container.id)
        assert (after.status, after.exit_code) == (Status.EXITED, 137)

    async def test_stop_and_kill_of_what_ended_do_nothing(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        await stage.platform.kill(container)
        await stage.platform.kill(container)
        await stage.platform.stop(container, grace=1.0)
        assert (await stage.platform.inspect(container.id)).exit_code == 137

    async def test_nothing_of_the_tree_outlives_its_first_process(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        processes = await grown(stage, container, 1 + CHILDREN)
        await stage.platform.stop(container, grace=DEADLINE)
        await eventually(lambda: not any(runs(process) for process in processes), what="the end of all")

    async def test_start_again_is_another_incarnation(self, stage: Stage, make: Callable[..., Any]) -> None:
        first = await make()
        await stage.platform.kill(first)
        second = await stage.platform.start(first)
        assert second.key == first.key
        assert second.started_at > first.started_at
        assert second.pid != first.pid
        assert (second.status, second.exit_code) == (Status.RUNNING, None)

    async def test_start_of_what_runs_changes_nothing(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make()
        assert await stage.platform.start(container) == container

    async def test_logs_are_the_last_lines(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make(TALKER)
        await says(stage, container, "three")
        assert sorted((await stage.platform.logs(container)).split()) == ["one", "three", "two"]
        assert (await stage.platform.logs(container, tail=1)).split() == ["three"]

    async def test_followed_logs_begin_with_the_last_lines_and_end_with_the_container(
        self, stage: Stage, make: Callable[..., Any]
    ) -> None:
        container = await make(TALKER)
        await says(stage, container, "three")
        said = b""
        async with asyncio.timeout(DEADLINE):
            async for chunk in stage.platform.follow_logs(container, tail=3):
                said += chunk
                if b"three" in said:
                    await stage.platform.kill(container)
        assert sorted(said.split()) == [b"one", b"three", b"two"]

    async def test_events_of_what_we_do(self, stage: Stage, make: Callable[..., Any], listener: Listener) -> None:
        container = await make()
        await listener.until(container.key, [CREATED, STARTED])
        await stage.platform.pause(container)
        await listener.until(container.key, [CREATED, STARTED, PAUSED])
        await stage.platform.unpause(container)
        await listener.until(container.key, [CREATED, STARTED, PAUSED, UNPAUSED])
        await stage.platform.stop(container, grace=DEADLINE)
        await listener.until(container.key, [CREATED, STARTED, PAUSED, UNPAUSED, EXITED])
        await stage.remove(container)
        await listener.until(container.key, [CREATED, STARTED, PAUSED, UNPAUSED, EXITED, REMOVED])
        assert {event.name for event in listener.events if event.key == container.key} == {container.name}

    async def test_a_pause_behind_our_back_is_noticed(
        self, stage: Stage, make: Callable[..., Any], listener: Listener
    ) -> None:
        container = await make()
        await listener.until(container.key, [CREATED, STARTED])
        await stage.person("pause", container)
        await listener.until(container.key, [CREATED, STARTED, PAUSED])
        assert (await stage.platform.inspect(container.id)).status is Status.PAUSED
        await stage.person("unpause", container)
        await listener.until(container.key, [CREATED, STARTED, PAUSED, UNPAUSED])
        assert (await stage.platform.inspect(container.id)).status is Status.RUNNING

    async def test_a_kill_behind_our_back_is_noticed(
        self, stage: Stage, make: Callable[..., Any], listener: Listener
    ) -> None:
        container = await make()
        await listener.until(container.key, [CREATED, STARTED])
        await stage.person("kill", container)
        await listener.until(container.key, [CREATED, STARTED, EXITED])
        after = await stage.platform.inspect(container.id)
        assert (after.status, after.exit_code) == (Status.EXITED, 137)

    async def test_a_restart_behind_our_back_is_noticed(
        self, stage: Stage, make: Callable[..., Any], listener: Listener
    ) -> None:
        container = await make()
        await says(stage, container, "hello")
        await listener.until(container.key, [CREATED, STARTED])
        await stage.person("stop", container)
        await stage.person("start", container)
        await listener.until(container.key, [CREATED, STARTED, EXITED, STARTED])
        after = await stage.platform.inspect(container.id)
        assert after.status is Status.RUNNING
        assert after.started_at > container.started_at


class LimitContract(PlatformContract):
    """Of platforms that limit memory."""

    async def test_memory_tells_the_containers_limit(self, stage: Stage, make: Callable[..., Any]) -> None:
        container = await make(memory_limit=64 << 20)
        memory = await stage.platform.memory(container)
        assert container.shares_memory_limit
        assert memory.limit == 64 << 20
        assert 0 <= memory.used < 64 << 20
        assert memory.available > 0


class EnterContract(PlatformContract):
    """Of platforms that let a process in from outside (docker exec)."""

    async def test_pids_hold_what_came_by_exec(self, stage: StageWithDoor, make: Callable[..., Any]) -> None:
        container = await make(COUNTER)
        before = {process.pid for process in stage.platform.read_pids(container)}
        await stage.enter(container)
        await grown(stage, container, len(before) + 1)


async def grown(stage: Stage, container: Container, count: int) -> list[ProcessRef]:
    await eventually(lambda: len(stage.platform.read_pids(container)) >= count, what=f"{count} processes")
    return list(stage.platform.read_pids(container))


async def says(stage: Stage, container: Container, text: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while text not in await stage.platform.logs(container):  # noqa: ASYNC110, the program cannot wake us
            await asyncio.sleep(0.02)


async def says_something_new(stage: Stage, container: Container) -> None:
    before = await stage.platform.logs(container, tail=1)
    async with asyncio.timeout(DEADLINE):
        while await stage.platform.logs(container, tail=1) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def is_silent(stage: Stage, container: Container) -> bool:
    await asyncio.sleep(0.1)  # what it said before may still be on its way
    before = await stage.platform.logs(container, tail=1)
    await asyncio.sleep(0.2)
    return await stage.platform.logs(container, tail=1) == before


def runs(process: ProcessRef) -> bool:
    return process in proc.refs([process.pid])
