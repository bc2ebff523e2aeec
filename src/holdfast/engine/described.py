"""Tools that another system describes: their arguments are whatever JSON they take."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.engine.declare import Shape, Tool
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import Plan
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest, encode, pack
from holdfast.values.errors import Misuse
from holdfast.values.ids import NAME

Perform = Callable[[dict[str, Any]], Any]
"""Performs a call: given the arguments by name, returns (or awaits) plain data."""

_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-]")


def journal_name(*parts: str) -> str:
    """The name in the journal of what others named: ``SERVER.TOOL``. What cannot stand in a name
    becomes ``_``, and then, or where it is too long, eight digits of its digest tell it apart."""
    whole = ".".join(part for part in parts if part)
    if NAME.fullmatch(whole):
        return whole
    plain = _FOREIGN.sub("_", whole).lstrip("-.")[: limits.NAME_MAX_CHARS - 9]
    return f"{plain or '_'}-{digest(whole.encode())[:8]}"


_ANYTHING = Shape(Any, "result")


class Described(Tool[..., Any]):
    """A tool with a name, a description and JSON Schemas (``schema`` of its arguments, ``output``
    of its result) of somebody else's. ``perform`` is given the arguments as one dict. ``kind`` is
    "tool" or "model". Everything else as in `holdfast.tool`, whose defaults count."""

    def __init__(
        self,
        name: str,
        perform: Perform,
        *,
        effect: str,
        kind: str = "tool",
        description: str = "",
        schema: Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
        facts: ToolFacts | None = None,
        estimate: Callable[..., Mapping[str, float]] | None = None,
        timeout: float | None = None,
        retries: int = 0,
    ) -> None:
        super().__init__(
            _unbound, name=name, effect=effect, timeout=timeout, retries=retries, backoff=0.5,
            reconcile=None, estimate=estimate,
        )  # fmt: skip
        self.plan = Plan(name, kind, effect)
        self.facts = facts  # of arguments that no signature names
        self.perform = perform
        self.fn = self._alone
        self.description = description
        self.schema = dict(schema or {})
        self._said = encode([name, description, schema or {}, output or {}])
        self._schema = encode(schema or {})

    def with_(self, perform: Perform | None) -> Described:
        """The same tool, performed in another way this once."""
        if perform is None:
            return self
        other = object.__new__(type(self))  # for each call of a model: copy.copy takes its time
        other.__dict__.update(self.__dict__)
        other.perform = perform
        other.fn = other._alone
        return other

    async def _alone(self, **args: Any) -> Any:
        """A call outside of any run."""
        return await self.invoke(args)

    def plan_of(self, bound: Mapping[str, Any]) -> Plan:
        """What a call with these arguments is."""
        effect = self.effect if self.effect_of is None else self.effect_of(bound)
        return self.plan if effect == self.effect else Plan(self.name, self.plan.kind, effect)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name; what they must be, only whoever described the tool can say."""
        if args:
            raise Misuse(f"tool {self.name}: give its arguments by name")
        return dict(kwargs)

    def pack_args(self, bound: Mapping[str, Any], blobs: Blobs) -> bytes:
        """The canonical skeleton of bound arguments."""
        try:
            return pack(bound, blobs)
        except Misuse as error:
            raise Misuse(f"tool {self.name}: an argument {error}") from None

    def plain(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Bound arguments are plain already."""
        return dict(bound)

    def said(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """All of them were given."""
        return dict(plain)

    def unpack_args(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Bound arguments from their recorded form."""
        return dict(plain)

    async def invoke(self, bound: Mapping[str, Any]) -> Any:
        """Perform the call."""
        found = self.perform(dict(bound))
        return await found if inspect.isawaitable(found) else found

    @functools.cached_property
    def returns(self) -> Shape:
        """Anything that can be recorded."""
        return _ANYTHING

    @functools.cached_property
    def shape(self) -> str:
        """The schema of its arguments, by digest: what an approval is bound to."""
        return digest(self._schema)

    @functools.cached_property
    def definition(self) -> str:
        """Digest of name, description and schemas: what a policy may pin."""
        return digest(self._said)

    def __repr__(self) -> str:
        return f"<tool {self.name} effect={self.effect}, described>"


async def _unbound(**_: Any) -> None:
    """Stands where tools have their function."""
