"""hotseat key"""

from __future__ import annotations

import click

from hotseat.cli import options

SHORT_INPUT = 4096
"""Characters read of standard input: a key is one line."""


@click.command(
    epilog="""\b
The key is shown once and stored nowhere; hotseat.yaml has only its hash. A key never stands on the command line,
where every user of this machine could read it.

\b
Examples:
  hotseat key alice                    a new key, and the lines for hotseat.yaml
  hotseat key alice --json | jq -r .key
  hotseat key alice --hash - <key.txt  the lines for a key that exists already
"""
)
@click.argument("name", default="me")
@click.option(
    "--hash", "source", type=click.Choice(["-"]), metavar="-", help="Read a key from standard input and make none."
)
@options.as_json
def key(name: str, source: str | None, as_json: bool) -> None:
    """Make an API key for the gateway and print what hotseat.yaml needs of it.

    NAME is its bearer's name in hotseat.yaml. The lines go under `keys`; models, priority, max_concurrent and admin
    may stand beside the hash.
    """
    import json
    import sys

    from pydantic import TypeAdapter, ValidationError

    from hotseat.cli import draw
    from hotseat.config.base import Name
    from hotseat.errors import UsageError
    from hotseat.gateway.keys import hash_of, new_key

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{name!r} is no name for a key: {said}", hint="for example: hotseat key alice") from error
    made = new_key() if source is None else sys.stdin.read(SHORT_INPUT).strip()
    if any(character.isspace() for character in made):
        raise UsageError("a key is one line without spaces", hint='printf %s "$KEY" | hotseat key --hash -')
    data = {"name": name, "hash": hash_of(made)}
    if as_json:
        click.echo(json.dumps(data if source else {"key": made, **data}))
        return
    if source is None:
        draw.remark("the key, shown this once:")
        click.echo(made)
        draw.remark("for hotseat.yaml:")
    click.echo(f"keys:\n  {name}:\n    hash: {data['hash']}")
