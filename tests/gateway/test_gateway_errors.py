"""Errors in OpenAI's shape, each with the status that its client libraries act on."""

import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from gateway_stage import Stage

from hotseat.errors import NoRoom, Quarantined, Unavailable, UsageError
from hotseat.gateway import Gateway
from hotseat.testing.seats import FakeSeats


async def test_an_unknown_model_lists_those_there_are(stage: Stage) -> None:
    async with stage.client.post(stage.url + "/v1/completions", json={"model": "gpt"}) as response:
        error = (await response.json())["error"]
        assert response.status == 404
        assert response.headers["x-request-id"]
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    assert "there are: m" in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": 3}', b'{"model": ""}', b"\xff\xfe", b'"m"'])
async def test_a_body_that_names_no_model(stage: Stage, body: bytes) -> None:
    async with stage.client.post(stage.url + "/v1/completions", data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoRoom("full", retry_after=2.1), "no_room"),
        (Unavailable("late", retry_after=2.1), "unavailable"),
        (Quarantined("restore ran out of memory", retry_after=2.1), "quarantined"),
    ],
)
async def test_what_cannot_be_seated_says_when_to_come_again(stage: Stage, error: Exception, code: str) -> None:
    stage.seats.error = error  # type: ignore[assignment]
    async with stage.post(stream=True) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "3"
        assert (await response.json())["error"]["code"] == code


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the request has no body, and names no model"),
        (b"{", "the body is not a JSON object"),
        (b"{}", "the request names no model"),
        (b'{"model": 3}', "the request's `model` is no name"),
    ],
)
async def test_a_request_without_a_model_is_told_where_to_name_it(stage: Stage, body: bytes, said: str) -> None:
    async with stage.client.post(stage.url + "/v1/chat/completions", data=body) as response:
        message = (await response.json())["error"]["message"]
    assert message.startswith(said)
    assert '"model": "NAME"' in message


@pytest.mark.parametrize(
    ("query", "header"),
    [("?model=m", {}), ("", {"x-hotseat-model": "m"}), ("?model=m", {"content-type": "application/json"})],
)
async def test_the_ways_that_it_is_told_of_are_ways(stage: Stage, query: str, header: dict[str, str]) -> None:
    """Of a request without a body."""
    async with stage.client.get(stage.url + "/v1/files" + query, headers=header) as response:
        await response.read()
        assert response.headers["x-hotseat-workload"] == "m"


async def test_a_refusal_tells_what_an_answer_would_as_far_as_it_got(stage: Stage) -> None:
    stage.seats.error = Unavailable("late", retry_after=2.1, workload="m", swapped=True)
    async with stage.post() as response:
        assert response.status == 503
        assert int(response.headers["x-hotseat-waited-ms"]) >= 0
        assert response.headers["x-hotseat-workload"] == "m"
        assert response.headers["x-hotseat-swapped"] == "1"
        assert response.headers["x-hotseat-state"] == "seated"


async def test_an_engine_that_failed_is_named_in_the_headers(stage: Stage) -> None:
    stage.engine.break_after = 0
    async with stage.post() as response:
        assert response.status == 502
        assert response.headers["x-hotseat-workload"] == "m"
        assert response.headers["x-hotseat-waited-ms"] == "250"
        assert response.headers["x-hotseat-swapped"] == "0"


@pytest.mark.parametrize(("model", "status"), [(3, 400), ("gpt", 404)])
async def test_what_was_never_asked_a_seat_for_tells_none(stage: Stage, model: object, status: int) -> None:
    async with stage.client.post(stage.url + "/v1/completions", json={"model": model}) as response:
        assert response.status == status
        assert not [name for name in response.headers if name.lower().startswith("x-hotseat")]


async def test_a_dead_engine_is_tried_once_more_and_then_502(stage: Stage) -> None:
    await stage.engine.stop()
    async with stage.post() as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "engine_failed"
    assert stage.seats.given == 2
    assert not stage.seats.leases


async def test_a_stream_that_breaks_off_ends_with_an_error_event(stage: Stage) -> None:
    stage.engine.break_after = 2
    async with stage.post(stream=True) as response:
        body = await response.read()
    first = stage.engine.token(0) + stage.engine.token(1)
    assert body.startswith(first)
    event, done, _ = body.removeprefix(first).split(b"\n\n")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "engine_failed"
    assert done == b"data: [DONE]"


async def test_a_body_that_breaks_off_does_not_look_whole(stage: Stage) -> None:
    from aiohttp import web

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"half":')
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", half)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.seats.urls["m"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with pytest.raises(aiohttp.ClientError):
            async with stage.post() as response:
                await response.read()
    finally:
        await runner.cleanup()


async def test_a_body_over_the_limit(make_stage: Callable[..., Awaitable[Stage]]) -> None:
    stage = await make_stage(max_body=1000)
    async with stage.post(text="x" * 2000) as response:
        assert response.status == 413
        assert "1000 bytes" in (await response.json())["error"]["message"]
    async with stage.post(text="x" * 900) as response:
        assert response.status == 200


async def test_paths_and_methods_that_are_not_served(stage: Stage) -> None:
    async with stage.client.get(stage.url + "/nothing") as response:
        assert response.status == 404
        assert "is not served here" in (await response.json())["error"]["message"]
    async with stage.client.put(stage.url + "/v1/completions", json={}) as response:
        assert response.status == 405


async def test_the_openai_client_raises_its_own_types(stage: Stage) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="there are: m"):
            await client.embeddings.create(model="gpt", input="x")
        stage.seats.error = Quarantined("lost its memory")
        with pytest.raises(openai.InternalServerError, match="lost its memory"):
            await client.embeddings.create(model="m", input="x")
        stage.seats.error = None
        stage.engine.break_after = 2
        stream = await client.completions.create(model="m", prompt="x", stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass


async def test_a_port_that_is_taken(stage: Stage) -> None:
    with pytest.raises(UsageError, match="cannot listen") as caught:
        await Gateway(FakeSeats({})).start(host="127.0.0.1", port=stage.port)
    assert "gateway.host" in caught.value.hint
