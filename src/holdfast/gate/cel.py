"""Conditions in CEL (Common Expression Language): compiled when a policy is loaded, evaluated when
an action is judged.

A condition is true, false or *unclear* (an argument is missing, of another type, too big). CEL's
own logic decides whether that matters: ``false && unclear`` is false, ``true || unclear`` is true.
What stays unclear is told with a reason that never shows a value, and the judge denies.

CEL compares values of different types and finds them unequal. A policy must not fail open over
"20" and 20, so a condition also notes which types each of its arguments can have for it to make
sense (found by compiling it once for each type), and another type is unclear.
"""

from __future__ import annotations

import difflib
import functools
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final, cast, get_type_hints
from urllib.parse import urlsplit

from holdfast.gate.closed import strange_word
from holdfast.gate.facts import GROUPS, Facts
from holdfast.gate.plain import Unclear, kind_of, plain
from holdfast.gate.reading import Item
from holdfast.gate.tokens import Token, layout, tokens_of
from holdfast.values import limits

Scope = tuple[tuple[str, str], ...]
"""Names that a condition may use, each with the CEL type it has."""

_FACT_TYPES: Final[dict[Any, str]] = {
    int: "int",
    float: "double",
    bool: "bool",
    str: "string",
    dict[str, str]: "map<string, string>",
}
FACTS: Final[dict[str, str]] = {
    name: _FACT_TYPES[kind]
    for name, kind in get_type_hints(Facts).items()
    if any(name in names for names in GROUPS.values())
}
"""Every fact with its CEL type."""
NAMES: Final = ("agent", "role", "kind", "tool", "effect")

_ARGS: Final = ("args", "map<string, dyn>")
RULE: Final[Scope] = (
    *((name, "string") for name in NAMES), _ARGS, *FACTS.items(), ("risk", "double")
)  # fmt: skip
"""What the ``if`` of a rule may use."""
CHECKED: Final[Scope] = (_ARGS, ("result", "dyn"), ("changes", "list<string>"))
"""What the ``that`` of a check may use."""


