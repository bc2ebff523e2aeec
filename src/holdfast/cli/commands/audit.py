"""``holdfast audit``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, json_only, shared


@click.group()
def command() -> None:
    """Sign what happened, prove it, export it, and read it as sentences.

    Every event is linked to the one before by its hash. With a key, a Merkle root over all events
    is signed as they come and written to second places, so that nobody can rewrite the past or cut
    it off unseen: see docs/audit.md.

    \b
    Examples:
      holdfast audit key audit.key
      HOLDFAST_KEY=audit.key HOLDFAST_WITNESS=/mnt/other/roots holdfast run agent.py:main
      holdfast audit prove 7k3@4 > proof.json
    """


@command.command()
@click.argument("file")
@json_only
def key(file: str, *, desk: Desk) -> None:
    """Make a key pair: the private key goes to FILE, the public one is printed.

    Set HOLDFAST_KEY to FILE. Keep the public key where auditors find it, and not in the store.

    \b
    Example: holdfast audit key ~/.config/holdfast/audit.key
    """
    from holdfast.runtime.maintenance import make_key

    made = make_key(Path(file))
    if desk.screen.json:
        desk.screen.document({"file": file, "public": made.public})
    else:
        desk.screen.say(made.public)
        desk.screen.note(f"wrote the private key to {file}: set HOLDFAST_KEY to it")


@command.command()
@shared
def status(*, desk: Desk) -> int:
    """Say how far the store is signed, and what its second places know.

    The exit code is 5 while a place, or the remote of one, is behind or does not work, and 6 if a
    place knows more than the store: then the store was put back to an older state, or cut off.

    \b
    Example: holdfast audit status
    """
    return asyncio.run(_status(desk))


async def _status(desk: Desk) -> int:
    import msgspec

    from holdfast.explain import telling
    from holdfast.explain.text import one_line
    from holdfast.runtime.maintenance import standing

    async with desk.store() as store:
        found = standing(store, desk.settings)
    screen = desk.screen
    size = found.signed.size if found.signed is not None else 0
    behind = any(
        isinstance(known, str) or (known.size if known is not None else 0) < size
        for known in found.places.values()
    )
    code = 6 if found.ahead else 5 if behind else 0
    if screen.json:
        screen.document({**msgspec.to_builtins(found), "key": desk.settings.key, "behind": behind})
        return code
    if found.signed is None:
        screen.say(f"{found.events} events, ", ("nothing is signed", "yellow"))
    else:
        at = telling.clock(found.signed.time)
        screen.say(f"{found.events} events, {found.roots} signed roots; the newest covers "
                   f"{found.signed.size} (key {found.signed.key}, {at})")  # fmt: skip
        screen.say(f"{found.left} events are not covered yet")
    if not desk.settings.key:
        screen.note("no key is set, so nothing more is signed: `holdfast audit key FILE` makes "
                    "one, then set HOLDFAST_KEY to the file")  # fmt: skip
    if not found.places:
        screen.note("no second place is set: set HOLDFAST_WITNESS to a file elsewhere or git:DIR")
    for place, known in found.places.items():
        if isinstance(known, str):
            word = "ahead " if place in found.ahead else "does not work "
            screen.say((word, "red"), one_line(known))
        else:
            screen.say(f"{one_line(place)} knows {known.size if known else 0} events")
    return code


@command.command()
@shared
def sign(*, desk: Desk) -> None:
    """Sign what no root covers yet, and give second places all they miss.

    Open runtimes do this by themselves; this is for stores that nobody runs, and for a second place
    that was away.

    \b
    Example: holdfast audit sign
    """
    asyncio.run(_sign(desk))


async def _sign(desk: Desk) -> None:
    import msgspec

    from holdfast.runtime.maintenance import sign_now

    async with desk.store() as store:
        made = await sign_now(store, desk.settings)
    if desk.screen.json:
        desk.screen.document({"signed": None if made is None else msgspec.to_builtins(made)})
    elif made is None:
        desk.screen.note("nothing was left to sign")
    else:
        desk.screen.say(f"signed the root of {made.size} events: {made.root}")


@command.command()
@click.argument("what", metavar="RUN@STEP|EVENT")
@shared
def prove(what: str, *, desk: Desk) -> None:
    """Print the proof of one event: an outsider checks it with `holdfast audit verify`.

    RUN@STEP is the newest event of that step, RUN the beginning of that run, EVENT the number that
    `holdfast log` shows. The proof holds the event but no payloads, only their hashes.

    \b
    Example: holdfast audit prove 7k3@4 > proof.json
    """
    asyncio.run(_prove(desk, what))


async def _prove(desk: Desk, what: str) -> None:
    import msgspec

    from holdfast.explain.text import pretty
    from holdfast.runtime.maintenance import prove_event

    async with desk.store() as store:
        run, pos = await _place(store, what)
        proof = await prove_event(store, run, pos)
    click.echo(pretty(msgspec.to_builtins(proof)))


async def _place(store: Any, what: str) -> tuple[str, int]:
    from holdfast.explain.past import find_step
    from holdfast.runtime.refs import find
    from holdfast.values.errors import NotFound

    if what.isdigit():
        found = await store.tail(int(what) - 1, 1)
        if found and found[0].seq == int(what):
            return found[0].run, found[0].pos
        if len(what) < 8:  # a run's id may be digits too
            raise NotFound(f"there is no event {what}; `holdfast log` shows their numbers")
    row, step = await find(store, what)
    if not step:
        return row.run, (row.fork_pos + 1 if row.fork_of else 0)
    _, moments = await find_step(store, row.run, step)
    last = moments[-1].event
    return last.run, last.pos


@command.command()
@click.argument("file")
@click.option("--key", "public", required=True, metavar="PUBLIC", help="Public key, or its file.")
@json_only
def verify(file: str, *, public: str, desk: Desk) -> int:
    """Check a proof that `holdfast audit prove` printed; it needs no store.

    FILE may be - for standard input. The exit code is 6 if the proof does not hold.

    \b
    Example: holdfast audit verify proof.json --key cGPb...=
    """
    from holdfast.cli.failing import complain
    from holdfast.explain import telling
    from holdfast.explain.text import one_line
    from holdfast.runtime.maintenance import disproven, read_proof, read_public

    trusted = read_public(public)
    proof = read_proof(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    wrong = disproven(proof, trusted)
    event = proof.event
    if desk.screen.json:
        desk.screen.document({"holds": not wrong, "wrong": wrong, "id": proof.id,
                              "event": proof.seq, "run": event.run, "pos": event.pos})  # fmt: skip
    elif not wrong:
        desk.screen.say(("holds", "green"), f": event {proof.seq}, {one_line(event.kind)} of run "
                        f"{one_line(event.run)} at {telling.clock(event.at)}, under the root of "
                        f"{proof.signed.size} events signed "
                        f"{telling.clock(proof.signed.time)}")  # fmt: skip
    if wrong:
        complain(f"{file}: the proof does not hold: {wrong}")
        return 6
    return 0


@command.command()
@click.argument("target", metavar="DIR")
@click.option("--no-payloads", is_flag=True, help="Hashes only: what happened, not what was said.")
@shared
def export(target: str, *, no_payloads: bool, desk: Desk) -> None:
    """Copy the store, with its order and signed roots, into a new directory for auditors.

    They check it with `holdfast fsck DIR --key PUBLIC`. Not payloads, and so always in it, because
    they are hashed whole with their event: names, decisions, reasons and facts, notes, the texts of
    errors, and what persons were asked. Of an action that is its arguments, the first 120
    characters of each and 600 of all; of an agent's question, all of it.

    \b
    Example: holdfast audit export evidence --no-payloads
    """
    asyncio.run(_export(desk, target, no_payloads))


async def _export(desk: Desk, target: str, no_payloads: bool) -> None:
    from holdfast.runtime.maintenance import copy_store

    async with desk.store() as store:
        events = copy_store(store, Path(target), payloads=not no_payloads)
    if desk.screen.json:
        desk.screen.document({"directory": target, "events": events, "payloads": not no_payloads})
    else:
        desk.screen.say(f"wrote {events} events to {target}")


@command.command()
@click.option("--agent", default="", metavar="NAME", help="Only of this agent.")
@click.option("--tool", default="", metavar="NAME", help="Only of this tool.")
@click.option("--decision", default="", metavar="WORD",
              help="Only allow, verify, escalate, deny, approve, answer.")  # fmt: skip
@click.option("--run", "run", default="", metavar="RUN", help="Only of this run.")
@click.option("--since", default="", metavar="TIME", help="Only since: 90min, 12h, 7d, 2026-11-21.")
@shared
def log(*, agent: str, tool: str, decision: str, run: str, since: str, desk: Desk) -> None:
    """Print who asked for what, under which policy and rule, at what risk, decided by whom.

    One sentence for each event in which something was asked or decided. Secrets are masked.

    \b
    Examples:
      holdfast audit log --decision deny --since 7d
      holdfast audit log --agent finance --json
    """
    from holdfast.cli.since import since_ms
    from holdfast.explain.sentence import Wanted

    wanted = Wanted(agent, tool, decision, since=since_ms(since, desk.now_ms()))
    asyncio.run(_log(desk, run, wanted))


async def _log(desk: Desk, run: str, wanted: Any) -> None:
    import msgspec

    from holdfast.explain import telling
    from holdfast.explain.sentence import tell
    from holdfast.runtime.maintenance import every_event
    from holdfast.runtime.refs import find_run

    async with desk.store() as store:
        if run:
            wanted = msgspec.structs.replace(wanted, run=(await find_run(store, run)).run)
        for line in tell(every_event(store, await store.last_seq()), store.get):
            if not wanted.takes(line):
                continue
            if desk.screen.json:
                desk.screen.document(msgspec.to_builtins(line))
            else:
                desk.screen.say((telling.clock(line.at), "dim"), f"  {line.text}")
