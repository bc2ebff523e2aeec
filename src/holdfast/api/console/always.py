"""From a question to a rule: what the policy would have to say not to ask it again.

The rule is only shown here. Who may change the policy goes on with it in the policy's editor, where
it is tried on the past before it can be put in force.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.diffs import Row, text_rows
from holdfast.api.console.render import page
from holdfast.api.site import Site, site_of
from holdfast.engine.inbox import Open, open_questions, question_of
from holdfast.explain.text import one_line
from holdfast.journal.events import body_of
from holdfast.runtime.amending import change_of, rule_for
from holdfast.values.canon import digest
from holdfast.values.errors import HoldfastError, NotFound


class File(msgspec.Struct, frozen=True):
    """A file that would change. ``was``: digest of its text now; ``text``: what it would be."""

    name: str
    was: str
    text: str
    rows: list[Row]


class Offer(msgspec.Struct, frozen=True):
    """What would allow this action from now on. ``files``: none if the policy is not in files;
    ``rule``: the text of the rule; ``failed``: what cases of the policy say against it."""

    rule: str
    files: list[File]
    failed: tuple[str, ...]


async def always(request: Request) -> Response:
    """The rule that would allow the action of a question, as a change of the policy."""
    person, site = need(request, "approver"), site_of(request)
    run, key = request.path_params["run"], request.path_params["key"]
    queue = await open_questions(site.store)
    found = next((one for one in queue if (one.row.run, one.wait.key) == (run, key)), None)
    if found is None:
        raise NotFound(f"run {run}@{key} asks nothing now")
    offer, trouble = None, ""
    try:
        offer = await _offer(site, found, person.name)
    except HoldfastError as error:
        trouble = one_line(str(error))
    return page(request, "always.html", offer=offer, trouble=trouble)


async def _offer(site: Site, found: Open, by: str) -> Offer:
    # INVARIANT X210: what "always allow" proposes is what `approve --always` does, and is written
    # nowhere from here: only the policy's editor saves, for admins, after it was tried
    question = await question_of(site.store, found)
    rule = rule_for(by, found, question, "proposed")
    if not site.settings.policy or found.seed is not None:
        return Offer(rule.text(), [], ())
    (begun,) = await site.store.read(found.row.run, 0, 1)
    role = getattr(body_of(begun), "role", "")
    change = change_of(site.settings.policy, rule, found, question, role)
    files = [
        File(Path(name).name, digest(old.encode()), new, text_rows(old, new))
        for (old, name), (new, _) in zip(change.old, change.new, strict=True)
        if old != new
    ]
    return Offer(rule.text(), files, change.failed)
