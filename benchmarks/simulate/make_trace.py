"""Makes up a trace in hotseat's own format, for measuring the simulator's speed.

    python benchmarks/simulate/make_trace.py --requests 1000000 --models 200 --rate 50 > trace.csv

Poisson arrivals, models by Zipf's law with on/off bursts, log-normal prompts and outputs, one fixed seed. No real load.
"""

from __future__ import annotations

import argparse
from array import array
from random import Random

from hotseat.simulate.split import split
from hotseat.simulate.trace import in_order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    random = Random(args.seed)
    times, prompts, outputs, now = array("d"), array("i"), array("i"), 0.0
    for _ in range(args.requests):
        now += random.expovariate(args.rate)
        times.append(now)
        prompts.append(min(30_000, int(random.lognormvariate(6.3, 1.0))))
        outputs.append(min(4_000, 1 + int(random.lognormvariate(4.5, 1.0))))
    nameless = in_order(times, array("i", bytes(4 * len(times))), prompts, outputs, ())
    trace = split(nameless, [f"m{number:03}" for number in range(args.models)], seed=args.seed)
    print("time,model,prompt_tokens,output_tokens")
    for at, model, prompt, output in zip(trace.times, trace.models, prompts, outputs, strict=True):
        print(f"{at:.4f},{trace.names[model]},{prompt},{output}")


if __name__ == "__main__":
    main()
