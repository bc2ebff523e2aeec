"""The agent of the demo: it finds and repairs a bug in a library, and asks before it publishes.

Nothing in here is about crashes, resuming or approval: that is what Holdfast adds. The agent never
learns which bug was planted; all that it has is its world, the library as it stands.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import holdfast
from examples.repair import git, localise, model, suite
from examples.repair.candidates import Candidate, ordered
from examples.repair.localise import Suspect
from holdfast.tools import world

AT_ONCE = 4
"""Candidates in one batch, each in a fork of its own."""

RUNS_AT_ONCE = 2
"""Candidates whose tests run at the same time."""

SUSPECTS = 300
"""Suspicious lines for which candidates are formed."""

MOST = 300
"""Candidates that are tried before the agent gives up."""

FAILING_TRIED = 5
"""How many of the failing tests judge a candidate first."""

CANDIDATE_SECONDS = 15.0
"""Limit of the run of those tests."""

MODEL, MUTATIONS = "model", "mutations"
"""Where candidates come from."""


@dataclass(frozen=True)
class Trial:
    """How a candidate did. ``relevant``: it passed the tests that failed; ``whole``: all tests."""

    relevant: bool
    whole: bool
    why: str


@dataclass(frozen=True)
class Repair:
    """What the agent has to say in the end. ``commit``: what was published, "" if nothing was."""

    found: bool
    why: str
    tried: int = 0
    offered: int = 0
    origin: str = ""
    path: str = ""
    line: int = 0
    edit: str = ""
    commit: str = ""


# ---- tools: whatever leaves the agent's own code ---------------------------------------------


@holdfast.tool(effect="world")
async def run_tests(run: suite.Run) -> str:
    """Run tests of the library in this world; returns the tracer's report."""
    _note("run_tests")
    seconds = run.seconds + suite.GRACE_SECONDS
    tracer = str(suite.TRACER.parent)
    result = await world.run(suite.command(run), seconds=seconds, readable=[tracer])
    if not result.stdout and result.exit:
        said = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.exit}"]
        raise holdfast.Outside(f"the tests cannot be run: {said[0]}")
    return result.stdout


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
    return found or holdfast.NOT_DONE


@holdfast.tool(effect="once", reconcile=already_published)
async def publish(repository: str, message: str) -> str:
    """Commit this world to a repository; returns the commit."""
    _note("publish")
    signed = f"{message}\nIdempotency-Key: {holdfast.idempotency_key()}\n"
    with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
        tree, clone = Path(scratch) / "tree", Path(scratch) / "clone"
        await asyncio.to_thread(world.export, tree)
        return await asyncio.to_thread(git.commit_and_push, Path(repository), tree, signed, clone)


def _note(tool: str) -> None:
    """For the demo's own count, beside the journal: this tool was really performed, just now."""
    counted = os.environ.get("REPAIR_COUNT")
    if counted:
        with Path(counted).open("a") as file:
            file.write(f"{tool} {holdfast.idempotency_key()} {os.getpid()}\n")


# ---- agents ----------------------------------------------------------------------------------


@holdfast.agent(max_runs=RUNS_AT_ONCE)
async def try_candidate(path: str, old: str, new: str, relevant: suite.Run) -> Trial:
    """Apply one edit in a fork of the library and see what the tests say."""
    await world.edit(path, old, new)
    report = suite.read(await run_tests(relevant))
    if not report.green:
        return Trial(relevant=False, whole=False, why=report.why)
    report = suite.read(await run_tests(suite.Run(first_failure=True)))
    return Trial(relevant=True, whole=report.green, why=report.why)


@holdfast.agent
async def repair(
    run: str, paths: tuple[str, ...], repository: str, wire: model.Wire | None = None
) -> Repair:
    """Find what makes the tests fail, repair it, and publish the repair if a person agrees.

    ``run``: the name of this run, for the commit; ``paths``: files in which the bug may be;
    ``repository``: where to publish; ``wire``: a model to ask for candidates, if there is one.
    """
    report = suite.read(await run_tests(suite.Run()))
    if report.green:
        return Repair(found=False, why="all tests pass: there is nothing to repair")
    tests = localise.choose_tests(report)
    traced = suite.read(await run_tests(suite.Run(tests=tests, trace=True)))
    suspects = localise.suspects(traced)[:SUSPECTS]
    sources = {path: await world.read(path) for path in paths}
    tried = offered = 0
    for origin in (MODEL, MUTATIONS) if wire else (MUTATIONS,):
        if origin == MODEL and wire is not None:
            made = await _from_model(wire, suspects, sources, report)
        else:
            made = await holdfast.call(propose, suspects, paths)
        offered += len(made)
        for batch in _batches(made):
            tried += len(batch)
            winner = await _try(batch, sources, report)
            if winner is None:
                continue
            found, child = winner
            merged = await holdfast.merge(child)
            done = Repair(
                found=merged.merged, why="" if merged.merged else "the merge met conflicts",
                tried=tried, offered=offered, origin=origin,
                path=found.path, line=found.line, edit=found.description,
            )  # fmt: skip
            return await _offer(done, run, repository)
    return Repair(found=False, why="no candidate passes the tests", tried=tried, offered=offered)


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


async def _try(
    batch: Sequence[Candidate], sources: Mapping[str, str], report: suite.Report
) -> tuple[Candidate, holdfast.Child] | None:
    """Try candidates side by side, each in a fork of this world; the first that passes it all."""
    relevant = suite.Run(
        report.failing[:FAILING_TRIED] if not report.broken else report.broken[:1],
        first_failure=True,
        test_seconds=suite.patience(report),
        seconds=CANDIDATE_SECONDS,
    )
    children = [
        await holdfast.spawn(try_candidate, one.path, *_passage(one, sources[one.path]), relevant)
        for one in batch
    ]
    trials = await holdfast.gather(*[_trial(child) for child in children])
    for one, child, trial in zip(batch, children, trials, strict=True):
        if trial.whole:
            return one, child
    return None


async def _trial(child: holdfast.Child) -> Trial:
    try:
        return await child.result()
    except holdfast.RunFailed as error:
        return Trial(relevant=False, whole=False, why=str(error))


async def _offer(done: Repair, run: str, repository: str) -> Repair:
    """Publish; policy has a person asked first, who may refuse."""
    message = (
        f"Repair {done.path}:{done.line}\n\n{done.edit}\n"
        f"{done.tried} candidates were tried; this one passes the whole suite.\n\nRun: {run}"
    )
    try:
        return replace(done, commit=await publish(repository, message))
    except holdfast.Refused as refused:
        return replace(done, why=str(refused))


def _passage(one: Candidate, source: str) -> tuple[str, str]:
    """The edit as texts before and after, with as many whole lines around it as make it unique."""
    start = source.rfind("\n", 0, one.start) + 1
    end = _line_end(source, one.end)
    while source.count(source[start:end]) > 1:
        start = source.rfind("\n", 0, max(0, start - 1)) + 1
        end = _line_end(source, end)
    return source[start:end], source[start : one.start] + one.text + source[one.end : end]


def _line_end(source: str, place: int) -> int:
    found = source.find("\n", place)
    return len(source) if found < 0 else found + 1


def _batches(made: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    for start in range(0, len(made), AT_ONCE):
        yield made[start : start + AT_ONCE]
