"""The package keeps the rules of `rules`, and every rule bites."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.tidy import rules
from tests.tidy.source import ROOT, Finding, Module, hold, modules

Rule = Callable[[Module], Iterator[Finding]]

RULES: list[Rule] = [
    rules.function_lines,
    rules.module_lines,
    rules.class_methods,
    rules.parameters,
    rules.late_imports,
    rules.third_parties,
    rules.public_door,
    rules.reserved,
    rules.banned_words,
    rules.module_docstrings,
    rules.prints,
    rules.unsafe,
    rules.type_ignores,
    rules.stray_limits,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps(rule: Rule):
    hold(rule.__name__, itertools.chain.from_iterable(map(rule, modules())))


def test_limits_have_unit_and_reason():
    text = (ROOT / "src/holdfast/values/limits.py").read_text(encoding="utf-8")
    module = Module.parse(text, path="src/holdfast/values/limits.py")
    hold("limits_documented", rules.limits_documented(module))


def test_few_blocks_of_imports_for_types_only():
    blocks = [finding for module in modules() for finding in rules.type_checking(module)]
    assert len(blocks) <= rules.TYPE_CHECKING_BLOCKS, blocks


BITES: list[tuple[Rule, str]] = [
    (rules.function_lines, "def f():\n" + "    x = 1\n" * 60),
    (rules.module_lines, "x = 1\n" * 501),
    (rules.class_methods, "class A:\n" + "".join(f"    def m{i}(self): ...\n" for i in range(21))),
    (rules.parameters, "def f(a, b, c, d, e, /, g, h): ..."),
    (rules.parameters, "def f(*, a, b, c, d, e, f, g, h, i, j, k): ..."),
    (rules.late_imports, "def f():\n    from holdfast.gate import judge\n"),
    (rules.late_imports, "class A:\n    async def f(self):\n        import holdfast.gate\n"),
    (rules.third_parties, "import requests"),
    (rules.third_parties, "from pygit2 import Repository"),
    (rules.public_door, "import holdfast"),
    (rules.public_door, "from holdfast import tool"),
    (rules.type_checking, "if TYPE_CHECKING:\n    import x\n"),
    (rules.banned_words, "class RunManager: ..."),
    (rules.banned_words, "class _Helper: ..."),
    (rules.banned_words, "def get_infos(): ..."),
    (rules.banned_words, "def save_checkpoint(): ..."),
    (rules.module_docstrings, "x = 1"),
    (rules.module_docstrings, ""),
    (rules.prints, "print(1)"),
    (rules.unsafe, "import pickle"),
    (rules.unsafe, "from marshal import loads"),
    (rules.unsafe, "eval('1')"),
    (rules.unsafe, "run('ls', shell=True)"),
    (rules.type_ignores, "x = 1  # type: ignore"),
    (rules.type_ignores, "x = 1  # type: ignore[attr]"),
    (rules.type_ignores, "x = 1  # pyright: ignore  # because it is wrong"),
    (rules.stray_limits, "NAME_MAX_BYTES = 4 * 1024"),
    (rules.limits_documented, "NAME_BYTES = 4"),
    (rules.limits_documented, 'NAME = 4\n"""Why."""'),
]


@pytest.mark.parametrize(("rule", "sample"), BITES)
def test_rule_bites(rule: Rule, sample: str):
    assert list(rule(Module.parse(sample)))


@pytest.mark.parametrize(
    ("room", "text", "bites"),
    [
        ("cli", "from holdfast.journal.writer import append", True),
        ("cli", "from holdfast.journal import writer", True),
        ("engine", "from holdfast.journal import writer", False),
        ("cli", "from holdfast.stores.sqlite import Sqlite", True),
        ("cli", "from holdfast import stores", True),
        ("runtime", "from holdfast.stores.sqlite import Sqlite", False),
    ],
)
def test_reserved_rooms(room: str, text: str, bites: bool):
    sample = Module.parse(text, path=f"src/holdfast/{room}/sample.py")
    assert bool(list(rules.reserved(sample))) is bites


SPARES: list[tuple[Rule, str]] = [
    (rules.function_lines, 'def f():\n    """' + "\n" * 90 + '"""\n' + "    x = 1\n" * 59),
    (rules.parameters, "def f(self, a, b, c, d, e, g, *, h): ..."),
    (rules.late_imports, "def f():\n    import json\n"),
    (rules.third_parties, "import os.path, msgspec\nfrom holdfast.values import ids\n"),
    (rules.public_door, "from holdfast.values import ids\nimport holdfast.gate.verdict\n"),
    (
        rules.banned_words,
        "class SignedCheckpoint: ...\ndef create_task(): ...\ndef metadata(): ...",
    ),
    (rules.type_ignores, "x = 1  # type: ignore[attr]  # the stub lacks it"),
    (rules.unsafe, "run('ls', shell=False)"),
    (rules.stray_limits, "_MAX_NAME = re.compile('x')\nPAGE_BYTES = limits.PAGE_BYTES"),
]


@pytest.mark.parametrize(("rule", "sample"), SPARES)
def test_rule_spares(rule: Rule, sample: str):
    assert not list(rule(Module.parse(sample)))
