"""hotseat config: mistakes with their place, what was probably not meant, and the configuration that counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hotseat import config
from hotseat.cli.main import run
from hotseat.config.advice import advice
from hotseat.config.show import show

EXAMPLE = Path(__file__).parents[2] / "examples/hotseat.yaml"


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        (f"gateway: {{public: true}}\nkeys: {{a: {{hash: 'sha256:{'0' * 64}'}}}}", "gateway.public", "no effect"),
        ("workloads: {a: {url: 'http://localhost:8000'}}", "workloads.a.url", "the gateway itself"),
        (
            "workloads: {a: {url: 'http://127.0.0.1:9'}, b: {platform: process, command: [x], port: 9}}",
            "workloads.b.port",
            "workload a listens at 127.0.0.1:9 too",
        ),
        (
            "workloads: {a: {port: 1, image: i, run: {publish: ['9:1']}}, "
            "b: {port: 1, image: i, run: {publish: ['9:2']}}}",
            "workloads.b.run.publish.0",
            "workload a publishes port 9 too",
        ),
        (
            "devices: {0: {cap: 4GiB}}\nworkloads: {a: {port: 1, gpu_memory: 5GiB}}",
            "workloads.a.gpu_memory",
            "can never sit on device 0: its cap is 4 GiB",
        ),
        (
            "devices: {0: {cap: 4GiB}}\n"
            "workloads: {a: {port: 1, gpu_memory: 3GiB, pinned: true}, b: {port: 2, gpu_memory: 2GiB}}",
            "workloads.b.gpu_memory",
            "what is pinned leaves 1 GiB of its cap",
        ),
        (
            "devices: {0: {cap: 4GiB}}\n"
            "workloads: {a: {port: 1, gpu_memory: 3GiB, preload: true}, b: {port: 2, gpu_memory: 2GiB, preload: true}}",
            "devices.0.cap",
            "not all of them will sit",
        ),
        (
            "discovery: {docker: off, podman: off}\nworkloads: {a: {port: 1, priority: 5}}",
            "workloads.a.priority",
            "every workload has the same",
        ),
        ("workloads: {a: {port: 1, idle: stop}}", "workloads.a.idle", "without `idle_timeout`"),
        (
            "workloads: {a: {port: 1, hooks: {before_park: [{path: /sleep}]}}}",
            "workloads.a.hooks.before_park",
            "give it a `drain`",
        ),
    ],
)
def test_what_was_probably_not_meant(text: str, at: str, said: str) -> None:
    (found,) = advice(config.parse(text))
    assert ".".join(map(str, found.at)) == at
    assert said in found.message


def test_nothing_is_said_of_the_example() -> None:
    assert advice(config.load(EXAMPLE)) == []


def test_the_command_says_warnings_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hotseat.yaml"
    file.write_text("workloads:\n  a: {port: 1, idle: stop}\n")
    assert run(["config", "check", str(file), "--offline"]) == 0
    out = capsys.readouterr().out
    assert f"{file}:2:16: warning: workloads.a.idle: has no effect" in out
    assert "1 workloads, no mistakes, 1 warnings" in out
    assert run(["config", "check", str(file), "--offline", "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["place"], warning["path"]) == (f"{file}:2:16", "workloads.a.idle")


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hotseat.yaml"
    file.write_text("workloads: {a: {prt: 1}}")
    assert run(["config", "check", str(file)]) == 2
    assert "hotseat.yaml:1:17: workloads.a.prt: unknown setting; did you mean `port`?" in capsys.readouterr().err
    assert run(["config", "check", str(file), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["details"]["mistakes"]
    assert run(["config", "show", str(tmp_path / "none.yaml")]) == 3


def test_a_platform_that_does_not_answer_is_a_remark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    file = tmp_path / "hotseat.yaml"
    file.write_text("workloads: {a: {port: 1}}")
    assert run(["config", "check", str(file)]) == 0
    assert "of docker were not looked for" in capsys.readouterr().err


def test_what_is_shown_reads_back_as_the_same() -> None:
    read = config.load(EXAMPLE)
    assert config.parse(show(read, secrets=True)) == read


def test_secrets_are_hidden_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hotseat.yaml"
    digest = "ab" * 32
    file.write_text(
        f"keys: {{me: {{hash: 'sha256:{digest}'}}}}\n"
        "workloads: {a: {port: 1, image: i, env: {TOKEN: hush}, hooks: {after_seat: [{path: /x, headers: {K: hush}}]}}}"
    )
    assert run(["config", "show", str(file)]) == 0
    out = capsys.readouterr().out
    assert "hush" not in out
    assert digest not in out
    assert yaml.safe_load(out)["workloads"]["a"]["env"] == {"TOKEN": "(hidden)"}
    assert run(["config", "show", str(file), "--secrets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workloads"]["a"]["env"] == {"TOKEN": "hush"}


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config.json_schema()
