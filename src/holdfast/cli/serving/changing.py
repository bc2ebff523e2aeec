"""Tools that change something: forks, merges, restored files, questions to people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from holdfast.cli.serving.shape import Asked, Given, Ref, Run, brief, whole
from holdfast.cli.worlds import find_version
from holdfast.engine.answers import ending
from holdfast.engine.choices import label
from holdfast.engine.fork import fork as make_fork
from holdfast.engine.landing import Change, Landed, change_of, land
from holdfast.explain import telling
from holdfast.journal.events import is_erased
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime import Runtime
from holdfast.runtime.merges import merge_judged, standing
from holdfast.runtime.refs import find_run
from holdfast.tools.question import question
from holdfast.values import limits
from holdfast.values.canon import digest, encode, unpack
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.ports import SystemClock
from holdfast.world import EMPTY, Stage, apply, check_path, diff, entry

_NAME_DIGITS = 12


class Fork(Asked):
    """Where to fork, and what to change in the fork's past."""

    run: Run
    step: Annotated[str, msgspec.Meta(description="Just before this step; empty: the beginning")]
    set: Annotated[
        dict[str, Any],
        msgspec.Meta(description="New values by path: result.x, args.x (of the step), input.x"),
    ] = msgspec.field(default_factory=dict)


class Forked(Given):
    """The fork's id. Nobody runs it yet: a person does, with ``command``."""

    run: str
    command: str


async def fork(store: Store, asked: Fork, key: str, *, by: str) -> Forked:
    """Make a fork, or find the one that this very call made."""
    row = await find_run(store, asked.run)
    # INVARIANT D97: the same call again is the same fork
    name = f"{row.run[:40]}.fork-{digest(key.encode())[:_NAME_DIGITS]}"
    try:
        await make_fork(
            store, row.run, asked.step, name=name, now_ms=SystemClock().now_ms(), edits=asked.set,
            by=by,
        )  # fmt: skip
    except Conflict:
        if (await store.run(name)).fork_of != row.run:
            raise
    return Forked(run=name, command=f"holdfast resume {name}")


# Merging ------------------------------------------------------------------------------------------
class Merge(Asked):
    """Which run's changes go into which run's world."""

    source: Run
    into: Run


class MeantMerge(Merge):
    """A merge as it is judged: whole names, and the worlds that it is about."""

    roots: Mapping[str, str] = {}


async def meant_merge(store: Store, asked: Merge) -> MeantMerge:
    """What a merge means just now."""
    source, into = await find_run(store, asked.source), await find_run(store, asked.into)
    onto = (await store.head(into.run)).world or EMPTY
    change = await change_of(store, source.run, into.run)
    roots = {"base": change.base, "theirs": change.theirs, "onto": onto}
    return MeantMerge(source.run, into.run, roots)


def _unmoved(asked: MeantMerge | MeantRestore, now: MeantMerge | MeantRestore) -> None:
    # INVARIANT D108: what a merge or a restore does is what was judged and approved, to the very
    # worlds; where one moved since, nothing is done, and the same call is judged anew
    if asked.roots != now.roots:
        raise Conflict(
            "a world that this is about moved after it was judged, nothing changed: call it again, "
            "to be judged as it is now"
        )


class Merged(Given):
    """How it went: ``merged``; or ``conflicts``, then nothing changed; or it ``waits`` for a person
    (at RUN): call again, unchanged, once they have decided."""

    merged: bool
    changed: tuple[str, ...] = ()
    changes: int = 0
    conflicts: tuple[str, ...] = ()
    waits: str = ""
    said: str = ""


async def merge(runtime: Runtime, asked: MeantMerge, *, by: str) -> Merged:
    """Merge the world of one run into that of another, three ways, all or nothing."""
    store = runtime.store
    meant = await meant_merge(store, asked)
    _unmoved(asked, meant)
    base, theirs, onto = (meant.roots[name] for name in ("base", "theirs", "onto"))
    change = Change(base, theirs, meant.source, {"by": by}, onto=onto)
    now = SystemClock().now_ms()
    done = await merge_judged(runtime, meant.into, change, by=by, now_ms=now)
    if isinstance(done, RunRow):
        waits = [
            brief(telling.wait_text(one, done.run), 1000) for one in done.waits if not one.ready
        ]
        said = f"{'; '.join(waits)}. A person decides it in the inbox; then call this again"
        return Merged(merged=False, waits=done.run, said=said)
    return _landed(store, done)


def _landed(store: Store, done: Landed) -> Merged:
    conflicts = [brief(f"{one.kind} {label(one)}", 300) for one in done.merged.conflicts]
    if conflicts:
        return Merged(
            merged=False, conflicts=tuple(conflicts[: limits.SERVE_ROWS]),
            said=f"{len(conflicts)} conflicts, nothing changed: a person resolves them "
            "(holdfast conflicts)",
        )  # fmt: skip
    changes = diff(Stage(store.get), done.before, done.root)
    named = [brief(f"{one.kind} {one.path}", 300) for one in changes[: limits.SERVE_ROWS]]
    return Merged(merged=True, changed=tuple(named), changes=len(changes))


