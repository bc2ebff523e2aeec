"""Which pages there are."""

from __future__ import annotations

from starlette.routing import Route


def routes() -> list[Route]:
    """The pages of the console."""
    return []
