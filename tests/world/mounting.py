"""Real overlays for the tests: a child of its own user and mount namespace, driven by lines.

It is not the product's sandbox: it knows only how to mount and to do what a test says.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

NEW_USER, NEW_NS = 0x10000000, 0x00020000
DETACH = 2


def child() -> None:
    """Read {"mount": [lowers, upper, work, at]}, {"umount": at} or {"do": [[verb, ...], ...]}."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(NEW_USER | NEW_NS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "mount" in asked:
                lowers, upper, work, at = asked["mount"]
                words = f"lowerdir={':'.join(lowers)},userxattr"
                if upper:
                    words += f",upperdir={upper},workdir={work}"
                if libc.mount(b"overlay", at.encode(), b"overlay", 0, words.encode()):
                    raise OSError(ctypes.get_errno(), "mount")
            elif "umount" in asked:
                if libc.umount2(asked["umount"].encode(), 0):
                    raise OSError(ctypes.get_errno(), "umount")
            else:
                exec(asked["do"], {"at": Path(asked["at"]), "os": os, "Path": Path})
            print(json.dumps(asked.get("show") and shown(Path(asked["show"]))), flush=True)
        except OSError as error:
            print(json.dumps({"error": str(error)}), flush=True)


def shown(directory: Path) -> list[list[Any]]:
    """What a directory holds, in words that JSON can carry; whole, as a program would see it."""
    found: list[list[Any]] = []
    for folder, names, files in os.walk(directory):
        for name in [*names, *files]:
            path = Path(folder) / name
            said = str(path.relative_to(directory))
            if path.is_symlink():
                found.append([said, "link", str(path.readlink())])
            elif path.is_dir():
                if not any(path.iterdir()):
                    found.append([said, "dir"])
            else:
                content = path.read_bytes().decode("latin-1")
                found.append([said, "file", content, bool(path.stat().st_mode & 0o100)])
    return found


class Mounter:
    """The child, as its parent sees it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.works = self.process.stdout.readline() == "ready\n"

    def ask(self, **asked: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if isinstance(answer, dict):
            raise OSError(answer["error"])
        return answer

    @contextlib.contextmanager
    def mounted(self, lowers: Sequence[Path], place: Path | None, at: Path) -> Generator[None]:
        """An overlay at ``at``; ``place`` holds ``upper`` and ``work`` (None: read-only)."""
        upper, work = (str(place / "upper"), str(place / "work")) if place else ("", "")
        stack = [str(lower) for lower in lowers]
        if not place and len(stack) == 1:  # without an upper an overlay has at least two
            (at.parent / "nothing").mkdir(exist_ok=True)
            stack.insert(0, str(at.parent / "nothing"))
        at.mkdir(exist_ok=True)
        self.ask(mount=[stack, upper, work, str(at)])
        try:
            yield
        finally:
            self.ask(umount=str(at))

    def see(self, at: Path) -> dict[str, object]:
        """In the words of `support.on_disk`."""
        found: dict[str, object] = {}
        for name, kind, *rest in self.ask(do="", at=str(at), show=str(at)):
            if kind == "file":
                found[name] = (rest[0].encode("latin-1"), rest[1])
            else:
                found[name] = ("link", rest[0]) if kind == "link" else None
        return found

    def do(self, at: Path, code: str) -> None:
        """Run Python code of a test in the namespace; ``at`` is the path there."""
        self.ask(do=code, at=str(at))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@cache
def can_mount() -> bool:
    """Whether this host lets an ordinary program mount overlays."""
    mounter = Mounter()
    mounter.close()
    return mounter.works


if __name__ == "__main__":
    child()
