"""``approve --always --write``: the policy that asked, changed so that it asks no more."""

from __future__ import annotations

from pathlib import Path

from holdfast.cli.desk import Desk
from holdfast.gate.files import read_text
from holdfast.runtime.amending import Change
from holdfast.values.errors import Conflict


def write(desk: Desk, change: Change) -> int:
    """Write the files that change, and show how; 1 if cases of the policy speak against it."""
    for (old, name), (new, _) in zip(change.old, change.new, strict=True):
        if old != new:
            if read_text(Path(name)) != old:
                raise Conflict(f"{name} changed meanwhile: the rule was not written into it")
            _replace(Path(name), new)
    if not desk.screen.json:
        desk.screen.patch(change.patch())
    for each in change.failed:
        desk.screen.note((f"a case of the policy speaks against it: {each}", "red"))
    desk.screen.note(f"{change.policy} is changed, for review: commit it, or take it back")
    return 1 if change.failed else 0


def _replace(path: Path, text: str) -> None:
    """The whole file or nothing: a process that reads it meanwhile sees the one or the other."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)
