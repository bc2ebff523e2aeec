"""From a store and a command's options to a reading of what was spent."""

from __future__ import annotations

from typing import Any

from holdfast.cli.desk import Desk
from holdfast.cli.since import since_ms


async def economics_of(
    desk: Desk, *, since: str = "", agent: str = "", policy: str = "", **more: Any
) -> Any:
    """The `holdfast.explain.economics.Economics` of the store. ``more``: as in its ``Asked``."""
    import msgspec

    from holdfast.explain.economics import Asked, economics
    from holdfast.runtime.maintenance import every_event, policy_of

    settings = desk.settings
    if policy:
        settings = msgspec.structs.replace(settings, policy=policy)
    card = policy_of(settings).agent if settings.policy else None
    asked = Asked(
        since=since_ms(since, desk.now_ms()), agent=agent, card=card, joules=settings.joules, **more
    )
    async with desk.store() as store:
        return economics(every_event(store, await store.last_seq()), asked)
