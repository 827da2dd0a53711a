"""What is counted, and under which names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from daemon_house import House, MakeHouse, until
from daemon_world import Real
from prometheus_client.parser import text_string_to_metric_families

from hotseat.daemon.actor import Actor
from hotseat.daemon.measuring import FORGET_AFTER, Measuring
from hotseat.errors import Quarantined, RolledBack
from hotseat.events import EventBus
from hotseat.gateway.port import RequestSeen
from hotseat.store.port import Held, HeldState
from hotseat.swap.port import StoreRoom
from hotseat.words import Device, DeviceUse, Direction, ProcessRef, State

USAGE = b'{"usage": {"prompt_tokens": 7, "completion_tokens": 5}}'


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Label values in alphabetical order of their names -> value."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def seen(model: str, **more: object) -> RequestSeen:
    about = {"workload": model, "dialect": "openai", "status": 200, "seconds": 1.0, "waited": 0.5, "first_byte": 0.6}
    return RequestSeen(**{"model": model, "tail": USAGE, **about, **more})  # type: ignore[arg-type]


async def scrape(house: House) -> str:
    assert house.serving is not None
    assert house.http is not None
    async with house.http.get(f"{house.serving.gateway}/metrics") as response:
        assert response.status == 200
        return await response.text()


async def test_a_request_its_wait_and_its_swaps_are_counted(house: House) -> None:
    assert await house.answer("b") == 200
    text = await scrape(house)
    assert values(text, "hotseat_requests_total")["openai", "b", "200"] == 1
    assert values(text, "hotseat_seat_wait_seconds_count") == {("b",): 1}
    assert values(text, "hotseat_first_byte_seconds_count") == {("openai", "b"): 1}
    state = values(text, "hotseat_workload_state")
    assert (state["parked", "a"], state["seated", "b"], state["seated", "a"]) == (1, 1, 0)
    assert values(text, "hotseat_device_size_bytes") == {("0", "double", "GPU-0"): 10}
    assert values(text, "hotseat_workload_parked_bytes") == {("0", "a"): 8}


async def test_a_swap_that_fails_is_counted_by_what_became_of_it(make_house: MakeHouse) -> None:
    house = await make_house(parked="b")
    house.swapper.fail["a", Direction.OUT] = RolledBack("no")
    await house.up()
    async with house.client() as client:
        with pytest.raises(RolledBack):
            await client.park("a")
    text = await scrape(house)
    assert values(text, "hotseat_swaps_total") == {("out", "rolled_back", "a"): 1}


def made(house: House) -> tuple[Measuring, EventBus]:
    events = EventBus()
    actor = Actor(house.config.workloads, hands=None, events=events)  # type: ignore[arg-type]
    return Measuring(actor, events=events), events


async def test_what_the_store_has_of_ours_on_a_device_is_not_foreign(make_house: MakeHouse) -> None:
    """Blocks of one that sits, and what has come ahead of one that is parked: both are in the store's name."""
    house, events = await make_house(), EventBus()
    actor = Actor(house.config.workloads, hands=None, events=events)  # type: ignore[arg-type]
    record, process = actor.records["b"], ProcessRef(7, 1)
    seat = Real(State.SEATED).seen("b")
    block = Held(state=HeldState.RUNNING, blocks=1, bytes=4, device_bytes={"GPU-0": 4}, lent_bytes=4)
    record.observation, record.pids, record.looked = replace(seat, held={process: block}), frozenset({7}), True
    device = Device(index=0, uuid="GPU-0", name="double", total_bytes=20)
    core = actor._core
    core.uses = (DeviceUse(device=device, used_bytes=12, free_bytes=8, processes={7: 1, 4242: 9, 4343: 2}),)
    core.store = StoreRoom(arena=9, ahead={"GPU-0": 5})
    text = Measuring(actor, events=events).meters.exposition().decode()
    assert values(text, "hotseat_device_foreign_bytes") == {("0",): 2}


async def test_labels_are_never_what_only_a_client_has_made_up(make_house: MakeHouse) -> None:
    measuring, _ = made(await make_house())
    for number in range(50):
        measuring.request(seen(f"made-up-{number}", workload="", status=404, waited=None, first_byte=None, tail=b""))
    measuring.request(seen("a-alias", workload="a"))
    measuring.request(seen("", workload="a", dialect="upstream"))
    text = measuring.meters.exposition().decode()
    assert values(text, "hotseat_requests_total") == {
        ("openai", "", "404"): 50,
        ("openai", "a-alias", "200"): 1,
        ("upstream", "a", "200"): 1,
    }
    assert values(text, "hotseat_tokens_total") == {
        ("completion", "a-alias", "usage"): 5,
        ("prompt", "a-alias", "usage"): 7,
        ("completion", "a", "usage"): 5,
        ("prompt", "a", "usage"): 7,
    }


