"""What is printed where: results on stdout, everything else on stderr, one live line at most.

With ``--json`` stdout carries one JSON document (a list: an array), or of streams one a line, and
nothing else. Colour appears on terminals only, and not with NO_COLOR. All text is cleaned
(`holdfast.explain.text`) and none of it is read as markup.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import IO, Any

from holdfast.explain.text import Part, clean, json_text, pretty

MEASURED = 500
"""Rows of a table that are looked at to find how wide its columns are."""
GAP = 2
"""Blanks between two columns."""
NARROWEST = 6
"""Columns of a table are not made narrower than this to fit a terminal."""
LAST = 24
"""Nor its last one, which is folded, narrower than this while others can be made narrower."""


class Screen:
    """The two streams of this process. ``json``: stdout is for a program."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._listed: list[Any] | None = None
        self.out: IO[str] = sys.stdout
        self.err: IO[str] = sys.stderr
        self.live_line = ""
        self.prompting = False
        self._consoles: dict[int, Any] = {}

    @property
    def talks(self) -> bool:
        """Whether stderr is a terminal that can redraw a line."""
        return self.err.isatty() and os.environ.get("TERM", "") != "dumb"

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size().columns

    # For programs ------------------------------------------------------------------------------

    def document(self, document: Any) -> None:
        """One line of JSON on stdout, or one more of a `listing`."""
        if self._listed is not None:
            self._listed.append(document)
            return
        self.out.write(json_text(document) + "\n")
        self.out.flush()

    @contextmanager
    def listing(self) -> Generator[None]:
        """A list for programs is one JSON array: what is given to `document` meanwhile. Streams,
        which go on or may be as long as the journal, are one document a line instead."""
        self._listed = []
        try:
            yield
            found = self._listed
        finally:
            self._listed = None
        if self.json:
            self.document(found)

    # For people, on stdout -----------------------------------------------------------------------

    def say(self, *parts: Part) -> None:
        """A line on stdout, not wrapped."""
        self._print(self.out, parts)

    def result(self, value: Any) -> None:
        """A value as JSON on stdout: indented on a terminal, else on one line."""
        text = pretty(value) if self.out.isatty() else json_text(value)
        self.out.write(text + "\n")
        self.out.flush()

    def patch(self, text: str) -> None:
        """A difference on stdout: lines with + and - in colour."""
        styles = {"+": "green", "-": "red", "@": "cyan", "d": "bold"}
        for line in text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"):
            self.say((line, styles.get(line[:1], "")))

    def table(
        self, titles: Sequence[str], rows: Iterable[Sequence[Part]], *, fold: int = 0
    ) -> None:
        """Columns on stdout, as wide as the first `MEASURED` rows need; a terminal's width bounds
        them. ``fold``: the lines that the last cell of a row may take on a terminal (0: any)."""
        left = iter(rows)
        first = list(itertools.islice(left, MEASURED))
        widths = [
            max(cells(title), *(cells(line) for row in first for line in _lines(row[place])))
            if first
            else cells(title)
            for place, title in enumerate(titles)
        ]
        terminal = self.out.isatty()
        needed = list(widths)
        if terminal:
            narrow(widths, self.width - GAP * (len(widths) - 1))
        # a cell that is wider than all those that were measured stays whole: it may be a number
        room = [
            width if width < need else 1 << 20 for width, need in zip(widths, needed, strict=True)
        ]
        self._row([(title, "dim") for title in titles], widths, room, 0, folds=False)
        for row in itertools.chain(first, left):
            self._row(row, widths, room, fold, folds=terminal)
        self.out.flush()

    def _row(
        self, row: Sequence[Part], widths: list[int], room: list[int], fold: int, *, folds: bool
    ) -> None:
        """A row of a table; only its last cell may take several lines."""
        parts: list[Part] = []
        for part, width, most in zip(row[:-1], widths[:-1], room[:-1], strict=True):
            text, style = (part, "") if isinstance(part, str) else part
            text = clean(text).replace("\n", " ")
            text = shorten(text, most)
            parts += [(text, style), " " * (max(0, width - cells(text)) + GAP)]
        style = "" if isinstance(row[-1], str) else row[-1][1]
        lines = _lines(row[-1])
        if folds:
            lines = [piece for line in lines for piece in chunks(line, widths[-1])]
        if folds and fold and len(lines) > fold:
            lines = [*lines[: fold - 1], shorten(lines[fold - 1] + "…" * 2, widths[-1])]
        indent = " " * sum(width + GAP for width in widths[:-1])
        for number, line in enumerate(lines):
            self._line([indent, (line, style)] if number else [*parts, (line, style)])

    def _line(self, parts: list[Part]) -> None:
        """A line of a table, without the blanks at its end."""
        while parts and not (parts[-1] if isinstance(parts[-1], str) else parts[-1][0]).strip():
            parts.pop()
        if self.out.isatty():
            self._console(self.out).print(self._text(parts), soft_wrap=True)
        else:
            texts = (part if isinstance(part, str) else part[0] for part in parts)
            self.out.write(clean("".join(texts)).rstrip() + "\n")

    # For people, on stderr -----------------------------------------------------------------------

    def note(self, *parts: Part) -> None:
        """A line on stderr: progress, hints. Silent with ``--json``."""
        if not self.json:
            self.erase()
            self._print(self.err, parts)

    def live(self, text: str) -> None:
        """Redraw the live line (on a terminal only)."""
        if self.json or not self.talks:
            return
        from rich.cells import set_cell_size

        line = clean(text).replace("\n", " ").replace("\t", " ")
        line = set_cell_size(line, self.width - 1).rstrip()
        if line != self.live_line:
            self.err.write(f"\r\x1b[2K{line}")
            self.err.flush()
            self.live_line = line

    def erase(self) -> None:
        """Remove the live line, or leave the line of a prompt."""
        if self.live_line:
            self.err.write("\r\x1b[2K")
            self.err.flush()
            self.live_line = ""
        elif self.prompting:
            self.err.write("\n")
            self.prompting = False

    def prompt(self, text: str) -> None:
        """Text on stderr without a line end."""
        self.erase()
        self.err.write(clean(text))
        self.err.flush()
        self.prompting = True  # until the person's Enter, or something else, ends the line

    # What agent code prints ----------------------------------------------------------------------

    @contextmanager
    def reserved(self, *, mute: bool = False) -> Generator[None]:
        """Keep stdout for results: what programs and their tools print goes to stderr meanwhile, or
        nowhere (``mute``)."""
        before, saved = sys.stdout, -1
        if _is(self.out, 1) and _is(self.err, 2):
            self.out.flush()
            saved = os.dup(1)  # commands that tools start inherit descriptor 1
            self.out = os.fdopen(os.dup(saved), "w", encoding="utf-8", errors="backslashreplace")
            self._consoles.clear()
            aside = os.open(os.devnull, os.O_WRONLY) if mute else os.dup(2)
            os.dup2(aside, 1)
            os.close(aside)
        sys.stdout = io.StringIO() if mute else _Aside(self)
        try:
            yield
        finally:
            sys.stdout = before
            if saved >= 0:
                os.dup2(saved, 1)
                os.close(saved)
                self.out.close()
                self.out = before
                self._consoles.clear()

    # Inside --------------------------------------------------------------------------------------

    def _print(self, file: IO[str], parts: Sequence[Part]) -> None:
        if not file.isatty():
            text = "".join(part if isinstance(part, str) else part[0] for part in parts)
            file.write(clean(text) + "\n")
        else:
            self._console(file).print(self._text(parts), soft_wrap=True)
        file.flush()

    def _text(self, parts: Sequence[Part]) -> Any:
        from rich.text import Text

        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        return Text.assemble(*((clean(text), style) for text, style in pairs))

    def _console(self, file: IO[str]) -> Any:
        found = self._consoles.get(id(file))
        if found is None:
            from rich.console import Console

            terminal = file.isatty()
            plain = not terminal or "NO_COLOR" in os.environ
            found = self._consoles[id(file)] = Console(
                file=file, markup=False, highlight=False, emoji=False,
                force_terminal=terminal, color_system=None if plain else "auto",
                width=None if terminal else 4096,
            )  # fmt: skip
        return found


