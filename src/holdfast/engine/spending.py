"""Budgets along the path of a step: reserve before it is performed, settle after, ask at a breach.

`priced` stands around the path of a step and adds to what it commits: what is reserved to the plan
(a step that would have none gets one), what was used to the outcome. A policy without budgets has
the path as it is. All amounts are as meters count them (`holdfast.gate.budgets.SCALE`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from holdfast.engine.asking import shown
from holdfast.engine.commands import (
    Append,
    Await,
    Command,
    Done,
    Path,
    Perform,
    Terms,
    action_digest,
    cost_digest,
    draft,
    settle,
    too_long,
)
from holdfast.engine.held import LEAVES
from holdfast.engine.history import Step
from holdfast.engine.ruling import denied_by_now, known_verdict, refuse
from holdfast.engine.run import Pending, Run
from holdfast.gate import Verdict, counting
from holdfast.gate.approvers import resolve
from holdfast.gate.budgets import UNITS, Budget
from holdfast.gate.counting import Share, Who
from holdfast.journal.events import (
    ApprovalAsked,
    Draft,
    Failure,
    FindingAdded,
    Status,
    StepPlanned,
    StepSettled,
)
from holdfast.journal.meters import BUDGET
from holdfast.journal.quorum import missing
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Exceeded, Misuse

Read = Callable[[Sequence[str]], dict[str, int]]
Charged = Generator[Command, Any, Exceeded | None]
Else = Generator[Command, Any, Path | None]
"""None: go on; a path: go on with that one instead."""

ALERT = "budget.alert"
"""The type of the finding that a share of a budget was used."""


class Bill(msgspec.Struct):
    """What one step owes. ``final``: what its attempts used, by meter; ``open``: what is reserved
    for the one that is not over; ``begun``: it may have been performed; ``lost``: by a process that
    ended; ``told``: what tools had told before it; ``guessed``: nobody told, it is the worst case.
    """

    final: dict[str, int]
    open: dict[str, int]
    begun: bool = False
    lost: bool = False
    told: Mapping[str, float] = {}
    guessed: bool = False

    def over(self, done: Done | None, usage: Mapping[str, float]) -> None:
        """The attempt is over, as ``done`` says (None: nobody knows how).

        INVARIANT E71: what nobody told of counts at what was reserved for it.
        """
        for meter, reserved in self.open.items():
            amount = _amount(meter, done, self.told, usage) if self.begun else 0
            if amount is None or (self.lost and counting.unit_of(meter) != "calls"):
                self.guessed = self.guessed or reserved > 0
                amount = max(reserved, amount or 0)
            self.final[meter] = self.final.get(meter, 0) + amount
        self.open, self.begun, self.lost = {}, False, False


def _is_it(command: Perform) -> bool:
    """Whether the action itself is performed, not what looks it up, stands in for it or checks."""
    aside = command.aside
    return not (command.reconcile or command.preview or aside)


def _amount(
    meter: str, done: Done | None, before: Mapping[str, float], usage: Mapping[str, float]
) -> int | None:
    unit = counting.unit_of(meter)
    if unit == "calls":
        return 1
    if done is None:
        return None
    if unit == "seconds":
        return counting.units(unit, done.took / 1_000_000)
    if unit not in usage or usage[unit] <= before.get(unit, -1.0):
        return None
    # the difference of what was told, not of what was counted: rounding up happens once
    return counting.units(unit, usage[unit] - before.get(unit, 0.0))


def priced(run: Run, pending: Pending, settings: Terms, path: Path, read: Read) -> Path:
    """The path of a step, as budgets make it; ``read`` reads meters."""
    if pending.plan.kind not in ("tool", "model", "spawn"):
        return path
    if not settings.policy.budgets:
        step = run.history.steps.get(pending.key)
        if step is None or not step.charges:
            return path
    return _Pricing(run, pending, settings, read).walk(path)


class _Pricing:
    """One step and its bill."""

    def __init__(self, run: Run, pending: Pending, settings: Terms, read: Read) -> None:
        self.run = run
        self.pending = pending
        self.settings = settings
        self.read = read
        self.step: Step = run.history.step(pending.key)
        self.bill = Bill(dict(self.step.charges), {})
        planned = self.step.planned
        if planned is not None and self.step.charges:
            lost = planned.due <= settings.now_ms()  # else a retry that had not begun
            now = {name: n for name, n in planned.charges.items() if name.startswith(BUDGET)}
            before = {name: n - now.get(name, 0) for name, n in self.step.charges.items()}
            self.bill = Bill(before, dict(now), begun=lost, lost=lost)

    def walk(self, path: Path) -> Path:
        """Drive ``path``, adding charges to what it commits."""
        answer: Any = None
        while True:
            try:
                command = path.send(answer)
            except StopIteration:
                return
            answer, instead = None, None
            if type(command) is Append:
                instead = yield from self._append(command)
            elif type(command) is Perform and _is_it(command):
                if not self.step.charges and not self.bill.open:
                    instead = yield from self._plan(command.attempt)
                if instead is None:
                    self.bill.begun, self.bill.told = True, dict(self.pending.usage)
                    answer = yield command
                    self.bill.over(answer, self.pending.usage)
            else:
                answer = yield command
            if instead is not None:
                path.close()
                path = instead

    def _append(self, command: Append) -> Else:
        for at, one in enumerate(command.drafts):
            body = one.body
            if isinstance(body, StepPlanned) and body.key == self.pending.key and not body.held:
                return (yield from self._reserve(command, at))
            if isinstance(body, StepSettled) and body.key == self.pending.key:
                if self.pending.plan.kind == "spawn" and not (body.error or body.origin):
                    return (yield from self._reserve(command, at))
                yield from self._settle(command, at, body)
                return None
        yield command
        return None

    # Before ---

    def _plan(self, attempt: int) -> Else:
        """Plan a step that is to be performed and has reserved nothing, if a budget counts it."""
        pending, step = self.pending, self.step
        branch, of = pending.branch, pending.about
        body = StepPlanned(pending.key, pending.plan, attempt, branch=branch, of=of)
        first = step.args is None
        blobs: Blobs = pending.blobs if first else {}
        try:
            if not self._shares():
                return None
        except Misuse as error:
            return self._failed(error)
        made = draft(self.run, pending, self.settings, body, args=first)
        return (yield from self._reserve(Append([made], blobs), 0))

    def _reserve(self, command: Append, at: int) -> Else:
        """Commit with the worst case reserved, or charged at once if it is the outcome itself.

        INVARIANT E70: nothing is performed before the most that it can use is reserved in every
        budget that counts it, in the append that plans it; what does not fit is asked about.
        """
        try:
            found = self._shares()
        except Misuse as error:
            return self._failed(error)
        self.bill.over(None, self.pending.usage)
        if self._denied():
            asked = self._asked()
            rules = asked.rules if asked is not None else ()
            return self._refuse("refused", "a person refused what it costs", rules)
        passed = self._passed()
        while found:
            one = command.drafts[at]
            assert isinstance(one.body, StepPlanned | StepSettled)
            charges = {share.meter: share.amount for share in found}
            caps = {share.meter: share.cap for share in found if share.budget.id not in passed}
            if isinstance(one.body, StepSettled):
                owed = {meter: (0, amount) for meter, amount in charges.items()}
                refused = yield from self._charge(command, at, owed, caps)
            else:
                full = {**one.body.charges, **charges}  # what is charged there already stays
                body = msgspec.structs.replace(one.body, charges=full)
                refused = yield _with(command, at, body, caps)
            if refused is None:
                if isinstance(one.body, StepPlanned):
                    self.bill.open = charges
                return None
            share = next(share for share in found if share.meter == refused.meter)
            instead = yield from self._overdraft(share, refused, passed, command, at)
            if instead is None:
                instead = yield from self._stopped()
            if instead is not None:
                return instead
            if self.step.args is not None:  # they were committed with the question
                drafts = list(command.drafts)
                drafts[at] = msgspec.structs.replace(drafts[at], args=None, args_hash="")
                blobs = command.blobs if command.others else {}
                command = Append(drafts, blobs, command.others)
            passed = (*passed, share.budget.id)
        yield command
        return None

    def _shares(self) -> list[Share]:
        pending, policy = self.pending, self.settings.policy
        if not policy.budgets:
            return []
        worst = {"calls": 1.0, "runs": 1.0, "seconds": 0.0, "money": 0.0, "tokens": 0.0}
        for facts in policy.tools:
            if counting.names(facts.tool, pending.plan.name):
                worst["money"], worst["tokens"] = facts.cost, float(facts.tokens)
                break
        tool = pending.tool
        if tool is not None:
            worst["seconds"] = tool.timeout or 0.0
            if tool.estimate is not None:
                worst.update(_estimate(tool.name, tool.estimate, pending.bound))
        return counting.shares(policy.budgets, self._who(), worst, self.settings.now_ms())

    def _who(self) -> Who:
        run, pending = self.run, self.pending
        agent, role = run.program.name, run.program.role
        if pending.of is not None:  # it is the action of whoever asked for it
            agent, role = pending.of.agent, pending.of.role
        card = self.settings.policy.agent(agent)
        return Who(
            agent, (card.role if card else "") or role, pending.plan.kind, pending.plan.name,
            run.family, f"{run.id}@{pending.branch}" if pending.branch else run.id,
            card.team if card else "", card.organisation if card else "",
        )  # fmt: skip

    def _failed(self, error: Misuse) -> Path:
        done = Done(error=Failure("Misuse", too_long(str(error))))
        return settle(self.run, self.pending, self.settings, self.step, done)

    # Asking ---

    def _passed(self) -> tuple[str, ...]:
        """Budgets that a person lets just this action exceed."""
        verdict, given = self._asked(), self.step.given
        if verdict is None:
            return ()
        passed = verdict.rules[1:] if given is None else verdict.rules
        return tuple(one.removeprefix(counting.RULE) for one in passed)

    def _denied(self) -> bool:
        given = self.step.given
        return self._asked() is not None and given is not None and given.decision != "approve"

    def _asked(self) -> Verdict | None:
        """What people were asked about the cost of just this action."""
        asked = self.step.asked
        if asked is None or asked.about != "budget" or asked.verdict is None:
            return None
        return asked.verdict if asked.digest == self._digest(asked.verdict) else None

    def _digest(self, verdict: Verdict) -> str:
        return cost_digest(verdict, action_digest(self.run, self.pending, verdict))

    def _overdraft(
        self, share: Share, refused: Exceeded, passed: tuple[str, ...], command: Append, at: int
    ) -> Else:
        """Ask whether a budget may be exceeded by this action. None if so."""
        run, pending, settings, step = self.run, self.pending, self.settings, self.step
        budget, policy = share.budget, settings.policy
        verdict = Verdict(
            "escalate", tuple(map(counting.rule_of, (budget.id, *passed))),
            _reason(share, refused), policy=policy.hash[:12], approvers=budget.approvers,
        )  # fmt: skip
        who = self._who()
        bound_to = self._digest(verdict)
        if step.asked is None or step.asked.digest != bound_to:
            started = run.history.started
            agents = dict.fromkeys((who.agent, run.program.name))
            card = policy.agent(who.agent)
            asking = resolve(
                budget.approvers, policy.routes, agents=agents,
                owner=card.owner if card is not None else "",
                starter=started.by if started is not None else "", now=settings.now_ms(),
            )  # fmt: skip
            if asking.nobody:
                why = f"nobody may let it be exceeded: {asking.nobody}"
                return self._refuse("refused", why, verdict.rules)
            may = missing(asking.panels, ())
            text = (
                f"May {who.agent} {pending.plan.name}({shown(pending)}) {_more(share)}? "
                f"{verdict.reason}{f' To approve: {may}.' if may else ''}"
            )
            body = ApprovalAsked(
                pending.key, "budget", text, bound_to, plan=pending.plan, verdict=verdict,
                expires=asking.expires, needs=asking.needs, panels=asking.panels,
                barred=asking.barred,
            )  # fmt: skip
            first = command.drafts[at]
            asked = Draft(body, settings.now_ms(), args=first.args, args_hash=first.args_hash)
            yield Append([asked], pending.blobs if first.args is not None else {})
        while (given := step.given) is None:
            expires = step.asked.expires if step.asked is not None else 0
            if expires and settings.now_ms() >= expires:
                why = "nobody said in time that it may be exceeded"
                return self._refuse("expired", why, verdict.rules)
            yield Await("person", expires)
        if given.decision == "approve":
            return None
        note = f": {given.note}" if given.note else ""
        why = f"{_reason(share, refused)} Refused by {given.by}{note}"
        return self._refuse("refused", why, verdict.rules)

    def _stopped(self) -> Else:
        """The path of a step that was stopped, or denied, while people were asked about its cost
        (E115): for what is performed, or begun, right after that nothing else looks again."""
        run, pending, step = self.run, self.pending, self.step
        known = known_verdict(step) or step.verdict
        verdict = yield from denied_by_now(run, pending, self.settings, known)
        if verdict is None:
            return None
        may_have = step.planned is not None and pending.plan.effect in LEAVES
        return refuse(run, pending, self.settings, step, verdict, may_have=may_have)

    def _refuse(self, status: Status, why: str, rules: tuple[str, ...]) -> Path:
        """The path of a step that may not exceed a budget.

        INVARIANT D192: as with every refusal, its verdict and its text name what decided.
        """
        pending, planned = self.pending, self.step.planned
        by = f"{status} by {rules[0]}" if rules else status
        kind = "Expired" if status == "expired" else "Refused"
        if planned is not None and pending.plan.effect == "once":
            # INVARIANT E74: an effect that may have happened is never said to have been refused
            status, kind = "unknown", "OutcomeUnknown"
        failure = Failure(kind, too_long(f"{pending.plan.name}: {by}: {why}"))
        verdict = None  # nobody decided what expired
        if status != "expired":
            policy = self.settings.policy.hash[:12]
            verdict = Verdict("deny", rules, why, policy=policy)
        return settle(
            self.run, pending, self.settings, self.step, Done(error=failure), verdict=verdict,
            status=status, origin="person",
        )  # fmt: skip

    # After ---

    def _settle(self, command: Append, at: int, body: StepSettled) -> Path:
        """Commit the outcome with what was used, and what was reserved beyond it given back.

        INVARIANT E72: the meters of a settled step hold what it used, and nothing reserved.
        """
        reserved = self.step.charges
        if not reserved:
            yield command
            return
        self.bill.over(None, self.pending.usage)
        owed = {meter: (n, self.bill.final.get(meter, 0)) for meter, n in reserved.items()}
        unverified = msgspec.structs.replace(body, unverified=self.bill.guessed)
        command = _with(command, at, unverified, {})
        yield from self._charge(command, at, owed, {})

    def _charge(
        self, command: Append, at: int, owed: Mapping[str, tuple[int, int]], caps: dict[str, int]
    ) -> Charged:
        """Commit an outcome that charges, by meter, what it used instead of what was reserved. If
        shares of limits are passed, with the findings that say so.

        INVARIANT E75: each share of a limit is told of once, by the append that passes it: one that
        tells of none may not pass the next share, one that does counts itself.
        """
        body = command.drafts[at].body
        assert isinstance(body, StepSettled)
        known = {one.id: one for one in self.settings.policy.budgets if one.alert}
        alerting = [meter for meter in owed if meter.split("/")[2] in known]
        while True:
            charges = dict(body.charges)
            charges.update({meter: used - held for meter, (held, used) in owed.items()})
            charges.update((counting.used(meter), used) for meter, (_, used) in owed.items())
            limits, findings = dict(caps), list[Draft]()
            if alerting:
                now = self.read([f(m) for m in alerting for f in (counting.used, counting.alert)])
                for meter in alerting:
                    told, budget = counting.alert(meter), known[meter.split("/")[2]]
                    marks, count = counting.marks(budget), now.get(told, 0)
                    after = now.get(counting.used(meter), 0) + owed[meter][1]
                    passed = max(sum(mark <= after for mark in marks), count)
                    findings += [
                        self._alert(budget, meter, marks[n], after) for n in range(count, passed)
                    ]
                    if passed > count:
                        charges[told], limits[told] = passed - count, passed
                    if passed < len(marks):
                        limits[counting.used(meter)] = marks[passed] - 1
            full = msgspec.structs.replace(body, charges={k: n for k, n in charges.items() if n})
            drafts = [*command.drafts[:at], *findings, *command.drafts[at:]]
            whole = Append(drafts, command.blobs, command.others)
            refused: Exceeded | None = yield _with(whole, at + len(findings), full, limits)
            if refused is None or refused.meter in caps:
                return refused

    def _alert(self, budget: Budget, meter: str, mark: int, used: int) -> Draft:
        limit = counting.cap_of(budget)
        value = {
            "budget": budget.id, "unit": budget.unit, "meter": meter, "at": mark, "used": used,
            "limit": limit, "text": f"{_place(meter)}: {_of(budget, used)} used",
        }  # fmt: skip
        body = FindingAdded(self.run.history.pos, ALERT, by=counting.rule_of(budget.id))
        return Draft(body, self.settings.now_ms(), value=pack(value, {}))


def _with(
    command: Append, at: int, body: StepPlanned | StepSettled, caps: dict[str, int]
) -> Append:
    drafts = list(command.drafts)
    drafts[at] = msgspec.structs.replace(drafts[at], body=body)
    return Append(drafts, command.blobs, command.others, caps)


def _estimate(
    name: str, estimate: Callable[..., Mapping[str, float]], bound: Mapping[str, Any]
) -> dict[str, float]:
    """What a tool says that a call can use at most; `Misuse` if it says nothing of use."""
    try:
        told = dict(estimate(**bound))
    except Exception as error:  # noqa: BLE001 - it is the user's code
        raise Misuse(f"tool {name}: its estimate failed: {type(error).__name__}: {error}") from None
    for unit, amount in told.items():
        if unit not in UNITS or type(amount) not in (int, float) or not amount >= 0:
            raise Misuse(
                f"tool {name}: its estimate says {unit}={amount!r}; "
                f"units are {', '.join(UNITS)}, amounts numbers from 0 on"
            )
    return told


def _of(budget: Budget, count: int) -> str:
    unit, cap = budget.unit, counting.cap_of(budget)
    return f"{counting.shown(unit, count)} of {counting.shown(unit, cap)} {unit}"


def _place(meter: str) -> str:
    _, _, name, scope, time, value = meter.split("/", 5)
    return f"{name} of {scope} {value}" + (f" in {time}" if time != "-" else "")


def _reason(share: Share, refused: Exceeded) -> str:
    """Why an action does not fit: what a person and the agent read."""
    taken = refused.value - share.amount
    return f"{_place(share.meter)}: {_of(share.budget, taken)} used or reserved."


def _more(share: Share) -> str:
    unit = share.budget.unit
    if not share.amount:
        return f"go on, using {unit}"
    return f"cost {counting.shown(unit, share.amount)} {unit} more"
