"""What `holdfast mcp install` and `uninstall` do, from their options to what they say."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from holdfast.cli.desk import Desk
from holdfast.cli.installing import file
from holdfast.cli.installing.entries import Changed, Terms, add, install, uninstall, without_args
from holdfast.explain.text import one_line
from holdfast.launch.places import Client, client, place
from holdfast.values.errors import Conflict, Misuse, NotFound


class Wanted(msgspec.Struct, frozen=True):
    """The options of the commands, as given."""

    client: str
    project: str = ""
    config: str = ""
    serve: bool = False
    store: str = ""
    policy: str = ""
    observe: bool = False
    env: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    dry_run: bool = False


def put_in(desk: Desk, wanted: Wanted) -> int:
    """Install; the exit code."""
    one = client(wanted.client)
    path = Path(wanted.config) if wanted.config else place(one, wanted.project)
    if wanted.serve and wanted.only:
        raise Misuse("--only: names servers to wrap; --serve wraps none")
    if wanted.policy and not Path(wanted.policy).exists():
        raise NotFound(f"--policy: there is no file {wanted.policy}")
    fresh = wanted.serve and not path.exists()
    before = b"" if fresh else file.load(path)
    form = file.form_of(path)
    empty = "" if path.suffix == ".toml" else "{}\n"
    text = file.text_of(path, before) if before.strip() else empty
    made = _named(path, lambda: (add if wanted.serve else install)(
        one, form, text, _terms(one, path, wanted)))  # fmt: skip
    if not made.done:
        return _told(desk, path, made, "nothing to change")
    if wanted.dry_run:
        return _shown(desk, path, made, "" if fresh else text)
    backup = file.replace(path, None if fresh else before, made.text.encode())
    note = "" if fresh or backup is None else f"as it was: {backup}"
    return _told(desk, path, made, "added" if wanted.serve else "wrapped", note)


def _terms(one: Client, path: Path, wanted: Wanted) -> Terms:
    base = Path(wanted.project).resolve() if wanted.project else Path.home()
    store = Path(wanted.store).absolute() if wanted.store else base / ".holdfast"
    policy = str(Path(wanted.policy).absolute()) if wanted.policy else ""
    return Terms(
        words=own_words(), store=str(store), policy=policy, observe=wanted.observe, env=wanted.env,
        only=wanted.only,
    )  # fmt: skip


def own_words() -> tuple[str, ...]:
    """What starts this Holdfast, from wherever a client starts it."""
    beside = Path(sys.executable).with_name("holdfast")
    found = str(beside) if beside.exists() else shutil.which("holdfast")
    return (found,) if found else (sys.executable, "-m", "holdfast.cli")


def take_out(desk: Desk, wanted: Wanted) -> int:
    """Uninstall; the exit code."""
    one = client(wanted.client)
    path = Path(wanted.config) if wanted.config else place(one, wanted.project)
    now = file.load(path)
    form = file.form_of(path)
    # INVARIANT D103: a file that nobody changed since is brought back byte for byte; in any other
    # only our entries change
    states, used = file.chain(path, now)
    before = states[-1]
    text = file.text_of(path, now)
    if before is None:
        made = Changed("", ("all",))
    else:
        rest = file.text_of(path, before)
        made = _named(
            path,
            lambda: (
                uninstall(one, form, rest, _bare(one, form, path))
                if rest.strip()
                else Changed(rest)
            ),
        )
        if not made.done and used:
            made = Changed(rest, ("all",))
    if not made.done:
        return _told(desk, path, made, "nothing of ours is in it")
    if wanted.dry_run:
        return _shown(desk, path, made, text)
    real = path.resolve()
    if file.load(real) != now:
        raise Conflict(f"{path}: it was changed just now: say it again")
    if before is None:
        real.unlink()
    else:
        file.write(real, made.text.encode(), real.stat().st_mode & 0o777)
    for backup in file.leading(path, used):
        backup.unlink()
    left = file.backups(path)
    note = f"backups of other states stay: {', '.join(one.name for one in left)}" if left else ""
    return _told(desk, path, made, "restored" if used else "unwrapped", note)


def _bare(one: Client, form: ModuleType, path: Path) -> frozenset[tuple[str, ...]]:
    """Where entries listed no arguments, as far as all backups that know them say so."""
    said: dict[tuple[str, ...], bool] = {}
    for backup in file.backups(path):
        with contextlib.suppress(Misuse, NotFound):  # what cannot be read says nothing
            for at, none in without_args(
                one, form, file.text_of(backup, file.load(backup))
            ).items():
                said[at] = said.get(at, True) and none
    return frozenset(at for at, none in said.items() if none)


def _named(path: Path, change: Callable[[], Changed]) -> Changed:
    """The change; what is wrong with the file names it."""
    try:
        return change()
    except (Misuse, Conflict) as error:
        if str(error).startswith("--"):
            raise
        raise type(error)(f"{path}: {one_line(str(error))}") from None


def _shown(desk: Desk, path: Path, made: Changed, before: str) -> int:
    form = file.form_of(path)
    documents: list[Any] = []
    for text in (before, made.text):
        if text.strip():
            found = form.read(text)
            documents.append(getattr(found, "value", found))
    patch = file.difference(path, before, made.text, documents)
    if desk.screen.json:
        desk.screen.document({"file": str(path), "patch": patch, "changed": list(made.done),
                              "left": list(made.left), "written": False})  # fmt: skip
        return 0
    desk.screen.patch(patch)
    for text in made.left:
        desk.screen.note(f"left as it is: {one_line(text)}")
    return 0


def _told(desk: Desk, path: Path, made: Changed, what: str, note: str = "") -> int:
    if desk.screen.json:
        desk.screen.document({"file": str(path), "changed": list(made.done),
                              "left": list(made.left), "written": bool(made.done)})  # fmt: skip
        return 0
    names = ", ".join(one_line(name) for name in made.done)
    desk.screen.say(f"{path}: {what}{': ' if names else ''}{names}")
    for text in made.left:
        desk.screen.note(f"left as it is: {one_line(text)}")
    if note:
        desk.screen.note(note)
    return 0
