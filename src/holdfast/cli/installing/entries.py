"""What a server's entry becomes, and what it was before: changes of a configuration's text."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import msgspec

from holdfast.launch.places import Client
from holdfast.values.errors import Conflict, Misuse

OWN = "holdfast"
"""What Holdfast's own server is called in a configuration."""

Path = tuple[str, ...]
Edit = tuple[Path, Any]
"""A value to stand at a path, or None to take out what stands there."""


class Terms(msgspec.Struct, frozen=True):
    """How Holdfast is started: its own words, and the options of every entry."""

    words: tuple[str, ...]
    store: str
    policy: str = ""
    observe: bool = False
    env: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class Changed(msgspec.Struct, frozen=True):
    """A new text; ``done``: the entries that changed, ``left``: those that did not, and why."""

    text: str
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def _options(one: Client, terms: Terms) -> Iterator[str]:
    yield from ("--store", terms.store)
    if terms.policy:
        yield from ("--policy", terms.policy)
    if terms.observe:
        yield "--observe"


def wrapped(one: Client, name: str, words: list[str], env: list[str], terms: Terms) -> list[str]:
    """The words of an entry with Holdfast in front of them. Variables are named, never repeated."""
    server = re.sub(r"[^A-Za-z0-9_\-]", "_", name).strip("_-")[:40] or "server"
    named = [part for each in dict.fromkeys((*env, *terms.env)) for part in ("--env", each)]
    return [*terms.words, "mcp", "--agent", one.name, "--server", server, *_options(one, terms),
            *named, "--", *words]  # fmt: skip


def serving(one: Client, terms: Terms) -> list[str]:
    """The words that start Holdfast's own server."""
    return [*terms.words, "mcp", "serve", "--agent", one.name, *_options(one, terms)]


def _after(words: list[str]) -> list[str]:
    """What follows "mcp" in words that start Holdfast; none if they start something else."""
    for at, starts in (
        (1, re.search(r"(?:\A|[/\\])holdfast(?:\.exe)?\Z", words[0]) if words else None),
        (3, words[1:3] == ["-m", "holdfast.cli"]),
    ):
        if starts and words[at : at + 1] == ["mcp"]:
            return words[at + 1 :]
    return []


def original(words: list[str]) -> list[str] | None:
    """The words that `wrapped` was given, None if these are not its."""
    after = _after(words)
    ours = after[:1] == ["--agent"] and after[2:3] == ["--server"] and "--" in after
    return after[after.index("--") + 1 :] if ours else None


def is_serving(words: list[str]) -> bool:
    """Whether these words were made by `serving`."""
    return _after(words)[:2] == ["serve", "--agent"]


# Entries as they stand in files -------------------------------------------------------------------
class Entry(msgspec.Struct, frozen=True):
    """A server as a file has it: its words, where they stand, and the names of its variables; or
    why it cannot be wrapped."""

    name: str
    path: Path
    words: tuple[str, ...] = ()
    command: Path = ()
    args: Path = ()
    env: tuple[str, ...] = ()
    why: str = ""


def entries(one: Client, document: Any) -> Iterator[Entry]:
    """Every server of a configuration."""
    for path in _maps(one, document):
        found = document
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            continue
        if not isinstance(found, dict):
            raise Misuse(f"{'.'.join(path)}: is no object of servers")
        for name, value in found.items():
            yield _entry(one, (*path, name), name, value)


def _maps(one: Client, document: Any) -> Iterator[Path]:
    yield (one.servers,)
    projects = document.get("projects") if isinstance(document, dict) else None
    if one.name == "claude-code" and isinstance(projects, dict):
        for name in projects:  # servers that it has for one directory only
            yield ("projects", name, one.servers)


def _entry(one: Client, path: Path, name: str, value: Any) -> Entry:
    if not isinstance(value, dict):
        return Entry(name, path, why="it is no object")
    if any(value.get(key) for key in ("url", "serverUrl", "httpUrl")):
        return Entry(name, path, why="it is reached over HTTP")
    if value.get("envFile"):
        return Entry(name, path, why="its variables come from a file")
    command, args_at = (*path, "command"), (*path, "args")
    words: Any
    head, rest, env = value.get("command"), value.get("args"), value.get("env", {})
    within: Any = head if one.form == "nested" and isinstance(head, dict) else value
    if one.form != "list" and not isinstance(within.get("args", []), list):
        return Entry(name, path, why="args is no list")
    if one.form == "list":
        words, args_at, env = head, (), value.get("environment", {})
    elif one.form == "nested" and isinstance(head, dict):
        command, args_at = (*command, "path"), (*command, "args")
        words, env = [head.get("path"), *_listed(head.get("args"))], head.get("env", {})
    else:
        words = [head, *_listed(rest)]
    names = [*(env if isinstance(env, dict) else {}), *_listed(value.get("env_vars"))]
    if not isinstance(words, list) or not words or any(not isinstance(w, str) for w in words):
        return Entry(name, path, why="it names no command")
    return Entry(name, path, tuple(words), command, args_at, tuple(map(str, names)))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _edits(entry: Entry, words: list[str]) -> list[Edit]:
    if not entry.args:
        return [(entry.command, words)]
    return [(entry.command, words[0]), (entry.args, words[1:])]


