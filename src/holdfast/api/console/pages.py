"""Which pages there are, and where."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holdfast.api.access import need
from holdfast.api.console import (
    agents,
    always,
    anomalies,
    bisect,
    compare,
    event,
    fork,
    inbox,
    merge,
    policy,
    run,
    runs,
    spend,
    why,
)


def routes() -> list[Route]:
    """The pages of the console."""
    return [
        Route("/", _front),
        Route("/runs", runs.runs),
        Route("/runs/{run}", run.run),
        Route("/runs/{run}/events/{pos:int}", event.event),
        Route("/runs/{run}/steps/{key}", event.step),
        Route("/runs/{run}/why/{key}", why.panel),
        Route("/runs/{run}/fork", fork.show, methods=["GET"]),
        Route("/runs/{run}/fork", fork.make, methods=["POST"]),
        Route("/runs/{run}/publish", run.publish, methods=["POST"]),
        Route("/runs/{run}/bisect", bisect.show, methods=["GET"]),
        Route("/runs/{run}/bisect", bisect.begin, methods=["POST"]),
        Route("/compare", compare.compare),
        Route("/inbox", inbox.inbox),
        Route("/inbox/{run}", inbox.inbox),
        Route("/inbox/{run}/{key}", inbox.question, methods=["GET"]),
        Route("/inbox/{run}/{key}", inbox.decide, methods=["POST"]),
        Route("/inbox/{run}/{key}/similar", inbox.similar),
        Route("/inbox/{run}/{key}/always", always.always),
        Route("/merge", merge.show, methods=["GET"]),
        Route("/merge", merge.act, methods=["POST"]),
        Route("/policy", policy.policy, methods=["GET"]),
        Route("/policy", policy.draft, methods=["POST"]),
        Route("/spend", spend.spend),
        Route("/anomalies", anomalies.anomalies, methods=["GET"]),
        Route("/anomalies", anomalies.judge, methods=["POST"]),
        Route("/agents", agents.agents, methods=["GET"]),
        Route("/agents/stop", agents.stop, methods=["POST"]),
    ]


async def _front(request: Request) -> Response:
    need(request, "viewer")
    return RedirectResponse("/runs", 303)
