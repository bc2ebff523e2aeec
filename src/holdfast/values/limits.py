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
MASKED_CHARS = 4_000
"""Of an argument, so much is looked through for credentials before people see its beginning: enough
that no cut falls into one that is seen, and few enough for a text made to be slow."""

# Runs -----------------------------------------------------------------------------------------
NAME_MAX_CHARS = 80
"""Of the name of a run, agent or tool: it stands in file names and on screens."""
FANOUT_MAX = 10_000
"""Steps outstanding at once in one run; more is a loop without an end."""
LINGER_SECONDS = 1.0
"""A waiting run stays in memory this long before it is evicted."""
GUEST_MAX_STEPS = 1_000
"""Calls of one guest performed at once; a client behind a door paces itself."""
GUEST_FLUSH_SECONDS = 1.0
"""That a client has an outcome is durable with its next call, or after this long without one."""
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
LANDING_ATTEMPTS = 3
"""Merges into a branch that others were faster than, before the branch's lease is taken first."""
DISCARD_ATTEMPTS = 100
"""Looks at what a run holds before discarding it is given up because the run goes on meanwhile:
each fails only if the run recorded something within the milliseconds of one look."""
LANDING_LOOK_ATTEMPTS = 20
"""Looks (about a second in all) at a lease whose holder does not change, before a merge into a run
that some process runs gives up."""
WRITE_BACK_ATTEMPTS = 5
"""Merges into a directory in which somebody keeps changing just what is to be written."""

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
METER_NAME_BYTES = 200
"""Name of a meter in UTF-8: it is a key of the store and stands in every event that charges it."""
CHARGES_MAX_ITEMS = 64
"""Meters that one event charges: each is a row that its append writes."""
CHARGE_MAX_UNITS = 2**53
"""What one event adds to a meter, up or down: JSON readers elsewhere keep whole numbers up to it.
"""
METER_MAX_UNITS = 2**62
"""A meter's value, up or down: half of what SQLite's integers hold."""
USAGE_MAX_ITEMS = 16
"""Units of which one call may tell what it used: they stand in its outcome."""
KNOWN_THREAD_RUNS = 256
"""Threads of a framework's saved state whose places a process remembers, some 200 bytes for each
state; another thread is read once through before it is used."""
LIST_GROUP_ITEMS = 8
"""Items of a long saved list that stand together on average: a state that differs from another in
one item writes about so many references again, on each of two or three levels."""
LIST_WHOLE_ITEMS = 16
"""Saved lists of no more items are not grouped. References in an event's row take 33 bytes."""
SAVED_DEPTH_MAX = 16
"""Lists and dicts inside each other in a saved state that are taken apart; what is deeper is
stored in one piece."""
REPLAYED_PIECE_CHARS = 40
"""Text of a recorded answer that a replay streams at once: about what providers send."""
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
"""Children of a list of chunks; part of the format. A change in 130 MB rewrites three lists."""
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
RULES_FILE_BYTES = 256 * 1024
"""One ``.gitignore`` or ``.gitattributes``: a hundred times what people write. Every path is held
against every rule, so more would let a tree decide how long that takes."""
RULES_FILE_LINES = 4096
"""Lines of one ``.gitignore`` or ``.gitattributes``, for the same reason."""
RULES_LINE_BYTES = 2048
"""One line of ``.gitattributes``; longer ones are passed over, as by git and with its figure."""
DIFF_TEXT_BYTES = 1024 * 1024
"""Files longer than this are only said to differ in a readable diff."""
DIFF_ROWS = 50
"""Rows that a readable diff shows of one table of a database: more than a screen helps nobody."""
COMMAND_OUTPUT_BYTES = 1024 * 1024
"""Output of ``world.run`` kept per stream; more is cut in the middle, and said to be cut."""
COMMAND_SECONDS = 600.0
"""Default time limit of ``world.run``."""
COMMAND_MEMORY_BYTES = 4 * 1024**3
"""Memory of a command's processes together, unless asked otherwise: builds fit, bombs end soon."""
COMMAND_PROCESSES_ITEMS = 512
"""Processes and threads of a command at once: parallel builds fit, a fork bomb does no harm."""
COMMAND_DISK_BYTES = 8 * 1024**3
"""What a command may add to its world, and the longest file it may write."""
COMMAND_OPEN_FILES = 4_096
"""Open files of one process; some programs close every number up to their limit, so not millions.
"""
COMMAND_TMP_BYTES = 1024**3
"""Size of the private /tmp (and /dev/shm) of a command: it is kept in memory."""
ENTRY_DISK_BYTES = 4_096
"""What a name in a world takes of its disk limit at least: a block of most file systems."""
SWEEP_FIRST_SECONDS = 0.02
"""A command is first looked at after this time; what has ended by then costs no look."""
SWEEP_SECONDS = 0.1
"""Memory, processor time, processes and disk of a command are looked at this often."""
SWEEP_SHARE_PERCENT = 5
"""Looking costs at most about this share of one processor: a big upper is walked less often."""
REFUSED_MAX_ITEMS = 50
"""Different refusals told of one command; a program that tries in a loop must not fill the record.
"""
SANDBOX_END_SECONDS = 5.0
"""A helper that is told to end waits this long for what is left of each sandbox."""
PROXY_HEAD_BYTES = 64 * 1024
"""Head of a request to the filtering proxy."""
PROXY_PIECE_BYTES = 64 * 1024
"""Copied at once between a sandboxed client and the server it talks to."""
PROXY_CONNECTIONS = 64
"""Connections that one sandbox may have open through the proxy."""
PROXY_CONNECT_SECONDS = 30.0
"""Time to resolve a name and to reach a server, for the proxy."""
SCORE_CHARS = 10_000
"""A score is looked for in this much of the end of a check's output."""
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
# Checkouts of worlds --------------------------------------------------------------------------
CLONE_MIN_BYTES = 256 * 1024
"""Smaller files are written, not cloned: that takes less than the calls that cloning needs."""
LAYER_LEVELS = 8
"""A stack of more layers is made shorter in the background: a cold look-up costs 0.4 us a layer."""
OVERLAY_LEVELS_MAX = 16
"""Layers of one mount, never more. A stack that grows to this before the background has made it
shorter is made shorter at once, and the command waits for that: 0.4 us for each cold look-up and
each layer, so that what is mounted is as quick at depth 1,000 as at 16."""
COMPACT_MIN_ITEMS = 4
"""Layers that are made one at least, so that making a stack shorter is worth its walk."""
SHELF_ATTEMPTS = 20
"""How often a stack is put together again when somebody deletes parts of it meanwhile."""
NEAR_MIN_ENTRIES = 32
"""A difference of up to this many entries is written as a layer, however small the world is."""
NEAR_MAX_PERCENT = 10
"""A difference of more than this share of the base's entries gets a new base instead of a layer."""
NEAR_ITEMS = 8
"""Recently used worlds that a new one is compared with before it is written whole."""
CACHE_BYTES = 16 * 1024 * 1024 * 1024
"""Checkouts of one store that are kept though nobody uses them; the least recently used go first.
"""
CACHE_ITEMS = 4_000
"""Layers and bases of one store that are kept though nobody uses them."""
WORLDS_OPEN_ITEMS = 200
"""Worlds that one process keeps mounted though no command runs in them (about 1.5 MB each)."""
WORLD_IDLE_SECONDS = 30.0
"""A world in which no command runs for this long is closed; opening it again takes milliseconds."""
UPPER_ENTRIES = 2_000
"""A private directory with more entries becomes a layer before the next command, so that reading
what a command changed does not look again at what earlier ones did."""

