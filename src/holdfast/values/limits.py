"""Every numeric limit of Holdfast, with its unit and its reason, in one place."""

from __future__ import annotations

# Payloads -------------------------------------------------------------------------------------
PART_MIN_BYTES = 256
"""Strings, byte strings and list items whose canonical form is longer become blobs of their own, so
that a conversation resent each turn costs its new messages. Part of the format."""
LIKE_MIN_BYTES = 512
"""Argument skeletons shorter than this are stored whole, not as a continuation of an earlier one.
"""
PAYLOAD_MAX_BYTES = 64 * 1024 * 1024
"""One argument list or result. Beyond it, a file in the world is the right place."""
DEPTH_MAX = 200
"""Nesting of a payload. Deeper ones exhaust Python's stack in readers."""
BODY_MAX_BYTES = 64 * 1024
"""Structural part of one event; only references and short text belong there."""
ERROR_TEXT_CHARS = 2_000
"""Error text kept in an outcome; the rest is cut and said to be cut."""

# Runs -----------------------------------------------------------------------------------------
FANOUT_MAX = 10_000
"""Steps outstanding at once in one run; more is a loop without an end."""
LINGER_SECONDS = 1.0
"""A waiting run stays in memory this long before it is evicted."""
LEAVE_SECONDS = 10.0
"""A process that is asked to stop waits this long for effects in progress, to record how they end.
"""
LEASE_SECONDS = 10.0
"""A process that has not renewed its lease for this long may be replaced."""
NET_POLL_SECONDS = 2.0
"""Safety net: how often a process looks at the store though no bell rang."""
CHILD_LOOK_MS = 1_000
"""A fork that waits for a child of the run it was forked from looks for its end this often."""
FORK_WINDOW_EVENTS = 32
"""Events read around the place where a step is expected before a whole segment is searched."""
RETRY_MAX_ATTEMPTS = 100
"""Upper bound of a tool's declared retries."""

# Stores ---------------------------------------------------------------------------------------
INLINE_COMMIT_MS = 1.0
"""While commits take less than this (smoothed), they are made on the event loop: handing them to
the writer's thread and back costs about half of that in processor time. Slower ones go there."""
INLINE_COMMIT_BATCHES = 8
"""So many commits are made in a row without a turn of the event loop, while nothing else is ready:
a run that steps alone is spared two turns a step, and what comes from outside waits some ms."""
INLINE_COMMIT_BYTES = 256 * 1024
"""Appends with more content than this go to the writer's thread at once."""
GROUP_COMMIT_BATCHES = 512
"""Appends put into one SQLite transaction at most, so that one slow commit delays few."""
WAL_GROW_BYTES = 4 * 1024 * 1024
"""Write-ahead log grown once and then overwritten: ext4 needs no metadata commit for that."""
PAGE_BYTES = 2_048
"""Page of a new journal. A step dirties two pages, and both go through the log whole: half of
SQLite's 4 KiB makes a commit an eighth cheaper and an empty store half as big; 1 KiB leaves content
of some hundred bytes too little room. A megabyte of content costs about a millisecond more."""
WAL_CHECKPOINT_PAGES = 2_000
"""The log is moved into the database after about this many pages (4 MiB)."""
BUSY_SECONDS = 30.0
"""Wait for another process's transaction before giving up with a clear error."""
PACK_MIN_BYTES = 16 * 1024
"""Content that takes this much or more as stored goes to a pack: SQLite writes it twice, page by
page. Below, one file to sync is quicker than two."""
PACK_UNUSED_PERCENT = 10
"""Compacting rewrites packs of which more than this part is nobody's; below, it is not worth it."""
BLOB_COMPRESS_MIN_BYTES = 128
"""Shorter blobs are stored as they are; zstd cannot shorten them."""
STAGE_FLUSH_BYTES = 16 * 1024 * 1024
"""World content is written to the store early, in pieces of about this size, never all in memory.
"""
READ_PAGE_EVENTS = 2_000
"""Events fetched from a store at once while reading a run."""

