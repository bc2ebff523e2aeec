"""The folder of the demo: the store, and for each run its library, its repository and its count."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from examples.repair import git, library, model, suite
from examples.repair.bugs import Planted, plants

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that this demo is part of."""

_STATE = "demo.json"


class NotOurs(Exception):
    """The folder holds something that this demo did not make."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one run of the demo is."""

    folder: Path
    run: str

    @property
    def store(self) -> Path:
        """Holdfast's store; runs of earlier demos are in it too if they were kept."""
        return self.folder / "store"

    @property
    def library(self) -> Path:
        """The library with the bug: what the agent's world is made of."""
        return self.folder / self.run / "library"

    @property
    def repository(self) -> Path:
        """The bare repository to which the repair is published."""
        return self.folder / self.run / "published.git"

    @property
    def order(self) -> Path:
        """The agent's arguments."""
        return self.folder / self.run / "order.json"

    @property
    def secret(self) -> Path:
        """What was planted; the agent is not given this."""
        return self.folder / self.run / "planted.json"

    @property
    def count(self) -> Path:
        """One line for each tool that was really performed."""
        return self.folder / self.run / "performed.txt"

    @property
    def complaints(self) -> Path:
        """What the agent's processes said on standard error."""
        return self.folder / self.run / "stderr.txt"


@dataclass(frozen=True, slots=True)
class Planting:
    """What was planted, and the file as it was before."""

    seed: int
    title: str
    bug: Planted
    original: str
    tests: int
    """How many tests the library has."""
    why: str
    """What the tests say now."""


def fresh(folder: Path, seed: int, keep: bool) -> Place:
    """A place for a new run; what an earlier demo left there goes, unless it is to be kept."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _STATE).is_file():
            raise NotOurs(f"{folder} is not empty and not of this demo: choose another --dir")
        if not keep:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run, number = f"repair-{seed}", 1
    while (folder / run).exists():
        number += 1
        run = f"repair-{seed}-{number}"
    (folder / run).mkdir()
    (folder / _STATE).write_text(json.dumps({"run": run}))
    return Place(folder, run)


def latest(folder: Path) -> Place:
    """The place of the last run, to go on with it."""
    try:
        return Place(folder, json.loads((folder / _STATE).read_text())["run"])
    except (OSError, ValueError, KeyError):
        raise NotOurs(f"{folder} has no demo to resume: start one without --resume") from None


def prepare(place: Place, pin: library.Pin, archive: Path, seed: int) -> Planting:
    """Unpack the library, plant the seed's first bug that its tests notice, make the repository."""
    title = f"{pin.name} {pin.version}"
    root = library.unpack(archive, pin, place.library)
    return plant(place, title, library.sources(root, pin.sources), seed)


def plant(place: Place, title: str, tree: Mapping[str, str], seed: int) -> Planting:
    """Plant a bug into the library that is unpacked at this place, and write the agent's order."""
    for bug in plants(tree, seed):
        (place.library / bug.path).write_text(bug.new_source, "utf-8")
        report = suite.perform(place.library, suite.Run())
        if not report.green:
            break
        (place.library / bug.path).write_text(tree[bug.path], "utf-8")
    else:
        raise ValueError("the tests notice none of the bugs of this seed")
    copy = place.library.with_name("first-commit")
    shutil.copytree(place.library, copy)
    git.make_bare(place.repository, copy, f"{title}, as found")
    shutil.rmtree(copy)
    write_order(place, tuple(tree), model.wire())
    made = Planting(seed, title, bug, tree[bug.path], len(report.outcomes), report.why)
    place.secret.write_text(json.dumps(asdict(made)))
    return made


def write_order(place: Place, paths: tuple[str, ...], wire: model.Wire | None) -> None:
    """Write down the agent's arguments: nothing of the bug, and no key."""
    order = {
        "paths": paths,
        "repository": str(place.repository.resolve()),
        "wire": None if wire is None else asdict(wire),
    }
    place.order.write_text(json.dumps(order))


def planting(place: Place) -> Planting:
    """What was planted at this place, as `plant` wrote it down."""
    found: dict[str, Any] = json.loads(place.secret.read_text())
    found["bug"] = Planted(**found["bug"])
    return Planting(**found)
