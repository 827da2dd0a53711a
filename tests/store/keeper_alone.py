"""A keeper whose worker is this file too: one that asks it something just when it is told to end.

`keeper_alone.py DIRECTORY` runs both; the worker notes in DIRECTORY/worker that it is there, and how it ended.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from hotseat.store.digest import CHUNK
from hotseat.store.keeper import Keeper, Options
from hotseat.store.keeping import Keeping


def keep(directory: Path) -> int:
    command = [sys.executable, __file__, str(directory)]
    return Keeper(Options(directory=directory / "store", arena=CHUNK), worker=command).run()


def work(directory: Path, parts: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    keeping = Keeping(json.loads(parts)["keeping"])
    (directory / "worker").write_text("ready")
    signal.sigwait([signal.SIGTERM])
    (directory / "worker").write_text(f"was told that {len(keeping.all())} blocks are kept")


if __name__ == "__main__":
    if sys.argv[2:]:
        work(Path(sys.argv[1]), sys.argv[2])
    else:
        sys.exit(keep(Path(sys.argv[1])))
