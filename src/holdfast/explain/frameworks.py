"""Controls of frameworks, as data: which evidence speaks to them, and what stays to be done."""

from __future__ import annotations

from importlib.resources import files

import msgspec
import yaml

from holdfast.explain.evidence import KINDS
from holdfast.values.errors import Misuse, NotFound


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One control. ``title``: what it asks for, in our own words; ``evidence``: kinds that speak to
    it; ``yours``: what stays the organisation's own work; ``applies``: from when, a date or ""."""

    id: str
    title: str
    evidence: tuple[str, ...]
    yours: str
    applies: str = ""


class Framework(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A framework: ``framework`` is its name on the command line, ``source`` where its text is,
    ``as_of`` the day of the mapping, ``note`` what a reader must know."""

    framework: str
    title: str
    source: str
    as_of: str
    controls: tuple[Control, ...]
    note: str = ""


def names() -> list[str]:
    """Names of the frameworks that are mapped."""
    folder = files("holdfast.explain") / "controls"
    return sorted(
        path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")
    )


def framework(name: str) -> Framework:
    """The framework of that name; `NotFound` lists them."""
    if name not in names():
        raise NotFound(f"no framework {name!r} is mapped; there are {', '.join(names())}")
    text = (files("holdfast.explain") / "controls" / f"{name}.yaml").read_text("utf-8")
    return parse(text, f"{name}.yaml")


def parse(text: str, source: str) -> Framework:
    """The framework that a YAML text states; `Misuse` for what is not understood."""
    try:
        found = msgspec.convert(yaml.safe_load(text), Framework)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise Misuse(f"{source}: is no mapping of controls: {error}") from None
    for control in found.controls:
        for kind in control.evidence:
            if kind not in KINDS:
                raise Misuse(f"{source}: control {control.id}: no evidence is called {kind!r}")
    return found
