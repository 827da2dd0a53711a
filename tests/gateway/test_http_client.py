"""A client's connection, byte by byte: order, limits, slow ones, the stop of the gateway."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from wire import answer, connected, exchange, post

from hotseat.gateway.http.body import WINDOW
from hotseat.gateway.http.client import Client
from hotseat.gateway.http.limits import Limits, Register
from hotseat.gateway.http.request import BadRequest, Request

Make = Callable[..., Awaitable[Stage]]
ASK = b'{"model": "m"}'


async def test_requests_sent_ahead_are_answered_in_order(stage: Stage) -> None:
    stage.engine.hold_after = 0
    async with connected(stage.port) as (reader, writer):
        between = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(post(ASK, "X-Request-Id: one") + between + post(ASK, "X-Request-Id: three"))
        await stage.engine.reached_hold.wait()
        stage.engine.go.set()
        answers = [await answer(reader) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [headers["x-request-id"] for _, headers, _ in answers][::2] == ["one", "three"]
    assert answers[1][2] == b'{"status":"ok"}'


async def test_too_many_ahead_close_the_connection_after_the_present_answer(stage: Stage) -> None:
    stage.engine.hold_after = 0
    async with connected(stage.port) as (reader, writer):
        writer.write(post(ASK) + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        await stage.engine.reached_hold.wait()
        stage.engine.go.set()
        assert (await answer(reader))[0] == 200
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_large_body_behind_an_answer_under_way_arrives_whole(stage: Stage) -> None:
    """Of what comes ahead only so much is read; the rest is once it is that request's turn."""
    stage.engine.hold_after = 0
    large = json.dumps({"model": "m", "prompt": "x" * 2**20}).encode()
    async with connected(stage.port) as (reader, writer):
        writer.write(post(ASK) + post(large) + post(ASK))
        await stage.engine.reached_hold.wait()
        await asyncio.sleep(0.1)  # so that as much of it comes ahead as will
        stage.engine.go.set()
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 200]
    assert [asked.body for asked in stage.engine.asked] == [ASK, large, ASK]


