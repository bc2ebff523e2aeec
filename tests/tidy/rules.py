"""The rules of DESIGN sections 2 and 3 that a syntax tree can show; each a pure function.

A rule takes a module and yields findings; ``test_rules.py`` holds the package to them, and shows
each one at work on a sample.
"""

from __future__ import annotations

import ast
import asyncio
import io
import re
import sys
import tokenize
from collections.abc import Iterator

from tests.tidy.source import CORE_ROOMS, Finding, Module, functions, imports, named

FUNCTION_LINES = 60
MODULE_LINES = 500
CLASS_METHODS = 20
POSITIONAL = 6
KEYWORD_ONLY = 10
TYPE_CHECKING_BLOCKS = 5


# ---- sizes -----------------------------------------------------------------------------------


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def function_lines(module: Module) -> Iterator[Finding]:
    """A function has at most 60 lines, not counting its docstring."""
    for name, node in functions(module.tree):
        if _lines(node) > FUNCTION_LINES:
            yield f"{module.path}:{name}", _lines(node)


def module_lines(module: Module) -> Iterator[Finding]:
    """A module has at most 500 lines; the table of limits may have more."""
    if module.path.endswith("values/limits.py"):
        return
    if (lines := len(module.text.splitlines())) > MODULE_LINES:
        yield module.path, lines


