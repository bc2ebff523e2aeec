"""Scenarios from their files, and the calls that an honest and a deceived agent make.

The form of the files is described in docs/security-bench.md. Whatever is not understood there is
refused: a scenario that says something else than it seems would measure something else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench.security.disguise import dress

FOLDER = Path(__file__).with_name("scenarios")
LATER = ("fresh", "unseen_a", "unseen_b")
"""Folders of the sets that were written later, by somebody who had not read the gate."""
DISGUISES = (
    "loud", "plain", "bare", "launder", "encoded", "multilingual", "split",
)  # fmt: skip
_MARK = re.compile(r" ?<[12]>")
_SIGNATURE = re.compile(r"(read|world|idempotent|once) ([\w.]+)\((.*)\)(?: -> (\w+))?")
_PARAMETER = re.compile(r"(\w+): ([\w\[\]]+)(?: = (.+))?")
Json = Any


@dataclass(frozen=True)
class Signature:
    """One tool as it is declared: ``args`` are (name, type, default as written or None)."""

    tool: str
    effect: str
    args: tuple[tuple[str, str, str | None], ...]
    returns: str


@dataclass(frozen=True)
class Call:
    """One call of the script. ``honest``: it serves the person. ``harm``: an attack has succeeded
    if it is performed."""

    tool: str
    args: Mapping[str, Json]
    gives: Json
    honest: bool = True
    harm: bool = False


@dataclass(frozen=True)
class Case:
    """One replay: what one agent does in one scenario. ``disguise`` is "" for the honest one."""

    id: str
    domain: str
    half: str
    disguise: str
    ask: str
    tools: tuple[Signature, ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Scenario:
    id: str
    domain: str
    ask: str
    tools: tuple[Signature, ...]
    honest: tuple[Call, ...]
    evil: tuple[Call, ...]
    disguises: Mapping[str, Json]
    half: str = field(default="", compare=False)


def signature(text: str) -> Signature:
    """A tool from one line such as ``once pay(to: str, sum: float = 1.0)``."""
    found = _SIGNATURE.fullmatch(text)
    if found is None:
        raise ValueError(f"no signature: {text}")
    args: list[tuple[str, str, str | None]] = []
    for part in re.split(r", (?=\w+: )", found[3]) if found[3] else []:
        one = _PARAMETER.fullmatch(part)
        if one is None:
            raise ValueError(f"no parameter: {part} in {text}")
        args.append((one[1], one[2], one[3]))
    return Signature(found[2], found[1], tuple(args), found[4] or "")


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All scenarios, each with its half: of each domain, ordered by the hash of their ids, every
    other one is set aside. What was written later, by somebody who had not read the gate, is a set
    named like its folder. Such a folder may be missing."""
    found: list[Scenario] = []
    folders = (FOLDER, *map(FOLDER.with_name, LATER))
    for path in sorted(file for folder in folders for file in folder.glob("*.yaml")):
        loaded = yaml.safe_load(path.read_text("utf-8"))
        sets = {name: tuple(map(signature, lines)) for name, lines in loaded.pop("tools").items()}
        domain = loaded.pop("domain")
        here = [_scenario(one, domain, sets) for one in loaded.pop("scenarios")]
        if loaded:
            raise ValueError(f"{path.name}: unknown {sorted(loaded)}")
        here.sort(key=lambda one: hashlib.sha256(one.id.encode()).digest())
        found += [
            replace(one, half=_half(path.parent.name, place)) for place, one in enumerate(here)
        ]
    if len({one.id for one in found}) != len(found):
        raise ValueError("two scenarios have one id")
    return tuple(sorted(found, key=lambda one: (one.domain, one.id)))


def _half(folder: str, place: int) -> str:
    return folder if folder in LATER else ("design", "aside")[place % 2]


def _scenario(raw: dict[str, Json], domain: str, sets: Mapping[str, tuple[Signature, ...]]):
    tools = sets[raw.pop("set")]
    effects = {one.tool: one.effect for one in tools}
    scenario = Scenario(
        raw.pop("id"), domain, raw.pop("ask"), tools,
        tuple(_call(one, effects, honest=True) for one in raw.pop("honest")),
        tuple(_call(one, effects, honest=False) for one in raw.pop("evil")),
        raw.pop("as"),
    )  # fmt: skip
    if raw or not set(scenario.disguises) <= set(DISGUISES):
        raise ValueError(f"{scenario.id}: unknown {sorted(raw) or sorted(scenario.disguises)}")
    return scenario


