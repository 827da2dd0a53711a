"""hotseat store run, status, spill, fetch, stop, cdi"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hotseat.cli import options
from hotseat.store.__main__ import settings

socket = click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="The store's control socket. Usual place: $HOTSEAT_STORE_CONTROL, or where `hotseat store run` makes it.",
)


@click.group(epilog="Example: hotseat store run --arena 64GiB")
def store() -> None:
    """The snapshot store: parked device memory in pinned host memory, outside every container.

    It moves the memory of workloads that run with the interposer (docs/store.md); all others take the driver's way.
    """


@store.command(
    epilog="""\b
Exit codes: 0 ended by SIGTERM or Ctrl-C, 2 usage, 4 a store runs there already, or the host lacks the memory.

\b
Examples:
  hotseat store run --arena 64GiB
  hotseat store run --config /etc/hotseat/hotseat.yaml
  hotseat store run --arena 64GiB --agents-mode 666     containers that do not run as this user, too
  hotseat store run --arena 64GiB --compare             trust no digest
"""
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="Take what is not said here from the `store` of this hotseat.yaml; looked for as `hotseat up` does.",
)
@settings
@click.pass_context
def run(context: click.Context, /, config: Path | None, **values: Any) -> int:
    """Run a store in the foreground; one a node.

    It serves at once and populates its arena meanwhile: on a terminal it shows how far that is, and tells systemd. It
    runs until SIGTERM or Ctrl-C, and WHAT IS PARKED IN IT IS LOST THEN: end it with `hotseat store stop`, which
    looks first. If the part of it that uses the driver dies, another takes over and nothing is lost.
    """
    from hotseat.cli.storing import run as foreground
    from hotseat.cli.storing import with_file

    said = {name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return foreground(with_file(config, values, said=said))


@store.command(
    epilog="""\b
Exit codes: 0 a store runs, 3 none answers.

\b
Examples:
  hotseat store status
  hotseat store status --json | jq '.workloads[] | {name, parked_bytes}'
"""
)
@socket
@options.as_json
def status(socket: Path | None, as_json: bool) -> None:
    """The arena, what it holds of each workload, and how much sharing and zeros save."""
    import asyncio

    from hotseat.cli.storing import status as show

    asyncio.run(show(socket, as_json=as_json))


@store.command(
    epilog="""\b
Exit codes: 0 it is on disk, 3 no such workload, or no daemon, 4 refused: not parked, not by the store, no disk, no room
on it.

\b
Examples:
  hotseat store spill llama
  hotseat store spill llama --json | jq .disk_bytes
"""
)
@click.argument("name")
@options.as_json
@options.control
def spill(name: str, as_json: bool, control: str | None) -> None:
    """Move what is parked of NAME from host memory to the store's disk: it is stored then.

    It goes through the daemon, which does the same of its own choice where host memory is short. NAME lives on, frozen;
    its next request or `hotseat seat NAME` brings it back from there, also one that comes while it still goes. What
    other parked workloads share with it stays in host memory. What is stored already is left alone, and that is
    success.
    """
    import asyncio

    from hotseat.cli.spilling import spill as run

    asyncio.run(run(name, control=control, as_json=as_json))


@store.command(
    epilog="""\b
Exit codes: 0 it is in host memory, 3 no such workload, or no daemon, 4 refused: not parked, not by the store, no room
in the arena.

\b
Examples:
  hotseat store fetch llama
  hotseat store fetch llama --json | jq .seconds
"""
)
@click.argument("name")
@options.as_json
@options.control
def fetch(name: str, as_json: bool, control: str | None) -> None:
    """Move what of NAME is on the store's disk back into host memory, ahead of its next seat.

    It is parked then, and comes in as fast as any that is. It need not be fetched to be seated: a seat reads the disk
    by itself. Should another need the room in host memory, the daemon may store it again.
    """
    import asyncio

    from hotseat.cli.spilling import fetch as run

    asyncio.run(run(name, control=control, as_json=as_json))


@store.command(
    epilog="""\b
Exit codes: 0 it has ended, 3 none answers, 4 memory would be lost (nothing was touched).

\b
Examples:
  hotseat store stop
  hotseat store stop --lose-parked      whatever is parked in it is lost; its processes must be restarted
"""
)
@socket
@click.option("--lose-parked", is_flag=True, help="Stop it even if memory is parked in it, which is lost then.")
@options.as_json
def stop(socket: Path | None, lose_parked: bool, as_json: bool) -> None:
    """Stop the store in order and wait until it has ended.

    Seated workloads get memory of their own in place of what the store lent them, so that they can be parked by the
    driver later. Refused while memory of a workload is parked in it: seat that one first.
    """
    import asyncio

    from hotseat.cli.storing import stop as end

    asyncio.run(end(socket, lose_parked=lose_parked, as_json=as_json))


@store.command(
    epilog="""\b
Exit codes: 0 done, 2 usage, 3 this installation has no interposer.

\b
Examples:
  hotseat store cdi --output /etc/cdi/hotseat.json
  podman run --device hotseat.dev/interposer=all IMAGE
  docker run --device hotseat.dev/interposer=all IMAGE     Docker 25 and newer, with its CDI feature on
"""
)
@socket
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it, in place of what is there; .yaml for YAML. Default: standard output.",
)
@click.option("--name", default="all", show_default=True, help="Of the device. Another for each store of one host.")
def cdi(socket: Path | None, output: Path | None, name: str) -> None:
    """A CDI device that gives a container the interposer: the library, the store's agents, two variables.

    For containers that hotseat does not make. Container platforms read CDI files from /etc/cdi and /run/cdi.
    """
    from hotseat.cli.cdi import write

    write(socket, output=output, name=name)