# World ----------------------------------------------------------------------------------------
FILE_MAX_BYTES = 1024 * 1024 * 1024 * 1024
"""One file in a world. Holes cost nothing; files stream, so memory sets no limit either."""
FILE_WHOLE_BYTES = 256 * 1024 * 1024
"""A file's content handed out in one piece; larger ones are read by commands, or in parts."""
CHUNK_BYTES = 64 * 1024
"""Files are stored in chunks of this size; smaller files are one blob. Part of the format."""
CHUNK_DATABASE_BYTES = 4 * 1024
"""Chunks of files that begin as SQLite databases do: the size of their pages, so that a changed
row costs little more than its page. Part of the format."""
CHUNK_FANOUT = 64
"""Children of a list of chunks: a change in a database of 130 MB rewrites three lists, 6 kB. Part
of the format."""
DIRECTORY_SPLIT_ENTRIES = 256
"""A directory node with more entries is split by the hash of their names, so that a change in a
directory of 100,000 files rewrites a few kilobytes. Part of the format."""
WORLD_DEPTH_MAX = 200
"""Directories inside directories in a world. Deeper trees exhaust stacks and file descriptors."""
NAME_MAX_BYTES = 255
"""One file name in UTF-8: what Linux file systems accept, so that every world can be checked out.
"""
MERGE_TEXT_BYTES = 8 * 1024 * 1024
"""Files longer than this are not merged line by line: both sides changed means a conflict."""
DIFF_TEXT_BYTES = 1024 * 1024
"""Files longer than this are only said to differ in a readable diff."""
COMMAND_OUTPUT_BYTES = 1024 * 1024
"""Output of ``world.run`` kept per stream; more is cut in the middle, and said to be cut."""
COMMAND_SECONDS = 600.0
"""Default time limit of ``world.run``."""
READ_TEXT_BYTES = 10 * 1024 * 1024
"""``world.read`` returns at most this much of a file; use offset and limit beyond."""
GREP_MATCHES = 1_000
"""Matches returned by ``world.grep``; the result says when there were more."""

# Databases in a world -------------------------------------------------------------------------
PAGE_CACHE_BYTES = 64 * 1024 * 1024
"""Pages of databases kept by hash for the whole process: versions share nearly all of them."""
PAGE_DIRTY_BYTES = 16 * 1024 * 1024
"""Changed pages of one open database in memory; more are put into the objects early."""
SQL_CACHE_BYTES = 4 * 1024 * 1024
"""SQLite's own cache of an open database."""
SQL_MEMORY_BYTES = 1024 * 1024 * 1024
"""Memory of all open databases together at which the statement that runs is ended."""
SQL_SECONDS = 30.0
"""Default time limit of one statement."""
SQL_ROWS = 1_000
"""Rows that a query returns unless ``limit`` says otherwise; the result says when there were more.
"""
SQL_RESULT_BYTES = 8 * 1024 * 1024
"""Values of one result, about; further rows are left out, and said to be."""

# Command line ---------------------------------------------------------------------------------
LIST_ROWS = 50
"""Rows of a listing unless ``--limit`` says otherwise."""

# Gate -----------------------------------------------------------------------------------------
POLICY_MAX_CHARS = 256 * 1024
"""One policy file. A person must be able to read it, and it is parsed at every start."""
POLICY_DEPTH = 12
"""Nesting of a policy file; the longest legal path needs 7."""
POLICY_RULES = 500
"""Rules of one policy, so that a verdict that names all of them still fits in an event body."""
POLICY_TEXT_CHARS = 500
"""A reason or way in a policy: one or two sentences, shown in a terminal and to a model."""
PATTERN_CHARS = 256
"""A ``matches`` pattern or a name pattern as written."""
PATTERN_POSITIONS = 512
"""Characters of a pattern after ``{m,n}`` is written out: bounds the work per input character."""
PATTERN_GROUPS = 20
"""Groups inside groups of a pattern: bounds the recursion of its parser."""
PATTERN_INPUT_CHARS = 4_096
"""A value that ``matches`` looks at, or an agent, role or tool name; longer is denied."""
GATE_MEMO_ENTRIES = 4_096
"""Remembered partial results per policy and per pattern, so that a long process stays small."""
