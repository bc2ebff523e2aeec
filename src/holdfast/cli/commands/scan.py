"""``holdfast scan``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, json_only


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("server_command", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
@click.option("--url", default="", metavar="URL", help="Instead of a command: a server over HTTP.")
@click.option("--server", default="", metavar="NAME",
              help="Its name in the journal (default: after its command).")  # fmt: skip
@click.option("--env", "env", multiple=True, metavar="NAME",
              help="Also hand this variable to the server's command.")  # fmt: skip
@click.option("--header", "header", multiple=True, metavar="NAME:VALUE",
              help="A header for --url; @FILE as the value reads it from a file.")  # fmt: skip
@click.option("--write", default="", metavar="DIR",
              help="Write the draft into this folder, which must be new or empty.")  # fmt: skip
@json_only
def command(server_command: tuple[str, ...], *, write: str, desk: Desk, **options: Any) -> int:
    """List an MCP server's tools, say what is odd about them, and draft a policy.

    The server is started, or called, and asked for its tools; none is called. Effects are drafted
    from names (what no name tells is taken for `once`); its own hints only make them stricter.
    Each tool is pinned: a definition that changes needs approval. Odd is what speaks to a model in
    descriptions, what a reader does not see, and names that look like others.

    \b
    Examples:
      holdfast scan -- npx -y @modelcontextprotocol/server-filesystem .
      holdfast scan --url https://mcp.example.com/mcp --write policies/example
    """
    from holdfast.cli.fronting import Options, servers_of

    given = Options(command=server_command, **options)
    (server,) = servers_of(given, "scan", "a server's command after --, --url")
    return _scan(desk, server, Path(write) if write else None)


def _scan(desk: Desk, server: Any, folder: Path | None) -> int:
    from holdfast.cli.scanning.draft import policy_text
    from holdfast.cli.scanning.findings import findings
    from holdfast.cli.scanning.listing import listed
    from holdfast.values.errors import Misuse

    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Misuse(f"--write: {folder} exists already: say another folder")
    found = asyncio.run(listed(server))
    odd, text = findings(found), policy_text(found)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.yaml").write_text(text, "utf-8")
    if desk.screen.json:
        _document(desk, found, odd, text)
    else:
        _tell(desk, found, odd, text if folder is None else "")
    if folder is not None:
        desk.screen.note(f"drafted: {folder}: read it, correct it, holdfast policy check {folder}")
    return 0


def _document(desk: Desk, found: Any, odd: list[Any], text: str) -> None:
    import msgspec

    from holdfast.cli.scanning.facts import facts_of

    desk.screen.document({
        "server": found.server, "version": found.version,
        "tools": [{"tool": one.own, "name": one.name, "definition": one.digest,
                   **msgspec.to_builtins(facts_of(one))} for one in found.tools],
        "findings": [msgspec.to_builtins(one) for one in odd], "policy": text,
    })  # fmt: skip


def _tell(desk: Desk, found: Any, odd: list[Any], text: str) -> None:
    from holdfast.cli.scanning.facts import facts_of
    from holdfast.explain.text import cut, one_line

    screen = desk.screen
    screen.note(f"{found.server}: {len(found.tools)} tools, revision {one_line(found.version)}")
    rows: list[list[Any]] = []
    for one in found.tools:
        facts = facts_of(one)
        rows.append([(cut(one_line(one.own), 60), "bold"), facts.effect, one.digest[:12],
                     facts.why])  # fmt: skip
    if rows:
        screen.table(["TOOL", "EFFECT", "DEFINITION", "WHY"], rows)
    for each in odd:
        place = f"{one_line(each.tool) or 'server'}: {each.where}"
        screen.say(("odd      ", "yellow"), f"{place}: {one_line(each.what)}")
        if each.text:
            screen.say((f"         {each.text}", "dim"))
    screen.note(f"{len(odd)} oddities")
    if text:
        screen.say("")
        screen.say(text.rstrip())
