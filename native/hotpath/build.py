"""Compiles Python modules with mypyc: build.py SOURCE OUT DEPFILE MODULE... Run by CMake, in a working directory of its
own.

Writes into OUT one library a module, the one they share, and `sources.json`: of which sources they were made, theirs
and those of every module that they import, as its types are compiled into them. `hotseat.hotpath` loads them. Where
they cannot be made, `sources.json` says why and names none; under CI=true that is an error, unless Python.h is what is
missing. DEPFILE tells ninja when to run this again.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

GROUP = "hotseat_hotpath"


def main() -> None:
    source, out, depfile, modules = *(Path(arg).resolve() for arg in sys.argv[1:4]), sys.argv[4:]
    sources = with_imports(source, modules)
    # Before they are compiled: one that is changed meanwhile is then a stale one.
    hashes = {str(file): importlib.util.source_hash((source / file).read_bytes()).hex() for file in sources}
    depfile.write_text(f"{out / 'sources.json'}: {' '.join(str(source / file) for file in sources)}\n")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    made: dict[str, object] = {"libraries": {}, "sources": hashes}
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        made["why"] = "no Python.h; as root: apt-get install python3-dev"
    else:
        try:
            found = compiled(source, [source / file_of(source, name) for name in modules])
            for name, library in found.items():
                shutil.copyfile(library, out / (name + "".join(library.suffixes)))
            made["libraries"] = {name: name + "".join(library.suffixes) for name, library in found.items()}
        except (Exception, SystemExit) as error:  # mypyc and setuptools end by either
            if os.environ.get("CI") == "true":
                raise
            made["why"] = f"they cannot be compiled here: {type(error).__name__}: {error}"
    if why := made.get("why"):
        print(
            f"WARNING: the gateway runs uncompiled, which takes about twice the CPU for a request: {why}",
            file=sys.stderr,
        )
    (out / "sources.json").write_text(json.dumps(made, indent=1) + "\n")


def with_imports(source: Path, modules: list[str]) -> list[Path]:
    """The files of these modules and of all below SOURCE that they import, relative to it."""
    found: set[Path] = set()
    ahead = [file_of(source, name) for name in modules]
    while ahead:
        file = ahead.pop()
        if file not in found:
            found.add(file)
            named = {file_of(source, name) for name in imports(source / file)}
            ahead += [other for other in named if (source / other).is_file()]
    return sorted(found)


def imports(file: Path) -> Iterator[str]:
    """Names of modules, and some of what is in them."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def file_of(source: Path, module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (source / path).is_dir() else path.with_suffix(".py")


def compiled(source: Path, files: list[Path]) -> dict[str, Path]:
    """The libraries by module, the shared one under its own name."""
    os.environ["MYPYPATH"] = str(source)
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    # Without stubs of libraries, which are for developers, a class of theirs is of any type.
    lax = "disable_error_code = import-untyped\ndisallow_subclassing_any = false"
    Path("mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {source}\n{lax}\n")

    extensions = mypycify(
        ["--config-file=mypy.ini", *map(str, files)], opt_level="2", debug_level="0", group_name=GROUP
    )
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_lib, command.build_temp = "lib", "temp"
    command.ensure_finalized()
    command.run()
    found = {}
    for extension in extensions:
        found[extension.name] = Path(command.get_ext_fullpath(extension.name))
    return found


if __name__ == "__main__":
    main()
