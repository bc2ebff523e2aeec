"""What is asked of the walls and what they answer: plain values, sent to the helper as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from holdfast.values import limits

Tier = Literal["namespaces", "landlock", "none"]
"""How strong the walls are, strongest first; docs/sandbox.md says what each one is."""

TIERS: tuple[Tier, ...] = ("namespaces", "landlock", "none")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use. 0 means no limit of that kind.

    ``seconds`` of wall-clock time; ``cpu_seconds`` and ``memory_bytes`` of all its processes
    together; ``processes`` and threads at once; ``file_bytes`` of one file; ``disk_bytes`` written
    to the world, and to /tmp; ``open_files`` of one process; ``output_bytes`` kept of each stream.
    """

    seconds: float = limits.COMMAND_SECONDS
    cpu_seconds: float = 0.0
    memory_bytes: int = limits.COMMAND_MEMORY_BYTES
    processes: int = limits.COMMAND_PROCESSES_ITEMS
    file_bytes: int = limits.COMMAND_DISK_BYTES
    disk_bytes: int = limits.COMMAND_DISK_BYTES
    open_files: int = limits.COMMAND_OPEN_FILES
    output_bytes: int = limits.COMMAND_OUTPUT_BYTES


@dataclass(frozen=True, slots=True)
class Overlay:
    """A world as layers: ``lower`` topmost first, the base last; changes go to ``upper``.

    ``work`` is overlayfs's own directory, on the file system of ``upper``. What a command leaves in
    ``work`` has mode 000: make it accessible before removing it. INVARIANT S1: while an overlay is
    open, nobody else writes to its directories.
    """

    lower: tuple[str, ...]
    upper: str
    work: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A world as a plain directory, which is changed in place."""

    path: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One command and its walls.

    ``at`` is the absolute path at which the command sees the world; ``cwd`` is inside the world.
    ``environment`` is added to a clean one; ``secrets`` too, and they are never logged nor shown.
    ``readable``: host paths seen read-only, besides the system's. ``hidden``: host directories that
    are empty for the command where they lie below anything that it sees. ``network``: patterns
    ``host[:port]`` that may be reached by HTTP proxy (``*.example.org`` for all below); none: no
    network. ``doors``: TCP ports of this host's loopback that the command reaches at its own.
    """

    command: tuple[str, ...]
    world: Overlay | Folder
    at: str = "/world"
    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    readable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    doors: tuple[int, ...] = ()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    ``exit``: its status, or minus the signal that killed it. ``cut``: bytes of output left out of
    the middle. ``limit`` names what ended or curbed it: time, cpu, memory, processes, disk, file,
    output; "" if nothing did. ``peak_bytes``: most memory seen. ``refused``: what the walls turned
    away, as far as it is known.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    cut: int = 0
    limit: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    tier: Tier = "none"
    refused: tuple[str, ...] = ()
