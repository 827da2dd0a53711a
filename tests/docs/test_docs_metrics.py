"""docs/metrics.md, the Grafana board and the alert rules against the catalogue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hotseat.metrics.catalogue import CATALOGUE, Kind
from hotseat.words import EVENT_KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/metrics.md").read_text()
BOARD = ROOT / "packaging/grafana/hotseat.json"
ALERTS = ROOT / "packaging/prometheus/hotseat-alerts.yaml"
_OWN = re.compile(r"\bhotseat_[a-z_]+")


def series() -> dict[str, tuple[str, ...]]:
    """Every name that a query may use, with its labels."""
    out: dict[str, tuple[str, ...]] = {}
    for metric in CATALOGUE:
        if metric.kind is Kind.HISTOGRAM:
            out |= {f"{metric.name}_{end}": metric.labels for end in ("sum", "count")}
            out[f"{metric.name}_bucket"] = (*metric.labels, "le")
        else:
            out[metric.name] = metric.labels
    return out


def check_query(query: str) -> None:
    """Its metrics exist, and its matchers and groupings name labels that they have."""
    names = set(_OWN.findall(query))
    assert names, f"no metric of hotseat in {query}"
    assert names <= series().keys(), query
    for name, matchers in re.findall(r"\b(hotseat_[a-z_]+)\{([^}]*)\}", query):
        used = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        assert used <= {*series()[name], "job", "instance"}, query
    known = {label for name in names for label in series()[name]} | {"instance"}
    for labels in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in labels.split(",")} <= known, query


def test_every_metric_is_described_as_it_is_and_no_other() -> None:
    rows = re.findall(r"^\| `(hotseat_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", TEXT, re.M)
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]
    assert told == [(metric.name, metric.kind.value, metric.labels, metric.help) for metric in CATALOGUE]


def test_every_kind_of_event_is_described() -> None:
    assert (
        dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT.partition("| kind | meaning |")[2].partition("\n\n")[0], re.M))
        == EVENT_KINDS
    )


def test_every_kind_that_is_published_is_a_kind() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src/hotseat").rglob("*.py"))
    published = set(re.findall(r'(?:\bSay\(\s*kind=|\bpublish\(\s*)"(\w+)"', sources))
    assert published == EVENT_KINDS.keys()


def test_queries_in_the_document_ask_for_what_there_is() -> None:
    queries = re.findall(r"^\| [^|`]*\? \| `(.*)` \|$", TEXT, re.M)
    assert len(queries) >= 5
    for query in queries:
        check_query(query)


def targets(panel: dict[str, Any]) -> list[str]:
    inner = [query for child in panel.get("panels", ()) for query in targets(child)]
    return inner + [target["expr"] for target in panel.get("targets", ())]


def test_every_panel_of_the_board_asks_for_what_there_is() -> None:
    board = json.loads(BOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert targets(panel), panel["title"]
        for query in targets(panel):
            check_query(query)
    asked = {name for panel in panels for query in targets(panel) for name in _OWN.findall(query)}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert stems >= {metric.name for metric in CATALOGUE}, "a metric that no panel shows"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_alerts_ask_for_what_there_is_and_say_what_to_do(rule: dict[str, Any]) -> None:
    if rule["expr"] != 'up{job="hotseat"} == 0':
        check_query(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
