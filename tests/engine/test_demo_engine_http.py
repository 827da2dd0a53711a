"""HTTP as hostile and as odd clients speak it, byte by byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest

from hotseat.demo import EngineSpec, RunningEngine

BODY = json.dumps({"model": "demo", "prompt": "a", "max_tokens": 2}).encode()
POST = b"POST /v1/completions HTTP/1.1\r\nHost: h\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: h\r\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection that sends exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer:
        async with asyncio.timeout(30):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            body = b"" if head_only else await self.reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(int(first.split()[1]), headers, body)

    async def closed(self) -> bytes:
        """What still comes before the server closes."""
        async with asyncio.timeout(30):
            return await self.reader.read()


@pytest.fixture
async def engine(start) -> RunningEngine:
    return await start(EngineSpec(max_context=256))


@pytest.fixture
async def dial(engine: RunningEngine):
    writers = []

    async def dial() -> Wire:
        host, port = engine.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writers.append(writer)
        return Wire(reader, writer)

    yield dial
    for writer in writers:
        writer.close()


async def test_many_requests_on_one_connection(dial) -> None:
    wire = await dial()
    for _ in range(3):
        await wire.send(POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        answer = await wire.answer()
        assert (answer.status, json.loads(answer.body)["usage"]["completion_tokens"]) == (200, 2)
    await wire.send(GET + b"Connection: close\r\n\r\n")
    assert (await wire.answer()).headers["connection"] == "close"
    assert await wire.closed() == b""


async def test_pipelined_requests_are_answered_in_order(dial) -> None:
    wire = await dial()
    await wire.send(GET + b"\r\n" + b"\r\n" + b"GET /nix HTTP/1.1\r\nHost: h\r\n\r\n" + GET + b"\r\n")
    assert [(await wire.answer()).status for _ in range(3)] == [200, 404, 200]


async def test_a_chunked_body_in_small_pieces(dial) -> None:
    wire = await dial()
    head = POST + b"transfer-encoding: Chunked\r\nExpect: 100-continue\r\n\r\n"
    chunks = b"".join(b"%x;name=value\r\n%c\r\n" % (1, byte) for byte in BODY) + b"0\r\nTrailer: x\r\n\r\n"
    await wire.send(head)
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    for start in range(0, len(chunks), 7):
        await wire.send(chunks[start : start + 7])
    assert (await wire.answer()).status == 200
    await wire.send(GET + b"\r\n")
    assert (await wire.answer()).status == 200


async def test_a_stream_is_chunked_and_the_connection_goes_on(dial) -> None:
    wire = await dial()
    body = BODY[:-1] + b', "stream": true}'
    await wire.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    events = b""
    while size := int(await wire.reader.readline(), 16):
        events += await wire.reader.readexactly(size)
        assert await wire.reader.readexactly(2) == b"\r\n"
    assert await wire.reader.readexactly(2) == b"\r\n"
    assert events.endswith(b"data: [DONE]\n\n")
    await wire.send(GET + b"\r\n")
    assert (await wire.answer()).status == 200


async def test_http_1_0_streams_until_it_closes(dial) -> None:
    wire = await dial()
    body = BODY[:-1] + b', "stream": true}'
    await wire.send(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = await wire.closed()
    assert b"chunked" not in answer.lower()
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_keeps_alive_only_on_request(dial) -> None:
    wire = await dial()
    await wire.send(b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert (await wire.answer()).headers["connection"] == "keep-alive"
    await wire.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert (await wire.answer()).status == 200
    assert await wire.closed() == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS to a plain port
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET  /health HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /h\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (GET + b"No colon\r\n\r\n", 400),
        (GET + b"Space : x\r\n\r\n", 400),
        (GET + b"A: b\r\n folded\r\n\r\n", 400),
        (GET + b"A: b\nC: d\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\nHost: h\n\n\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (GET + b"A: " + b"b" * 40000 + b"\r\n\r\n", 431),
        (GET + b"A: b\r\n" * 120 + b"\r\n", 431),
        (GET + b"Expect: a miracle\r\n\r\n", 417),
        (POST + b"\r\n", 411),
        (POST + b"Content-Length: x\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 1, 2\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (POST + b"Content-Length: 9000000\r\n\r\n", 413),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\nab", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", 413),
    ],
)
async def test_what_is_not_plainly_right_is_refused_and_the_connection_closed(dial, request_bytes, status) -> None:
    wire = await dial()
    await wire.send(request_bytes)
    answer = await wire.answer()
    assert answer.status == status, answer.body
    assert answer.headers["connection"] == "close"
    assert json.loads(answer.body)["error"]["message"]
    assert await wire.closed() == b""


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": "demo"} x', b"\xff", b'{"a": "\xed\xa0\x80"}', b"[" * 100, b'{"a": 01}']
)
async def test_bodies_that_are_no_object_are_refused_and_the_connection_kept(dial, body) -> None:
    wire = await dial()
    await wire.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await wire.answer()
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"
    await wire.send(GET + b"\r\n")
    assert (await wire.answer()).status == 200


async def test_the_answer_arrives_although_the_client_still_sends(dial) -> None:
    """A server that closes with unread bytes resets the connection, and the client never sees why."""
    wire = await dial()
    wire.writer.write(POST + b"Content-Length: 99999999\r\n\r\n" + b"x" * 500_000)
    assert (await wire.answer()).status == 413


async def test_a_client_that_leaves_cancels_its_answer(start, http) -> None:
    """The first answer has reserved the whole cache for minutes; the second can only come once it is dropped."""
    for stream in (True, False):
        engine = await start(EngineSpec(kv_bytes=64 << 10, max_context=128, tokens_per_second=2))
        host, port = engine.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"model": "demo", "prompt": "a", "max_tokens": 120, "stream": stream}).encode()
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if stream:
            await reader.readuntil(b"data: ")
        waiting = asyncio.create_task(
            http.post(f"{engine.url}/v1/completions", json={"model": "demo", "prompt": "b", "max_tokens": 1})
        )
        writer.close()
        async with asyncio.timeout(20), await waiting as response:
            assert response.status == 200


async def test_a_client_that_leaves_the_queue(start, http) -> None:
    engine = await start(EngineSpec(kv_bytes=64 << 10, max_context=128, tokens_per_second=50))
    big = {"model": "demo", "prompt": "a", "max_tokens": 100}
    running = asyncio.create_task(http.post(f"{engine.url}/v1/completions", json=big))
    queued = [asyncio.create_task(http.post(f"{engine.url}/v1/completions", json=big)) for _ in range(20)]
    await asyncio.sleep(0.1)
    for task in queued:
        task.cancel()
    await asyncio.gather(*queued, return_exceptions=True)
    async with await running as response:
        assert (await response.json())["usage"]["completion_tokens"] == 100
    async with (
        asyncio.timeout(20),
        http.post(f"{engine.url}/v1/completions", json={**big, "max_tokens": 3}) as response,
    ):
        assert response.status == 200


async def test_500_connections_at_once(start, http) -> None:
    engine = await start(EngineSpec(weights_bytes=4096, kv_bytes=2 << 20, max_context=64))
    host, port = engine.url.removeprefix("http://").split(":")
    request = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

    async def one() -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        wire = Wire(reader, writer)
        answer = await wire.answer()
        writer.close()
        return answer.status

    assert await asyncio.gather(*(one() for _ in range(500))) == [200] * 500
