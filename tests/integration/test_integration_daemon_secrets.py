"""Keys and environment secrets of a whole session are in no log, event, journal, table or error."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
from integration_daemon import PROMPTS, Daemon, settled
from integration_house import MIB, House

KEY = "hs-" + "K9x7mQ2v" * 5
SECRET = "hf_" + "Z3wT8pL1" * 4


@pytest.fixture
def devices() -> tuple[int, ...]:
    return (64 * MIB,)


async def test_secrets_stay_where_they_are(house: House) -> None:
    guests = [await house.start(seed=seed, threads=4, models=(f"m{seed}",)) for seed in (1, 2)]
    env = {**house.node.environment(), "HF_TOKEN": SECRET}
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    daemon = Daemon(
        house=house,
        guests=guests,
        settings={"keys": {"me": {"hash": f"sha256:{digest}", "admin": True}}},
        per={guest.name: {"env": env} for guest in guests},
    )
    house.http.headers["Authorization"] = f"Bearer {KEY}"
    heard: list[dict[str, Any]] = []

    async def listen() -> None:
        async with daemon.client() as client:
            async for event in client.events(after=0):
                heard.append(event)

    try:
        await daemon.up(verbose=True)
        listening = asyncio.create_task(listen())
        shown = []
        for guest in guests:
            await daemon.ask(guest, PROMPTS[0])
            await daemon.ask(guest, PROMPTS[0], stream=True)
        # Started anew by hotseat with the secret in its environment, and a start that fails.
        for guest in guests:
            await house.platform.kill(await house.platform.inspect(guest.name))
        await daemon.ask(guests[0], PROMPTS[0])
        daemon.per = {guest.name: {"env": {**env, "MORE": SECRET}} for guest in guests}
        daemon.write()
        async with daemon.client() as client:
            shown.append(await client.reload())
            daemon.file.write_text(daemon.file.read_text() + f"\nkey: {KEY}\n")
            with pytest.raises(Exception, match="unknown setting"):
                await client.reload()
            shown += [await client.health(), await client.workloads(), await client.snapshot()]
        async with house.http.get(f"{daemon.gateway}/v1/models") as response:
            shown.append(await response.json())
        async with house.http.post(f"{daemon.gateway}/v1/completions", json={"model": "nobody"}) as response:
            shown.append(await response.json())
        await daemon.ask(guests[1], PROMPTS[0])
        await settled(daemon)
        await daemon.down()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    finally:
        await daemon.aclose()
    assert heard
    state = daemon.directory / "state"
    written = {str(path): path.read_bytes() for path in [daemon.log, *state.glob("*")] if path.is_file()}
    assert any(path.endswith("journal.db") for path in written)
    told = {**written, "events": json.dumps(heard).encode(), "api": json.dumps(shown).encode()}
    for secret in (KEY, SECRET):
        assert [where for where, text in told.items() if secret.encode() in text] == []
