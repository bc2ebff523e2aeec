"""From what a caller asks to the plan that the helper is sent: checked, made absolute, complete."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable
from typing import Any

from holdfast.sandbox import root
from holdfast.sandbox.spec import Folder, Limits, Overlay, Tier
from holdfast.values import limits as most
from holdfast.values.errors import Misuse

OnOutput = Callable[[str, bytes], None]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where every command finds the system's programs."""
_TAKEN = ("/proc", "/dev", "/sys", "/etc", "/usr", "/bin", "/sbin", "/lib")


def clean_environment(*, alone: bool) -> dict[str, str]:
    """What every command gets, and nothing of this process's own. Where it has no root of its own
    (not ``alone``), its first process says what is home and where temporary files go."""
    scratch = "/tmp"  # noqa: S108 - the sandbox's own
    places = {"HOME": root.HOME, "TMPDIR": scratch} if alone else {}
    return {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", **places}


def with_proxy(port: int) -> dict[str, str]:
    """What tells programs of the only way out."""
    url = f"http://127.0.0.1:{port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    local = "localhost,127.0.0.1,::1"
    return {**dict.fromkeys(names, url), "NO_PROXY": local, "no_proxy": local}


def inside(at: str, cwd: str) -> str:
    """The directory that ``cwd`` names in a world seen at ``at``. Misuse: it leads out of it."""
    place = os.path.normpath(os.path.join(at, cwd))
    if place != at and not place.startswith(at.rstrip("/") + "/"):
        raise Misuse(f"cwd {cwd!r} leads out of the world: give a path inside of it")
    return place


def plan_of(
    world: Overlay | Folder,
    *,
    tier: Tier,
    at: str,
    readable: tuple[str, ...],
    hidden: tuple[str, ...],
    network: bool,
    limits: Limits,
    doors: tuple[int, ...] = (),
) -> dict[str, Any]:
    """The plan of one sandbox, as the helper reads it. Misuse: it cannot be carried out."""
    if isinstance(world, Folder):
        places = {"path": _host_path(world.path)}
        if tier != "namespaces":
            at = places["path"]
    else:
        places = {"lower": [_absolute(path) for path in world.lower],
                  "upper": _absolute(world.upper), "work": _absolute(world.work)}  # fmt: skip
        if not world.lower:
            raise Misuse("an overlay needs at least one lower directory")
        if tier != "namespaces":
            raise Misuse(f"walls of tier {tier!r} cannot mount an overlay: give a Folder")
    if not os.path.isabs(at) or os.path.normpath(at) in ("/", "/tmp"):  # noqa: S108
        raise Misuse(f"a world cannot be seen at {at!r}: give an absolute path of its own")
    at = os.path.normpath(at)
    if tier == "namespaces" and any(f"{at}/".startswith(f"{taken}/") for taken in _TAKEN):
        raise Misuse(f"a world cannot be seen at {at!r}: the system is there")
    if network and tier == "landlock":
        raise Misuse("walls of tier 'landlock' have no network: ask for none")
    if doors and tier == "landlock":
        raise Misuse("walls of tier 'landlock' have no sockets: no door can be reached from inside")
    seen = [_host_path(path) for path in readable]
    if any(f"{path}/".startswith(f"{at}/") for path in seen):
        raise Misuse(f"a readable path lies in the world at {at!r}: bring it into the world")
    own = [path for path in seen if f"{path}/".startswith(("/proc/", "/dev/"))]
    if "/tmp" in seen and tier == "namespaces":  # noqa: S108
        raise Misuse("readable path '/tmp': a sandbox has its own; name what is needed in it")
    if own and tier == "namespaces":
        raise Misuse(f"readable path {own[0]!r}: a sandbox has a /proc and a /dev of its own")
    for path in seen:
        _check_sockets(path)
    plan: dict[str, Any] = {
        "tier": tier, "world": places, "at": at, "readable": seen,
        "hidden": [_host_path(path) for path in hidden],
        "tmp_bytes": min(limits.disk_bytes or most.COMMAND_TMP_BYTES, most.COMMAND_TMP_BYTES),
        "network": network, "doors": doors if tier == "namespaces" else (),
        "limits": dataclasses.asdict(limits),
    }  # fmt: skip
    _check_hidden(plan)
    return plan


def _check_sockets(path: str) -> None:
    """Who may see a socket may talk to its server, read-only or not. Misuse: here is one."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            raise Misuse(f"readable path {path!r} is a socket: a command could talk to its server")
        with os.scandir(path) as entries:
            for entry in entries:
                if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    text = f"readable path {path!r} holds the socket {entry.name!r}"
                    raise Misuse(f"{text}: name what is needed in it instead")
    except OSError:
        return  # no directory, or gone: whoever takes it says so


def _check_hidden(plan: dict[str, Any]) -> None:
    """INVARIANT S5: a hidden directory is never seen: by no path that is shown on purpose, and
    nowhere that these walls cannot cover it."""
    for path in plan["hidden"]:
        shown = [one for one in plan["readable"] if f"{one}/".startswith(f"{path}/")]
        if shown:
            raise Misuse(
                f"readable path {shown[0]!r} lies in {path!r}, which is hidden: take it out"
            )
        if plan["tier"] == "landlock" and root.shows(plan, path):
            raise Misuse(
                f"walls of tier 'landlock' cannot hide {path!r} below what they show: move it, or "
                "leave its parent out of the readable paths"
            )


def _host_path(path: str) -> str:
    return os.path.realpath(_absolute(path))


def _absolute(path: str) -> str:
    if not os.path.isabs(path):
        raise Misuse(f"{path!r} must be an absolute path")
    return path
