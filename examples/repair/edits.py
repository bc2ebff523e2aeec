"""Minimal text edits of Python source: find the span of a syntax node or operator, replace it."""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

_LAYOUT = frozenset(
    {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}
)


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters from `start` to `end` by `text`; everything else stays as it is."""

    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """The source after this edit."""
        return source[: self.start] + self.text + source[self.end :]


@dataclass(frozen=True, slots=True)
class _Token:
    start: int
    end: int
    text: str


class Source:
    """One parsed source file, with the offsets of its nodes and tokens as characters."""

    def __init__(self, text: str) -> None:
        """Parse it; raises SyntaxError when it is not Python."""
        self.text = text
        self.tree = ast.parse(text)
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = list(self._tokenize())
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def _tokenize(self) -> Iterator[_Token]:
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in _LAYOUT and token.string:
                start = self._starts[token.start[0] - 1] + token.start[1]
                yield _Token(start, start + len(token.string), token.string)

    def offset(self, line: int, column: int) -> int:
        """The character offset of a line (from 1) and a column in UTF-8 bytes, as ast counts."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        if not text.isascii():
            column = len(text.encode()[:column].decode(errors="ignore"))
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where the text of a node begins and ends (without the parentheses around it)."""
        end_line = node.end_lineno or node.lineno
        end_column = node.end_col_offset or node.col_offset
        return self.offset(node.lineno, node.col_offset), self.offset(end_line, end_column)

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def line_of(self, offset: int) -> int:
        """The line (from 1) in which a character stands."""
        return self.text.count("\n", 0, offset) + 1

    def line_text(self, line: int) -> str:
        """One line without its end; empty past the end of the file."""
        return self._lines[line - 1].rstrip("\r\n") if 0 < line <= len(self._lines) else ""

    def line_span(self, first: int, last: int) -> tuple[int, int]:
        """Whole lines, their ends included."""
        return self._starts[first - 1], self._starts[min(last, len(self._lines))]

    def operator(self, left: ast.expr, right: ast.expr) -> tuple[int, int] | None:
        """Where the operator between two operands stands; found by tokens, ast has no place."""
        low, high = self.span(left)[1], self.span(right)[0]
        found = [t for t in self._tokens if low <= t.start and t.end <= high]
        found = [t for t in found if t.text not in {"(", ")"}]
        return (found[0].start, found[-1].end) if found else None

    def augmented_operator(self, node: ast.AugAssign) -> tuple[int, int] | None:
        """Where the `+=` of an augmented assignment stands."""
        return self.operator(node.target, node.value)

    def token_after(self, offset: int) -> tuple[int, int, str] | None:
        """The first token that starts at or after an offset."""
        for token in self._tokens:
            if token.start >= offset:
                return token.start, token.end, token.text
        return None

    def header_lines(self, node: ast.stmt) -> tuple[int, int]:
        """The lines of a statement without the blocks under it (decorators included)."""
        first, last = node.lineno, node.end_lineno or node.lineno
        if isinstance(node, FunctionNode | ast.ClassDef) and node.decorator_list:
            first = node.decorator_list[0].lineno
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            below = body[0]
            start = below.lineno
            if isinstance(below, FunctionNode | ast.ClassDef) and below.decorator_list:
                start = below.decorator_list[0].lineno
            last = max(node.lineno, start - 1)
        return first, last

    def enclosing(self, node: ast.AST) -> FunctionNode | None:
        """The innermost function that contains a node."""
        above = self.parents.get(node)
        while above is not None and not isinstance(above, FunctionNode):
            above = self.parents.get(above)
        return above

    def valid(self, edit: Edit) -> bool:
        """Whether the source still parses; only the top-level statement around it is looked at,
        because parsing the whole file for hundreds of candidates would cost seconds."""
        for node in self.tree.body:
            first, last = node.lineno, node.end_lineno or node.lineno
            if isinstance(node, FunctionNode | ast.ClassDef) and node.decorator_list:
                first = node.decorator_list[0].lineno
            start, end = self.line_span(first, last)
            if start <= edit.start and edit.end <= end:
                part = self.text[start : edit.start] + edit.text + self.text[edit.end : end]
                return parses(part)
        return parses(edit.apply(self.text))


def parses(text: str) -> bool:
    """Whether a text is Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def parsed(text: str) -> Source:
    """The parsed source, remembered, since many lines of the same file are asked for."""
    return Source(text)


def is_docstring(source: Source, node: ast.AST) -> bool:
    """Whether a node is a bare string statement."""
    return isinstance(source.parents.get(node), ast.Expr)


def inside(source: Source, node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    """Whether a node stands below a node of one of these kinds, within its statement."""
    above = source.parents.get(node)
    while above is not None and not isinstance(above, ast.stmt):
        if isinstance(above, kinds):
            return True
        above = source.parents.get(above)
    return False


def is_annotation(source: Source, node: ast.AST) -> bool:
    """Whether a node is (part of) a type annotation, which does nothing at run time."""
    below, above = node, source.parents.get(node)
    while above is not None:
        if isinstance(above, ast.arg | ast.AnnAssign) and above.annotation is below:
            return True
        if isinstance(above, FunctionNode) and above.returns is below:
            return True
        if isinstance(above, ast.stmt):
            return False
        below, above = above, source.parents.get(above)
    return False
