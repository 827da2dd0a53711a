"""The CDI specification against the rules of its version, which a platform refuses a file for."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hotseat.cli.cdi import specification, write
from hotseat.cli.main import run
from hotseat.errors import UsageError
from hotseat.platforms.interposed import Interposer

GIVEN = Interposer(library=Path("/opt/l.so"), agents=Path("/run/hotseat/store/agents"))


def faults(spec: dict[str, Any]) -> list[str]:
    """What breaks SPEC.md of version 0.3.0: unknown fields, names, empty or relative edits."""
    said = [f"unknown {key}" for key in spec.keys() - {"cdiVersion", "kind", "devices", "containerEdits"}]
    said += [] if spec["cdiVersion"] == "0.3.0" else ["version"]
    vendor, _, kind = spec["kind"].partition("/")
    said += [] if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]", vendor) else ["vendor"]
    said += [] if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]", kind) else ["class"]
    said += [] if spec["devices"] else ["no device"]
    for device in spec["devices"]:
        said += [f"unknown {key}" for key in device.keys() - {"name", "containerEdits"}]
        said += [] if re.fullmatch(r"[A-Za-z]([A-Za-z0-9_.:-]*[A-Za-z0-9])?", device["name"]) else ["name"]
        edits = device["containerEdits"]
        said += [f"unknown {key}" for key in edits.keys() - {"env", "deviceNodes", "hooks", "mounts"}]
        said += [] if any(edits.values()) else ["empty edits"]
        said += [f"env {text}" for text in edits["env"] if not re.fullmatch(r"[A-Z_]+=.+", text)]
        for mount in edits["mounts"]:
            said += [f"unknown {key}" for key in mount.keys() - {"hostPath", "containerPath", "options"}]
            said += [path for path in (mount["hostPath"], mount["containerPath"]) if not path.startswith("/")]
    return said


@pytest.mark.parametrize("name", ["all", "a", "node-2.gpu:1"])
def test_it_keeps_the_rules(name: str) -> None:
    spec = specification(GIVEN, name=name)
    assert faults(spec) == []
    assert [device["name"] for device in spec["devices"]] == [name]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a=b", "a-"])
def test_what_is_no_name_is_said(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a CDI device"):
        specification(GIVEN, name=name)


def test_mounts_and_variables_belong_together() -> None:
    (device,) = specification(GIVEN, name="all")["devices"]
    edits = device["containerEdits"]
    inside = [mount["containerPath"] for mount in edits["mounts"]]
    preload = edits["env"][0].removeprefix("LD_PRELOAD=")
    words = (f"lib/{platform.machine()}-linux-gnu", "lib64", "lib")
    assert inside[:3] == [preload.replace("$LIB", word) for word in words]
    assert edits["env"][1] == f"HOTSEAT_STORE={inside[3]}/store.sock"
    assert [mount["hostPath"] for mount in edits["mounts"]] == [*["/opt/l.so"] * 3, "/run/hotseat/store/agents"]
    assert all("ro" in mount["options"] for mount in edits["mounts"])


def test_it_is_written_whole_as_json_or_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    control = tmp_path / "store" / "control.sock"
    assert run(["store", "cdi", "--socket", str(control)]) == 0
    printed = capsys.readouterr()
    assert faults(json.loads(printed.out)) == []
    assert f"{control.parent}/agents is not there yet" in printed.err
    (control.parent / "agents").mkdir(parents=True)
    for name, read in (("hotseat.json", json.loads), ("hotseat.yaml", yaml.safe_load)):
        file = tmp_path / "cdi" / name
        for _ in range(2):
            write(control, output=file, name="all")
            assert read(file.read_text()) == json.loads(printed.out)
        assert file.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in (tmp_path / "cdi").iterdir()) == ["hotseat.json", "hotseat.yaml"]
    assert "note" not in capsys.readouterr().err


def test_where_it_cannot_be_written_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["store", "cdi", "--output", str(tmp_path / "file" / "x.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err