class BadCondition(ValueError):
    """A text is no condition; the message says what is wrong, and at which character."""


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A compiled condition. ``text`` is canonical: comments and layout are gone. ``uses``: names of
    the scope that it mentions; ``args``: the arguments that it mentions, None for all of them;
    ``wants``: the types that arguments must have, by path."""

    text: str
    uses: frozenset[str]
    args: frozenset[str] | None
    wants: tuple[tuple[tuple[str, ...], frozenset[str]], ...]
    program: Any = field(repr=False)


def condition_text(item: Item, what: str) -> str:
    """The text of a condition, which may have several lines."""
    text = item.value
    if not isinstance(text, str):
        item.refuse(f"{what} must be a CEL expression in a string, not {item.describe()}")
    if not all(char.isprintable() or char in "\n\t" for char in text):
        item.refuse(f"{what} contains a character that cannot be printed")
    return text


def compile_condition(item: Item, what: str, scope: Scope) -> Condition:
    """The condition ``item``; raises `Misuse` with its line and the place in the expression."""
    try:
        return compile_text(condition_text(item, what), scope)
    except BadCondition as error:
        item.refuse(f"{what}: {error}")


@functools.lru_cache(maxsize=2 * limits.POLICY_RULES)
def compile_text(text: str, scope: Scope) -> Condition:
    """The condition that ``text`` states over the names of ``scope``; raises `BadCondition`."""
    if not text.strip():
        raise BadCondition("the condition is empty")
    if len(text) > limits.CONDITION_CHARS:
        raise BadCondition(
            f"{len(text)} characters, at most {limits.CONDITION_CHARS} fit: write two rules"
        )
    tokens = tokens_of(text)
    _refuse_habits(tokens)
    program = _compile(text, scope)
    if program.return_type().name() not in ("BOOL", "DYN"):
        found = program.return_type().name().lower()
        raise BadCondition(f"a condition must be true or false, this is of type {found}")
    _patterns(tokens, scope)
    strange = strange_word(tokens, frozenset(name for name, _ in scope), _said)
    if strange:
        raise BadCondition(strange)
    paths, whole = _paths(tokens)
    wants = tuple((path, kinds) for path in paths if (kinds := _kinds(tokens, path, scope)))
    uses = frozenset(name for name, _ in scope) & {token.text for token in tokens if token.root}
    roots = None if whole else frozenset(path[0] for path in paths)
    return Condition(layout(tokens), uses, roots, wants, program)


# Reading the text ------------------------------------------------------------------------------


def _refuse_habits(tokens: tuple[Token, ...]) -> None:
    """What CEL accepts and this language does not, so that there is one way to write a thing."""
    texts = ["", *(token.text for token in tokens), ""]
    for place, token in enumerate(tokens):
        before, after = texts[place], texts[place + 2]
        if token.text == "." and (not before or not re.match(r"[\w)\]}\"']", before[-1])):
            raise BadCondition("a name cannot start with a dot")
        # after anything else than what has parts, it is a list of one
        part = before == "[" and place > 1 and re.fullmatch(r"(?!in$)\w+|[)\]]", texts[place - 1])
        if part and token.sort == "string" and after == "]":
            word = token.text[1:-1]
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word) and token.text[0] in "\"'":
                raise BadCondition(f"write .{word} instead of [{token.text}]")


def _paths(tokens: tuple[Token, ...]) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """The paths below ``args`` that are mentioned, and whether it is also used as a whole."""
    paths: dict[tuple[str, ...], None] = {}
    whole = False
    for place, token in enumerate(tokens):
        if token.text != "args" or not token.root:
            continue
        path = tuple(_path_after(tokens, place))
        if path:
            paths[path] = None
        else:
            whole = True
    return tuple(paths), whole


def _path_after(tokens: tuple[Token, ...], place: int) -> Iterator[str]:
    while place + 2 < len(tokens) and tokens[place + 1].text == ".":
        called = place + 3 < len(tokens) and tokens[place + 3].text == "("
        if called or tokens[place + 2].sort != "word":
            return
        yield tokens[place + 2].text
        place += 2


# Compiling -------------------------------------------------------------------------------------


@functools.cache
def _engine() -> ModuleType:
    """The CEL library. It is loaded late: most commands, and policies without ``if``, need none."""
    from cel_expr_python import cel

    return cel


@functools.cache
def environment(scope: Scope) -> Any:
    """The CEL environment of a scope, of which there are few."""
    return _environment(scope)


def _environment(scope: Scope) -> Any:
    cel = _engine()
    kinds = cel.Type
    text, yes = kinds.STRING, kinds.BOOL
    types = {
        "string": text, "int": kinds.INT, "double": kinds.DOUBLE, "bool": yes, "dyn": kinds.DYN,
        "list<string>": kinds.List(text), "map<string, string>": kinds.Map(text, text),
        "map<string, dyn>": kinds.Map(text, kinds.DYN), "list": kinds.LIST, "map": kinds.MAP,
    }  # fmt: skip
    functions = [
        cel.FunctionDecl("domain", [cel.Overload("domain", text, [text], impl=domain)]),
        cel.FunctionDecl("inside", [cel.Overload("inside", yes, [text, text], impl=inside)]),
    ]
    variables = {name: types[kind] for name, kind in scope}
    return cel.NewEnv(variables=variables, functions=functions)


@functools.lru_cache(maxsize=limits.CONDITION_SCOPES_ENTRIES)
def _with_argument(scope: Scope, path: str, kind: str) -> Any:
    """The environment of ``scope`` in which one argument has a known type."""
    return _environment((*scope, (path, kind)))


def _compile(text: str, scope: Scope) -> Any:
    try:
        return environment(scope).compile(text)
    except RuntimeError as error:
        raise BadCondition(_explain(str(error), text, scope)) from None


@functools.lru_cache(maxsize=limits.GATE_MEMO_ENTRIES)
def _together(texts: tuple[str, ...], scope: Scope) -> Any:
    """One program for many conditions, a list of their values: most of what evaluating one costs is
    paid once for all. None if the library cannot compile that."""
    try:
        return environment(scope).compile(f"[{', '.join(f'({text})' for text in texts)}]")
    except RuntimeError:
        return None


_ERROR: Final = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
FUNCTIONS: Final = (
    "all", "bool", "contains", "domain", "double", "duration", "dyn", "endsWith", "exists",
    "exists_one", "filter", "has", "inside", "int", "map", "matches", "size", "startsWith",
    "string", "timestamp", "type", "uint",
)  # fmt: skip
_MEANT: Final = {
    "in_folder": "inside", "under": "inside", "host": "domain", "starts_with": "startsWith",
    "ends_with": "endsWith", "len": "size", "length": "size", "any": "exists", "regex": "matches",
    "present": "has", "exist": "has", "and": "&&", "or": "||", "not": "!", "True": "true",
    "False": "false", "None": "null",
}  # fmt: skip


def _explain(said: str, text: str, scope: Scope) -> str:
    """The library's first error in one line, with a suggestion."""
    match = _ERROR.search(said)
    if match is None:
        return " ".join(said.removeprefix("INVALID_ARGUMENT: ").split())[:200]
    line, column, message = int(match[1]), int(match[2]), match[3].strip()
    at = "" if line < 1 else f"character {column}: " if line == 1 else f"line {line}: "
    name = re.match(r"undeclared reference to '(\w+)'", message)
    if name:
        called = re.search(rf"\b{name[1]}\s*\(", text) is not None
        known = FUNCTIONS if called else tuple(each for each, _ in scope)
        meant = {key: value for key, value in _MEANT.items() if called is (value in FUNCTIONS)}
        return f"{at}unknown {'function' if called else 'name'} {name[1]!r}: " + _near(
            name[1], known, meant
        )
    wrong = re.match(r"found no matching overload for '(\S+)' applied to '(.*)'", message)
    if wrong:
        sign = wrong[1].replace("_", "").replace("@", "") or wrong[1]
        hint = ""
        if {"int", "double"} <= set(re.findall(r"\w+", wrong[2])):
            hint = ": write a decimal number with its point (1.0) beside one that has one"
        return f"{at}{sign!r} does not go with {wrong[2]}{hint}"
    return f"{at}{message}"[:200]


