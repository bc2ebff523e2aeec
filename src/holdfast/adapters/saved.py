"""The stored form of a framework's state: parts that occur again are stored once.

A graph's state is saved whole after every step, and differs from the one before in little. Lists
and dicts are taken apart, and long ones grouped where the content itself says so, so that equal
stretches make equal groups wherever they stand. What is no list, dict or scalar is written by the
framework's own serializer. Forms: a scalar is itself; ``{"list": [...], "up": n}`` and ``{"dict":
[[key, form], ...], "up": n}`` in n levels of groups; ``{"as": type, "of": bytes}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from holdfast.values import limits
from holdfast.values.canon import Blobs, digest, part, seal_parts
from holdfast.values.errors import Corrupt

Dump = Callable[[Any], tuple[str, bytes]]
"""The framework's serializer: the name of a form, and the bytes."""
Load = Callable[[tuple[str, bytes]], Any]

_EXACT = 1 << 53
_SCALARS = frozenset({str, bool, float, type(None)})


def stored(value: Any, dump: Dump, blobs: Blobs, *, plain: bool = True, depth: int = 0) -> Any:
    """The form of ``value``; what is long goes to ``blobs``. ``plain``: what JSON knows may be
    written as it is (a serializer that encrypts would not have it so)."""
    kind = type(value)
    if plain:
        if kind in _SCALARS or (kind is int and -_EXACT < value < _EXACT):
            return part(value, blobs)
        if depth < limits.SAVED_DEPTH_MAX:
            if kind is list:
                items = [stored(one, dump, blobs, depth=depth + 1) for one in value]
                return _grouped("list", items, blobs)
            if kind is dict and all(type(key) is str for key in value):
                pairs = [
                    part([part(key, blobs), stored(one, dump, blobs, depth=depth + 1)], blobs)
                    for key, one in value.items()
                ]
                return _grouped("dict", pairs, blobs)
    name, content = dump(value)
    return part({"as": name, "of": part(content, blobs)}, blobs)


def loaded(form: Any, load: Load) -> Any:
    """The value of a form whose references were followed; `Corrupt` if it is none."""
    if not isinstance(form, dict):
        return form
    try:
        if "as" in form:
            return load((form["as"], form["of"]))
        if "list" in form:
            return [loaded(one, load) for one in _flat(form["list"], form.get("up", 0))]
        pairs = _flat(form["dict"], form.get("up", 0))
        return {key: loaded(one, load) for key, one in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"a saved state cannot be read: {type(error).__name__}: {error}") from None


def _grouped(name: str, items: list[Any], blobs: Blobs) -> Any:
    up = 0
    while len(items) > limits.LIST_WHOLE_ITEMS:
        items = [part(group, blobs) for group in _groups(items)]
        up += 1
    return part({name: items, "up": up} if up else {name: items}, blobs)


def _groups(items: list[Any]) -> Iterator[list[Any]]:
    """INVARIANT D51: whether a group ends with an item depends on that item alone, unless it would
    be the group's only one; so equal stretches of two lists make equal groups soon after they
    begin."""
    group: list[Any] = []
    for item in items:
        group.append(item)
        # two at least, so that there are fewer groups than items
        if len(group) > 1 and int(_name(item)[:8], 16) % limits.LIST_GROUP_ITEMS == 0:
            yield group
            group = []
    if group:
        yield group


def _name(item: Any) -> str:
    if type(item) is dict and "$blob" in item:
        return item["$blob"]
    return digest(seal_parts(item))


def _flat(items: list[Any], up: int) -> list[Any]:
    for _ in range(up):
        items = [item for group in items for item in group]
    return items
