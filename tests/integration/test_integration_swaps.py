"""Whole swaps on every platform: nothing of the answers changes, nothing stays on the device, nobody else is hit."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from integration_house import CONTEXT, MIB, House, everywhere, in_containers, until

from hotseat.demo import image
from hotseat.errors import PlatformFailed
from hotseat.platforms.port import Status
from hotseat.platforms.spec import ContainerSpec
from hotseat.words import State


@everywhere
async def test_out_and_in_again_beside_another(house: House) -> None:
    a, b = await asyncio.gather(house.start(seed=1, threads=20), house.start(seed=2))
    before, other = await a.ask(), await b.ask()
    assert before.text != other.text
    held, beside = await a.bytes(), await b.bytes()
    out = await a.park()
    # Off the device, and paused in the words of its platform.
    assert await a.status() is Status.PAUSED
    assert await a.state() is State.PARKED
    assert await a.bytes() == {}
    assert house.used[0] == sum(beside.values())
    assert out.gpu_bytes == held
    if house.engine is not None:
        listed = await house.person("ps", "--all", "--filter", f"name={a.name}", "--format", "{{.Status}}")
        assert "paused" in listed.lower()
    # The other neither notices nor loses a byte.
    assert (await b.ask()).text == other.text
    assert await b.bytes() == beside
    back = await a.seat()
    assert back.gpu_bytes == held == await a.bytes()
    await a.unharmed(before)
    await b.unharmed(other)
    assert out.threads == back.threads > 20


@everywhere
async def test_an_answer_under_way_stops_and_goes_on(house: House) -> None:
    guest = await house.start(tokens_per_second=80)
    async with guest.stream(tokens=40) as texts:
        undisturbed = [text async for text in texts]
    async with guest.stream(tokens=40) as texts:
        parked = [await anext(texts) for _ in range(5)]
        await guest.park()
        rest = asyncio.ensure_future(anext(texts))
        # What was under way when it froze comes through; then no byte more, whoever waits.
        with contextlib.suppress(TimeoutError):
            while True:
                parked.append(await asyncio.wait_for(asyncio.shield(rest), 0.3))
                rest = asyncio.ensure_future(anext(texts))
        assert len(parked) < 40
        async with house.holding(40 * MIB):  # somebody else's bytes lie where its own were
            pass
        await guest.seat()
        parked.append(await rest)
        parked += [text async for text in texts]
    assert parked == undisturbed


@everywhere
async def test_ranks_of_one_communicator_on_two_devices(house: House) -> None:
    guest = await house.start(devices=(0, 1), processes=4, threads=8)
    before, held = await guest.ask(), await guest.bytes()
    assert set(held) == {0, 1}
    out = await guest.park()
    assert (out.cuda_processes, house.used) == (4, (0, 0))
    back = await guest.seat()
    assert (back.cuda_processes, back.gpu_bytes) == (4, held)
    await guest.unharmed(before)


class TestTurns:
    @pytest.fixture
    def devices(self) -> tuple[int, ...]:
        return (20 * MIB,)

    @everywhere
    async def test_two_take_turns_on_a_device_that_holds_one(self, house: House) -> None:
        size = 10 * MIB
        a = await house.start(seed=1, weights=size)
        first = await a.ask()
        await a.park()
        b = await house.start(seed=2, weights=size)
        second = await b.ask()
        for _ in range(2):
            await b.park()
            await a.seat()
            await a.unharmed(first)
            await a.park()
            await b.seat()
            await b.unharmed(second)


@in_containers
async def test_a_process_that_came_by_exec_is_parked_too(house: House) -> None:
    guest = await house.start()
    before = await guest.ask()
    alone = await guest.bytes()
    await house.person("exec", "--detach", guest.name, image.PROGRAM, f"--hold={4 * MIB}", "--devices=1")
    await until(lambda: house.used[1] >= 4 * MIB + CONTEXT)
    out = await guest.park()
    assert (out.cuda_processes, house.used) == (2, (0, 0))
    assert out.gpu_bytes == {**alone, 1: 4 * MIB + CONTEXT}
    await guest.seat()
    assert house.used == (alone[0], 4 * MIB + CONTEXT)
    await guest.unharmed(before)


@in_containers
async def test_two_that_share_a_network_namespace(house: House) -> None:
    """No port of theirs is reachable from the host: they are asked from inside."""
    a = await house.start(seed=1, network="none", reachable=False)
    b = await house.start(seed=2, network=f"container:{a.name}", reachable=False)
    assert os.readlink(f"/proc/{a.pids()[0]}/ns/net") == os.readlink(f"/proc/{b.pids()[0]}/ns/net")

    async def ask(inside, of) -> str:
        data = '{"model":"demo","prompt":"one two three four","max_tokens":12}'
        url = f"{of.url}/v1/completions"
        for _ in range(200):
            try:
                arguments = ("wget", "-q", "-O", "-", "--header", "Content-Type: application/json")
                answer = await house.person("exec", inside.name, *arguments, "--post-data", data, url)
                return answer.split('"text":')[1].split(',"')[0]
            except PlatformFailed as error:
                if "refused" not in str(error) and "503" not in str(error):
                    raise
                await asyncio.sleep(0.05)
        raise AssertionError("it does not come up")

    first, second = await ask(b, a), await ask(a, b)
    assert first != second
    await a.park()
    assert await ask(b, b) == second  # the namespace lives on while its owner is frozen
    await b.park()
    assert house.used == (0, 0)
    assert [await a.status(), await b.status()] == [Status.PAUSED, Status.PAUSED]
    await a.seat()
    assert await ask(a, a) == first
    await b.seat()
    assert [await ask(b, a), await ask(a, b)] == [first, second]


async def test_one_that_uses_no_cuda_is_only_paused_and_says_so(house: House) -> None:
    guest = await house.launch(ContainerSpec(name=house.name(), command=("sleep", "1234")))
    out = await guest.park()
    assert (out.cuda_processes, await guest.status()) == (0, Status.PAUSED)
    assert "no GPU memory was freed" in (await guest.seen()).note
    await guest.seat()
    assert await guest.status() is Status.RUNNING
