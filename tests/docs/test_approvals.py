"""What docs/approvals.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.gate import parse_policy
from holdfast.gate.approvers import resolve
from holdfast.journal.quorum import met

PAGE = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text("utf-8")


def test_the_policy_loads_and_means_what_the_page_says():
    text, measures = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    review = parse_policy(measures, "docs/approvals.md").review
    assert (review.seeded, review.again) == (0.02, 0.05)
    policy = parse_policy(text, "docs/approvals.md")
    (rule,) = policy.rules
    asking = resolve(
        rule.approvers, policy.routes, agents=("payer",), owner="", starter="bea", now=0
    )
    assert (asking.needs, asking.expires) == (2, 86_400_000)
    assert met(asking.panels, {"dan", "cem"})
    assert not met(asking.panels, {"dan", "ann"})
    assert not met(asking.panels, {"bea", "cem"})