def class_methods(module: Module) -> Iterator[Finding]:
    """A class has at most 20 methods (overloads and setters count once)."""
    for name, node in named(module.tree):
        if isinstance(node, ast.ClassDef):
            methods = {
                child.name
                for child in node.body
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            if len(methods) > CLASS_METHODS:
                yield f"{module.path}:{name}", len(methods)


def parameters(module: Module) -> Iterator[Finding]:
    """At most 6 parameters that may be positional, and 10 that are keyword-only."""
    for name, node in functions(module.tree):
        positional = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        if positional[:1] in (["self"], ["cls"]):
            positional = positional[1:]
        if len(positional) > POSITIONAL:
            yield f"{module.path}:{name}", len(positional)
        if len(node.args.kwonlyargs) > KEYWORD_ONLY:
            yield f"{module.path}:{name} (keyword-only)", len(node.args.kwonlyargs)


# ---- imports ---------------------------------------------------------------------------------

LATE_ROOMS = frozenset({"cli", "__init__", "__main__"})
"""A command imports what it needs when it is called; the public door opens on first use."""


def late_imports(module: Module) -> Iterator[Finding]:
    """Rooms import each other at the top of a module, where a reader and a tool see it."""
    if module.room in LATE_ROOMS:
        return
    for name, node in functions(module.tree):
        for _, target in imports(node):
            if target.split(".")[0] == "holdfast":
                yield f"{module.path}:{name}", f"imports {target} late"


THIRD_PARTIES = {
    room: frozenset({"msgspec", "pydantic", "yaml", "zstandard"}) for room in CORE_ROOMS
}
THIRD_PARTIES["gate"] |= {"cel_expr_python"}
THIRD_PARTIES["world"] |= {"apsw", "pygit2"}


def third_parties(module: Module) -> Iterator[Finding]:
    """Core rooms stand on the standard library and very few packages."""
    allowed = THIRD_PARTIES.get(module.room)
    if allowed is None:
        return
    for _, target in imports(module.tree):
        package = target.split(".")[0]
        if package != "holdfast" and package not in sys.stdlib_module_names | allowed:
            yield f"{module.path}:{package}", f"imports {target}"


def public_door(module: Module) -> Iterator[Finding]:
    """``import holdfast`` is the user's door; inside, rooms are imported by name.

    (Through the door every room reaches every other, which would make the layers void.)
    """
    if module.room in LATE_ROOMS | {"testing"}:
        return
    for node, target in imports(module.tree):
        bare = target == "holdfast" and isinstance(node, ast.Import)
        from_door = isinstance(node, ast.ImportFrom) and node.module == "holdfast"
        if bare or from_door:
            yield f"{module.path}:{target}", "goes through the public door: import from the room"


RESERVED = {
    "holdfast.journal.writer": frozenset({"journal", "engine"}),
    "holdfast.stores": frozenset({"stores", "runtime", "testing"}),
}
"""What only these rooms may import."""


def reserved(module: Module) -> Iterator[Finding]:
    """Only the engine writes to the journal; only runtime and testing choose a store."""
    for _, target in imports(module.tree):
        for part, rooms in RESERVED.items():
            if f"{target}.".startswith(f"{part}.") and module.room not in rooms:
                yield f"{module.path}:{target}", f"only {', '.join(sorted(rooms))} may import it"


def type_checking(module: Module) -> Iterator[Finding]:
    """Blocks of imports for types only hide circles; the package has at most 5 in all."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield f"{module.path}:{node.lineno}", "TYPE_CHECKING block"


# ---- words -----------------------------------------------------------------------------------

BANNED = frozenset(
    "session task job workflow activity manager service handler util helper processor data info "
    "checkpoint".split()
)
FOREIGN = frozenset(
    {
        *dir(asyncio.AbstractEventLoop),
        *dir(asyncio.Protocol),
        *dir(asyncio.SubprocessProtocol),
        "wal_checkpoint",
    }
)
"""Names that are fixed by an interface of others which we implement or call."""


def words(name: str) -> list[str]:
    """``SignedCheckpoints`` and ``signed_checkpoints`` give signed, checkpoint."""
    split = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return [re.sub(r"s$", "", re.sub(r"ies$", "y", word.lower())) for word in split]


def banned_word(name: str) -> str | None:
    """The word in ``name`` that DESIGN section 2 bans, if any."""
    if name in FOREIGN:
        return None
    parts = words(name)
    for word in parts:
        if word in BANNED and not (word == "checkpoint" and "signed" in parts):
            return word
    return None


def banned_words(module: Module) -> Iterator[Finding]:
    """Words that mean three things elsewhere name no module, class or public function."""
    for part in module.path.removesuffix(".py").split("/")[2:]:
        if word := banned_word(part):
            yield module.path, f"the module's name says {word!r}"
    for name, node in named(module.tree):
        last = name.rsplit(".", 1)[-1]
        private = last.startswith("_") and not isinstance(node, ast.ClassDef)
        if not private and (word := banned_word(last)):
            yield f"{module.path}:{name}", f"says {word!r}"


# ---- habits ----------------------------------------------------------------------------------


def module_docstrings(module: Module) -> Iterator[Finding]:
    """Every module says what it knows."""
    if module.tree.body and not ast.get_docstring(module.tree):
        yield module.path, "has no docstring"
    if not module.tree.body:
        yield module.path, "is empty: say what the room knows and what it must not know"


def prints(module: Module) -> Iterator[Finding]:
    """The library says things by return values and errors; only the command line prints."""
    if module.room in {"cli", "testing", "__main__"}:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{module.path}:{node.lineno}", "prints"


UNSAFE_MODULES = frozenset({"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"})
UNSAFE_CALLS = frozenset({"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"})


def unsafe(module: Module) -> Iterator[Finding]:
    """No pickles, no evaluated text, no shell."""
    for node, target in imports(module.tree):
        if target.split(".")[0] in UNSAFE_MODULES:
            yield f"{module.path}:{node.lineno}", f"imports {target}"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        if (called := ast.unparse(node.func)) in UNSAFE_CALLS:
            yield f"{module.path}:{node.lineno}", f"calls {called}"
        for keyword in node.keywords:
            if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
                yield f"{module.path}:{node.lineno}", "runs a shell"


_IGNORE = re.compile(r"#\s*(?:type|pyright):\s*ignore(?P<code>\[[\w, -]+\])?(?P<rest>.*)")


def type_ignores(module: Module) -> Iterator[Finding]:
    """``# pyright: ignore[rule]  # reason``: which rule, and why."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type != tokenize.COMMENT or not (match := _IGNORE.match(token.string)):
            continue
        if not match["code"] or len(match["rest"].strip(" #:-")) < 8:
            yield f"{module.path}:{token.start[0]}", "ignores a type error without rule and reason"


_LIMIT = re.compile(r"_?[A-Z][A-Z0-9_]*_(MAX|LIMIT|BYTES|SECONDS|MS|CHARS|ROWS|ATTEMPTS)(_[A-Z]+)?")


def stray_limits(module: Module) -> Iterator[Finding]:
    """Numeric limits stand in ``values/limits.py``, nowhere else."""
    if module.path.endswith("values/limits.py"):
        return
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Name) and _LIMIT.fullmatch(target.id) and _number(node):
                yield f"{module.path}:{target.id}", "belongs in values/limits.py"


def _number(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Assign) else None
    while isinstance(value, ast.BinOp):
        value = value.left
    return isinstance(value, ast.Constant) and type(value.value) in (int, float)


UNITS = frozenset(
    "BYTES CHARS SECONDS MS ROWS PAGES EVENTS STEPS BATCHES ATTEMPTS MATCHES RUNS BRANCHES FILES "
    "LINES LEVELS DEPTH FANOUT ITEMS ENTRIES WORKERS CONNECTIONS PERCENT TOKENS UNITS BELLS "
    "RULES POSITIONS GROUPS".split()
)


def limits_documented(module: Module) -> Iterator[Finding]:
    """Every limit says its unit in its name and its reason in the string below it."""
    body = module.tree.body
    for place, node in enumerate(body):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = ast.unparse(target)
        following = body[place + 1] if place + 1 < len(body) else None
        text = following.value if isinstance(following, ast.Expr) else None
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            yield f"{module.path}:{name}", "has no reason below it"
        if not UNITS & set(name.split("_")):
            yield f"{module.path}:{name}", f"names no unit ({', '.join(sorted(UNITS))})"
