"""The client is imported by every daemon and command, most of which have no store."""

from __future__ import annotations

import subprocess
import sys


def test_to_ask_a_store_takes_none_of_what_it_is_made_of() -> None:
    code = (
        "import sys, hotseat.daemon.wiring; "
        "print([name for name in ('numpy', 'hotseat.store.service', 'hotseat.store.cuda') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
