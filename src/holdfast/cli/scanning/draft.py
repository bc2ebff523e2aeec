"""A policy for a server's tools, to be read and changed by a person before it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from holdfast.cli.scanning.facts import Facts, facts_of
from holdfast.cli.scanning.listing import Listed, Seen
from holdfast.gate import parse_policy
from holdfast.values import limits
from holdfast.values.errors import TooLarge

_HEAD = """\
# Drafted by `holdfast scan` from what the server {server} says of its tools (revision {version}).
# These are claims: read each entry, correct it, and delete this line.
version: 1
name: {name}
otherwise: deny
rules:
  - id: reads
    when: {{tool: {pattern}, effect: [read, world]}}
    then: allow
  - id: changes
    when: {{tool: {pattern}, effect: [idempotent, once]}}
    then: escalate
    reason: this changes something outside
    way: tools that only read run without asking
  - id: planted
    when: {{tool: {pattern}, effect: [idempotent, once]}}
    if: worst == "untrusted"
    then: deny
    reason: what decides this call was found only in what anybody could have written
    way: ask the person for it
  - id: secrets-leave
    when: {{tool: {pattern}, effect: [idempotent, once]}}
    if: secrets > 0
    then: deny
    reason: the content holds what looks like a credential
    way: send it without the credential
"""


def policy_text(server: Listed) -> str:
    """The draft, which loads. `TooLarge` if the server has more tools than a policy may name."""
    tools = list({one.name: one for one in server.tools}.values())
    name = json.dumps(server.server)
    text = _HEAD.format(
        server=server.server, version=_comment(server.version), name=name,
        pattern=json.dumps(f"{server.server}.*"),
    )  # fmt: skip
    if tools:
        text += "tools:\n" + "".join(line for one in tools for line in _entry(one, facts_of(one)))
    if len(text) > limits.POLICY_MAX_CHARS or len(tools) > limits.POLICY_ENTRIES:
        raise TooLarge(
            f"scan: {server.server} has {len(tools):,} tools: more than one policy holds"
        )
    # INVARIANT D107: whatever a server calls its tools and arguments, the draft is a policy
    parse_policy(text, "draft")
    return text


def _entry(tool: Seen, facts: Facts) -> Iterator[str]:
    yield f"  - tool: {json.dumps(tool.name)}  # {_comment(facts.why)}\n"
    yield f"    effect: {facts.effect}\n"
    # what a tool gives comes from wherever its server has it: anybody may have written it
    yield "    output: untrusted/internal\n"
    for field, value in (("target", facts.target), ("amount", facts.amount)):
        if value:
            yield f"    {field}: {json.dumps(value)}\n"
    if facts.effect != "read":
        yield f"    deciding: {_list(facts.deciding)}\n"
        yield f"    content: {_list(facts.content)}\n"
    elif facts.target:
        yield f"    deciding: {_list(facts.deciding)}\n"
    if facts.args:
        inner = ", ".join(f"{json.dumps(name)}: {kind}" for name, kind in facts.args.items())
        yield f"    args: {{{inner}}}\n"
    yield f"    pin: {tool.digest}\n"


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(json.dumps(name) for name in names)}]"


def _comment(text: str) -> str:
    """A text as it may stand in a comment: on one line, in plain letters."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:200]
