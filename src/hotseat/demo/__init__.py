"""The demo engine from Python: what to start it with, in a process or in a container, and what its memory looks like.

The engine itself is the compiled `hotseat-demo-engine` (docs/demo-engine.md). Belongs here: its command line as a
record, starting it as a plain process, the image that holds it, its patterns. Forbidden: container engines, the
emulated driver, the rest of hotseat; this package imports errors and native alone.
"""

from hotseat.demo.launch import RunningEngine, running
from hotseat.demo.spec import EngineSpec

__all__ = ["EngineSpec", "RunningEngine", "running"]
