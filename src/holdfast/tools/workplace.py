"""Where the commands of runs work: a run's world as layers, inside the walls of a sandbox.

One `Workplace` for each directory of caches and event loop is shared by all runs there. A run's
world stays open between its commands; what a command changed is read from its private upper
directory, and becomes a layer that forks share. Where no overlay can be mounted, a world is a
plain copy, which the same sandbox holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from holdfast.engine import scope
from holdfast.sandbox.client import Opened, Sandbox
from holdfast.sandbox.spec import TIERS, Ended, Folder, Limits, Overlay, Spec, Tier
from holdfast.values import limits as most
from holdfast.values.errors import HoldfastError, Misuse, Outside, Refused
from holdfast.world import CopyCheckout, Stage
from holdfast.world.clones import Clones
from holdfast.world.disk import Row
from holdfast.world.layers import Layers, Stack
from holdfast.world.overlay import Upper, read_upper
from holdfast.world.shelf import delete, real
from holdfast.world.temporary import Temporary
from holdfast.world.tree import RESERVED


@dataclass(frozen=True)
class Asked:
    """What a command may see and use, beyond its world; see `holdfast.tools.world.run`."""

    command: tuple[str, ...]
    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    readable: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(eq=False)
class _World:
    """A run's world, mounted. ``root``: what it shows; ``rows``: what its upper held then."""

    run: str
    epoch: int
    walls: object
    stack: Stack
    place: Path
    opened: Opened
    root: str
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    whole: bool = True
    plain: bool = True
    busy: bool = True
    since: float = 0.0

    def makes(self, root: str) -> bool:
        """Whether commands in it have made this root."""
        return self.root == root != self.stack.root

    @property
    def is_large(self) -> bool:
        """Whether writing what it changed once more would take longer than closing it."""
        return len(self.rows) > most.NEAR_MIN_ENTRIES


