"""Bytes and headers pass as they are, both ways."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable

import pytest
from gateway_stage import Stage
from yarl import URL

from hotseat.gateway import headers


async def test_a_body_is_never_encoded_anew(stage: Stage) -> None:
    body = b'{ "stream":false,\n "x": 1.0e2,  "model" : "m", "t": "\\u00e9\xc3\xa9", "model2": "n"}'
    url = URL(stage.url + "/v1/chat/completions?a=b%2Fc", encoded=True)
    async with stage.client.post(url, data=body) as response:
        assert response.status == 200
        assert (await response.json())["choices"][0]["message"]["content"] == "t0 t1 t2 t3 t4 "
    (asked,) = stage.engine.asked
    assert asked.body == body
    assert asked.path == "/v1/chat/completions?a=b%2Fc"


async def test_a_stream_is_byte_for_byte_the_engines(stage: Stage) -> None:
    stage.engine.tokens = 300
    async with stage.post(stream=True) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert await response.read() == stage.engine.whole_stream


async def test_a_token_arrives_before_the_next_is_made(stage: Stage) -> None:
    stage.engine.hold_after = 1
    async with stage.post(stream=True) as response:
        assert await response.content.readuntil(b"\n\n") == stage.engine.token(0)
        stage.engine.go.set()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_any_endpoint_that_names_a_model_in_json(stage: Stage) -> None:
    for path in ("/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/some/thing/new"):
        async with stage.post(path) as response:
            assert response.status == 200
    assert [asked.path for asked in stage.engine.asked][-1] == "/v1/some/thing/new"


async def test_headers_of_this_hop_stay_and_all_others_pass(stage: Stage) -> None:
    sent = {
        "Authorization": "Bearer x",
        "X-Custom": "1",
        "Connection": "keep-alive, X-Only-Here",
        "X-Only-Here": "1",
        "TE": "trailers",
        "X-Request-Id": "abc-1",
    }
    stage.seats.swapped = True
    async with stage.client.post(stage.url + "/v1/chat/completions", json={"model": "m"}, headers=sent) as response:
        assert response.headers["X-Engine"] == "fake"
        assert response.headers[headers.REQUEST_ID] == "abc-1"
        assert response.headers[headers.WAITED] == "250"
        assert response.headers[headers.WORKLOAD] == "m"
        assert response.headers[headers.SWAPPED] == "1"
    got = {name.lower(): value for name, value in stage.engine.asked[0].headers}
    assert got["authorization"] == "Bearer x"
    assert got["x-custom"] == "1"
    assert got["x-request-id"] == "abc-1"
    assert got["host"] == stage.engine.url.removeprefix("http://")
    assert {"x-only-here", "te"}.isdisjoint(got)


async def test_an_id_is_made_where_none_or_a_harmful_one_came(stage: Stage) -> None:
    async with stage.post() as response:
        assert len(response.headers[headers.REQUEST_ID]) == 32
    bad = {"X-Request-Id": "a b;c"}
    async with stage.client.get(stage.url + "/v1/models", headers=bad) as response:
        assert len(response.headers[headers.REQUEST_ID]) == 32


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_request_is_read_and_passes_as_it_came(
    stage: Stage, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(json.dumps({"model": "m"}).encode())
    async with stage.client.post(
        stage.url + "/v1/completions", data=packed, headers={"Content-Encoding": coding}
    ) as response:
        assert response.status == 200
    (asked,) = stage.engine.asked
    got = {name.lower(): value for name, value in asked.headers}
    assert (got["content-encoding"], got["content-length"]) == (coding, str(len(packed)))
    assert json.loads(asked.body) == {"model": "m"}


async def test_a_coding_that_nobody_here_reads(stage: Stage) -> None:
    for headers_, status in (({"Content-Encoding": "br"}, 415), ({"Content-Encoding": "gzip"}, 400)):
        async with stage.client.post(stage.url + "/v1/completions", data=b"xx", headers=headers_) as response:
            assert response.status == status
    assert not stage.engine.asked


async def test_a_small_body_of_any_size_unpacked(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    stage = await make_stage(max_body=10_000)
    bomb = gzip.compress(b'{"model": "m", "x": "' + b"0" * 1_000_000 + b'"}')
    assert len(bomb) < 10_000
    async with stage.client.post(
        stage.url + "/v1/completions", data=bomb, headers={"Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 413


async def test_an_engines_own_refusal_passes_untouched(stage: Stage) -> None:
    stage.engine.status = 422
    async with stage.post(stream=True) as response:
        assert response.status == 422
        assert await response.json() == {"error": {"message": "the engine refuses"}}


async def test_a_pooled_connection_that_went_stale_is_replaced(stage: Stage) -> None:
    for _ in range(3):
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(_ok(stage))
        stage.engine.drop_connections()
    assert len(stage.engine.asked) == 12


async def _ok(stage: Stage) -> None:
    async with stage.post() as response:
        assert response.status == 200, await response.text()


async def test_a_new_connection_that_breaks_is_not_tried_twice(stage: Stage) -> None:
    stage.engine.break_after = 0
    async with stage.post() as response:
        assert response.status == 502
    assert len(stage.engine.asked) == 1


async def test_the_gateways_own_pages(stage: Stage) -> None:
    async with stage.client.get(stage.url + "/health") as response:
        assert await response.json() == {"status": "ok"}
    async with stage.client.get(stage.url + "/v1/models") as response:
        (entry,) = (await response.json())["data"]
        assert (entry["id"], entry["object"]) == ("m", "model")
        assert entry["hotseat"]["state"] == "seated"
    async with stage.client.get(stage.url + "/v1/models/m") as response:
        assert (await response.json())["id"] == "m"
    async with stage.client.get(stage.url + "/v1/models/x/y") as response:
        assert response.status == 404


async def test_the_openai_client_reads_it(stage: Stage) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="none", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["m"]
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == "t0 t1 t2 t3 t4 "


async def test_a_hundred_streams_at_once_do_not_mix(stage: Stage) -> None:
    stage.engine.tokens = 50

    async def one() -> bytes:
        async with stage.post(stream=True) as response:
            return await response.read()

    answers = await asyncio.gather(*(one() for _ in range(100)))
    assert set(answers) == {stage.engine.whole_stream}


async def test_http_1_0_clients_get_the_whole_body(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    body = b'{"model": "m", "stream": true}'
    writer.write(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.partition(b"\r\n\r\n")[2] == stage.engine.whole_stream
