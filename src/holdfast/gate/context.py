"""What one run has seen, and the facts of information flow that follow for its next action.

A context is a fold over the steps of a run: each is told once, in the order of the journal, so the
same journal gives the same facts. It holds the values that were seen (not the texts), where each
was found best, and the join of all labels. See docs/information-flow.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.gate.labels import PLAIN, Label
from holdfast.gate.tools import ToolFacts


class Context:
    """What one run has seen. Incremental, not safe for threads; never raises for odd values."""

    label: Label = PLAIN
    """Join of the labels of all that was read so far."""

    def person(self, where: str, words: Any) -> None:
        """A person's words: the input of a run, an answer, a signal. ``where``: RUN@STEP."""

    def program(self, literals: Iterable[str | int | float]) -> None:
        """Constants of the agent's own code, and its own instructions to models."""

    def given(self, where: str, value: Any, label: Label) -> None:
        """The input of a child run, with the label its parent had."""

    def result(
        self, where: str, tool: ToolFacts, args: Mapping[str, Any], value: Any, effect: str
    ) -> Label:
        """The outcome of a step (a value, or the text of an error); returns the outcome's label."""
        return PLAIN

    def narrow(self, where: str, value: Any, label: Label) -> Label:
        """A child's result of a narrow type (number, choice, date, yes or no); returns its label:
        trusted, as confidential as ``label`` says; ``label`` itself if the value is not narrow."""
        return label

    def approve(self, args: Mapping[str, Any]) -> None:
        """A person approved an action with these arguments: its values are a person's from now."""


def flow(
    context: Context, args: Mapping[str, Any], tool: ToolFacts, name: str, effect: str, kind: str
) -> dict[str, Any]:
    """The facts of the group ``flow`` (`gate.facts.GROUPS`), all twelve, by name: for
    ``Facts(**flow(...))``. ``name``, ``effect`` and ``kind`` are the proposal's."""
    return {}


def target_of(args: Mapping[str, Any], tool: ToolFacts) -> str:
    """To whom or what: the canonical form of the target, "" without one. For meters only."""
    return ""


def amount_of(args: Mapping[str, Any], tool: ToolFacts) -> float | None:
    """How much: the amount of the action, None without one (or if it is no finite number)."""
    return None
