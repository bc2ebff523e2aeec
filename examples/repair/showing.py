"""What a person sees of the demo: plain lines, with a little colour where there is a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from examples.repair.reading import Line


@dataclass
class Screen:
    """Prints; on a terminal, the progress of the candidates stays on one line."""

    console: Console = field(
        default_factory=lambda: Console(highlight=False, soft_wrap=True, markup=False)
    )
    _number: int = 0
    _open: bool = False

    @property
    def live(self) -> bool:
        """Whether it is a terminal."""
        return self.console.is_terminal

    def title(self, text: str) -> None:
        """The first line."""
        self.console.print(text, style="bold")

    def part(self, text: str) -> None:
        """A new part of the demo begins."""
        self.close()
        self._number += 1
        self.console.print(f"\n{self._number}. {text}", style="bold")

    def say(self, text: str = "", style: str = "") -> None:
        """A line below the part."""
        self.close()
        self.console.print(f"   {text}" if text else "", style=style or None)

    def block(self, text: str) -> None:
        """Lines of a patch or of git's output, further in."""
        self.close()
        for line in text.strip().splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
            self.console.print(Text("      " + line, style=style))

    def progress(self, text: str) -> None:
        """How far it is; replaces the line before on a terminal, else a line of its own."""
        if self.live:
            self.console.file.write(f"\r\x1b[K   {text}")
            self.console.file.flush()
            self._open = True
        else:
            self.say(text)

    def interrupted(self, text: str) -> None:
        """A line after Ctrl-C, which a terminal shows wherever the cursor stood."""
        if self.live:
            self.console.print()
            self._open = False
        self.say(text, "yellow")

    def close(self) -> None:
        """Leave the line of progress as it is."""
        if self._open:
            self.console.file.write("\n")
            self._open = False


def timeline(lines: Sequence[Line], killed: int, gap: str) -> list[str]:
    """One row for each step of the agent, one for each row of candidates; ``killed``: the last
    event's number before the process died (0: it did not), where ``gap`` is put."""
    rows: list[str] = []
    began = lines[0].at if lines else 0
    tried: list[Line] = []

    def flush() -> None:
        if tried:
            good = [one.text for one in tried if one.passed]
            found = f"{len(good) or 'none'} passed the tests that failed"
            rows.append(
                _row(
                    tried[-1].at - began, "", "candidates", f"{len(tried)} tried in forks, {found}"
                )
            )
            rows.extend(_row(None, "", "", text) for text in good)
            tried.clear()

    for line in lines:
        if killed and line.seq > killed:
            flush()
            rows.append(gap)
            killed = 0
        if line.trial:
            tried.append(line)
        else:
            flush()
            rows.append(_row(line.at - began, line.key, line.name, line.text))
    flush()
    return rows


def _row(ms: int | None, key: str, name: str, text: str) -> str:
    when = "" if ms is None else f"{ms / 1000:.1f} s"
    return f"{when:>7}  {key:>5}  {name:<10}  {text}"


def amount(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
