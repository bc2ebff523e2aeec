"""Plant a realistic bug, chosen by a seed, as the smallest edit of the text that makes it."""

import ast
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from examples.repair.edits import (
    Edit,
    Source,
    inside,
    is_annotation,
    is_docstring,
    parsed,
)

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
}


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug that was planted: what was done where, and the whole file with it."""

    path: str
    line: int
    description: str
    before_line: str
    after_line: str
    new_source: str


@dataclass(frozen=True, slots=True)
class _Site:
    """A place for a bug, with the kind of slip that it would be."""

    path: str
    kind: str
    description: str
    edit: Edit


def plant(tree: Mapping[str, str], seed: int, skip: int = 0) -> Planted:
    """The bug of this seed in `{path: source}`; with `skip`, the seed's next ones.

    Whether the library's tests notice is for the caller to find out: take the first `skip` for
    which a test fails. The kind of slip is drawn first, by the root of how many places it has, so
    that frequent kinds do not crowd out the others nor single places come up again and again.
    """
    for number, planted in enumerate(plants(tree, seed)):
        if number == skip:
            return planted
    raise ValueError(f"no place for a bug number {skip + 1} in {', '.join(tree) or 'no file'}")


def plants(tree: Mapping[str, str], seed: int) -> Iterator[Planted]:
    """All the bugs of this seed, in its order."""
    dice = random.Random(seed)
    by_kind: dict[str, list[_Site]] = {}
    for path in sorted(tree):
        for site in _sites(path, parsed(tree[path])):
            by_kind.setdefault(site.kind, []).append(site)
    while by_kind:
        kinds = sorted(by_kind)
        kind = dice.choices(kinds, [sqrt(len(by_kind[kind])) for kind in kinds])[0]
        sites = by_kind[kind]
        site = sites.pop(dice.randrange(len(sites)))
        if not sites:
            del by_kind[kind]
        source = parsed(tree[site.path])
        if source.valid(site.edit):
            yield _planted(site, source)


def _planted(site: _Site, source: Source) -> Planted:
    line = source.line_of(site.edit.start)
    after = site.edit.apply(source.text)
    after_lines = after.split("\n")
    removed = site.kind == "lost update"
    return Planted(
        path=site.path,
        line=line,
        description=f"{site.path}:{line}: {site.description}",
        before_line=source.line_text(line),
        after_line="" if removed else after_lines[line - 1].rstrip("\r"),
        new_source=after,
    )


def _sites(path: str, source: Source) -> Iterator[_Site]:
    """Every slip that fits somewhere in a file; only inside functions, where tests look."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.expr | ast.stmt) or source.enclosing(node) is None:
            continue
        # Positions inside f-strings are not reliable before Python 3.12.
        if inside(source, node, (ast.JoinedStr,)) or is_annotation(source, node):
            continue
        for kind, description, edit in _slips(source, node):
            yield _Site(path, kind, description, edit)


_Slip = tuple[str, str, Edit]


def _slips(source: Source, node: ast.expr | ast.stmt) -> Iterator[_Slip]:
    for kind, slip in _KINDS:
        for description, edit in slip(source, node):
            yield kind, description, edit


def _comparison(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if not isinstance(node, ast.Compare):
        return
    left = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        place, swapped = source.operator(left, right), _COMPARE[type(operator)]
        if place:
            was = source.text[slice(*place)]
            yield f"comparison `{was}` became `{swapped}`", Edit(*place, swapped)
        left = right


def _arithmetic(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return  # formatting of a text, not arithmetic
        place, text = source.operator(node.left, node.right), _ARITHMETIC[type(node.op)]
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        place, text = source.augmented_operator(node), _ARITHMETIC[type(node.op)] + "="
    else:
        return
    if place:
        was = source.text[slice(*place)]
        yield f"operator `{was}` became `{text}`", Edit(*place, text)


def _boolean(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if not isinstance(node, ast.BoolOp):
        return
    was, text = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in zip(node.values, node.values[1:], strict=False):
        place = source.operator(left, right)
        if place and len(node.values) == 2:
            yield f"`{was}` became `{text}`", Edit(*place, text)


def _negation(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        start, after = source.span(node)[0], source.token_after(source.span(node)[0] + 3)
        if after:
            yield "`not` was dropped", Edit(start, after[0], "")
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        test = node.test
        if isinstance(test, ast.Name | ast.Call | ast.Attribute | ast.Subscript):
            start = source.span(test)[0]
            yield "the condition was negated", Edit(start, start, "not ")


def _constant(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if not isinstance(node, ast.Constant) or is_docstring(source, node):
        return
    above = source.parents.get(node)
    default = isinstance(above, ast.arguments)
    value = node.value
    if value is True or value is False:
        texts = [str(not value)]
    elif type(value) is int:
        texts = [str(value + 1)] + ([str(value - 1)] if value > 0 else [])
    elif value is None and default:
        texts = ["0", "False"]
    else:
        return
    what = "default" if default else "constant"
    for text in texts:
        yield f"{what} `{source.segment(node)}` became `{text}`", Edit(*source.span(node), text)


def _bound(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """Off by one in a slice or a range whose bound is no plain number (those are constants)."""
    bounds: list[ast.expr | None] = []
    if isinstance(node, ast.Slice):
        bounds = [node.lower, node.upper]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = list(node.args)
    for bound in bounds:
        if bound is None or isinstance(bound, ast.Constant | ast.Starred):
            continue
        end = source.span(bound)[1]
        for text in (" + 1", " - 1"):
            yield f"bound `{source.segment(bound)}` became off by one", Edit(end, end, text)


def _swap(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if not isinstance(node, ast.Call):
        return
    for left, right in zip(node.args, node.args[1:], strict=False):
        if isinstance(left, ast.Starred) or isinstance(right, ast.Starred):
            continue
        one, two = source.segment(left), source.segment(right)
        if one != two:
            start, end = source.span(left)[0], source.span(right)[1]
            between = source.text[source.span(left)[1] : source.span(right)[0]]
            yield (
                f"arguments `{one}` and `{two}` were swapped",
                Edit(start, end, two + between + one),
            )


def _lost_update(source: Source, node: ast.AST) -> Iterator[tuple[str, Edit]]:
    if not isinstance(node, ast.AugAssign):
        return
    lines = source.line_span(node.lineno, node.end_lineno or node.lineno)
    alone = source.text[slice(*lines)].strip() == source.segment(node)
    above = source.parents.get(node)
    body: list[ast.stmt] = getattr(above, "body", [])
    if alone and node in body and len(body) > 1 and isinstance(above, ast.stmt):
        yield f"`{source.segment(node)}` was lost", Edit(*lines, "")


_KINDS: tuple[tuple[str, Callable[[Source, ast.AST], Iterator[tuple[str, Edit]]]], ...] = (
    ("comparison", _comparison),
    ("arithmetic", _arithmetic),
    ("boolean", _boolean),
    ("negation", _negation),
    ("constant", _constant),
    ("bound", _bound),
    ("swap", _swap),
    ("lost update", _lost_update),
)
