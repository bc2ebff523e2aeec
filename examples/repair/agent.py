"""The agent of the demo: it finds and repairs a bug in a library, and asks before it publishes.

Nothing in here is about crashes, resuming or approval: that is what Holdfast adds. The agent never
learns which bug was planted; all that it has is its world, the library as it stands.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import holdfast
from examples.repair import git, localise, model, suite
from examples.repair.candidates import Candidate, ordered
from examples.repair.localise import Suspect
from holdfast.tools import world
from holdfast.tools.command import Result

AT_ONCE = 2
"""Candidates that are tried at the same time, each in a fork of its own."""

SUSPECTS = 300
"""Suspicious lines for which candidates are formed."""

MOST = 300
"""Candidates that are tried before the agent gives up."""

MODEL, MUTATIONS = "model", "mutations"
"""Where candidates come from."""

notes = holdfast.sql("notes.db")
"""What the agent notes down. It is a file of the world: a candidate's note stands in its fork, and
comes home only if that is merged."""


@dataclass(frozen=True)
class Edit:
    """One change of a file: ``old`` occurs in it once and becomes ``new``."""

    path: str
    line: int
    old: str
    new: str
    what: str


@dataclass(frozen=True)
class Trial:
    """How a candidate did: whether it ``passes`` the tests that failed."""

    edit: Edit
    passes: bool


@dataclass(frozen=True)
class Repair:
    """What the agent has to say in the end. ``was``, ``now``: the repaired line before and after;
    ``published``: what the commit changed, "" if nothing was published."""

    found: bool
    why: str = ""
    offered: int = 0
    origin: str = ""
    path: str = ""
    line: int = 0
    edit: str = ""
    was: str = ""
    now: str = ""
    published: str = ""


# ---- tools: whatever leaves the agent's own code ---------------------------------------------


@holdfast.tool(effect="world")
async def run_tests(run: suite.Run) -> Result:
    """Run tests of the library in this world, in a sandbox; what it prints is for `suite.read`."""
    _note("run_tests")
    seconds = run.seconds + suite.GRACE_SECONDS
    tracer = str(suite.TRACER.parent)
    result = await world.run(suite.command(run), seconds=seconds, readable=[tracer])
    if not result.stdout and result.exit:
        said = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.exit}"]
        raise holdfast.Outside(f"the tests cannot be run: {said[0]}")
    return result


@holdfast.tool(effect="read")
def propose(suspects: Sequence[Suspect], paths: Sequence[str]) -> list[Candidate]:
    """Small edits of the suspicious lines, most plausible first (a few seconds of computing)."""
    _note("propose")
    sources = {path: world.content(path).decode() for path in paths}
    return ordered(suspects, sources, MOST)


@holdfast.tool(effect="idempotent", timeout=150)
def ask_model(question: str, wire: model.Wire) -> str:
    """Ask a model. Its key is taken from the environment here, so that no record ever has it."""
    _note("ask_model")
    return model.ask(question, wire)


async def already_published(repository: str, message: str) -> object:
    """After a crash: look whether the commit is there, by the key that it carries."""
    found = git.with_trailer(Path(repository), "Idempotency-Key", holdfast.idempotency_key())
    return git.stat_of(Path(repository), found) if found else holdfast.NOT_DONE


async def would_publish(repository: str, message: str) -> str:
    """What `publish` would say: its preview, which is all that happens in a fork."""
    with _exported() as (tree, clone):
        return await asyncio.to_thread(git.stage, Path(repository), tree, clone)


@holdfast.tool(effect="once", reconcile=already_published, preview=would_publish)
async def publish(repository: str, message: str) -> str:
    """Commit what changed in this world to a repository; returns which files that were."""
    _note("publish")
    signed = f"{message}\nIdempotency-Key: {holdfast.idempotency_key()}\n"
    with _exported() as (tree, clone):
        stat = await asyncio.to_thread(git.stage, Path(repository), tree, clone)
        await asyncio.to_thread(git.commit_and_push, tree, clone, signed)
        return stat


@contextlib.contextmanager
def _exported() -> Generator[tuple[Path, Path]]:
    """This world as plain files, and a place for a clone."""
    with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
        tree = Path(scratch) / "tree"
        world.export(tree)
        yield tree, Path(scratch) / "clone"


def _note(tool: str) -> None:
    """For the demo's own count, beside the journal: this tool was really performed, just now."""
    counted = os.environ.get("REPAIR_COUNT")
    if counted:
        with Path(counted).open("a") as file:
            file.write(f"{tool} {holdfast.idempotency_key()} {os.getpid()}\n")


