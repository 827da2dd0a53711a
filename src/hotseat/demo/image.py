"""A container image with the demo engine: a root file system as a tar, for `docker import` and `podman import`.

It holds the engine, the C library that it needs (taken from this host, as ldd names it), and busybox where the host has
a static one. The driver's libraries are not in it: like a real GPU's they come in by mounts when a container is
created, `mounts` says which. The same inputs give the same bytes. Nothing here talks to a container engine.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hotseat import native
from hotseat.demo.spec import BINARY, EngineSpec
from hotseat.errors import Failed, NotFound

PROGRAM = f"/usr/bin/{BINARY}"
"""Where the engine lies in the image."""
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
_APPLETS = ("cat", "env", "kill", "ls", "mkdir", "ps", "rm", "sh", "sleep", "true", "wget")
# libcuda may ask for these beside libc. Since glibc 2.34 most are empty, yet still looked for by name.
_COMPANIONS = ("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")
_LDD_LINE = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
_DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib64")
_MERGED = ("bin", "lib", "lib64")


def build(path: Path, *, engine: Path | None = None, busybox: Path | None = None) -> Path:
    """Writes the tar to `path` (whole or not at all) and returns it.

    `engine`: by default this installation's (`NotFound` without one). `busybox`: a static one; by default the host's,
    and without one the image has no shell. `Failed` if ldd cannot say what the engine needs.
    """
    program = engine or native.path(BINARY)
    shell = busybox or host_busybox()
    files = {"usr/bin/" + BINARY: program, **{_merged(lib): lib for lib in libraries(program)}}
    if shell is not None:
        files["usr/bin/busybox"] = shell
    directories = {*_DIRECTORIES, *(str(parent) for name in files for parent in PurePosixPath(name).parents)} - {"."}
    draft = path.with_name(path.name + ".part")
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(directories):
            tar.addfile(_entry(name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755))
        for name in _MERGED:
            tar.addfile(_entry(name, tarfile.SYMTYPE, target=f"usr/{name}"))
        for name, text in sorted(_FILES.items()):
            _add(tar, name, text.encode(), mode=0o644)
        for name, source in sorted(files.items()):
            _add(tar, name, source.read_bytes(), mode=0o755)
        for applet in _APPLETS if shell is not None else ():
            tar.addfile(_entry(f"usr/bin/{applet}", tarfile.SYMTYPE, target="busybox"))
    draft.replace(path)
    return path


def changes(spec: EngineSpec | None = None) -> list[str]:
    """Dockerfile lines for `import --change`: the engine is what a container runs, with `spec`'s options if given."""
    lines = [f"ENTRYPOINT {json.dumps([PROGRAM])}"]
    if spec is not None:
        lines.append(f"CMD {json.dumps(spec.arguments())}")
    return lines


def library_directory() -> str:
    """The directory in the image where its loader finds a library: the one that it finds libc in.

    "/usr/lib/x86_64-linux-gnu" on Debian and Ubuntu, "/usr/lib64" on Fedora.
    """
    libc = next((lib for lib in libraries(native.path(BINARY)) if lib.name.startswith("libc.so")), None)
    if libc is None:
        raise Failed(f"ldd names no C library for {BINARY}")
    return "/" + str(PurePosixPath(_merged(libc)).parent)


def mounts(directory: Path | None = None) -> list[tuple[str, str]]:
    """(host path, container path) pairs that give a container the driver's libraries; read-only is enough.

    `directory` holds them on the host; by default the emulated driver's. The devices' files are not among them.
    """
    sources = [native.path(name) if directory is None else directory / name for name in LIBRARIES]
    return [(str(source), f"{library_directory()}/{source.name}") for source in sources]


def libraries(program: Path) -> list[Path]:
    """The shared libraries and the loader that `program` needs on this host, and libcuda's companions."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise NotFound("ldd is not here", hint="install libc-bin (Debian, Ubuntu) or glibc-common (Fedora)")
    result = subprocess.run([ldd, str(program)], capture_output=True, text=True, timeout=30, check=False)
    needed = [Path(name) for name in _LDD_LINE.findall(result.stdout)]
    if result.returncode != 0 or not needed:
        raise Failed(f"ldd cannot read {program}: {(result.stderr or result.stdout).strip()}")
    beside = [lib.parent / name for lib in needed if lib.name.startswith("libc.so") for name in _COMPANIONS]
    return sorted({*needed, *(lib for lib in beside if lib.exists())})


def host_busybox() -> Path | None:
    """A busybox that needs no libraries, if the host has one."""
    candidates: Sequence[str] = ("/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox")
    for name in candidates:
        path = Path(name)
        # a program without an interpreter segment asks for no loader
        if path.is_file() and os.access(path, os.X_OK) and b"/ld-linux" not in path.read_bytes()[:4096]:
            return path
    return None


def _merged(library: Path) -> str:
    """A library's place in the image, where /lib and /lib64 are links into /usr."""
    name = str(library).lstrip("/")
    return name if name.startswith("usr/") else f"usr/{name}"


def _entry(name: str, kind: bytes, *, mode: int = 0o777, target: str = "") -> tarfile.TarInfo:
    """Owner root, time 0: nothing of this machine or moment."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, target
    return info


def _add(tar: tarfile.TarFile, name: str, data: bytes, *, mode: int) -> None:
    info = _entry(name, tarfile.REGTYPE, mode=mode)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
