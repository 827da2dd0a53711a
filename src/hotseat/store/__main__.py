"""`python -m hotseat.store`, and what `hotseat store run` shares with it: the options and the store itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hotseat.errors import HotseatError

if TYPE_CHECKING:
    from hotseat.store.keeper import Options

F = TypeVar("F", bound=Callable[..., Any])


def size(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    from hotseat.config.units import parse_size  # not for --help

    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def rights(context: click.Context, option: click.Parameter, value: str) -> int:
    try:
        return int(value, 8)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} are no rights; write for example 666") from error


def settings(command: F) -> F:
    """The options of a store, as `made` takes them."""
    options = (
        click.option("--arena", callback=size, metavar="SIZE", help="Host memory for what is parked. Usual: learned."),
        click.option(
            "--directory",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where its sockets are: control.sock for hotseat, agents/store.sock for containers. Closed to other "
            "users. Usual place: /run/hotseat/store.",
        ),
        click.option(
            "--agents-mode",
            default="600",
            callback=rights,
            show_default=True,
            metavar="MODE",
            help="Rights of the agents' socket. 666 for containers that do not run as this user; they reach it by a "
            "mount only.",
        ),
        click.option(
            "--compare", is_flag=True, help="Compare bytes where digests are equal. Costs a copy of what is kept once."
        ),
        click.option(
            "--custom-storage",
            is_flag=True,
            help="Also move processes without the interposer, by the custom storage of driver 615. Never run on a GPU.",
        ),
        click.option("--library", default="libcuda.so.1", show_default=True, help="The driver's library."),
        click.option(
            "--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="That populate the arena."
        ),
        click.option(
            "--spill",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIRECTORY",
            help="Where parked memory may go when host memory is short: a directory of its own on a local disk.",
        ),
        click.option("--spill-limit", callback=size, metavar="SIZE", help="Of that disk, at most. Usual: all of it."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def made(**values: Any) -> Options:
    """Of the values of `settings`."""
    from hotseat.config import paths
    from hotseat.store.keeper import Options

    return Options(**values | {"directory": values["directory"] or paths.store_socket().parent})


@click.command(epilog="Example: python -m hotseat.store --arena 64GiB --compare")
@settings
def main(**values: Any) -> None:
    """Run the snapshot store in the foreground, without a word: `hotseat store run` tells how far it is."""
    from hotseat.store.keeper import Keeper

    try:
        status = Keeper(made(**values)).run()
    except HotseatError as error:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    sys.exit(status)


if __name__ == "__main__":
    main()