# ---- agents ----------------------------------------------------------------------------------


@holdfast.agent
async def try_candidate(edit: Edit, failing: suite.Run, repository: str) -> Trial:
    """Apply one edit, in a fork of the library, and see what the tests that failed say. What it
    publishes is only previewed, unless this fork is the one that is merged."""
    await world.edit(edit.path, edit.old, edit.new)
    result = await run_tests(failing)
    report = suite.read(result.stdout)
    await notes.execute(
        "insert into trials values (?, ?, ?, ?, ?, ?)",
        [holdfast.run_id(), edit.path, edit.line, edit.what, report.why, result.seconds],
    )
    if report.green:
        message = f"Repair {edit.path}:{edit.line}\n\n{edit.what}\n\nRun: {holdfast.run_id()}"
        await publish(repository, message)
    return Trial(edit, report.green)


@holdfast.agent
async def repair(paths: tuple[str, ...], repository: str, wire: model.Wire | None = None) -> Repair:
    """Find what makes the tests fail, repair it, and publish the repair if a person agrees.

    ``paths``: files in which the bug may be; ``repository``: where to publish; ``wire``: a model to
    ask for candidates, if there is one.
    """
    report = suite.read((await run_tests(suite.Run())).stdout)
    if report.green:
        return Repair(found=False, why="all tests pass: there is nothing to repair")
    traced = suite.Run(tests=localise.choose_tests(report), trace=True)
    suspects = localise.suspects(suite.read((await run_tests(traced)).stdout))[:SUSPECTS]
    sources = {path: await world.read(path) for path in paths}
    await notes.script("create table trials (run primary key, path, line, edit, why, seconds)")
    failing, offered = suite.judge(report), 0
    for origin in (MODEL, MUTATIONS) if wire else (MUTATIONS,):
        if origin == MODEL and wire is not None:
            made = await _from_model(wire, suspects, sources, report)
        else:
            made = await holdfast.call(propose, suspects, paths)
        offered += len(made)
        edits = [_edit(one, sources[one.path]) for one in made]
        best = await holdfast.explore(
            [try_candidate.with_(edit, failing, repository) for edit in edits],
            check=good, limit=AT_ONCE, first=True,
        )  # fmt: skip
        if best:
            return replace(await _merge(best[0]), offered=offered, origin=origin)
    return Repair(found=False, why="no candidate passes the tests", offered=offered)


async def good(trial: Trial) -> bool:
    """Whether a candidate passes all tests; asked in its world."""
    return trial.passes and await whole_suite_green()


async def whole_suite_green() -> bool:
    """Whether all tests pass in this world."""
    return suite.read((await run_tests(suite.Run(first_failure=True))).stdout).green


async def _merge(best: holdfast.Candidate[Any]) -> Repair:
    """Merge the candidate, which publishes it: policy has a person asked first, who may refuse."""
    assert best.result is not None
    edit: Edit = best.result.edit
    merged = await best.merge(check=whole_suite_green)
    if not merged.merged:
        return Repair(found=False, why="the merge met conflicts, or made a test fail")
    stopped = merged.published.stopped
    return Repair(
        found=True,
        why=str(stopped.result) if stopped else "",
        path=edit.path, line=edit.line, edit=edit.what,
        was=await world.at("start").read(edit.path, edit.line - 1, 1),
        now=await world.read(edit.path, edit.line - 1, 1),
        published="" if stopped else str(merged.published.done[0].result),
    )  # fmt: skip


async def _from_model(
    wire: model.Wire, suspects: Sequence[Suspect], sources: Mapping[str, str], report: suite.Report
) -> list[Candidate]:
    """A model's candidates; none when it cannot be asked, for there are others."""
    failures = "\n".join(f"{test}\n{text}" for test, text in report.messages.items())
    try:
        answer = await holdfast.call(ask_model, model.prompt(suspects, sources, failures), wire)
    except holdfast.ToolError:
        return []
    return model.parse_edits(answer, sources)


def _edit(one: Candidate, source: str) -> Edit:
    """The candidate with as many whole lines around it as make its place unique."""
    start = source.rfind("\n", 0, one.start) + 1
    end = _line_end(source, one.end)
    while source.count(source[start:end]) > 1:
        start = source.rfind("\n", 0, max(0, start - 1)) + 1
        end = _line_end(source, end)
    new = source[start : one.start] + one.text + source[one.end : end]
    return Edit(one.path, one.line, source[start:end], new, one.description)


def _line_end(source: str, place: int) -> int:
    found = source.find("\n", place)
    return len(source) if found < 0 else found + 1
