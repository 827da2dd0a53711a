"""A PyTorch process that knows its bytes: `interposed_process.py GIB`. One command a line, one JSON line of answer.

`fill SEED` (so many GiB of random integers), `check SEED` (integers that differ), `capture` (a CUDA graph), `replay`
(it, after a swap: results that differ), `speed` (microseconds of a launch-bound and of a memory-bound call, medians).
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

WORDS = 1 << 28  # a GiB of int32
DEVICE = torch.device("cuda")


def timed(calls: int, work: Callable[[], object]) -> float:
    """Microseconds a call, median of 7."""
    times = []
    for _ in range(7):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / calls * 1e6)
    return statistics.median(times)


class Process:
    def __init__(self, gib: int) -> None:
        self.gib = gib
        self.tensors: list[torch.Tensor] = []

    def random(self, seed: int) -> torch.Generator:
        return torch.Generator(device=DEVICE).manual_seed(seed)

    def fill(self, seed: int) -> str:
        while len(self.tensors) < self.gib:
            self.tensors.append(torch.empty(WORDS, dtype=torch.int32, device=DEVICE))
        generator = self.random(seed)
        for tensor in self.tensors:
            tensor.random_(generator=generator)
        torch.cuda.synchronize()
        return "filled"

    def check(self, seed: int) -> int:
        generator, wrong = self.random(seed), 0
        expected = torch.empty(WORDS, dtype=torch.int32, device=DEVICE)
        for tensor in self.tensors:
            expected.random_(generator=generator)
            wrong += int((expected != tensor).sum())
        del expected
        torch.cuda.empty_cache()
        return wrong

    def capture(self) -> str:
        weights = torch.randn(2048, 2048, device=DEVICE, dtype=torch.bfloat16)
        self.input = torch.randn(8, 2048, device=DEVICE, dtype=torch.bfloat16)
        torch.relu(self.input @ weights) @ weights
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = torch.relu(self.input @ weights) @ weights
        self.weights = weights
        self.graph.replay()
        self.expected = self.output.clone()
        return "captured"

    def replay(self) -> int:
        self.output.zero_()
        self.graph.replay()
        return int((self.output != self.expected).sum())

    def speed(self) -> dict[str, float]:
        small, large = torch.zeros(64, device=DEVICE), torch.randn(1 << 26, device=DEVICE)
        return {"launch_us": timed(20000, lambda: small.add_(1)), "memory_us": timed(100, lambda: large.mul_(1.0))}


def main() -> None:
    process = Process(int(sys.argv[1]))
    torch.zeros(1, device=DEVICE)
    torch.cuda.synchronize()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        print(json.dumps(getattr(process, name)(*map(int, numbers))), flush=True)


if __name__ == "__main__":
    main()