class Workplace:
    """Runs commands in worlds. All methods are called on one event loop. ``checkout``: how worlds
    are shown here, "overlay" or "copy", with why no overlay can be mounted."""

    def __init__(self, caches: str, wanted: str) -> None:
        self._own = None if caches else Temporary("holdfast-memory-")
        self._caches = Path(caches) if self._own is None else self._own.path
        least, strongest = _tiers(wanted)
        unsafe = least == "none"
        self._sandbox = Sandbox(least=least, most=strongest, unsafe=unsafe)
        self._wanted = wanted
        self._layers: Layers | None = None
        self._clones: Clones | None = None
        self._overlays: bool | None = None
        self.checkout = "copy"
        self._open: dict[str, _World] = {}
        self._going: dict[asyncio.Task[None], _World] = {}
        self._first = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self, here: scope.Call, asked: Asked) -> tuple[Ended, tuple[str, ...]]:
        """Run a command in the world of a call and give the call what it made of it. Also returns
        what the command left that no world can hold. Errors: `Outside`, `Refused`, `Misuse`."""
        _check(self._caches, asked.readable)
        if await self._can_overlay(here):
            return await self._run_open(here, asked)
        return await self._run_copy(here, asked)

    # As an overlay ---

    async def _can_overlay(self, here: scope.Call) -> bool:
        """Whether worlds can be mounted here: tried once, for some file systems cannot hold it."""
        async with self._first:
            if self._overlays is None:
                self._overlays = await self._tier() == "namespaces" and await self._try(here)
        return self._overlays

    async def _tier(self) -> Tier:
        """INVARIANT W25: the walls are those that the setting allows, or nothing is run."""
        try:
            return await self._sandbox.tier()
        except Refused as error:
            text = f"world.run: {error} (the setting is HOLDFAST_SANDBOX={self._wanted!r})"
            raise Refused(text, rule=error.rule) from None

    async def _try(self, here: scope.Call) -> bool:
        try:
            layers = await asyncio.to_thread(
                Layers, Stage(here.stage.fetch), self._caches / "worlds"
            )
        except Misuse:  # such as caches behind a link (W41)
            raise
        except HoldfastError as error:
            self.checkout = f"copy: {error}"
            return False
        place = await asyncio.to_thread(layers.upper)
        below = place / "below"
        below.mkdir()
        try:
            world = Overlay((str(below),), str(place / "upper"), str(place / "work"))
            await self._sandbox.run(Spec(("true",), world))
        except (Misuse, Outside) as error:
            delete(place)
            await asyncio.to_thread(layers.close)
            if isinstance(error, Outside) and error.retryable:
                raise
            self.checkout = f"copy: {error}"
            return False
        delete(place)
        self._layers, self.checkout = layers, "overlay"
        return True

    async def _run_open(self, here: scope.Call, asked: Asked) -> tuple[Ended, tuple[str, ...]]:
        world = await self._enter(here, asked)
        try:
            ended = await world.opened.run(
                asked.command, cwd=asked.cwd, environment=asked.environment,
                secrets=asked.secrets, limits=asked.limits,
            )  # fmt: skip
            found = await asyncio.to_thread(self._read, world, here.stage)
        except BaseException:
            # INVARIANT W8: what a command that did not end well wrote is never used again: its
            # upper is deleted, and the step runs again from the root before it.
            world.whole = False
            await asyncio.shield(self._leave(world))
            raise
        world.rows, world.root = found.rows, found.root
        world.whole, world.plain = not found.left, found.plain
        world.busy, world.since = False, self._loop.time()
        here.root = found.root
        self._look_later()
        return ended, tuple(sorted(found.left))

    def _read(self, world: _World, stage: Stage) -> Upper:
        upper, now = world.place / "upper", self._cache.now()
        return read_upper(stage, world.stack.root, upper, world.rows, now)

    @property
    def _cache(self) -> Layers:
        assert self._layers is not None
        return self._layers

    async def _enter(self, here: scope.Call, asked: Asked) -> _World:
        """The run's world, open, showing the root of the call."""
        root = here.root
        most_used = asked.limits  # what is set when a world is opened, for all its commands
        walls = (
            asked.readable, asked.network, most_used.disk_bytes, most_used.memory_bytes,
            most_used.processes,
        )  # fmt: skip
        world = self._open.get(here.run)
        if world is not None:
            if world.busy:
                raise Misuse("world.run: another command runs in this world; await it first")
            world.busy = True
            same = world.epoch == here.epoch and world.root == root and world.walls == walls
            small = len(world.rows) <= most.UPPER_ENTRIES
            # INVARIANT W26: what a command sees follows from the root alone: what an upper has
            # beyond that (hard links, sockets, other bits of modes) is gone when the next begins.
            bare = world.plain and world.whole
            if same and small and bare and self._is_sound(world):
                return world
            # an upper belongs to one lease (W8)
            world.whole = world.whole and world.epoch == here.epoch and self._is_sound(world)
            await self._leave(world)
        near = [] if world is None else [world.root, world.stack.root]
        for other in [one for one in self._open.values() if one.makes(root)]:
            near.append(other.stack.root)
            if other.is_large and not other.busy:  # its upper becomes the layer that both need
                self._go(other)
        for task, other in [(task, one) for task, one in self._going.items() if one.makes(root)]:
            near.append(other.stack.root)
            if other.is_large:
                await asyncio.wait([task])
        return await self._begin(here, asked, near, walls)

    async def _begin(
        self, here: scope.Call, asked: Asked, near: list[str], walls: object
    ) -> _World:
        cache, root = self._cache, here.root

        def prepare() -> tuple[Stack, Path]:
            stack = cache.lowers(root, near, here.stage)
            try:
                return stack, cache.upper()
            except BaseException:
                cache.release(stack)
                raise

        stack, place = await asyncio.to_thread(prepare)
        lower = tuple(str(path) for path in stack.directories)
        try:
            opened = await self._sandbox.open(
                Overlay(lower, str(place / "upper"), str(place / "work")),
                readable=asked.readable, hidden=(str(self._caches),), network=asked.network,
                limits=asked.limits,
            )  # fmt: skip
        except BaseException:
            cache.release(stack)
            delete(place)
            raise
        world = _World(here.run, here.epoch, walls, stack, place, opened, root)
        self._open[here.run] = world
        return world

    def _is_sound(self, world: _World) -> bool:
        """Whether nobody has deleted what is mounted."""
        return self._cache.sound(world.stack) and (world.place / "upper").is_dir()

    # Closing ---

    def _go(self, world: _World) -> None:
        """Close a world that nothing runs in, in the background."""
        world.busy = True
        if self._open.get(world.run) is world:
            del self._open[world.run]
        task = self._loop.create_task(self._leave(world))
        self._going[task] = world
        task.add_done_callback(lambda done: self._going.pop(done, None))

    async def _leave(self, world: _World) -> None:
        """Close a world; its upper becomes a layer, or is deleted if it is not ``whole``."""
        if self._open.get(world.run) is world:
            del self._open[world.run]
        await world.opened.close()
        await asyncio.to_thread(self._put_away, world)

    def _put_away(self, world: _World) -> None:
        cache = self._cache
        try:
            if world.whole and world.root != world.stack.root:
                with contextlib.suppress(Outside):  # it is only a cache
                    cache.freeze(world.stack, world.place, world.root)
            delete(world.place)
        finally:
            cache.release(world.stack)

    def _look_later(self) -> None:
        idle = [world for world in self._open.values() if not world.busy]
        if len(self._open) > most.WORLDS_OPEN_ITEMS and idle:
            self._go(min(idle, key=lambda world: world.since))
        if self._timer is None and idle:
            self._timer = self._loop.call_later(most.WORLD_IDLE_SECONDS, self._look)

    def _look(self) -> None:
        """Close what nobody has used for long."""
        self._timer = None
        before = self._loop.time() - most.WORLD_IDLE_SECONDS
        for world in [one for one in self._open.values() if not one.busy]:
            if world.since <= before:
                self._go(world)
        self._look_later()

    def ended(self, run: str) -> None:
        """A run needs its world no more."""
        world = self._open.get(run)
        if world is not None and not world.busy:
            self._go(world)
        copies = self._caches / "checkouts" / run
        if copies.is_dir() and not copies.parent.is_symlink():  # W41
            self._loop.run_in_executor(None, shutil.rmtree, copies, True)

    async def close(self) -> None:
        """Close every world and end the helper."""
        if self._timer is not None:
            self._timer.cancel()
        for world in list(self._open.values()):
            world.whole = world.whole and not world.busy
            self._go(world)
        if self._going:
            await asyncio.wait(list(self._going))
        await self._sandbox.close()
        if self._layers is not None:
            await asyncio.to_thread(self._layers.close)
        if self._own is not None:
            await asyncio.to_thread(self._own.close)

    # As a copy ---

    async def _run_copy(self, here: scope.Call, asked: Asked) -> tuple[Ended, tuple[str, ...]]:
        checkout = await asyncio.to_thread(self._checkout, here)
        environment = asked.environment
        if await self._tier() == "landlock":
            home = await asyncio.to_thread(_scratch, checkout.path)
            environment = {"HOME": home, "TMPDIR": home, **environment}
        spec = Spec(
            asked.command, Folder(str(checkout.path)), cwd=asked.cwd,
            environment=environment, secrets=asked.secrets, readable=asked.readable,
            hidden=(str(self._caches),), network=asked.network, limits=asked.limits,
        )  # fmt: skip
        ended = await self._sandbox.run(spec)
        left: list[str] = []
        here.root = await asyncio.to_thread(checkout.snapshot, left)
        return ended, tuple(left)

    def _checkout(self, here: scope.Call) -> CopyCheckout:
        """The run's own copy of its world. It is a cache: anything there may be deleted.

        It belongs to one lease (W8): a command that outlived its killed process may still write
        into the copy of the lease before, so that is never used again.
        """
        place = real(real(self._caches / "checkouts") / here.run)
        for stale in place.glob("*"):
            if stale.name.partition(".")[0] != str(here.epoch):
                shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink()
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._clones is None:
            self._clones = Clones(self._caches / "clones")
        checkout = CopyCheckout(
            here.stage, place / str(here.epoch), place / f"{here.epoch}.index", self._clones
        )
        checkout.sync(here.root)
        if self._clones.works and not self.checkout.endswith(_CLONED):
            self.checkout += _CLONED
        return checkout


