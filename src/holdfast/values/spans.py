"""Spans of a trace as plain values: what `explain` makes of runs and an exporter sends."""

from __future__ import annotations

from typing import Any

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where a span is: ids of its trace (32 hex digits) and its own (16)."""

    trace: str
    span: str


class Mark(msgspec.Struct, frozen=True):
    """An event on a span; ``at``: ns since 1970."""

    name: str
    at: int
    attributes: dict[str, Any]


class Link(msgspec.Struct, frozen=True):
    """A link to another span."""

    to: Place
    attributes: dict[str, Any]


class Span(msgspec.Struct, frozen=True):
    """One span, whole. ``parent``: id of the span around it in the same trace, "" for a root;
    ``start``, ``end``: ns since 1970; ``client``: it asked somebody else; ``error``: the type of
    what failed, "" if nothing did; ``note``: its text, if content may leave."""

    place: Place
    parent: str
    name: str
    start: int
    end: int
    client: bool = False
    error: str = ""
    note: str = ""
    attributes: dict[str, Any] = {}
    marks: tuple[Mark, ...] = ()
    links: tuple[Link, ...] = ()
