"""``holdfast report``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--framework", "-f", "names", multiple=True, metavar="NAME",
              help="nist-ai-rmf, eu-ai-act, iso-42001, owasp-asi (default: all).")  # fmt: skip
@click.option("--since", default="", metavar="TIME", help="Count since: 30d, 2026-01-01.")
@click.option("--owner", "owned", multiple=True, metavar="CONTROL=WHO",
              help="Who answers for a control, or for a whole framework.")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--html", "form", flag_value="html", help="One HTML page that loads nothing.")
@click.option("--markdown", "form", flag_value="markdown", default=True, help="The default.")
@click.option("--output", "-o", default="", metavar="FILE", help="Write there instead.")
@shared
def command(
    *, names: tuple[str, ...], since: str, owned: tuple[str, ...], policy: str, form: str,
    output: str, desk: Desk,
) -> None:  # fmt: skip
    """Print the evidence for controls of frameworks, its gaps and owners.

    For each control: what the record shows, with examples, what it does not show, who owns it, and
    what stays the organisation's own work. It never says that a control is met.

    \b
    Examples:
      holdfast report -f eu-ai-act --since 90d
      holdfast report --html -o evidence.html --owner nist-ai-rmf="Ann Lee"
    """
    from holdfast.explain.reporting import as_html, as_json, as_markdown
    from holdfast.explain.text import json_text

    made = asyncio.run(_compose(desk, names, since, owned, policy))
    if desk.screen.json:
        text = json_text(as_json(made)) + "\n"
    else:
        text = as_html(made) if form == "html" else as_markdown(made)
    if not output:
        click.echo(text, nl=False)
        return
    Path(output).write_text(text, encoding="utf-8")
    if not desk.screen.json:
        desk.screen.note(f"wrote {output}")


async def _compose(
    desk: Desk, names: tuple[str, ...], since: str, owned: tuple[str, ...], policy: str
) -> Any:
    import msgspec

    from holdfast.cli.since import since_ms
    from holdfast.explain import frameworks
    from holdfast.explain.evidence import collect_evidence
    from holdfast.explain.reporting import compose
    from holdfast.journal.store import RunQuery
    from holdfast.runtime.maintenance import every_event, policy_of
    from holdfast.values.errors import Misuse

    chosen = [frameworks.framework(name) for name in names or frameworks.names()]
    answering: dict[str, str] = {}
    for text in owned:
        control, equals, who = text.partition("=")
        if not equals or not who:
            raise Misuse(f"--owner {text!r}: say CONTROL=WHO")
        answering[control] = who
    settings = desk.settings
    if policy:
        settings = msgspec.structs.replace(settings, policy=policy)
    known = policy_of(settings)
    after = since_ms(since, desk.now_ms())
    async with desk.store() as store:
        agents = {row.agent for row in await store.runs(RunQuery(limit=1_000_000))}
        owners = {name: card.owner for name in agents if (card := known.agent(name))}
        found = collect_evidence(every_event(store, await store.last_seq()), owners, after)
        name = str(store.directory)
    return compose(chosen, found, store=name, made=desk.now_ms(), since=after, owners=answering)
