"""hotseat config check, show, schema"""

from __future__ import annotations

from pathlib import Path

import click

from hotseat.cli import options

_file = click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")


@click.group(epilog="Example: hotseat config check hotseat.yaml")
def config() -> None:
    """Read hotseat.yaml as the daemon would, without a daemon."""


@config.command(
    epilog="""\b
Exit code 2: it has mistakes; every one is said with its place and what to write. Warnings leave it at 0.

\b
Examples:
  hotseat config check
  hotseat config check models.yaml --offline
  hotseat config check --json | jq '.warnings[].message'
"""
)
@_file
@click.option("--offline", is_flag=True, help="Ask no platform whether images and containers are there.")
@options.as_json
def check(file: Path | None, offline: bool, as_json: bool) -> None:
    """Say every mistake in FILE, and what is no mistake but probably not meant.

    FILE is looked for as `hotseat up` does if it is not given.
    """
    from hotseat.cli.configuration import check as run

    run(file, offline=offline, as_json=as_json)


@config.command(epilog="Example: hotseat config show | less")
@_file
@click.option("--secrets", is_flag=True, help="Also values of environment variables and headers, and whole hashes.")
@options.as_json
def show(file: Path | None, secrets: bool, as_json: bool) -> None:
    """The configuration that counts: FILE with every default in its place.

    Values of environment variables and headers are hidden and hashes are cut, unless told otherwise.
    """
    from hotseat.cli.configuration import show as run

    run(file, secrets=secrets, as_json=as_json)


@config.command(epilog="Example: hotseat config schema > hotseat.schema.json")
def schema() -> None:
    """The JSON schema of hotseat.yaml, for editors: examples/hotseat.schema.json as this version has it."""
    import json

    from hotseat.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
