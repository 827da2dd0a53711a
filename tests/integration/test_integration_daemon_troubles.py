"""What befalls a daemon in service: engines that die, hang or come back as another process, a container platform whose
daemon restarts, a full disk, a clock that jumps. It goes on, tells the truth, and mends what can be mended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration_daemon import (
    PROMPTS,
    Daemon,
    NotAnswered,
    expectations,
    loaded,
    nothing_is_left_of_it,
    settled,
)
from integration_house import IMAGE, MIB, House

from hotseat.demo import image
from hotseat.testing import engines
from hotseat.testing.engines import DockerDaemon

pytestmark = pytest.mark.timeout(300)

JUMPING = """
import random, sys, time
from pathlib import Path

real, rng = time.time, random.Random(5)
time.time = lambda: real() + rng.choice((0, 86400.0, -86400.0, 1e9, -1e9))

from hotseat.cli.serving import serve
serve(Path(sys.argv[1]), check=False, verbose=False)
"""
"""`hotseat up` whose wall clock is another one at every reading. CLOCK_MONOTONIC is what it is."""


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


async def stage(house: House, **options: Any) -> tuple[Daemon, dict[tuple[str, str], str]]:
    """Two engines; one sits, one is parked, and the cap lets no more than one sit."""
    engine = {"processes": 2, "threads": 4, "tokens_per_second": options.pop("tokens_per_second", 0)}
    guests = [await house.start(seed=seed, models=(f"m{seed}",), **engine) for seed in (1, 2)]
    expected = await expectations(guests)
    await guests[1].park()
    held = sum((await guests[0].bytes()).values())
    settings = {"devices": {0: {"cap": held + held // 2}}, **options.pop("settings", {})}
    return Daemon(house=house, guests=guests, settings=settings, **options), expected


@pytest.fixture
async def staged(house: House) -> AsyncIterator[tuple[Daemon, dict[tuple[str, str], str]]]:
    daemon, expected = await stage(house)
    await daemon.up()
    yield daemon, expected
    await daemon.aclose()


async def state(daemon: Daemon, guest: Any) -> str:
    return str((await daemon.rows())[guest.name]["state"])


async def becomes(daemon: Daemon, guest: Any, wanted: str) -> None:
    async with asyncio.timeout(30):
        while await state(daemon, guest) != wanted:  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(0.02)


class TestEngines:
    async def test_one_that_is_killed_while_it_answers_is_started_by_the_next_request(self, house: House) -> None:
        daemon, expected = await stage(house, tokens_per_second=100)
        await daemon.up()
        first = daemon.guests[0]
        async with first.house.http.post(
            f"{daemon.gateway}/v1/completions",
            json={"model": "m1", "prompt": PROMPTS[0], "max_tokens": 300, "stream": True},
        ) as response:
            assert response.status == 200
            await response.content.readline()
            os.kill(first.pids()[0], signal.SIGKILL)
            rest = await response.read()
        assert b'"error"' in rest, "half an answer is never told to be whole"
        assert await daemon.ask(first, PROMPTS[0]) == expected[first.name, PROMPTS[0]]
        await daemon.aclose()

    async def test_one_that_dies_parked_is_told_and_started_by_the_next_request(self, staged: Any) -> None:
        daemon, expected = staged
        parked = daemon.guests[1]
        os.kill(parked.pids()[0], signal.SIGKILL)
        await becomes(daemon, parked, "stopped")
        note = (await daemon.rows())[parked.name]["note"]
        assert "lost" in note
        assert await daemon.ask(parked, PROMPTS[0]) == expected[parked.name, PROMPTS[0]]
        assert await daemon.ask(daemon.guests[0], PROMPTS[0]) == expected[daemon.guests[0].name, PROMPTS[0]]

    async def test_one_that_hangs_is_not_parked_and_the_waiting_are_told_until_it_moves_again(
        self, house: House
    ) -> None:
        daemon, expected = await stage(house, settings={"defaults": {"max_wait": "3s", "min_stay": 0, "linger": 0}})
        await daemon.up()
        hanging, other = daemon.guests
        os.kill(hanging.pids()[-1], signal.SIGSTOP)
        with pytest.raises(NotAnswered, match="503"):
            await daemon.ask(other, PROMPTS[0])
        assert await state(daemon, hanging) in ("seated", "swapping out")
        assert await state(daemon, other) == "parked"
        os.kill(hanging.pids()[-1], signal.SIGCONT)
        await asyncio.gather(*(insist(daemon, guest, expected) for guest in daemon.guests))
        await daemon.aclose()


async def insist(daemon: Daemon, guest: Any, expected: dict[tuple[str, str], str]) -> None:
    """As a client library does on 503."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert await daemon.ask(guest, PROMPTS[1]) == expected[guest.name, PROMPTS[1]]
                return
            except NotAnswered as error:
                if not error.args[0].startswith("503"):
                    raise
                await asyncio.sleep(0.1)


