"""Tools and agents: plain typed functions with a declaration around them.

Inside a run, calling a tool is a step. Outside a run a tool or an agent is just its function, so
that it can be unit-tested by calling it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from holdfast.engine import scope
from holdfast.engine.meaning import constants_of, fitting, is_narrow
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import Plan
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, pack_scalars
from holdfast.values.errors import Misuse
from holdfast.values.ids import check_name

P = ParamSpec("P")
R = TypeVar("R")

EFFECTS = ("read", "world", "idempotent", "once")
"""read: none, repeatable. world: changes only the world. idempotent: leaves the world, safe to
repeat under the same key. once: leaves the world, must never be repeated blindly."""

_EXACT = frozenset({int, str, float, bool, type(None)})
_CONFIG = ConfigDict(arbitrary_types_allowed=False)


def _complaint(error: ValidationError, value: Any) -> tuple[tuple[str, ...], str]:
    """Where in ``value``, and what, pydantic complains of first, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    shown = repr(first.get("input", value))
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return tuple(str(part) for part in first["loc"]), f"{first['msg']}, not {shown}"


class Shape:
    """One type hint: checks, encodes and decodes values of it."""

    __slots__ = ("_adapter", "_hint", "exact")

    def __init__(self, hint: Any, owner: str) -> None:
        self.exact: type | None = hint if hint in _EXACT else None
        self._hint = hint
        self._adapter: TypeAdapter[Any] | None = None
        if hint is None:
            self.exact = type(None)
        elif self.exact is None and hint is not Any:
            try:
                has_own = isinstance(hint, type) and hasattr(hint, "__pydantic_core_schema__")
                self._adapter = TypeAdapter(hint, config=None if has_own else _CONFIG)
            except PydanticUserError as error:
                if not isinstance(error, PydanticSchemaGenerationError):
                    self._adapter = TypeAdapter(hint)
                else:
                    raise Misuse(
                        f"{owner}: type {hint!r} cannot be recorded; use plain types, dataclasses "
                        "or pydantic models"
                    ) from None

    def check(self, value: Any) -> Any:
        """``value`` as the hint wants it; raises pydantic's ``ValidationError``."""
        if self._adapter is None:
            if self.exact is None or type(value) is self.exact:
                return value
            self._adapter = TypeAdapter(self._hint)
        return self._adapter.validate_python(value)

    def fit(self, value: Any, what: str) -> Any:
        """`check`, raising one line of `Misuse` that says ``what`` does not fit."""
        try:
            return self.check(value)
        except ValidationError as error:
            raise Misuse(f"{what}: {_complaint(error, value)[1]}") from None

    def plain(self, value: Any) -> Any:
        """``value`` without classes of the user's own, ready for canonical encoding."""
        if self._adapter is None:
            return value
        return self._adapter.dump_python(value)


