"""What `holdfast why` answers, as data: one frozen struct that every screen shows.

Three grades and never mixed: ``saw`` (it stood in what the step was decided from), ``carried``
(bytes of it reached an argument), ``caused`` (forks without it ended otherwise). What a model gave
as its reason is ``said``. What cannot be traced is listed in ``untraced``.

Places are written as people type them: ``RUN@STEP``, ``RUN@start`` (the input), ``RUN@end``
(the ending) and ``RUN#POS`` (an event that belongs to no step). Times are ms since 1970.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Grade = Literal["saw", "carried", "caused"]
How = Literal["exact", "normalised", "partial", "encoded", "words", ""]
"""How a value matches: byte for byte; in another spelling; parts of it; inside an encoding; only
words of it; "" where nothing was compared."""


class Origin(msgspec.Struct, frozen=True):
    """A thing that a step could know. ``place``: as above. ``kind``: input (of the run), person
    (words), result (of an earlier step), model (output of a model), context (stood in a model's
    request, and no door of ours saw where it came from), edit (by a person who approved), answer
    (to a question), signal, child (the end of a run that was spawned), parent (the step that
    spawned this run). ``title``: what it is in words. ``integrity``, ``confidentiality``: its
    label, "" where nobody looked. ``pos``, ``event``: the event that brought it."""

    place: str
    kind: str
    title: str
    run: str
    step: str = ""
    pos: int = -1
    event: str = ""
    at: int = 0
    integrity: str = ""
    confidentiality: str = ""
    by: str = ""


class Edge(msgspec.Struct, frozen=True):
    """One line from a source to what was done. ``path``: the field inside the source (``result``,
    ``result.items[2].iban``, ``input.text``); ``start``, ``end``: characters of the text at
    ``path`` that match (both 0 where no span is known: it stands in an encoding, or is no text);
    ``piece``: those characters; ``matched``: the part of the argument that it gave; ``excerpt``:
    the text around. ``share``: how much of the argument's value it covers, 0 to 1. ``score``: the
    rank among all sources of the same thing, best 1.0, and ``parts`` what it is made of.
    ``through``: model steps whose output it passed, nearest first. ``in_context``: whether it stood
    in what the model was shown; None without a model step."""

    grade: Grade
    how: How
    source: Origin
    path: str = ""
    start: int = 0
    end: int = 0
    piece: str = ""
    matched: str = ""
    excerpt: str = ""
    share: float = 0.0
    score: float = 0.0
    parts: dict[str, float] = {}
    through: tuple[str, ...] = ()
    in_context: bool | None = None


class Argument(msgspec.Struct, frozen=True):
    """One value of the action's arguments. ``path``: ``to``, ``items[2].price``; ``value``: its
    text, cut; ``size``: its characters; ``edges``: best first. ``found``: how the best one
    matches, "nowhere" if it was found nowhere, "trivial" if it is too common to say (true, 1, "")
    and was therefore not looked for alone. ``edited``: a person gave this value."""

    path: str
    value: str
    size: int
    found: str
    edges: tuple[Edge, ...] = ()
    edited: bool = False
    origin: str = ""
    """What the policy's fact ``origin`` said of the argument when it was judged, "" if nothing."""


class Action(msgspec.Struct, frozen=True):
    """What was done. ``place``; ``key``: the step's, with its segment; ``kind``: tool, model, ask,
    spawn, ..., or "ending" of a run; ``args``: as it was performed, ``asked``: as the program asked
    for it where a person changed it; long texts are cut. ``status``: value, error, refused, held,
    unknown, expired, open; of an ending: done, failed, cancelled. ``result``: cut. ``took``: µs.
    ``origin``: who supplied the outcome if it was not performed (fork, edit, ...); ``child``: the
    run that it spawned."""

    place: str
    run: str
    key: str
    kind: str
    name: str
    effect: str
    status: str
    args: Any = None
    asked: Any = None
    result: Any = None
    error: str = ""
    at: int = 0
    ended: int = 0
    took: int = 0
    attempts: int = 0
    origin: str = ""
    of: str = ""
    branch: str = ""
    child: str = ""
    positions: tuple[int, ...] = ()
    events: tuple[str, ...] = ()


class Initiator(msgspec.Struct, frozen=True):
    """One run of the chain that led here, this run first. ``how``: started, spawned, forked;
    ``by``: the person or program that started it; ``parent``: RUN@STEP that spawned it;
    ``fork_of``: RUN#POS that it forks from, ``edits``: paths that the fork changed; ``label``: of
    its input; ``words``: what persons said to it, each cut."""

    run: str
    agent: str
    role: str
    how: str
    by: str = ""
    at: int = 0
    parent: str = ""
    fork_of: str = ""
    edits: tuple[str, ...] = ()
    label: str = ""
    words: tuple[str, ...] = ()


