"""A pseudo-terminal for tests of what people see and type."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from tests.cli.support import command, environment


class Terminal:
    """A command at a pseudo-terminal: type, and wait for what it shows."""

    def __init__(self, *args: str, cwd: Path, **env: str) -> None:
        self.main, side = pty.openpty()
        self.process = subprocess.Popen(
            command(*args), cwd=cwd, env=environment() | {"TERM": "xterm"} | env, stdin=side,
            stdout=side, stderr=side, start_new_session=True, close_fds=True,
        )  # fmt: skip
        os.close(side)
        self.shown = ""

    def until(self, text: str) -> None:
        """Wait until ``text`` is shown, after what was waited for before."""
        deadline = time.monotonic() + 30
        while text not in self.shown:
            ready, _, _ = select.select([self.main], [], [], 0.1)
            try:
                self.shown += os.read(self.main, 65536).decode() if ready else ""
            except OSError:  # the other side is closed
                break
            assert time.monotonic() < deadline, self.shown
        assert text in self.shown, self.shown

    def type(self, text: str) -> None:
        """Type a line."""
        self.shown = ""
        os.write(self.main, text.encode() + b"\n")

    def end(self) -> int:
        """The exit code."""
        code = self.process.wait(timeout=30)
        os.close(self.main)
        return code