# What is done to a text ---------------------------------------------------------------------------
def install(one: Client, form: ModuleType, text: str, terms: Terms) -> Changed:
    """Every server that is a command behind Holdfast; those that are already, on these terms."""
    edits: list[Edit] = []
    done: list[str] = []
    left: list[str] = []
    known: set[str] = set()
    for each in entries(one, _plain(form, text)):
        known.add(each.name)
        words = list(each.words)
        if (terms.only and each.name not in terms.only) or is_serving(words):
            continue
        own = original(words)
        if each.why or (own is None and _after(words)):
            left.append(f"{each.name}: {each.why or 'it is Holdfast already'}")
            continue
        new = wrapped(one, each.name, own or words, list(each.env), terms)
        if new != words:
            done.append(each.name)
            edits += _edits(each, new)
    if missing := sorted(set(terms.only) - known):
        raise Misuse(f"--only {missing[0]}: there is no such server; there are: "
                     f"{', '.join(sorted(known)) or 'none'}")  # fmt: skip
    return Changed(_edited(form, text, edits), tuple(done), tuple(left))


def add(one: Client, form: ModuleType, text: str, terms: Terms) -> Changed:
    """Holdfast's own server, beside the others."""
    words = serving(one, terms)
    value: dict[str, Any] = dict(one.extra)
    if one.form == "list":
        value |= {"command": words, "enabled": True}
    else:
        value |= {"command": words[0], "args": words[1:]}
    for each in entries(one, _plain(form, text)):
        if each.path == (one.servers, OWN):
            if not is_serving(list(each.words)):
                raise Conflict(f"a server {OWN!r} stands there that is not ours: rename it first")
            if list(each.words) == words:
                return Changed(text)
            return Changed(_edited(form, text, _edits(each, words)), (OWN,))
    return Changed(_edited(form, text, [((one.servers, OWN), value)]), (OWN,))


def without_args(one: Client, form: ModuleType, text: str) -> dict[Path, bool]:
    """Where entries that give their command no arguments would list them, and whether they say
    nothing of them there, rather than that there are none."""
    document = _plain(form, text)
    found: dict[Path, bool] = {}
    for each in entries(one, document):
        if each.args and len(each.words) == 1:
            here = document
            for name in each.args[:-1]:
                here = here[name]
            found[each.args] = each.args[-1] not in here
    return found


def uninstall(
    one: Client, form: ModuleType, text: str, bare: frozenset[Path] = frozenset()
) -> Changed:
    """Our entries as they were, or gone; nothing else changes. ``bare``: where no arguments were
    listed (`without_args`)."""
    edits: list[Edit] = []
    done: list[str] = []
    for each in entries(one, _plain(form, text)):
        before = original(list(each.words))
        if before:
            edits += [
                (path, None if path in bare and value == [] else value)
                for path, value in _edits(each, before)
            ]
        elif is_serving(list(each.words)):
            edits.append((each.path, None))
        else:
            continue
        done.append(each.name)
    return Changed(_edited(form, text, edits), tuple(done))


def _plain(form: ModuleType, text: str) -> Any:
    found = form.read(text)
    plain = getattr(found, "value", found)
    if not isinstance(plain, dict):
        raise Misuse("it is no object")
    return plain


def _edited(form: ModuleType, text: str, edits: list[Edit]) -> str:
    """INVARIANT D100: a text says after its edits just what it said before, but for them: it is
    read again, and else nothing is written."""
    wanted = copy.deepcopy(_plain(form, text))
    put: Callable[..., str] = form.put
    for path, value in edits:
        text = form.take_out(text, path) if value is None else put(text, path, value)
        here = wanted
        for name in path[:-1]:
            here = here.setdefault(name, {})
        if value is None:
            here.pop(path[-1], None)
        else:
            here[path[-1]] = value
    if _plain(form, text) != wanted:
        raise Misuse("it cannot be changed in place without changing more: change it by hand")
    return text
