"""A hotseat.yaml as text, with comments where something had no equivalent. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_WIDTH = 110


def render(
    head: Mapping[str, Any],
    workloads: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, Mapping[str, Any]],
    *,
    notes: Mapping[str, Sequence[str]],
    general: Sequence[str],
) -> str:
    """`notes` go above their workload, `general` to the top; what was `left_out` stands as a comment."""
    parts = ["# Made by `hotseat import`. docs/configuration.md explains every setting.\n"]
    parts += [_comment(note, "") for note in general]
    parts += [f"\n{_dump({key: value})}" for key, value in head.items()]
    parts.append("\nworkloads:\n" if workloads else "\nworkloads: {}\n")
    for name, settings in workloads.items():
        parts += [_comment(note, "  ") for note in notes.get(name, ())]
        parts.append(textwrap.indent(_dump({name: dict(settings)}), "  ") + "\n")
    for name, settings in left_out.items():
        parts.append("  # could not be converted:\n")
        parts += [_comment(note, "  ") for note in notes.get(name, ())]
        parts.append(textwrap.indent(_dump({name: dict(settings)}), "  # ", lambda line: True) + "\n")
    return "".join(parts).rstrip() + "\n"


def _dump(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, width=_WIDTH, allow_unicode=False)


def _comment(text: str, indent: str) -> str:
    """Nothing in it can end the comment: whatever is no plain character becomes a space."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    lines = textwrap.wrap(plain, _WIDTH - len(indent), break_on_hyphens=False) or [""]
    return "".join(f"{indent}# {line}\n" for line in lines)