# People ---------------------------------------------------------------------------------------
ANSWER_ATTEMPTS = 200
"""How often an answer is tried again when its run moves on between reading the question and
answering it; each costs one read and one append that is refused."""
READ_PAGE_ROWS = 2_000
"""Rows of runs fetched from a store at once while the queue of questions is read."""
CALLBACK_SECONDS = 300
"""How far a callback's signature may be from now, as chats advise: it allows for clocks, not for
somebody who recorded it."""
CALLBACK_BYTES = 64 * 1024
"""One callback of a chat; a click has about three thousand bytes."""
CHAT_SECONDS = 10.0
"""Time limit of posting one message."""
CHAT_LOOK_SECONDS = 2.0
"""How often a chat's server looks for new questions when nothing rings."""
# Audit ----------------------------------------------------------------------------------------
SIGN_EVENTS = 2_000
"""Events after which a root is signed: its appends then cost about 1 us an event."""
SIGN_SECONDS = 30.0
"""The oldest event that no signed root covers is at most about this old while a runtime is open."""
SIGN_LOOK_SECONDS = 1.0
"""How often a runtime with a key looks whether a root is due: approvals, ends of runs and merges
within it share one."""
WITNESS_RETRY_SECONDS = 10.0
"""A second place that failed is tried again after this."""
WITNESS_TAIL_BYTES = 256 * 1024
"""Read from the end of a file of signed roots to find the newest: far more than one line takes."""
WITNESS_PUSH_SECONDS = 60.0
"""A push of signed roots to a remote that takes longer has failed."""