class Glimpse(msgspec.Struct, frozen=True):
    """One thing that stood in what the step was decided from, in order. ``role``: of a message
    (system, user, assistant, tool), "" where a program received it; ``at``: where it stood
    (``messages[3]``); ``size``: characters."""

    source: Origin
    excerpt: str
    size: int
    role: str = ""
    at: str = ""


class Context(msgspec.Struct, frozen=True):
    """What the step was decided from. ``by``: the model step that decided, "" for a program;
    ``total``: how many things there were; ``glimpses``: the newest of them, oldest first;
    ``label``: of all of it together, "" where nobody looked."""

    by: str
    total: int
    glimpses: tuple[Glimpse, ...]
    label: str = ""


class Caused(msgspec.Struct, frozen=True):
    """What forks showed: with ``intervention`` at ``place``, ``flips`` of ``of`` ended otherwise;
    ``low`` to ``high`` is the interval."""

    place: str
    intervention: str
    flips: int
    of: int
    low: float
    high: float
    by: str = ""
    at: int = 0


class Check(msgspec.Struct, frozen=True):
    """A check that the verdict asked for, and how it ended."""

    name: str
    passed: bool
    text: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What people were asked and what one answered. ``question``: the text; ``decision``: approve,
    deny, answer, edit, "" while nobody has answered; ``waited``: ms from the question to it;
    ``edits``: arguments as that person changed them, by path; ``counted``: it decided, or counted
    towards deciding."""

    question: str
    about: str
    asked_at: int
    decision: str = ""
    by: str = ""
    at: int = 0
    waited: int = 0
    note: str = ""
    edits: dict[str, str] = {}
    counted: bool = True
    may_answer: tuple[str, ...] = ()


class Ruling(msgspec.Struct, frozen=True):
    """Who decided that it may happen. ``decision``: allow, verify, escalate, deny, "" if nothing
    judged it; ``rules``: strictest first; ``facts``: what the policy looked at; ``risk`` with
    ``parts`` (logit by fact); ``observed``: what would have been decided; ``policy``: its hash."""

    decision: str = ""
    policy: str = ""
    rules: tuple[str, ...] = ()
    reason: str = ""
    way: str = ""
    facts: dict[str, Any] = {}
    risk: float = 0.0
    parts: dict[str, float] = {}
    checks: tuple[Check, ...] = ()
    observed: str = ""
    answers: tuple[Answer, ...] = ()


class Alternative(msgspec.Struct, frozen=True):
    """Something else that was possible. ``kind``: refused (a proposal before this one), edited (as
    it was before a person changed it), sample (another answer of the model), call (another call of
    the same answer). ``place``: where it stands; ``text``: what it was, ``why``: why it was not."""

    kind: str
    place: str
    text: str
    why: str = ""


class Changed(msgspec.Struct, frozen=True):
    """A path of the world that differs: added, removed, changed or mode."""

    path: str
    kind: str


class World(msgspec.Struct, frozen=True):
    """The run's files before and after, as roots ("" where it has none); ``changes``: the
    first of ``total`` that differ."""

    before: str = ""
    after: str = ""
    changes: tuple[Changed, ...] = ()
    total: int = 0


class Cost(msgspec.Struct, frozen=True):
    """What it cost: ``usage`` by unit as whoever performed it told, with that of the model step
    that decided; ``money`` of both; ``took``: µs of work, ``decided``: µs of the model's;
    ``waited``: ms that people were waited for. ``unverified``: nobody told, so what was reserved
    counts."""

    usage: dict[str, float] = {}
    decision: dict[str, float] = {}
    money: float = 0.0
    took: int = 0
    decided: int = 0
    waited: int = 0
    unverified: bool = False


class Said(msgspec.Struct, frozen=True):
    """A reason that a model gave, which is no evidence: ``kind`` text or thinking."""

    place: str
    kind: str
    text: str


class Why(msgspec.Struct, frozen=True):
    """Why a step was taken, or a run ended so. ``action``: what; ``initiators``: this run and those
    that it comes from; ``arguments``: each value with its sources; ``led``: which inputs led to the
    action as a whole, best first: grade ``carried`` if bytes of it arrived, ``saw`` if only what it
    says is alike; ``saw``: what stood in context; ``caused``: what forks showed; ``ruling``: who
    let it happen; ``alternatives`` and ``menu``: what else was possible; ``said``: reasons given;
    ``untraced``: what this does not know, one sentence each; ``asks``: further places worth asking
    about (``holdfast why PLACE``), nearest first."""

    action: Action
    initiators: tuple[Initiator, ...]
    arguments: tuple[Argument, ...]
    led: tuple[Edge, ...]
    saw: Context
    caused: tuple[Caused, ...]
    ruling: Ruling
    alternatives: tuple[Alternative, ...]
    menu: tuple[str, ...]
    world: World
    cost: Cost
    said: tuple[Said, ...]
    untraced: tuple[str, ...]
    asks: tuple[str, ...]
