#!/usr/bin/env python3
"""Writes wrappers.inc from cuda.h and calls.txt:  generate.py CUDA_H [--check]

calls.txt says of each call of cuda.h what the interposer does with it: `gate` (it gives a device work, or touches
memory or addresses: it waits while the gate is closed), `pass` (it looks, waits or sets up, and is not wrapped), `own`
(written by hand). A call that is not classified, or classified and gone, is an error. `--check`: write nothing, exit 1
if wrappers.inc is stale.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLASSES = ("gate", "pass", "own")
# Parameters that are no pointers, as they stand in the ABI; every other name of cuda.h is an enum or a handle.
NUMBERS = {
    "int": "int",
    "unsigned": "unsigned int",
    "unsigned int": "unsigned int",
    "cuuint32_t": "uint32_t",
    "CUdevice": "int",
    "CUdeviceptr_v1": "unsigned int",
    "size_t": "size_t",
    "unsigned long long": "unsigned long long",
    "cuuint64_t": "uint64_t",
    "CUdeviceptr": "unsigned long long",
    "CUdeviceptr_v2": "unsigned long long",
    "CUmemGenericAllocationHandle": "unsigned long long",
    "CUtexObject": "unsigned long long",
    "CUsurfObject": "unsigned long long",
    "unsigned char": "unsigned char",
    "unsigned short": "unsigned short",
    "float": "float",
}
STRUCTS = {
    "CUmemLocation": "struct abi_location",
    "CUipcMemHandle": "struct abi_ipc",
    "CUipcEventHandle": "struct abi_ipc",
}


def prototypes(header: Path) -> dict[str, list[str]]:
    """Exported name -> types of its parameters in the ABI."""
    command = ["cc", "-E", "-P", "-D__CUDA_API_VERSION_INTERNAL", str(header)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    enums = set(re.findall(r"typedef enum \w*\s*\{[^}]*\}\s*(\w+);", text))
    back = {new: old for old, new in re.findall(r"typedef (CU\w+) (CU\w+);", text)}
    handles = set(re.findall(r"typedef struct \w+ ?\*(\w+);", text)) | set(
        re.findall(r"typedef \w+ \( ?\*(\w+)\)", text)
    )
    found: dict[str, list[str]] = {}
    for statement in text.split(";"):
        match = re.search(r"CUresult\s+(cu[A-Z]\w+)\s*\((.*)\)\s*$", statement, re.DOTALL)
        if match and "typedef" not in statement and "{" not in statement:
            found[match[1]] = [
                abi(one, enums, handles, back) for one in split(match[2]) if one.strip() not in ("", "void")
            ]
    return found


def split(parameters: str) -> list[str]:
    out, depth = [""], 0
    for character in parameters:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            out.append("")
        else:
            out[-1] += character
    return out


def abi(parameter: str, enums: set[str], handles: set[str], aliases: dict[str, str]) -> str:
    if "*" in parameter or "[" in parameter:
        return "void *"
    words = parameter.replace("const ", " ").split()
    name = " ".join(words[:-1]) if len(words) > 1 else words[0]
    seen = 0
    while name in aliases and name not in NUMBERS and name not in STRUCTS and seen < 5:
        name, seen = aliases[name], seen + 1
    for table in (NUMBERS, STRUCTS):
        for spelled in (name, re.sub(r"_v\d+$", "", name)):
            if spelled in table:
                return table[spelled]
    if name in handles or re.sub(r"_v\d+$", "", name) in handles:
        return "void *"
    if name in enums:
        return "int"
    raise SystemExit(f"generate.py: what is {name!r} of {parameter!r} in the ABI? add it to NUMBERS or STRUCTS")


def classified() -> dict[str, str]:
    lines = [
        line.split() for line in (HERE / "calls.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    return {line[0]: line[1] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("header", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    found, kinds = prototypes(args.header), classified()
    wrong = [f"{name} is not classified" for name in found if name not in kinds]
    wrong += [f"{name} is classified and not in the header" for name in kinds if name not in found]
    wrong += [f"{name}: {kind} is none of {CLASSES}" for name, kind in kinds.items() if kind not in CLASSES]
    if wrong:
        sys.exit("\n".join(wrong[:40]))
    lines = ["/* Made by generate.py from cuda.h and calls.txt. Name, parameters, their names. */"]
    version = re.search(r"^#define CUDA_VERSION (\d+)$", args.header.read_text(), re.MULTILINE)
    assert version, f"{args.header} does not say its version"
    lines.append(f"HEADER({version[1]})")
    for name in sorted(found):
        kind, types = kinds[name], found[name]
        if kind in ("own", "pass"):
            lines.append(f"{kind.upper()}({name})")
        if kind != "gate":
            continue
        declared = ", ".join(f"{one} a{i}".replace("* a", "*a") for i, one in enumerate(types))
        given = ", ".join(f"a{i}" for i in range(len(types)))
        lines.append(f"GATE({name}, ({declared or 'void'}), ({given}))")
    text = "\n".join(lines) + "\n"
    target = HERE / "wrappers.inc"
    if args.check:
        if not target.exists() or target.read_text() != text:
            sys.exit("wrappers.inc is stale: run generate.py")
    else:
        target.write_text(text)


if __name__ == "__main__":
    main()
