"""Real processes: killed while commands run, two on one store, one without privileges."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from holdfast import Runtime, Settings
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.lives import ALLOW_ALL
from holdfast.tools import world
from holdfast.world import Stage
from holdfast.world.layers import Layers
from tests.tools.support import names
from tests.world.support import in_world

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("kill_program.py")
STEPS = 9


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="holdfast-kill-"))
    yield made
    shutil.rmtree(made)


def start(store: Path, python: str = sys.executable, **more) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, str(PROGRAM), str(store)], cwd=ROOT, stdout=subprocess.PIPE, text=True, **more
    )


def expected(steps: int, name: str) -> dict[str, object]:
    """The world after so many steps, worked out by hand."""
    found: dict[str, object] = {}
    for step in range(steps):
        found[f"d{step % 3}/f"] = (f"{name}\n".encode(), False)
        if step >= 5:
            found.pop("d0/f", None)
        found["log"] = (b"".join(b"%d\n" % n for n in range(step + 1)), False)
    return found


async def versions(store: Path, run: str) -> list[dict[str, object]]:
    """Every version of a run's world that the journal names, in order."""
    opened = SqliteStore(store, synchronous="FULL")
    try:
        roots = [event.world for event in await opened.read(run) if event.world]
        stage = Stage(opened.get)
        found = [in_world(stage, root) for root in dict.fromkeys(roots)]
    finally:
        await opened.close()
    return found


def test_killed_in_the_middle_the_world_is_what_the_journal_says(place):
    """kill -9 again and again while commands run: every version is one that was to be, none is
    missing, and the caches heal."""
    store = place / "store"
    ended = False
    kills = 0
    while not ended:
        child = start(store)
        assert child.stdout is not None
        for _ in range(2 + 4 * kills):  # replay says its steps too: each life comes further
            line = child.stdout.readline()
            if line != "step\n":
                ended = line == "done\n"
                break
        if not ended:
            child.kill()
            kills += 1
        child.wait()
        child.stdout.close()
        assert ended or child.returncode == -9, "it failed by itself"
    assert kills > 2
    for number in range(2):
        found = asyncio.run(versions(store, f"run{number}"))
        for version in found:
            note = version.pop("note", None)
            assert note is None or isinstance(note, tuple)
            log = version.get("log", (b"", False))
            assert isinstance(log, tuple)
            steps = log[0].count(b"\n")
            assert version == expected(steps, f"n{number}")
            assert note is None or int(note[0].split()[-1]) in (steps - 1, (steps - 1) // 4 * 4 - 1)
        assert len(found) >= STEPS
    heal(store)


def heal(store: Path) -> None:
    """The next process finds no rest of the dead ones, and no layer that is not whole."""

    class Nothing:
        def get(self, name: str) -> bytes:
            raise AssertionError(name)

        def put(self, content: bytes) -> str:
            raise AssertionError(content)

    if not (store / "worlds").is_dir():
        return  # this host has copies
    layers = Layers(Nothing(), store / "worlds")
    layers._worker.submit(int).result()
    marked = {Path(name).name for name in names(layers._shelf.marks)}
    assert len(names(layers._shelf.trees)) == len(marked)
    assert names(layers._shelf.home / "own") == [layers._shelf.owner]
    layers.close()


def test_two_processes_on_one_store_share_its_caches(place):
    @holdfast.agent
    async def grow(name: str) -> str:
        for turn in range(5):
            await world.run(["sh", "-c", f"echo {turn} >> {name}; cat base"])
        return (await world.run(["cat", "base", name])).stdout

    async def one(number: int) -> None:
        async with Runtime(Settings(store=str(place / "store"))) as runtime:
            run = await runtime.launch(grow, (f"f{number}",), world=place / "tree")
            assert await run.result() == "base0\n1\n2\n3\n4\n"

    (place / "tree").mkdir()
    (place / "tree" / "base").write_text("base")

    async def both() -> None:
        await asyncio.gather(one(1), one(2))

    child = start(place / "store", stderr=subprocess.PIPE)
    asyncio.run(both())  # two runtimes on one loop share a workplace
    out, err = child.communicate(timeout=100)
    assert out.endswith("done\n"), err
    heal(place / "store")


def test_a_secret_is_nowhere_in_the_store(place, monkeypatch):
    """Not in the journal, not in a blob, not in a file beside them: only its name."""
    secret = "tr0ub4dor-and-3"
    monkeypatch.setenv("MY_TOKEN", secret)

    @holdfast.agent
    async def careful() -> str:
        done = await world.run(
            ["sh", "-c", "test ${#MY_TOKEN} = 15 && echo it is $MY_TOKEN; echo $MY_TOKEN >&2"],
            secrets=["MY_TOKEN"],
        )
        try:
            await world.run(["true"], secrets=["MY_TOKEN", "MISSING"])
        except holdfast.ToolError as error:
            return done.stdout + done.stderr + str(error)
        return "it was not refused"

    async def main() -> str:
        settings = Settings(store=str(place / "store"))
        async with Runtime(settings, policy=ALLOW_ALL) as runtime:  # the default one asks a person
            run = await runtime.launch(careful, name="c")
            said = await run.result()
            events = await runtime.store.read("c")
            text = json.dumps([str(event) for event in events])
            assert secret not in text
            assert "MY_TOKEN" in text
            for event in events:
                for part in (event.args, event.value):
                    for name in _hashes(part):
                        assert secret.encode() not in runtime.store.get(name)
            return said

    assert asyncio.run(main()).startswith("it is [MY_TOKEN]\n[MY_TOKEN]\n")
    for path in (place / "store").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def _hashes(part: bytes | None) -> list[str]:
    text = (part or b"").decode(errors="replace")
    words = "".join(char if char in "0123456789abcdef" else " " for char in text).split()
    return [word for word in words if len(word) == 64]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_the_same_worlds(place):
    """The whole of it as a user who owns nothing else."""
    python, packages = _python_for_all()
    place.chmod(0o755)
    (place / "store").mkdir()
    os.chown(place / "store", 65534, 65534)
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": packages,
           "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    child = start(
        place / "store" / "s", python, user=65534, group=65534, extra_groups=[], env=env,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = child.communicate(timeout=100)
    if "Permission denied" in err and "holdfast" not in err:
        pytest.skip("that user cannot read this checkout")
    assert out.endswith("done\n"), err
    for number in range(2):
        found = asyncio.run(versions(place / "store" / "s", f"run{number}"))
        assert len(found) >= STEPS


def _python_for_all() -> tuple[str, str]:
    """An interpreter of this version that any user may run, and where our packages are."""
    import sysconfig

    packages = os.pathsep.join([str(ROOT / "src"), sysconfig.get_path("purelib"), str(ROOT)])
    minor = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{minor}", f"/usr/local/bin/{minor}"):
        tried = (
            subprocess.run(
                [python, "-c", "import holdfast"], user=65534, group=65534, extra_groups=[],
                env={"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
                capture_output=True, cwd="/",
            ).returncode == 0
            if _runs(python)
            else False
        )  # fmt: skip
        if tried:
            return python, packages
    pytest.skip("no interpreter here that another user may run")
    raise AssertionError


def _runs(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", ""], user=65534, check=False).returncode == 0
    except OSError:
        return False
