"""The daemon is killed at every phase boundary, under load, and started again: the clients' next try gets the same
tokens, nothing stays locked or frozen, nothing is leaked."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from integration_daemon import PROMPTS, TOKENS, Daemon, expectations, loaded, nothing_is_left_of_it, settled
from integration_house import MIB, House, in_containers

from hotseat.swap import plan

OUT = [step.name for step in plan.plan_out(uses_cuda=True).steps]
IN = [step.name for step in plan.plan_in(uses_cuda=True, probe=True).steps]
CLIENTS = 4

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def devices() -> tuple[int, ...]:
    """One device, on which two engines fit while nobody was asked yet, and hotseat's cap lets only one sit."""
    return (64 * MIB,)


@pytest.fixture
async def staged(house: House) -> AsyncIterator[tuple[Daemon, dict[tuple[str, str], str]]]:
    """One sits, one is parked, and what each says."""
    daemon, expected = await stage(house)
    yield daemon, expected
    await daemon.aclose()


async def stage(house: House, *, processes: int = 2) -> tuple[Daemon, dict[tuple[str, str], str]]:
    guests = [await house.start(seed=seed, processes=processes, threads=4, models=(f"m{seed}",)) for seed in (1, 2)]
    expected = await expectations(guests)
    assert len(set(expected.values())) == len(expected), "each of them says something of its own"
    await guests[1].park()
    held = sum((await guests[0].bytes()).values())
    return Daemon(house=house, guests=guests, settings={"devices": {0: {"cap": held + held // 2}}}), expected


async def killed_at(
    daemon: Daemon, expected: dict[tuple[str, str], str], boundaries: Sequence[tuple[str, ...]]
) -> None:
    daemon.write()
    async with loaded(daemon, clients=CLIENTS, expected=expected) as load:
        for last in boundaries:
            await daemon.spawn(*last)
            await daemon.dies()
        await daemon.up()
        await load.more(2 * CLIENTS)
        assert load.retried
    await whole_after(daemon, expected)


async def whole_after(daemon: Daemon, expected: dict[tuple[str, str], str]) -> None:
    """The last daemon ends in order and leaves nothing; each engine says what it said, without any hotseat."""
    await settled(daemon)
    await daemon.down()
    await nothing_is_left_of_it(daemon)
    for guest in daemon.guests:
        for other in daemon.guests:
            if other is not guest:
                await other.park()
        await guest.seat()
        for prompt in PROMPTS:
            assert (await guest.ask(prompt, tokens=TOKENS)).text == expected[guest.name, prompt]


@pytest.mark.parametrize("status", ["start", "done"])
@pytest.mark.parametrize(("direction", "phases"), [("out", OUT), ("in", IN)], ids=["out", "in"])
async def test_at_every_boundary(staged: Any, direction: str, phases: list[str], status: str) -> None:
    await killed_at(*staged, [(direction, phase, status) for phase in phases])


@in_containers
async def test_around_the_commits_and_the_pauses(staged: Any) -> None:
    await killed_at(
        *staged,
        [
            ("out", "checkpoint", "start"),
            ("out", "checkpoint", "done"),
            ("out", "pause", "done"),
            ("in", "unpause", "done"),
            ("in", "restore", "start"),
            ("in", "restore", "done"),
        ],
    )


@pytest.mark.parametrize("last", [("out", "checkpoint"), ("in", "restore")], ids=["out", "in"])
@pytest.mark.parametrize("status", ["start", "done"])
async def test_again_while_it_mends_what_the_first_one_left(staged: Any, last: tuple[str, str], status: str) -> None:
    await killed_at(*staged, [(*last, status), ("any",), ("any",), (*last, status), ("any",)])


async def test_at_any_moment(staged: Any) -> None:
    daemon, expected = staged
    rng = random.Random(11)
    async with loaded(daemon, clients=CLIENTS, expected=expected) as load:
        for _ in range(6):
            await daemon.up()
            await load.more(rng.randint(1, 12))
            assert daemon.process is not None
            daemon.process.kill()
            await daemon.dies()
        await daemon.up()
        await load.more(2 * CLIENTS)
    await whole_after(daemon, expected)
