"""Looking at worlds: what a step changed, and files."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from holdfast.api.ways import Ask, Way
from holdfast.explain.past import find_step
from holdfast.values import limits
from holdfast.values.errors import Corrupt, NotFound, TooLarge
from holdfast.world import EMPTY, Stage, check_path, diff, entry, read_file, unified


class ChangedFile(msgspec.Struct, frozen=True):
    """A path that differs, and how: added, removed, changed."""

    path: str
    kind: str


class Patch(msgspec.Struct, frozen=True):
    """What a step changed. ``files``: the first `limits.API_ROWS` of ``count``; ``patch``: unified,
    ``cut`` if it is longer than is answered."""

    before: str
    after: str
    count: int
    files: list[ChangedFile]
    patch: str
    cut: bool


class FileQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file of the world."""

    path: Annotated[str, Meta(min_length=1, max_length=4_096)]


async def _step(ask: Ask) -> Any:
    store = ask.site.store
    row = await store.run(ask.path["run"])
    step, about = await find_step(store, row.run, ask.path["step"])
    after = step.world_after or about[-1].event.world or EMPTY
    return await asyncio.to_thread(_patch, Stage(store.get), step.world_before or EMPTY, after)


def _patch(stage: Stage, before: str, after: str) -> Patch:
    changes = diff(stage, before, after)
    page = changes[: limits.API_ROWS]
    text = unified(stage, page)
    cut = len(text) > limits.API_PATCH_CHARS or len(page) < len(changes)
    files = [ChangedFile(one.path, one.kind) for one in page]
    return Patch(before, after, len(changes), files, text[: limits.API_PATCH_CHARS], cut)


async def _file(ask: Ask) -> Any:
    """INVARIANT X114: a file of a world reaches no browser as anything but text to be kept."""
    root, path = ask.path["root"], check_path(ask.query.path)
    content = await asyncio.to_thread(_content, Stage(ask.site.store.get), root, path)
    return Response(content, media_type="text/plain; charset=utf-8",
                    headers={"Content-Disposition": "attachment"})  # fmt: skip


def _content(stage: Stage, root: str, path: str) -> bytes:
    try:
        found = entry(stage, root, path)
    except Corrupt:
        raise NotFound(f"there is no world {root[:12]}") from None
    if found is None:
        raise NotFound(f"{path}: no such file in world {root[:12]}")
    if found.size > limits.API_FILE_BYTES:
        raise TooLarge(
            f"{path}: has {found.size:,} bytes, at most {limits.API_FILE_BYTES:,} are answered:"
            " holdfast world export"
        )
    return read_file(stage, root, path)


WAYS = [
    Way("GET", "/runs/{run}/steps/{step}/world", "viewer", _step, "What a step changed.", Patch),
    Way("GET", "/worlds/{root}/file", "viewer", _file, "A file of a world.", str, FileQuery,
        media="text/plain", fails=(413,)),
]  # fmt: skip
