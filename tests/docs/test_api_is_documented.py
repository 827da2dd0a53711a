"""docs/api.md against the code: what it lists is served, and what is served it lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotseat.daemon.control import Control
from hotseat.gateway.admin import AdminSite
from hotseat.gateway.dialects import ollama, openai
from hotseat.gateway.dialects.table import owner

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def rows(heading: str) -> list[tuple[str, str]]:
    """(method, path) of every request named in that section, NAME being a name."""
    found = re.search(rf"^#+ {re.escape(heading)}$.*?(?=^## |^### |\Z)", TEXT, re.M | re.S)
    assert found, heading
    return re.findall(r"`(GET|POST) (/[^`?\s]*)`", found.group())


@pytest.mark.parametrize("heading", ["OpenAI's API", "Anthropic's API", "Ollama's API"])
def test_what_a_dialect_is_said_to_serve_it_serves(heading: str) -> None:
    header = {"anthropic-version": "2023-06-01"}.get if heading.startswith("Anthropic") else {}.get
    listed = rows(heading)
    assert listed
    for method, path in listed:
        dialect = owner(path, header)
        assert dialect is not None
        assert dialect.name == heading.partition("'")[0].lower()
        assert dialect.page(method, path) is not None or dialect.serves(method, path), f"{method} {path}"


def test_what_a_dialect_serves_is_listed() -> None:
    listed = {path for heading in ("OpenAI's API", "Anthropic's API", "Ollama's API") for _, path in rows(heading)}
    served = {path for _, path in ollama._PAGES} | ollama._TEXTS | ollama._VECTORS | openai._BARE
    assert served <= listed


def test_the_admin_api() -> None:
    listed = rows("The admin API")
    assert len(listed) == 7
    site = AdminSite(None)  # type: ignore[arg-type]
    for method, path in listed:
        assert site.find(method, path) not in (None, site._nothing), f"{method} {path}"


def test_the_control_socket() -> None:
    source = Path(Control.__init__.__code__.co_filename).read_text()
    served = re.findall(r"router\.add_(get|post)\(\"([^\"]+)\"", source)
    assert served
    assert sorted(rows("The control socket")) == sorted(
        (method.upper(), path.replace("{name}", "NAME")) for method, path in served
    )
