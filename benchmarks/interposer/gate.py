"""What the interposer's gate costs a call: an empty cuLaunchKernel, with and without it, in turns.

    make build && python benchmarks/interposer/gate.py [--rounds 7] [--threads 1]

A libcuda whose calls do nothing stands for the driver, so that the difference is the wrapper's and the gate's alone.
Prints nanoseconds a call, medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hotseat import native

DRIVER = "int cuLaunchKernel(void) { return 0; }\n"
PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
typedef unsigned u;
int cuLaunchKernel(void *, u, u, u, u, u, u, u, void *, void **, void **);
static long calls;
static void *run(void *out) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < calls; i++)
        if (cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL)) abort();
    clock_gettime(CLOCK_MONOTONIC, &b);
    *(double *)out = ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / calls;
    return NULL;
}
int main(int argc, char **argv) {
    int threads = atoi(argv[1]);
    calls = atol(argv[2]);
    double took[64], sum = 0;
    pthread_t all[64];
    for (int i = 0; i < threads; i++) pthread_create(&all[i], NULL, run, &took[i]);
    for (int i = 0; i < threads; i++) { pthread_join(all[i], NULL); sum += took[i]; }
    printf("%f\n", sum / threads);
    return argc < 0;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=20_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hotseat-gate-") as name:
        where = Path(name)
        (where / "driver.c").write_text(DRIVER)
        (where / "program.c").write_text(PROGRAM)
        library, program = where / "libcuda.so.1", where / "program"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, where / "driver.c"], check=True
        )
        subprocess.run(["cc", "-O2", "-o", program, where / "program.c", library, "-lpthread"], check=True)
        plain = {**os.environ, "LD_LIBRARY_PATH": name}
        gated = {**plain, "LD_PRELOAD": str(native.path("libhotseat-interposer.so")), "HOTSEAT_STORE": f"{name}/none"}
        took: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(args.rounds):
            for way, environment in (("without", plain), ("with", gated)):
                command = [str(program), str(args.threads), str(args.calls)]
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
                took[way].append(float(done.stdout))
    without, gated_ns = (statistics.median(took[way]) for way in ("without", "with"))
    print(
        f"{args.threads} threads: without {without:.1f} ns, with {gated_ns:.1f} ns: "
        f"{gated_ns - without:.1f} ns a call for wrapper and gate"
    )


if __name__ == "__main__":
    sys.exit(main())