class _Aside:
    """A stdout for agent code: on stderr, above the live line."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, text: str) -> int:
        """Write to stderr."""
        self._screen.erase()
        return self._screen.err.write(text)

    def flush(self) -> None:
        """Flush stderr."""
        self._screen.err.flush()

    def isatty(self) -> bool:
        """As stderr."""
        return self._screen.err.isatty()

    def fileno(self) -> int:
        """As stderr."""
        return self._screen.err.fileno()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)


def cells(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shorten(text: str, room: int) -> str:
    """``text`` in at most ``room`` places, "…" for the rest."""
    if cells(text) <= room:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, room - 1)).rstrip() + "…"


def chunks(text: str, room: int) -> list[str]:
    """``text`` in lines of at most ``room`` places."""
    if cells(text) <= room:
        return [text]
    from rich.cells import chop_cells

    return chop_cells(text, room)


def narrow(widths: list[int], room: int) -> None:
    """Make columns narrower, the last one first and then always the widest, until they fit."""
    over = sum(widths) - room
    if over > 0:
        kept = max(min(widths[-1], LAST), widths[-1] - over)
        over -= widths[-1] - kept
        widths[-1] = kept
    while over > 0:
        widest = max(range(len(widths) - 1), key=widths.__getitem__, default=0)
        if widths[widest] <= NARROWEST:
            widths[-1] = max(NARROWEST, widths[-1] - over)
            return
        widths[widest] -= 1
        over -= 1


def _lines(part: Part) -> list[str]:
    return clean(part if isinstance(part, str) else part[0]).split("\n")


def _is(file: IO[str], descriptor: int) -> bool:
    try:
        return file.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False
