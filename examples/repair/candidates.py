"""Edits that might repair a suspicious line, most plausible first; knows nothing of the bug."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from examples.repair.edits import (
    Edit,
    FunctionNode,
    Source,
    is_annotation,
    is_docstring,
    parsed,
)
from examples.repair.localise import Suspect

NAMES_TRIED = 6
"""How many other names of the scope are tried in place of one."""

LIKELY, POSSIBLE, RARE, FAR = 1, 2, 3, 5
"""Costs: how much less plausible a kind of slip is; the order within equally suspicious lines."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One small edit of one file: the edit, not the file, so that hundreds of them stay small."""

    path: str
    line: int
    description: str
    cost: int
    start: int
    end: int
    text: str

    def new_source(self, source: str) -> str:
        """The file with this edit."""
        return Edit(self.start, self.end, self.text).apply(source)


Proposal = tuple[int, str, Edit]
Rule = Callable[[Source, ast.AST], Iterator[Proposal]]


def candidates(path: str, source: str, line: int) -> list[Candidate]:
    """Edits of the statement at a line, most plausible first, each leaving valid Python.

    Only the statement's own text is edited, not the blocks under it. An empty list where there is
    no statement.
    """
    text = parsed(source)
    found: dict[str, Candidate] = {}
    for node in _nodes(text, line):
        for rule in _RULES:
            for cost, description, edit in rule(text, node):
                if source[edit.start : edit.end] == edit.text or not text.valid(edit):
                    continue
                after = edit.apply(source)
                at = text.line_of(edit.start)
                made = Candidate(path, at, description, cost, edit.start, edit.end, edit.text)
                if after not in found or found[after].cost > cost:
                    found[after] = made
    return sorted(found.values(), key=lambda made: (made.cost, made.start, made.text))


def ordered(
    suspects: Sequence[Suspect], sources: Mapping[str, str], most: int = 1_000
) -> list[Candidate]:
    """The candidates for all suspicious lines, in the order in which to try them.

    A likely slip at a slightly less suspicious line goes before a far-fetched one at the most
    suspicious, hence suspicion is divided by cost.
    """
    best: dict[tuple[str, int, int, str], tuple[float, Candidate]] = {}
    for suspect in suspects:
        source = sources.get(suspect.path)
        if source is None:
            continue
        for made in candidates(suspect.path, source, suspect.line):
            weight = suspect.score**2 / made.cost
            key = (made.path, made.start, made.end, made.text)
            if key not in best or best[key][0] < weight:
                best[key] = (weight, made)
    ranked = sorted(best.values(), key=lambda pair: (-pair[0], pair[1].path, pair[1].start))
    return [made for _, made in ranked[:most]]


def _nodes(source: Source, line: int) -> Iterator[ast.AST]:
    """The statement whose own lines include this one, and the expressions in it."""
    for statement in ast.walk(source.tree):
        if isinstance(statement, ast.stmt):
            first, last = source.header_lines(statement)
            if first <= line <= last:
                yield from _own(source, statement)


def _own(source: Source, statement: ast.stmt) -> Iterator[ast.AST]:
    yield statement
    waiting: list[ast.AST] = list(ast.iter_child_nodes(statement))
    while waiting:
        node = waiting.pop(0)
        # Positions inside f-strings are not reliable before Python 3.12.
        if isinstance(node, ast.stmt | ast.JoinedStr):
            continue
        if isinstance(node, ast.expr | ast.comprehension) and not is_annotation(source, node):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


# ---- rules ---------------------------------------------------------------------------------------

