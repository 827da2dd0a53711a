"""`hotseat store cdi`: a specification by which container platforms hand the interposer to a container.

Container Device Interface 0.3.0, the first version: nothing here needs a later one, and Podman 4 knows no later one
than 0.5.0 (https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from hotseat import native
from hotseat.cli import draw
from hotseat.config import paths
from hotseat.errors import Failed, UsageError
from hotseat.gpu.preload import LIBRARY
from hotseat.platforms.interposed import AGENTS_INSIDE, LIBRARY_INSIDE, Interposer, agents_of, environment

VERSION = "0.3.0"
KIND = "hotseat.dev/interposer"
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def specification(given: Interposer, *, name: str) -> dict[str, Any]:
    """Pure. `UsageError` for what is no name of a device."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a CDI device",
            hint="a letter first; then letters, digits, '_', '.', ':' or '-'; a letter or digit last",
        )
    mounts = [
        {
            "hostPath": str(bind.source),
            "containerPath": bind.target,
            "options": ["rbind", "ro", "nosuid", "nodev"],
        }
        for bind in given.binds()
    ]
    env = [f"{key}={value}" for key, value in environment(LIBRARY_INSIDE, AGENTS_INSIDE).items()]
    device = {"name": name, "containerEdits": {"env": env, "mounts": mounts}}
    return {"cdiVersion": VERSION, "kind": KIND, "devices": [device]}


def write(socket: Path | None, *, output: Path | None, name: str) -> None:
    """`NotFound` without the library, `Failed` if the file cannot be written: then the old one is whole."""
    agents = agents_of(socket or paths.store_socket()).absolute()
    data = specification(Interposer(library=native.path(LIBRARY), agents=agents), name=name)
    as_yaml = output is not None and output.suffix in (".yaml", ".yml")
    text = yaml.safe_dump(data, sort_keys=False) if as_yaml else json.dumps(data, indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        _replace(output, text)
        draw.remark(f"written: {output}; a container gets it by --device {KIND}={name}")
    if not agents.is_dir():
        draw.remark(f"note: {agents} is not there yet; until a store has run, containers with this device do not start")


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Platforms look at .json and .yaml alone, so that they never see half of it.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
            draft.write(text)
        os.chmod(draft.name, 0o644)
        os.replace(draft.name, path)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error}", hint="as root, or name another file") from error
