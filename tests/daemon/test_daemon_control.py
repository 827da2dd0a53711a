"""The control API by its client: what people ask for, and the same errors at both ends."""

import asyncio
import json
import stat

import pytest
from aiohttp import web
from daemon_house import House, MakeHouse, until

from hotseat.daemon import wire
from hotseat.daemon.client import Client
from hotseat.errors import (
    Busy,
    DriverFailed,
    Failed,
    HotseatError,
    NoRoom,
    NotFound,
    Quarantined,
    Refused,
    RolledBack,
    Unavailable,
    UsageError,
)
from hotseat.words import Device, DeviceUse, Direction, PhaseTime, SwapReport


async def test_what_ps_shows(house: House) -> None:
    async with house.client() as client:
        a, b = await client.workloads()
    assert (a["name"], a["state"], a["platform"], a["models"]) == ("a", "seated", "docker", ["a", "a-alias"])
    assert a["container"].startswith("docker:")
    assert (a["gpu_bytes"], a["gpu_bytes_per_device"], a["waiting"], a["in_flight"]) == (8, {"0": 8}, 0, 0)
    assert len(a["pids"]) == 1
    assert (b["state"], b["gpu_bytes"], b["parked_gpu_bytes"]) == ("parked", 0, 8)


async def test_park_seat_and_their_reports(house: House) -> None:
    async with house.client() as client:
        (parked,) = await client.park("a")
        assert (parked.workload, parked.direction, parked.gpu_bytes) == ("a", Direction.OUT, {0: 8})
        assert parked.phases == (PhaseTime(name="move", seconds=0.5, part="driver"),)
        assert house.states() == {"a": "parked", "b": "parked"}
        (seated,) = await client.seat("b")
        assert (seated.workload, seated.direction) == ("b", Direction.IN)
        (nothing,) = await client.seat("b")
        assert nothing.phases == ()


async def test_seat_makes_room_and_tells_both_swaps(house: House) -> None:
    async with house.client() as client:
        reports = await client.swap("b")
    assert [(report.workload, report.direction) for report in reports] == [("a", Direction.OUT), ("b", Direction.IN)]


async def test_swap_parks_whom_it_is_told(make_house: MakeHouse) -> None:
    house = await make_house(names="abc", need=4, size=12, parked="c")
    await house.up()
    async with house.client() as client:
        reports = await client.swap("c", "b")
    assert [report.workload for report in reports] == ["b", "c"]
    assert house.states() == {"a": "seated", "b": "parked", "c": "seated"}


async def test_a_swap_whose_second_half_fails_gives_the_seat_back(house: House) -> None:
    house.swapper.fail["b", Direction.IN] = RolledBack("b stays parked")
    async with house.client() as client:
        with pytest.raises(RolledBack, match="a gets its seat back"):
            await client.swap("b", "a")
    await until(lambda: house.states() == {"a": "seated", "b": "parked"})


async def test_what_a_swap_refuses(make_house: MakeHouse) -> None:
    house = await make_house(names="ab", need=4)
    await house.up()
    async with house.client() as client:
        with pytest.raises(Refused, match="itself"):
            await client.swap("a", "a")
        with pytest.raises(Refused, match="not parked") as caught:
            await client.swap("a", "b")
        assert "hotseat park b" in caught.value.hint
        with pytest.raises(NotFound, match="no workload x") as missing:
            await client.park("x")
        assert "this daemon has a, b" in missing.value.hint
    assert house.swapper.begun == []


async def test_names_of_containers_do_as_well(house: House) -> None:
    key = house.row("a")["container"]
    async with house.client() as client:
        (report,) = await client.park(key)
    assert report.workload == "a"


async def test_a_parked_one_stays_parked_with_its_frozen_answers_until_it_is_asked_for(house: House) -> None:
    house.engines["a"].hold_after = 2
    frozen = asyncio.create_task(house.answer("a"))
    await house.engines["a"].reached_hold.wait()
    async with house.client() as client:
        await client.park("a")
        house.engines["a"].go.set()
        house.engines["a"].hold_after = None
        assert house.row("a") == house.row("a") | {"state": "parked", "in_flight": 1}
        assert house.swapper.done == [("a", Direction.OUT)]
        assert await house.answer("a") == 200, "a new request brings it back"
    assert await frozen == 200


async def test_two_commands_for_one_swap_both_hear_of_it(house: House) -> None:
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    async with house.client() as client:
        first = asyncio.create_task(client.park("a"))
        await until(lambda: house.states()["a"] == "swapping out")
        second = asyncio.create_task(client.park("a"))
        await client.health()
        gate.set()
        assert await first == await second
    assert house.swapper.begun == [("a", Direction.OUT)]


async def test_park_during_a_swap_in_is_busy(make_house: MakeHouse) -> None:
    house = await make_house(parked="ab")
    gate = house.swapper.hold[Direction.IN] = asyncio.Event()
    await house.up()
    async with house.client() as client:
        seating = asyncio.create_task(client.seat("a"))
        await until(lambda: house.states()["a"] == "swapping in")
        with pytest.raises(Busy, match="swap in of a is under way"):
            await client.park("a")
        gate.set()
        await seating


