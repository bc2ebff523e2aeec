"""Fetch the source distribution of the library under repair: pinned, cached, checked, unpacked."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FETCH_SECONDS = 180.0
"""How long pip may take: it also prepares the metadata, for which it installs a build backend."""


class LibraryUnavailable(Exception):
    """The library is neither cached nor to be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One release of a library, and where its code and its tests are."""

    name: str
    version: str
    sha256: str
    sources: tuple[str, ...]
    """Files in which a bug may be planted and looked for, as globs below the root."""

    @property
    def archive(self) -> str:
        """The file name of the source distribution."""
        return f"{self.name.replace('-', '_')}-{self.version}.tar.gz"


TOOLZ = Pin(
    name="toolz",
    version="1.2.0",
    sha256="9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490",
    sources=("toolz/dicttoolz.py", "toolz/functoolz.py", "toolz/itertoolz.py", "toolz/recipes.py"),
)
"""Pure Python, BSD-3-Clause, no dependency, its tests in the archive, its suite under a second."""


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(pin: Pin, cache: Path) -> Path:
    """The verified archive in the cache directory, downloaded when it is not there.

    A cached file that does not match the pin is not used but fetched again.
    """
    kept = cache / pin.archive
    if kept.is_file() and digest(kept) == pin.sha256:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        found = _download(pin, Path(scratch))
        if digest(found) != pin.sha256:
            raise LibraryUnavailable(
                f"{pin.archive}: what was downloaded has SHA-256 {digest(found)}, pinned is "
                f"{pin.sha256}; nothing was unpacked"
            )
        found.replace(kept)
    return kept


def _download(pin: Pin, scratch: Path) -> Path:
    """Have pip fetch the archive; it checks the hash before it runs anything from it."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary=:all:", "--require-hashes", "--dest", str(scratch)]
    command += ["--requirement", str(wanted)]
    try:
        # PIP_NO_INPUT: without it a private index would wait for a password in the middle of a run.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"pip gave no answer within {FETCH_SECONDS:.0f} s"
    # pip writes the archive only after it prepared the metadata, so the file decides, not the code.
    found = scratch / pin.archive
    if not found.is_file():
        raise LibraryUnavailable(
            f"{pin.name} {pin.version} is not cached and could not be downloaded: "
            f"{_last_line(said)}; connect to a package index once, or put "
            f"{pin.archive} into {scratch.parent}"
        )
    return found


def _last_line(text: str) -> str:
    """The last line that says what went wrong; pip puts its cause before notes and hints."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    chosen = errors[-1:] or lines[-1:] or ["pip said nothing"]
    return chosen[0].rstrip(".")


def unpack(archive: Path, pin: Pin, root: Path) -> Path:
    """Unpack a verified archive so that `root` is the top folder of the library; returns it.

    `root` must not exist or be empty. It appears complete or not at all.
    """
    if digest(archive) != pin.sha256:
        raise LibraryUnavailable(f"{archive} does not match the pinned SHA-256 {pin.sha256}")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".unpack-") as scratch:
        with tarfile.open(archive, "r:gz") as bundle:
            _extract(bundle, Path(scratch))
        tops = [path for path in Path(scratch).iterdir() if path.is_dir()]
        if len(tops) != 1:
            raise LibraryUnavailable(f"{archive} has {len(tops)} top folders instead of one")
        tops[0].replace(root)
    return root


def _extract(bundle: tarfile.TarFile, target: Path) -> None:
    """Extract files and folders only, and only below ``target``."""
    if hasattr(tarfile, "data_filter"):
        bundle.extractall(target, filter="data")
        return
    # Python 3.11 before 3.11.4 has no filters: plain files and folders with harmless names are all
    # that a source distribution needs
    for member in bundle.getmembers():
        parts = Path(member.name).parts
        if not (member.isfile() or member.isdir()) or ".." in parts or member.name.startswith("/"):
            raise LibraryUnavailable(
                f"the archive holds {member.name!r}, which is not a plain file"
            )
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        bundle.extract(member, target)


def sources(root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """The texts of the files in which a bug may be: {path below root: source}."""
    paths = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths}
