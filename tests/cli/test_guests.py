"""Runs of clients behind doors, as the command line shows them: looked at and answered, not run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast import Described, Runtime, Suspended
from tests.cli.support import invoke

SEND = Described("mail.send", lambda args: f"sent to {args['to']}", effect="once")


async def _call(patience: float) -> str:
    async with Runtime() as runtime:
        guest = await runtime.guest("claude", door="mcp", name="c1", by="ann")
        try:
            return (await guest.step(SEND, {"to": "ada"}, patience=patience)).value
        finally:
            await guest.leave()


def test_a_call_that_waits_is_approved_and_goes_on_with_its_client(place: Path):
    with pytest.raises(Suspended):
        asyncio.run(_call(0.0))
    assert "mail.send" in invoke("inbox").output
    approved = invoke("approve", "c1")
    assert "makes the call again" in approved.stderr
    assert "resume" not in approved.stderr
    assert "a client behind door mcp" in invoke("ps").output
    for command in ("resume", "replay"):
        assert "no run is in flight" in invoke(command, "--all").stderr
        refused = invoke(command, "c1", code=2)
        assert "claude is a client behind door mcp" in refused.stderr
    assert asyncio.run(_call(0.0)) == "sent to ada"


def test_a_fork_of_a_guest_waits_for_a_client(place: Path):
    with pytest.raises(Suspended):
        asyncio.run(_call(0.0))
    forked = invoke("fork", "c1", "--name", "c2")
    assert "can go on with it" in forked.stderr
    assert "c2" in invoke("ps").output
