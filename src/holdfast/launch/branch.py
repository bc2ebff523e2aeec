"""The branch that a command works on, as a directory: made, led through the doors, kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from holdfast.engine.guest import Guest
from holdfast.launch import places
from holdfast.launch.doors import Say
from holdfast.launch.entries import Offer, Rewritten, names_in
from holdfast.launch.home import gather, overlay
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime
from holdfast.values.errors import Misuse
from holdfast.world import EMPTY, CopyCheckout, Stage, entry, read_file, write_file
from holdfast.world.temporary import Temporary, sweep

_PREFIX = "launch-"
_LEFT = "left-"


def known_servers(directory: Path) -> list[str]:
    """The MCP servers that the files of a project name, sorted."""
    found: set[str] = set()
    for path in places.PROJECT:
        with contextlib.suppress(OSError):
            found.update(names_in(path, (directory / path).read_bytes()))
    return sorted(found)


class Branch:
    """A copy of a run's world, away from the directory that it was taken in from, and from the
    store, among ``copies``. ``path``: where the command works; its last part is called as that
    directory."""

    def __init__(self, runtime: Runtime, directory: Path, copies: Path, say: Say) -> None:
        self._runtime, self._say = runtime, say
        self._original = directory
        copies.mkdir(mode=0o700, exist_ok=True)
        sweep(_PREFIX, copies)
        self._place: Temporary | None = Temporary(_PREFIX, copies)
        self._at = self._place.path
        self.path = self._at / "world" / (directory.name or "world")
        self._stage = Stage(runtime.store.get, runtime.store.put_now)
        self._checkout = CopyCheckout(self._stage, self.path, self._at / "index")
        self._files: list[Rewritten] = []
        self._home: tuple[Path, Path, tuple[str, ...]] | None = None

    async def begin(
        self, guest: Guest, offer: Offer, env: Mapping[str, str], *, walls: bool
    ) -> None:
        """Write the run's world there, with MCP servers led through ``offer``, which may name
        variables of ``env``. ``walls``: what they are is read from the original directory."""
        root = (await self._runtime.store.head(guest.id)).world or EMPTY
        self.path.parent.mkdir()

        def write() -> None:
            shown = root
            for path in places.PROJECT:
                found = entry(self._stage, shown, path)
                if found is None or not found.is_file:
                    continue
                file = Rewritten(path, read_file(self._stage, shown, path))
                led = file.lead(self._known(path, offer, env) if walls else offer, env)
                self._tell(file)
                if led:
                    self._files.append(file)
                    shown = write_file(self._stage, shown, path, file.content, found.executable)
            self._checkout.sync(shown)
            pointer = self.path / ".git"
            if pointer.is_file():
                self._say("the .git here only points at a repository: git's own changes of "
                          "history go there, not to the branch")  # fmt: skip

        await asyncio.to_thread(write)
        await self._runtime.store.put(self._stage.take())

    def _known(self, path: str, offer: Offer, env: Mapping[str, str]) -> Offer:
        """``offer`` of servers as the original directory has them, and of no others."""
        # D85: the run's world is what a command behind walls wrote when the run was gone on with
        known: dict[str, Server] = {}
        with contextlib.suppress(OSError):
            original = Rewritten(path, (self._original / path).read_bytes())
            original.lead(lambda name, server: known.update({name: server}), env)

        def offered(name: str, server: Server) -> tuple[list[str], dict[str, str]] | None:
            del server
            if name in known:
                return offer(name, known[name])
            self._say(f"MCP server {name} is left out: {self._original / path} does not name it")
            return None

        return offered

    def _tell(self, file: Rewritten) -> None:
        for trouble in file.troubles:
            self._say(f"an MCP server is left out: {trouble}")

    def home(self, real: Path, offer: Offer, env: Mapping[str, str]) -> Path | None:
        """A home whose files lead MCP servers through ``offer``, which may name variables of
        ``env``; None if there are none."""
        files: dict[str, bytes] = {}
        for path in places.PERSONAL:
            try:
                before = (real / path).read_bytes()
            except OSError:
                continue
            file = Rewritten(path, before)
            same = {str(self.path): str(self._original)}
            led = file.lead(offer, env, same_as=same)
            self._tell(file)
            if led:
                files[path] = file.content
        if not files:
            return None
        place = self._at / "home"
        overlay(real, place, files)
        self._home = real, place, tuple(files)
        return place

    async def keep(self) -> str:
        """The world as the command left it, with MCP servers as they were: its root, whose content
        is stored."""
        left: list[str] = []

        def look() -> str:
            root = self._checkout.snapshot(left)
            for file in self._files:
                found = entry(self._stage, root, file.path)
                if found is not None and found.is_file:
                    after = read_file(self._stage, root, file.path)
                    restored = file.back(after)
                    if file.unread and after != file.content:
                        left.append(f"{file.path}: it is as it was, for it could not be read")
                    if restored != after:
                        root = write_file(self._stage, root, file.path, restored, found.executable)
            return root

        # INVARIANT D86: what is kept has clients' files as they were, without doors and tokens
        root = await asyncio.to_thread(look)
        await self._runtime.store.put(self._stage.take())
        for sentence in left:
            self._say(f"not kept: {sentence}")
        return root

    def leave_it(self) -> Path:
        """Do not delete the command's files; where they are."""
        if self._place is None:
            raise Misuse("the branch is closed")
        self._gather()
        place = self._at.with_name(self._at.name.replace(_PREFIX, _LEFT, 1))
        self._at.rename(place)
        self._place = None
        return place / "world"

    def _gather(self) -> bool:
        """Move what is new at home there; whether something could not be moved."""
        home, self._home = self._home, None
        troubles = gather(*home) if home is not None else []
        for sentence in troubles:
            self._say(f"not moved to your home: {sentence}")
        return bool(troubles)

    async def close(self) -> None:
        """Delete the copy; what the command wrote in its home goes to the real one."""
        if await asyncio.to_thread(self._gather):
            self._say(f"it is in {self.leave_it().with_name('home')}")
        if self._place is not None:
            place, self._place = self._place, None
            await asyncio.to_thread(place.close)