# Models ---------------------------------------------------------------------------------------
WIRE_BODY_BYTES = 48 * 1024 * 1024
"""One request or response of a model's wire: pictures fit, and it stays below what a payload may
have. A response beyond it still reaches its client, but only its beginning is read."""
WIRE_RETRY_SECONDS = 30.0
"""Who is busy, or ended a stream, is asked again after this, whatever it says: clients wait."""
WIRE_CONNECT_SECONDS = 30.0
"""Time to reach a provider."""
WIRE_SILENCE_SECONDS = 600.0
"""A provider that says nothing for this long has failed; models may think for minutes."""
WIRE_PATIENCE_SECONDS = 30.0
"""A request waits this long for a person, unless settings say more: clients give up in minutes."""
WIRE_LEARN_ENTRIES = 100_000
"""Messages of one client that are known to be read already; beyond, they are read again."""
WIRE_BACKLOG_CONNECTIONS = 1_024
"""Connections that wait to be taken: a whole fleet of agents may begin at once."""
WIRE_EVENT_CHARS = 24
"""Pieces of texts when a recorded answer is told again as a stream: about six tokens."""
MODEL_SECONDS = 600.0
"""One attempt at a model's answer, unless its program says otherwise: long answers take minutes."""
MODEL_CONNECT_SECONDS = 20.0
"""Connecting to a model's endpoint."""
MODEL_RETRY_ATTEMPTS = 3
"""How often a busy or broken endpoint is asked again, unless its program says otherwise."""
MODEL_RETRY_SECONDS = 120.0
"""The longest ``retry-after`` of an endpoint that is waited for before it is asked again."""
LOOP_TURNS_STEPS = 50
"""Answers of a model in one loop, unless its program says otherwise: people look after fewer."""
LOOP_RESULT_CHARS = 20_000
"""A tool's result longer than this goes to the model cut, with a reference to the whole."""
LOOP_OLD_CHARS = 2_000
"""An older tool's result longer than this is replaced by its reference, once the conversation is
longer than it should be."""
LOOP_CONTEXT_CHARS = 200_000
"""A conversation longer than this is compacted: about 50,000 tokens, a quarter of what common
models read."""
LOOP_KEPT_ITEMS = 4
"""The newest tool results, which are never compacted: what the model is working with."""
LOOP_FIXES_ATTEMPTS = 2
"""How often a model is told that its structured answer does not fit, before the loop stops."""
SPOKEN_CHARS = 200_000
"""A text of role user up to this length can be a person's words; longer ones are files."""
HEARD_CHARS = 4_000_000
"""What tools and models said to one client, to tell it from a person's words; oldest go first."""
HEARD_WHOLE_CHARS = 60
"""A text that holds one of theirs of this length is not a person's; shorter ones are names and
paths that people say too."""
PREFIX_KEPT_ITEMS = 32
"""Conversations of one client that are remembered, to notice where one changed in the middle."""
PREFIX_LOST_BYTES = 4_096
"""A change in a conversation is told of if this much after it must be read anew: providers keep
nothing shorter than about a thousand tokens."""
ANSWER_TOKENS = 16_384
"""Reserved for an answer whose request sets no limit."""
PICTURE_TOKENS = 3_000
"""Reserved for a picture or file inside a request: more than providers count for a page."""
PICTURE_LOOK_BYTES = 64 * 1024
"""Requests shorter than this are not looked through for pictures: they hold none worth counting."""
TOKEN_MIN_BYTES = 3
"""Bytes of a token of a request when it is reserved for: text of any language and code seldom have
fewer on average, with the JSON around them."""

