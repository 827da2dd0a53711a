from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from daemon_house import House, MakeHouse

from hotseat.platforms.spec import ContainerSpec
from hotseat.testing.engine import FakeEngine
from hotseat.testing.platforms import FakePlatform
from hotseat.testing.swapper import FakeSwapper


@pytest.fixture
async def make_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MakeHouse]:
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            *,
            names: str = "ab",
            size: int = 10,
            need: int | dict[str, int] = 8,
            parked: str = "",
            stopped: str = "",
            per: dict[str, str] | None = None,
            gateway: str = "keepalive: 5s",
            min_stay: str = "10s",
        ) -> House:
            directory = tmp_path_factory.mktemp("d")
            platform = FakePlatform(name="docker")
            engines: dict[str, FakeEngine] = {}
            lines = [f"control: c.sock\nstate: state\ngateway: {{port: 0, {gateway}}}"]
            lines.append(f"defaults: {{min_stay: {min_stay}, linger: 0, health_timeout: 5s}}\nworkloads:")
            for name in names:
                engine = FakeEngine(model=name)
                await engine.start()
                stack.push_async_callback(engine.stop)
                engines[name] = engine
                extra = (per or {}).get(name, "")
                lines.append(
                    f"  {name}: {{url: '{engine.url}', models: [{name}, {name}-alias]{extra and ', ' + extra}}}"
                )
                if "platform: process" not in extra:
                    container = await platform.create(ContainerSpec(name=name, command=("x",)))
                    if name not in stopped:
                        await platform.start(container)
            processes = FakePlatform(name="process")

            def frozen(name: str, now: bool) -> None:
                engines[name].freeze() if now else engines[name].thaw()

            swapper = FakeSwapper(
                sizes={0: size},
                memory={name: {0: need if isinstance(need, int) else need[name]} for name in names},
                platforms=[platform, processes],
                frozen=frozen,
            )
            for name in parked:
                container = await platform.inspect(name)
                await platform.pause(container)
                swapper.parked[container.key] = container.started_at
                engines[name].freeze()
            house = House(
                directory=directory,
                platform=platform,
                processes=processes,
                swapper=swapper,
                engines=engines,
                text="\n".join(lines),
            )
            house.http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
            stack.push_async_callback(_close, house)
            return house

        yield make


async def _close(house: House) -> None:
    if house.task is not None and not house.task.done():
        house.order.hurry.set()
        house.order.stop.set()
        await asyncio.wait({house.task}, timeout=20)
    assert house.swapper.violations == []


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """a sits, b is parked, and they do not fit together."""
    made = await make_house(parked="b")
    await made.up()
    return made
