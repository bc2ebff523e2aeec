"""What ``holdfast run -- COMMAND`` does: launches, and says what came of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from holdfast.cli.attempting import discard, merge_home, show_diff
from holdfast.cli.desk import Desk
from holdfast.cli.failing import WAITS, complain
from holdfast.cli.known import state_directory
from holdfast.cli.refs import naming, run_name
from holdfast.cli.running import runtime_of
from holdfast.cli.worlds import not_taken, remember_home
from holdfast.explain import telling
from holdfast.explain.text import Part, one_line
from holdfast.launch.branch import known_servers
from holdfast.launch.keys import DOOR, RUN
from holdfast.launch.launching import Launch, Launched, Streams, Wanted
from holdfast.launch.leashed import Signals
from holdfast.launch.summary import Summary, read_summary
from holdfast.proxy import wiring
from holdfast.sandbox.plan import PATH
from holdfast.tools.attempts import Reach
from holdfast.values.errors import HoldfastError, Misuse, Suspended
from holdfast.world.ignores import GITIGNORE

NOT_FOUND, NOT_RUN = 127, 126
"""Exit codes, as of shells, for a command that is not there, or cannot be run."""
SHOWN = 10
"""Decisions and files that are shown; the others are counted."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command, as given."""

    name: str | None
    policy: str
    world: str
    no_input: bool
    sandbox: bool
    enforce: bool
    agent: str
    role: str
    patience: float
    upstreams: tuple[str, ...]
    key_envs: tuple[str, ...]
    models: str
    servers: tuple[str, ...]
    network: tuple[str, ...]
    readable: tuple[str, ...]
    secrets: tuple[str, ...]
    seconds: float
    ignore: tuple[str, ...]
    gitignore: bool


async def launch(desk: Desk, words: tuple[str, ...], chosen: Chosen) -> int:
    """Launch a command and stay with it to its end; its exit code."""
    outer = os.environ.get(RUN, "")
    if outer and os.environ.get(DOOR):
        return _within(desk, words, chosen, outer)
    directory = Path(os.path.abspath(chosen.world or "."))  # noqa: PTH100, ASYNC240 - no wait
    trouble = _trouble(words[0], directory, walls=chosen.sandbox)
    if trouble:
        complain(f"run: {words[0]}: " + ("command not found" if trouble == NOT_FOUND
                                         else "cannot be run: it is no program"))  # fmt: skip
        return trouble
    wanted = _wanted(desk, words, chosen, directory)
    launched, code = await _carry_out(desk, wanted, chosen.policy)
    if launched is None:
        return code
    async with desk.store() as store:
        row = await store.run(launched.run)
        summary = await read_summary(store, row)
        if desk.screen.json:
            desk.screen.document(_document(desk, launched, summary, row))
            return launched.done.code
        _tell(desk, launched, summary)
        for command in telling.how_to_answer(row):
            desk.screen.note(f"  {desk.command(command)}")
        if not chosen.no_input and sys.stdin.isatty() and sys.stderr.isatty() and summary.files:
            await _offer(desk, store, row)
        else:
            _how_to_go_on(desk, launched.run, summary)
    return launched.done.code