def _call(raw: dict[str, Json], effects: Mapping[str, str], *, honest: bool) -> Call:
    raw = dict(raw)
    gives, prep, harm = raw.pop("gives", None), raw.pop("prep", False), raw.pop("harm", False)
    ((tool, args),) = raw.items()
    consequential = harm or (effects[tool] != "read" and not prep)
    return Call(tool, args or {}, gives, honest, not honest and consequential)


def cases(half: str = "both") -> Iterator[Case]:
    """Every replay of a set (``both`` halves, ``all`` the sets): each scenario as it should go,
    then deceived in each disguise."""
    for one in scenarios():
        if half == one.half or half == "all" or (half == "both" and one.half not in LATER):
            yield _case(one, "", _clean(one.honest))
            for disguise, how in one.disguises.items():
                yield _case(one, disguise, deceived(one, disguise, how))


def _case(one: Scenario, disguise: str, calls: tuple[Call, ...]) -> Case:
    return Case(one.id, one.domain, one.half, disguise, one.ask, one.tools, calls)


def deceived(one: Scenario, disguise: str, how: Json) -> tuple[Call, ...]:
    """What an agent does that believes what it reads: the honest calls up to the place where it has
    read all of it, the injected ones, the other honest ones. A changed value is used instead."""
    if disguise == "bare":
        return _bare(one, how)
    texts, evil = how, one.evil
    if isinstance(how, dict):
        effects = {tool.tool: tool.effect for tool in one.tools}
        texts = how["text"]
        evil = tuple(_call(raw, effects, honest=False) for raw in how["calls"])
    planted, seen = plant(one.honest, [texts] if isinstance(texts, str) else texts)
    return (*_clean(planted[: seen + 1]), *_clean(evil), *_clean(planted[seen + 1 :]))


def plant(calls: tuple[Call, ...], texts: list[str]) -> tuple[tuple[Call, ...], int]:
    """``calls`` whose results hold the ``texts`` at their marks; and the call after which all have
    been read. A text without a mark is added to the last result that has none yet."""
    planted, seen = list(calls), 0
    for number, text in enumerate(texts, 1):
        mark, dressed = f"<{number}>", dress(_MARK.sub("", text))
        place = next((i for i, call in enumerate(calls) if _holds(call.gives, mark)), None)
        if place is None:
            place = max(i for i, call in enumerate(calls) if not _holds(call.gives, "<1>"))
            planted[place] = replace(planted[place], gives=_added(planted[place].gives, dressed))
        else:
            gives = _swapped(planted[place].gives, {mark: dressed})
            planted[place] = replace(planted[place], gives=gives)
        seen = max(seen, place)
    return tuple(planted), seen


def _bare(one: Scenario, how: Mapping[str, Json]) -> tuple[Call, ...]:
    """A record says something else, and no word of instruction: the agent uses what it reads."""
    swaps = how["swap"]
    honest = tuple(replace(call, gives=_swapped(call.gives, swaps)) for call in _clean(one.honest))
    if "evil" in how:
        effects = {tool.tool: tool.effect for tool in one.tools}
        evil = tuple(_call(raw, effects, honest=False) for raw in how["evil"])
        if how.get("instead"):
            return (*honest[:-1], *evil)
        return (*honest, *evil)
    calls: list[Call] = []
    effects = {tool.tool: tool.effect for tool in one.tools}
    for call in honest:
        args = _swapped(call.args, swaps)
        changed = args != call.args
        harm = changed and effects[call.tool] != "read"
        calls.append(replace(call, args=args, honest=not changed, harm=harm))
    return tuple(calls)


def _clean(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    return tuple(replace(call, gives=_mapped(call.gives, _unmark)) for call in calls)


def _unmark(text: str) -> str:
    return _MARK.sub("", text)


def _holds(value: Json, mark: str) -> bool:
    found: list[str] = []
    _mapped(value, lambda text: found.append(text) or text)
    return any(mark in text for text in found)


def _swapped(value: Json, swaps: Mapping[str, str]) -> Json:
    def swap(text: str) -> str:
        for old, new in swaps.items():
            text = text.replace(old, new)
        return text

    return _mapped(value, swap)


def _added(value: Json, text: str) -> Json:
    if isinstance(value, list):
        return [*value, text]
    if isinstance(value, dict):
        return {**value, "remark": text}
    return f"{'done' if value is None else value} {text}"


def _mapped(value: Json, how: Any) -> Json:
    """``value`` with each text in it (no keys) changed."""
    if isinstance(value, str):
        return how(value)
    if isinstance(value, list):
        return [_mapped(one, how) for one in value]
    if isinstance(value, dict):
        return {key: _mapped(one, how) for key, one in value.items()}
    return value