@pytest.mark.root
class TestFullDisk:
    """The state directory is a small disk of its own."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "state"
        path.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)], check=True, timeout=10)
        yield path
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=10)

    async def test_who_sits_is_served_new_swaps_are_refused_and_with_room_it_goes_on(
        self, disk: Path, house: House
    ) -> None:
        daemon, expected = await stage(house)
        await daemon.up()
        seated, parked = daemon.guests
        assert await daemon.ask(seated, PROMPTS[0]) == expected[seated.name, PROMPTS[0]]
        fill(disk)
        with pytest.raises(NotAnswered) as caught:
            await daemon.ask(parked, PROMPTS[0])
        assert "disk" in str(caught.value)
        assert await state(daemon, seated) == "seated"
        assert await state(daemon, parked) == "parked"
        for prompt in PROMPTS:
            assert await daemon.ask(seated, prompt) == expected[seated.name, prompt]
        (disk / "filler").unlink()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await daemon.ask(parked, PROMPTS[0]) == expected[parked.name, PROMPTS[0]]
                    break
                except NotAnswered:
                    await asyncio.sleep(0.1)
        assert await daemon.ask(seated, PROMPTS[0]) == expected[seated.name, PROMPTS[0]]
        await settled(daemon)
        await daemon.down()
        await nothing_is_left_of_it(daemon)

    async def test_a_start_on_a_full_disk_serves_who_sits(self, disk: Path, house: House) -> None:
        daemon, expected = await stage(house)
        await daemon.up()
        await daemon.down()
        fill(disk)
        await daemon.up()
        seated = daemon.guests[0]
        assert await daemon.ask(seated, PROMPTS[0]) == expected[seated.name, PROMPTS[0]]
        await daemon.aclose()


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


async def test_a_clock_that_jumps_decides_nothing(house: House) -> None:
    daemon, expected = await stage(house)
    daemon.write()
    with daemon.log.open("ab") as log:
        daemon.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", JUMPING, str(daemon.file), env=daemon.environment, stdout=log, stderr=log
        )
    async with loaded(daemon, clients=4, expected=expected) as load:
        await load.more(40)
    await settled(daemon)
    await daemon.down()
    await nothing_is_left_of_it(daemon)


class TestPlatforms:
    @pytest.fixture
    def kind(self) -> str:
        return "docker"

    @pytest.mark.docker
    @pytest.mark.root
    async def test_a_container_that_somebody_restarts_comes_back_as_another_process(self, staged: Any) -> None:
        daemon, expected = staged
        seated, parked = daemon.guests
        before = (await daemon.rows())[seated.name]["pids"]
        await seated.house.person("restart", "--time", "1", seated.name)
        await insist(daemon, seated, expected)
        assert not set(before) & set((await daemon.rows())[seated.name]["pids"])
        await insist(daemon, parked, expected)
        await insist(daemon, seated, expected)

    @pytest.mark.docker
    @pytest.mark.root
    async def test_one_that_somebody_restarts_while_it_is_parked_is_served_again(self, staged: Any) -> None:
        daemon, expected = staged
        seated, parked = daemon.guests
        await parked.house.person("kill", parked.name)
        await becomes(daemon, parked, "stopped")
        await insist(daemon, parked, expected)
        await insist(daemon, seated, expected)


@pytest.mark.docker
@pytest.mark.root
class TestDockerdRestarts:
    """An engine of its own, whose containers survive their daemon."""

    @pytest.fixture
    def kind(self) -> str:
        return "docker"

    @pytest.fixture
    def engine(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerDaemon]:
        directory = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))  # sockets beneath it have short paths
        engine = DockerDaemon(directory=directory / "live", live_restore=True)
        engine.start()
        try:
            tar = image.build(directory / "live.tar")
            engines.load_image(engine, tar, reference=IMAGE)
            tar.unlink()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
            monkeypatch.setenv("CONTAINER_HOST", "unix:///nonexistent/podman.sock")
            yield engine
        finally:
            engine.stop()
            shutil.rmtree(directory)

    async def test_under_the_daemon_with_live_workloads(self, staged: Any, engine: DockerDaemon) -> None:
        daemon, expected = staged
        seated, parked = daemon.guests
        await asyncio.to_thread(engine.halt)
        assert await daemon.ask(seated, PROMPTS[0]) == expected[seated.name, PROMPTS[0]], "who sits needs no dockerd"
        with pytest.raises(NotAnswered) as caught:
            await daemon.ask(parked, PROMPTS[0])
        assert "docker" in str(caught.value)
        await asyncio.to_thread(engine.start)
        await insist(daemon, parked, expected)
        await insist(daemon, seated, expected)
        await settled(daemon)
        await daemon.down()
        await nothing_is_left_of_it(daemon)
