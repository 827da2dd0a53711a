"""hotseat.yaml: what is read, and that every mistake has its place and a hint."""

from pathlib import Path

import pytest

from hotseat import config
from hotseat.errors import ConfigError, NotFound


def mistakes(text: str) -> dict[str, str]:
    """place -> "path: message" of every mistake in `text`."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, name="f")
    assert caught.value.hint
    found = caught.value.details["mistakes"]
    assert all(item["place"] in caught.value.message for item in found)
    return {item["place"]: f"{item['path']}: {item['message']}; {item['hint']}" for item in found}


def test_workloads_take_what_they_do_not_say_from_defaults() -> None:
    read = config.parse("""
defaults: {min_stay: 9s, drain: 3s}
workloads:
  a: {port: 1, drain: off}
  b: {port: 2, container: box, models: [m, n], min_stay: 1s}
""")
    a, b = read.workloads["a"], read.workloads["b"]
    assert (a.min_stay, a.drain, a.container, a.models) == (9.0, None, "a", ["a"])
    assert (b.min_stay, b.drain, b.container, b.models) == (1.0, 3.0, "box", ["m", "n"])


def test_every_mistake_is_listed_with_its_place() -> None:
    found = mistakes("""
gatway: {}
gateway: {port: 70000, keepalive: 5}
workloads:
  a: {url: x, modles: [b], platform: dcoker}
  b: {port: 1, command: foo, platform: process}
  C: {port: 1}
  d: {platform: process, port: 1}
devices: {0: {cap: 20G}}
""")
    assert found.keys() == {
        *("f:2:1", "f:3:11", "f:3:24", "f:5:7", "f:5:15", "f:5:28"),
        *("f:6:16", "f:7:3", "f:8:3", "f:9:15"),
    }
    assert "did you mean `gateway`" in found["f:2:1"]
    assert "did you mean `models`" in found["f:5:15"]
    assert 'write "5s"' in found["f:3:24"]
    assert "workloads.b.command: 'foo' is no list; write a list" in found["f:6:16"]
    assert "`command`" in found["f:8:3"]


def test_what_stands_twice_is_a_mistake() -> None:
    assert mistakes("workloads:\n  a: {port: 1, port: 2}\n") == {
        "f:2:16": "workloads.a.port: stands twice, first in line 2; keep one of them"
    }


def test_two_workloads_cannot_share_a_model_or_a_container() -> None:
    found = mistakes("""
workloads:
  a: {port: 1, models: [m]}
  b: {port: 2, models: [m]}
  c: {port: 3, container: a}
""")
    assert found == {
        "f:4:25": "workloads.b.models[0]: model 'm' already belongs to workload 'a'; leave it to one of the two",
        "f:5:16": "workloads.c.container: docker container 'a' already belongs to workload 'a'; "
        "give one workload the `models` of both",
    }


@pytest.mark.parametrize("text", ["[]", "workloads: [a]", "workloads:\n  a:\n"])
def test_files_whose_workloads_are_none(text: str) -> None:
    assert mistakes(text)


@pytest.mark.parametrize("text", ["", "workloads: {}", "discovery: {docker: off}"])
def test_no_workload_is_needed_where_some_may_be_discovered(text: str) -> None:
    assert config.parse(text).workloads == {}


def test_without_workloads_and_discovery_there_is_nothing_to_serve() -> None:
    found = mistakes("discovery: {docker: off, podman: off}\nworkloads: {}")
    assert found == {"f:2:1": "workloads: none, and `discovery` is off; name a workload, or there is nothing to serve"}


def test_an_address_that_others_reach_needs_keys_or_a_word() -> None:
    (item,) = mistakes("gateway:\n  host: 0.0.0.0\n").items()
    assert item[0] == "f:2:3"
    assert "gateway.host: 0.0.0.0 can be reached" in item[1]
    assert "`hotseat key`" in item[1]
    key = "sha256:" + "0" * 64
    for allowed in ("gateway: {host: 0.0.0.0, public: true}", f"gateway: {{host: '::'}}\nkeys: {{a: {{hash: {key}}}}}"):
        config.parse(allowed)


def test_mistakes_of_nested_parts_have_their_place_too() -> None:
    found = mistakes("""
