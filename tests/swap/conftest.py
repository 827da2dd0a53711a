from __future__ import annotations

from pathlib import Path

import pytest
from swap_world import World


@pytest.fixture
def world(tmp_path: Path):
    made = World(state_dir=tmp_path / "state")
    yield made
    made.journal.close()
    assert made.violations == []