def _within(desk: Desk, words: tuple[str, ...], chosen: Chosen, outer: str) -> int:
    """Inside of a launched command there is one run and one policy: that of the first launcher.

    INVARIANT D87: a launcher that cannot keep what it is asked for runs nothing.
    """
    if chosen.enforce or chosen.sandbox or chosen.policy or chosen.name:
        raise Misuse(
            f"run: this is inside of run {outer} already, which has its own policy and walls: "
            "leave out --enforce, --sandbox, --policy and --name"
        )
    desk.screen.note((f"inside of run {outer}: {words[0]} is part of it", "dim"))
    try:
        os.execvp(words[0], list(words))  # noqa: S606 - there is no shell
    except OSError as error:
        complain(f"run: {words[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN


def _trouble(word: str, directory: Path, *, walls: bool) -> int:
    """Why a command cannot be found, as an exit code; 0 if it can be."""
    path = directory / word
    if "/" not in word:  # walls have a PATH of their own
        return 0 if shutil.which(word, path=PATH if walls else None) else NOT_FOUND
    if not path.exists():
        return NOT_FOUND
    return 0 if path.is_file() and os.access(path, os.X_OK) else NOT_RUN


def _wanted(desk: Desk, words: tuple[str, ...], chosen: Chosen, directory: Path) -> Wanted:
    found = wiring.read_wiring(chosen.models) if chosen.models else wiring.Wiring()
    entries = {**found.upstreams, **dict(map(wiring.entry_of, chosen.upstreams))}
    found = msgspec.structs.replace(found, upstreams=wiring.with_keys(entries, chosen.key_envs))
    given = (*chosen.ignore, *[GITIGNORE] * chosen.gitignore)
    missing = [one for one in chosen.secrets if one not in os.environ]
    if missing:
        raise Misuse(f"--secret {missing[0]}: the environment has no such variable")
    if strange := [one for one in chosen.servers if one not in known_servers(directory)]:
        known = ", ".join(known_servers(directory)) or "none"
        raise Misuse(f"--server {strange[0]}: the files of {directory} name no such MCP server "
                     f"(they name: {known})")  # fmt: skip
    if not chosen.sandbox and (chosen.network or chosen.readable or chosen.secrets):
        raise Misuse("--network, --read and --secret are for --sandbox: without it all is open")
    return Wanted(
        words=words, directory=str(directory), copies=str(state_directory() / "launches"),
        ignore=not_taken(directory, desk.settings.directory, given),
        name=run_name(chosen.name), agent=chosen.agent, role=chosen.role, enforce=chosen.enforce,
        walls=chosen.sandbox, seconds=chosen.seconds, patience=chosen.patience,
        reach=Reach(
            tuple(str(Path(one).absolute()) for one in chosen.readable), chosen.network,
            chosen.secrets,
        ),
        outside=chosen.servers, wiring=found,
    )  # fmt: skip


async def _carry_out(desk: Desk, wanted: Wanted, policy: str) -> tuple[Launched | None, int]:
    terminal = sys.stdin.isatty() and not wanted.walls
    signals = Signals(terminal=terminal)
    out = sys.stderr if desk.screen.json else None

    def piece(stream: str, content: bytes) -> None:
        to = sys.stderr if stream == "stderr" or desk.screen.json else sys.stdout
        to.buffer.write(content)
        to.flush()

    async def begun(run: str, fresh: bool) -> None:
        # INVARIANT D89: what a run says of its directory is believed if it is begun here: one that
        # came with a store may name any
        if fresh:
            await remember_home(runtime.store, run, desk.settings.directory)
        desk.screen.note((f"run {run}", "bold"), f"  {one_line(wanted.words[0])} on a branch of "
                         f"{one_line(wanted.directory)}, "
                         + ("the policy enforced" if wanted.enforce else "observing"))  # fmt: skip

    runtime = runtime_of(desk, policy=policy)
    with _passing(signals):
        async with runtime:
            one = Launch(
                runtime, wanted, os.environ, signals, Streams(terminal, out, piece),
                lambda text: desk.screen.note((one_line(text), "dim")),
            )  # fmt: skip
            try:
                with naming(wanted.name):
                    return await one.carry_out(begun), 0
            except Suspended as error:
                complain(f"{error}")
                return None, WAITS


@contextmanager
def _passing(signals: Signals) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, signals.take, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


# The summary --------------------------------------------------------------------------------------


def _document(desk: Desk, launched: Launched, summary: Summary, row: Any) -> dict[str, Any]:
    run = launched.run
    return {
        "run": run, "exit": launched.done.code, "walls": launched.done.walls,
        "limit": launched.done.limit, "refused": list(launched.done.refused),
        "status": row.status, "enforced": launched.enforced,
        "calls": summary.calls, "allowed": summary.allowed,
        "would_ask": summary.of("escalate", enforced=False),
        "would_deny": summary.of("deny", enforced=False),
        "asked": summary.of("escalate", enforced=True),
        "denied": summary.of("deny", enforced=True),
        "decisions": [msgspec.structs.asdict(one) for one in summary.decisions],
        "tools": dict(summary.tools), "models": msgspec.to_builtins(summary.models),
        "built_in": dict(summary.asked),
        "files": [msgspec.structs.asdict(one) for one in summary.files],
        "waits": telling.how_to_answer(row),
        "commands": [desk.command(f"holdfast world {verb} {run}")
                     for verb in ("diff", "merge", "discard")],
    }  # fmt: skip


def _tell(desk: Desk, launched: Launched, summary: Summary) -> None:
    done = launched.done
    style = "green" if done.code == 0 else "red"
    walls = f", walls: {done.walls}" if done.walls else ""
    limit = f", ended by its limit of {done.limit}" if done.limit else ""
    state = ", stays open" if launched.open else ""
    desk.screen.note((f"run {launched.run}", "bold"), "  ", (f"exit {done.code}", style),
                     f"{limit}{walls}{state}")  # fmt: skip
    for refused in done.refused[:SHOWN]:
        desk.screen.note(("  the walls refused ", "yellow"), one_line(refused))
    _tell_decisions(desk, summary)
    if summary.tools:
        said = ", ".join(f"{name} {n}" for name, n in summary.tools.most_common(SHOWN))
        desk.screen.note(f"  tools: {one_line(said)}")
    _tell_models(desk, summary)
    if not summary.files:
        desk.screen.note("  changed nothing")
        return
    added, removed = (sum(getattr(one, k) for one in summary.files) for k in ("added", "removed"))
    databases = sum(one.database for one in summary.files)
    more = f", {databases} of them databases" if databases else ""
    count = _counted(len(summary.files), "file")
    desk.screen.note(f"  changed {count} (+{added} -{removed}){more}")
    for one in summary.files[:SHOWN]:
        lines = f"  +{one.added} -{one.removed}" if one.added or one.removed else ""
        desk.screen.note(f"    {one.kind} {one_line(one.path)}{lines}")
    if len(summary.files) > SHOWN:
        desk.screen.note(f"    and {len(summary.files) - SHOWN} more")


def _tell_decisions(desk: Desk, summary: Summary) -> None:
    parts = [_counted(summary.calls, "call"), f"{summary.allowed} allowed"]
    for decision, would, did in (
        ("escalate", "would have needed a person", "needed a person"),
        ("deny", "would have been denied", "denied"),
        ("verify", "would have been checked", "checked"),
    ):
        for enforced, text in ((False, would), (True, did)):
            if number := summary.of(decision, enforced=enforced):
                parts.append(f"{number} {text}")
    desk.screen.note(f"  {', '.join(parts)}")
    for one in summary.decisions[:SHOWN]:
        style = "red" if one.decision == "deny" else "yellow"
        line: list[Part] = [(f"    {one.decision} ", style), f"{one.step} {one.what}"]
        why = ": ".join(part for part in (one.rule, one.reason) if part)
        said = f" [{one.said}]" if one.enforced else ""
        desk.screen.note(*line, (f"  {why}{said}", "dim"))
    if len(summary.decisions) > SHOWN:
        desk.screen.note(f"    and {len(summary.decisions) - SHOWN} more")


def _tell_models(desk: Desk, summary: Summary) -> None:
    models = summary.models
    if not models.calls:
        return
    unpriced = f", {models.unpriced} of unknown price" if models.unpriced else ""
    failed = f", {models.failed} failed" if models.failed else ""
    untold = f", {models.untold} did not say their use" if models.untold else ""
    desk.screen.note(
        f"  {_counted(models.calls, 'model call')}{failed}: {models.input:,} tokens in, "
        f"{models.output:,} out, {models.cache_read:,} cached; {models.money:.4f} USD"
        f"{unpriced}{untold}"
    )
    if summary.asked:
        said = ", ".join(f"{name} {n}" for name, n in summary.asked.most_common(SHOWN))
        desk.screen.note(f"  the models called: {one_line(said)}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _how_to_go_on(desk: Desk, run: str, summary: Summary) -> None:
    lines = [("show", "what it did")]
    if summary.files:
        lines = [("world diff", "what it changed"), ("world merge", "into the directory")]
    for verb, text in (*lines, ("world discard", "drop it")):
        desk.screen.note(f"  {desk.command(f'holdfast {verb} {run}')}   {text}")


async def _offer(desk: Desk, store: Any, row: Any) -> None:
    """At a terminal: show, merge, discard, as long as somebody says so."""
    while True:
        desk.screen.prompt("d diff, m merge, x discard, q quit: ")
        word = sys.stdin.readline()
        desk.screen.prompting = not word
        try:
            match word.strip():
                case "d":
                    await show_diff(desk, store, row)
                case "m":
                    if await merge_home(desk, store, row) == 0:
                        return
                case "x":
                    await discard(desk, store, row)
                    return
                case "q" | "" if not word or word.strip():
                    desk.screen.note(f"  {desk.command(f'holdfast world merge {row.run}')}")
                    return
                case _:
                    desk.screen.note("say d, m, x or q")
        except HoldfastError as error:
            desk.screen.note((one_line(str(error)), "red"))