def _near(word: str, known: tuple[str, ...], meant: Mapping[str, str]) -> str:
    close = meant.get(word) or next(
        iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None
    )
    return f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"


def _patterns(tokens: tuple[Token, ...], scope: Scope) -> None:
    """Try every pattern that is written out: the library would look at it only when it is used."""
    for place in range(len(tokens) - 3):
        called, opened, text, closed = tokens[place : place + 4]
        if (called.text, opened.text, text.sort, closed.text) == ("matches", "(", "string", ")"):
            tried = environment(scope).compile(f"''.matches({text.text})").eval(data={})
            if tried.type().name() == "ERROR":
                said = str(tried.value()).partition("regular expression: ")[2]
                raise BadCondition(f"{text.text} is no pattern: {said}"[:200])


def _said(literal: str) -> object:
    """What a string that is written out says."""
    return environment(RULE).compile(literal).eval(data={}).plain_value()


_KINDS: Final = (
    ("string", "string"),
    ("int", "number"),
    ("double", "number"),
    ("bool", "boolean"),
    ("list", "list"),
    ("map", "mapping"),
)


def _kinds(tokens: tuple[Token, ...], path: tuple[str, ...], scope: Scope) -> frozenset[str]:
    """Types of the argument at ``path`` with which the condition makes sense; empty if all do, or
    if that cannot be told (as for a whole number here and a decimal one there)."""
    text = " ".join(_without_has(tokens))
    found: set[str] = set()
    for kind, name in _KINDS:
        try:
            program = _with_argument(scope, ".".join(("args", *path)), kind).compile(text)
        except RuntimeError:
            continue
        if program.return_type().name() in ("BOOL", "DYN"):
            found.add(name)
    return frozenset() if len(found) == len({name for _, name in _KINDS}) else frozenset(found)


def _without_has(tokens: tuple[Token, ...]) -> Iterator[str]:
    """The tokens with each ``has(...)`` as ``true``: presence says nothing of a type."""
    depth = 0
    for before, token in zip((None, *tokens), tokens, strict=False):
        if depth or (token.text == "(" and before is not None and before.text == "has"):
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        else:
            yield "true" if token.text == "has" else token.text


# Evaluating ------------------------------------------------------------------------------------


