"""Many clients that do anything at once, engines that do anything too, seats that come and go: no answer is another's,
and nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from gateway_stage import Stage
from wire import engine_that

Make = Callable[..., Awaitable[Stage]]
GOOD = ["whole", "chunked", "stream", "large stream", "until closed", "closes", "says more", "nothing", "late"]
BAD = ["refuses early", "breaks off", "breaks off in the middle"]
PATIENCE = 60.0


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def body(reader: asyncio.StreamReader, of: bytes) -> bytes:
    """Of a message with that head."""
    names = dict(line.lower().split(b": ", 1) for line in of.split(b"\r\n")[1:] if line)
    if names.get(b"transfer-encoding") == b"chunked":
        out = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            out += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return out
    if b"content-length" in names:
        return await reader.readexactly(int(names[b"content-length"]))
    return await reader.read() if of.startswith(b"HTTP/1.1 200") else b""


@dataclass
class Play:
    dice: random.Random
    made: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    async def engine(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            way = self.dice.choice(GOOD * 4 + BAD)
            if b"Upgrade: echo" in asked:
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
                return
            if way == "refuses early":
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nnever")
                await writer.drain()
            digest = hashlib.sha256(await body(reader, asked)).hexdigest().encode()
            match way:
                case "breaks off":
                    return
                case "breaks off in the middle":
                    writer.write(head("Content-Length: 5000") + digest)
                case "until closed":
                    writer.write(head("Connection: close") + digest)
                case "closes":
                    writer.write(head("Connection: close", f"Content-Length: {len(digest)}") + digest)
                case "says more":
                    writer.write(head(f"Content-Length: {len(digest)}") + digest + head("Content-Length: 4") + b"evil")
                case "nothing":
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                case "chunked":
                    writer.write(head("Transfer-Encoding: chunked"))
                    for at in range(0, len(digest), 7):
                        writer.write(chunk(digest[at : at + 7]))
                        await asyncio.sleep(0)
                    writer.write(b"0\r\n\r\n")
                case "stream" | "large stream":
                    writer.write(head("Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
                    for _ in range(200 if way == "large stream" else 5):
                        writer.write(
                            chunk(b"data: " + digest + b"z" * (3000 if way == "large stream" else 0) + b"\n\n")
                        )
                        await writer.drain()
                    writer.write(b"0\r\n\r\n")
                case "whole" | "late":
                    await asyncio.sleep(0.05 if way == "late" else 0)
                    writer.write(head(f"Content-Length: {len(digest)}") + digest)
            await writer.drain()
            if way in ("until closed", "closes", "breaks off in the middle"):
                return

    def request(self) -> tuple[bytes, bytes, bytes]:
        """(its id, the digest of its body, its bytes)."""
        self.made += 1
        kind = self.dice.choice(["json", "json", "stream", "large", "form", "form", "upload", "get"])
        lines, path = [f"x-request-id: r{self.made}", "Host: localhost"], "/v1/completions"
        data = self.dice.randbytes(self.dice.choice([10, 5000, 300_000]))
        if kind == "form":
            parts = [
                b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n',
                b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n",
            ]
            data = b"".join(self.dice.sample(parts, 2)) + b"--B--\r\n"
            lines.append("Content-Type: multipart/form-data; boundary=B")
        elif kind == "upload":
            lines += ["x-hotseat-model: m", "Content-Type: audio/wav"]
        elif kind == "get":
            data, path = b"", "/v1/anything?model=m"
        else:
            text = {"model": "m", "stream": kind == "stream", "pad": "p" * (400_000 if kind == "large" else 50)}
            data = json.dumps(text).encode()
        wire = data
        if kind == "get":
            pass
        elif self.dice.random() < 0.4:
            lines.append("Transfer-Encoding: chunked")
            cut = self.dice.randrange(len(data))
            wire = b"".join(chunk(piece) for piece in (data[:1], data[1:cut], data[max(cut, 1) :]) if piece)
            wire += b"0\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(data)}")
        begin = f"{'GET' if kind == 'get' else 'POST'} {path} HTTP/1.1\r\n" + "".join(line + "\r\n" for line in lines)
        return b"r%d" % self.made, hashlib.sha256(data).hexdigest().encode(), begin.encode() + b"\r\n" + wire

    async def client(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                for _ in range(self.dice.randint(1, 5)):
                    if not await (self.tunnels if self.dice.random() < 0.1 else self.asks)(reader, writer):
                        break
        (writer.transport.abort if self.dice.random() < 0.5 else writer.close)()

    async def tunnels(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        said = self.dice.randbytes(self.dice.choice([5, 200_000]))
        ask = "GET /v1/t?model=m HTTP/1.1\r\nHost: localhost\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
        writer.write(ask.encode() + said[:5])
        if b" 101 " in await reader.readuntil(b"\r\n\r\n"):
            writer.write(said[5:])
            assert await reader.readexactly(len(said)) == said
            self.seen["tunnel"] += 1
        return False

    async def asks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Several requests at once; whether the connection may be used again."""
        made = [self.request() for _ in range(self.dice.choice([1, 1, 1, 2, 5]))]
        data, does = b"".join(wire for _, _, wire in made), self.dice.random()
        if does < 0.1:
            writer.write(data[: self.dice.randrange(len(data))])
            await asyncio.sleep(0.01)
            return False
        sending = asyncio.create_task(self.send(writer, data))
        try:
            if does < 0.2:
                await asyncio.sleep(0.02)
                return False
            for identity, digest, _ in made:
                answered = await reader.readuntil(b"\r\n\r\n")
                said = await body(reader, answered)
                status = answered.split()[1]
                assert b"\r\nx-request-id: %b\r\n" % identity in answered
                if status == b"200":
                    assert digest in said or b'"error"' in said
                self.seen[status.decode()] += 1
                if b"Connection: close" in answered:
                    return False
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return True

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        at = 0
        while at < len(data):
            size = self.dice.choice([100, 5000, 100_000, 10**7])
            writer.write(data[at : at + size])
            at += size
            await writer.drain()
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_anybody_does_no_answer_is_anothers_and_nothing_is_left(make_stage: Make, seed: int) -> None:
    play = Play(random.Random(seed))
    stage = await make_stage(keepalive=0.02, max_body=2**22, max_held=2**26)
    seats = stage.seats

    async def doors() -> None:
        """Seats come and go, and so do those who have one."""
        while True:
            seats.at_once = play.dice.random() < 0.7
            seats.open.set()
            await asyncio.sleep(0.05)
            seats.open.clear()
            for lease in list(seats.leases):
                lease.frozen = play.dice.random() < 0.3
            await asyncio.sleep(0.02)

    async with engine_that(play.engine) as seats.urls["m"]:
        swinging = asyncio.create_task(doors())
        for _ in range(8):
            await asyncio.gather(*(play.client(stage.port) for _ in range(20)))
        swinging.cancel()
        seats.open.set()
        async with asyncio.timeout(PATIENCE):
            while seats.leases or seats.waiting or len(stage.gateway._register or ()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert stage.gateway.held_bytes == 0
    assert play.seen["200"] > 50
    assert play.seen["tunnel"]