class Restore(Asked):
    """Which path, as it was in which version, is to be so again in the run's world."""

    ref: Annotated[Ref, msgspec.Meta(description="RUN@STEP, RUN@0 or RUN#N: as it was there")]
    path: Annotated[str, msgspec.Meta(min_length=1, description="A file, or a whole directory")]


class MeantRestore(Restore, kw_only=True):
    """A restore as it is judged: the whole name, and the worlds that it is about."""

    roots: Mapping[str, str] = {}


async def meant_restore(store: Store, asked: Restore) -> MeantRestore:
    """What a restore means just now."""
    version = await find_version(store, asked.ref)
    run, given = version.row.run, re.split("[@#]", asked.ref)[0]
    onto = (await store.head(run)).world or EMPTY
    ref, roots = run + asked.ref[len(given) :], {"then": version.root, "onto": onto}
    return MeantRestore(ref=ref, path=asked.path, roots=roots)


async def restore(store: Store, asked: MeantRestore, *, by: str) -> Merged:
    """Bring one path of a run's world back as it was; the rest of its world stays."""
    meant = await meant_restore(store, asked)
    run = re.split("[@#]", meant.ref)[0]
    if meant.ref == run:
        raise Misuse(f"{asked.ref}: say which version: RUN@STEP, RUN@0 or RUN#N")
    _unmoved(asked, meant)
    path = check_path(asked.path.strip("/"))
    stage = Stage(store.get)
    before = meant.roots["onto"]
    then, now = entry(stage, meant.roots["then"], path), entry(stage, before, path)
    if then is None and now is None:
        raise NotFound(f"{path}: is neither in {asked.ref} nor in the world of {run} now")
    after = before if then == now else apply(stage, before, {path: then})
    await store.put(stage.take())
    # INVARIANT D98: what is restored lands as any change does: only from the world that was looked
    # at, recorded with who asked for it, and itself to be taken back
    note = {"how": "restore", "path": path, "to": asked.ref, "by": by}
    change = Change(before, after, run, note, onto=before)
    owner = getattr(store, "name", "here")
    done = await land(store, run, change, owner=owner, now_ms=SystemClock().now_ms)
    return _landed(store, done)


# Asking -------------------------------------------------------------------------------------------
class AskPerson(Asked):
    """What to ask. The same question again finds its answer; ``topic`` tells one that is asked anew
    from an earlier one in the same words."""

    question: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.SERVE_QUESTION_CHARS)]
    choices: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    topic: Annotated[str, msgspec.Meta(max_length=200)] = ""
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=limits.SERVE_WAIT_SECONDS)] = 20.0


class Reply(Given):
    """``answered``: with ``answer``, by a person; ``waiting``: ask again, unchanged, later;
    ``declined``: the person gave no answer, ``said`` says why."""

    status: str
    run: str
    answer: Any = None
    said: str = ""


async def ask_person(runtime: Runtime, asked: AskPerson, *, by: str) -> Reply:
    """Ask a person, or find what they answered."""
    args = {"text": asked.question, "choices": list(asked.choices), "client": by}
    name, row = await _asking(runtime.store, args, asked.topic)
    if row is None:
        await runtime.host.start(question, (), args, name=name, by=by)
    elif not row.ended:
        await runtime.resume(name)
    row = await standing(runtime, name, asked.wait_seconds)
    if not row.ended:
        return Reply(
            status="waiting", run=name,
            said=f"a person answers it in the inbox (holdfast answer {name} VALUE): ask again, "
            "unchanged, later",
        )  # fmt: skip
    if row.status != "done":
        said = f"{row.error.type}: {row.error.text}" if row.error is not None else row.status
        return Reply(status="declined", run=name, said=brief(said, 500))
    value = telling.plain((await ending(runtime.store, name)).value, runtime.store.get)
    answer = whole(value) if isinstance(value, str) else value
    return Reply(status="answered", run=name, answer=answer)


async def _asking(store: Store, args: dict[str, Any], topic: str) -> tuple[str, RunRow | None]:
    """The run that asks just this, and how it stands: anybody may take a name."""
    # INVARIANT D99: a question is asked once: whoever asks the same again, after a crash too, finds
    # it and its answer
    stem = f"ask-{digest(encode([args, topic]))[: _NAME_DIGITS * 2]}"
    number = 0
    while True:
        name = f"{stem}-{number}" if number else stem
        try:
            row = await store.run(name)
        except NotFound:
            return name, None
        (begun,) = await store.read(row.run, 0, 1)
        same = row.agent == question.name and not row.fork_of and not row.parent
        whole_args = same and begun.args is not None and not is_erased(begun.args)
        if whole_args and unpack(begun.args or b"null", store.get) == args:
            return name, row
        number += 1
