"""Every error that Holdfast raises, in one small tree split by who must act.

    HoldfastError
    ├── Misuse        the programmer or caller: wrong input, unknown name, bad policy
    │   ├── NotFound      a run, step, agent, tool or file that is not there
    │   ├── Diverged      recorded history and today's code disagree
    │   └── TooLarge      a documented limit was exceeded
    ├── Refused       policy or a person said no
    ├── Expired       nobody answered in time: not performed, and not refused either
    ├── Conflict      somebody else moved first: read the new head and try again
    │   ├── Exceeded      a meter would have gone over its cap
    │   └── LeaseLost     another process runs this run now
    ├── Outside       a provider, tool or disk failed; ``retryable`` says whether trying again helps
    │   ├── ToolError     a tool raised; also an instance of the builtin error that it raised
    │   ├── OutcomeUnknown  an effect may or may not have happened, and nobody could say
    │   └── NotUndone     a transaction failed, and not all of it could be undone
    ├── Corrupt       the store is damaged or foreign: stop
    └── RunFailed     the agent program itself ended with an error

    Suspended (BaseException)   not an error: the run leaves memory until it is woken

Each class carries the exit code that the command line returns for it.
"""

from __future__ import annotations

import builtins


class HoldfastError(Exception):
    """Base of all errors. ``str(error)`` is one line that names the place and the way out; ``key``
    is the step of a guest run that ended so, if one did."""

    exit_code = 1
    key = ""


class Misuse(HoldfastError):
    """The caller must change something: code, arguments, policy or command line."""

    exit_code = 2


class NotFound(Misuse):
    """A named thing (run, step, agent, tool, file) does not exist."""


class Diverged(Misuse):
    """A replayed program asked for something else than history recorded.

    ``key`` is the step; ``diff`` a readable, line-based difference.
    """

    exit_code = 7

    def __init__(self, message: str, *, key: str = "", diff: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.diff = diff


class TooLarge(Misuse):
    """A limit of `holdfast.values.limits` was exceeded; nothing was stored."""


class Refused(HoldfastError):
    """Policy or a person refused an action; it was not performed. ``rule`` names what decided."""

    exit_code = 3

    def __init__(self, message: str, *, rule: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.reason = reason


class Expired(HoldfastError):
    """Nobody answered a question in time, so its action was not performed. No refusal: nobody said
    no, and it may be asked again."""

    exit_code = 8


class Conflict(HoldfastError):
    """The head moved: nothing was written; read again and retry."""

    exit_code = 4


class Exceeded(Conflict):
    """An append would have taken a meter over its cap: nothing was written. ``meter``, its ``cap``
    and the ``value`` that it would have had. Repeating helps only after something was given back.
    """

    def __init__(self, message: str, *, meter: str = "", cap: int = 0, value: int = 0) -> None:
        super().__init__(message)
        self.meter = meter
        self.cap = cap
        self.value = value


class LeaseLost(Conflict):
    """Another process holds this run now; this one must let go of it."""


class Outside(HoldfastError):
    """Something outside Holdfast failed (provider, tool, disk). ``retryable``: may help to
    repeat."""

    exit_code = 5

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ToolError(Outside):
    """A tool raised. ``error_type`` is the class name of what it raised.

    The same error is raised live and on replay, so it is rebuilt from the record: `tool_error`
    makes it an instance of the builtin class as well, so that ``except ValueError`` works.
    """

    error_type = "Exception"


_tool_errors: dict[str, type[ToolError]] = {}


def tool_error(error_type: str, message: str, *, retryable: bool = False) -> ToolError:
    """A `ToolError` that is also an instance of builtin class ``error_type``, if there is one."""
    made = _tool_errors.get(error_type)
    if made is None:
        builtin = getattr(builtins, error_type, None)
        bases: tuple[type, ...] = (ToolError,)
        if isinstance(builtin, type) and issubclass(builtin, Exception):
            bases = (ToolError,) if builtin is Exception else (ToolError, builtin)
        try:
            made = type("ToolError", bases, {"error_type": error_type})
        except TypeError:  # a builtin that cannot be combined
            made = type("ToolError", (ToolError,), {"error_type": error_type})
        if error_type in dir(builtins):  # names from outside must not fill memory
            _tool_errors[error_type] = made
    try:
        return made(message, retryable=retryable)
    except TypeError:  # one that wants more than a message
        plain = ToolError(message, retryable=retryable)
        plain.error_type = error_type
        return plain


class OutcomeUnknown(Outside):
    """A ``once`` effect may or may not have happened and nobody could say; never repeated
    blindly."""


class NotUndone(Outside):
    """A transaction failed and not all that left the world in it could be undone. ``left``: step,
    tool and why of each; ``__cause__``: what made it fail."""

    def __init__(self, message: str, *, left: tuple[tuple[str, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.left = left


class Corrupt(HoldfastError):
    """A store is damaged, truncated or not ours. Nothing is rewritten; see ``holdfast fsck``."""

    exit_code = 6


class RunFailed(HoldfastError):
    """The agent program raised. ``error_type`` is the class name that it raised."""

    exit_code = 1

    def __init__(self, message: str, *, error_type: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type


class Suspended(BaseException):
    """Control flow, not an error: raised through agent code when its run leaves memory.

    Derives from BaseException so that ``except Exception`` in an agent cannot swallow it.
    """