class Scene:
    """What conditions are evaluated against: the ``values`` of the scope, and ``args``, of which
    only ``roots`` (None: all) are looked at. Made once for a judgement."""

    __slots__ = ("_args", "_bare", "_full", "_problems", "_scope", "_values")

    def __init__(
        self,
        scope: Scope,
        values: dict[str, Any],
        args: Mapping[str, Any],
        roots: frozenset[str] | None,
    ) -> None:
        self._scope = scope
        self._values = values
        self._problems: dict[str, str] = {}
        self._args: dict[str, Any] = {}
        for name in list(args) if roots is None else roots:
            try:
                value = args.get(name)
                if value is not None:
                    self._args[name] = plain(value)
            except Exception as error:  # noqa: BLE001 - an argument's own code may raise anything
                self._problems[name] = _why_not(error)
        self._full = environment(scope).Activation({**values, "args": self._args})
        self._bare: Any = None

    def hold(self, conditions: tuple[Condition, ...]) -> list[bool | str]:
        """`holds` of each of them: all at once, or one by one if something is unclear."""
        # INVARIANT G34: evaluated together or one by one, conditions say the same
        if len(conditions) > 1 and not any(map(self._problem, conditions)):
            program = _together(tuple(one.text for one in conditions), self._scope)
            try:
                found = program.eval(self._full).plain_value() if program else None
                if type(found) is list and all(type(one) is bool for one in found):
                    return cast(list[bool | str], found)
            except Exception:  # noqa: BLE001, S110 - whatever it raises, each is asked alone
                pass
        return [self.holds(one) for one in conditions]

    def holds(self, condition: Condition) -> bool | str:
        """Whether ``condition`` is true; a text says why that cannot be told."""
        problem = self._problem(condition)
        # INVARIANT G10: an argument that a condition cannot take is as if its value were unknown,
        # never as if it were unequal or missing
        scene = self._without_args() if problem else self._full
        try:
            value = condition.program.eval(scene)
            result = value.plain_value()
            if result is True or result is False:
                return result
            return problem or self._why(condition, value)
        except Exception as error:  # noqa: BLE001 - whatever the library raises: it is unclear
            return problem or f"the condition cannot be evaluated ({type(error).__name__})"

    def _problem(self, condition: Condition) -> str:
        if self._problems:
            names = condition.args
            for name, why in self._problems.items():
                if names is None or name in names:
                    return f"args.{name} {why}"
        for path, kinds in condition.wants:
            value: Any = self._args
            for part in path:
                value = value.get(part) if type(value) is dict else None
            if value is not None and (found := kind_of(value)) not in kinds:
                return f"args.{'.'.join(path)} is a {found}, not a {' or '.join(sorted(kinds))}"
        return ""

    def _without_args(self) -> Any:
        if self._bare is None:
            self._bare = environment(self._scope).Activation(self._values)
        return self._bare

    def _why(self, condition: Condition, value: Any) -> str:
        """Why the library could not say. Its own words may show a value, so few are passed on."""
        if value.type().name() != "ERROR":
            return "it is neither true nor false"
        said = str(value.value())
        if said.startswith("NOT_FOUND"):
            missing = sorted(name for name in condition.args or () if name not in self._args)
            return f"args.{missing[0]} is missing" if missing else "something in it is missing"
        if said.startswith("UNKNOWN: Index error"):
            return "it looks behind the end of a list"
        lost = re.match(r'UNKNOWN: No value with name "(\w+)"', said)
        if lost:
            return f"{lost[1]} is not known"
        wrong = re.match(r"UNKNOWN: No matching overloads found : ([^\s(]+)(\([\w, ]*\))", said)
        if wrong:
            return f"{wrong[1].strip('_@')!r} does not go with {wrong[2]}"
        own = re.match(r"OUT_OF_RANGE: ((?:domain|inside): .*)", said)
        return own[1] if own else f"the condition ends in an error ({said.partition(':')[0]})"


def _why_not(error: Exception) -> str:
    if isinstance(error, Unclear):
        return str(error)
    return f"cannot be looked at ({type(error).__name__})"  # its text could show the value


# Functions -------------------------------------------------------------------------------------

_LOCAL: Final = re.compile(r"[^\s@<>,;:\"\\()\[\]]+")
_HOST: Final = re.compile(r"[^\s@/\\<>,;:\"'()\[\]%?#]+")


def domain(text: str) -> str:
    """The host of a link, or what follows the ``@`` of one e-mail address, in small letters.

    Whatever programs could read in two ways (several addresses, a backslash, a space, a port that
    is no number) is an error, so the rule denies.
    """
    host = ""
    if "://" in text and text.isprintable() and "\\" not in text and " " not in text:
        try:
            parts = urlsplit(text)
            _ = parts.port
            host = parts.hostname or ""
        except ValueError:
            host = ""
        if ":" in host:  # an IPv6 address
            return host
    elif text.count("@") == 1:
        name, _, host = text.partition("@")
        if not _LOCAL.fullmatch(name):
            host = ""
    if not _HOST.fullmatch(host):
        raise ValueError("domain: this is neither one link nor one e-mail address")
    return host.lower().removesuffix(".")


def inside(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or below it, after ``.`` and ``..`` are worked out.

    Links on the disk are not known here. If only one of the two starts with ``/`` nobody can say,
    which is an error, so the rule denies.
    """
    if not path or not folder or "\0" in path or path.startswith("~") != folder.startswith("~"):
        raise ValueError("inside: this is no path that can be told")
    if path.startswith("/") != folder.startswith("/"):
        raise ValueError("inside: one path starts at the root and the other does not")
    inner, outer = (posixpath.normpath(each.replace("//", "/")) for each in (path, folder))
    inner, outer = (re.sub(r"^/+", "/", each) for each in (inner, outer))
    if outer == ".":
        return inner != ".." and not inner.startswith("../")
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
