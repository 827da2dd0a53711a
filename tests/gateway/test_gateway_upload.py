"""Bodies that stream through: forms with their model in front, raw uploads, and what is held instead."""

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from gateway_stage import Stage
from wire import answer, asked, connected, engine_that, exchange, post

from hotseat.config.gateway import Key
from hotseat.errors import UsageError
from hotseat.gateway.keys import KeyRing, hash_of
from hotseat.testing.seats import FakeSeats, SeatLease

BOUNDARY = "b0undary"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, *, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


async def test_a_file_behind_its_model_reaches_the_engine_before_it_is_whole(stage: Stage) -> None:
    seen = asyncio.Event()
    got = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        got += await reader.readuntil(b"first half")
        seen.set()
        got += await reader.readuntil(END)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    body = part("model", b"m") + part("file", b"first half, second half", filename="a.wav") + END
    at = body.index(b", second")
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        whole = post(body, FORM, path="/v1/audio/transcriptions")
        writer.write(whole[: len(whole) - len(body) + at])
        async with asyncio.timeout(10):
            await seen.wait()
        writer.write(body[at:])
        assert (await answer(reader))[2] == b"ok"
    assert got == body


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_form_passes_byte_for_byte_however_it_is_cut(stage: Stage, chunked: bool) -> None:
    received = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"chunked" in head:
                body = b""
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readexactly(2)
            else:
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
            received.append(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    form = part("model", b"m") + part("temperature", b"0") + part("file", bytes(range(256)) * 3, filename="a") + END
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        for step in (1, 17, 300, 5000):
            pieces = [form[at : at + step] for at in range(0, len(form), step)]
            if chunked:
                head = post(b"", FORM).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
                pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
            else:
                head = post(form, FORM)[: -len(form)]
            writer.write(head)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            assert (await answer(reader))[2] == b"ok"
    assert received == [form] * 4


async def test_a_file_in_front_of_its_model_is_held(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await asked(reader)
        assert body == form
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    form = part("file", b"x" * 5000, filename="a") + part("model", b"m") + END
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.write(post(form, FORM))
        assert (await answer(reader))[2] == b"ok"


async def test_a_file_in_front_that_is_too_large_to_hold(make_stage) -> None:  # type: ignore[no-untyped-def]
    stage = await make_stage(max_body=10_000)
    form = part("file", b"x" * 50_000, filename="a") + part("model", b"m") + END
    async with connected(stage.port) as (reader, writer):
        writer.write(post(form, FORM)[:20_000])
        status, _, said = await answer(reader)
    assert status == 413
    assert b"before the file" in said
    got = await exchange(stage.port, post(form, FORM, "x-hotseat-model: other", "Connection: close"))
    assert got.startswith(b"HTTP/1.1 404")  # named outside, so it need not be held


async def test_a_form_that_names_another_model_later_never_reaches_its_end(stage: Stage) -> None:
    whole = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        whole.set()

    form = part("model", b"m") + part("file", b"x" * 500_000, filename="a") + part("model", b"secret") + END
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.write(post(form, FORM))
        status, _, body = await answer(reader)
        assert status == 400
        assert "two models" in json.loads(body)["error"]["message"]
    assert not whole.is_set()
    assert not stage.seats.leases


async def test_an_upload_over_the_limit_is_refused_as_it_comes(make_stage) -> None:  # type: ignore[no-untyped-def]
    stage = await make_stage(max_upload=10_000)
    head = post(b"", FORM).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    start = part("model", b"m") + part("file", b"", filename="a")
    async with connected(stage.port) as (reader, writer):
        writer.write(head + b"%x\r\n%b\r\n" % (len(start), start) + b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        status, _, body = await answer(reader)
    assert status == 413
    assert "max_upload" in json.loads(body)["error"]["message"]


async def test_a_large_upload_to_a_slow_engine_costs_little_memory(stage: Stage) -> None:
    """The engine reads nothing for a while: the client is paused, and only then does the engine get all of it."""
    go = asyncio.Event()
    size = 200 * 2**20
    received = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        while received < size:
            received += len(await reader.read(2**20))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        head = post(b"", "x-hotseat-model: m", "Content-Type: audio/wav")
        writer.write(head.replace(b"Content-Length: 0", b"Content-Length: %d" % size))

        async def send() -> None:
            piece = bytes(2**18)
            for _ in range(size // len(piece)):
                writer.write(piece)
                await writer.drain()

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.3)
        assert not sending.done()
        go.set()
        assert (await answer(reader))[2] == b"ok"
        await sending
    assert received == size
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < size / 3, f"{grown / 2**20:.0f} MiB"


async def test_an_upload_waits_for_its_seat(stage: Stage) -> None:
    stage.seats.open.clear()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.write(post(b"raw bytes", "x-hotseat-model: m", "Content-Type: audio/wav"))
        await stage.seats.asked.wait()
        stage.seats.open.set()
        assert (await answer(reader))[2] == b"raw bytes"


async def test_json_and_header_must_agree(stage: Stage) -> None:
    for model, status in (("m", 200), ("other", 400)):
        headers = {"x-hotseat-model": model}
        async with stage.client.post(stage.url + "/v1/completions", json={"model": "m"}, headers=headers) as response:
            assert response.status == status
    # The query is the engine's own business where a JSON body says which model.
    async with stage.client.post(stage.url + "/v1/completions?model=x", json={"model": "m"}) as response:
        assert response.status == 200


async def test_a_form_that_disagrees_with_its_header_takes_no_seat_and_no_connection(stage: Stage) -> None:
    pool = stage.gateway._desk.pool
    form = part("model", b"n") + END
    for _ in range(3):  # from the second time on the head is known, and the request comes whole
        async with stage.post() as response:
            assert response.status == 200  # its connection to the engine is pooled now
        async with connected(stage.port) as (reader, writer):
            writer.write(post(form, FORM, "x-hotseat-model: m"))
            status, _, body = await answer(reader)
        assert status == 400
        assert b"two models" in body
        assert not stage.seats.leases
    assert [len(idle) for idle in pool._idle.values()] == [1]
    assert len(pool._all) == 1


@dataclass(slots=True, kw_only=True, eq=False)
class BadLease(SeatLease):
    """Its seat is had, its engine is not: asking where that listens fails."""

    error: Exception

    def __getattribute__(self, name: str) -> Any:
        if name == "url":
            raise object.__getattribute__(self, "error")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("error", [UsageError("not so"), RuntimeError("a fault of ours")])
async def test_what_fails_between_seat_and_engine_gives_the_seat_back(
    make_stage: Callable[..., Awaitable[Stage]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    keys = KeyRing({"a": Key(hash=hash_of("hs-0123456789abcdef"), models=["*"])})
    stage = await make_stage(keys=keys)

    def give(seats: FakeSeats, model: str) -> SeatLease:
        lease = BadLease(workload=model, url="", give_back=seats._take_back, error=error)
        seats.leases.append(lease)
        return lease

    monkeypatch.setattr(FakeSeats, "_give", give)
    for _ in range(2):
        request = stage.client.post(
            f"{stage.url}/v1/completions",
            json={"model": "m"},
            headers={"Authorization": "Bearer hs-0123456789abcdef"},
        )
        async with request as response:
            assert response.status == (400 if isinstance(error, UsageError) else 500)
    assert not stage.seats.leases
    assert keys.running("a") == 0


@pytest.mark.parametrize(
    ("path", "method", "times"),
    [
        ("/v1/completions", "POST", 2),
        ("/upstream/m/jobs", "GET", 2),
        ("/upstream/m/jobs", "PUT", 2),
        ("/upstream/m/jobs", "DELETE", 2),
        ("/upstream/m/jobs", "POST", 1),
        ("/upstream/m/jobs", "PATCH", 1),
    ],
)
async def test_what_is_sent_twice_if_a_pooled_connection_closes_without_an_answer(
    stage: Stage, path: str, method: str, times: int
) -> None:
    seen = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await asked(reader))[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        seen.append((await asked(reader))[1])  # and no answer

    async with engine_that(talk) as stage.seats.urls["m"]:
        for body in ({"model": "m", "n": 1}, {"model": "m", "n": 2}):
            async with stage.client.request(method, stage.url + path, json=body) as response:
                assert (response.status, await response.text()) == (200, "ok")
    assert [json.loads(body)["n"] for body in seen] == [1] + [2] * times


async def test_a_body_that_streams_takes_a_connection_of_its_own(stage: Stage) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.readuntil(END)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    form = part("model", b"m") + part("file", b"sound", filename="a.wav") + END
    whole = post(form, FORM, path="/v1/audio/transcriptions")
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        for _ in range(2):
            writer.write(whole[:-20])
            async with asyncio.timeout(20):
                while not stage.seats.leases:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.005)
            writer.write(whole[-20:])
            assert (await answer(reader))[2] == b"ok"
    assert connections == 2
