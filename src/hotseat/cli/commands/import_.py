"""hotseat import"""

from __future__ import annotations

from pathlib import Path

import click

from hotseat.cli import options


@click.group("import", epilog="Example: hotseat import llama-swap config.yaml -o hotseat.yaml")
def import_() -> None:
    """Convert another program's configuration into a hotseat.yaml."""


@import_.command(
    "llama-swap",
    epilog="""\b
Exit code 1: some models could not be converted; they stand in the result as comments.

\b
Examples:
  hotseat import llama-swap config.yaml                    to standard output, remarks to standard error
  hotseat import llama-swap config.yaml -o hotseat.yaml    nothing is overwritten
  hotseat config check hotseat.yaml
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it. Default: standard output.")
@options.as_json
@click.pass_context
def llama_swap(context: click.Context, file: Path, output: Path | None, as_json: bool) -> None:
    """Convert the llama-swap configuration FILE, and say what has no equivalent.

    Commands become processes, `docker run` and `podman run` become containers that hotseat makes. ${env.NAME} is read
    here and now; API keys are hashed.
    """
    from hotseat.cli.configuration import convert

    context.exit(convert(file, output=output, as_json=as_json))