_COMPARE: dict[type[ast.cmpop], tuple[tuple[int, str], ...]] = {
    ast.Lt: ((LIKELY, "<="), (POSSIBLE, ">="), (POSSIBLE, ">"), (RARE, "!=")),
    ast.LtE: ((LIKELY, "<"), (POSSIBLE, ">"), (POSSIBLE, ">="), (RARE, "==")),
    ast.Gt: ((LIKELY, ">="), (POSSIBLE, "<="), (POSSIBLE, "<"), (RARE, "!=")),
    ast.GtE: ((LIKELY, ">"), (POSSIBLE, "<"), (POSSIBLE, "<="), (RARE, "==")),
    ast.Eq: ((LIKELY, "!="), (POSSIBLE, "is"), (RARE, "<="), (RARE, ">="), (RARE, "in")),
    ast.NotEq: ((LIKELY, "=="), (POSSIBLE, "is not"), (RARE, "<"), (RARE, ">")),
    ast.Is: ((LIKELY, "is not"), (POSSIBLE, "==")),
    ast.IsNot: ((LIKELY, "is"), (POSSIBLE, "!=")),
    ast.In: ((LIKELY, "not in"), (RARE, "==")),
    ast.NotIn: ((LIKELY, "in"), (RARE, "!=")),
}
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_ARITHMETIC: dict[type[ast.operator], tuple[tuple[int, str], ...]] = {
    ast.Add: ((LIKELY, "-"), (RARE, "*")),
    ast.Sub: ((LIKELY, "+"), (RARE, "*"), (RARE, "//")),
    ast.Mult: ((POSSIBLE, "+"), (POSSIBLE, "//"), (POSSIBLE, "/"), (RARE, "**")),
    ast.Div: ((LIKELY, "//"), (POSSIBLE, "*"), (RARE, "%")),
    ast.FloorDiv: ((LIKELY, "/"), (POSSIBLE, "*"), (POSSIBLE, "%")),
    ast.Mod: ((POSSIBLE, "//"), (RARE, "/"), (RARE, "*")),
    ast.Pow: ((POSSIBLE, "*"),),
    ast.BitAnd: ((LIKELY, "|"), (RARE, "^")),
    ast.BitOr: ((LIKELY, "&"), (RARE, "^")),
    ast.BitXor: ((POSSIBLE, "|"), (POSSIBLE, "&")),
    ast.LShift: ((LIKELY, ">>"),),
    ast.RShift: ((LIKELY, "<<"),),
}


def _replaced(source: Source, place: tuple[int, int] | None, text: str) -> tuple[str, Edit] | None:
    if place is None:
        return None
    return f"`{source.text[slice(*place)]}` -> `{text}`", Edit(*place, text)


def _comparison(source: Source, node: ast.AST) -> Iterator[Proposal]:
    if not isinstance(node, ast.Compare):
        return
    left = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        for cost, text in _COMPARE[type(operator)]:
            if made := _replaced(source, source.operator(left, right), text):
                yield cost, f"comparison {made[0]}", made[1]
        left = right


def _arithmetic(source: Source, node: ast.AST) -> Iterator[Proposal]:
    if isinstance(node, ast.BinOp):
        place, suffix = source.operator(node.left, node.right), ""
    elif isinstance(node, ast.AugAssign):
        place, suffix = source.augmented_operator(node), "="
    else:
        return
    for cost, text in _ARITHMETIC.get(type(node.op), ()):
        if made := _replaced(source, place, text + suffix):
            yield cost, f"operator {made[0]}", made[1]


def _boolean(source: Source, node: ast.AST) -> Iterator[Proposal]:
    if not isinstance(node, ast.BoolOp):
        return
    text = "or" if isinstance(node.op, ast.And) else "and"
    for left, right in zip(node.values, node.values[1:], strict=False):
        if made := _replaced(source, source.operator(left, right), text):
            yield LIKELY, f"connective {made[0]}", made[1]


def _negation(source: Source, node: ast.AST) -> Iterator[Proposal]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        start = source.span(node)[0]
        length = 3 if isinstance(node.op, ast.Not) else 1
        if after := source.token_after(start + length):
            sign = source.text[start : start + length]
            yield LIKELY, f"without the `{sign}`", Edit(start, after[0], "")
        return
    tests: list[ast.expr] = []
    if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
        tests = [node.test]
    elif isinstance(node, ast.BoolOp):
        tests = node.values
    elif isinstance(node, ast.comprehension):
        tests = node.ifs
    elif isinstance(node, ast.Return) and node.value is not None:
        tests = [node.value]
    for test in tests:
        yield from _negated(source, test, RARE if isinstance(node, ast.Return) else LIKELY)


