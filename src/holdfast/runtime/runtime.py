"""The `Runtime`: a host on a store, with a policy, that users open and close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from holdfast.adapters.opa import Opa
from holdfast.engine.answers import answer, send
from holdfast.engine.declare import Agent
from holdfast.engine.fork import root_at
from holdfast.engine.guest import Guest
from holdfast.engine.held import discard
from holdfast.engine.host import Handle, Host
from holdfast.engine.publish import Published
from holdfast.engine.publisher import publish_run
from holdfast.engine.receiving import receive
from holdfast.gate import Policy, default_policy
from holdfast.journal.store import Store
from holdfast.runtime.policies import Policies
from holdfast.runtime.programs import Programs
from holdfast.runtime.settings import Settings, from_environment
from holdfast.runtime.signing import Signing
from holdfast.runtime.taking import take_in
from holdfast.stores.keys import SigningKey
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.witness import witness_of
from holdfast.tools import workplace, world
from holdfast.tools.view import View
from holdfast.values.errors import Misuse
from holdfast.values.ids import new_id
from holdfast.values.ports import Clock, Dice, SystemClock, SystemDice
from holdfast.world import Stage
from holdfast.world.temporary import Temporary, sweep

_SCRATCH = "holdfast-memory-"


class Runtime:
    """Runs agents durably. An async context manager::

        async with Runtime() as runtime:
            handle = await runtime.start(agent, "argument")
            print(await handle.result())

    ``settings`` default to the environment's. ``store``: an open store instead of the directory
    that the settings name (it is then closed by whoever opened it); ``"memory"`` for one that lives
    as long as the runtime. ``serve``: also go on with runs that other processes left.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | str | None = None,
        policy: Policy | None = None,
        serve: bool = False,
        clock: Clock | None = None,
        dice: Dice | None = None,
    ) -> None:
        self.settings = settings or from_environment()
        self._given = store
        self._serve = serve
        self._clock = clock or SystemClock()
        self._dice = dice or SystemDice()
        if policy is None and self.settings.policy:
            self._policies: Callable[[], Policy] = Policies(self.settings.policy, self._clock)
        else:
            given = policy or default_policy()
            self._policies = lambda: given
        base = self.settings.directory.resolve().parent if store is None else Path.cwd()
        self.programs = Programs(base)
        self._opa = Opa(self._clock)
        self._host: Host | None = None
        self._signing: Signing | None = None
        self._scratch: Temporary | None = None
        self._ears: SqliteStore | None = None

    async def __aenter__(self) -> Runtime:
        settings = self.settings
        owner = "here"
        caches = ""
        if isinstance(self._given, str):
            if self._given != "memory":
                raise Misuse(
                    f"store={self._given!r}: give a directory in the settings, or 'memory'"
                )
            store: Store = MemoryStore()
        elif self._given is not None:
            store = self._given
            owner = getattr(store, "name", owner)
        else:
            opened = SqliteStore(
                settings.directory, synchronous=settings.synchronous, grow=True, clock=self._clock
            )
            store, owner, caches = opened, opened.name, str(settings.directory.resolve())
        self.store = store
        self._signing = await self._may_sign(store)
        if not caches:
            await asyncio.to_thread(sweep, _SCRATCH)
            self._scratch = Temporary(_SCRATCH)
            caches = str(self._scratch.path)
        workplace.enlist(caches, settings.sandbox)
        self._host = Host(
            store, owner=owner, find=self.programs.find, ref_of=self.programs.ref_of,
            policy=self._policies, clock=self._clock, dice=self._dice, linger=settings.linger,
            serve=self._serve, caches=caches, ended=self._clean,
        )  # fmt: skip
        self._host.tools, self._host.outside = world.CHECKING, self._opa
        await self._host.open()
        if self._signing is not None:
            self._signing.open()
        return self

    async def _may_sign(self, store: Store) -> Signing | None:
        """Roots are signed in the background if there is a key and a store to sign. A key or place
        that cannot be is refused before anything runs."""
        settings = self.settings
        if not settings.key or not isinstance(store, SqliteStore):
            return None
        try:
            places = [witness_of(place, store.directory) for place in settings.witness]
            key = SigningKey(Path(settings.key))
        except BaseException:
            if self._given is None:
                await store.close()
            raise
        return Signing(
            store, key, places, policy=lambda: self.policy.hash, clock=self._clock, dice=self._dice
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._host is not None:
            await self._host.close()
            self._opa.close()
            if self._signing is not None:
                await self._signing.close()
            caches = self._host.caches
            await workplace.leave(caches)
            if self._ears is not None:
                await self._ears.close()
                self._ears = None
            if self._scratch is not None:
                await asyncio.to_thread(self._scratch.close)
                self._scratch = None
            if self._given is None or isinstance(self._given, str):
                await self.store.close()
            self._host = None

    def _clean(self, run: str) -> None:
        """A run ended: its checkout is of no more use."""
        if self._host is not None:
            workplace.ended(self._host.caches, run)

    @property
    def policy(self) -> Policy:
        """The policy that counts now: files of a policy are followed while they change."""
        return self._policies()

    @property
    def host(self) -> Host:
        """The engine's host; `Misuse` before the runtime is opened."""
        if self._host is None:
            raise Misuse("the runtime is not open: use `async with Runtime() as runtime`")
        return self._host

    def ears(self) -> Store:
        """The store once more: opened beside the host's, it rings for what this process commits as
        well. It is closed with the runtime."""
        if not isinstance(self.store, SqliteStore):
            return self.store  # in memory, it rings for everybody
        if self._ears is None:
            self._ears = SqliteStore(self.store.directory, create=False, clock=self._clock)
        return self._ears

    async def start(self, program: Agent[..., Any], /, *args: Any, **kwargs: Any) -> Handle:
        """Start a run of ``program`` with these arguments."""
        return await self.launch(program, args, kwargs)

    async def launch(
        self,
        program: Agent[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        name: str = "",
        world: Path | str | None = None,
    ) -> Handle:
        """`start`, saying more: ``name`` is the run's id, ``world`` a directory whose content
        becomes the run's world (the directory itself is never touched)."""
        self.programs.add(program)
        root = "" if world is None else await self.take_in(Path(world))
        return await self.host.start(
            program, args, kwargs, name=name, world=root, by=self.settings.user
        )

    async def guest(
        self,
        agent: str,
        *,
        name: str = "",
        role: str = "",
        door: str = "python",
        given: Mapping[str, Any] | None = None,
        world: Path | str | None = None,
        observes: bool = False,
        rerun: bool | None = None,
        by: str | None = None,
    ) -> Guest:
        """A run for code that is not an `agent` of ours: of a framework, or a client behind a proxy
        (``door``). A context: inside it, calls of tools and `holdfast.step` are steps of the run::

            async with await runtime.guest("support", name="case-7", given={"ask": text}) as guest:
                guest.result = await somebody_elses_agent(text)

        ``name``: the run's id; if it is open already, it is gone on with: what was recorded is
        answered from the journal. ``given``: what person ``by`` (default: the settings' user) gave
        it to do. ``observes``: verdicts are recorded but not enforced. ``rerun``: the code starts
        again from the top after a crash, so its calls are counted by name (default: for door
        "python"). Raises as `holdfast.engine.receiving.receive`.
        """
        root = "" if world is None else await self.take_in(Path(world))
        return await receive(
            self.host, agent, door=door, name=name, role=role, given=given, world=root,
            observes=observes, by=self.settings.user if by is None else by,
            rerun=door == "python" if rerun is None else rerun,
        )  # fmt: skip

    async def take_in(self, directory: Path, ignore: tuple[str, ...] = ()) -> str:
        """Store the content of a directory and return its root. ``ignore``: globs to leave out."""
        return await take_in(self.store, directory, ignore)

    async def world(self, run: str, at: str | None = None) -> View:
        """A run's world, for reading: now, after step ``at``, or at its "start"."""
        return View(Stage(self.store.get), await root_at(self.store, run, at))

    async def publish(self, run: str) -> Published:
        """Publish what a run holds (a fork, a child): its effects are performed in order, each a
        step through the gate, with approvals asked. Waits until that is over. It stops at the first
        that is denied or fails; publishing again goes on behind it. `RunFailed` says what stood in
        the way, such as another run that is publishing it."""
        return await (await publish_run(self.host, run, by=self.settings.user)).result()

    async def discard(self, run: str) -> None:
        """Drop what a run holds; it is refused what it waits for."""
        token, now = new_id(self._dice), self._clock.now_ms()
        await discard(self.store, run, by=self.settings.user, now_ms=now, token=token)
        self.host.ring()

    async def resume(self, run: str) -> Handle:
        """Go on with a run that was suspended or whose process died."""
        return await self.host.resume(run)

    async def answer(
        self,
        run: str,
        decision: str,
        value: Any = None,
        *,
        step: str = "",
        note: str = "",
        by: str = "",
        digest: str = "",
    ) -> None:
        """Answer what a run asks: ``decision`` approve, deny, answer (with ``value``) or edit (with
        the arguments that the action may happen with as ``value``: it is judged again); ``step``
        says which question if there are several, ``by`` who answers (default: the settings' user),
        ``digest`` the action that is meant."""
        await answer(
            self.store, run, step, decision, by=by or self.settings.user,
            now_ms=self._clock.now_ms(), value=value, note=note, digest=digest,
            fits=lambda wait, plain: self.host.check_edit(run, wait.key, plain),
        )  # fmt: skip
        self.host.watch.ring()

    async def signal(
        self, run: str, name: str, value: Any = None, *, token: str = "", by: str = ""
    ) -> None:
        """Send a signal that a run may wait for; it is kept until then. The same ``token`` twice is
        one signal (default: a new token); ``by``: who sends it (default: the settings' user)."""
        now, token = self._clock.now_ms(), token or new_id(self._dice)
        user = by or self.settings.user
        await send(self.store, run, name, value, by=user, now_ms=now, token=token)
        self.host.ring()


def run(program: Agent[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run an agent durably in the store of the environment's settings and return its result.

    The bridge for code that is not asynchronous; inside an event loop use `Runtime`.
    """

    async def main() -> Any:
        async with Runtime() as runtime:
            return await (await runtime.start(program, *args, **kwargs)).result()

    return asyncio.run(main())
