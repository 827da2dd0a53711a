"""The example and the docs name every setting that there is, and none that is not."""

import json
import re
from pathlib import Path

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
    Workload,
    paths,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/hotseat.yaml"
MODELS = [Config, Gateway, Key, DeviceCap, HostMemory, Discovery, Defaults, Workload, Run, Hook, Hooks]


def test_the_example_is_valid() -> None:
    read = config.load(EXAMPLE)
    assert set(read.workloads) == {"chat", "code", "embed"}


def test_the_example_shows_every_setting() -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    assert set(raw) == set(Config.model_fields)
    assert set(raw["gateway"]) == set(Gateway.model_fields)
    assert set(raw["defaults"]) == set(Defaults.model_fields)
    shown = {field for workload in raw["workloads"].values() for field in workload}
    assert shown | set(raw["defaults"]) == set(Workload.model_fields)


def test_what_the_example_calls_a_default_is_one() -> None:
    read = config.load(EXAMPLE)
    assert read.gateway == Gateway()
    assert read.defaults == Defaults()


@pytest.mark.parametrize("model", MODELS)
def test_the_documentation_names_every_setting(model: type) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert set(model.model_fields) <= named


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
