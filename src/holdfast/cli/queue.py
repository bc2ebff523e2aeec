"""The queue of questions, for people and programs: what is asked, by whom, why, how risky."""

from __future__ import annotations

from holdfast.cli.desk import Desk
from holdfast.engine.inbox import Open, Question
from holdfast.engine.seeding import Seeded
from holdfast.explain import telling
from holdfast.explain.text import Part, cut, one_line
from holdfast.journal.quorum import missing
from holdfast.journal.store import Store


def line(found: Open, question: Question, now: int) -> list[Part]:
    """A question as a row of a table: place, agent, age, expiry, risk, rules, text."""
    wait, verdict = found.wait, question.asked.verdict
    left = f"{telling.age(now, wait.due)} left" if wait.due > now else "expired" * bool(wait.due)
    votes = f"{len(wait.approved)} of {wait.needs}" if wait.needs > 1 else ""
    return [
        (found.place, "bold"), found.row.agent, telling.age(wait.since, now), left,
        risk(verdict.risk) if verdict else "", votes,
        ", ".join(verdict.rules) if verdict else wait.about,
        cut(one_line(wait.text), 300),
    ]  # fmt: skip


TITLES = ["STEP", "AGENT", "ASKED", "EXPIRES", "RISK", "APPROVED", "RULES", "WHAT"]


def risk(share: float) -> str:
    """A probability, for people."""
    return f"{share:.0%}" if share else ""


def show(desk: Desk, store: Store, found: Open, question: Question) -> None:
    """All of a question, for a person who decides it."""
    screen, wait, asked = desk.screen, found.wait, question.asked
    verdict, now = asked.verdict, desk.now_ms()
    screen.say((found.place, "bold"), f"  {one_line(found.row.agent)}  asked ",
               f"{telling.age(wait.since, now)} ago", (f"  {wait.digest[:12]}", "dim"))  # fmt: skip
    screen.say("  " + one_line(wait.text))
    if wait.due:
        screen.say(("  expires  ", "dim"), telling.clock(wait.due))
    if lacks := missing(wait.panels, wait.approved):
        so_far = f"{', '.join(wait.approved)} approved; " if wait.approved else ""
        screen.say(("  approval ", "dim"), one_line(f"{so_far}takes {lacks}"))
    if verdict is not None:
        policy = f"  policy {verdict.policy}" if verdict.policy else ""
        screen.say(("  rules    ", "dim"), ", ".join(verdict.rules), (policy, "dim"))
        if verdict.risk:
            parts = sorted(verdict.parts.items(), key=lambda part: -abs(part[1]))
            told = ", ".join(f"{name} {points:+.2f}" for name, points in parts)
            screen.say(("  risk     ", "dim"), f"{risk(verdict.risk)}  {one_line(told)}")
        for name, word in verdict.facts.get("origin", {}).items():
            via = verdict.facts.get("via", {}).get(name, "")
            where = f" ({one_line(str(via))})" if via else ""
            style = "red" if word in ("nowhere", "untrusted") else ""
            screen.say(("  origin   ", "dim"), f"{one_line(name)}: ", (str(word), style), where)
        for check in verdict.checked:
            style = "green" if check.passed else "red"
            screen.say(("  check    ", "dim"), (check.name, style), f"  {one_line(check.text)}")
    if isinstance(question.args, dict):
        _arguments(desk, question)
    _effect(desk, store, question)


def _arguments(desk: Desk, question: Question) -> None:
    """Arguments one by one; where a person changed some, what they were and are."""
    edited = question.edited if isinstance(question.edited, dict) else None
    lines: list[str] = []
    for name in dict.fromkeys((*question.args, *(edited or {}))):
        old, new = question.args.get(name), (edited or question.args).get(name)
        if old == new:
            lines.append(f"  {one_line(f'{name} = {old!r}')}")
        else:
            lines += [f"- {one_line(f'{name} = {old!r}')}", f"+ {one_line(f'{name} = {new!r}')}"]
    desk.screen.patch("\n".join(cut(text, 2000) for text in lines))


def _effect(desk: Desk, store: Store, question: Question) -> None:
    """What it would change, as a patch: of a merge, what comes in."""
    plan, args = question.asked.plan, question.args
    if plan is None or plan.kind != "merge" or not isinstance(args, dict):
        return
    base, theirs = args.get("base"), args.get("theirs")
    if isinstance(base, str) and isinstance(theirs, str) and base and theirs:
        from holdfast.world import Stage, diff, unified

        stage = Stage(store.get)
        desk.screen.patch(unified(stage, diff(stage, base, theirs)))


def tell_seeded(desk: Desk, error: Seeded) -> int:
    """Say at once that it was a seeded case; 1 if it was approved."""
    if desk.screen.json:
        desk.screen.document({"seeded": True, "right": error.right, "text": str(error)})
    else:
        desk.screen.note((one_line(str(error)), "green" if error.right else "bold red"))
    return 0 if error.right else 1
