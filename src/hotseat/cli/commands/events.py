"""hotseat events"""

from __future__ import annotations

import click

from hotseat.cli import options
from hotseat.words import EVENT_KINDS


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from hotseat.config.units import parse_duration

        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    epilog="""\b
Kinds: state, phase, swap, store, fetch, start, prewarm, config, stop, note; docs/metrics.md says what each tells.

\b
Examples:
  hotseat events                                what happens from now on, until Ctrl-C
  hotseat events --since 10m --kind swap        the swaps of the last ten minutes, and those to come
  hotseat events --workload llama --json        one JSON object a line
"""
)
@click.option("--workload", "workloads", multiple=True, metavar="NAME", help="Only of this workload; may be repeated.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(list(EVENT_KINDS)), help="Only this kind; may be repeated."
)
@click.option("--since", type=_Duration(), metavar="DURATION", help="First what happened so long ago, if it is kept.")
@options.as_json
@options.control
def events(
    workloads: tuple[str, ...], kinds: tuple[str, ...], since: float | None, as_json: bool, control: str | None
) -> None:
    """Follow the daemon: every change of state, every phase of every swap."""
    import asyncio

    from hotseat.cli.following import follow

    names, only = frozenset(workloads), frozenset(kinds)
    asyncio.run(follow(control=control, as_json=as_json, workloads=names, kinds=only, since=since))
