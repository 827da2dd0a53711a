"""hotseat simulate TRACE"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hotseat.cli import options


class Parsed(click.ParamType[Any]):
    """A size, a duration, a share or a range, as people write it; read by `hotseat.cli.simulating`."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        from hotseat.cli.simulating import parse

        try:
            return parse(self.name, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_SIZE, _DURATION = Parsed("size"), Parsed("duration")
_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command(
    epilog="""\b
Examples:
  hotseat simulate trace.csv --models 12 --gpus 2 --slo 10s
  hotseat simulate trace.csv.gz --models 40 --gpus 1..8 --baselines none --slo 10s
  hotseat simulate trace.csv --models 40 --how-many --slo 10s --attainment 99%
  hotseat simulate trace.csv --config hotseat.yaml --per-model
  hotseat simulate trace.csv --models 12 --compare 20s,60s      which min_stay?

docs/simulate.md says what is assumed, and what the figures do not tell.
"""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--config", "-c", type=click.Path(path_type=Path), help="The workloads and devices of this hotseat.yaml.")
@click.option("--models", type=click.IntRange(1, 10_000), help="So many models, in place of those the trace names.")
@click.option(
    "--sizes",
    type=Parsed("sizes"),
    default="8GiB:4,16GiB:3,40GiB:1",
    show_default=True,
    metavar="SIZE:WEIGHT,...",
    help="Device memory of a model, drawn by weight.",
)
@click.option(
    "--gpus", type=Parsed("range"), default=None, metavar="N or N..M", help="GPUs; a range makes a table.  [default: 1]"
)
@click.option("--gpu-memory", type=_SIZE, default="80GiB", show_default=True, metavar="SIZE", help="Of each GPU.")
@click.option("--host-memory", type=_SIZE, metavar="SIZE", help="What all parked workloads together may hold.")
@click.option("--how-many", is_flag=True, help="Find the fewest GPUs that reach --attainment of --slo (within --gpus).")
@click.option("--slo", type=_DURATION, metavar="TIME", help="A request is in time if it waits no longer.")
@click.option(
    "--slo-of",
    type=click.Choice(["seat", "first-token"]),
    default="first-token",
    show_default=True,
    help="What it waits for.",
)
@click.option(
    "--attainment",
    type=Parsed("share"),
    default="99%",
    show_default=True,
    metavar="SHARE",
    help="Share of requests that must be in time.",
)
@click.option(
    "--baselines",
    type=Parsed("policies"),
    default="all",
    show_default=True,
    metavar="NAME,...",
    help="Beside it: fifo, lru, stop-start, clairvoyant; all or none.",
)
@click.option(
    "--compare", type=Parsed("durations"), metavar="TIME,...", help="Also hotseat with each of these as min_stay."
)
@click.option("--per-model", is_flag=True, help="A table of the models as well.")
@click.option(
    "--min-stay",
    type=_DURATION,
    default="5s",
    show_default=True,
    metavar="TIME",
    help="As in hotseat.yaml (not with --config).",
)
@click.option("--out-rate", type=_POSITIVE, default=2.0, show_default=True, help="Swap out, GB/s.")
@click.option("--in-rate", type=_POSITIVE, default=5.0, show_default=True, help="Swap in, GB/s.")
@click.option(
    "--out-fixed", type=_DURATION, default="280ms", show_default=True, metavar="TIME", help="Added to each swap out."
)
@click.option(
    "--in-fixed", type=_DURATION, default="440ms", show_default=True, metavar="TIME", help="Added to each swap in."
)
@click.option(
    "--cold-start", type=_DURATION, default="57500ms", show_default=True, metavar="TIME", help="Of any workload."
)
@click.option(
    "--prefill", type=_POSITIVE, default=10_000.0, show_default=True, help="Prompt tokens a second, each request."
)
@click.option("--decode", type=_POSITIVE, default=40.0, show_default=True, help="Output tokens a second, each request.")
@click.option(
    "--at-once",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="Requests that an engine answers at once.",
)
@click.option(
    "--zipf",
    type=click.FloatRange(0, 10),
    default=1.0,
    show_default=True,
    help="How unequal models are asked for, if the trace names none.",
)
@click.option(
    "--burst-on",
    type=_DURATION,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="A model is asked for so long (mean) ...",
)
@click.option(
    "--burst-off",
    type=_DURATION,
    default="240s",
    show_default=True,
    metavar="TIME",
    help="... and then not for so long. 0s: always.",
)
@click.option("--speed", type=_POSITIVE, default=1.0, show_default=True, help="2: the same requests in half the time.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many requests of the file.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of all that is drawn: the same seed, the same figures."
)
@options.as_json
def simulate(trace: Path, as_json: bool, **settings: Any) -> None:
    """Replay the requests of TRACE with hotseat's own scheduler on a virtual clock, and say how long they wait.

    TRACE is a CSV file, also gzipped: time,model,prompt_tokens,output_tokens, or the public traces of Azure
    (TIMESTAMP,ContextTokens,GeneratedTokens) and BurstGPT. Nothing runs and no GPU is touched. Beside it, on the same
    requests: strict order of arrival, least recently used, stop and start, and one that knows the future.
    """
    from hotseat.cli.simulating import Settings, run_simulation

    run_simulation(Settings(trace=trace, as_json=as_json, **settings))
