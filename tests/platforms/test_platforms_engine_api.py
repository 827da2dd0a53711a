"""One connection to a daemon, against a small daemon of our own that misbehaves on demand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from hotseat.errors import NotFound, PlatformFailed, Refused
from hotseat.platforms.docker import DockerPlatform
from hotseat.platforms.engine_api import EngineApi

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[EngineApi]]


def json_answer(data: object, *, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(data, status=status)

    return handler


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a daemon whose `/v1.41/thing` is the handler given; returns the connection to it."""
    runners: list[web.AppRunner] = []
    apis: list[EngineApi] = []

    async def serve(handler: Handler, *, component: str = "Engine", path: Path = tmp_path / "d.sock") -> EngineApi:
        app = web.Application()
        app.router.add_get("/version", json_answer({"ApiVersion": "1.41", "Components": [{"Name": component}]}))
        app.router.add_route("*", "/v1.41/thing", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.UnixSite(runner, str(path)).start()
        apis.append(connection(path))
        return apis[-1]

    yield serve
    for api in apis:
        await api.aclose()
    for runner in runners:
        await runner.cleanup()


def connection(path: Path) -> EngineApi:
    async def find() -> Path:
        return path

    return EngineApi(platform="docker", find_socket=find, program="docker", start_hint="start it")


async def test_an_answer_is_decoded(serve: Serve) -> None:
    api = await serve(json_answer({"a": 1}))
    assert await api.json("GET", "thing") == {"a": 1}
    assert await api.json("POST", "thing", body={}) == {"a": 1}


async def test_an_empty_answer_is_none(serve: Serve) -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.Response(status=204)

    assert await (await serve(empty)).json("POST", "thing") is None


async def test_an_answer_that_is_no_json_is_a_failure(serve: Serve) -> None:
    async def text(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    with pytest.raises(PlatformFailed, match="no JSON"):
        await (await serve(text)).json("GET", "thing")


@pytest.mark.parametrize(
    "words",
    [
        "x: image not known",
        "container 4f51fe does not exist in database: no such container",  # Podman 4.3: removed while it was inspected
    ],
)
async def test_what_podman_calls_an_error_of_its_own_is_not_found_either(serve: Serve, words: str) -> None:
    with pytest.raises(NotFound):
        await (await serve(json_answer({"message": words}, status=500))).json("GET", "thing")


async def test_what_is_not_there_is_not_found(serve: Serve) -> None:
    api = await serve(json_answer({"message": "No such container: x"}, status=404))
    with pytest.raises(NotFound, match="No such container: x") as caught:
        await api.json("GET", "thing")
    assert "docker ps -a" in caught.value.hint


@pytest.mark.parametrize("status", [400, 409, 500, 503])
async def test_the_daemons_words_come_through(serve: Serve, status: int) -> None:
    api = await serve(json_answer({"message": "cannot do that: 7"}, status=status))
    with pytest.raises(PlatformFailed, match="cannot do that: 7") as caught:
        await api.json("POST", "thing")
    assert caught.value.details["status"] == status


async def test_a_daemon_that_does_not_answer_is_given_up(serve: Serve) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    api = await serve(never)
    with pytest.raises(PlatformFailed, match=r"did not answer POST thing within 0\.1 s"):
        await api.json("POST", "thing", deadline=0.1)


async def test_a_get_is_tried_once_more_when_the_connection_dies(serve: Serve) -> None:
    calls: list[str] = []

    async def flaky(request: web.Request) -> web.Response:
        calls.append(request.method)
        if len(calls) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response("fine")

    api = await serve(flaky)
    assert await api.json("GET", "thing") == "fine"
    assert calls == ["GET", "GET"]


async def test_what_changes_something_is_never_tried_twice(serve: Serve) -> None:
    calls: list[str] = []

    async def flaky(request: web.Request) -> web.Response:
        calls.append(request.method)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    api = await serve(flaky)
    with pytest.raises(PlatformFailed, match="went away"):
        await api.json("POST", "thing")
    assert calls == ["POST"]


async def test_no_daemon_tells_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(PlatformFailed, match="no docker daemon answers") as caught:
        await connection(tmp_path / "nothing.sock").json("GET", "thing")
    assert caught.value.hint == "start it"


async def test_a_daemon_that_died_and_left_its_socket(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "stale.sock"
    server = await asyncio.start_unix_server(lambda _r, _w: None, path=str(path))
    server.close()
    await server.wait_closed()
    if not path.exists():  # Python 3.13 removes it
        os.mknod(path, 0o140600)
    with pytest.raises(PlatformFailed, match="no docker daemon answers"):
        await connection(path).json("GET", "thing")


async def test_podman_behind_dockers_socket_is_refused(serve: Serve) -> None:
    api = await serve(json_answer({}), component="Podman Engine")
    with pytest.raises(Refused, match="podman answers") as caught:
        await api.json("GET", "thing")
    assert caught.value.rule


async def test_the_daemon_may_come_back(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "late.sock"
    api = connection(path)
    with pytest.raises(PlatformFailed):
        await api.json("GET", "thing")
    await serve(json_answer("hello"), path=path)
    assert await api.json("GET", "thing") == "hello"
    await api.aclose()


async def test_lines_are_whole_however_they_arrive(serve: Serve) -> None:
    long = "x" * 300_000

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"on", b"e\ntw", b"o\n\n", long.encode(), b"\nrest"):
            await response.write(piece)
            await asyncio.sleep(0.01)
        return response

    api = await serve(stream)
    assert [line async for line in api.lines("thing", params={})] == [b"one", b"two", long.encode()]


async def test_a_stream_that_breaks_is_a_failure(serve: Serve) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    api = await serve(stream)
    heard = []

    async def listen() -> None:
        async for line in api.lines("thing", params={}):
            heard.append(line)

    with pytest.raises(PlatformFailed, match="went away"):
        await listen()
    assert heard in ([], [b"one"])


async def test_a_platform_without_a_daemon_names_all_places(tmp_path: Path) -> None:
    platform = DockerPlatform(env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(PlatformFailed, match=r"none\.sock") as caught:
        await platform.list()
    assert "DOCKER_HOST" in caught.value.hint
    await platform.aclose()
