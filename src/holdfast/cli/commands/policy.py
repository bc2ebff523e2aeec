"""``holdfast policy``."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli.commands.policy_backtest import command as backtest
from holdfast.cli.commands.policy_suggest import command as suggest
from holdfast.cli.consulting import consulting
from holdfast.cli.desk import Desk, json_only, shared
from holdfast.explain.judged import rule_document
from holdfast.explain.text import Part, one_line

_STYLES = {"allow": "green", "verify": "cyan", "escalate": "yellow", "deny": "red"}


@click.group()
def command() -> None:
    """Write, check and try policies.

    A policy is a YAML file, or a folder of them with its cases in `tests/`. See docs/policy.md.

    \b
    Example: holdfast policy check policies/support
    """


@command.command()
@click.argument("path", required=False, default="", metavar="[PACK]")
@click.argument("folder", required=False, default="")
@json_only
def start(path: str, folder: str, *, desk: Desk) -> None:
    """Copy a starter pack into a folder of yours; without PACK, list them.

    \b
    Example: holdfast policy start support policies/support
    """
    from holdfast.runtime.packs import pack, packs
    from holdfast.values.errors import Misuse

    if not path:
        found = packs()
        if desk.screen.json:
            return desk.screen.document({"packs": found})
        desk.screen.table(["PACK", "WHAT"], [[(n, "bold"), what] for n, what in found.items()])
        return None
    target = Path(folder or path)
    source = pack(path)
    if target.exists():
        raise Misuse(f"{target} exists already: say another folder")
    shutil.copytree(source, target)
    if desk.screen.json:
        return desk.screen.document({"pack": path, "folder": str(target)})
    desk.screen.say(f"{target}: read it, change it, keep it in Git, then "
                    f"holdfast policy check {target}")  # fmt: skip
    return None


@command.command()
@click.argument("path", metavar="POLICY")
@click.option("--cases", default="", metavar="PATH", help="Cases (default: POLICY/tests).")
@json_only
def check(path: str, *, cases: str, desk: Desk) -> int:
    """Load a policy, print its rules, and say what is wrong or weak.

    It names rules and entries that have no effect, runs the cases, and then drops and misspells
    every part of their input: no verdict may get weaker (a case names what may in `optional`).
    Exit code 1 if a case fails or a verdict gets weaker.

    \b
    Example: holdfast policy check policies/support
    """
    from holdfast.gate import load_policy_file
    from holdfast.gate.rehearse import lint, mutate

    policy = load_policy_file(path)
    _note_engine(desk, policy)
    known = _cases(path, cases)
    odd = lint(policy)
    failed = _failed(known, policy)
    weak = [each for case in known for each in mutate(case, policy)]
    screen = desk.screen
    if screen.json:
        screen.document({
            "name": policy.name, "hash": policy.hash, "otherwise": policy.otherwise,
            "rules": [rule_document(rule) for rule in policy.rules], "odd": odd,
            "cases": len(known), "failed": failed,
            "weaker": [{"case": each.case.name, "part": each.part, "how": each.how,
                        "before": each.before.decision, "after": each.after.decision}
                       for each in weak],
        })  # fmt: skip
        return 1 if failed or weak else 0
    _print_rules(desk, policy)
    for text in odd:
        screen.say(("odd      ", "yellow"), text)
    for each in failed:
        screen.say(("failed   ", "red"), f"{each['place']}: {each['name']}: {each['wrong']}")
    for each in weak:
        screen.say(("weaker   ", "red"), f"{each.case.place}: {each.case.name}: {each.part} "
                   f"{each.how}: {each.before.decision} becomes {each.after.decision} "
                   f"by {each.after.rules[0]}")  # fmt: skip
    screen.say(f"{len(known)} cases, {len(failed)} failed; {len(weak)} losses would weaken a "
               f"verdict; {len(odd)} oddities")  # fmt: skip
    return 1 if failed or weak else 0


@command.command()
@click.argument("path", metavar="POLICY")
@click.option("--cases", default="", metavar="PATH", help="Cases (default: POLICY/tests).")
@json_only
def test(path: str, *, cases: str, desk: Desk) -> int:
    """Run the cases of a policy. Exit code 1 if one fails, 2 if there is none.

    \b
    Example: holdfast policy test policies/support
    """
    from holdfast.gate import load_policy_file
    from holdfast.values.errors import NotFound

    policy = load_policy_file(path)
    known = _cases(path, cases)
    if not known:
        raise NotFound(f"{path}: there are no cases: write some in {Path(path) / 'tests'}/*.yaml")
    _note_engine(desk, policy)
    failed = _failed(known, policy)
    if desk.screen.json:
        desk.screen.document({"cases": len(known), "failed": failed})
        return 1 if failed else 0
    for each in failed:
        desk.screen.say(("failed ", "red"), f"{each['place']}: {each['name']}: {each['wrong']}")
    desk.screen.say(f"{len(known)} cases, {len(failed)} failed")
    return 1 if failed else 0


@command.command()
@click.argument("path", metavar="POLICY")
@click.argument("what", metavar="ACTION")
@shared
def explain(path: str, what: str, *, desk: Desk) -> int:
    """Judge one action and show what every rule makes of it.

    ACTION is RUN@STEP (its facts are those stored with its verdict), a file with an input document
    as JSON, or `-` for one on stdin. POLICY may be `default`. If it has an engine outside (Open
    Policy Agent), that is asked too; exit code 5 if it gives no answer, which denies.

    \b
    Examples:
      holdfast policy explain policies/support 7k3@4
      holdfast policy explain default - < action.json
    """
    import msgspec

    from holdfast.gate import DEFAULT_POLICY, judge, load_policy_file
    from holdfast.gate.outside import question, ruling, stricter
    from holdfast.gate.rehearse import explain as readings_of

    policy = DEFAULT_POLICY if path == "default" else load_policy_file(path)
    proposal, facts = _action(desk, what)
    verdict = judge(proposal, policy, facts)
    readings = readings_of(proposal, policy, facts)
    said: Any = None
    with consulting(policy) as ask:
        if ask is not None:
            said = ruling(ask(question(proposal, facts, dict(proposal.args))))
            verdict = stricter(verdict, said, policy)
    code = 5 if isinstance(said, str) else 0
    if desk.screen.json:
        desk.screen.document({
            "verdict": msgspec.structs.asdict(verdict),
            "rules": [{"id": each.rule.id, "then": each.rule.then, "matched": each.matched,
                       "why": each.why, "place": f"{each.rule.source}:{each.rule.line}"}
                      for each in readings],
            "engine": None if isinstance(said, str | None) else msgspec.structs.asdict(said),
            "no_answer": said if code else "",
        })  # fmt: skip
    else:
        _print_verdict(desk, verdict, readings, policy.engine, said)
    return code


@command.command()
@click.argument("old")
@click.argument("new")
@click.option("--over", default="", metavar="FILE", help="Input documents, one JSON a line.")
@json_only
def diff(old: str, new: str, *, over: str, desk: Desk) -> None:
    """Compare two policies: rules, and verdicts on the cases of both and on given actions.

    \b
    Example: holdfast policy diff policies/support ../main/policies/support
    """
    from holdfast.gate import load_policy_file
    from holdfast.gate.rehearse import changes, compare

    before, after = load_policy_file(old), load_policy_file(new)
    actions = [(case.name, case.proposal, case.facts)
               for path in (old, new) for case in _cases(path, "")]  # fmt: skip
    actions += _lines(over) if over else []
    _note_engine(desk, before, after)
    rules = compare(before, after)
    changed = changes(before, after, {name: (name, *rest) for name, *rest in actions}.values())
    screen = desk.screen
    if screen.json:
        screen.document({**rules, "actions": len(actions), "verdicts": [
            {"action": each.name, "before": each.before.decision, "after": each.after.decision,
             "rules": list(each.after.rules)} for each in changed
        ]})  # fmt: skip
        return
    for sign, word in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for name in rules[word]:
            screen.say((f"{sign} {name}", {"+": "green", "-": "red"}.get(sign, "yellow")))
    for section in rules["sections"]:
        screen.say((f"~ section {section}", "yellow"))
    rows: list[list[Part]] = [
        [each.name, (each.before.decision, _STYLES[each.before.decision]), each.before.rules[0],
         (each.after.decision, _STYLES[each.after.decision]), each.after.rules[0]]
        for each in changed
    ]  # fmt: skip
    if rows:
        screen.table(["ACTION", "BEFORE", "BY", "AFTER", "BY"], rows)
    screen.say(f"{len(actions)} actions judged, {len(changed)} verdicts differ")


# Reading what is given ----------------------------------------------------------------------------


def _cases(path: str, cases: str) -> tuple[Any, ...]:
    from holdfast.gate.files import load_cases
    from holdfast.values.errors import NotFound

    if cases and not Path(cases).exists():
        raise NotFound(f"{cases}: there is no such file or folder of cases")
    if not cases and not Path(path).is_dir():
        return ()
    return load_cases(cases or Path(path) / "tests")


def _failed(cases: tuple[Any, ...], policy: Any) -> list[dict[str, str]]:
    from holdfast.gate import judge

    found = [(case, case.wrong(judge(case.proposal, policy, case.facts))) for case in cases]
    return [
        {"place": case.place, "name": case.name, "wrong": wrong} for case, wrong in found if wrong
    ]


def _action(desk: Desk, what: str) -> tuple[Any, Any]:
    from holdfast.gate.document import read_input
    from holdfast.values.errors import NotFound

    if what == "-":
        return read_input(sys.stdin.buffer.read(), "stdin")
    if "@" in what and not Path(what).exists():
        return asyncio.run(_recorded(desk, what))
    try:
        return read_input(Path(what).read_bytes(), what)
    except OSError as error:
        raise NotFound(f"{what}: {error.strerror}; give RUN@STEP, a file or -") from None


async def _recorded(desk: Desk, what: str) -> tuple[Any, Any]:
    """The action of a recorded step, with the facts that its verdict kept."""
    import msgspec

    from holdfast.explain.past import find_step
    from holdfast.explain.telling import plain
    from holdfast.gate import KINDS, Facts, Proposal
    from holdfast.runtime.refs import find
    from holdfast.values.errors import Misuse

    async with desk.store() as store:
        row, key = await find(store, what)
        step, about = await find_step(store, row.run, key)
        args = plain(step.args, store.get)
        verdicts = [each.body.verdict for each in about if getattr(each.body, "verdict", None)]
        started = about[0].history.started
    plan = step.plan
    kind = "wait" if plan and plan.kind == "signal" else plan.kind if plan else ""
    if plan is None or kind not in KINDS:
        raise Misuse(f"{what} is no action that policy judges")
    kept = verdicts[-1].facts if verdicts else {}
    role = started.role if started else ""
    proposal = Proposal(row.agent, role, kind, plan.name, plan.effect, args or {})
    return proposal, msgspec.convert(kept, Facts)


def _lines(path: str) -> list[Any]:
    from holdfast.gate.document import read_input
    from holdfast.values.errors import NotFound

    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from None
    return [
        (f"{path}:{number}", *read_input(line, f"{path}:{number}"))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


# Printing -----------------------------------------------------------------------------------------


def _print_verdict(desk: Desk, verdict: Any, readings: list[Any], engine: Any, said: Any) -> None:
    screen = desk.screen
    screen.say((verdict.decision, _STYLES[verdict.decision]), f" by {', '.join(verdict.rules)}")
    for label, text in (("reason", verdict.reason), ("way", verdict.way),
                        ("approvers", ", ".join(verdict.approvers)),
                        ("checks", ", ".join(verdict.checks))):  # fmt: skip
        if text:
            screen.say((f"{label} ", "dim"), text)
    words: dict[bool | None, Part] = {
        True: ("yes", "bold"), False: ("no", "dim"), None: ("unclear: deny", "red")
    }  # fmt: skip
    rows: list[list[Part]] = [
        [(each.rule.id, "bold"), each.rule.then, words[each.matched], each.why,
         (f"{each.rule.source}:{each.rule.line}", "dim")]
        for each in readings
    ]  # fmt: skip
    if isinstance(said, str):
        rows.append([("engine", "bold"), "deny", ("no answer", "red"), one_line(said), engine.opa])
    elif said is not None:
        by = one_line(f"by {', '.join(said.rules)}")
        rows.append([("engine", "bold"), said.decision, ("yes", "bold"), by, (engine.opa, "dim")])
    screen.table(["RULE", "THEN", "MATCHES", "WHY", "WHERE"], rows)


def _note_engine(desk: Desk, *policies: Any) -> None:
    """Say that cases are judged by rules alone."""
    if any(policy.engine is not None for policy in policies):
        desk.screen.note(("the engine outside is not asked: these are verdicts of the rules alone",
                          "yellow"))  # fmt: skip


def _print_rules(desk: Desk, policy: Any) -> None:
    screen = desk.screen
    screen.say((f"policy {policy.name}", "bold"), f"  {len(policy.rules)} rules",
               (f"  hash {policy.hash[:12]}", "dim"))  # fmt: skip
    rows: list[list[Part]] = [
        [(str(rule.line), "dim"), (rule.id, "bold"), (rule.then, _STYLES[rule.then]), _when(rule),
         rule.condition.text if rule.condition else "", rule.reason]
        for rule in policy.rules
    ]  # fmt: skip
    screen.table(["LINE", "RULE", "THEN", "WHEN", "IF", "REASON"], rows)
    screen.say(("otherwise ", "dim"), policy.otherwise)


def _when(rule: Any) -> str:
    return "; ".join(f"{name}: {', '.join(want)}" for name, want in rule.when.items()) or "always"


command.add_command(backtest)
command.add_command(suggest)
