"""What the JSON interface shows and does, on a store with runs of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from holdfast.api.replies import KINDS, turned_of
from holdfast.api.table import WAYS
from holdfast.gate import default_policy
from holdfast.journal.events import Draft, RunStarted
from holdfast.journal.store import Batch
from holdfast.values import errors, limits
from holdfast.values.errors import NotFound
from tests.api.sites import HOSTILE, POLICY, TOKENS, call, seed, site_on, until

ADMIN = TOKENS["admin"]


async def get(site: Any, path: str, status: int = 200) -> Any:
    reply = await call(site, "GET", f"/api/v1{path}", token=ADMIN)
    assert reply.status == status, reply.body
    return reply.json


async def do(site: Any, path: str, body: Any, status: int = 200, who: str = "admin") -> Any:
    reply = await call(site, "POST", f"/api/v1{path}", token=TOKENS[who], json_body=body)
    assert reply.status == status, reply.body
    return reply.json


async def test_runs_events_and_steps_are_paged_and_whole(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        first = await get(site, "/runs?limit=3")
        second = await get(site, f"/runs?limit=3&before={first['next']}")
        assert {one["run"] for one in first["runs"] + second["runs"]} == {
            "read", "bad", "shop", "asks", "listens"
        }  # fmt: skip
        assert second["next"] is None
        assert [one["run"] for one in (await get(site, "/runs?status=failed"))["runs"]] == ["bad"]
        read = await get(site, "/runs/read")
        assert (read["run"]["status"], read["result"], read["events"]) == ("done", 1, 5)
        lines: list[Any] = []
        start: Any = 0
        while start is not None:
            page = await get(site, f"/runs/read/events?start={start}&limit=2")
            lines += page["events"]
            start = page["next"]
        assert [one["pos"] for one in lines] == list(range(5))
        assert lines[1]["text"] == "tool look(n=0)"
        every = (await get(site, "/events?limit=200"))["events"]
        assert [one["seq"] for one in every] == list(range(1, len(every) + 1))
        event = await get(site, "/runs/read/events/1")
        assert event["value"] == {"n": 0, "text": HOSTILE}
        assert event["id"] == lines[1]["id"]
        step = await get(site, "/runs/read/steps/2")
        assert (step["action"], step["args"], step["value"]["n"]) == ("tool look", {"n": 1}, 1)
        same = await get(site, "/runs/read/diff?other=read")
        assert (same["same"], same["differ"], same["pairs"]) == (3, 0, [])
        differs = await get(site, "/runs/read/diff?other=bad")
        assert differs["first"] is not None
        assert differs["differ"] == len(differs["pairs"]) > 0
        because = await get(site, "/runs/read/steps/2/why")
        assert (because["action"]["name"], because["action"]["key"]) == ("look", "2")
        assert (await get(site, "/runs/read/why"))["action"]["kind"] == "ending"


async def test_worlds_are_shown_as_patches_and_files_as_text_to_keep(tmp_path: Path):
    """X114."""
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        patch = await get(site, "/runs/read/steps/3/world")
        assert patch["files"] == [{"path": "notes/total.txt", "kind": "added"}]
        assert "+1" in patch["patch"]
        path = f"/api/v1/worlds/{patch['after']}/file?path=notes/total.txt"
        reply = await call(site, "GET", path, token=ADMIN)
        assert reply.body == b"1\n"
        assert reply.header("content-disposition") == "attachment"
        assert reply.header("content-type").startswith("text/plain")
        for odd in ("../etc/passwd", "/etc/passwd", "notes/../../x", "a\0b", "notes", "none"):
            await get(site, f"/worlds/{patch['after']}/file?path={quote(odd)}",
                      404 if odd == "none" else 409)  # fmt: skip
        await get(site, f"/worlds/{'0' * 64}/file?path=a", 404)


async def test_whoever_signed_in_answers_whatever_the_request_says(tmp_path: Path):
    """X112."""
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        inbox = await get(site, "/inbox")
        assert [one["run"] for one in inbox["questions"]] == ["shop", "asks"]
        shop = inbox["questions"][0]
        assert (shop["action"]["name"], shop["args"]) == ("pay", {"amount": 3, "to": "bob"})
        pages = await get(site, "/inbox?limit=1")
        after = quote(pages["next"])
        assert [one["run"] for one in (await get(site, f"/inbox?after={after}"))["questions"]] == [
            "asks"
        ]
        answer = {"decision": "approve", "digest": shop["digest"]}
        await do(site, "/runs/shop/answer", {**answer, "by": "admin-person"}, 400, "approver")
        await do(site, "/runs/shop/answer", {**answer, "digest": "0" * 64}, 409, "approver")
        await do(site, "/runs/shop/answer", answer, 403, "viewer")
        said = await do(site, "/runs/shop/answer", answer, who="approver")
        assert (said["by"], said["missing"]) == ("approver-person", "")
        given = [one for one in await site.store.read("shop") if one.kind == "approval.given"]
        assert [json.loads(one.body)["by"] for one in given] == ["approver-person"]

        async def done() -> bool:
            return (await site.store.run("shop")).status == "done"

        await until(done)
        await do(site, "/runs/shop/answer", answer, 409, "approver")
        await do(site, "/runs/asks/answer", {"decision": "answer", "value": "blue"}, 409)
        await do(site, "/runs/asks/answer", {"decision": "answer", "value": "red"})


async def test_an_edit_is_judged_again_and_recorded_as_whose_it_is(tmp_path: Path):
    # arguments are checked at once where the run is in memory, else when it goes on
    async with site_on(tmp_path, linger=100) as site:
        await seed(site.runtime)
        body: Any = {"decision": "edit", "value": {"amount": "much", "to": "bob"}}
        await do(site, "/runs/shop/answer", body, 409, "approver")
        body["value"] = {"amount": 2, "to": "bob"}
        await do(site, "/runs/shop/answer", body, who="approver")

        await until(lambda: _ended(site, "shop"))
        assert (await get(site, "/runs/shop"))["result"] == "paid 2 to bob"
        step = await get(site, "/runs/shop/steps/2")
        assert (step["args"]["amount"], step["changed"]["amount"]) == (3, 2)
        given = [one for one in step["approvals"] if one["kind"] == "approval.given"]
        assert {one["by"] for one in given} == {"approver-person"}


async def test_runs_are_signalled_stopped_forked_and_gone_on_with(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        await do(site, "/runs/listens/signal", {"name": "go", "value": {"a": 1}})
        await until(lambda: _ended(site, "listens"))
        assert (await get(site, "/runs/listens"))["result"] == {"a": 1}
        await do(site, "/runs/listens/signal", {"name": "go"}, 409)
        await do(site, "/runs/asks/cancel", None)
        await until(lambda: _ended(site, "asks"))
        made = await do(site, "/runs/read/fork", {"step": "1", "edits": {"result.n": 41}})
        assert made["here"]
        await until(lambda: _ended(site, made["run"]))
        fork = await get(site, f"/runs/{made['run']}")
        assert (fork["result"], fork["run"]["holds"], fork["run"]["fork_of"]) == (42, True, "read")
        await do(site, "/runs/read/resume", None, 409)
        await do(site, "/runs/read/fork", {"step": "99"}, 404)
        await do(site, "/runs/read/fork", {"name": "../x"}, 409)
        await do(site, "/runs/read/fork", {"name": "read", "run": False}, 409)


async def test_no_fork_is_made_that_the_server_lacks_a_policy_for(tmp_path: Path):
    async with site_on(tmp_path, policy=default_policy()) as site:
        begun = Draft(RunStarted("reads", policy="0" * 64), 1, args=b"{}")
        await site.store.append((Batch("strict", (begun,), expect=-1, lease="gone"),), {})
        said = await do(site, "/runs/strict/fork", {"name": "new"}, 409)
        assert "was started under policy" in said["error"]["text"]
        assert "start this server with --policy FILE" in said["error"]["way"]
        with pytest.raises(NotFound):
            await site.store.run("new")
        assert not (await do(site, "/runs/strict/fork", {"name": "new", "run": False}))["here"]


async def _ended(site: Any, run: str) -> bool:
    return (await site.store.run(run)).ended


async def test_a_server_that_runs_nothing_says_so_and_still_takes_answers(tmp_path: Path):
    async with site_on(tmp_path, goes_on=False) as site:
        await site.runtime.launch(_program("asks"), (), {}, name="asks")

        async def waits() -> bool:
            return (await site.store.run("asks")).status == "waiting"

        await until(waits)
        said = await do(site, "/runs/asks/resume", None, 409)
        assert "--no-run" in said["error"]["text"]
        await do(site, "/runs/asks/fork", {}, 409)
        made = await do(site, "/runs/asks/fork", {"run": False})
        assert not made["here"]
        await do(site, "/runs/asks/answer", {"decision": "answer", "value": "red"})


def _program(name: str) -> Any:
    from tests.api import sites

    return getattr(sites, name)


async def test_what_is_stopped_everywhere_is_shown_and_lifted():
    async with site_on(None) as site:
        stop = {"what": "tool", "name": "bank.*", "reason": "odd transfers"}
        (one,) = (await do(site, "/switches", stop))["stopped"]
        assert (one["name"], one["by"]) == ("bank.*", "admin-person")
        assert (await get(site, "/switches"))["stopped"] == [one]
        assert (await do(site, "/switches", {**stop, "lift": True}))["stopped"] == []
        await do(site, "/switches", {**stop, "lift": True}, 409)


async def test_policies_are_shown_checked_and_tried_without_keeping_them(tmp_path: Path):
    """X113."""
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        now = await get(site, "/policy")
        assert (now["hash"], [one["id"] for one in now["rules"]]) == (
            POLICY.hash, ["reading", "paying"]
        )  # fmt: skip
        wrong = await do(site, "/policy/check", {"files": [{"name": "a.yaml", "text": "rules: 1"}]})
        assert wrong["wrong"].startswith("a.yaml:")
        text = (
            "version: 1\nname: next\nrules:\n"
            "  - {id: all, when: {effect: [read, world, once]}, then: allow}\n"
        )
        files = {"files": [{"name": "a.yaml", "text": text}]}
        fine = await do(site, "/policy/check", files)
        assert (fine["wrong"], [one["id"] for one in fine["rules"]]) == ("", ["all"])
        tried = await do(site, "/policy/backtest", files)
        assert [(one["run"], one["now"]) for one in tried["changes"]] == [("shop", "allow")]
        assert tried["weaker"] == 1
        engine = text + "engine: {opa: http://127.0.0.1:9/v1/data/x}\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("socket.socket.connect", _no_network)
            found = await do(
                site, "/policy/backtest", {"files": [{"name": "a.yaml", "text": engine}]},
                200 if "engine" in engine else 409,
            )  # fmt: skip
        assert found["judged"] == 0
        twice = {"files": [*files["files"], *files["files"]]}
        assert "one name" in (await do(site, "/policy/check", twice))["wrong"]


def _no_network(*_: Any) -> Any:
    raise AssertionError("it called somebody")


async def test_agents_and_budgets_are_listed(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        page = await get(site, "/agents?limit=2")
        rest = await get(site, f"/agents?limit=200&after={page['next']}")
        names = [one["agent"] for one in page["agents"] + rest["agents"]]
        assert sorted(names) == ["asks", "breaks", "listens", "reader", "shop"]
        assert (await get(site, "/spend"))["budgets"] == []


async def test_metrics_count_what_happens_and_names_cannot_forge_a_line(tmp_path: Path):
    """X116."""
    async with site_on(tmp_path) as site:
        await site.tally.catch_up(site.store)
        await seed(site.runtime)
        await get(site, "/runs")
        told = (await call(site, "GET", "/metrics", token=ADMIN)).body.decode()
        told_of = [line.rpartition(" ") for line in told.splitlines() if not line.startswith("#")]
        lines = {name: value for name, _, value in told_of}
        assert lines['holdfast_runs{status="waiting"}'] == "3"
        assert lines['holdfast_runs_ended_total{status="failed"}'] == "1"
        assert lines["holdfast_questions_waiting"] == "2"
        assert lines['holdfast_steps_total{kind="tool",status="value"}'] == "5"
        assert lines['holdfast_http_requests_total{method="GET",status="200"}'] == "1"
        assert int(lines["holdfast_last_seq"]) == await site.store.last_seq()
        events = sum(
            int(n) for name, n in lines.items() if name.startswith("holdfast_events_total")
        )
        assert events == await site.store.last_seq()
        with pytest.MonkeyPatch.context() as patch:
            line = {"budget": 'a"} 1\nforged 2 \\', "scope": "s", "of": "o", "period": "",
                    "unit": "money", "used": 1.5, "reserved": 0.0}  # fmt: skip
            patch.setattr("holdfast.api.metrics.budget_lines", lambda *_: [line])
            told = (await call(site, "GET", "/metrics", token=ADMIN)).body.decode()
        assert '\nholdfast_budget{budget="a\\"} 1\\nforged 2 \\\\",' in told
        assert "\nforged" not in told


# What does not belong ---------------------------------------------------------------------------

ODD = ["..", ".", "%2e%2e%2fetc", "a/b", "\x00", "é" * 40, "x" * 5000, "$cancel", "a b", "*",
       "\u202e"]  # fmt: skip


@pytest.mark.parametrize("run", ODD)
async def test_hostile_ids_and_paths_name_nothing(run: str):
    async with site_on(None) as site:
        name = quote(run, safe="%")
        for path in (f"/runs/{name}", f"/runs/{name}/events/0", f"/runs/{name}/steps/1"):
            reply = await call(site, "GET", f"/api/v1{path}", token=ADMIN)
            assert reply.status == 404, (path, reply.body)
            assert len(reply.body) < 1_000
        for step in ("..", "1/../2", "1" * 500, "x"):
            reply = await call(site, "GET", f"/api/v1/runs/a/steps/{step}", token=ADMIN)
            assert reply.status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b'{"what": "tool"}', 400), (b"\xff\xfe", 400),
        (b'{"what": "tool", "name": "x", "more": 1}', 400), (b"[" * 100_000, 400),
        (b'{"what": "disk", "name": "x"}', 400), (b'{"what": "tool", "name": ""}', 400),
        (b'{"what": "tool", "name": "[x]"}', 409),
    ],
)  # fmt: skip
async def test_bodies_that_are_not_understood_are_refused(body: bytes, status: int):
    """X110."""
    async with site_on(None) as site:
        sent = {"content-type": "application/json"}
        reply = await call(site, "POST", "/api/v1/switches", token=ADMIN, body=body, headers=sent)
        assert reply.status == status, reply.body
        assert set(reply.json["error"]) == {"code", "text", "way"}
        typed = {"content-type": "text/plain"}
        other = await call(site, "POST", "/api/v1/switches", token=ADMIN, body=body, headers=typed)
        assert other.status == 415


async def test_requests_and_payloads_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """X106, X111."""
    async with site_on(None) as site:
        sent = {"content-type": "application/json"}
        large = b" " * (limits.API_BODY_BYTES + 1)
        reply = await call(site, "POST", "/api/v1/switches", token=ADMIN, body=large, headers=sent)
        assert reply.status == 413
        assert (await call(site, "POST", "/api/v1/switches", body=large)).status == 401
        await seed(site.runtime)
        monkeypatch.setattr(limits, "API_PAYLOAD_BYTES", 20)
        event = await get(site, "/runs/read/events/1")
        assert set(event["value"]) == {"too_long"}
        step = await get(site, "/runs/read/steps/1")
        assert set(step["value"]) == {"too_long"}
        assert step["args"] == {"n": 0}


async def test_parameters_that_are_not_known_or_said_twice_are_refused():
    async with site_on(None) as site:
        for query in ("limit=0", "limit=201", "limit=x", "more=1", "limit=1&limit=2", "before=0",
                      "status=odd"):  # fmt: skip
            await get(site, f"/runs?{query}", 400)


def test_every_error_of_ours_has_a_status_and_keeps_its_text():
    for name in ("Misuse", "NotFound", "Diverged", "TooLarge", "Refused", "Expired", "Conflict",
                 "Exceeded", "LeaseLost", "Outside", "ToolError", "OutcomeUnknown", "NotUndone",
                 "Corrupt", "RunFailed"):  # fmt: skip
        turned = turned_of(getattr(errors, name)("run x: why; do that"))
        assert 400 <= turned.status_code < 600
        assert turned.text == "run x: why; do that"
    seen: list[type] = []
    for kind, *_ in KINDS:
        assert not any(issubclass(kind, one) for one in seen), f"{kind} is never reached"
        seen.append(kind)


async def test_what_is_answered_fits_what_is_described(tmp_path: Path):
    """Every reply of the table decodes into the struct that its description names."""
    async with site_on(tmp_path) as site:
        await seed(site.runtime)
        root = (await site.store.head("read")).world
        tried = 0
        for way in WAYS:
            if way.method != "GET" or way.media != "application/json":
                continue
            path = way.path.replace("{run}", "read").replace("{step}", "3").replace("{pos}", "2")
            path += "?other=bad" if path.endswith("diff") else ""
            found = await call(site, "GET", f"/api/v1{path.replace('{root}', root)}", token=ADMIN)
            assert found.status == 200, (path, found.body)
            msgspec.json.decode(found.body, type=way.reply)
            tried += 1
        assert tried >= 12
