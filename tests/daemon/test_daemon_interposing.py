"""Which workloads run with the interposer, and what those are given."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from hotseat import config, native
from hotseat.config import Store, Workload
from hotseat.daemon import making
from hotseat.daemon.interposing import interposer_for
from hotseat.errors import ConfigError, Unavailable
from hotseat.platforms.interposed import Interposer, interposed
from hotseat.platforms.spec import Bind, ContainerSpec

GIVEN = Interposer(library=Path("/lib/libhotseat-interposer.so"), agents=Path("/run/a"))


def workload(more: str = "", *, kind: str = "image: 'i:1'") -> Workload:
    return config.parse(f"workloads: {{w: {{port: 8000, {kind}{more and ', ' + more}}}}}").workloads["w"]


def store(tmp_path: Path, use: str = "auto", *, there: bool = True) -> Store:
    control = tmp_path / "store" / "control.sock"
    if there:
        control.parent.mkdir(exist_ok=True)
        control.touch()
    return Store.model_validate({"use": use, "control": control})


@pytest.mark.parametrize(
    ("use", "there", "more", "with_it"),
    [
        ("auto", True, "", True),
        ("auto", False, "", False),
        ("on", False, "", True),
        ("off", True, "", False),
        ("auto", True, "interposed: false", False),
        ("auto", False, "interposed: true", True),
        ("off", True, "interposed: true", False),
    ],
)
def test_who_runs_with_it(tmp_path: Path, use: str, there: bool, more: str, with_it: bool) -> None:
    given = interposer_for(workload(more), store(tmp_path, use, there=there))
    assert (given is not None) == with_it
    if given is not None:
        assert given.library == native.path("libhotseat-interposer.so")
        assert given.agents.is_dir(), "so that a store that comes later is found in it"
        assert given.agents.stat().st_mode & 0o777 == 0o711


def test_a_container_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    theirs = workload(kind="container: c")
    assert interposer_for(theirs, store(tmp_path, "on")) is None
    with pytest.raises(ConfigError, match="gets the interposer when it is made"):
        workload("interposed: true", kind="container: c")


def test_what_cannot_be_had_is_refused_only_to_who_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "DIRECTORY", tmp_path / "nothing")
    assert interposer_for(workload(), store(tmp_path)) is None
    with pytest.raises(Unavailable, match=r"libhotseat-interposer\.so is not part of this installation"):
        interposer_for(workload("interposed: true"), store(tmp_path))


def test_a_container_gets_mounts_that_it_cannot_write_and_two_variables() -> None:
    made = interposed(ContainerSpec(name="w", image="i", command=(), env={"A": "b"}), GIVEN)
    assert made.env == {
        "A": "b",
        "LD_PRELOAD": "/usr/lib/hotseat/$LIB/libhotseat-interposer.so",
        "HOTSEAT_STORE": "/run/hotseat/store/agents/store.sock",
    }
    assert made.binds == (
        *(
            Bind(source=GIVEN.library, target=f"/usr/lib/hotseat/{word}/libhotseat-interposer.so", read_only=True)
            for word in (f"lib/{platform.machine()}-linux-gnu", "lib64", "lib")
        ),
        Bind(source=GIVEN.agents, target="/run/hotseat/store/agents", read_only=True),
    )


def test_a_process_has_them_where_they_are_and_keeps_its_own_preload() -> None:
    made = interposed(ContainerSpec(name="w", command=("x",), env={"LD_PRELOAD": "/lib/mine.so"}), GIVEN)
    assert made.binds == ()
    assert made.env == {
        "LD_PRELOAD": "/lib/libhotseat-interposer.so:/lib/mine.so",
        "HOTSEAT_STORE": "/run/a/store.sock",
    }


def test_that_a_store_comes_or_goes_makes_no_other_container() -> None:
    said = {making.fingerprint(workload(more)) for more in ("", "interposed: auto")}
    assert said == {making.fingerprint(workload())}
    others = {making.fingerprint(workload(f"interposed: {value}")) for value in ("true", "false")}
    assert len(others | said) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: {use: maybe}", "auto, on or off"),
        ("store: {arena: 1MiB}", "at least 2MiB"),
        ("store: {agents_mode: 666}", "in quotes"),
        ("store: {control: /run/x.sock}", "called control.sock"),
        ("workloads: {w: {port: 1, interposed: maybe}}", "true, false or auto"),
    ],
)
def test_mistakes_say_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.parse(text)


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_a_bare_on_and_off_of_yaml_are_words(written: str, meant: str) -> None:
    assert config.parse(f"store: {{use: {written}}}").store.use == meant
