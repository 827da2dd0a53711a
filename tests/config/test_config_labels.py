"""Labels of a container: what workload they make, and that a mistake in one is words, never an exception."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.config import Defaults, labels

ROOT = Path(__file__).parents[2]


def read(given: dict[str, str], *, container: str = "box", ports: tuple[int, ...] = (8000,)) -> labels.Labelled:
    return labels.read(
        {"hotseat.model": "m", **given}, platform="docker", container=container, ports=ports, defaults=DEFAULTS
    )


DEFAULTS = Defaults(min_stay="7s", priority=3)  # type: ignore[arg-type]


def test_one_label_is_enough() -> None:
    found = read({"hotseat.model": "llama-3.2-3b, chat"}, container="/odd_Name".removeprefix("/"))
    assert found.mistakes == ()
    spec = found.workload
    assert spec is not None
    assert (found.name, spec.container, spec.platform) == ("odd_name", "odd_Name", "docker")
    assert (spec.models, spec.port, spec.url) == (["llama-3.2-3b", "chat"], 8000, None)
    assert (spec.min_stay, spec.priority, spec.max_wait) == (7.0, 3, Defaults().max_wait)


def test_every_setting_has_its_label() -> None:
    said = {
        "port": "9000",
        "health": "/v1/models",
        "health_timeout": "5s",
        "start_timeout": "2m",
        "stop_grace": "1s",
        "priority": "-7",
        "drain": "30s",
        "min_stay": "1s",
        "linger": "0",
        "max_wait": "1m",
        "max_queue": "3",
        "idle_timeout": "off",
        "idle": "stop",
        "on_quarantine": "restart",
        "context": "keep",
        "prefetch": "true",
        "start": "false",
        "preload": "true",
        "gpu_memory": "0: 20GiB, 1: 1GiB",
        "pinned": "yes",
    }
    assert set(said) | {"url"} == set(labels.SETTINGS)
    spec = read({f"hotseat.{key}": value for key, value in said.items()}).workload
    assert spec is not None
    assert (spec.port, spec.health, spec.health_timeout, spec.start_timeout) == (9000, "/v1/models", 5.0, 120.0)
    assert (spec.stop_grace, spec.priority, spec.drain, spec.min_stay, spec.linger) == (1.0, -7, 30.0, 1.0, 0.0)
    assert (spec.max_wait, spec.max_queue, spec.idle_timeout, spec.idle) == (60.0, 3, None, "stop")
    assert (spec.on_quarantine, spec.start, spec.preload, spec.pinned) == ("restart", False, True, True)
    assert spec.gpu_memory == {0: 20 * 2**30, 1: 2**30}


def test_pin_and_url_and_name() -> None:
    found = read({"hotseat.pin": "true", "hotseat.url": "http://127.0.0.1:1/", "hotseat.name": "x"}, ports=())
    assert found.workload is not None
    assert (found.name, found.workload.pinned, found.workload.url) == ("x", True, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("number", "name"), [(None, "llm"), ("1", "llm"), ("2", "llm-2")], ids=["none", "first", "second"]
)
def test_a_compose_service_gives_its_name(number: str | None, name: str) -> None:
    written = {"com.docker.compose.project": "p", "com.docker.compose.service": "llm"}
    if number is not None:
        written["com.docker.compose.container-number"] = number
    assert read(written, container="p_llm_1").name == name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hotseat.modle": "x"}, "hotseat.modle: unknown label; did you mean `hotseat.model`?"),
        ({"hotseat.min-stay": "5s"}, "did you mean `hotseat.min_stay`?"),
        ({"hotseat.zzz": "x"}, "hotseat.zzz: unknown label; known: model, name"),
        ({"hotseat.image": "x"}, "hotseat.image: belongs in hotseat.yaml"),
        ({"hotseat.model": " , "}, "hotseat.model: names no model"),
        ({"hotseat.name": "No Such"}, "hotseat.name: not a name; write 1 to 64"),
        ({"hotseat.port": "http"}, "hotseat.port: "),
        ({"hotseat.port": "70000"}, "hotseat.port: "),
        ({"hotseat.url": "127.0.0.1"}, "hotseat.url: not the address"),
        (
            {"hotseat.url": "http://h:1", "hotseat.port": "1"},
            "hotseat.port: its engine has two addresses; give either `url` or `port`, not both",
        ),
        ({"hotseat.drain": "5"}, "hotseat.drain: '5' is not a duration"),
        ({"hotseat.pin": "perhaps"}, "hotseat.pinned: "),
        ({"hotseat.pin": "true", "hotseat.pinned": "true"}, "is the same as hotseat.pinned"),
        ({"hotseat.gpu_memory": "20G"}, "hotseat.gpu_memory: '20G' is not a size; write \"20GiB\""),
        ({"hotseat.gpu_memory": "0: [}"}, "hotseat.gpu_memory: '0: [}' is not a size for each device; write"),
        ({"hotseat.idle": "sleep"}, "hotseat.idle: "),
    ],
)
def test_a_mistake_names_its_label_and_what_to_write(given: dict[str, str], said: str) -> None:
    found = read(given)
    assert found.workload is None
    (mistake,) = found.mistakes
    assert said in mistake


def test_all_mistakes_are_told_at_once() -> None:
    found = read({"hotseat.prt": "1", "hotseat.priority": "high", "hotseat.health": "x"}, ports=())
    assert {said.partition(":")[0] for said in found.mistakes} == {
        "hotseat.prt",
        "hotseat.priority",
        "hotseat.health",
        "hotseat.port",
    }


@pytest.mark.parametrize(("ports", "said"), [((), "exposes none"), ((80, 8000), "exposes 80, 8000")])
def test_which_port_must_be_clear(ports: tuple[int, ...], said: str) -> None:
    (mistake,) = read({}, ports=ports).mistakes
    assert said in mistake
    assert read({"hotseat.port": "80"}, ports=ports).workload is not None


def test_what_asks_to_be_adopted() -> None:
    assert labels.wanted({"hotseat.model": "m"})
    assert not labels.wanted({"hotseat.models": "m"})
    assert not labels.wanted({"hotseat.model": "m", "hotseat.made-from": "x"}), "hotseat made it of the file"


@given(
    st.dictionaries(st.sampled_from(["hotseat." + key for key in labels.KNOWN]) | st.text(), st.text(max_size=40)),
    st.text(min_size=1, max_size=80),
    st.lists(st.integers(1, 65535), max_size=3),
)
def test_nothing_that_a_label_says_is_an_exception(given: dict[str, str], container: str, ports: list[int]) -> None:
    found = read(given, container=container, ports=tuple(ports))
    assert (found.workload is None) == bool(found.mistakes)


def test_the_documentation_has_a_row_for_every_label() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    rows = {
        name for row in re.findall(r"^\| (`hotseat\..*?) \|", text, re.M) for name in re.findall(r"hotseat\.(\w+)", row)
    }
    assert rows == set(labels.KNOWN)
