"""docs/how-a-swap-works.md names every step and every rule, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from hotseat.swap import plan

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-a-swap-works.md").read_text()


def rows(heading: str) -> set[str]:
    section = re.search(rf"^## {heading}$.*?(?=^## )", TEXT, re.M | re.S)
    assert section
    return set(re.findall(r"^\| `([^`]+)` \|", section.group(), re.M))


def test_the_tables_of_steps_are_the_plans():
    out = {step.name for step in plan.plan_out(uses_cuda=True, interposed=True, custom=True).steps}
    assert rows("Out") == out | {"drain", "before_park", "find"}
    into = {step.name for step in plan.plan_in(uses_cuda=True, probe=True, interposed=True).steps}
    assert rows("In") == into | {"find"}


def test_every_rule_that_refuses_a_swap_is_explained():
    sources = [*(ROOT / "src/hotseat/swap").glob("*.py"), *(ROOT / "src/hotseat/linux").glob("*.py")]
    rules = {rule for path in sources for rule in re.findall(r'rule="([^"]+)"', path.read_text())}
    assert rules <= rows("Before anything is touched"), rules - rows("Before anything is touched")
    assert {"paused", "quarantined", "host memory", "device memory"} <= rules
