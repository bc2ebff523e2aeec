"""The policy: what it says, what a change would change in the past, and putting a change in force.

A draft is checked in memory and judged against recorded decisions before anything is written. What
is saved stands in the policy's own files, the old text beside it; running servers follow the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.diffs import Row, text_rows
from holdfast.api.console.render import form_of, page, seen
from holdfast.api.site import Site, site_of
from holdfast.explain.judged import past_decisions
from holdfast.explain.text import one_line
from holdfast.gate import Policy, judge
from holdfast.gate.backtest import ORDER, Backtest, Change, backtest
from holdfast.gate.cases import Case
from holdfast.gate.files import files_of, load_cases, read_text
from holdfast.gate.parse import parse_files
from holdfast.gate.rehearse import compare, lint
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Conflict, HoldfastError, Misuse


class File(msgspec.Struct, frozen=True):
    """A file of the policy. ``was``: digest of its text, which a form gives back."""

    name: str
    text: str
    was: str


class Draft(msgspec.Struct, frozen=True):
    """A change that is looked at. ``policy``: None if it is ``wrong``; ``failed``: cases that come
    out otherwise than they say; ``tried``: it on decisions of the past; ``observed``: verdicts that
    would be other ones in runs that only observe."""

    file: File
    text: str
    rows: list[Row]
    wrong: str = ""
    policy: Policy | None = None
    rules: dict[str, list[str]] = {}
    odd: list[str] = []
    failed: list[tuple[str, str]] = []
    cases: int = 0
    tried: Backtest | None = None
    loosened: list[Change] = []
    tightened: list[Change] = []
    other: list[Change] = []


async def policy(request: Request) -> Response:
    """What counts now, and its files."""
    need(request, "viewer")
    return await _page(request, None)


async def draft(request: Request) -> Response:
    """Look at a change, or put it in force."""
    need(request, "admin")
    site, form = site_of(request), await form_of(request)
    files = files_now(site)
    file = next((one for one in files if one.name == form.get("file")), None)
    if file is None:
        raise Misuse(f"the policy has no file {one_line(form.get('file', ''))[:100]!r}")
    text = form.get("text", "").replace("\r\n", "\n")
    if len(text) > limits.POLICY_MAX_CHARS:
        raise Misuse(f"a policy has at most {limits.POLICY_MAX_CHARS:,} characters")
    made = await _looked_at(site, files, file, text)
    if form.get("do") != "save":
        return await _page(request, made)
    # INVARIANT X135: only what was checked is saved, and only in the place of what it was made from
    if made.wrong or made.failed:
        return await _page(request, made, "not saved: mend what is wrong first", 409)
    if form.get("was") != file.was:
        return await _page(request, made, "not saved: the file has changed since: look again", 409)
    await asyncio.to_thread(save, path_of(site, file), text, site.clock.now_ms())
    return seen(request, "/policy?saved=1")


def files_now(site: Site) -> list[File]:
    """The files of the policy in force; none for the default one."""
    path = site.settings.policy
    return [_file(one) for one in files_of(path)] if path else []


def _file(path: Path) -> File:
    text = read_text(path)
    return File(path.name, text, digest(text.encode()))


def path_of(site: Site, file: File) -> Path:
    """Where a file of the policy stands."""
    path = Path(site.settings.policy)
    return path / file.name if path.is_dir() else path


def save(path: Path, text: str, now_ms: int) -> Path:
    """Put ``text`` in the place of a file, whole or not at all; where its old text is kept."""
    kept = path.with_name(f"{path.name}.{now_ms}.bak")
    try:
        kept.write_bytes(path.read_bytes())
        fresh = path.with_name(f"{path.name}.{now_ms}.new")
        with fresh.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as error:
        raise Conflict(f"{path.name}: cannot be written: {error.strerror}") from None
    return kept


async def _looked_at(site: Site, files: list[File], file: File, text: str) -> Draft:
    rows = text_rows(file.text, text)
    parts = [(text if one.name == file.name else one.text, one.name) for one in files]
    try:
        new = await asyncio.to_thread(parse_files, parts, site.settings.policy)
    except Misuse as error:
        return Draft(file, text, rows, str(error))
    past = await past_decisions(site.store)
    # as the interface does: trying a policy asks no engine outside
    tried = await asyncio.to_thread(backtest, past, new, site.store.get)
    cases = _cases(site)
    failed = [(case.name, wrong) for case in cases
              if (wrong := case.wrong(judge(case.proposal, new, case.facts)))]  # fmt: skip
    most = limits.CONSOLE_ROWS_MAX
    rank = {word: place for place, word in enumerate(ORDER)}
    looser = [one for one in tried.changes if _weaker(one, rank)]
    tighter = [one for one in tried.changes if one.new.decision == "deny"]
    other = [one for one in tried.changes if one not in looser and one not in tighter]
    return Draft(
        file, text, rows, "", new, compare(site.runtime.policy, new), lint(new), failed,
        len(cases), tried, looser[:most], tighter[:most], other[:most],
    )  # fmt: skip


def _weaker(change: Change, rank: dict[str, int]) -> bool:
    return rank[change.new.decision] < rank[change.old.verdict.decision]


def _cases(site: Site) -> tuple[Case, ...]:
    path = Path(site.settings.policy) if site.settings.policy else None
    if path is None or not path.is_dir():
        return ()
    with contextlib.suppress(HoldfastError):
        return load_cases(path / "tests")
    return ()


async def _page(
    request: Request, draft: Draft | None, trouble: str = "", status: int = 200
) -> Response:
    site = site_of(request)
    now = site.runtime.policy
    shown: dict[str, Any] = {
        "policy": now, "files": files_now(site), "draft": draft, "trouble": trouble,
        "odd": lint(now), "order": ORDER, "saved": bool(request.query_params.get("saved")),
        "where": Path(site.settings.policy).name if site.settings.policy else "",
    }  # fmt: skip
    return page(request, "policy.html", status=status, **shown)