class Pipe(asyncio.Transport):
    """What a `Client` does to its connection."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return None


class Waiting:
    """A front at which every request waits until it is answered."""

    def __init__(self) -> None:
        self.begun: list[Request] = []

    def begin(self, client: Client, request: Request) -> None:
        self.begun.append(request)

    def refuse(self, error: BadRequest, request: Request | None) -> tuple[list[tuple[str, str]], bytes]:
        raise AssertionError(error)


async def test_what_comes_ahead_is_held_within_a_bound_and_all_of_it_served() -> None:
    pipe, front = Pipe(), Waiting()
    client = Client(front, Register(Limits()))
    client.connection_made(pipe)
    bodies = [b"%03d" % number + b"x" * 50_000 for number in range(200)]
    rest, most = [post(body) for body in bodies], 0
    for _ in bodies:
        read = 0
        while pipe.reading and rest:
            read += len(rest[0])
            client.data_received(rest.pop(0))
        most = max(most, read)
        client.answer(front.begun[-1], status=200, headers=[], body=b"")
    assert [request.body.whole() for request in front.begun] == bodies
    assert most < 2 * WINDOW


async def test_what_is_no_request_is_refused_and_closed(stage: Stage) -> None:
    for data, status in ((b"hello\r\n\r\n", b"501"), (b"GET / HTTP/1.1\r\n\r\n", b"400")):
        got = await exchange(stage.port, data)
        assert got.startswith(b"HTTP/1.1 " + status)
        assert b"Connection: close" in got
        assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "usage"


async def test_a_client_that_asks_whether_to_send_is_told_to(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        writer.write(post(ASK, "Expect: 100-continue")[: -len(ASK)])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(ASK)
        assert (await answer(reader))[0] == 200
    assert "expect" not in {name.lower() for name, _ in stage.engine.asked[0].headers}


async def test_a_client_that_asks_in_vain_sends_nothing(make_stage: Make) -> None:
    stage = await make_stage(max_body=1000)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n"
    got = await exchange(stage.port, head)
    assert got.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in got


async def test_chunks_from_the_client_arrive_as_one_body(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in ASK:
            writer.write(b"1\r\n%c\r\n" % byte)
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[0] == 200
    assert stage.engine.asked[0].body == ASK


async def test_an_upgrade_to_http_2_is_not_taken_up(stage: Stage) -> None:
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with connected(stage.port) as (reader, writer):
        for _ in range(2):
            writer.write(post(ASK, *lines))
            assert (await answer(reader))[0] == 200
    got = {name.lower() for name, _ in stage.engine.asked[0].headers}
    assert {"upgrade", "http2-settings"}.isdisjoint(got)
    assert stage.engine.asked[1].body == ASK


async def test_a_connection_is_used_again_after_what_has_no_body(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        for path in ("/health", "/v1/models", "/v1/models/none", "/nothing"):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert "connection" not in (await answer(reader))[1]


async def test_head_has_the_length_and_no_body(stage: Stage) -> None:
    async with connected(stage.port) as (reader, writer):
        writer.write(
            b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        status, headers, body = await answer(reader)
    assert status == 200
    assert f"Content-Length: {len(body)}".encode() in head
    assert headers["content-type"] == "application/json"


async def test_http_1_0_keeps_the_connection_only_if_asked(stage: Stage) -> None:
    assert b"Connection: close" in await exchange(stage.port, b"GET /health HTTP/1.0\r\n\r\n")
    async with connected(stage.port) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await answer(reader))[1]["connection"] == "keep-alive"


async def test_a_head_over_the_limit(make_stage: Make) -> None:
    stage = await make_stage(max_header=2000)
    got = await exchange(stage.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3000 + b"\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 431")
    assert b"gateway.max_header" in got
    endless = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000
    assert (await exchange(stage.port, endless)).startswith(b"HTTP/1.1 431")


async def test_one_connection_too_many(make_stage: Make) -> None:
    stage = await make_stage(max_connections=2)
    stage.engine.hold_after = 0
    async with connected(stage.port) as (_, one), connected(stage.port) as (two_in, two):
        one.write(post(ASK))
        await stage.engine.reached_hold.wait()
        two.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await answer(two_in)
        # The second idles, so it makes room for the third; both that are left are busy then.
        async with connected(stage.port) as (_, three):
            three.write(post(ASK))
            async with asyncio.timeout(10):
                assert await two_in.read() == b""
                while len(stage.engine.asked) < 2:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.005)
            got = await exchange(stage.port, b"")
            assert got.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 1" in got


@pytest.mark.parametrize("data", [b"GET /", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le"])
async def test_a_head_that_comes_too_slowly(make_stage: Make, data: bytes) -> None:
    stage = await make_stage(slow_client=0.1)
    async with connected(stage.port) as (reader, writer):
        writer.write(data)

        async def trickle() -> None:
            while True:  # a byte now and then is no excuse
                await asyncio.sleep(0.02)
                writer.write(b"n")

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(20):
            got = await reader.read()
        trickling.cancel()
    assert got.startswith(b"HTTP/1.1 408")


async def test_a_body_that_comes_too_slowly(make_stage: Make) -> None:
    stage = await make_stage(slow_client=0.1)
    got = await exchange(stage.port, post(ASK)[:-3])
    assert got.startswith(b"HTTP/1.1 408")
    assert not stage.engine.asked
    assert not stage.seats.leases


async def test_a_client_that_does_not_read_gives_up_its_seat(make_stage: Make) -> None:
    stage = await make_stage(slow_client=0.2)
    stage.engine.tokens = 200_000  # more than all buffers between the two
    async with connected(stage.port) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(post(b'{"model": "m", "stream": true}'))
        async with asyncio.timeout(60):
            while not (stage.engine.asked and stage.engine.asked[0].cancelled):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while stage.seats.leases:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        reader.feed_eof()


async def test_a_slow_model_is_no_slow_client(make_stage: Make) -> None:
    stage = await make_stage(slow_client=0.05)
    stage.engine.hold_after = 1
    async with stage.post(stream=True) as response:
        await response.content.readuntil(b"\n\n")
        await asyncio.sleep(0.3)
        stage.engine.go.set()
        assert (await response.read()).endswith(b"[DONE]\n\n")


async def test_the_stop_lets_answers_end_and_takes_no_more(stage: Stage) -> None:
    stage.engine.hold_after = 0
    async with connected(stage.port) as (idle_in, idle), connected(stage.port) as (reader, writer):
        idle.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await answer(idle_in)
        writer.write(post(ASK))
        await stage.engine.reached_hold.wait()
        await stage.gateway.stop_listening()
        async with asyncio.timeout(10):
            assert await idle_in.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", stage.port)
        stage.engine.go.set()
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_client_that_leaves_while_it_is_not_read_is_noticed(make_stage: Make) -> None:
    """Its body is larger than what is held while it waits, so it is paused and its end cannot be seen by reading."""
    stage = await make_stage(max_body=1000, slow_client=0.2)
    stage.seats.open.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(post(b"x" * 20_000, "x-hotseat-model: m", "Content-Type: audio/wav"))
    await stage.seats.asked.wait()
    writer.close()
    async with asyncio.timeout(20):
        while stage.seats.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_settings_change_while_it_serves(stage: Stage) -> None:
    settings = stage.gateway.settings.model_copy(update={"max_body": 20})
    stage.gateway.configure(settings)
    async with stage.post(text="x" * 100) as response:
        assert response.status == 413
    stage.gateway.configure(settings.model_copy(update={"max_body": 1000}))
    async with stage.post(text="x" * 100) as response:
        assert response.status == 200


async def test_what_is_no_request_is_refused_with_an_id_to_ask_for(stage: Stage) -> None:
    got = await exchange(stage.port, b"NONSENSE\r\n\r\n")
    assert b"\r\nx-request-id: " in got


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", b'"type":"error"'),
        ("/v1/completions", b'"error":{'),
        ("/api/chat", b'{"error":"'),
    ],
)
async def test_a_body_that_is_wrong_is_refused_as_its_dialect_says_it(stage: Stage, path: str, shape: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nx-request-id: mine-7\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = await exchange(stage.port, head.encode() + b"zz\r\n")
    assert got.startswith(b"HTTP/1.1 400")
    assert b"\r\nx-request-id: mine-7\r\n" in got
    assert (b"\r\nrequest-id: mine-7\r\n" in got) is (path == "/v1/messages")
    assert shape in got
