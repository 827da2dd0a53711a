"""On the path of a store's processes: memory goes two chunks at a time, somebody waits for that of every device while
the file SHORT exists, who misses a deadline is told soon, and two descriptors go to the keeper at once. SUDDEN as in
../sudden."""

import os
from pathlib import Path

if "SUDDEN" in os.environ:
    exec((Path(__file__).parents[1] / "sudden" / "sitecustomize.py").read_text())

from hotseat.store import keeping, shortage, tenant, turns
from hotseat.store.digest import CHUNK

tenant.GROUP = 2 * CHUNK
turns.STOP_GRACE = 0.1
keeping.PUT_AT_ONCE = 2
waits = shortage.Shortage.of
shortage.Shortage.of = lambda self, uuid: waits(self, uuid) or Path(os.environ["SHORT"]).exists()
