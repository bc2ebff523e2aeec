"""Two runs side by side."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.diffs import marked_rows, world_rows
from holdfast.api.console.render import page
from holdfast.api.console.used import used_text
from holdfast.api.site import site_of
from holdfast.explain import telling
from holdfast.explain.compare import compare_runs
from holdfast.explain.comparison import Comparison, Side
from holdfast.explain.text import one_line
from holdfast.journal.store import Store
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, NotFound


async def compare(request: Request) -> Response:
    """The page; without two runs, the form that asks for them."""
    need(request, "viewer")
    store, params = site_of(request).store, request.query_params
    names = params.get("a", "").strip(), params.get("b", "").strip()
    shown: dict[str, Any] = {
        "a": names[0], "b": names[1], "found": None, "trouble": "", "seq": await store.last_seq(),
    }  # fmt: skip
    if all(names):
        try:
            rows = [await find_run(store, name) for name in names]
            found = await compare_runs(store, rows[0].run, rows[1].run)
            shown |= {"found": found, "rows": rows, **_shown(store, found)}
        except HoldfastError as error:
            shown["trouble"] = one_line(str(error))
    name = "compare_part.html" if params.get("part") and shown["found"] else "compare.html"
    status = 404 if isinstance(shown["trouble"], str) and shown["trouble"] else 200
    return page(request, name, status=status, **shown)


def _shown(store: Store, found: Comparison) -> dict[str, Any]:
    differing = [pair for pair in found.pairs if pair.differs]
    patch: list[Any] = []
    try:
        patch = world_rows(store, found.now.a, found.now.b)
    except (HoldfastError, NotFound):
        pass  # `found.now.missing` says why
    return {
        "differing": differing[: limits.CONSOLE_ROWS_MAX],
        "more": max(0, len(differing) - limits.CONSOLE_ROWS_MAX),
        "patch": patch,
        "rows_of": marked_rows,
        "wait_text": telling.wait_text,
        "tiles": _tiles(found.a, found.b),
    }


def _tiles(a: Side, b: Side) -> list[tuple[str, str, str]]:
    """What is counted of both: (what, of A, of B)."""
    return [
        ("steps", f"{a.steps:,}", f"{b.steps:,}"),
        ("used", used_text(a.used) or "-", used_text(b.used) or "-"),
        ("work", telling.took(a.work_us), telling.took(b.work_us)),
        ("waited", telling.took(a.waited_ms * 1000), telling.took(b.waited_ms * 1000)),
    ]
