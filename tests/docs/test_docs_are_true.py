"""The documents against the code: nothing that exists is missing, nothing that is named does not exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from hotseat import errors
from hotseat.cli.main import cli
from hotseat.words import State

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LAYERS = "Layers of DESIGN.md"


def commands(group: click.Group = cli, path: str = "hotseat") -> list[tuple[str, click.Command]]:
    """Every command that does something, with its words."""
    out: list[tuple[str, click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}"
        out += commands(command, words) if isinstance(command, click.Group) else [(words, command)]
    return out


def section(text: str, heading: str) -> str:
    """From the level-2 heading that begins with `heading` to the next."""
    found = re.search(rf"^## {re.escape(heading)}\b.*?(?=^## |\Z)", text, re.M | re.S)
    assert found, f"docs/cli.md has no section {heading!r}"
    return found.group()


@pytest.mark.parametrize(("words", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_in_its_section(words: str, command: click.Command) -> None:
    text = section((DOCS / "cli.md").read_text(), words)
    options = {name for param in command.params if isinstance(param, click.Option) for name in param.opts}
    missing = {name for name in options if f"`{name}`" not in text}
    assert not missing
    described = set(re.findall(r"`(--?[a-z-]+)`", text.partition("| option |")[2]))
    assert described <= options, "described, but not an option"


def test_no_section_describes_a_command_that_is_gone() -> None:
    headings = re.findall(r"^## (hotseat [a-z -]+?)(?: [\[A-Z].*)?$", (DOCS / "cli.md").read_text(), re.M)
    assert sorted(headings) == sorted(words for words, _ in commands())


def every_error() -> list[type[errors.HotseatError]]:
    out: list[type[errors.HotseatError]] = [errors.HotseatError]
    for kind in out:
        out.extend(kind.__subclasses__())
    return [kind for kind in out if kind.__module__ == errors.__name__]


def test_every_error_code_is_explained_with_its_exit_code_and_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", (DOCS / "errors.md").read_text(), re.M)
    assert sorted(rows) == sorted((kind.code, str(kind.exit_code), str(kind.http_status)) for kind in every_error())


def test_every_state_is_a_word_of_concepts() -> None:
    text = (DOCS / "concepts.md").read_text()
    assert [state.value for state in State if state.value not in text] == []


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~ \[;]", text, maxsplit=1)[0] for text in requirements}


def test_every_dependency_has_its_one_line_why_and_no_other_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = requirement_names([*project["project"]["dependencies"], *groups["build"], *groups["dev"]])
    listed = set(re.findall(r"^\| `([\w-]+)` \| \S", (DOCS / "dependencies.md").read_text(), re.M))
    assert listed == wanted


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_every_dependency_with_hashes_and_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|@ ", text)
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert requirement_names(project["project"]["dependencies"]) <= set(pinned)
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, f"{block.splitlines()[0]} has no hash"


def test_both_lock_files_agree() -> None:
    def pins(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.M))

    few, all_of_them = pins("requirements.lock"), pins("requirements-dev.lock")
    assert few.items() <= all_of_them.items()


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{target} leads nowhere"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}: no such heading"


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_commands_in_code_blocks_exist(document: Path) -> None:
    known = {tuple(words.split()[1:]) for words, _ in commands()}
    first = {words[0] for words in known}
    for block in re.findall(r"```(?:\w*)\n(.*?)```", document.read_text(), re.S):
        for line in block.splitlines():
            called = re.match(r"(?:\$ |# )?hotseat ([a-z]+)", line.strip())
            if called:
                assert called.group(1) in first, line


def test_layers_in_the_documents_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["name"].startswith(LAYERS)]
    checked = [name.removeprefix("hotseat.") for layer in contract["layers"] for name in layer.split(" | ")]
    text = (DOCS / "development.md").read_text()
    block = text.partition("## Layers")[2].split("```")[1]
    told = [word.strip(",") for line in block.strip().splitlines() for word in line.split("   ")[0].split()]
    assert sorted(told) == sorted(checked)


def test_make_help_lists_every_target_that_the_documents_name() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    for document in documents():
        for target in re.findall(
            r"`?make ([a-z]+)", "\n".join(re.findall(r"```.*?```|`[^`]+`", document.read_text(), re.S))
        ):
            assert target in targets, f"{document.name}: make {target}"
