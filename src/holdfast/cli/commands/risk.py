"""``holdfast risk``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from holdfast.cli.desk import Desk, shared
from holdfast.explain.judged import past_decisions
from holdfast.gate import Policy, default_policy, load_policy_file
from holdfast.gate.decisions import Decided
from holdfast.gate.facts import GROUPS
from holdfast.gate.fit import Example, Fit, Quality, fit
from holdfast.gate.risk import PRIOR, RiskTable, features
from holdfast.values.errors import Misuse


@click.group()
def command() -> None:
    """Look at how risk is weighed, and learn from what persons decided.

    \b
    Example: holdfast risk fit --write risk.yaml
    """


@command.command()
@shared
def show(*, desk: Desk) -> None:
    """Print the weights in force, as points of the logit.

    \b
    Example: holdfast risk show --json
    """

    table = _policy(desk).risk or RiskTable()
    weights = {name: table.weights.get(name, weight) for name, weight in PRIOR.items()}
    if desk.screen.json:
        desk.screen.document({"base": table.base, "review": table.review, "sample": table.sample,
                              "weights": weights, "offsets": dict(table.offsets)})  # fmt: skip
        return
    desk.screen.say(f"base {table.base:+.2f}, a review costs {table.review:.2f}, "
                    f"{table.sample:.1%} of allowed calls are reviewed afterwards")  # fmt: skip
    rows = [[name, f"{weight:+.2f}", f"{PRIOR[name]:+.2f}"] for name, weight in weights.items()]
    rows += [[name, f"{offset:+.2f}", ""] for name, offset in table.offsets.items()]
    desk.screen.table(["SIGN", "WEIGHT", "UNLEARNED"], rows)


@command.command(name="fit")
@click.option("--since", type=click.FloatRange(0), default=None, metavar="DAYS",
              help="Learn from the last so many days only.")  # fmt: skip
@click.option("--write", "target", default="", metavar="FILE",
              help="Write the new section there, a YAML file for review.")  # fmt: skip
@shared
def fit_(*, since: float | None, target: str, desk: Desk) -> None:
    """Learn weights from approvals, refusals and reviews.

    It changes nothing by itself: the new section is printed, or written to a file that takes effect
    when it stands in the policy. Quality is measured on a third of the runs that was held out.

    \b
    Example: holdfast risk fit --since 90 --write policies/ours/risk.yaml
    """

    if target and Path(target).exists():
        raise Misuse(f"{target} exists: name a new file, and compare the two")
    policy = _policy(desk)
    table = policy.risk or RiskTable()
    examples = asyncio.run(_examples(desk, policy, since))
    if len({one.refused for one in examples}) < 2:
        kind = "approved" if any(one.refused for one in examples) else "refused"
        raise Misuse(
            f"{len(examples)} actions were answered or reviewed, none of them {kind}: "
            "there is nothing to tell them apart by yet"
        )
    found = fit(examples, table)
    text = section(found.table)
    if target:
        Path(target).write_text(text, encoding="utf-8")
    _report(desk, found, len(examples), text, target)


def _policy(desk: Desk) -> Policy:

    file = desk.settings.policy
    return load_policy_file(file) if file else default_policy()


async def _examples(desk: Desk, policy: Policy, days: float | None) -> list[Example]:

    since = 0 if days is None else desk.now_ms() - int(days * 86_400_000)
    async with desk.store() as store:
        past = await past_decisions(store, since_ms=since)
    return [one for one in (example(each, policy) for each in past) if one is not None]


def example(one: Decided, policy: Policy) -> Example | None:
    """A judged action as an example; None if nobody approved, refused or reviewed it, or no facts
    were kept."""
    facts = one.facts
    told = one.answer in ("approve", "deny") or one.reviewed
    if set(facts.groups) != set(GROUPS) or not told:
        return None
    table = policy.risk or RiskTable()
    asked = one.verdict.decision == "escalate"
    refused = one.answer == "deny" or one.reviewed == "wrong"
    weight = 1.0 if asked or not table.sample else 1 / table.sample
    # the effect that the judge goes by: the policy may say a stricter one than the tool declares
    proposal = one.proposal({})
    effect = policy.plan(proposal).effect
    signs = features(facts, msgspec.structs.replace(proposal, effect=effect), table)
    return Example(signs, effect, one.plan.name, one.agent, float(refused), weight, one.run)


def section(table: RiskTable) -> str:
    """The section ``risk`` of a policy, as YAML, with its version (a hash of its content)."""
    import yaml

    from holdfast.values.canon import digest, encode

    content: dict[str, Any] = {
        "base": table.base, "weights": table.weights, "offsets": table.offsets,
        "review": table.review, "sample": table.sample, "decay": table.decay,
    }  # fmt: skip
    version = digest(encode(msgspec.to_builtins(content)))[:12]
    kept = {name: value for name, value in content.items() if value != {}}
    return yaml.safe_dump({"risk": {**kept, "version": version}}, sort_keys=False)


def _report(desk: Desk, found: Fit, count: int, text: str, target: str) -> None:
    screen = desk.screen
    if screen.json:
        screen.document({"examples": count, **msgspec.to_builtins(found)})
        return
    after = found.after
    screen.say((f"learned from {count - after.examples:,} actions", "bold"),
               f", {after.examples:,} held out, {after.refused:,} of them refused")  # fmt: skip
    rows = [
        [name, *(f"{getattr(one, field):.3f}" for one in (found.before, found.after))]
        for name, field in (("ranks a refused one higher (AUC)", "auc"), ("log loss", "loss"),
                            ("squared error (Brier)", "brier"), ("calibration error", "ece"))
    ]  # fmt: skip
    screen.table(["HELD OUT", "NOW", "LEARNED"], rows)
    screen.table(["LEARNED SAYS", "REFUSED", "ACTIONS"], _bins(after))
    if target:
        screen.say(f"written to {target}; it counts when it stands in the policy")
    else:
        screen.say(text.rstrip())


def _bins(quality: Quality) -> list[list[Any]]:
    return [[f"{mean:.2f}", f"{share:.2f}", f"{many:,}"] for mean, share, many in quality.bins]