_CLONED = "; large files are cloned (reflink)"


def _scratch(copy: Path) -> str:
    """A new directory that is no part of the world: walls that cannot mount have no other /tmp."""
    place = copy / RESERVED
    if place.is_symlink() or place.exists():
        delete(place)
    place.mkdir(mode=0o700)
    return str(place)


def _tiers(wanted: str) -> tuple[Tier, Tier]:
    """The weakest and the strongest walls that a setting allows; `Misuse`."""
    if not wanted:
        return "namespaces", "namespaces"
    for tier in TIERS:
        if tier == wanted:
            return tier, tier
    raise Misuse(f"HOLDFAST_SANDBOX={wanted!r}: say {', '.join(TIERS)}, or nothing for namespaces")


def _check(caches: Path, readable: tuple[str, ...]) -> None:
    """INVARIANT W42: a command reads nothing of the store, whichever of the two holds the other."""
    store = os.path.realpath(caches)
    for path in readable:
        asked = os.path.realpath(path)
        if f"{store}/".startswith(asked.rstrip("/") + "/"):
            raise Misuse(f"readable path {path!r} holds the store: commands never see that")
        if f"{asked}/".startswith(store.rstrip("/") + "/"):
            raise Misuse(f"readable path {path!r} is in the store: commands never see that")


def interpreter() -> tuple[str, ...]:
    """The directories of the running Python: commands may read them, so that they can use it."""
    return tuple(dict.fromkeys((sys.prefix, sys.base_prefix)))


# One for each directory of caches -------------------------------------------------------------
_places: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Workplace]] = WeakKeyDictionary()
_wishes: dict[str, str] = {}
_users: Counter[str] = Counter()


def enlist(caches: str, wanted: str) -> None:
    """A user of these caches: its commands get the walls of a setting ("" is the best). `Misuse`.

    Several users on one loop share one workplace; the last one that leaves closes it.
    """
    _tiers(wanted)
    _wishes[caches] = wanted
    _users[caches] += 1


def workplace(caches: str) -> Workplace:
    """The workplace with these caches on the running loop; made on first use."""
    here = _places.setdefault(asyncio.get_running_loop(), {})
    if caches not in here:
        here[caches] = Workplace(caches, _wishes.get(caches, ""))
    return here[caches]


def ended(caches: str, run: str) -> None:
    """A run with these caches ended."""
    found = _places.get(asyncio.get_running_loop(), {}).get(caches)
    if found is not None:
        found.ended(run)


async def leave(caches: str) -> None:
    """A user of these caches, which it had enlisted for, is done with them."""
    _users[caches] -= 1
    if _users[caches] <= 0:
        del _users[caches]
        _wishes.pop(caches, None)
        await close(caches)


async def close(*wanted: str) -> None:
    """Close the running loop's workplaces with these caches (none named: all)."""
    here = _places.get(asyncio.get_running_loop(), {})
    for caches in wanted or tuple(here):
        if caches in here:
            await here.pop(caches).close()
