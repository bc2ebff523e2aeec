"""What agents can change: content-addressed snapshots of a directory.

A world is a Merkle tree; a **root** (the hash of its top directory) is one immutable snapshot,
and a fork is nothing but a second name for a root. This room turns roots into other roots (`tree`),
compares them (`diff`), merges them with conflicts as values (`merge`) and moves them to and from a
disk (`checkout`) and git (`git`). The stored form is in `nodes`. It knows nothing of runs, events
or stores: content goes through the `Objects` port.
"""

from holdfast.world.checkout import CopyCheckout, export_dir, import_dir
from holdfast.world.chunks import ChunkTree, put_file
from holdfast.world.diff import Change, diff, line_changes, renames, unified
from holdfast.world.git import Exported, Version, export_git, import_git
from holdfast.world.merge import Choice, Conflict, Merged, merge, resolve
from holdfast.world.nodes import EMPTY, EMPTY_DIR, Entry
from holdfast.world.objects import Objects, Stage
from holdfast.world.rows import Combined, RowConflict
from holdfast.world.text import conflict_text, git_merge_text
from holdfast.world.tree import (
    apply,
    check_path,
    entry,
    link,
    list_dir,
    make_dir,
    reachable,
    read_file,
    remove,
    walk,
    write_file,
)
from holdfast.world.writeback import Turn, Written, interrupted, recover, turn, write_back

__all__ = [
    "EMPTY",
    "EMPTY_DIR",
    "Change",
    "Choice",
    "ChunkTree",
    "Combined",
    "Conflict",
    "CopyCheckout",
    "Entry",
    "Exported",
    "Merged",
    "Objects",
    "RowConflict",
    "Stage",
    "Turn",
    "Version",
    "Written",
    "apply",
    "check_path",
    "conflict_text",
    "diff",
    "entry",
    "export_dir",
    "export_git",
    "git_merge_text",
    "import_dir",
    "import_git",
    "interrupted",
    "line_changes",
    "link",
    "list_dir",
    "make_dir",
    "merge",
    "put_file",
    "reachable",
    "read_file",
    "recover",
    "remove",
    "renames",
    "resolve",
    "turn",
    "unified",
    "walk",
    "write_back",
    "write_file",
]
