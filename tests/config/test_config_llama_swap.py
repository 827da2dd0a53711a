"""llama-swap's configuration becomes ours: what has no equivalent is said, and the result always reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hotseat import config
from hotseat.cli.main import run
from hotseat.config.importing.llama_swap import Converted, convert
from hotseat.errors import ConfigError

REALISTIC = """
healthCheckTimeout: 500
logLevel: info
startPort: 10001
globalTTL: 300
macros:
  "latest-llama": >
    /opt/llama-server
    --port ${PORT}
  "default_ctx": 4096
  "models_dir": "${env.HOME}/models"
apiKeys: ["sk-a-long-enough-secret", "${env.NOT_SET}"]
models:
  "gpt-oss-120b":
    macros: {"default_ctx": 16384, "temp": 0.7}
    cmd: |
      # a comment
      ${latest-llama}
      --model '${models_dir}/gpt oss.gguf' \\
      --ctx-size ${default_ctx}
    env: ["CUDA_VISIBLE_DEVICES=0,1"]
    checkEndpoint: /custom
    ttl: 60
    useModelName: openai/gpt-oss
    filters: {stripParams: "temperature"}
    aliases: [{id: gpt-4o-mini}, small]
    concurrencyLimit: 3
    metadata: {port: "${PORT}"}
  "Qwen/Qwen2.5:7B":
    cmd: vllm serve Qwen/Qwen2.5-7B --port 8999
    proxy: http://127.0.0.1:8999
    ttl: 0
    unlisted: true
  docker-llama:
    proxy: "http://127.0.0.1:${PORT}"
    cmd: |
      docker run --name ${MODEL_ID} --init --rm -p ${PORT}:8080 -v /mnt/models:/models:ro --gpus '"device=0,1"'
      -e A=b --shm-size=8g --ipc=host ghcr.io/ggml-org/llama.cpp:server-cuda
      --model '/models/a b.gguf'
    cmdStop: docker stop ${MODEL_ID}
groups:
  keep: {persistent: true, members: [docker-llama]}
hooks: {on_startup: {preload: [gpt-oss-120b]}}
peers: {other: {proxy: "http://192.168.1.23", models: [a]}}
"""


def done(text: str, **env: str) -> Converted:
    made = convert(text, env={"HOME": "/home/me", **env})
    config.parse(made.text)
    return made


def said(made: Converted) -> str:
    return "\n".join(f"{note.where}: {note.message}" for note in made.notes)


def test_a_realistic_file() -> None:
    made = done(REALISTIC)
    read = config.parse(made.text)
    assert (read.defaults.start_timeout, read.defaults.idle_timeout) == (500.0, 300.0)
    digest = hashlib.sha256(b"sk-a-long-enough-secret").hexdigest()
    assert [key.hash for key in read.keys.values()] == [f"sha256:{digest}"]
    assert "sk-a-long" not in made.text

    gpt = read.workloads["gpt-oss-120b"]
    assert gpt.models == ["gpt-oss-120b", "gpt-4o-mini", "small", "openai/gpt-oss"]
    command = ["/opt/llama-server", "--port", "10002", "--model", "/home/me/models/gpt oss.gguf", "--ctx-size", "16384"]
    assert (gpt.platform, gpt.command, gpt.port) == ("process", command, 10002)
    assert (gpt.env, gpt.health, gpt.idle_timeout, gpt.preload) == (
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        "/custom",
        60.0,
        True,
    )

    qwen = read.workloads["qwen-qwen2.5-7b"]
    assert qwen.preload is False, "as llama-swap has it: not before a request"
    assert (qwen.models, qwen.port, qwen.idle_timeout) == (["Qwen/Qwen2.5:7B"], 8999, None)

    box = read.workloads["docker-llama"]
    assert (box.platform, box.container, box.image) == (
        "docker",
        "docker-llama",
        "ghcr.io/ggml-org/llama.cpp:server-cuda",
    )
    assert (box.command, box.env, box.url) == (["--model", "/models/a b.gguf"], {"A": "b"}, "http://127.0.0.1:10001")
    assert (box.run.publish, box.run.volumes) == (["10001:8080"], ["/mnt/models:/models:ro"])
    assert (box.run.gpus, box.run.shm_size, box.pinned) == ([0, 1], 8 * 2**30, True)

    for expected in (
        "models.gpt-oss-120b.useModelName: the engine gets",
        "models.gpt-oss-120b.filters: bodies pass as they are",
        "models.gpt-oss-120b.concurrencyLimit: ",
        "models.gpt-oss-120b.metadata: ",
        "models.Qwen/Qwen2.5:7B.unlisted: ",
        "models.docker-llama.cmd: --init: has no equivalent",
        "models.docker-llama.cmd: --ipc host: has no equivalent",
        "groups.keep: is persistent",
        "peers: ",
        "logLevel: ",
        "apiKeys: key 2 has no value here",
    ):
        assert expected in said(made)
        assert expected.partition(": ")[2][:20] in made.text, "it stands in the result too"
    assert made.left_out == ()


LATER = """
unloadTimeout: 20
macros: {ttl: 90, tier: high}
store: {path: /var/lib/llama-swap.sqlite}
ui: {activity: {session_id: []}}
performance: {every: 15s}
upstream: {ignorePaths: ['.*[.]js$']}
tailcat: {models: [a]}
profiles: {coding: {pins: {llm-code: small}}}
selectors:
  coder: {strategy: warm, targets: [nowhere, "other/far", big, small]}
  fixed: {strategy: pin, targets: [small]}
  big: {strategy: pin, targets: [small]}
  far: {strategy: pin, targets: ["other/far"]}
