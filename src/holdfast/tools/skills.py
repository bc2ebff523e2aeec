"""Agent Skills: folders of instructions and files that a model is told of, and reads when it needs
them. What it reads are steps, of one version of the skill: its tree's hash.

Nothing of a skill is executed here, and nothing that it says is granted.
"""

from __future__ import annotations

import html
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.engine import scope
from holdfast.engine.described import Described, journal_name
from holdfast.engine.verbs import step
from holdfast.journal.events import Plan
from holdfast.tools.skillform import CARD, Card, Finding, doubts, read_card
from holdfast.values import limits
from holdfast.values.errors import (
    Corrupt,
    Expired,
    Misuse,
    NotFound,
    OutcomeUnknown,
    Refused,
    TooLarge,
)
from holdfast.world import tree
from holdfast.world.chunks import put_file
from holdfast.world.nodes import EMPTY
from holdfast.world.objects import Stage

APART: Final = (".git", "__pycache__", ".DS_Store")
"""Names that are no part of a skill: neither hashed nor read."""

_COMMANDS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_ACTIVATE: Final = (
    "Read the instructions of a skill. Do this before a task that its description fits."
)
_READ: Final = "Read a text file of a skill, by the path that its instructions name."


class Skill(NamedTuple):
    """One skill, as it was when it was loaded. ``version``: the hash of its tree; ``body``: its
    instructions; ``files``: content by path, SKILL.md too; ``found``: what a person should look at
    before trusting it; ``folder``: where it came from."""

    card: Card
    version: str
    body: str
    files: Mapping[str, bytes]
    found: tuple[Finding, ...]
    folder: str

    @property
    def name(self) -> str:
        """Its name."""
        return self.card.name


class Checked(NamedTuple):
    """A folder that was looked at: the skill, None if it is not fit to be used; all findings."""

    skill: Skill | None
    found: list[Finding]


