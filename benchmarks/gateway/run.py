"""The gateway beside nginx and a bare aiohttp proxy, in one run, one core for the proxy, in turns.

    apt-get install nginx-light gcc
    python benchmarks/gateway/run.py [--rounds 5] [--seconds 4] [--out benchmarks/results/NAME]

Three parts: requests as fast as 64 connections can (requests a second on one core, and a CPU second of the proxy's
process; once with engine and client that poll, once with such that sleep), one connection (what a proxy adds to the way
of a request), 200 streams with 10,000 tokens a second together (time from the engine's write to the client's read; in
both, engine and client sleep when nothing is ready). `hotseat` is the whole daemon, with doubles for containers and
GPU; engine and client are C programs on another core. Writes NAME.json and NAME.md. It ends by itself: nothing runs
longer than --deadline seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hotseat import hotpath

HERE = Path(__file__).parent
NGINX = """
worker_processes 1; daemon off; master_process off; pid {d}/pid; error_log {d}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {d}/b; proxy_temp_path {d}/p;
  fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7, "max_tokens": 100}
_PRELIMINARY = (
    "**Preliminary: other programs ran on this machine meanwhile.** The p99 figures are theirs as much as the proxies'."
)
_PEERS = """
Engine and client share a core. Where they poll, they never sleep, and a proxy pays for its own work only. Where they
sleep, they do so whenever nothing is ready: never beside a proxy that is faster than they are, often beside a slower
one, whose next write then pays for waking an idle core too (in a virtual machine, several microseconds). The first row
compares the proxies, the second adds what such peers cost a slower one. In the other parts they sleep.
"""
_PARTS = (
    # part, connections, kind, peers, more of the body
    ("requests", 64, "requests", "poll", {}),
    ("requests, sleeping", 64, "requests", "sleep", {}),
    ("one", 1, "requests", "sleep", {}),
    ("tokens", 200, "tokens", "sleep", {"stream": True}),
)
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Proxy:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds, of user and kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--deadline", type=int, default=600)
    parser.add_argument("--note", default="", help="what else is to be known of this run, for the report")
    parser.add_argument("--out", type=Path, help="without suffix; not given: only printed")
    args = parser.parse_args()
    signal.alarm(args.deadline)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores: one for the proxy, one for engine and client")
    with tempfile.TemporaryDirectory(prefix="hotseat-bench-") as name, contextlib.ExitStack() as stack:
        result = measure(Path(name), stack, args, proxy_core=cores[0], other_core=cores[1])
    text = report(result)
    print(text)
    if args.out is not None:
        args.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
        args.out.with_suffix(".md").write_text(text)


def measure(
    directory: Path, stack: contextlib.ExitStack, args: argparse.Namespace, *, proxy_core: int, other_core: int
) -> dict[str, Any]:
    for program in ("engine", "load"):
        subprocess.run(["cc", "-O2", "-o", directory / program, HERE / f"{program}.c"], check=True)
    engine, *ports = free_ports(4)
    log = stack.enter_context((directory / "log").open("wb"))

    def start(core: int, *command: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)], stdout=log, stderr=log, cwd=directory
        )
        stack.callback(end, process)
        return process

    peer = start(other_core, directory / "engine", str(engine), str(args.deadline), "10000", "1000")
    url = f"http://127.0.0.1:{engine}"
    (directory / "nginx.conf").write_text(NGINX.format(d=directory, engine=engine, port=ports[0]))
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        sys.exit("no nginx here: apt-get install nginx-light")
    proxies = [
        Proxy("nginx", ports[0], start(proxy_core, nginx, "-p", directory, "-c", directory / "nginx.conf")),
        Proxy("aiohttp", ports[1], start(proxy_core, sys.executable, HERE / "bare.py", str(ports[1]), url)),
        Proxy("hotseat", ports[2], start(proxy_core, sys.executable, HERE / "ours.py", str(ports[2]), url)),
    ]
    for port in (engine, *ports):
        wait_for(port)

    def load(port: int, connections: int, kind: str, peers: str, more: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(ASK | more, separators=(",", ":"))
        peer.send_signal(signal.SIGUSR1 if peers == "poll" else signal.SIGUSR2)
        command = [directory / "load", str(port), str(args.seconds), str(connections), kind, peers, text]
        done = subprocess.run(["taskset", "-c", str(other_core), *map(str, command)], check=True, capture_output=True)
        return dict(json.loads(done.stdout))

    runs: dict[str, dict[str, list[dict[str, Any]]]] = {part: {} for part, *_ in _PARTS}
    began = os.getloadavg()[0]
    for proxy in proxies:  # warm
        load(proxy.port, 64, "requests", "poll", {})
    for _ in range(args.rounds):
        for part, *how in _PARTS[2:]:
            runs[part].setdefault("direct", []).append(load(engine, *how))
        for proxy in proxies:
            for part, *how in _PARTS:
                before = proxy.cpu()
                got = load(proxy.port, *how)
                runs[part].setdefault(proxy.name, []).append(got | {"cpu": proxy.cpu() - before})
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": args.note,
        "command": f"benchmarks/gateway/run.py --rounds {args.rounds} --seconds {args.seconds:g}",
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "compiled": hotpath.finder.why or "yes",
            "load_before": round(began, 2),
            "load_after": round(os.getloadavg()[0], 2),
        },
        "runs": runs,
    }