models:
  big:
    cmd: vllm serve org/big --port ${PORT}
    useModelName: org/big
    aliases: ["${MODEL_ID}-alias"]
    ttl: ${ttl}
    unloadTimeout: 45
    compat: {ignoreWebsockets: true}
    capabilities: {in: [text], context: 32000}
    filters:
      setParams: {top_p: 0.9}
      setParamsByID:
        "${MODEL_ID}": {reasoning_effort: medium}
        "${MODEL_ID}:${tier}": {reasoning_effort: high}
  small: {cmd: "x --port ${PORT}", unloadTimeout: 0}
  always: {cmd: "x --port ${PORT}"}
hooks: {on_startup: {profile: coding, preload: [always]}}
routing:
  router:
    use: group
    settings:
      groups:
        forever: {persistent: true, swap: false, exclusive: false, members: [always]}
        others: {members: [big, small]}
      matrix: {vars: {b: big}, evict_costs: {b: 50}, sets: {full: b}}
  scheduler: {use: fifo, settings: {fifo: {priority: {big: 10, small: 1000, nobody: 1}}}}
"""


def test_a_file_of_a_later_version() -> None:
    """Its `routing`, names that its filters and selectors make, and time to end: each has an equivalent here."""
    made = done(LATER)
    read = config.parse(made.text)
    assert (made.left_out, read.defaults.stop_grace) == ((), 20.0)
    big, small, always = (read.workloads[name] for name in ("big", "small", "always"))
    assert big.models == ["big", "big-alias", "big:high", "org/big", "coder"]
    assert small.models == ["small", "fixed"]
    assert (big.stop_grace, small.stop_grace, big.idle_timeout) == (45.0, 20.0, 90.0)
    assert (big.priority, small.priority, always.priority) == (10, 100, 0)
    assert (always.pinned, always.preload, big.pinned) == (True, True, False)
    for expected in (
        "models.big.useModelName: the engine gets",
        "models.big.filters: bodies pass as they are",
        "models.big.compat: ",
        "models.big.capabilities: ",
        "routing.router.settings.groups.forever: is persistent",
        "routing.router.settings.groups.others: hotseat seats together whatever fits",
        "routing.router.settings.matrix: hotseat seats together whatever fits",
        "routing.scheduler.settings.fifo.priority: nobody is no model here",
        "routing.scheduler.settings.fifo.priority: small: 1000 became 100",
        "selectors.coder: always goes to big",
        "selectors.big: is a model's name already",
        "selectors.far: none of its targets is a model here",
        "hooks.on_startup.profile: ",
        "profiles: ",
        "store: ",
        "ui: ",
        "performance: ",
        "upstream: ",
        "tailcat: ",
    ):
        assert expected in said(made)
    assert "selectors.fixed" not in said(made), "that is the same here"


def test_what_was_taken_from_the_environment_is_said_where_it_stands() -> None:
    made = done("models: {a: {cmd: 'x --port ${PORT} ${env.NONE}', env: ['TOKEN=${env.TOKEN}']}}", TOKEN="hf_secret")
    assert config.parse(made.text).workloads["a"].env == {"TOKEN": "hf_secret"}
    assert "models.a: ${env.TOKEN}: its value stands in the result" in said(made)
    assert "${env.NONE}: its value" not in said(made)


def test_an_engine_without_a_check_is_asked_for_its_first_page() -> None:
    made = done("models: {a: {cmd: 'x --port ${PORT}', checkEndpoint: none}}")
    assert config.parse(made.text).workloads["a"].health == "/"
    assert "must answer 2xx" in said(made)


@pytest.mark.parametrize(
    "more",
    [
        "routing: 5",
        "routing: {router: [], scheduler: {settings: {fifo: {priority: [a]}}}}",
        "routing: {router: {settings: {groups: [a], matrix: 5}}}",
        "selectors: {s: 5, t: {targets: a}, 7: {targets: [7]}}",
        "unloadTimeout: soon",
    ],
)
def test_odd_shapes_of_later_settings(more: str) -> None:
    assert done("models: {a: {cmd: 'x --port ${PORT}', filters: {setParamsByID: 5}}}\n" + more).workloads == ("a",)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cmd": ""}, "cmd: is missing"),
        ({}, "cmd: is missing"),
        ({"cmd": "x 'unclosed"}, "cmd: cannot be read"),
        ({"cmd": "x", "proxy": ""}, "say where its engine listens"),
        ({"cmd": "x", "proxy": "ftp://h"}, "not the address of an engine"),
        ({"cmd": "x ${a}", "macros": {"a": "${b}", "b": "${a}"}}, "for ever"),
        ({"cmd": "x ${a}", "macros": {"a": "${a}${a}"}}, "for ever"),
        ({"cmd": "docker run --rm"}, "names no image"),
        ({"cmd": "docker run --name"}, "lacks its value"),
        ({"cmd": "docker run -v /a:rel i", "proxy": "http://h:1"}, "HOST_PATH"),
    ],
)
def test_what_cannot_be_converted_is_left_as_a_comment(settings: dict[str, Any], expected: str) -> None:
    made = done(yaml.safe_dump({"models": {"good": {"cmd": "x --port ${PORT}"}, "odd": settings}}))
    assert (made.workloads, made.left_out) == (("good",), ("odd",))
    assert expected in said(made)


def test_names_never_clash_and_an_alias_belongs_to_one() -> None:
    cmd = {"cmd": "x --port ${PORT}"}
    models = {"A B": cmd, "a_b": cmd, "a-b": {**cmd, "aliases": ["a_b", "x"]}, "é": {**cmd, "aliases": ["x"]}}
    made = done(yaml.safe_dump({"models": models}))
    assert len(made.workloads) == 4
    assert "x belongs to another model already" in said(made)
    assert "a_b belongs to another model already" in said(made)


@pytest.mark.parametrize(
    "more",
    ["apiKeys: [sk-one-and-the-same, sk-one-and-the-same, null]", "groups: {g: {members: 5}}", "apiKeys: ['${x}']"],
)
def test_odd_shapes_of_known_settings(more: str) -> None:
    made = done("models: {a: {cmd: 'x --port ${PORT}', env: true, aliases: {x: y}}}\n" + more)
    assert made.workloads == ("a",)
    assert len(config.parse(made.text).keys) == ("same" in more)


def test_nothing_that_stands_in_it_ends_a_comment() -> None:
    hostile = "m\nworkloads: {evil: {port: 1}}\n#"
    made = done(yaml.safe_dump({"models": {hostile: {"cmd": ""}, "b": {"cmd": "x ${no\u2028such}", "z\n!": 1}}}))
    assert "evil" not in config.parse(made.text).workloads


@pytest.mark.parametrize("text", ["", "[]", "models: {}", "models: [a]", "a: [", "x: 1", "\x00"])
def test_what_is_no_configuration_of_llama_swap(text: str) -> None:
    with pytest.raises(ConfigError):
        convert(text, env={})


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SETTINGS = ["cmd", "proxy", "env", "ttl", "aliases", "checkEndpoint", "macros", "cmdStop", "filters", "name"]
SETTINGS += ["useModelName", "unloadTimeout"]
GENERAL = ["groups", "hooks", "apiKeys", "macros", "startPort", "globalTTL", "peers", "routing", "selectors"]
CMDS = st.sampled_from(["x --port ${PORT}", "docker run -p 1:2 i", "podman run -e A --gpus 2 i c", "sh -c 'x'"])


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.dictionaries(st.sampled_from(SETTINGS), junk | CMDS) | junk,
        min_size=1,
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(GENERAL), junk),
)
def test_whatever_stands_in_it_the_result_reads(models: dict[str, Any], more: dict[str, Any]) -> None:
    made = done(yaml.safe_dump({**more, "models": models}))
    assert len(made.workloads) + len(made.left_out) == len(models)


def test_whoever_takes_it_for_ours_is_told_of_the_command() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(REALISTIC)
    assert "hotseat import llama-swap FILE" in caught.value.hint
    for ours in ("models: 5", "models: {a: {port: 1}}", "workloads: 5\nmodels: {a: {cmd: x}}"):
        with pytest.raises(ConfigError) as caught:
            config.parse(ours)
        assert "docs/configuration.md" in caught.value.hint


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "config.yaml", tmp_path / "hotseat.yaml"
    file.write_text("models: {a: {cmd: 'x --port ${PORT}', unlisted: true}}")
    assert run(["import", "llama-swap", str(file), "-o", str(output)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "models.a.unlisted: every model is listed" in err
    assert "1 workloads, 1 remarks" in err
    assert output.stat().st_mode & 0o777 == 0o600, "it may hold secrets of the environment"
    assert run(["config", "check", str(output), "--offline"]) == 0
    capsys.readouterr()
    assert run(["import", "llama-swap", str(file), "-o", str(output)]) == 4, "nothing is overwritten"
    assert run(["import", "llama-swap", str(tmp_path / "none")]) == 3
    assert run(["import", "llama-swap", str(file), "-o", str(tmp_path / "none/x.yaml")]) == 2
    assert "cannot be written: No such file" in capsys.readouterr().err
    file.write_text("models: {a: {cmd: ''}}")
    capsys.readouterr()
    assert run(["import", "llama-swap", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["left_out"] == ["a"]
    file.write_text("no: models")
    assert run(["import", "llama-swap", str(file)]) == 2
