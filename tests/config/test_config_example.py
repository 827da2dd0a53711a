"""The example and the docs name every setting that there is, and none that is not."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from hotseat import config
from hotseat.config import (
    Config,
    Defaults,
    DeviceCap,
    Discovery,
    Gateway,
    Hook,
    Hooks,
    HostMemory,
    Key,
    Run,
    Store,
    Workload,
    paths,
)
from hotseat.config.base import Model

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/hotseat.yaml"


def models_within(annotation: Any) -> Iterator[type[Model]]:
    """The models that may stand in a value of this type."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_within(argument)


def all_models(model: type[Model] = Config) -> list[type[Model]]:
    found: list[type[Model]] = [model]
    for field in model.model_fields.values():
        for inner in models_within(field.annotation):
            found += [each for each in all_models(inner) if each not in found]
    return found


def shown(model: type[Model], value: Any, into: dict[type[Model], set[str]]) -> dict[type[Model], set[str]]:
    """The settings of each model that stand somewhere in `value`, which is YAML of the shape of `model`."""
    if isinstance(value, list):
        for item in value:
            shown(model, item, into)
        return into
    into.setdefault(model, set()).update(value)
    for name, inner in value.items():
        for kind in models_within(model.model_fields[name].annotation):
            keyed = "dict" in str(model.model_fields[name].annotation)
            for item in inner.values() if keyed else [inner]:
                shown(kind, item, into)
    return into


def test_the_example_is_valid() -> None:
    read = config.load(EXAMPLE)
    assert set(read.workloads) == {"chat", "code", "big", "embed"}


def test_the_example_shows_every_setting() -> None:
    found = shown(Config, yaml.safe_load(EXAMPLE.read_text()), {})
    found[Workload] |= found[Defaults]
    assert {model: set(model.model_fields) - found.get(model, set()) for model in all_models()} == {
        model: set() for model in all_models()
    }


def test_what_the_example_calls_a_default_is_one() -> None:
    read = config.load(EXAMPLE)
    assert read.gateway == Gateway()
    assert read.defaults == Defaults()
    assert (read.discovery, read.on_stop) == (Discovery(), Config().on_stop)
    assert read.host_memory.reserve == HostMemory().reserve
    key = read.keys["alice"]
    assert key == Key(hash=key.hash, max_concurrent=key.max_concurrent)
    (hook,) = read.workloads["code"].hooks.before_park
    assert hook == Hook(path=hook.path)
    run = read.workloads["big"].run
    assert (run.network, run.gpus, run.devices) == (Run().network, Run().gpus, Run().devices)


HEADINGS = {
    Config: "## Top level",
    Gateway: "## `gateway`",
    Key: "## `keys.NAME`",
    DeviceCap: "## `devices.INDEX`",
    HostMemory: "## `host_memory`",
    Store: "## `store`",
    Discovery: "## `discovery`",
    Defaults: "## `defaults`",
    Workload: "## `workloads.NAME`",
    Run: "## `workloads.NAME.run`",
    Hooks: "## `workloads.NAME.hooks`",
    Hook: "Each call:",
}


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_the_documentation_has_a_row_for_every_setting(model: type[Model]) -> None:
    _, found, rest = (ROOT / "docs/configuration.md").read_text().partition(f"\n{HEADINGS[model]}\n")
    assert found, "no such section"
    table = rest.partition("\n| setting |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|", table, re.M)
    own = set(model.model_fields) - (set(Defaults.model_fields) if model is Workload else set())
    assert sorted(rows) == sorted(own)


def test_the_stored_schema_is_the_present_one() -> None:
    stored = json.loads((ROOT / "examples/hotseat.schema.json").read_text())
    assert stored == config.json_schema(), "run: python -m hotseat.config > examples/hotseat.schema.json"


def test_the_schema_does_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSEAT_STATE", "/elsewhere")
    assert "/elsewhere" not in json.dumps(config.json_schema())


def test_default_paths() -> None:
    assert str(paths.control_socket(env={}, uid=0)) == "/run/hotseat/control.sock"
    assert str(paths.state_directory(env={}, uid=0)) == "/var/lib/hotseat"
    user = {"XDG_RUNTIME_DIR": "/run/user/5", "XDG_STATE_HOME": "/h/state", "HOME": "/h"}
    assert str(paths.control_socket(env=user, uid=5)) == "/run/user/5/hotseat/control.sock"
    assert str(paths.state_directory(env=user, uid=5)) == "/h/state/hotseat"
    assert str(paths.state_directory(env={"HOME": "/h"}, uid=5)) == "/h/.local/state/hotseat"
    assert str(paths.control_socket(env={}, uid=5)) == "/tmp/hotseat-5/control.sock"
    named = {"HOTSEAT_CONTROL": "/c", "HOTSEAT_STATE": "/s"}
    assert (str(paths.control_socket(env=named)), str(paths.state_directory(env=named))) == ("/c", "/s")
