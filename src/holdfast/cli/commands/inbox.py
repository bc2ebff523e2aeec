"""``holdfast inbox``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.group(invoke_without_command=True)
@click.option("--mine", is_flag=True, help="Only what you may answer (see HOLDFAST_USER).")
@click.option("--review", is_flag=True,
              help="Instead: allowed calls to be looked at afterwards.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=limits.LIST_ROWS, help="How many.",
              show_default=True)  # fmt: skip
@click.option("--no-input", is_flag=True, help="Only list, even on a terminal.")
@shared
@click.pass_context
def command(
    ctx: click.Context, *, mine: bool, review: bool, limit: int, no_input: bool, desk: Desk
) -> int:
    """List what runs ask people, the longest waiting first; on a terminal, answer it.

    There, each question is shown with its rules, risk and where each value came from, and you type
    a (approve), d (deny), e (change arguments), s (skip) or q (quit). With --json: one document a
    question.

    \b
    Examples:
      holdfast inbox
      holdfast inbox --mine --json
      holdfast inbox --review
    """
    if ctx.invoked_subcommand is not None:
        return 0
    return asyncio.run(_inbox(desk, mine, review, limit, asks=not no_input))


async def _inbox(desk: Desk, mine: bool, review: bool, limit: int, *, asks: bool) -> int:
    from holdfast.cli.asking import keyboard
    from holdfast.cli.reviewing import go_through, look_back

    keys = keyboard() if asks and not desk.screen.json and desk.screen.out.isatty() else None
    async with desk.store() as store:
        if keys is not None:
            count = await (look_back if review else go_through)(desk, store, keys)
            desk.screen.note(f"{count} answered")
        elif review:
            await _reviews(desk, store, limit)
        else:
            await _list(desk, store, desk.user if mine else "", limit)
    return 0


async def _list(desk: Desk, store: Any, by: str, limit: int) -> None:
    from holdfast.cli.queue import TITLES, document, line
    from holdfast.engine.inbox import open_questions, question_of

    waiting = await open_questions(store, by)
    shown = [(one, await question_of(store, one)) for one in waiting[:limit]]
    if desk.screen.json:
        for one, question in shown:
            desk.screen.document(document(one, question))
    elif shown:
        now = desk.now_ms()
        desk.screen.table(TITLES, [line(one, question, now) for one, question in shown], fold=3)
    else:
        desk.screen.note(("nobody is asked anything", "dim"))
    if len(waiting) > limit:
        desk.screen.note((f"{len(waiting) - limit} more: --limit {len(waiting)}", "dim"))


async def _reviews(desk: Desk, store: Any, limit: int) -> None:
    from holdfast.cli import telling
    from holdfast.cli.queue import review_document
    from holdfast.engine.inbox import reviews

    found = await reviews(store)
    for one in found[:limit]:
        told = review_document(one, store)
        if desk.screen.json:
            desk.screen.document(told)
        else:
            args = telling.brief_args(one.step.args, store.get, 120)
            name = telling.action(one.step.plan)
            desk.screen.say((one.place, "bold"), f"  {one.row.agent}  {name}({args})  ",
                            told["status"])  # fmt: skip
    if not found:
        desk.screen.note(("nothing is to be looked at", "dim"))


@command.command()
@click.option("--chat", required=True, metavar="URL",
              help="Where messages are posted; @FILE holds it.")  # fmt: skip
@click.option("--secret-file", required=True, metavar="FILE",
              help="File with the secret that signs callbacks; only you may read it.")  # fmt: skip
@click.option("--people", required=True, metavar="FILE",
              help="YAML: who approves, by the chat's id of them (U012ABC: ann).")  # fmt: skip
@click.option("--listen", default="127.0.0.1:8737", metavar="HOST:PORT", show_default=True,
              help="Where callbacks come in, at /slack.")  # fmt: skip
@shared
def serve(*, chat: str, secret_file: str, people: str, listen: str, desk: Desk) -> int:
    """Post what runs ask to a chat that speaks as Slack does, and take clicks as answers.

    Callbacks are signed (HMAC-SHA256 over a timestamp and the body) and good for five minutes and
    once. Only the people listed in --people count, and only where a question lets them answer.
    Needs the extra api: pip install 'holdfast[api]'.

    \b
    Example:
      holdfast inbox serve --chat @webhook --secret-file signing --people people.yaml
    """
    from holdfast.cli.chatting import serve_chat

    return asyncio.run(serve_chat(desk, chat, secret_file, people, listen))
