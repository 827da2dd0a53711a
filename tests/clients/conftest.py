from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import anthropic
import ollama
import openai
import pytest
from house import ALICE, ROOT, House, standing


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with standing(tmp_path_factory.mktemp("h")) as house:
        yield house


@pytest.fixture
async def http(house: House) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=60)
    headers = {"Authorization": f"Bearer {ALICE}"}
    async with aiohttp.ClientSession(house.url, timeout=timeout, headers=headers) as session:
        yield session


@pytest.fixture
async def oai(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key=ALICE, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def claude(house: House) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=house.url, api_key=ALICE, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def lama(house: House) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(host=house.url, headers={"Authorization": f"Bearer {ALICE}"}, timeout=60)
    yield client
    await client._client.aclose()


@pytest.fixture
async def park(house: House) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Parks a workload, as an admin over the gateway; `answering`: in the middle of that many answers."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(house.url, timeout=timeout, headers={"x-api-key": ROOT}) as session:

        async def park(name: str, answering: int = 0) -> None:
            async with session.post(f"/hotseat/v1/workloads/{name}/park") as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["reports"][-1]["direction"] == "out"
            async with session.get(f"/hotseat/v1/workloads/{name}") as response:
                row = await response.json()
            assert (row["state"], row["in_flight"]) == ("parked", answering)

        yield park
