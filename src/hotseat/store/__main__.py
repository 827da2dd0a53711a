"""`python -m hotseat.store`: runs a store in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hotseat.config.units import parse_size
from hotseat.errors import HotseatError
from hotseat.store.keeper import Keeper, Options

EXAMPLES = """
\b
Examples:
  python -m hotseat.store --arena 64GiB
  python -m hotseat.store --arena 64GiB --directory /run/hotseat/store --compare
"""


def size(context: click.Context, option: click.Parameter, value: str) -> int:
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(epilog=EXAMPLES)
@click.option("--arena", required=True, callback=size, metavar="SIZE", help="Host memory for what is parked: 64GiB.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/run/hotseat/store"),
    show_default=True,
    help="Where its sockets are: control.sock for hotseat, agents.sock for containers. Closed to other users.",
)
@click.option(
    "--agents-mode",
    default="600",
    show_default=True,
    metavar="MODE",
    help="Rights of agents.sock. 666 for containers that do not run as this user; they reach it by a mount only.",
)
@click.option(
    "--compare", is_flag=True, help="Compare bytes where digests are equal. Costs a copy of what is kept once."
)
@click.option("--library", default="libcuda.so.1", show_default=True, help="The driver's library.")
@click.option("--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="That populate the arena.")
def main(arena: int, directory: Path, agents_mode: str, compare: bool, library: str, threads: int) -> None:
    """Run the snapshot store: it owns the device memory of parked workloads, in pinned host memory.

    It runs until it gets SIGTERM; what is parked in it is lost then. If the part of it that uses the driver dies,
    another takes over and nothing is lost.
    """
    try:
        options = Options(
            directory=directory,
            arena=arena,
            agents_mode=int(agents_mode, 8),
            compare=compare,
            library=library,
            threads=threads,
        )
        status = Keeper(options).run()
    except ValueError as error:
        raise click.BadParameter(f"{agents_mode!r} are no rights: {error}", param_hint="--agents-mode") from error
    except HotseatError as error:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    sys.exit(status)


if __name__ == "__main__":
    main()