# Doors ----------------------------------------------------------------------------------------
FRAME_BYTES = 32 * 1024 * 1024
"""One message (MCP): half of what a result in the journal may have, for escapes lengthen text."""
CALLS_OPEN_ITEMS = 1_000
"""Requests of one client that may be outstanding at once; a client that sends more is told so."""
PROBE_SECONDS = 10.0
"""A server silent for this long (some install themselves first) is asked in the older way."""
GREET_SECONDS = 120.0
"""A server that has not answered the first greeting after this time is given up."""
CHILD_END_SECONDS = 2.0
"""A server process gets so long to end once its input is closed, and as long again after TERM."""
CANCEL_SECONDS = 3.0
"""A cancelled call's outcome is waited for this long: servers need not answer such a call."""
INPUT_SECONDS = 600.0
"""A server's question to a client is given up after this: people have to see and answer it."""
INPUT_ATTEMPTS = 100
"""Questions of a server about one call; more is a loop without an end."""
TOOLS_ITEMS = 10_000
"""Entries of one list of a server, and definitions of tools and handles of long calls that one
process remembers: a hundred times what a model can be shown."""
LIST_PAGES = 100
"""Pages of one list of a server; more is a loop without an end."""
RESUME_EVENTS = 1_000
"""Messages of one stream that are kept for a client that lost it and comes back."""
RESUME_BYTES = 64 * 1024 * 1024
"""The same in bytes, for one client."""
RESUME_MIN_MS = 100
"""A stream is taken up again after this at the soonest, whatever its server says: no busy loop."""
RESUME_ATTEMPTS = 5
"""How often a stream that a server ended early is taken up again without news."""
PEER_IDLE_SECONDS = 3_600.0
"""A client over HTTP that nothing was heard of for this long is forgotten, with its servers."""
CLIENT_NAMES_ITEMS = 20
"""What clients of one run call themselves is recorded of so many: names cost them nothing."""
PEERS_OPEN_ITEMS = 200
"""Clients over HTTP of one token at once: each may have server processes of its own."""
STREAM_PING_SECONDS = 15.0
"""A quiet stream says something this often, so that nobody in between takes it for dead."""
POLL_MIN_MS = 1_000
"""How often at most a server is asked whether a long call has ended, if its client does not ask."""
PATIENCE_SECONDS = 30.0
"""How long a call waits for a person, unless told otherwise: clients give up after a minute."""

# Holdfast as a server for agents ----------------------------------------------------------------
SERVE_RESULT_BYTES = 128 * 1024
"""One result of a tool, as JSON: clients cut longer ones off, or hand them to a model whole."""
SERVE_PAGE_CHARS = 16_000
"""One page of a long text: some 4,000 tokens, and within SERVE_RESULT_BYTES whatever they are."""
SERVE_ROWS = 40
"""Entries of one page of a list: with SERVE_BRIEF_CHARS each within SERVE_RESULT_BYTES."""
SERVE_BRIEF_CHARS = 160
"""Characters of a value in a list: enough to know it again."""
SERVE_SEARCH_EVENTS = 5_000
"""Events that one search looks at before it says where to go on: about half a second."""
SERVE_SEARCH_CHARS = 4_000
"""Characters of each value that a search looks at; what lies beyond is not found."""
SERVE_QUESTION_CHARS = 2_000
"""A question to a person: longer ones are not read."""
SERVE_WAIT_SECONDS = 50.0
"""How long a question waits for its answer in one call at most: clients give up after a minute."""
SERVE_LOOK_SECONDS = 0.2
"""How often a run that a call waits for is looked at."""
SCAN_TEXT_CHARS = 200
"""Characters of a suspicious text that are shown with the finding."""

# Command line ---------------------------------------------------------------------------------
NAMES_SEEN_EVENTS = 50_000
"""Newest events in which `kill` looks for a name, to warn of a misspelled one: half a second."""
LIST_ROWS = 50
"""Rows of a listing unless ``--limit`` says otherwise."""