class Declared:
    """What tools and agents have in common: a function, its name and the shapes of its
    arguments."""

    noun = "function"

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self.__wrapped__ = fn
        self.__name__, self.__qualname__ = fn.__name__, fn.__qualname__
        self.__doc__, self.__module__ = fn.__doc__, fn.__module__
        self.fn = fn
        self.name = check_name(name, self.noun)
        self.is_async = inspect.iscoroutinefunction(fn)
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise Misuse(f"{self.noun} {name}: generators cannot be recorded; return a list")

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        try:
            return inspect.signature(self.fn, eval_str=True)
        except NameError:
            hints = inspect.get_annotations(self.fn)
            raise Misuse(
                f"{self.noun} {self.name}: a type hint cannot be resolved among {hints}; "
                "import its names at module level"
            ) from None

    @functools.cached_property
    def _shapes(self) -> dict[str, Shape]:
        return {
            name: Shape(_hint(parameter), f"{self.noun} {self.name}, argument {name}")
            for name, parameter in self._signature.parameters.items()
        }

    @functools.cached_property
    def _simple(self) -> tuple[tuple[str, ...], Mapping[str, Any]] | None:
        """Names and defaults when every parameter is an ordinary one (the fast way to bind)."""
        parameters = self._signature.parameters.values()
        if any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
            return None
        defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
        return tuple(one.name for one in parameters), defaults

    @functools.cached_property
    def _scalar(self) -> bool:
        """Whether every argument is a string, number, truth value or nothing."""
        return all(shape.exact is not None for shape in self._shapes.values())

    @functools.cached_property
    def returns(self) -> Shape:
        """The shape of the result."""
        hint = self._signature.return_annotation
        owner = f"{self.noun} {self.name}, result"
        return Shape(Any if hint is inspect.Signature.empty else hint, owner)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, checked against their hints; `Misuse` names function and argument."""
        bound = self._bind(args, kwargs)
        shapes = self._shapes
        for name, value in bound.items():
            shape = shapes[name]
            if type(value) is shape.exact:
                continue
            try:
                bound[name] = shape.check(value)
            except ValidationError as error:
                raise Misuse(self._wrong(name, value, error)) from None
        return bound

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        simple = self._simple
        if simple is not None:
            names, defaults = simple
            if len(args) == len(names) and not kwargs:
                return dict(zip(names, args, strict=True))
            if len(args) <= len(names):
                bound = dict(zip(names, args, strict=False))
                if len(args) + len(kwargs) == len(names) and bound.keys().isdisjoint(kwargs):
                    bound.update(kwargs)
                elif bound.keys().isdisjoint(kwargs):
                    bound = {**defaults, **bound, **kwargs}
                if len(bound) == len(names) and all(name in bound for name in names):
                    return bound
        try:
            full = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Misuse(f"{self.noun} {self.name}{self._signature}: {error}") from None
        full.apply_defaults()
        return dict(full.arguments)

    def _wrong(self, name: str, value: Any, error: ValidationError) -> str:
        inside, complaint = _complaint(error, value)
        where = ".".join((name, *inside))
        return f"{self.noun} {self.name}, argument {where}: {complaint}"

    def pack_args(self, bound: Mapping[str, Any], blobs: Blobs) -> bytes:
        """The canonical skeleton of bound arguments."""
        try:
            if self._scalar:
                return pack_scalars(bound, blobs)
            return pack(self.plain(bound), blobs)
        except Misuse as error:
            raise Misuse(f"{self.noun} {self.name}: an argument {error}") from None

    def plain(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Bound arguments without classes of the user's own."""
        return {name: self._shapes[name].plain(value) for name, value in bound.items()}

    def said(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Of plain arguments those that are not at their declared default, which nobody gave."""
        return {
            name: value
            for name, value in plain.items()
            if name not in self._defaults or self._defaults[name] != value
        }

    @functools.cached_property
    def _defaults(self) -> dict[str, Any]:
        """The declared defaults, as plain values."""
        given = {
            name: one.default
            for name, one in self._signature.parameters.items()
            if one.default is not one.empty
        }
        return self.plain(given)

    def unpack_args(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Bound arguments from their recorded, plain form."""
        return self.bind((), plain) if self._simple is not None else self._from_record(plain)

    def _from_record(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._shapes[name].check(value) for name, value in plain.items()}

    def invoke(self, bound: Mapping[str, Any]) -> Any:
        """Call the function with bound arguments."""
        if self._simple is not None:
            return self.fn(**bound)
        call = inspect.BoundArguments(self._signature, dict(bound))
        return self.fn(*call.args, **call.kwargs)

    @functools.cached_property
    def shape(self) -> str:
        """The signature as text: what an approval of a call is bound to, beside its arguments."""
        return str(self._signature)

    @functools.cached_property
    def code(self) -> str:
        """SHA-256 of the function's source ("" when it has none): which program this is."""
        try:
            return hashlib.sha256(inspect.getsource(self.fn).encode()).hexdigest()
        except (OSError, TypeError):
            return ""


def _hint(parameter: inspect.Parameter) -> Any:
    hint = parameter.annotation
    if hint is parameter.empty:
        hint = Any
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple[hint, ...]
    if parameter.kind is parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint


class Tool(Declared, Generic[P, R]):
    """A capability with a declared effect. See `tool` for the meaning of its attributes."""

    noun = "tool"

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str,
        effect: str,
        timeout: float | None,
        retries: int,
        backoff: float,
        reconcile: Callable[..., Any] | None,
        preview: Callable[..., Any] | None = None,
        undo: Callable[..., Any] | None = None,
        facts: ToolFacts | None = None,
        estimate: Callable[..., Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__(fn, name)
        if effect not in EFFECTS:
            raise Misuse(f"tool {name}: effect {effect!r} is none of {', '.join(EFFECTS)}")
        if not 0 <= retries <= limits.RETRY_MAX_ATTEMPTS:
            raise Misuse(f"tool {name}: retries must be 0 to {limits.RETRY_MAX_ATTEMPTS}")
        if reconcile is not None and effect != "once":
            raise Misuse(f"tool {name}: reconcile is for effect 'once', this one is {effect!r}")
        if undo is not None and effect not in ("idempotent", "once"):
            raise Misuse(f"tool {name}: undo is for what leaves the world, this is {effect!r}")
        self.effect = effect
        self.plan = Plan(name, "tool", effect)
        self.effect_of: Callable[[Mapping[str, Any]], str] | None = None
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self.reconcile = reconcile
        self.preview = preview
        self._undo = undo
        self.facts = fitting(facts, fn, name)
        self.estimate = estimate

    def plan_of(self, bound: Mapping[str, Any]) -> Plan:
        """What a call with these arguments is: its effect may be another than the declared one."""
        effect = self.effect if self.effect_of is None else self.effect_of(bound)
        return self.plan if effect == self.effect else Plan(self.name, "tool", effect)

    @functools.cached_property
    def undo(self) -> Tool[..., Any] | None:
        """The tool that undoes a call of this one, None if nothing does."""
        if self._undo is None or isinstance(self._undo, Tool):
            return self._undo
        return Tool(
            self._undo, name=f"{self.name}.undo", effect="idempotent", timeout=self.timeout,
            retries=self.retries, backoff=self.backoff, reconcile=None,
        )  # fmt: skip

    @functools.cached_property
    def definition(self) -> str:
        """Digest of what this tool says it is: name, effect, signature and description. A policy
        may pin it, and sees when it changes."""
        parts = (self.name, self.effect, self.shape, inspect.getdoc(self.fn) or "")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def definition_of(self, bound: Mapping[str, Any]) -> str:
        """`definition`, of a call with these arguments: where they choose what is called, that
        one's."""
        return self.definition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        run = scope.current_run()
        if run is not None:
            return run.call(self, args, kwargs)
        guest = scope.guest.get()
        if guest is not None and scope.call.get() is None:
            return guest.call(self, args, kwargs)
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name} effect={self.effect}>"


class Agent(Declared, Generic[P, R]):
    """An agent program. Called directly it is just its function; a runtime makes it durable."""

    noun = "agent"

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str,
        role: str,
        max_parallel: int,
        max_runs: int,
    ) -> None:
        super().__init__(fn, name)
        if max_parallel < 1 or max_runs < 0:
            raise Misuse(f"agent {name}: max_parallel must be >= 1 and max_runs >= 0 (0: no limit)")
        self.role = role
        self.max_parallel = max_parallel
        self.max_runs = max_runs
        self.constants = constants_of(fn)

    @functools.cached_property
    def narrow(self) -> bool:
        """Whether it can return nothing but a number, a date, one of some choices, or nothing: too
        little to carry somebody's instructions."""
        return is_narrow(self._signature.return_annotation)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def with_(self, *args: P.args, **kwargs: P.kwargs) -> Bound[R]:
        """This agent with arguments, not started yet: what `holdfast.explore` is given."""
        return Bound(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<agent {self.name}>"


class Bound(Generic[R]):
    """An agent with its arguments, checked when it is started."""

    def __init__(
        self, program: Agent[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.program = program
        self.args = args
        self.kwargs = kwargs


def tool(
    *,
    effect: str,
    name: str | None = None,
    timeout: float | None = None,
    retries: int = 0,
    backoff: float = 0.5,
    reconcile: Callable[..., Any] | None = None,
    preview: Callable[..., Any] | None = None,
    undo: Callable[..., Any] | None = None,
    facts: ToolFacts | None = None,
    estimate: Callable[..., Mapping[str, float]] | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]:
    """Declare a function as a tool.

    ``effect``: one of `EFFECTS`. ``timeout``: seconds one attempt may take, when it is
    awaited (a blocking call cannot be stopped). ``retries``: how often
    a retryable failure (`Outside` with ``retryable``, timeouts, ``ConnectionError``) is tried
    again, after ``backoff`` seconds that double each time. ``reconcile(**args)``, for ``once``
    only: called with the tool's arguments when a crash left the outcome open; returns what the tool
    would have returned, or `NOT_DONE` if the effect did not happen.

    ``preview(**args)``: what stands in for the tool where nothing may leave the world (a fork, a
    branch): called with the same arguments, it returns what the tool is expected to return and must
    itself not leave the world. ``undo(result=..., **args)``, for what leaves the world: called when
    a transaction fails, with the tool's arguments and its result. It may be called again, under the
    same `holdfast.idempotency_key`, with the tool's retries and timeout; a tool of its own, whose
    effect, retries and ``reconcile`` then count, may stand here too. The attribute ``effect_of`` of
    the tool may be set to a function: the effect of one call, by its arguments, where that differs
    (a ``world`` tool keeps its changes).
    ``facts``: what its arguments and results mean (`tool_facts`), for policies that do not say it.
    ``estimate(**args)``: the most that a call can use, by unit, such as ``{"tokens": max_tokens}``:
    what budgets reserve before it; it overrides what the policy says of the tool.
    """

    def declare(fn: Callable[P, R]) -> Tool[P, R]:
        return Tool(
            fn,
            name=name or fn.__name__,
            effect=effect,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            reconcile=reconcile,
            preview=preview,
            undo=undo,
            facts=facts,
            estimate=estimate,
        )

    return declare


@overload
def agent(fn: Callable[P, R], /) -> Agent[P, R]: ...
@overload
def agent(
    *, name: str | None = None, role: str = "", max_parallel: int = 100, max_runs: int = 0
) -> Callable[[Callable[P, R]], Agent[P, R]]: ...
def agent(
    fn: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    role: str = "",
    max_parallel: int = 100,
    max_runs: int = 0,
) -> Agent[P, R] | Callable[[Callable[P, R]], Agent[P, R]]:
    """Declare a function as an agent program, with or without parentheses.

    ``role`` is what policy sees. ``max_parallel``: steps of one run performed at once.
    ``max_runs``: runs of this agent that one process executes at once (0: no limit).
    """

    def declare(program: Callable[P, R]) -> Agent[P, R]:
        return Agent(
            program,
            name=name or program.__name__,
            role=role,
            max_parallel=max_parallel,
            max_runs=max_runs,
        )

    return declare if fn is None else declare(fn)


class _NotDone:
    """The type of `NOT_DONE`."""

    def __repr__(self) -> str:
        return "NOT_DONE"


NOT_DONE = _NotDone()
"""What a ``reconcile`` function returns to say: the effect did not happen, it may be performed."""