async def test_a_stream_that_tells_no_usage_counts_by_its_deltas_under_a_name_of_its_own(make_house: MakeHouse) -> None:
    measuring, _ = made(await make_house())
    measuring.request(seen("a", tail=b"data: [DONE]\n\n", deltas=3))
    measuring.request(seen("a", tail=b"data: [DONE]\n\n", deltas=2))
    measuring.request(seen("a", deltas=4))  # and usage: what the engine says counts
    measuring.tick(1.0)
    assert values(measuring.meters.exposition().decode(), "hotseat_tokens_total") == {
        ("completion", "a", "deltas"): 5,
        ("completion", "a", "usage"): 5,
        ("prompt", "a", "usage"): 7,
    }
    assert measuring.history.points[-1].workloads["a"].tokens == 10


async def test_requests_with_the_same_labels_are_counted_apart_by_what_each_has(make_house: MakeHouse) -> None:
    measuring, _ = made(await make_house())
    measuring.request(seen("a", waited=None, first_byte=None, tail=b""))
    text = measuring.meters.exposition().decode()
    assert values(text, "hotseat_first_byte_seconds_count") == {}
    assert values(text, "hotseat_seat_wait_seconds_count") == {}
    measuring.request(seen("a"))
    measuring.request(seen("a", first_byte=None))
    text = measuring.meters.exposition().decode()
    assert values(text, "hotseat_requests_total") == {("openai", "a", "200"): 3}
    assert values(text, "hotseat_request_seconds_count") == {("openai", "a"): 3}
    assert values(text, "hotseat_first_byte_seconds_count") == {("openai", "a"): 1}
    assert values(text, "hotseat_seat_wait_seconds_count") == {("a",): 2}


async def test_counting_goes_on_for_a_workload_that_was_forgotten_and_is_back(make_house: MakeHouse) -> None:
    measuring, events = made(await make_house())
    measuring.happened(events.publish("state", workload="gone", state="seated", note=""))
    measuring.request(seen("", workload="gone", dialect="upstream"))
    measuring.tick(0.0)
    measuring.tick(FORGET_AFTER + 1)
    assert values(measuring.meters.exposition().decode(), "hotseat_seat_wait_seconds_count") == {}
    measuring.request(seen("", workload="gone", dialect="upstream"))
    assert values(measuring.meters.exposition().decode(), "hotseat_seat_wait_seconds_count") == {("gone",): 1}


async def test_rates_count_what_was_served_and_what_failed(make_house: MakeHouse) -> None:
    measuring, _ = made(await make_house())
    measuring.request(seen("a"))
    measuring.request(seen("a", status=502, tail=b"", broken=True))
    measuring.tick(1.0)
    (point,) = measuring.history.points
    assert point.workloads["a"].requests == 2
    assert point.workloads["a"].errors == 1
    assert point.workloads["a"].tokens == 5
    assert values(measuring.meters.exposition().decode(), "hotseat_broken_answers_total") == {("openai", "a"): 1}


async def test_quarantine_is_counted_when_it_begins_and_not_when_it_is_found(make_house: MakeHouse) -> None:
    measuring, events = made(await make_house())
    measuring.happened(events.publish("state", workload="a", state="quarantined", note="found so at the start"))
    measuring.happened(events.publish("state", workload="b", state="swapping in", note=""))
    measuring.happened(events.publish("state", workload="b", state="quarantined", note="out of memory"))
    measuring.happened(events.publish("state", workload="b", state="quarantined", note="another word"))
    error = Quarantined("out of memory").as_dict()
    measuring.happened(events.publish("note", workload="b", error=error, job="swap in"))
    text = measuring.meters.exposition().decode()
    assert values(text, "hotseat_quarantines_total") == {("b",): 1}
    assert values(text, "hotseat_swaps_total") == {("in", "quarantined", "b"): 1}


async def test_cold_starts_are_counted(make_house: MakeHouse) -> None:
    house = await make_house(names="a", stopped="a")
    await house.up()
    assert await house.answer("a") == 200
    await until(lambda: house.states()["a"] == "seated")
    text = await scrape(house)
    assert values(text, "hotseat_cold_starts_total") == {("done", "a"): 1}
    assert values(text, "hotseat_cold_start_seconds_count") == {("a",): 1}


async def test_a_workload_that_is_gone_is_forgotten_after_a_while(make_house: MakeHouse) -> None:
    measuring, events = made(await make_house())
    measuring.happened(events.publish("state", workload="gone", state="seated", note=""))
    measuring.happened(events.publish("start", workload="gone", seconds=1.0, gpu_bytes={}, phases=[]))
    measuring.tick(0.0)
    measuring.tick(FORGET_AFTER)
    assert values(measuring.meters.exposition().decode(), "hotseat_cold_starts_total") == {("done", "gone"): 1}
    measuring.tick(FORGET_AFTER + 1)
    assert values(measuring.meters.exposition().decode(), "hotseat_cold_starts_total") == {}
    assert "gone" not in measuring.last_swaps