keys: {alice: {hash: secret, prioritty: 1}}
host_memory: {parked: 20G}
workloads:
  a:
    port: 1
    image: i
    hooks:
      before_park:
        - {path: sleep}
        - {pth: /sleep}
        - /sleep
    run: {publish: [80], gpus: some, volumes: ["data"], memry: 1GiB}
""")
    assert {place: said.partition(": ")[0] for place, said in found.items()} == {
        "f:2:16": "keys.alice.hash",
        "f:2:30": "keys.alice.prioritty",
        "f:3:15": "host_memory.parked",
        "f:10:12": "workloads.a.hooks.before_park[0].path",
        "f:11:12": "workloads.a.hooks.before_park[1].pth",
        "f:11:11": "workloads.a.hooks.before_park[1].path",
        "f:12:11": "workloads.a.hooks.before_park[2]",
        "f:13:21": "workloads.a.run.publish[0]",
        "f:13:26": "workloads.a.run.gpus",
        "f:13:48": "workloads.a.run.volumes[0]",
        "f:13:57": "workloads.a.run.memry",
    }
    assert "did you mean `priority`" in found["f:2:30"]
    assert "did you mean `path`" in found["f:11:12"]
    assert "did you mean `memory`" in found["f:13:57"]
    assert "'/sleep' does not fit here; write settings beneath it" in found["f:12:11"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("{volumes: ['a/b:/c']}", "HOST_PATH"),
        ("{volumes: ['/a:b']}", "PATH_INSIDE"),
        ("{volumes: ['/a:/b:rx']}", "read-only"),
        ("{publish: ['8000']}", "PORT_INSIDE"),
        ("{publish: ['1:70000']}", "1 to 65535"),
        ("{publish: ['host:1:2']}", "not an IP address"),
        ("{gpus: [-1]}", "device indices"),
        ("{gpus: '0'}", "device indices"),
    ],
)
def test_how_a_container_is_run(run: str, said: str) -> None:
    (message,) = mistakes(f"workloads:\n  a: {{port: 1, image: i, run: {run}}}\n").values()
    assert said in message


def test_broken_yaml_has_its_place_too() -> None:
    assert list(mistakes("workloads:\n  a: [\n")) == ["f:3:1"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("{}", "either `url` or `port`"),
        ("{port: 1, url: 'http://h:1'}", "not both"),
        ("{port: 1, command: [x]}", "`command` is for platform `process`"),
        ("{port: 1, platform: process, command: [x], container: y}", "has the workload's name"),
        ("{port: 1, platform: process, command: [x, 1]}", 'in quotes: "1"'),
        ("{port: 1, platform: process, command: [x], env: {A: yes}}", "A: YAML reads this as true or false"),
        ("{url: 'http://h:1/?x=1'}", "not the address"),
        ("{port: 1, drain: on}", "for how long"),
        ("{port: 1, health: health}", 'begins with "/"'),
    ],
)
def test_rules_of_one_workload(fields: str, said: str) -> None:
    (message,) = mistakes(f"workloads:\n  a: {fields}\n").values()
    assert said in message


def test_env_numbers_become_text_and_workdir_is_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hotseat.yaml"
    file.write_text("workloads: {a: {port: 1, platform: process, command: [x], env: {PORT: 80}, workdir: d}}\nstate: s")
    read = config.load(file)
    assert read.workloads["a"].env == {"PORT": "80"}
    assert read.workloads["a"].workdir == tmp_path / "d"
    assert read.state == tmp_path / "s"


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        config.load(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError):
        config.load(tmp_path / "binary")


def test_find_takes_the_named_one_or_says_where_it_looked(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    with pytest.raises(NotFound, match=r"x\.yaml"):
        config.find(env={"HOTSEAT_CONFIG": str(file)})
    file.write_text("")
    assert config.find(env={"HOTSEAT_CONFIG": str(file)}) == file
