"""Engines in real Podman containers on the host's root file system, as an operator would start them.

On a GPU machine prepared so that /etc/hotseat-gpu-flags holds the flags a GPU container needs there, and
/run/rootfs/N are writable copies of the host's root. Without a GPU the demo engine stands in, on the emulated driver.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from http_client import complete, get
from lab import Lab

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One container to be: how to start it and what to ask it."""

    name: str
    port: int
    model: str
    run: list[str]
    """Arguments of `podman run` after the name."""
    extra: dict[str, object] = field(default_factory=dict)
    """Further fields of a completion request."""
    ready_within: float = 300

    def start(self, lab: Lab) -> float:
        """Cold start: seconds from `podman run` to the first healthy answer."""
        lab.sh(["podman", "rm", "-f", "-t", "0", self.name], ok=False)
        started = time.monotonic()
        lab.sh(["podman", "run", "-d", "--name", self.name, *self.run])
        try:
            lab.wait(f"{self.name} healthy", lambda: self.healthy(lab), deadline=self.ready_within)
        except Exception:
            lab.say(lab.sh(["sh", "-c", f"podman logs --tail 40 {self.name} 2>&1"], ok=False))
            raise
        return time.monotonic() - started

    def healthy(self, lab: Lab) -> bool:
        state = lab.sh(["podman", "inspect", "-f", "{{.State.Status}}", self.name], ok=False).strip()
        if state not in ("running", "created", "paused"):
            raise RuntimeError(f"{self.name} is {state or 'gone'}")
        return get(self.port, "/health") == 200

    def ask(self, prompt: list[int] | str, *, tokens: int, port: int | None = None, deadline: float = 180):
        return complete(port or self.port, self.model, prompt, tokens=tokens, deadline=deadline, **self.extra)

    def status(self, lab: Lab) -> str:
        """What `podman ps` says of it."""
        line = lab.sh(["podman", "ps", "-a", "--filter", f"name=^{self.name}$", "--format", "{{.Status}}"]).strip()
        state = lab.sh(["podman", "inspect", "-f", "{{.State.Status}}", self.name]).strip()
        return f"{line} ({state})"

    def paused(self, lab: Lab) -> bool:
        return lab.sh(["podman", "inspect", "-f", "{{.State.Status}}", self.name]).strip() == "paused"

    def remove(self, lab: Lab) -> None:
        lab.sh(["podman", "rm", "-f", "-t", "0", self.name], ok=False)


def gpu_flags(slot: int) -> list[str]:
    flags = shlex.split(Path("/etc/hotseat-gpu-flags").read_text())
    return ["--network", "host", *flags, "--rootfs", f"/run/rootfs/{slot}"]


def torch(name: str, size: str, port: int, slot: int, seed: int) -> Engine:
    script = Path(f"/run/rootfs/{slot}/root/server.py")
    script.write_text((HERE.parent.parent / "examples/pytorch/server.py").read_text())
    argv = f"{sys.executable} /root/server.py --size {size} --name {name} --port {port} --seed {seed}"
    return Engine(name=name, port=port, model=name, run=[*gpu_flags(slot), *shlex.split(argv)])


def vllm(name: str, size: str, port: int, slot: int, share: float, *, sleep: bool = False) -> Engine:
    """vLLM with CUDA graphs; the kit and the model's configuration lie on the host's root. `sleep`: it can sleep."""
    argv = (
        f"bash /opt/vllmkit/serve.sh /opt/models/{size} {port} --max-model-len 8192 "
        f"--gpu-memory-utilization {share} --enable-prompt-tokens-details"
    )
    run = [
        "--env",
        f"NAME={name}",
        "--env",
        f"VLLMKIT_PYTHON={sys.executable}",
        "--env",
        f"SLEEP={int(sleep)}",
        "--shm-size",
        "4g",
        *gpu_flags(slot),
        *shlex.split(argv),
    ]
    return Engine(name=name, port=port, model=name, run=run, extra={"ignore_eos": True}, ready_within=150)


def llama(name: str, port: int, slot: int) -> Engine:
    """llama.cpp's server ($LLAMA_SERVER, see build_llama.sh) on a model of random weights, made here or $LLAMA_GGUF."""
    server = Path(os.environ["LLAMA_SERVER"]).resolve()
    model = Path(os.environ.get("LLAMA_GGUF") or f"/run/rootfs/{slot}/root/model.gguf")
    if not model.exists():
        subprocess.run([sys.executable, str(HERE / "make_gguf.py"), str(model)], check=True, timeout=120)
    mounts = ["-v", f"{server.parent}:/opt/llama:ro", "-v", f"{model.resolve()}:/root/llama.gguf:ro"]
    libraries = [str(folder) for path in sys.path for folder in sorted(Path(path).glob("nvidia/*/lib"))
                 if [*folder.glob("libcublas*"), *folder.glob("libcudart*")]]  # fmt: skip
    # The driver's folder is named because the loader's cache may not know it.
    search = ":".join(["/opt/llama", *libraries, "/usr/local/cuda/lib64", "/usr/local/nvidia/lib64"])
    argv = (
        f"/opt/llama/{server.name} -m /root/llama.gguf -ngl 99 --host 127.0.0.1 --port {port} --alias {name} "
        "-np 1 -c 4096 --cache-ram 0"
    )
    run = [*mounts, "--env", f"LD_LIBRARY_PATH={search}", *gpu_flags(slot), *shlex.split(argv)]
    # Its likeliest word is always the same one; drawn by a seed each follows from all before it.
    drawn = {"ignore_eos": True, "temperature": 1, "seed": 7}
    return Engine(name=name, port=port, model=name, run=run, extra=drawn, ready_within=90)


def demo(name: str, port: int, slot: int, weights: str, kv: str, seed: int, options: str = "") -> Engine:
    binary = Path(f"/run/rootfs/{slot}/root/hotseat-demo-engine")
    binary.write_bytes((HERE.parent.parent / "src/hotseat/_native/hotseat-demo-engine").read_bytes())
    binary.chmod(0o755)
    argv = (
        f"/root/hotseat-demo-engine --model {name} --host 127.0.0.1 --port {port} --weights {weights} --kv {kv} "
        f"--seed {seed} {options}"
    )
    return Engine(name=name, port=port, model=name, run=[*gpu_flags(slot), *shlex.split(argv)])
