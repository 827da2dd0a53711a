"""Whose a request is, and the shape of what hotseat itself says in each of the three APIs."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import ollama as ollama_sdk
import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from hotseat import errors
from hotseat.errors import HotseatError, NotFound, UsageError
from hotseat.gateway.dialects import naming
from hotseat.gateway.dialects.anthropic import Anthropic
from hotseat.gateway.dialects.naming import Named
from hotseat.gateway.dialects.ollama import Ollama, OllamaTexts, resolve
from hotseat.gateway.dialects.openai import OpenAI, OpenAISpeech
from hotseat.gateway.dialects.port import Asked, Dialect
from hotseat.gateway.dialects.saying import retry_after
from hotseat.gateway.dialects.table import DIALECTS, owner
from hotseat.gateway.port import ModelView
from hotseat.words import State

GIB = 2**30
VIEWS = [
    ModelView(
        id="llama",
        workload="w",
        state=State.SEATED,
        running=2,
        gpu_bytes=5 * GIB,
        needs_bytes=5 * GIB,
        expected_wait=0.0,
    ),
    ModelView(
        id="org/qwen:7b", workload="q", state=State.PARKED, waiting=3, needs_bytes=7 * GIB, expected_wait=1.23456
    ),
    ModelView(id="lost", workload="l", state=State.QUARANTINED, expected_wait=None, note="it lost its memory"),
]
ASKED = Asked(models=VIEWS, created=1_700_000_000)


def whose(path: str) -> Dialect | None:
    return owner(path, {}.get)


def page(dialect: Dialect, path: str, *, method: str = "GET", body: bytes = b"", views: list[ModelView] = VIEWS) -> Any:
    found = dialect.page(method, path)
    assert found is not None
    reply = found(Asked(models=views, created=1_700_000_000, body=body))
    assert (reply.status, dict(reply.headers)) == (200, {"Content-Type": "application/json"})
    assert isinstance(reply.body, bytes)
    return json.loads(reply.body)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", OpenAI),
        ("/v1/models", OpenAI),
        ("/v1/audio/transcriptions", OpenAI),
        ("/v1/audio/speech", OpenAISpeech),
        ("/v1/messagesx", OpenAI),
        ("/v2/rerank", OpenAI),
        ("/rerank", OpenAI),
        ("/score", OpenAI),
        ("/infill", OpenAI),
        ("/v1/messages", Anthropic),
        ("/v1/messages/count_tokens", Anthropic),
        ("/api/chat", OllamaTexts),
        ("/api/generate", OllamaTexts),
        ("/api/embed", Ollama),
        ("/api/tags", Ollama),
        ("/api/nonsense", Ollama),
        ("/", Ollama),
    ],
)
def test_whose_a_request_is(path: str, kind: type) -> None:
    dialect = whose(path)
    assert type(dialect) is kind


def test_anthropics_clients_show_who_they_are() -> None:
    versioned = {"anthropic-version": "2023-06-01"}
    assert isinstance(owner("/v1/models", versioned.get), Anthropic)
    assert isinstance(owner("/v1/nonsense", versioned.get), Anthropic)
    assert isinstance(owner("/api/chat", versioned.get), Ollama)
    assert whose("/elsewhere") is None


@pytest.mark.parametrize(
    ("method", "path", "serves"),
    [
        ("POST", "/v1/chat/completions", True),
        ("GET", "/v1/realtime", True),
        ("DELETE", "/v1/responses/resp_1", True),
        ("PUT", "/v1/completions", False),
        ("POST", "/v1/models", False),
        ("DELETE", "/v1/models/x", False),
        ("POST", "/rerank", True),
        ("GET", "/rerank", False),
        ("POST", "/v1/messages", True),
        ("POST", "/v1/messages/count_tokens", True),
        ("PATCH", "/v1/messages", False),
        ("POST", "/api/chat", True),
        ("GET", "/api/chat", False),
        ("POST", "/api/embed", True),
        ("POST", "/api/pull", False),
        ("DELETE", "/api/delete", False),
        ("POST", "/api/tags", False),
    ],
)
def test_what_passes_to_an_engine(method: str, path: str, serves: bool) -> None:
    dialect = whose(path)
    assert dialect is not None
    assert dialect.serves(method, path) is serves


def test_openais_list_of_models_tells_states_and_waits() -> None:
    shown = page(OpenAI(), "/v1/models")
    assert [Model.model_validate(entry).id for entry in shown["data"]] == ["llama", "org/qwen:7b", "lost"]
    assert [entry["hotseat"] for entry in shown["data"]] == [
        {"workload": "w", "state": "seated", "waiting": 0, "running": 2, "expected_wait_s": 0.0},
        {"workload": "q", "state": "parked", "waiting": 3, "running": 0, "expected_wait_s": 1.235},
        {
            "workload": "l",
            "state": "quarantined",
            "waiting": 0,
            "running": 0,
            "expected_wait_s": None,
            "note": "it lost its memory",
        },
    ]
    assert page(OpenAI(), "/v1/models/org/qwen:7b") == shown["data"][1]


def test_anthropics_list_of_models() -> None:
    shown = page(Anthropic(), "/v1/models")
    models = [ModelInfo.model_validate(entry) for entry in shown["data"]]
    assert [(model.id, model.created_at.year) for model in models] == [
        ("llama", 2023),
        ("org/qwen:7b", 2023),
        ("lost", 2023),
    ]
    assert (shown["first_id"], shown["last_id"], shown["has_more"]) == ("llama", "lost", False)
    assert page(Anthropic(), "/v1/models/lost") == shown["data"][2]
    assert page(Anthropic(), "/v1/models", views=[])["first_id"] is None


def test_ollamas_lists() -> None:
    tags = ollama_sdk.ListResponse.model_validate(page(Ollama(), "/api/tags"))
    assert [(model.model, model.size) for model in tags.models] == [
        ("llama", 5 * GIB),
        ("org/qwen:7b", 7 * GIB),
        ("lost", 0),
    ]
    assert len({model.digest for model in tags.models}) == 3
    seated = ollama_sdk.ProcessResponse.model_validate(page(Ollama(), "/api/ps"))
    assert [(model.model, model.size_vram) for model in seated.models] == [("llama", 5 * GIB)]
    assert page(Ollama(), "/api/version")["version"].count(".") == 2


def test_ollamas_show_costs_no_swap() -> None:
    for body in (b'{"model": "llama:latest"}', b'{"name": "llama"}'):
        shown = page(Ollama(), "/api/show", method="POST", body=body)
        ollama_sdk.ShowResponse.model_validate(shown)
        assert shown["hotseat"]["state"] == "seated"
    with pytest.raises(UsageError):
        page(Ollama(), "/api/show", method="POST", body=b"{}")


@pytest.mark.parametrize("dialect", [OpenAI(), Anthropic()], ids=lambda one: one.name)
def test_a_model_that_is_not_there_has_near_names(dialect: Dialect) -> None:
    with pytest.raises(NotFound, match="no model 'lama'") as caught:
        page(dialect, "/v1/models/lama")
    assert caught.value.details["near"] == ["llama"]
    with pytest.raises(NotFound):
        page(Ollama(), "/api/show", method="POST", body=b'{"model": "lama"}')


def test_what_else_is_no_page() -> None:
    for dialect in DIALECTS:
        assert dialect.page("POST", "/v1/models") is None
        assert dialect.page("GET", "/v1/chat/completions") is None
        assert dialect.page("GET", "/api/show") is None


@pytest.mark.parametrize(("said", "streams"), [(None, True), (True, True), (False, False)])
def test_ollama_streams_unless_told(said: bool | None, streams: bool) -> None:
    assert OllamaTexts().streams(Named("m", said)) is streams
    for other in (Ollama(),):
        assert other.streams(Named("m", said)) is False
    for asks in (OpenAI(), Anthropic()):
        assert asks.streams(Named("m", said)) is (said is True)


def test_latest_is_no_difference_to_ollama() -> None:
    known = {"a", "b:latest", "c", "c:latest"}.__contains__
    assert [resolve(name, known) for name in ("a", "a:latest", "b", "b:latest", "c", "c:latest", "d", "a:7b")] == [
        "a",
        "a",
        "b:latest",
        "b:latest",
        "c",
        "c:latest",
        "d",
        "a:7b",
    ]
    for dialect in (OpenAI(), Anthropic()):
        assert dialect.resolve("a:latest", known) == "a:latest"


def every_error() -> list[HotseatError]:
    kinds: list[type[HotseatError]] = [HotseatError]
    for kind in kinds:
        kinds.extend(one for one in kind.__subclasses__() if one.__module__ == errors.__name__)
    return [kind("it went\nwrong: \u2028é", hint="do this") for kind in kinds]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.code)
def test_every_error_in_every_dialect(error: HotseatError) -> None:
    status = error.http_status
    told = "it went\nwrong: \u2028é. do this"
    openai = json.loads(OpenAI().error_body(error, status=status, request_id="r"))["error"]
    assert (openai["message"], openai["code"], openai["param"]) == (told, error.code, None)
    anthropic = json.loads(Anthropic().error_body(error, status=status, request_id="r"))
    assert (anthropic["type"], anthropic["error"]["message"], anthropic["request_id"]) == ("error", told, "r")
    assert json.loads(Ollama().error_body(error, status=status, request_id="r")) == {"error": told}
    for kind in (openai["type"], anthropic["error"]["type"]):
        assert kind.endswith(("_error", "_too_large"))


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "invalid_request_error", "not_found_error"),
        (405, "invalid_request_error", "invalid_request_error"),
        (413, "invalid_request_error", "request_too_large"),
        (415, "invalid_request_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (431, "invalid_request_error", "invalid_request_error"),
        (500, "server_error", "api_error"),
        (502, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
        (504, "server_error", "timeout_error"),
    ],
)
def test_the_type_goes_by_the_status(status: int, openai: str, anthropic: str) -> None:
    error = HotseatError("x")
    assert json.loads(OpenAI().error_body(error, status=status, request_id=""))["error"]["type"] == openai
    assert json.loads(Anthropic().error_body(error, status=status, request_id=""))["error"]["type"] == anthropic


def test_an_unknown_model_has_openais_own_code() -> None:
    told = json.loads(OpenAI().error_body(naming.unknown("x", ["y"]), status=404, request_id=""))["error"]
    assert (told["code"], told["param"]) == ("model_not_found", "model")


def test_errors_inside_a_stream_are_one_event() -> None:
    error = HotseatError("two\n\nlines\r\n")
    event, done, rest = OpenAI().error_event(error, path="/v1/x", request_id="r").split(b"\n\n")
    assert json.loads(event.removeprefix(b"data: "))["error"]["message"] == error.message
    assert (done, rest) == (b"data: [DONE]", b"")
    name, data, *ends = Anthropic().error_event(error, path="/v1/messages", request_id="r").split(b"\n")
    assert (name, ends) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == error.message
    line, end = Ollama().error_event(error, path="/api/chat", request_id="r").split(b"\n")
    assert (json.loads(line), end) == ({"error": error.message}, b"")


def test_keep_alives_are_nothing_to_a_reader() -> None:
    for dialect in (OpenAI(), Anthropic()):
        comment = dialect.keepalive("waiting")
        assert comment.startswith(b":")
        assert comment.endswith(dialect.event_ends)
    line = Ollama().keepalive("waiting") * 3 + b'{"response": "x"}\n'
    assert json.loads(line) == msgspec.json.decode(line) == {"response": "x"}


def test_retry_after_is_whole_seconds() -> None:
    assert [retry_after(HotseatError("x", retry_after=s)) for s in (0.1, 2, 2.1, float("inf"), None)] == [
        1,
        2,
        3,
        None,
        None,
    ]
