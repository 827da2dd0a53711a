"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print data for programs, no tables.")
verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Say every phase as it happens; show a trace with an error."
)
emulated = click.option(
    "--emulated", is_flag=True, help="Use the emulated driver even where there is a GPU. No figure from it counts."
)
control = click.option(
    "--control",
    type=click.Path(),
    metavar="SOCKET",
    help="Go through the daemon at this control socket (usual place: $HOTSEAT_CONTROL, or where `hotseat up` says).",
)
_no_daemon = click.option("--no-daemon", is_flag=True, help="Do it directly, even if a daemon runs.")


def access(command: F) -> F:
    """--control and --no-daemon: how the command reaches workloads."""
    return control(_no_daemon(command))