# Gate -----------------------------------------------------------------------------------------
POLICY_MAX_CHARS = 256 * 1024
"""One policy file. A person must be able to read it, and it is parsed at every start."""
POLICY_LOOK_MS = 1_000
"""The files of a policy are looked at this often at most: a look costs 2 us a file."""
POLICY_DEPTH = 12
"""Nesting of a policy file; the longest legal path needs 7."""
POLICY_RULES = 500
"""Rules of one policy, so that a verdict that names all of them still fits in an event body."""
POLICY_TEXT_CHARS = 500
"""A reason or way in a policy: one or two sentences, shown in a terminal and to a model."""
POLICY_FILES = 100
"""Files of one policy folder: a person reads them all before it changes."""
SEEDED_PERCENT = 50
"""Of questions, behind which a policy may put a seeded case: more take more time than these."""
POLICY_ENTRIES = 2_000
"""Entries of any other section of a policy: tools, agents, routes, budgets, checks."""
ROUTE_DEPTH = 20
"""Routes that lead to routes; an organisation has fewer levels."""
OPA_SECONDS = 0.05
"""An Open Policy Agent is waited for this long; a verdict that takes longer is deny."""
CONDITION_CHARS = 2_000
"""One CEL condition. A longer one is better written as two rules."""
CONDITION_SCOPES_ENTRIES = 128
"""Environments in which one argument has a known type, kept while policies load (40 kB each)."""
PATTERN_CHARS = 256
"""A name pattern as written."""
PATTERN_INPUT_CHARS = 4_096
"""An agent, role or tool name; a longer one is denied."""
AMOUNT_MAX_ITEMS = 1_000_000_000_000
"""Any amount of money, tokens or calls in a policy: a typing error, not a limit, beyond."""
GATE_MEMO_ENTRIES = 4_096
"""Remembered partial results per policy, so that a long process stays small."""

# Facts ----------------------------------------------------------------------------------------
LITERALS_MAX_ITEMS = 10_000
"""Constants of an agent's code that count as its own words; more is a table of data, not code."""
AMOUNT_HISTORY_MIN_ITEMS = 5
"""Amounts seen before one is called unusual: with fewer, every second one would be."""
AMOUNT_SPREAD_MIN_UNITS = 200
"""Thousandths of a logarithm, a fifth: who always paid the same is not alarmed by a cent more."""
RATE_WINDOW_MS = 60_000
"""``calls_last_minute`` looks back this far from the newest event of the run."""
CHECKED_TEXT_CHARS = 300
"""What is kept of why a check did not pass: it stands in the verdict, inside the event's body."""
CHANGED_MAX_ITEMS = 10_000
"""Paths that a ``fork`` check hands to its condition; a check of more than that fails."""
OPA_CONNECTIONS = 8
"""Questions that are asked of one Open Policy Agent at once, each on a connection that is kept; the
next one waits for its turn, on its own time. An agent asks for one after another."""
OPA_ANSWER_BYTES = 256 * 1024
"""An answer of a policy engine outside; a verdict of hundreds of rules takes a tenth of that."""

# Information flow ------------------------------------------------------------------------------
FLOW_VALUE_CHARS = 256 * 1024
"""Characters of one value, decoded forms included, in which values are looked for: some 20 ms of
work. What lies beyond counts as seen but unknown."""
FLOW_VALUE_ENTRIES = 50_000
"""Entries of one nested value that are looked at; beyond, as above."""
FLOW_DECODE_LEVELS = 4
"""Encodings inside encodings that are undone: people use one, hiding uses two or three."""
FLOW_CONTEXT_ENTRIES = 2_000_000
"""Values remembered for one run, about 200 MB at most; beyond, as above."""
FLOW_GIVEN_ENTRIES = 200_000
"""Values of arguments remembered for one run, to know what steps were given and could have stored,
about 20 MB at most; beyond, an address is never thought up, and no later result is trusted."""
FLOW_HEARSAY_ENTRIES = 8
"""Texts remembered for each word that they mention: a word that more mention is a common one."""
FLOW_BESIDE_ENTRIES = 64
"""Names of the records that hold a value: one that more records hold tells none of them apart."""
FLOW_NARROW_CHARS = 7
"""Digits before the point of a number that a child may bring down from what it read: sums of money
and counts have no more; accounts, telephone numbers and ids mostly do."""
FLOW_MARKED_ENTRIES = 500_000
"""Values and runs of words remembered as confidential for one run, about 50 MB at most; beyond, all
that is not somebody's own words is taken for one of them."""
FLOW_LINE_CHARS = 200
"""Lines and fields up to this length are remembered whole; longer ones by their parts."""

# Skills ----------------------------------------------------------------------------------------
SKILL_NAME_MAX_CHARS = 64
"""As the published format of skills says."""
SKILL_DESCRIPTION_MAX_CHARS = 1024
"""As the published format says; it stands in every prompt."""
SKILL_COMPATIBILITY_MAX_CHARS = 500
"""As the published format says."""
SKILL_TEXT_MAX_BYTES = 256 * 1024
"""A text of a skill that is given to a model, SKILL.md too: some 60,000 tokens, more than is of
use at once."""
SKILL_MAX_BYTES = 32 * 1024 * 1024
"""All files of one skill together: they are kept in memory, so that nothing changes under a run."""
SKILL_FILES_MAX_ITEMS = 2000
"""Files of one skill."""
SKILL_DEPTH_MAX = 16
"""Folders inside folders of a skill."""
SKILLS_MAX_ITEMS = 1000
"""Skills that are offered together; their descriptions alone are some 250,000 tokens then."""

