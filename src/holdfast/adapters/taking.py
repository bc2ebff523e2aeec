"""What the adapters of frameworks share: how their calls of models and tools become steps."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from holdfast.engine import scope
from holdfast.engine.described import Described, journal_name
from holdfast.engine.verbs import spent, step
from holdfast.values.canon import encode
from holdfast.values.errors import Misuse

T = TypeVar("T")

AGENT = "agent"
"""Said of a tool in the place of an effect: it runs an agent, whose own calls are the steps."""

_MARK = "holdfast_effect"
_inside: contextvars.ContextVar[list[Misuse] | None] = contextvars.ContextVar(
    "holdfast_inside", default=None
)
"""Of a call that is being performed: the calls inside of it that were refused."""

_taken: weakref.WeakKeyDictionary[Any, Counter[str]] = weakref.WeakKeyDictionary()


def effect(kind: str) -> Callable[[T], T]:
    """Say which effect the function of a framework's tool has (read, world, idempotent, once; or
    "agent"), under the framework's own decorator."""

    def mark(function: T) -> T:
        setattr(function, _MARK, kind)
        return function

    return mark


def effect_of(name: str, effects: Mapping[str, str], *said: Any) -> str:
    """The effect of a tool: as the mapping has it, or as one of ``said`` (its functions) is marked.

    INVARIANT D56: a tool of which nobody said anything may leave the world, and never repeats.
    """
    found = [effects.get(name), *(getattr(one, _MARK, None) for one in said), "once"]
    return next(str(one) for one in found if one)


def described(
    name: str, kind: str, *, description: str = "", schema: Mapping[str, Any] | None = None
) -> Described:
    """A framework's tool, of effect ``kind``, under the name that policies know it by."""
    return Described(
        journal_name(name), _nothing, effect=kind, description=description, schema=schema
    )


def model_named(provider: str, model: str) -> Described:
    """A model. It may be asked again, and what that costs is counted by usage."""
    return Described(journal_name(provider, model), _nothing, effect="read", kind="model")


async def _nothing(_: dict[str, Any]) -> None:
    """Every call says itself how it is performed."""


async def take(
    tool: Described,
    args: Mapping[str, Any],
    perform: Callable[[dict[str, Any]], Awaitable[Any]],
    *,
    key: str,
    patience: float | None = None,
) -> Any:
    """Take a step; outside of any run, ``perform`` is simply called. It is given the arguments: a
    person may have changed them.

    ``key``: what tells the call from others, from the framework; used twice, the second is another
    step. ``perform`` runs in the context of the caller, where frameworks keep what they need.

    INVARIANT D57: the key is that of the same call after a crash: it depends on what was recorded
    and on the place in the graph, if the framework knows one (`holdfast.adapters.places`). Calls
    of one key are counted, in the order in which they begin: whoever makes those side by side, or
    spares some on a resume, gives them ids of their own.
    """
    guest = scope.guest.get()
    if scope.call.get() is not None:
        # INVARIANT D58: no call goes past the gate because it is made inside another
        wrong = Misuse(
            f"{tool.name} is called inside of a tool that is being performed: say of that tool "
            f'that it runs an agent, effects={{NAME: "{AGENT}"}}, and its calls are the steps'
        )
        refused = _inside.get()
        if refused is not None:
            refused.append(wrong)
        raise wrong
    context, inside = contextvars.copy_context(), list[Misuse]()

    async def there(bound: dict[str, Any]) -> Any:
        context.run(scope.call.set, scope.call.get())
        context.run(scope.lane.set, None)
        context.run(_inside.set, inside)
        loop = asyncio.get_running_loop()
        found = await loop.create_task(_awaited(perform, bound), context=context)
        if inside:  # frameworks tell a model of such an error, and nobody else
            raise inside[0]
        return found

    if guest is None:
        return await step(tool, args, perform=there)
    seen = _taken.setdefault(guest, Counter())
    seen[key] += 1
    again = f"{key}-{seen[key]}" if seen[key] > 1 else key
    return await step(tool, args, key=again, perform=there, patience=patience)


async def _awaited(perform: Callable[[dict[str, Any]], Awaitable[Any]], bound: Any) -> Any:
    return await perform(bound)


def unchanged(bound: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """`Misuse` if a person changed what a model is asked: its framework would not know of it."""
    if bound != asked:
        raise Misuse("what a model is asked cannot be changed by whoever approves it: deny it")


def governed() -> bool:
    """Whether the code that is running belongs to a run, so that its calls are steps."""
    return any((scope.guest.get(), scope.current_run(), scope.call.get()))


def wait(asked: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, for blocking code in a thread beside the guest's loop."""
    guest = scope.guest.get()
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not None or guest is None:
        asked.close()
        raise Misuse(
            "this would block the loop that the guest runs on: use the framework's asynchronous "
            "methods, or asyncio.to_thread(...)"
        )
    context = contextvars.copy_context()

    async def there() -> T:
        return await asyncio.get_running_loop().create_task(asked, context=context)

    return asyncio.run_coroutine_threadsafe(there(), guest.loop).result()


def used(usage: Mapping[str, int]) -> None:
    """Count the tokens of a model call that is being performed."""
    if scope.call.get() is not None and usage:
        spent(tokens=usage.get("input", 0) + usage.get("output", 0))


def recordable(value: Any) -> bool:
    """Whether a value can stand in the journal as it is."""
    try:
        encode(value)
    except Misuse:
        return False
    return True


def governed_here() -> bool:
    """`governed`, for asynchronous code. `Misuse` on another loop than the guest's, as the blocking
    methods of frameworks start one."""
    guest = scope.guest.get()
    if guest is not None and guest.loop is not asyncio.get_running_loop():
        raise Misuse(
            "this runs on a loop of its own, apart from the guest's: use the framework's "
            "asynchronous methods"
        )
    return governed()
