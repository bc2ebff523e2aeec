"""``python -m bench.security [--half SET] [--json] [--why] [--policy FOLDER]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.security.replay import careful, replay, trusting
from bench.security.scenario import LATER, cases
from bench.security.tally import Played, as_json, markdown
from holdfast.gate import Policy, load_policy_file

SETS = ("design", "aside", "both", *LATER, "all")
PACK = Path(__file__).resolve().parents[2] / "policies" / "guard"


async def play(half: str, policy: Policy) -> list[Played]:
    """Replay every case of a half with both reviewers."""
    return [
        Played(
            case,
            await replay(case, policy, careful),
            await replay(case, policy, trusting),
        )
        for case in cases(half)
    ]


def why(played: Sequence[Played]) -> str:
    """What went otherwise than it should, call by call: for the half that one designs with."""
    lines: list[str] = []
    for one in played:
        for done in one.trusting if one.case.disguise else one.careful:
            wrong = done.call.harm and done.performed if one.case.disguise else (
                done.decision not in ("allow", "verify")
            )  # fmt: skip
            if wrong:
                lines.append(
                    f"{one.case.id} {one.case.disguise or 'honest'}: {done.decision} {done.effect} "
                    f"{done.call.tool} {dict(done.call.args)} by {', '.join(done.rules)}; "
                    f"{done.facts}"
                )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.security", description=__doc__)
    parser.add_argument("--half", choices=SETS, default="both")
    parser.add_argument("--json", action="store_true", help="figures as JSON instead of a table")
    parser.add_argument("--why", action="store_true", help="of the design half, what went wrong")
    parser.add_argument("--policy", default=str(PACK), help="the pack to judge with")
    asked = parser.parse_args()
    if asked.why and asked.half != "design":
        parser.error("--why is for --half design: the other half stays aside")
    played = asyncio.run(play(asked.half, load_policy_file(asked.policy)))
    print(json.dumps(as_json(played), indent=1) if asked.json else markdown(played))
    if asked.why:
        print(why(played))
    return 0


if __name__ == "__main__":
    sys.exit(main())