async def test_a_command_goes_on_when_its_client_leaves(house: House) -> None:
    gate = house.swapper.hold[Direction.OUT] = asyncio.Event()
    async with house.client() as client:
        parking = asyncio.create_task(client.park("a"))
        await until(lambda: house.states()["a"] == "swapping out")
        parking.cancel()
        await asyncio.gather(parking, return_exceptions=True)
    gate.set()
    await until(lambda: house.states()["a"] == "parked")


async def test_a_seat_that_cannot_be_is_refused_with_the_reason(make_house: MakeHouse) -> None:
    house = await make_house(need={"a": 5, "b": 11}, parked="b")
    await house.up()
    async with house.client() as client:
        with pytest.raises(NoRoom, match="which offers"):
            await client.seat("b")


async def test_events_and_phases_are_told_as_they_happen(house: House) -> None:
    seen: list[dict[str, object]] = []
    phases: list[tuple[str, str]] = []
    async with house.client() as client:

        async def listen() -> None:
            async for event in client.events():
                seen.append(event)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.1)
        await client.park("a", progress=lambda phase, status: phases.append((phase, status)))
        await until(lambda: [e["state"] for e in seen if e["kind"] == "state"] == ["swapping out", "parked"])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert [event["seq"] for event in seen] == sorted(event["seq"] for event in seen)  # type: ignore[type-var]
    assert all(event["workload"] == "a" for event in seen)


async def test_devices(house: House) -> None:
    async with house.client() as client:
        (use,) = await client.devices()
    assert (use.device.index, use.device.total_bytes, use.used_bytes) == (0, 10, 8)
    assert list(use.processes.values()) == [8]


async def test_the_socket_is_its_owners_alone_and_goes_with_the_daemon(house: House) -> None:
    path = house.config.control
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with house.client() as client:
        assert (await client.health())["gateway"].startswith("http://127.0.0.1:")
        assert await client.alive()
    await house.down()
    assert not path.exists()
    async with Client(path) as client:
        assert not await client.alive()
        with pytest.raises(NotFound, match="no hotseat daemon"):
            await client.workloads()


async def test_a_daemon_that_falls_silent_in_a_swap_is_given_up(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotseat.daemon.client.QUICK", 0.05)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client leaves
        writer.close()

    path = tmp_path / "control.sock"
    async with await asyncio.start_unix_server(silent, path), Client(path) as client:
        async with asyncio.timeout(10):
            with pytest.raises(Failed, match="does not answer"):
                await client.park("a")


async def test_how_far_it_is_on_its_way_to_disk_is_told_until_it_is_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("hotseat.daemon.client.NOTES_EVERY", 0.01)
    told: asyncio.Queue[str] = asyncio.Queue()

    async def look(request: web.Request) -> web.Response:
        return web.json_response({"note": f"{request.match_info['name']}: 40 %"})

    async def spill(request: web.Request) -> web.Response:
        return web.json_response(
            {"workload": request.match_info["name"], "heard": [await told.get(), await told.get()]}
        )

    app = web.Application()
    app.router.add_get("/v1/workloads/{name}", look)
    app.router.add_post("/v1/workloads/{name}/spill", spill)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, tmp_path / "c.sock").start()
        async with asyncio.timeout(20), Client(tmp_path / "c.sock") as client:
            answer = await client.spill("a/b", told=told.put_nowait)
    finally:
        await runner.cleanup()
    assert answer == {"workload": "a/b", "heard": ["a/b: 40 %"] * 2}


async def test_what_is_not_an_api(house: House) -> None:
    async with house.client() as client:
        with pytest.raises(UsageError):
            await client._call("GET", "/v1/nothing")
        with pytest.raises(UsageError, match="write"):
            await client._call("POST", "/v1/swap", {"out": "a"})
        with pytest.raises(UsageError, match="write"):
            await client._call("POST", "/v1/swap", [])


@pytest.mark.parametrize(
    "error",
    [
        NoRoom("full", hint="h", rule="r", lacking={0: 5}),
        DriverFailed("said no", result=304, hint="kill it"),
        Quarantined("lost"),
        Unavailable("later", retry_after=3.5),
        HotseatError("odd"),
    ],
)
def test_errors_cross_the_wire(error: HotseatError) -> None:
    there = wire.error_from(json.loads(wire.encode(error.as_dict())))
    assert type(there) is type(error)
    assert (there.message, there.hint, there.rule) == (error.message, error.hint, error.rule)
    assert (there.exit_code, there.http_status) == (error.exit_code, error.http_status)
    assert there.details == json.loads(wire.encode(error.details))


def test_an_error_of_a_newer_daemon_is_still_a_failure() -> None:
    assert wire.error_from({"code": "from the future", "message": "x"}).exit_code == 1


def test_records_cross_the_wire() -> None:
    report = SwapReport(
        workload="a",
        direction=Direction.OUT,
        phases=(PhaseTime(name="lock", seconds=0.1, part="driver"), PhaseTime(name="find", seconds=0.2)),
        gpu_bytes={0: 1, 7: 2},
        processes=2,
        cuda_processes=1,
        threads=9,
        started_at=5.5,
    )
    assert wire.report_from(json.loads(wire.encode(wire.report_to(report)))) == report
    use = DeviceUse(
        device=Device(index=1, uuid="u", name="n", total_bytes=9), used_bytes=3, free_bytes=6, processes={42: 3}
    )
    assert wire.use_from(json.loads(wire.encode(wire.use_to(use)))) == use
