"""`hotseat store` as its users meet it: real processes, their output and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from store_bench import WITHIN, Bench, hotseat

from hotseat.emulator.node import EmulatedNode
from hotseat.store.port import HeldState
from hotseat.store.wire import GRANULE

pytestmark = pytest.mark.emulated


@pytest.fixture
def environ(node: EmulatedNode, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        **node.environment(),
        "HOTSEAT_STORE_CONTROL": str(tmp_path / "store" / "control.sock"),
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "CONTAINER_HOST": "unix:///nonexistent/podman.sock",
        "HOTSEAT_STATE": str(tmp_path / "state"),
    }


@asynccontextmanager
async def told(address: Path) -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """A service manager's socket, and what it is told."""
    loop, said = asyncio.get_running_loop(), asyncio.Queue[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(address)
        sock.bind(path)
        sock.setblocking(False)
        loop.add_reader(sock, lambda: said.put_nowait(sock.recv(4096).decode()))
        yield path, said
        loop.remove_reader(sock)


async def test_a_store_runs_tells_what_it_holds_and_ends(environ: dict[str, str], tmp_path: Path) -> None:
    async with told(tmp_path / "notify") as (address, said):
        running = asyncio.create_task(
            hotseat("store", "run", f"--arena={8 * GRANULE}", environ={**environ, "NOTIFY_SOCKET": address})
        )
        async with asyncio.timeout(WITHIN):
            assert (await said.get()).startswith("READY=1")
            while not (await said.get()).startswith("STATUS=ready: 16 MiB"):
                pass
        code, out, _ = await hotseat("store", "status", "--json", environ=environ)
        told_json = json.loads(out)
        assert code == 0
        assert (told_json["arena_bytes"], told_json["ready_bytes"], told_json["used_bytes"]) == (16 << 20, 16 << 20, 0)
        assert told_json["workloads"] == []
        assert told_json["dedup_ratio"] is None
        code, out, _ = await hotseat("store", "run", f"--arena={GRANULE}", environ=environ)
        assert (code, out) == (4, "")
        code, out, _ = await hotseat("store", "stop", "--json", environ=environ)
        assert (code, json.loads(out)) == (0, {"pid": told_json["keeper"], "lost": []})
        code, _, err = await running
        assert code == 0
        assert "ready: 16 MiB populated and pinned" in err


async def test_without_a_store_it_is_said_with_what_to_do(environ: dict[str, str]) -> None:
    for words in (["status"], ["stop"]):
        code, _, err = await hotseat("store", *words, environ=environ)
        assert code == 3
        assert "hotseat store run --arena" in err
    code, _, err = await hotseat("store", "run", "--arena=1000TiB", environ=environ)
    assert code == 4
    assert "does not fit" in err


async def test_status_tells_what_sharing_and_zeros_save(bench: Bench, environ: dict[str, str]) -> None:
    one, other = await bench.start(), await bench.start()
    for agent in (one, other):
        await agent.ask("alloc", 1, 4, 100)
        await agent.ask("alloc", 2, 2, 0)
    await bench.client.take([one.ref, other.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref, other.ref], deadline=WITHIN)
    code, out, _ = await hotseat("store", "status", "--json", environ=environ)
    assert code == 0
    seen = json.loads(out)
    assert seen["parked_bytes"] == 12 * GRANULE
    assert seen["zero_bytes"] + seen["dedup_ratio"] * seen["used_bytes"] == seen["parked_bytes"]
    assert seen["zero_bytes"] >= 4 * GRANULE
    parts = {part["name"]: part for part in seen["workloads"]}
    assert parts.keys() == {str(one.ref.pid), str(other.ref.pid)}
    assert sum(part["parked_bytes"] for part in parts.values()) == seen["used_bytes"]
    code, out, _ = await hotseat("store", "status", environ=environ)
    assert code == 0
    assert "the rest is kept once, 2.00 to 1\n" in out
    assert f"\nkeeper   pid {seen['keeper']}, up " in out
    assert [line.split()[:2] for line in out.splitlines()[-2:]] == [[name, "out"] for name in sorted(parts)]


@pytest.fixture
async def ending(node: EmulatedNode, tmp_path: Path) -> AsyncIterator[Bench]:
    """A store that the test itself may end."""
    bench = Bench(node, tmp_path / "store")
    await bench.__aenter__()
    yield bench
    await bench.end()


async def test_a_store_that_holds_memory_is_not_stopped(ending: Bench, environ: dict[str, str]) -> None:
    one, other = await ending.start(), await ending.start()
    for agent in (one, other):
        await agent.ask("alloc", 1, 4, 100)
        await ending.client.take([agent.ref], deadline=WITHIN)
        await ending.client.move_out([agent.ref], deadline=WITHIN)
    await ending.client.move_in([other.ref], deadline=WITHIN)
    await ending.client.give([other.ref], deadline=WITHIN)
    before = await other.ask("read")
    code, _, err = await hotseat("store", "stop", environ=environ)
    assert code == 4
    assert f"memory of {one.ref.pid}," in err
    assert await ending.state(one) is HeldState.OUT
    await ending.client.move_in([one.ref], deadline=WITHIN)
    await ending.client.give([one.ref], deadline=WITHIN)
    code, _, err = await hotseat("store", "stop", environ=environ)
    assert (code, err) == (0, "the store has ended\n")
    assert await other.ask("read") == before, "its memory is its own by now"


async def test_what_is_parked_goes_with_the_store_where_told_so(ending: Bench, environ: dict[str, str]) -> None:
    one = await ending.start()
    await one.ask("alloc", 1, 4, 100)
    await ending.client.take([one.ref], deadline=WITHIN)
    await ending.client.move_out([one.ref], deadline=WITHIN)
    code, out, _ = await hotseat("store", "stop", "--lose-parked", "--json", environ=environ)
    assert (code, json.loads(out)["lost"]) == (0, [one.ref.pid])


async def test_what_the_command_line_does_not_say_is_in_the_file(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "hotseat.yaml"
    settings = "arena: 8MiB, agents_mode: '640', custom_storage: true"
    file.write_text(f"store: {{{settings}, control: {tmp_path}/elsewhere/control.sock}}\n")
    control = tmp_path / "elsewhere" / "control.sock"
    for words, arena in ((["--config", str(file)], 8 << 20), (["--config", str(file), "--arena=4MiB"], 4 << 20)):
        async with told(tmp_path / f"notify-{arena}") as (address, said):
            running = asyncio.create_task(
                hotseat("store", "run", *words, environ={**environ, "NOTIFY_SOCKET": address})
            )
            async with asyncio.timeout(WITHIN):
                await said.get()
        code, out, _ = await hotseat("store", "status", "--json", f"--socket={control}", environ=environ)
        assert (code, json.loads(out)["arena_bytes"]) == (0, arena)
        assert "this driver's CUDA is 13.0" in json.loads(out)["no_custom_storage"]  # asked for, and not there
        _, out, _ = await hotseat("store", "status", f"--socket={control}", environ=environ)
        assert "no custom storage: this driver's CUDA is 13.0" in out
        assert stat.S_IMODE((control.parent / "agents" / "store.sock").stat().st_mode) == 0o640
        assert (await hotseat("store", "stop", f"--socket={control}", environ=environ))[0] == 0
        assert (await running)[0] == 0


async def test_what_is_on_disk_is_told(bench: Bench, environ: dict[str, str]) -> None:
    one = await bench.start()
    await one.ask("alloc", 1, 4, 100)
    await bench.client.take([one.ref], deadline=WITHIN)
    await bench.client.move_out([one.ref], deadline=WITHIN)
    await bench.client.spill([one.ref], deadline=WITHIN)
    code, out, _ = await hotseat("store", "status", "--json", environ=environ)
    seen = json.loads(out)
    (part,) = seen["workloads"]
    assert (code, part["state"], part["parked_bytes"]) == (0, "stored", 0)
    assert part["disk_bytes"] == seen["disk_bytes"] > 0
    assert seen["dedup_ratio"] is None
    code, out, _ = await hotseat("store", "status", environ=environ)
    assert f" in {seen['spill']}" in out
