"""The wheel as a stranger gets it: built, installed into an environment of its own, and used from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# One worker builds it, once.
pytestmark = [pytest.mark.xdist_group("wheel"), pytest.mark.timeout(300)]

COMPILED = {"hotseat-demo-engine", "libcuda.so.1", "libhotseat-interposer.so", "libnvidia-ml.so.1"}


def run(*command: str | Path, cwd: Path, code: int | None = 0, deadline: float = 110) -> str:
    """Without anything of this source tree in the way: no PYTHONPATH, another directory."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "LD_LIBRARY_PATH", "HOTSEAT_COMPILED")
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "HOTSEAT_STATE": str(cwd / "state")},
        capture_output=True,
        text=True,
        timeout=deadline,
        check=False,
    )
    assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the tools that are installed already, so that nothing is fetched. From a copy: builds leave files."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    kept = ("src", "native")
    for name in kept:
        ignored = shutil.ignore_patterns("__pycache__", "_native", "*.pyc")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source],
        env={**os.environ, "PATH": tools},
        check=True,
        capture_output=True,
        timeout=280,
    )
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on is taken from ours by a path: nothing is fetched."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, symlinks=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=place)
    (packages,) = place.glob("lib/python3*/site-packages")
    lines = [path for path in sys.path if path.endswith("site-packages")]
    # A plain path line runs no .pth file of ours, so our own in-place install of hotseat stays out.
    (packages / "dependencies.pth").write_text("\n".join(lines) + "\n")
    return place


def test_the_wheel_is_for_any_python_3_and_this_kind_of_machine(wheel: Path) -> None:
    assert wheel.name.startswith("hotseat-")
    assert "-py3-none-" in wheel.name
    assert "linux_x86_64" in wheel.name or "linux_aarch64" in wheel.name


def test_the_wheel_carries_the_compiled_parts_and_nothing_that_does_not_belong(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        engine = archive.getinfo("hotseat/_native/hotseat-demo-engine")
        metadata = archive.read(next(name for name in names if name.endswith("dist-info/METADATA"))).decode()
    page = {"static/index.html", "static/js/main.js", "static/vendor/uplot.js", "static/vendor/LICENSE.preact.txt"}
    assert {f"hotseat/dashboard/{file}" for file in page} <= set(names), "the page at /ui comes along"
    native = {name.removeprefix("hotseat/_native/") for name in names if name.startswith("hotseat/_native/")}
    assert {name for name in native if not name.startswith("hotpath/")} == COMPILED
    assert "hotpath/sources.json" in native
    assert engine.external_attr >> 16 & 0o111, "the demo engine is not executable"
    assert all(name.startswith(("hotseat/", "hotseat-")) for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".c", ".o"))]
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_command_runs_from_the_wheel(installed: Path) -> None:
    where = run(installed / "bin" / "python", "-c", "import hotseat; print(hotseat.__file__)", cwd=installed)
    assert Path(where.strip()).is_relative_to(installed)
    assert run(installed / "bin" / "hotseat", "--version", cwd=installed).startswith("hotseat 0.")
    gateway = "import hotseat.gateway.front as front; print(front.__file__)"
    headers = (Path(sysconfig.get_path("include")) / "Python.h").is_file()
    front = run(installed / "bin" / "python", "-c", gateway, cwd=installed).strip()
    assert front.endswith(EXTENSION_SUFFIXES[0] if headers else ".py")
    report = json.loads(run(installed / "bin" / "hotseat", "doctor", "--json", cwd=installed, code=None))
    assert {"driver", "rights", "cgroups", "host"} <= {finding["subject"] for finding in report["findings"]}


@pytest.mark.emulated
def test_the_story_from_the_wheel(installed: Path) -> None:
    told = run(
        installed / "bin" / "hotseat", "demo", "--emulated", "--weights=4MiB", "--kv=2MiB", "--json", cwd=installed
    )
    report = json.loads(told)
    assert report["ok"] is True, report["steps"]
