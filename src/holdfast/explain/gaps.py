"""What an answer does not know, a plain sentence each. Silent omission is worse than saying so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from holdfast.explain.because import Argument
from holdfast.explain.chain import Chain, Found, Lost
from holdfast.explain.proposals import Turn
from holdfast.explain.slice import Slice
from holdfast.explain.sources import Source

_NAMES: Final = 6
"""Places that one sentence names."""


class Gaps(NamedTuple):
    """What was looked at: ``asked`` is what the step was asked with; ``unseen``: what of the world
    could not be compared; ``total``: how many values the arguments have."""

    chain: Chain
    step: Found
    asked: Any
    arguments: Sequence[Argument]
    found: Slice
    every: Sequence[Source]
    turn: Turn | None
    near: Sequence[Turn]
    unseen: str
    total: int


def gaps(of: Gaps) -> tuple[str, ...]:
    """The sentences."""
    # INVARIANT X4: whatever was not found, not read or cut is named in one of these
    return tuple(dict.fromkeys([*_of_arguments(of), *_of_models(of), *_of_sources(of)]))


def _of_arguments(of: Gaps) -> Iterator[str]:
    if isinstance(of.asked, Lost):
        yield f"The arguments of this step were {of.asked.why}."
    if of.step.plan is not None and of.step.plan.kind == "model":
        yield "A model's answer is not traced word by word: what it was shown stands under saw."
    if len(of.arguments) < of.total:
        yield f"Of {of.total:,} values of its arguments {len(of.arguments)} were traced."
    missing = [one.path for one in of.arguments if one.found == "nowhere"]
    if missing:
        written = {one.path: one.edges[0].source.place for one in of.arguments
                   if one.found == "nowhere" and one.edges}  # fmt: skip
        for path in missing[:_NAMES]:
            if path in written:
                yield f"{path}: the model wrote it ({written[path]}); no source of it was found."
            else:
                yield (f"{path}: found in nothing that this run saw; the program or a model made it"
                       " up, or changed it beyond recognition.")  # fmt: skip
        if len(missing) > _NAMES:
            yield f"{len(missing) - _NAMES} more values were found nowhere."
    weak = [one.path for one in of.arguments if one.found == "words"]
    if weak:
        yield f"{_list(weak)}: only single words were found; that is a hint, no proof."
    trivial = [one.path for one in of.arguments if one.found == "trivial"]
    if trivial:
        yield f"{_list(trivial)}: too common a value to say where it is from."


def _of_models(of: Gaps) -> Iterator[str]:
    turn = of.turn
    if turn is not None:
        if turn.gone:
            yield f"What the model was shown or answered at {turn.step.place} was {turn.gone}."
        if turn.lost:
            yield f"{turn.lost:,} older messages of the model's context were not looked at."
        foreign = [one.at for one in turn.shown if one.role == "tool"]
        stood = {one.shown for one in of.every if one.shown}
        missed = [at for at in foreign if at in stood]
        if missed:
            yield (
                f"{len(missed)} results stood in the model's context of which no door of ours saw "
                f"the call ({_list(missed)})."
            )
        late = [one.path for one in of.arguments
                if one.edges and one.edges[0].in_context is False]  # fmt: skip
        if late:
            yield f"{_list(late)}: the best source did not stand in what the model was shown."
    elif of.near and of.step.plan is not None and of.step.plan.kind == "tool":
        yield ("No model answer before this step asks for this call: the program made it from what"
               " it received, and only values are traced through it.")  # fmt: skip
    elif of.step.plan is not None and of.step.plan.kind == "tool":
        started = of.chain.started(of.step.begun)
        if started.ref.startswith("door:") and started.ref != "door:model":
            yield (
                "The agent's model was not asked through our doors: what it was shown and said is "
                "unknown."
            )


def _of_sources(of: Gaps) -> Iterator[str]:
    found = of.found
    if found.looked < found.total:
        yield (f"Of {found.total:,} inputs the {found.looked:,} that hold most of the values were"
               " compared closely.")  # fmt: skip
    if found.skipped:
        yield (
            f"Long content of {found.skipped:,} results between the oldest and the newest was not "
            "read, since the values were found without it."
        )
    if found.cut:
        yield f"Too large to be looked at whole: {_list(list(found.cut))}."
    gone = [one.origin.place for one in of.every[-400:]
            if not one.shown and not one.intact and isinstance(_loaded(one), Lost)]  # fmt: skip
    if gone:
        yield f"Erased or deleted, so not compared: {_list(gone)}."
    if of.unseen:
        yield f"Unknown is {of.unseen}."


def _loaded(source: Source) -> Any:
    """What a source says if it was read already, or is known to be gone."""
    event = source.event
    raw = event.args if event.kind == "run.started" else event.value
    if raw is not None and (b'"$' in raw or raw.startswith(b'{"$erased"')):
        return source.value
    return None


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
