"""What this host can do: which walls stand here, and the way to each that is missing.

Nothing is read off a version number: a fresh helper process (`trial`) tries each thing.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.sandbox.spec import TIERS, Tier

_PACKAGES = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.append(sys.argv[1]); from holdfast.sandbox import trial; "
    "trial.main(sys.argv[2])"
)
_ALLOW = "allow unprivileged user namespaces"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about this host. ``found`` says what was seen; ``fix`` one line, "" if all is well.

    ``tier`` is the tier that needs it, "" if it only makes walls faster or stronger.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """What this host can do. ``tier`` is the strongest that works here."""

    tier: Tier
    facts: tuple[Fact, ...]

    @property
    def overlay(self) -> bool:
        """Whether a world can be an overlay here; else it must be a folder."""
        layers = any(fact.ok for fact in self.facts if fact.name == "overlay")
        return self.tier == "namespaces" and layers

    def lacking(self, tier: Tier) -> Fact | None:
        """The first thing that ``tier`` needs and this host lacks."""
        for fact in self.facts:
            if not fact.ok and (fact.tier == tier or fact.name in ("seccomp", "helper", "linux")):
                return fact
        return None


@functools.cache
def probe(directory: str = "") -> Host:
    """Find out, once in a process; about 0.1 s. ``directory``: where worlds will lie (their file
    system matters), the system's temporary one if not given."""
    if not sys.platform.startswith("linux"):
        fix = "use Linux, or a virtual machine with it"
        return Host(
            "none", (Fact("linux", ok=False, found=sys.platform, fix=fix, tier="landlock"),)
        )
    with tempfile.TemporaryDirectory(prefix=".holdfast-probe-", dir=directory or None) as place:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _START, _PACKAGES, place],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, env={}, cwd="/",
        )  # fmt: skip
    try:
        seen: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        text = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return Host("none", (Fact("helper", ok=False, found=text or "it did not answer"),))
    return judge(seen, settings())


def judge(seen: dict[str, str], set_to: dict[str, str]) -> Host:
    """Turn what was tried (name: "" if it worked, else the error) and how the kernel is set into
    facts and a tier."""
    facts = tuple(_fact(name, seen[name], set_to) for name in _TRIED if name in seen)
    for tier in TIERS[:-1]:
        if Host(tier, facts).lacking(tier) is None:
            return Host(tier, facts)
    return Host("none", facts)


_ORDINARY = "keep the store (HOLDFAST_STORE) on ext4, xfs or btrfs"
_MAPPED = "until then root runs no commands there, an ordinary user does"
_GROUPS = "run as root or under `systemd-run --user --scope -p Delegate=yes`: memory is watched now"
_REFLINK = "keep the store on xfs or btrfs: the first write to a big file copies all of it here"
_TRIED: dict[str, tuple[str, str, str]] = {  # name: tier, what it is when it works, fix when not
    "user namespaces": ("namespaces", "can be made", ""),
    "mounts": ("namespaces", "a root of its own can be built", "use Linux 5.12 or newer"),
    "overlay": ("", "mounts in a user namespace", f"{_ORDINARY}, with Linux 5.12 or newer"),
    "landlock": ("landlock", "", "boot with lsm=landlock,... (Linux 5.13 or newer has it)"),
    "seccomp": ("landlock", "filters with a listener", "use x86_64 or aarch64, Linux 5.0 or newer"),
    "mapped mounts": ("", "root's commands are nobody outside", f"{_ORDINARY}: {_MAPPED}"),
    "control groups": ("", "", _GROUPS),
    "reflink": ("", "copies share their blocks", _REFLINK),
}  # fmt: skip


def _fact(name: str, problem: str, set_to: dict[str, str]) -> Fact:
    tier, works, fix = _TRIED[name]
    ok = not problem.startswith("!")
    if ok:
        return Fact(name, ok=True, found=problem or works, tier=tier)
    if name == "user namespaces":
        fix = _namespace_fix(set_to)
    return Fact(name, ok=False, found=problem[1:], fix=fix, tier=tier)


def _namespace_fix(set_to: dict[str, str]) -> str:
    """The first setting that stands in the way; every known cause has a line of its own."""
    if set_to.get("user.max_user_namespaces") == "0":
        return f"{_ALLOW}: sysctl -w user.max_user_namespaces=15000"
    if set_to.get("kernel.unprivileged_userns_clone") == "0":
        return f"{_ALLOW}: sysctl -w kernel.unprivileged_userns_clone=1"
    if set_to.get("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return f"{_ALLOW}: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if set_to.get("container"):
        options = ("seccomp", "apparmor", "systempaths")
        wanted = " ".join(f"--security-opt {option}=unconfined" for option in options)
        return f"start the container with {wanted}"
    if set_to.get("Seccomp", "0") != "0":
        return "a seccomp filter of whatever started this forbids it: allow clone and unshare there"
    return "use a kernel with CONFIG_USER_NS, or run on the host itself"


def settings() -> dict[str, str]:
    """The kernel's settings that decide about user namespaces, as far as they exist here."""
    found: dict[str, str] = {}
    for name in (
        "user.max_user_namespaces", "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ):  # fmt: skip
        place = Path("/proc/sys") / name.replace(".", "/")
        if place.is_file():
            found[name] = place.read_text().strip()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Seccomp:"):
            found["Seccomp"] = line.split()[1]
    marks: tuple[Any, ...] = (Path("/.dockerenv"), Path("/run/.containerenv"))
    if any(mark.exists() for mark in marks) or os.environ.get("KUBERNETES_SERVICE_HOST"):
        found["container"] = "yes"
    return found
