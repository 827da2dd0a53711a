"""Connections to engines, byte by byte: used again, replaced when stale, strict about what comes back."""

import asyncio
import contextlib
import socket
import ssl

import aiohttp
import pytest
from gateway_stage import Stage
from wire import answer, asked, connected, engine_that, exchange, post

from hotseat.gateway.http.pool import Pool
from hotseat.gateway.port import Unreachable

ASK = b'{"model": "m"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_one_connection_serves_many_requests(stage: Stage) -> None:
    connections = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while True:
            await asked(reader)
            writer.write(OK)

    async with engine_that(talk) as stage.seats.urls["m"]:
        for _ in range(5):
            async with stage.post() as response:
                assert await response.read() == b"ok"
    assert len(connections) == 1


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        OK + b"x",
    ],
)
async def test_a_connection_that_said_more_or_will_close_is_not_used_again(stage: Stage, last: bytes) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        while True:
            await asked(reader)
            writer.write(last)

    async with engine_that(talk) as stage.seats.urls["m"]:
        for _ in range(3):
            async with stage.post() as response:
                assert await response.read() == b"ok"
    assert count == 3


async def test_an_answer_to_nobody_is_never_somebodys(stage: Stage) -> None:
    """An engine that speaks on an idle connection has lost count; its words must not answer the next request."""
    spoke = asyncio.Event()
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await asked(reader)
        writer.write(OK)
        if count == 1:
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            spoke.set()

    async with engine_that(talk) as stage.seats.urls["m"]:
        for _ in range(2):
            async with stage.post() as response:
                assert await response.read() == b"ok"
            await spoke.wait()


async def test_a_stale_connection_is_replaced_once_and_the_body_sent_again(stage: Stage) -> None:
    bodies = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await asked(reader))[1])
        writer.write(OK)
        bodies.append((await asked(reader))[1])  # taken, and not answered: closed as an idle one would be

    async with engine_that(talk) as stage.seats.urls["m"]:
        for number in range(2):
            async with stage.post(number=number) as response:
                assert await response.read() == b"ok"
    assert len(bodies) == 3
    assert bodies[1] == bodies[2]
    assert stage.seats.given == 2


async def test_after_the_first_byte_nothing_is_sent_twice(stage: Stage) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await asked(reader)
        count += 1
        writer.write(OK)
        await asked(reader)
        count += 1
        writer.write(b"HTTP/1.1 2")

    async with engine_that(talk) as stage.seats.urls["m"]:
        for status in (200, 502):
            async with stage.post() as response:
                assert response.status == status
    assert count == 2


async def test_a_swap_throws_the_idle_connections_away(stage: Stage) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        while True:
            await asked(reader)
            writer.write(OK)

    async with engine_that(talk) as stage.seats.urls["m"]:
        async with stage.post() as response:
            assert response.status == 200
        stage.seats.at_once, stage.seats.swapped = False, True
        async with stage.post() as response:
            assert response.headers["x-hotseat-swapped"] == "1"
    assert count == 2


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    ],
)
async def test_an_answer_that_is_none_is_502(stage: Stage, said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(said)
        await reader.read()

    async with engine_that(talk) as stage.seats.urls["m"], stage.post() as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "engine_failed"
    assert not stage.seats.leases


async def test_interim_answers_and_trailers_pass(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        writer.write(b"0\r\nX-Sum: 1\r\nHost: other\r\n\r\n")
        await reader.read()

    async with engine_that(talk) as stage.seats.urls["m"]:
        got = await exchange(stage.port, post(ASK, "Connection: close"))
    interim, _, rest = got.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 103 Early Hints\r\nLink: </a>"
    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert rest.endswith(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")


async def test_an_answer_that_ends_with_its_connection(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of ")
        await writer.drain()
        writer.write(b"it")
        await writer.drain()
        writer.close()

    async with engine_that(talk) as stage.seats.urls["m"], stage.post() as response:
        assert await response.read() == b"all of it"


async def test_an_answer_cut_in_any_place_is_the_same(stage: Stage) -> None:
    whole = b"HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n"
    cut = 1

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asked(reader)
            for at in range(0, len(whole), cut):
                writer.write(whole[at : at + cut])
                await asyncio.sleep(0)

    async with engine_that(talk) as stage.seats.urls["m"]:
        for size in (1, 2, 3, 7, 50, 1000):
            cut = size
            async with stage.post() as response:
                assert (await response.read(), response.headers["X"]) == (b"hello there", "1")


async def test_a_head_that_came_before_answers_with_its_own_length(stage: Stage) -> None:
    sizes = iter(range(5))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asked(reader)
            size = next(sizes)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX: 1\r\n\r\n" % size + b"x" * size)

    async with engine_that(talk) as stage.seats.urls["m"]:
        for size in range(5):
            async with stage.post() as response:
                assert (await response.read(), response.headers["X"]) == (b"x" * size, "1")


async def test_a_client_of_http_1_0_sees_a_broken_answer_as_broken(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        writer.close()

    ask = post(ASK).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with engine_that(talk) as stage.seats.urls["m"]:
        with pytest.raises(ConnectionResetError):
            await exchange(stage.port, ask)


async def test_back_pressure_from_a_client_that_reads_later(stage: Stage) -> None:
    """What the engine could write is bounded while the client does not read, and all of it arrives afterwards."""
    written = 0
    piece = b"x" * 65536

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2000 * len(piece)))
        for _ in range(2000):
            writer.write(piece)
            await writer.drain()
            written += len(piece)
        await reader.read()

    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(post(ASK))
        before = -1
        while written != before or not written:
            before = written
            await asyncio.sleep(0.2)
        # The rest is in the kernel's socket buffers, of which there are four and which grow to 6 MiB.
        assert written < 40 * 2**20
        with contextlib.suppress(RuntimeError):
            writer.transport.resume_reading()
        status, _, body = await answer(reader)
        assert (status, len(body)) == (200, 2000 * len(piece))


async def test_an_engine_that_answers_before_the_body_has_come(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    head = post(b"x" * 100, "x-hotseat-model: m", "Content-Type: audio/wav")[:-50]
    async with engine_that(talk) as stage.seats.urls["m"], connected(stage.port) as (reader, writer):
        writer.write(head)
        status, headers, body = await answer(reader)
        assert (status, headers["connection"], body) == (413, "close", b"no")
    assert not stage.seats.leases


async def test_the_client_library_sees_a_broken_body(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await writer.drain()

    async with engine_that(talk) as stage.seats.urls["m"]:
        with pytest.raises(aiohttp.ClientError):
            async with stage.post() as response:
                await response.read()


async def test_certificates_are_read_once_for_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ssl.SSLContext] = []
    context = ssl.create_default_context()
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(context) or context)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        pool = Pool()
        for _ in range(2):
            with pytest.raises(Unreachable):
                await pool.connect(f"https://127.0.0.1:{nobody.getsockname()[1]}")
    assert len(read) == 1