def report(result: dict[str, Any]) -> str:
    runs, machine = result["runs"], result["machine"]

    def middle(part: str, name: str, key: str) -> float:
        return float(statistics.median(run[key] for run in runs[part][name]))

    def rate(part: str, name: str, per: str) -> float:
        return float(statistics.median(run["count"] / run[per] for run in runs[part][name]))

    def of_nginx(part: str, name: str) -> list[float]:
        """Requests a CPU second as a share of nginx's in the same round: what else runs changes from round to round."""
        per = [[run["count"] / run["cpu"] for run in runs[part][one]] for one in (name, "nginx")]
        return sorted(ours / theirs for ours, theirs in zip(*per, strict=True))

    lines = [
        f"# The gateway beside nginx and aiohttp, {result['date'][:10]}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
        f"hotseat's modules {'compiled' if machine['compiled'] == 'yes' else 'not compiled: ' + machine['compiled']}. "
        f"Load average {machine['load_before']} before and {machine['load_after']} after. "
        f"`{result['command']}`; medians over rounds; the proxy alone on one core.",
        "",
        *([result["note"], ""] if result["note"] else []),
        *([_PRELIMINARY, ""] if machine["load_before"] > 0.5 else []),
        "| proxy | engine and client | requests/s, 64 connections | requests per CPU second "
        "| of nginx's in the same round | errors |",
        "|---|---|---|---|---|---|",
    ]
    for part, peers in (("requests", "polling"), ("requests, sleeping", "sleeping")):
        for name in runs[part]:
            second, cpu = rate(part, name, "seconds"), rate(part, name, "cpu")
            errors = sum(run["errors"] for run in runs[part][name])
            shares = of_nginx(part, name)
            share = f"{statistics.median(shares):.0%} ({shares[0]:.0%} to {shares[-1]:.0%})"
            lines.append(f"| {name} | {peers} | {second:,.0f} | {cpu:,.0f} | {share} | {errors} |")
    lines.append(_PEERS.rstrip())
    lines += ["", "| proxy | one connection, p50 | p99 | added p50 | added p99 | errors |", "|---|---|---|---|---|---|"]
    base50, base99 = middle("one", "direct", "p50_us"), middle("one", "direct", "p99_us")
    for name in runs["one"]:
        p50, p99 = middle("one", name, "p50_us"), middle("one", name, "p99_us")
        errors = sum(run["errors"] for run in runs["one"][name])
        added = f"{p50 - base50:.0f} us | {p99 - base99:.0f} us"
        lines.append(f"| {name} | {p50:.0f} us | {p99:.0f} us | {added} | {errors} |")
    lines += [
        "",
        "| proxy | tokens/s over 200 streams | p50 | p99 | of one core | errors |",
        "|---|---|---|---|---|---|",
    ]
    for name in runs["tokens"]:
        tokens = statistics.median(run["count"] / run["seconds"] for run in runs["tokens"][name])
        cores = [run["cpu"] / run["seconds"] for run in runs["tokens"][name] if "cpu" in run]
        share = f"{statistics.median(cores):.0%}" if cores else "-"
        p50, p99 = middle("tokens", name, "p50_us"), middle("tokens", name, "p99_us")
        errors = sum(run["errors"] for run in runs["tokens"][name])
        lines.append(f"| {name} | {tokens:,.0f} | {p50 / 1000:.2f} ms | {p99 / 1000:.2f} ms | {share} | {errors} |")
    lines += ["", "Of one core: the CPU of the opening of the 200 streams too, so the shorter the round, the more."]
    return "\n".join(lines) + "\n"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found


def wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
        return
    process.kill()
    process.wait()


def cpu_model() -> str:
    lines: Iterator[str] = iter(Path("/proc/cpuinfo").read_text().splitlines())
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
