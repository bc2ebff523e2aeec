"""Finding agent programs by reference, so that a run can be resumed in a new process.

A reference is ``package.module:name`` or ``path/to/file.py:name`` (relative to the directory that
holds the store). Loading runs the module's own code: a store is trusted as far as its programs are.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.engine.declare import Agent
from holdfast.engine.guest import behind
from holdfast.journal.views import BRANCH
from holdfast.values.errors import Misuse, NotFound


class Programs:
    """The agent programs that this process knows or can load; ``base``: where file references
    start."""

    def __init__(self, base: Path) -> None:
        self._base = base.resolve()
        self._known: dict[str, Agent[..., Any]] = {}

    def add(self, program: object) -> str:
        """Remember a program and return its reference."""
        if not isinstance(program, Agent):
            raise Misuse(
                f"{getattr(program, '__name__', program)!r} is not an agent: declare it with "
                "@holdfast.agent"
            )
        ref = self.ref_of(program)
        self._known[ref] = program
        self._known.setdefault(program.name, program)
        return ref

    def ref_of(self, program: Agent[..., Any]) -> str:
        """The reference of a program: by module, or by file for scripts and loaded files."""
        name = getattr(program.fn, "__qualname__", program.name)
        module = sys.modules.get(program.fn.__module__)
        file = getattr(module, "__file__", None)
        by_file = program.fn.__module__ == "__main__" or program.fn.__module__.startswith(_PREFIX)
        if by_file and file:
            path = Path(file).resolve()
            shown = path.relative_to(self._base) if path.is_relative_to(self._base) else path
            ref = f"{shown.as_posix()}:{name}"
        else:
            ref = f"{program.fn.__module__}:{name}"
        self._known.setdefault(ref, program)
        self._known.setdefault(program.name, program)
        return ref

    def find(self, name: str, ref: str) -> Agent[..., Any]:
        """The program of a run; `NotFound` says how to name it."""
        known = self._known.get(ref) or (None if ref else self._known.get(name))
        if known is not None:
            return known
        away = behind(ref, name)
        if away is not None:
            raise away
        if name == BRANCH and not ref:
            raise Misuse("a branch has no program to run: `holdfast world` works on it")
        if ":" not in ref:
            raise NotFound(f"agent {name!r}: say where it is: FILE.py:NAME or MODULE:NAME")
        program = self.load(ref)
        self._known[ref] = program
        return program

    def load(self, ref: str) -> Agent[..., Any]:
        """Load the program that ``FILE.py:NAME`` or ``MODULE:NAME`` names."""
        place, _, name = ref.rpartition(":")
        if not place or not name:
            raise Misuse(f"{ref!r}: name an agent as FILE.py:NAME or MODULE:NAME")
        module = self._file(place) if place.endswith(".py") else _module(place)
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, Agent):
            return found
        agents = sorted(key for key, value in vars(module).items() if isinstance(value, Agent))
        known = f"; it has {', '.join(agents)}" if agents else "; it declares no agent"
        if found is not None:
            raise NotFound(f"{ref}: {name} is not an agent (use @holdfast.agent){known}")
        raise NotFound(f"{ref}: there is no agent {name!r} in {place}{known}")

    def _file(self, place: str) -> ModuleType:
        path = Path(place)
        path = path if path.is_absolute() else self._base / path
        if not path.is_file():
            raise NotFound(f"{place}: there is no such file (looked for {path})")
        main = sys.modules.get("__main__")
        if (
            main is not None
            and Path(getattr(main, "__file__", None) or "").resolve() == path.resolve()
        ):
            return main  # the script that is running: loading it again would run it again
        name = _PREFIX + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise NotFound(f"{place}: cannot be loaded as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))  # its neighbours, as when it is run as a script
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):
                raise Misuse(f"{place}: fails while it is loaded: {_where(error)}") from error
            raise
        return module


_PREFIX = "_holdfast_file_"


def _module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and place.startswith(error.name):
            raise NotFound(f"module {place!r} is not found; for a file say FILE.py:NAME") from None
        raise Misuse(f"module {place}: fails while it is loaded: {_where(error)}") from error
    except Exception as error:
        raise Misuse(f"module {place}: fails while it is loaded: {_where(error)}") from error


def _where(error: Exception) -> str:
    trace = error.__traceback__
    line = 0
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    return f"{type(error).__name__}: {error} (line {line})"
