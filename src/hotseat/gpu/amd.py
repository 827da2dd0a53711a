"""AMD GPUs of this machine, as the kernel shows them. Detection only; `backends` says what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

VENDOR = "0x1002"

FRAME_BUFFER = ("1", "2")
"""heap_type of a memory bank that is the device's own: frame buffer, public and private (the kernel's kfd_crat.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdGpu:
    node: str
    """Its number in the KFD topology, or its card ("card0") where KFD does not know it: no compute on that one."""
    name: str
    total_bytes: int
    render_minor: int | None
    """N of /dev/dri/renderDN."""
    gfx: str
    """Target version, "gfx90a"; "" where unknown."""
    compute: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdFacts:
    gpus: tuple[AmdGpu, ...]
    kfd: bool
    """/dev/kfd is there, so ROCm can work."""


def detect(root: Path = Path("/")) -> AmdFacts:
    """Reads sysfs under `root`. Never fails: what cannot be read is left out."""
    by_kfd = tuple(_kfd(root / "sys/class/kfd/kfd/topology/nodes"))
    minors = {gpu.render_minor for gpu in by_kfd}
    cards = tuple(gpu for gpu in _cards(root / "sys/class/drm") if gpu.render_minor not in minors)
    return AmdFacts(gpus=by_kfd + cards, kfd=(root / "dev/kfd").exists())


def _kfd(nodes: Path) -> list[AmdGpu]:
    out = []
    for node in _entries(nodes):
        if _read(node / "gpu_id") in ("", "0"):  # a CPU is a node as well
            continue
        properties = _properties(node / "properties")
        banks = [_properties(bank / "properties") for bank in _entries(node / "mem_banks")]
        minor = int(properties.get("drm_render_minor", "0"))
        out.append(
            AmdGpu(
                node=node.name,
                name=_read(node / "name") or "AMD GPU",
                total_bytes=sum(
                    int(bank.get("size_in_bytes", "0")) for bank in banks if bank.get("heap_type") in FRAME_BUFFER
                ),
                render_minor=minor or None,
                gfx=_gfx(int(properties.get("gfx_target_version", "0"))),
                compute=int(properties.get("simd_count", "0")) > 0,
            )
        )
    return out


def _gfx(version: int) -> str:
    """90010 -> "gfx90a": major, minor and stepping as decimal pairs, written with the last two in hexadecimal."""
    if not version:
        return ""
    major, rest = divmod(version, 10_000)
    minor, stepping = divmod(rest, 100)
    return f"gfx{major}{minor:x}{stepping:x}"


def _cards(directory: Path) -> list[AmdGpu]:
    out = []
    for card in _entries(directory):
        if not card.name.startswith("card") or "-" in card.name or _read(card / "device/vendor") != VENDOR:
            continue
        renders = [one.name for one in _entries(card / "device/drm") if one.name.startswith("renderD")]
        out.append(
            AmdGpu(
                node=card.name,
                name=_read(card / "device/product_name") or "AMD GPU",
                total_bytes=int(_read(card / "device/mem_info_vram_total") or 0),
                render_minor=int(renders[0].removeprefix("renderD")) if renders else None,
                gfx="",
                compute=False,
            )
        )
    return out


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir(), key=lambda one: (len(one.name), one.name))
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _properties(path: Path) -> dict[str, str]:
    """Lines of "name value"."""
    pairs = (line.split(maxsplit=1) for line in _read(path).splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
