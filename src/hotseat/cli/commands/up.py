"""hotseat up"""

from __future__ import annotations

from pathlib import Path

import click

from hotseat.cli import options


@click.command(
    epilog="""\b
hotseat.yaml is looked for here, in ~/.config/hotseat and in /etc/hotseat. docs/configuration.md has every setting.

\b
Examples:
  hotseat up                    with the hotseat.yaml that is found
  hotseat up -c models.yaml
  hotseat up --check            only read the configuration and say what is wrong with it
"""
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="The configuration, hotseat.yaml.")
@click.option("--check", is_flag=True, help="Check the configuration and stop.")
@options.verbose
def up(config: Path | None, check: bool, verbose: bool) -> None:
    """Run the daemon: requests come in, models take turns on the GPU.

    It serves the OpenAI API at the gateway's address and seats whoever is asked for. Workloads that run already are
    adopted as they are. SIGTERM or Ctrl-C ends it; parked workloads stay parked and are found again at the next start.
    """
    from hotseat.cli.serving import serve

    serve(config, check=check, verbose=verbose)
