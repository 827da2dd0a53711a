"""The emulated driver, seen from outside: create a node, give it to processes and containers, inspect it, break it.

A node is a directory with files that stand for /dev/nvidiactl and /dev/nvidia0, /dev/nvidia1, ... The libraries that
answer to libcuda.so.1 and libnvidia-ml.so.1 lie in `hotseat.native.DIRECTORY`. docs/emulated-driver.md tells what they
imitate and where they stop. It is a test bench and a demo stage: no performance figure comes from it.

Belongs here: what tests, the demo and people need to set the stage. Forbidden: anything the product needs on a real
GPU; this package imports only errors and native.
"""

from hotseat.emulator.faults import Fault, FaultKind
from hotseat.emulator.node import EmulatedNode, Holding, NodeReport

__all__ = ["EmulatedNode", "Fault", "FaultKind", "Holding", "NodeReport"]