# Loading --------------------------------------------------------------------------------------
class _Folder:
    """The files of a folder, read without following a link.

    INVARIANT D111: what is hashed is what is read later: content is taken once, through descriptors
    of the folders above it, and nothing outside of the folder is ever opened.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.runs: set[str] = set()  # may be executed
        self.wrong: list[Finding] = []
        self._bytes = 0

    def take(self, folder: int, prefix: str = "", depth: int = 0) -> None:
        """Take what stands in an open folder."""
        for name in sorted(os.listdir(folder)):
            if name in APART:
                continue
            path = prefix + name
            try:
                tree.check_path(path)
            except (Misuse, TooLarge) as error:
                self.wrong.append(Finding(True, repr(path), str(error)))
                continue
            if not name.isprintable():
                self.wrong.append(Finding(True, repr(path), "its name holds odd characters"))
                continue
            self._one(folder, name, path, depth)
            if len(self.files) > limits.SKILL_FILES_MAX_ITEMS or self._bytes < 0:
                break

    def _one(self, folder: int, name: str, path: str, depth: int) -> None:
        kind = os.lstat(name, dir_fd=folder).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            what = "a symlink" if stat.S_ISLNK(kind) else "neither a file nor a folder"
            self.wrong.append(Finding(True, path, f"is {what}: a skill is files and folders"))
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            opened = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            self.wrong.append(Finding(True, path, f"cannot be read: {error.strerror}"))
            return
        try:
            mode = os.fstat(opened).st_mode
            if stat.S_ISDIR(mode) and depth >= limits.SKILL_DEPTH_MAX:
                deep = f"is over {limits.SKILL_DEPTH_MAX} folders deep"
                self.wrong.append(Finding(True, path, deep))
            elif stat.S_ISDIR(mode):
                self.take(opened, f"{path}/", depth + 1)
            elif stat.S_ISREG(mode):
                self._content(opened, path, bool(mode & stat.S_IXUSR))
        finally:
            os.close(opened)

    def _content(self, opened: int, path: str, executable: bool) -> None:
        room = limits.SKILL_MAX_BYTES - self._bytes
        with open(opened, "rb", closefd=False) as file:
            content = file.read(room + 1)
        self._bytes += len(content)
        self.files[path] = content
        if executable:
            self.runs.add(path)
        if len(content) > room or len(self.files) > limits.SKILL_FILES_MAX_ITEMS:
            most = f"{limits.SKILL_MAX_BYTES:,} bytes or {limits.SKILL_FILES_MAX_ITEMS} files"
            self.wrong.append(Finding(True, path, f"with it, the skill is over {most}"))
            self._bytes = -1 << 62  # nothing more is read

    def version(self) -> str:
        """The hash of the tree of all files."""
        stage = Stage(_absent)
        entries = {
            path: put_file(stage, content, path in self.runs)
            for path, content in self.files.items()
        }
        return tree.apply(stage, EMPTY, entries)


def _absent(name: str) -> bytes:
    raise Corrupt(f"blob {name[:12]} is not there")


def check(folder: str | os.PathLike[str]) -> Checked:
    """Look at the folder of one skill, whatever is wrong with it. `NotFound` if it is no folder."""
    path = Path(folder)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"{path}: no folder of a skill: {error.strerror}") from None
    taken = _Folder()
    try:
        taken.take(opened)
    finally:
        os.close(opened)
    found = taken.wrong
    card, body = Card("", ""), ""
    if CARD not in taken.files:
        other = next((one for one in taken.files if one.lower() == CARD.lower()), "")
        found.append(Finding(True, CARD, f"is called {other}" if other else "is missing"))
    else:
        text = _text(taken.files[CARD], CARD, found)
        if text is not None:
            card, body, wrong = read_card(text, path.resolve().name)
            found += wrong
            found += doubts(card.description, "description", description=True)
    found += _doubts(taken.files)
    if any(one.error for one in found):
        return Checked(None, found)
    whole = Skill(card, taken.version(), body, taken.files, tuple(found), str(path))
    return Checked(whole, found)


def _text(content: bytes, where: str, found: list[Finding]) -> str | None:
    """A text that is given to a model; None, and an error found, for what must not be."""
    try:
        return _readable(content, where)
    except (Misuse, TooLarge) as error:
        found.append(Finding(True, where, str(error).partition(": ")[2]))
        return None


def _readable(content: bytes, where: str) -> str:
    if len(content) > limits.SKILL_TEXT_MAX_BYTES:
        most = f"at most {limits.SKILL_TEXT_MAX_BYTES:,} are given to a model"
        raise TooLarge(f"{where}: has {len(content):,} bytes: {most}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Misuse(f"{where}: is no text in UTF-8, so it is not given to a model") from None
    # INVARIANT D112: nothing that commands a terminal is passed on
    if _COMMANDS.search(text):
        raise Misuse(f"{where}: holds control characters, so it is not given to a model")
    return text


def _doubts(files: Mapping[str, bytes]) -> Iterator[Finding]:
    for path, content in files.items():
        if len(content) > limits.SKILL_TEXT_MAX_BYTES:
            if path != CARD:
                yield Finding(False, path, f"has {len(content):,} bytes: too large for a model")
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            continue
        yield from doubts(text, path)


def folders(place: str | os.PathLike[str]) -> list[Path]:
    """Folders of skills: ``place`` itself, or those in it. `NotFound` if there is none."""
    top = Path(place)
    if (top / CARD).is_file() or (top / CARD.lower()).is_file():
        return [top]
    try:
        inside = sorted(top.iterdir())
    except OSError as error:
        raise NotFound(f"{top}: no folder of skills: {error.strerror}") from None
    found = [one for one in inside if one.is_dir() and (one / CARD).is_file()]
    if not found:
        raise NotFound(f"{top}: there is no {CARD} in it, nor in a folder of it")
    if len(found) > limits.SKILLS_MAX_ITEMS:
        raise TooLarge(f"{top}: holds {len(found)} skills: at most {limits.SKILLS_MAX_ITEMS}")
    links = [one for one in found if one.is_symlink()]
    if links:
        raise Misuse(f"{links[0]}: is a symlink: name the folder that it points to")
    return found


# Using ----------------------------------------------------------------------------------------
class Skills(Mapping[str, Skill]):
    """Skills by name, and the ways to give them to a model.

    ``prompt()`` is what it is told of them; ``tools`` are the two tools that read them, for
    `holdfast.loop` and other code that takes tools; ``functions`` the same as functions, for
    frameworks.
    """

    def __init__(self, found: Mapping[str, Skill]) -> None:
        self._found = dict(found)
        self._activate = _Use(self, "activate", _ACTIVATE, self._body, ("skill",))
        self._read = _Use(self, "read", _READ, self._file, ("skill", "path"))

    def __getitem__(self, name: str) -> Skill:
        skill = self._found.get(name)
        if skill is None:
            known = ", ".join(self._found) or "none"
            raise NotFound(f"skill {str(name)[:70]!r}: there is none of that name here: {known}")
        return skill

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def prompt(self) -> str:
        """Names and descriptions, for a system prompt."""
        lines = ["<available_skills>"]
        for skill in self._found.values():
            said = html.escape(skill.card.description)
            lines += ["<skill>", f"<name>{html.escape(skill.name)}</name>",
                      f"<description>{said}</description>", "</skill>"]  # fmt: skip
        return "\n".join([*lines, "</available_skills>"])

    @property
    def tools(self) -> tuple[Described, Described]:
        """``skills.activate`` and ``skills.read``."""
        return self._activate, self._read

    @property
    def functions(self) -> tuple[Callable[..., Awaitable[str]], Callable[..., Awaitable[str]]]:
        """`activate` and `read` as functions that a framework makes tools of. What goes wrong comes
        back as text, for the model. The adapters know that their calls are the steps."""

        async def skills_activate(skill: str) -> str:
            return await _told(self.activate(skill))

        async def skills_read(skill: str, path: str) -> str:
            return await _told(self.read(skill, path))

        skills_activate.__doc__, skills_read.__doc__ = _ACTIVATE, _READ
        for one in (skills_activate, skills_read):
            setattr(one, "holdfast_effect", "agent")  # noqa: B010 - see adapters.taking.effect
        return skills_activate, skills_read

    async def activate(self, name: str) -> str:
        """The instructions of a skill, and which files it has. A step.

        Raises `NotFound` for an unknown one, `Refused` and the like as any step.
        """
        return await self._step(self._activate, {"skill": name})

    async def read(self, name: str, path: str) -> str:
        """A text file of a skill. A step. Raises `NotFound`, `Misuse` for what is no text,
        `TooLarge`, `Refused` and the like."""
        return await self._step(self._read, {"skill": name, "path": path})

    async def _step(self, tool: Described, args: Mapping[str, Any]) -> str:
        # INVARIANT D113: inside of a run every use of a skill is a step, or is refused
        if scope.call.get() is not None:
            raise Misuse(
                f"{tool.name} is called inside of a tool that is being performed: there it would "
                "be no step. Say of that tool that it runs an agent, or call it outside"
            )
        return await step(tool, args)

    def _body(self, bound: Mapping[str, Any]) -> str:
        skill = self.of(bound)
        rest = [path for path in skill.files if path != CARD]
        listed = "\n".join(rest) if rest else "none"
        return f"{skill.body}\n\nFiles of this skill:\n{listed}"

    def _file(self, bound: Mapping[str, Any]) -> str:
        skill, path = self.of(bound), bound["path"]
        normal = tree.check_path(path) if isinstance(path, str) else ""
        if normal not in skill.files:
            raise NotFound(f"skill {skill.name}: has no file {str(path)[:200]!r}")
        return _readable(skill.files[normal], f"skill {skill.name}: {normal}")

    def of(self, bound: Mapping[str, Any]) -> Skill:
        """The skill that a call is of; `Misuse` if it is of another version of it.

        INVARIANT D114: what was judged and approved is one version; no other is handed out for it.
        """
        skill = self[bound["skill"]]
        if bound.get("version", skill.version) != skill.version:
            raise Misuse(
                f"skill {skill.name}: version {str(bound['version'])[:12]} was asked for, and "
                f"{skill.version[:12]} is here"
            )
        return skill


async def _told(reading: Awaitable[str]) -> str:
    try:
        return await reading
    except (Refused, Expired, OutcomeUnknown, NotFound, Misuse, TooLarge) as error:
        return str(error)


class _Use(Described):
    """A tool that reads skills. Which version it is of is an argument of every call, and which
    skill is part of its name, so a policy can pin it."""

    def __init__(
        self,
        shelf: Skills,
        verb: str,
        description: str,
        perform: Callable[[Mapping[str, Any]], str],
        takes: tuple[str, ...],
    ) -> None:
        properties = {name: {"type": "string"} for name in takes}
        schema = {
            "type": "object", "properties": properties, "required": list(takes),
            "additionalProperties": False,
        }  # fmt: skip
        super().__init__(
            f"skills.{verb}", perform, effect="read", description=description, schema=schema
        )
        self._shelf = shelf
        self._takes = {*takes, "version"}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, and the version that they are of."""
        bound = super().bind(args, kwargs)
        missing = self._takes - {"version"} - bound.keys()
        if missing or bound.keys() - self._takes:
            raise Misuse(f"tool {self.name}: takes {', '.join(sorted(self._takes))}")
        return {**bound, "version": self._shelf.of(bound).version}

    async def _alone(self, **args: Any) -> Any:
        return await self.invoke(self.bind((), args))

    def plan_of(self, bound: Mapping[str, Any]) -> Plan:
        """The call is of one skill."""
        return Plan(journal_name(self.name, str(bound["skill"])), "tool", "read")

    def definition_of(self, bound: Mapping[str, Any]) -> str:
        """INVARIANT D115: what a policy pins of a skill is its whole tree."""
        return self._shelf.of(bound).version


def skills(*places: str | os.PathLike[str]) -> Skills:
    """Load skills: each place is the folder of one, or a folder of such folders.

    They stay as they were when they were loaded, whatever happens on the disk. Raises `NotFound`
    where there are none, `Misuse` for one that is not fit to be used (``holdfast skills check``
    says all that is wrong) and for two of one name.
    """
    found: dict[str, Skill] = {}
    for place in places:
        for folder in folders(place):
            skill, findings = check(folder)
            if skill is None:
                first = next(one for one in findings if one.error)
                raise Misuse(f"skill {folder}: {first}; `holdfast skills check {folder}` says all")
            if skill.name in found:
                raise Misuse(f"skill {skill.name}: is in {found[skill.name].folder} and {folder}")
            found[skill.name] = skill
    return Skills(found)
