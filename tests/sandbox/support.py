"""What the tests of walls share: who stands behind them, and Python inside of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.sandbox import Folder, Limits, Overlay, Sandbox, Spec
from holdfast.sandbox.probe import probe
from holdfast.sandbox.spec import Ended, Tier

NOBODY = 65534
SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
ESCAPED = "ESCAPED"
QUICK = Limits(seconds=60)


def _works(python: str, user: int | None) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([python, "-I", "-S", "-c", check], user=user, check=False)
    except OSError:
        return False
    return done.returncode == 0


def python_for(user: int | None) -> str:
    """A Python that this user may run, for the helper."""
    for python in (sys.executable, *SYSTEM_PYTHONS):
        if _works(python, user):
            return python
    pytest.skip(f"no Python >= 3.11 that uid {user} may run")


def python_inside() -> str:
    """A Python that commands find among the system's programs."""
    for python in SYSTEM_PYTHONS:
        if Path(python).exists():
            return python
    pytest.skip("no Python among the system's programs")


class Place:
    """A directory of one user with a world in it, and a secret beside the world."""

    def __init__(self, user: int | None) -> None:
        self.user = user
        self.path = Path(tempfile.mkdtemp(prefix="holdfast-walls-")).resolve()
        self.path.chmod(0o755)
        for name in ("base", "upper", "work", "folder"):
            (self.path / name).mkdir()
        (self.path / "base/given.txt").write_text("given\n")
        (self.path / "folder/given.txt").write_text("given\n")
        self.secret = self.path / "secret.txt"
        self.secret.write_text("the secret\n")
        self.own()

    def own(self) -> None:
        """Give everything to the user."""
        if self.user is not None:
            for place in (self.path, *self.path.rglob("*")):
                os.chown(place, self.user, self.user, follow_symlinks=False)

    @property
    def overlay(self) -> Overlay:
        base, upper, work = (str(self.path / name) for name in ("base", "upper", "work"))
        return Overlay((base,), upper, work)

    @property
    def folder(self) -> Folder:
        return Folder(str(self.path / "folder"))

    def remove(self) -> None:
        inner = self.path / "work/work"
        if inner.exists():
            inner.chmod(0o700)
        shutil.rmtree(self.path)


class Walls:
    """One kind of walls: a tier, and the user who runs the helper."""

    def __init__(self, tier: Tier, user: int | None) -> None:
        self.tier: Tier = tier
        self.place = Place(user)
        self.sandbox = Sandbox(
            least=tier, most=tier, python=python_for(user), user=user, unsafe=tier == "none"
        )

    @property
    def world(self) -> Overlay | Folder:
        return self.place.overlay if self.tier == "namespaces" else self.place.folder

    @property
    def changes(self) -> Path:
        return self.place.path / ("upper" if self.tier == "namespaces" else "folder")

    async def run(self, *command: str, **spec: Any) -> Ended:
        spec.setdefault("limits", QUICK)
        return await self.sandbox.run(Spec(command, self.world, **spec))

    async def attack(self, script: str, *arguments: object, **spec: Any) -> Ended:
        """Run a script that prints ESCAPED if it gets through; it must not, and must get to its
        end or be stopped."""
        ended = await self.run(python_inside(), "-c", script, *map(str, arguments), **spec)
        assert ESCAPED not in ended.stdout.decode(), ended
        return ended


def unwalled(script: str, *arguments: object, user: int | None = None) -> str:
    """What the same script does without walls: tests that it could get through."""
    command = [python_inside(), "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, user=user).stdout


def start(*command: str, user: int | None = None) -> subprocess.Popen[bytes]:
    """A process without walls; its input is a pipe."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, user=user)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def text(path: str) -> str:
    return Path(path).read_text()


def named(mark: str) -> list[str]:
    """Processes with this word among their arguments."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in line.read_bytes().split(b"\0"):
                found.append(line.parent.name)
        except OSError:
            continue
    return found


def groups_of(pid: int) -> list[Path]:
    """Control groups that a helper has made."""
    return list(Path("/sys/fs/cgroup").glob(f"**/holdfast-{pid}-*"))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - of another process: there is no event
        await asyncio.sleep(0.01)


def need(tier: Tier) -> None:
    """Skip where these walls do not stand."""
    lacking = probe().lacking(tier)
    if tier != "none" and lacking is not None:
        pytest.skip(f"no walls of tier {tier} here: {lacking.name}: {lacking.found}")