# Comparing runs, and forks that ask why ----------------------------------------------------------
COMPARE_TEXT_ITEMS = 50
"""Differing steps of which a comparison shows the difference itself: more, nobody reads."""
COMPARE_LINES = 200
"""Lines of one difference; the rest is said to be left out."""
COMPARE_LINE_CHARS = 2000
"""Of one line of a difference: a text without line breaks may be as long as a payload."""
COMPARE_ITEM_CHARS = 400
"""Shown of a message or result at a divergence; the difference itself stands beside it."""
COMPARE_TEXT_CHARS = 100_000
"""Text of each side that is compared line by line: a line-based difference is quadratic."""
COMPARE_PATH_ITEMS = 1000
"""Paths of two worlds that are listed; the rest is counted."""
COMPARE_ITEMS = 100
"""Messages or results that stood in one context only, listed at a divergence."""
COMPARE_ALIGNED_ITEMS = 250_000
"""Steps of A times steps of B between two anchors that are aligned one by one, about 0.1 s; larger
stretches without any step that is unique in both are paired by key alone."""
FORK_LOOK_SECONDS = 0.05
"""Between looks at whether a fork that asks why waits for something that will not come."""
FORK_PATIENCE_MS = 60_000
"""A fork that asks why is stayed with while it waits for a timer that rings within this."""
WHATIF_RUNS = 100
"""Forks that one what-if makes at most, unless it is given a budget."""
PAIRS_RUNS = 1000
"""Runs that are looked at for pairs at once: their events are in memory together."""
BISECT_UNTOLD_RUNS = 3
"""Forks of a bisection of which nothing can be told, if more than a quarter of all, end it."""
BISECT_RUNS = 40
"""Forks of a bisection unless a budget is given: 30 steps at unknown rates take about 27."""
PREVENT_BOUND_UNITS = 1e15
"""Numbers beyond this are no bounds of proposed rules: conditions compare them with 53 bits."""
# Anomalies -------------------------------------------------------------------------------------
ANOMALY_SYMBOLS_ITEMS = 512
"""Different steps (kind, name, status) told apart for one agent; the rest share one symbol."""
ANOMALY_CONTEXTS_ITEMS = 4_096
"""Pairs of steps after which an agent's next one is counted, some 2 MB at most; then all fade."""
ANOMALY_HISTORY_ITEMS = 4_096
"""Values counted with full weight for a rank; then all are halved, so that an agent may change."""
ANOMALY_SCALE_ITEMS = 64
"""Newest values of one measure of one tool whose median is what is usual."""
ANOMALY_SCALE_STEP_ITEMS = 8
"""Values after which that median is worked out again, and before which there is none."""
ANOMALY_SCALES_ITEMS = 1_024
"""Measures (a tool's cost, tokens, latency) kept for one agent, some 600 bytes each."""
ANOMALY_THINGS_ITEMS = 4_096
"""Targets, sources or tools remembered for one agent; those met longest ago are new again."""
ANOMALY_CYCLE_STEPS = 6
"""Calls that may repeat together to count as a loop."""
ANOMALY_LOOP_STEPS = 5
"""The same calls with the same results so many times in a row are a loop, also of a new agent."""
ANOMALY_BURST_STEPS = 300
"""Steps in one minute that are too many for an agent of which nothing else is known."""
ANOMALY_COLD_STEPS = 50
"""Steps of an agent before it is compared with itself: with fewer, most would be news."""
ANOMALY_COLD_RUNS = 5
"""Runs of an agent before it is compared with itself: one run is often all of one kind."""
ANOMALY_NORMAL_ITEMS = 16
"""How many times what a person called normal counts."""
ANOMALY_DOUBTED_STEPS = 5
"""What was new in an alarm that nobody judged is known after it was met so many times more."""
ANOMALY_PARTS_ITEMS = 6
"""Parts that an alarm shows: it stands in the body of a finding."""
ANOMALY_AGAIN_MS = 3_600_000
"""An agent's errors, rate or drift raise no second alarm within an hour: it is the same one."""
ANOMALY_ALARMS_ITEMS = 1_000
"""Newest alarms that are kept to be listed and judged."""
ANOMALY_AGENTS_ITEMS = 2_000
"""Agents whose past is kept; the one that started longest ago is forgotten first."""
ANOMALY_OPEN_RUNS = 10_000
"""Runs followed at once; one that began before so many others and still goes on is followed anew.
"""
ANOMALY_OPEN_STEPS = 1_000
"""Steps of one run that were asked for and have no outcome yet."""
ANOMALY_SAVE_EVENTS = 20_000
"""Events after which the cache of what was learned is written: reading so many takes a second."""
ANOMALY_PAGE_EVENTS = 500
"""Events looked at in one go: some ten milliseconds, since others share the event loop."""
ANOMALY_TOLD_MS = 7 * 86_400_000
"""An alarm older than a week is listed, but no finding is written of it any more: whoever looks at
an old journal for the first time does not fill it."""
ANOMALY_A_DAY_ITEMS = 20
"""Alarms in a store on one day unless the policy says otherwise: what one person looks at in half
an hour."""
ANOMALY_OF_AGENT_ITEMS = 5
"""The same of one agent: one that has changed must not take all of them."""
# HTTP interface and console --------------------------------------------------------------------
API_ROWS = 200
"""Rows of one page of a list: what a person looks through, and some 100 kB."""
API_BODY_BYTES = 2 * 1024 * 1024
"""One request: the files of a policy that is tried fit eight times over."""
API_PAYLOAD_BYTES = 1024 * 1024
"""A payload of an event or step that is answered whole; of a longer one, its beginning."""
API_FILE_BYTES = 8 * 1024 * 1024
"""A file of a world that is answered: longer ones are exported."""
API_PATCH_CHARS = 1_000_000
"""A patch that is answered; what is longer is cut, and said to be."""
API_TEXT_CHARS = 20_000
"""A text that a person gives with an answer, a signal or a switch."""
VISIT_SECONDS = 43_200
"""A browser that signed in stays so for this long: a working day."""
VISITS_ITEMS = 10_000
"""Browsers that are signed in at once; beyond, the one that expires first is signed out."""
SIGNIN_ATTEMPTS = 10
"""Failed attempts to sign in from one address before more are refused for a while."""
SIGNIN_WAIT_SECONDS = 300.0
"""That while, and how long a failed attempt is remembered."""
SIGNIN_ADDRESSES_ENTRIES = 10_000
"""Addresses whose failures are remembered; beyond, the oldest failure is forgotten."""
LIVE_BACKLOG_EVENTS = 5_000
"""A live stream that is farther behind is told what it missed and goes on from the newest."""
LIVE_CONNECTIONS = 100
"""Live streams at once: each costs a reading of what is appended."""
API_BODY_SECONDS = 30.0
"""A request whose body takes longer to come is given up."""
METRICS_BUDGET_ROWS = 500
"""Scopes and periods of budgets that metrics tell of: a series each, and Prometheus keeps them."""
OIDC_SECONDS = 600.0
"""Signing in at a provider takes this long at most: people look for their second factor."""
OIDC_KEPT_SECONDS = 3_600.0
"""What a provider says of itself, and its keys, are asked for again after this."""
OIDC_KEYS_SECONDS = 30.0
"""A token signed by a key that is not known makes us ask for keys again this often at most."""
OIDC_SLACK_SECONDS = 60.0
"""How far a provider's clock may be from ours."""
OIDC_ANSWER_SECONDS = 10.0
"""One answer of a provider."""
OIDC_ANSWER_BYTES = 1024 * 1024
"""The same; keys and tokens have a few thousand."""
CONSOLE_ROWS = 50
"""Runs on one page unless the address says otherwise."""
CONSOLE_ROWS_MAX = 200
"""Rows that the server renders on one page: browsers draw 2,000 in 0.7 s, 10,000 in 3 s."""
CONSOLE_SEARCHED_ROWS = 20_000
"""Runs that a search looks through for one page; the next page goes on behind them."""
CONSOLE_PAYLOAD_CHARS = 4_000
"""Characters of a payload that are shown until somebody asks for all: some sixty lines."""
CONSOLE_PAYLOAD_MAX_CHARS = 2_000_000
"""Characters of a payload that a page shows at most; more is read with `holdfast show`."""
CONSOLE_PATCH_CHARS = 400_000
"""Characters of a patch that a page shows: some 8,000 lines."""
CONSOLE_USED_RUNS = 5_000
"""Runs of which a server remembers what they used: 1 MB."""
ECONOMICS_STEPS_ITEMS = 100_000
"""Steps whose use a server remembers, to sum it: some 55 MB, and a second to sum them. Beyond, the
runs that began first are left out."""
CONSOLE_TREE_RUNS = 500
"""Runs that a tree of forks and children draws."""
CONSOLE_SIMILAR_ROWS = 10
"""Earlier answers about the same tool that are shown beside a question."""
CONSOLE_MESSAGES_ITEMS = 30
"""Newest messages of a request that a form offers to change."""
CONSOLE_BISECT_RUNS = 200
"""Forks that one search from a page may make: each runs the rest of a run again."""
ECONOMIZE_LEARN_PERCENT = 70
"""Of the runs, oldest first, what rules are learned from; the others try them."""
ECONOMIZE_MIN_ITEMS = 10
"""Decisions to learn from: of fewer, a rule is a guess."""
ECONOMIZE_EXAMPLES_ITEMS = 5_000
"""The newest decisions of one kind that are learned from: more only makes it slower."""
ECONOMIZE_SUPPORT_ITEMS = 3
"""Decisions that must fit a condition before it becomes a rule: two of a kind are chance."""
ECONOMIZE_RULES_ITEMS = 12
"""Rules in one decision list: more than that nobody checks by reading."""
ECONOMIZE_ANSWERS_ITEMS = 50
"""Different answers to one kind of question: with more it is no choice among few."""
ECONOMIZE_ENTRIES = 1_000
"""Entries of one look-up table."""
ECONOMIZE_FIELDS_ITEMS = 40
"""Fields of one input that conditions may look at."""
ECONOMIZE_FIELD_CHARS = 4_000
"""Of one field, what conditions look at: questions to classify are shorter."""
ECONOMIZE_CONDITIONS_ITEMS = 2_000
"""Conditions that are tried for one rule, those that fit most decisions first."""
ECONOMIZE_ANSWER_CHARS = 2_000
"""An answer that is longer is a text, not a decision."""
ECONOMIZE_AGREE_PERCENT = 80
"""What the lower bound of a rule's agreement on later decisions must reach to be proposed: 16 of 16
do, 30 of 32 do not yet."""
ECONOMIZE_LEAVES_PERCENT = 99
"""The same where an effect that cannot be repeated follows: some 380 of 380."""
ECONOMIZE_MISSES_ITEMS = 20
"""Disagreements that are shown with their places; all are counted."""
ECONOMIZE_SPAN_MS = 86_400_000
"""The shortest span from which a rate for a month is taken: decisions of an hour say nothing of it.
"""
WHY_ARGUMENTS_ITEMS = 60
"""Values of one action that are traced, the first of each argument: nobody reads more."""
WHY_GLIMPSES_ITEMS = 40
"""Things of a context that are shown, the newest."""
WHY_ABOVE_RUNS = 20
"""Runs above a run that are followed for who began it all: deeper trees are loops or mistakes."""
WHY_NAMED_ITEMS = 12
"""Steps that are named where one is not found: one line of an error."""
WHY_SHOWN_ITEMS = 100
"""Entries of one list or object of arguments or results that are shown: one page."""
EXPORT_SPANS_ITEMS = 500
"""Spans of one request: some 1 MB, a quarter of what collectors take by default."""
EXPORT_WHY_EVENTS = 5_000
"""Position in a chain up to which spans link to sources of their steps: some 50 ms a step there."""
QUERY_SECONDS = 10.0
"""A query: longer ones want another query."""
QUERY_MAX_ROWS = 1000
"""Rows of an answer if nothing else is said."""
QUERY_MAX_BYTES = 64 * 1024 * 1024
"""An answer, which is held whole; a text of it where the journal has such."""
QUERY_TEXT_BYTES = 1024 * 1024
"""One text that a query makes: sixteen times what an event's body holds."""
PICTURE_EVENTS = 2000
"""Rows of a run's page: browsers open it at once, and it can be mailed."""
PICTURE_VALUE_CHARS = 6000
"""Of one value on such a page; the rest is in the journal."""
PICTURE_MAX_CHARS = 3_000_000
"""Of all values on such a page together."""
