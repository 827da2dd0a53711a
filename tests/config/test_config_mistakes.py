"""Every mistake of a file is said in one run, each with its place, in our words, and with what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic_core._pydantic_core import list_all_errors

from hotseat import config
from hotseat.errors import ConfigError

Path = tuple[str | int, ...]
KEY = "sha256:" + "0" * 64
BAD = ([[1]], {"zz": [[1]]}, "\x7f ;", -5, 3.5, True, None, ".inf", [{"zz": 1}], {-1: 1}, {1: {2: 3}})
"""Whatever a setting is, some of these it is not."""
RAW = tuple(
    part for error in list_all_errors() for part in [re.split(r"[{]", error["message_template_python"])[0]] if part
)
"""How pydantic's own sentences begin."""


def mistakes(text: str) -> list[dict[str, str]]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, name="f")
    found: list[dict[str, str]] = caught.value.details["mistakes"]
    for item in found:
        path = item["path"] and item["path"] + ": "
        assert f"{item['place']}: {path}{item['message']}; {item['hint']}" in caught.value.message
    return found


def test_they_are_told_in_the_order_of_the_file() -> None:
    found = mistakes("workloads:\n  b: {port: 0}\n  a: {prt: 1}\ngateway: {port: x}\n")
    assert [item["place"] for item in found] == ["f:2:7", "f:3:3", "f:3:7", "f:4:11"]


def said(text: str) -> list[tuple[str, str, str]]:
    return sorted((item["place"], item["path"], item["message"]) for item in mistakes(text))


