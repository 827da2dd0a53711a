#!/usr/bin/env python3
"""Runs the conformance checks against a libcuda and says where it differs from what is expected.

    python3 tests/conformance/run.py [--library PATH] [--nvml PATH] [--json FILE] [--jobs N] [--only NAME ...]

Needs nothing but Python 3.11. Each check is a process of its own, killed with all it started at its deadline. Exit
code: 0 all as expected, 1 something differs.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import checks_api
import checks_blocking
import checks_data
import checks_freezing
import checks_identity
import checks_sharing
import checks_states
import conformance_driver
import conformance_process
from conformance_registry import CHECKS, seen

MODULES = (checks_api, checks_blocking, checks_data, checks_freezing, checks_identity, checks_sharing, checks_states)
DEADLINE = 60.0
"""Seconds for one check."""


def run_one(name):
    """In the check's own process: prints what it saw as JSON."""
    try:
        result = {"seen": seen(CHECKS[name].run())}
    except Exception as error:  # a check that breaks is a difference, with its reason
        result = {"seen": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)


def judge(name, options):
    """Runs the check in a process group of its own: {name, verdict, expected, seen, seconds, source}."""
    check, start = CHECKS[name], time.monotonic()
    command = [sys.executable, __file__, "--one", name, "--patience", str(options.patience)]
    command += ["--library", options.library, "--nvml", options.nvml]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    try:
        out, err = process.communicate(timeout=DEADLINE)
        lines = out.splitlines()
        value = json.loads(lines[-1])["seen"] if lines else f"no answer: {err[-500:]}"
    except subprocess.TimeoutExpired:
        value = f"no end within {DEADLINE:.0f} s"
    finally:
        kill_group(process)
    return {
        "name": name,
        "verdict": "pass" if value == seen(check.expected) else "differs",
        "expected": seen(check.expected),
        "seen": value,
        "source": check.source,
        "seconds": round(time.monotonic() - start, 2),
    }


def kill_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        print(f"a process of check group {process.pid} cannot be killed", file=sys.stderr)


def run_all(names, options):
    """Most side by side, those that need the device for themselves one by one."""
    together = [name for name in names if not CHECKS[name].alone]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = []
        for result in pool.map(lambda name: judge(name, options), together):
            results.append(result)
            tell(result)
    for name in names:
        if CHECKS[name].alone:
            results.append(judge(name, options))
            tell(results[-1])
    return results


def tell(result):
    print(f"{result['verdict']:8}{result['seconds']:6.1f} s  {result['name']}", flush=True)
    if result["verdict"] != "pass":
        print(
            f"{'':18}expected {result['expected']} ({result['source']})\n{'':18}seen     {result['seen']}", flush=True
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", default="libcuda.so.1")
    parser.add_argument("--nvml", default="libnvidia-ml.so.1")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--jobs", type=int, default=4, help="checks side by side")
    parser.add_argument("--patience", type=float, default=4.0, help="seconds after which a call counts as hanging")
    parser.add_argument("--only", nargs="+", choices=sorted(CHECKS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names of the checks")
    parser.add_argument("--one", choices=sorted(CHECKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    conformance_driver.LIBRARY, conformance_driver.NVML = options.library, options.nvml
    conformance_process.PATIENCE = options.patience
    if options.one:
        run_one(options.one)
    if options.list:
        print("\n".join(CHECKS))
        return 0
    results = run_all(options.only or list(CHECKS), options)
    differ = [result for result in results if result["verdict"] != "pass"]
    print(f"{len(results)} checks, {len(differ)} differ, library {options.library}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