def _negated(source: Source, test: ast.expr, cost: int) -> Iterator[Proposal]:
    if isinstance(test, ast.Compare | ast.UnaryOp):
        return  # the operator itself is turned round by another rule
    start, end = source.span(test)
    text = source.text[start:end]
    simple = isinstance(test, ast.Name | ast.Call | ast.Attribute | ast.Subscript)
    yield (
        cost,
        f"`{_short(text)}` negated",
        Edit(start, end, f"not {text}" if simple else f"not ({text})"),
    )


def _constant(source: Source, node: ast.AST) -> Iterator[Proposal]:
    if not isinstance(node, ast.Constant) or is_docstring(source, node):
        return
    value = node.value
    if isinstance(value, bool):
        texts = [(LIKELY, str(not value)), (RARE, "None")]
    elif isinstance(value, int):
        less = LIKELY if value > 0 else RARE  # -1 where 0 stood often means something else
        near = [(LIKELY, value + 1), (less, value - 1), (RARE, 0), (RARE, 1), (FAR, -value)]
        texts = [(cost, str(number)) for cost, number in near]
        texts += [(RARE, "None"), (FAR, "True" if value else "False")]
    elif value is None:
        texts = [(RARE, "True"), (RARE, "False"), (RARE, "0"), (RARE, "1"), (FAR, "()")]
    elif isinstance(value, float):
        texts = [(POSSIBLE, repr(value + 1)), (POSSIBLE, repr(value - 1)), (POSSIBLE, repr(-value))]
    elif isinstance(value, str):
        texts = [(FAR, "''")] if value else []
    else:
        return
    default = isinstance(source.parents.get(node), ast.arguments)
    for cost, text in texts:
        if default and text == "None":
            cost = POSSIBLE  # by far the most frequent default
        if made := _replaced(source, source.span(node), text):
            yield cost, f"{'default' if default else 'constant'} {made[0]}", made[1]


def _off_by_one(source: Source, node: ast.AST) -> Iterator[Proposal]:
    """One more or less: bounds of slices and ranges, indices, sides of an order comparison."""
    if _steps_by_one(node):
        gone = Edit(source.span(node.left)[1], source.span(node)[1], "")
        yield LIKELY, f"`{source.text[gone.start : gone.end].strip()}` dropped", gone
    for cost, place in _counts(node):
        if isinstance(place, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.BinOp):
            end = source.span(place)[1]
            for text in (" + 1", " - 1"):
                name = _short(source.segment(place))
                yield cost, f"`{name}` -> `{name}{text}`", Edit(end, end, text)


