"""Starter packs: policies that come with Holdfast, to be copied and made one's own."""

from __future__ import annotations

from pathlib import Path

from holdfast.gate.files import files_of, read_text
from holdfast.values.errors import NotFound

_HERE = Path(__file__).resolve().parents[1]


def packs() -> dict[str, str]:
    """Every pack with the first line of its first file, which says what it is for."""
    return {name: _about(folder) for name, folder in _folders().items()}


def pack(name: str) -> Path:
    """The folder of pack ``name``; raises `NotFound`, naming those there are."""
    found = _folders()
    if name not in found:
        raise NotFound(f"there is no starter pack {name!r}: there are {', '.join(found)}")
    return found[name]


def _folders() -> dict[str, Path]:
    """Packs lie in the installed package, or, in a checkout, at its top."""
    for place in (_HERE / "policies", _HERE.parents[1] / "policies"):
        if place.is_dir():
            return {each.name: each for each in sorted(place.iterdir()) if each.is_dir()}
    return {}


def _about(folder: Path) -> str:
    first = read_text(files_of(folder)[0]).partition("\n")[0]
    return first.removeprefix("#").strip()
