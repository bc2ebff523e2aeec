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
@click.option("--policy", default="", metavar="FILE",
              help="Policy whose `review` puts seeded cases in (or HOLDFAST_POLICY).")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=limits.LIST_ROWS, help="How many.",
              show_default=True)  # fmt: skip
@click.option("--no-input", is_flag=True, help="Only list, even on a terminal.")
@shared
@click.pass_context
def command(
    ctx: click.Context, *, mine: bool, review: bool, policy: str, limit: int, no_input: bool,
    desk: Desk,
) -> int:  # fmt: skip
    """List what runs ask people, the longest waiting first; on a terminal, answer it.

    There, each question is shown with its rules, risk and where each value came from, and you type
    a (approve), d (deny), e (change arguments), s (skip) or q (quit). With --json: an array.

    \b
    Examples:
      holdfast inbox
      holdfast inbox --mine --json
      holdfast inbox --review
    """
    if ctx.invoked_subcommand is not None:
        return 0
    return asyncio.run(_inbox(desk, policy, limit, mine=mine, review=review, asks=not no_input))


async def _inbox(
    desk: Desk, policy: str, limit: int, *, mine: bool, review: bool, asks: bool
) -> int:
    from holdfast.cli.asking import keyboard
    from holdfast.cli.reviewing import go_through, look_back
    from holdfast.cli.sowing import sower

    keys = keyboard() if asks and not desk.screen.json and desk.screen.out.isatty() else None
    async with desk.store() as store:
        if sowing := None if review else sower(desk, store, policy):
            await sowing()
        if keys is not None:
            count = await (look_back if review else go_through)(desk, store, keys)
            desk.screen.note(f"{count} answered")
        elif review:
            with desk.screen.listing():
                await _reviews(desk, store, limit)
        else:
            await _list(desk, store, desk.user if mine else "", limit)
    return 0


async def _list(desk: Desk, store: Any, by: str, limit: int) -> None:
    from holdfast.cli.queue import TITLES, line
    from holdfast.engine.inbox import open_questions, question_of
    from holdfast.explain.queue import question_document

    waiting = await open_questions(store, by)
    shown = [(one, await question_of(store, one)) for one in waiting[:limit]]
    if desk.screen.json:
        desk.screen.document([question_document(one, question) for one, question in shown])
    elif shown:
        now = desk.now_ms()
        desk.screen.table(TITLES, [line(one, question, now) for one, question in shown], fold=3)
    else:
        desk.screen.note(("nobody is asked anything", "dim"))
    if len(waiting) > limit:
        desk.screen.note((f"{len(waiting) - limit} more: --limit {len(waiting)}", "dim"))


async def _reviews(desk: Desk, store: Any, limit: int) -> None:
    from holdfast.engine.inbox import reviews
    from holdfast.explain import telling
    from holdfast.explain.queue import review_document

    found = await reviews(store)
    for one in found[:limit]:
        told = review_document(one, store.get)
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


@command.command()
@click.option("--since", default=None, type=click.FloatRange(0), metavar="DAYS",
              help="Only answers of the last so many days.")  # fmt: skip
@shared
def stats(*, since: float | None, desk: Desk) -> None:
    """Say how well persons review.

    For each: answers and their median time; how often others answered the same about the same
    action; what somebody else thought afterwards of what they approved; and how many seeded cases,
    which are known to be bad (`review` in the policy), they did not approve.

    \b
    Example: holdfast inbox stats --since 90
    """
    asyncio.run(_stats(desk, since))


async def _stats(desk: Desk, days: float | None) -> None:
    import msgspec

    from holdfast.explain.judged import told_events
    from holdfast.explain.reviewers import READ, reviewers
    from holdfast.explain.text import one_line

    since = 0 if days is None else desk.now_ms() - int(days * 86_400_000)
    async with desk.store() as store:
        found = reviewers(await told_events(store, READ), store.get, since_ms=since)
    if desk.screen.json:
        desk.screen.document([msgspec.structs.asdict(one) for one in found])
        return
    if not found:
        desk.screen.note(("nobody has answered anything", "dim"))
        return
    rows: list[list[Any]] = [
        [(one_line(one.by), "bold"), str(one.answers), _seconds(one.seconds),
         f"{one.approved}/{one.denied}/{one.edited}", _share(one.agrees, one.differs),
         _share(one.right, one.wrong),
         (_share(one.caught, one.seeded - one.caught), "red" if one.caught < one.seeded else "")]
        for one in found
    ]  # fmt: skip
    titles = ["WHO", "ANSWERS", "MEDIAN", "YES/NO/CHANGED", "AS OTHERS", "RIGHT", "CAUGHT"]
    desk.screen.table(titles, rows)


def _share(good: int, bad: int) -> str:
    return f"{good} of {good + bad}" if good or bad else "-"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