def _steps_by_one(node: ast.AST) -> TypeGuard[ast.BinOp]:
    """Whether this is something plus or minus one."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add | ast.Sub)
        and isinstance(node.right, ast.Constant)
        and node.right.value == 1
    )


def _counts(node: ast.AST) -> list[tuple[int, ast.expr | None]]:
    """The expressions that count or bound something here, with the cost of doubting them."""
    if isinstance(node, ast.Slice):
        return [(POSSIBLE, node.lower), (POSSIBLE, node.upper)]
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name | ast.BinOp):
        return [(RARE, node.slice)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        named = node.func.id in {"range", "islice", "enumerate"}
        return [(POSSIBLE if named else FAR, argument) for argument in node.args]
    if isinstance(node, ast.Call):
        return [(RARE, argument) for argument in node.args]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], _ORDER):
        return [(RARE, node.comparators[0])]
    return []


def _swapped(source: Source, node: ast.AST) -> Iterator[Proposal]:
    pairs: list[tuple[ast.expr, ast.expr]] = []
    cost = POSSIBLE
    if isinstance(node, ast.Call):
        pairs = list(zip(node.args, node.args[1:], strict=False))
    elif isinstance(node, ast.Tuple | ast.List):
        pairs = list(zip(node.elts, node.elts[1:], strict=False))
        cost = RARE
    elif isinstance(node, ast.BinOp):
        pairs, cost = [(node.left, node.right)], RARE
    elif isinstance(node, ast.IfExp):
        pairs, cost = [(node.body, node.orelse)], FAR
    for left, right in pairs:
        if isinstance(left, ast.Starred) != isinstance(right, ast.Starred):
            continue
        one, two = source.segment(left), source.segment(right)
        start, end = source.span(left)[0], source.span(right)[1]
        between = source.text[source.span(left)[1] : source.span(right)[0]]
        if one != two:
            names = f"`{_short(one)}` and `{_short(two)}` swapped"
            yield cost, names, Edit(start, end, two + between + one)


def _lost_update(source: Source, node: ast.AST) -> Iterator[Proposal]:
    """A counter that is no longer stepped: `name += ...` put before or after a statement."""
    if not isinstance(node, ast.stmt) or isinstance(node, FunctionNode | ast.ClassDef):
        return
    function = source.enclosing(node)
    if function is None:
        return
    first, last = source.header_lines(node)
    lead = source.line_text(first)
    indent = lead[: len(lead) - len(lead.lstrip())]
    if lead[: node.col_offset].strip():
        return  # several statements on a line
    before, after = source.line_span(first, node.end_lineno or last)
    likely = RARE if _in_loop(source, node) else FAR
    for name in _counters(function):
        steps = [("+= 1", likely), ("-= 1", FAR)]
        steps += [(f"+= {other}", FAR) for other in _names(function)[:NAMES_TRIED] if other != name]
        for step, cost in steps:
            line = f"{indent}{name} {step}\n"
            what = f"`{name} {step}` inserted"
            yield cost, f"{what} before", Edit(before, before, line)
            if source.text[:after].endswith("\n"):
                yield cost, f"{what} after", Edit(after, after, line)


def _in_loop(source: Source, node: ast.AST) -> bool:
    """Whether a statement is repeated by a loop of its function."""
    above = source.parents.get(node)
    while above is not None and not isinstance(above, FunctionNode):
        if isinstance(above, ast.For | ast.While | ast.AsyncFor):
            return True
        above = source.parents.get(above)
    return False


def _counters(function: FunctionNode) -> list[str]:
    """Names that are set to a number somewhere in a function."""
    found: dict[str, None] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        if type(node.value.value) is int:
            found |= {target.id: None for target in node.targets if isinstance(target, ast.Name)}
    return list(found)[:NAMES_TRIED]


def _other_name(source: Source, node: ast.AST) -> Iterator[Proposal]:
    """Another name of the scope in place of this one."""
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
        return
    above = source.parents.get(node)
    if isinstance(above, ast.Call) and above.func is node:
        return
    function = source.enclosing(node)
    if function is None:
        return
    names = [name for name in _names(function) if name != node.id]
    for name in names[:NAMES_TRIED]:
        yield FAR, f"name `{node.id}` -> `{name}`", Edit(*source.span(node), name)


def _names(function: FunctionNode) -> list[str]:
    """The parameters and variables of a function, in order of appearance."""
    found: dict[str, None] = {}
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        found[argument.arg] = None
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = None
    return list(found)


def _one_operand(source: Source, node: ast.AST) -> Iterator[Proposal]:
    """An operand of `or` or `and` too many."""
    if not isinstance(node, ast.BoolOp) or len(node.values) != 2:
        return
    place = source.span(node)
    for value in node.values:
        text = source.segment(value)
        yield FAR, f"only `{_short(text)}` kept", Edit(*place, text)


def _short(text: str) -> str:
    """A text for one line of a description."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 40 else flat[:37] + "..."


_RULES: tuple[Rule, ...] = (
    _comparison,
    _arithmetic,
    _boolean,
    _negation,
    _constant,
    _off_by_one,
    _swapped,
    _lost_update,
    _other_name,
    _one_operand,
)
