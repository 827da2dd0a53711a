"""What stands in vendor/ is what scripts/vendor.sh takes, with its licences, and names no other host."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/hotseat/dashboard/static"
SCRIPT = (ROOT / "scripts/vendor.sh").read_text()


def test_every_library_is_pinned_by_version_and_hash_and_has_its_licence() -> None:
    pinned = re.findall(r"^fetch ([\w-]+) (\d+\.\d+\.\d+) ([0-9a-f]{64})$", SCRIPT, re.M)
    assert {name for name, _, _ in pinned} == {"preact", "htm", "uplot", "axe-core"}
    for name in ("preact", "htm", "uplot"):
        assert (STATIC / f"vendor/LICENSE.{name}.txt").read_text().strip()


def test_vendored_files_are_those_that_the_script_takes() -> None:
    taken = set(re.findall(r'"\$into/([\w.-]+)"$', SCRIPT, re.M)) | {
        f"LICENSE.{name}.txt" for name in ("preact", "htm", "uplot")
    }
    assert {path.name for path in (STATIC / "vendor").iterdir()} == taken


def test_scripts_import_only_what_is_there() -> None:
    scripts = [*STATIC.rglob("*.js")]
    assert len(scripts) > 10
    for script in scripts:
        for target in re.findall(r'(?:^|[;\s}])(?:import|export)[^;"\']*?from\s*"([^"]+)"', script.read_text()):
            assert (script.parent / target).resolve().is_file(), f"{script.name}: {target}"


def test_nothing_of_ours_is_inline_or_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|style=", page)
    for file in [STATIC / "index.html", *STATIC.glob("*.css"), *(STATIC / "js").glob("*.js")]:
        assert not re.search(r"https?://|innerHTML|\beval\(", file.read_text()), file.name
