"""Which of the two runs, the compiled modules or their sources."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from hotseat import hotpath

NAME, FILE = "hotseat.gateway.small", "hotseat/gateway/small.py"
ROOT = Path(__file__).parents[2]
BUILD = ROOT / "native" / "hotpath" / "build.py"
MODULES = re.compile(r"^  (hotseat\.[a-z_.0-9]+)$", re.M)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One module and what was made of it, as `native/hotpath/build.py` leaves them."""
    source = tmp_path / "hotseat" / "gateway" / "small.py"
    source.parent.mkdir(parents=True)
    source.write_text("number = 1\n")
    compiled = tmp_path / "hotseat" / "_native"
    compiled.mkdir()
    library = NAME + EXTENSION_SUFFIXES[0]
    (compiled / library).touch()
    write(compiled, {"libraries": {NAME: library}, "sources": {FILE: source_hash(source)}})
    return tmp_path / "hotseat"


def write(compiled: Path, made: object) -> None:
    (compiled / "sources.json").write_text(json.dumps(made))


def source_hash(source: Path) -> str:
    return importlib.util.source_hash(source.read_bytes()).hex()


def found(tree: Path) -> dict[str, Path]:
    """And if there are none, one is told why."""
    libraries, why = hotpath.libraries(tree / "_native", tree)
    assert bool(libraries) != bool(why)
    return libraries


def why(tree: Path) -> str:
    return hotpath.libraries(tree / "_native", tree)[1]


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOTSEAT_COMPILED", raising=False)


def test_what_was_compiled_of_these_sources_runs(tree: Path) -> None:
    assert found(tree) == {NAME: tree / "_native" / (NAME + EXTENSION_SUFFIXES[0])}


def test_switched_off_the_sources_run(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSEAT_COMPILED", "0")
    assert not found(tree)
    assert why(tree) == "HOTSEAT_COMPILED=0"


def test_a_source_that_was_changed_since_runs_itself(tree: Path) -> None:
    (tree / "gateway" / "small.py").write_text("number = 2\n")
    assert not found(tree)
    assert FILE in why(tree)
    assert "make build" in why(tree)


def test_what_another_interpreter_needs_is_left_alone(tree: Path) -> None:
    source = tree / "gateway" / "small.py"
    other = NAME + ".cpython-399-x86_64-linux-gnu.so"
    (tree / "_native" / other).touch()
    write(tree / "_native", {"libraries": {NAME: other}, "sources": {FILE: source_hash(source)}})
    assert not found(tree)


@pytest.mark.parametrize(
    "made", [None, "", "[]", "{}", '{"libraries": {}, "sources": {}, "why": "no Python.h"}', '{"sources": {"a": 1}}']
)
def test_without_anything_compiled_the_sources_run(tree: Path, made: str | None) -> None:
    if made is None:
        (tree / "_native" / "sources.json").unlink()
    else:
        (tree / "_native" / "sources.json").write_text(made)
    assert not found(tree)


def test_a_library_that_is_missing_takes_the_others_with_it(tree: Path) -> None:
    (tree / "_native" / (NAME + EXTENSION_SUFFIXES[0])).unlink()
    assert not found(tree)


@pytest.mark.parametrize("switch", ["1", "0"])
def test_this_tree_runs_all_of_them_or_none(switch: str) -> None:
    """None if somebody changed a source and has not built it since."""
    made = json.loads((hotpath.COMPILED / "sources.json").read_bytes())
    modules = MODULES.findall((ROOT / "CMakeLists.txt").read_text())
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {modules}]"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HOTSEAT_COMPILED": switch},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    compiled = switch == "1" and bool(hotpath.libraries()[0])
    suffix = EXTENSION_SUFFIXES[0] if compiled else ".py"
    assert [name for name in done.stdout.split() if not name.endswith(suffix)] == []
    assert len(done.stdout.split()) == len(modules) > 20
    if (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        assert sorted(made["libraries"]) == sorted([*modules, hotpath.SHARED]), made.get("why")


def test_what_they_import_is_one_of_the_sources() -> None:
    """A type that is changed there is another type here."""
    sources = json.loads((hotpath.COMPILED / "sources.json").read_bytes())["sources"]
    assert {"hotseat/gateway/front.py", "hotseat/gateway/port.py", "hotseat/errors.py"} <= sources.keys()
    assert all(hotpath.PACKAGE.parent.joinpath(name).is_file() for name in sources)
    assert not [name for name in sources if name.startswith("hotseat/cli/")]


@pytest.mark.parametrize("ci", [True, False])
def test_what_cannot_be_compiled_is_said_and_fails_in_ci(tmp_path: Path, ci: bool) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "wrong.py").write_text("number: int = 'one'\n")
    (tmp_path / "work").mkdir()
    out = tmp_path / "out"
    environ = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    done = subprocess.run(
        [sys.executable, BUILD, tmp_path / "src", out, tmp_path / "depfile", "wrong"],
        cwd=tmp_path / "work",
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if ci:
        assert done.returncode != 0
        assert not (out / "sources.json").exists()
    else:
        assert done.returncode == 0
        assert "WARNING: the gateway runs uncompiled" in done.stderr
        assert json.loads((out / "sources.json").read_bytes())["libraries"] == {}
