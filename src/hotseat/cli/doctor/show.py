"""Findings on a terminal: a table of all, then the reasons and ways out of what is not ok."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hotseat.cli import draw
from hotseat.cli.doctor.facts import Finding, Level


def show(findings: Sequence[Finding], *, quiet: bool = False) -> None:
    listed = [finding for finding in findings if not quiet or finding.level is not Level.OK]
    draw.table(
        ["", "SUBJECT", "CHECK", "WHAT"],
        [[finding.level.value, finding.subject, finding.check, finding.what] for finding in listed],
    )
    for finding in findings:
        if finding.level is not Level.OK and (finding.why or finding.way_out):
            click.echo(f"\n{finding.subject}, {finding.check}: {finding.what}")
            click.echo(f"  why: {finding.why}" if finding.why else "", nl=bool(finding.why))
            click.echo(f"  way out: {finding.way_out}" if finding.way_out else "", nl=bool(finding.way_out))
    click.echo(f"\n{verdict(findings)}")


def verdict(findings: Sequence[Finding]) -> str:
    fails = sum(finding.level is Level.FAIL for finding in findings)
    warns = sum(finding.level is Level.WARN for finding in findings)
    if fails:
        return f"{fails} will not work, {warns} to know about"
    return f"ready, {warns} to know about" if warns else "ready"
