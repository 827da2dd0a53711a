"""What `hotseat store spill` and `fetch` say."""

from __future__ import annotations

from typing import Any

import pytest

from hotseat.cli.spilling import sentence

GIB = 1 << 30


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (
            {
                **{"to": "disk", "moved_bytes": 3 * GIB, "disk_bytes": 2 * GIB, "seconds": 2.0},
                **{"shared_bytes": 2 * GIB, "zero_bytes": GIB},
            },
            "a is on disk: 3 GiB written in 2.00 s (1.61 GB/s), 2 GiB on disk; 2 GiB is equal to some of that; "
            "1 GiB is zero",
        ),
        (
            {"to": "disk", "left_bytes": GIB, "seconds": 0.01},
            "a is on disk: none written in 10.0 ms; 1 GiB stays where it is, others need it there",
        ),
        (
            {"to": "host memory", "moved_bytes": GIB, "disk_bytes": GIB, "seconds": 2.0, "left_bytes": GIB},
            "a is in host memory: 1 GiB read in 2.00 s (0.54 GB/s), 1 GiB on disk; 1 GiB was still in host memory",
        ),
        ({"to": "host memory", "already": True}, "a is in host memory already; nothing to do"),
    ],
)
def test_what_was_moved_and_what_not_and_why(done: dict[str, Any], said: str) -> None:
    nothing = dict.fromkeys(("moved_bytes", "disk_bytes", "shared_bytes", "zero_bytes", "left_bytes"), 0)
    assert sentence({"workload": "a", "already": False, **nothing, **done}) == said
