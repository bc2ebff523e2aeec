"""The only place of the gate that touches a disk: policies from files."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from holdfast.gate.policy import Policy, parse_policy
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound


def load_policy_file(path: str | os.PathLike[str]) -> Policy:
    """The policy in the file ``path``.

    Raises `NotFound` if there is no such file, `Misuse` if it cannot be read or is not a policy.
    """
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            content = file.read(limits.POLICY_MAX_CHARS * 4 + 1)  # UTF-8: at most 4 bytes each
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"{source}: there is no such policy file") from None
    except OSError as error:
        raise Misuse(f"{source}: the policy cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Misuse(f"{source}:{line}: the policy is not UTF-8 text") from None
    return parse_policy(text, source)


@functools.cache
def default_policy() -> Policy:
    """The policy of a project that has none: `default.yaml` beside this module."""
    path = Path(__file__).with_name("default.yaml")
    return parse_policy(path.read_text("utf-8"), "default.yaml")