def settings(schema: dict[str, Any], root: dict[str, Any], at: Path = ()) -> Iterator[Path]:
    """Each setting that there can be, by the schema."""
    if "$ref" in schema:
        yield from settings(root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    for option in schema.get("anyOf", ()):
        yield from settings(option, root, at)
    for name, below in schema.get("properties", {}).items():
        yield (*at, name)
        yield from settings(below, root, (*at, name))
    if isinstance(below := schema.get("additionalProperties"), dict):
        key: str | int = 0 if at == ("devices",) or at[-1] == "gpu_memory" else "x"
        yield (*at, key)
        yield from settings(below, root, (*at, key))
    if isinstance(below := schema.get("items"), dict):
        yield (*at, 0)
        yield from settings(below, root, (*at, 0))


SETTINGS = sorted(set(settings(config.json_schema(), config.json_schema())), key=str)


def written(at: Path, value: Any) -> str:
    for part in reversed(at):
        value = [value] if isinstance(part, int) and not _is_index(at, part) else {part: value}
    return yaml.safe_dump(value, sort_keys=False)


def _is_index(at: Path, part: int) -> bool:
    return at[at.index(part) - 1] == "gpu_memory" or at[0] == "devices"


def test_the_walk_knows_every_corner_of_the_file() -> None:
    assert {
        ("gateway", "max_body"),
        ("devices", 0, "cap"),
        ("keys", "x", "hash"),
        ("workloads", "x", "gpu_memory", 0),
        ("workloads", "x", "hooks", "before_park", 0, "method"),
        ("workloads", "x", "run", "ulimits", "x"),
    } <= set(SETTINGS)


@pytest.mark.parametrize("at", SETTINGS, ids=lambda at: ".".join(map(str, at)))
def test_a_value_that_does_not_fit_is_told_in_our_words_with_its_place_and_a_hint(at: Path) -> None:
    found = [item for value in BAD for item in told(written(at, value))]
    for item in found:
        assert re.fullmatch(r"f:\d+:\d+", item["place"]), item
        assert item["path"], item
        assert item["hint"].strip(), item
        assert not item["message"].startswith(RAW), item
        assert not item["hint"].startswith(RAW), item
    here, around = config_path(at), config_path(at[:-1])
    assert any(item["path"].startswith(here) or item["path"] == around for item in found), "BAD has nothing for it"


def told(text: str) -> list[dict[str, str]]:
    """None, if it is fine."""
    try:
        config.parse(text, name="f")
    except ConfigError as error:
        return list(error.details["mistakes"])
    return []


def config_path(at: Path) -> str:
    shown = ""
    for part in at:
        index = isinstance(part, int) and not _is_index(at, part)
        shown += f"[{part}]" if index else f".{part}" if shown else str(part)
    return shown


def test_a_model_that_two_claim_is_told_beside_all_other_mistakes() -> None:
    assert said("""
gateway: {host: 0.0.0.0, prt: 1}
workloads:
  a: {port: 1, models: [m, n]}
  b: {port: 70000, models: [n, 3]}
  c: {container: a, workdir: d}
""") == [
        ("f:2:11", "gateway.host", "0.0.0.0 can be reached from other machines"),
        ("f:2:26", "gateway.prt", "unknown setting"),
        ("f:5:29", "workloads.b.models[0]", "model 'n' already belongs to workload 'a'"),
        ("f:5:32", "workloads.b.models[1]", "YAML reads this as a number or truth value"),
        ("f:5:7", "workloads.b.port", "70000 does not fit here"),
        ("f:6:21", "workloads.c.workdir", "`workdir` is for platform `process`"),
        ("f:6:3", "workloads.c", "its engine has no address"),
        ("f:6:7", "workloads.c.container", "docker container 'a' already belongs to workload 'a'"),
    ]


def test_all_that_one_workload_lacks_is_said_at_once() -> None:
    assert {
        (path, message) for _, path, message in said("workloads: {a: {platform: process, image: i, start: x}}")
    } == {
        ("workloads.a", "its engine has no address"),
        ("workloads.a", "platform `process` has no `command`"),
        ("workloads.a.image", "`image` is for docker and podman"),
        ("workloads.a.start", "'x' does not fit here"),
    }


def test_what_stands_twice_hides_neither_reading_of_it() -> None:
    found = said("""
workloads:
  a: {port: 0, priority: x}
  a: {port: 1, prioritty: 2}
  b: {port: 2, port: 3, drain: 5}
""")
    assert found == [
        ("f:3:16", "workloads.a.priority", "'x' does not fit here"),
        ("f:3:7", "workloads.a.port", "0 does not fit here"),
        ("f:4:16", "workloads.a.prioritty", "unknown setting"),
        ("f:4:3", "workloads.a", "stands twice, first in line 3"),
        ("f:5:16", "workloads.b.port", "stands twice, first in line 5"),
        ("f:5:25", "workloads.b.drain", "5 has no unit"),
    ]


def test_keys_that_stand_twice_with_other_mistakes_are_all_told() -> None:
    text = f"keys: {{a: {{hash: '{KEY}'}}, b: {{hash: '{KEY}', priority: 101}}}}\nkeys: {{}}\nworkloads: {{}}\n"
    assert [path for _, path, _ in said(text)] == ["keys.b.priority", "keys.b.hash", "keys"]


def test_a_value_is_read_as_it_counts_not_as_it_is_written() -> None:
    """`public: "no"` lets nobody in."""
    (item,) = mistakes('gateway: {host: 0.0.0.0, public: "no"}')
    assert item["path"] == "gateway.host"
    assert config.parse('gateway: {host: 0.0.0.0, public: "yes"}').gateway.public


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "workloads: &w {x: *w}", "[" * 3000, "a: !!int x", "a: 2026-13-45", "? [a]\n: b", "<<: [1]"],
    ids=["itself", "itself below", "deep", "no number", "no date", "no key", "no merge"],
)
def test_odd_yaml_is_a_mistake_and_no_crash(text: str) -> None:
    for item in mistakes(text):
        assert item["hint"]
        assert item["place"].startswith("f")


def test_values_that_may_be_secret_are_not_repeated() -> None:
    (item,) = mistakes("workloads: {a: {port: 1, image: i, env: {TOKEN: [hush]}}}")
    assert "hush" not in str(item)


@pytest.mark.parametrize("field", ["port", "priority", "max_queue"])
def test_a_truth_value_is_no_number(field: str) -> None:
    (item,) = mistakes(f"defaults: {{{field}: on}}" if field != "port" else "gateway: {port: on}")
    assert (item["message"], item["hint"]) == ("YAML reads this as true or false", "write a whole number")
