"""The only place of the gate that touches a disk: policies from files and folders."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final

from holdfast.gate.cases import Case, parse_cases
from holdfast.gate.parse import parse_files, parse_policy
from holdfast.gate.policy import Policy
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound


def load_policy_file(path: str | os.PathLike[str]) -> Policy:
    """The policy in the file ``path``, or in all ``*.yaml`` of the folder ``path`` together, in the
    order of their names.

    Raises `NotFound` if there is no such file, `Misuse` if it cannot be read or is not a policy.
    """
    source = os.fspath(path)
    return parse_files([(read_text(file), os.fspath(file)) for file in files_of(source)], source)


def files_of(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files that the policy at ``path`` is made of; raises as `load_policy_file` does."""
    found = Path(path)
    if not found.is_dir():
        return (found,)
    try:
        files = tuple(sorted(each for each in found.iterdir() if each.suffix in (".yaml", ".yml")))
    except OSError as error:
        raise Misuse(f"{path}: the policy cannot be read: {error.strerror}") from None
    if not files:
        raise NotFound(f"{path}: there is no policy in this folder: it has no file *.yaml")
    if len(files) > limits.POLICY_FILES:
        raise Misuse(
            f"{path}: a policy has at most {limits.POLICY_FILES} files, this folder {len(files)}"
        )
    wrong = next((each for each in files if each.suffix == ".yml"), None)
    if wrong is not None:  # it would be left out silently
        raise Misuse(f"{wrong}: a policy's files end in .yaml: rename it")
    return files


def load_cases(path: str | os.PathLike[str]) -> tuple[Case, ...]:
    """The cases in the file ``path``, or in all ``*.yaml`` of the folder ``path``; none if it does
    not exist. Raises `Misuse` for what is no case, as `load_policy_file` does."""
    found = Path(path)
    if not found.exists():
        return ()
    files = sorted(found.glob("*.yaml")) if found.is_dir() else [found]
    return tuple(case for each in files for case in parse_cases(read_text(each), os.fspath(each)))


def known_bad(path: str | os.PathLike[str]) -> tuple[Case, ...]:
    """The cases that say what is bad about them: those beside the policy at ``path`` (a folder), or
    those that come with Holdfast if it has none. Raises as `load_cases` does."""
    own = load_cases(Path(path) / "tests") if path and Path(path).is_dir() else ()
    shipped = Path(__file__).with_name("seeded.yaml")
    mine = tuple(case for case in own if case.bad)
    return mine or parse_cases(read_text(shipped), shipped.name)


def read_text(path: Path) -> str:
    """The text of a file of a policy; raises as `load_policy_file` does."""
    source = os.fspath(path)
    try:
        with path.open("rb") as file:
            content = file.read(limits.POLICY_MAX_CHARS * 4 + 1)  # UTF-8: at most 4 bytes each
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"{source}: there is no such policy file") from None
    except OSError as error:
        raise Misuse(f"{source}: the policy cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Misuse(f"{source}:{line}: the policy is not UTF-8 text") from None


FORMER_DEFAULTS: Final = (
    "c535e756430e7ec77cc798b283f1614bb3acee16cffe6a447483b81b560b8d5d",
    "014faad4f71a5f7fe939b4ffc46201ce057adf70d5b2789e9b03abbeaa36d36a",
)
"""Hashes that the default policy had in earlier versions: runs that began under one go on under
today's, which says the same in other words or is stricter."""


@functools.cache
def default_policy() -> Policy:
    """The policy of a project that has none: `default.yaml` beside this module."""
    path = Path(__file__).with_name("default.yaml")
    return parse_policy(path.read_text("utf-8"), "default.yaml")
