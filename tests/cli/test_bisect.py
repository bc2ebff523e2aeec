"""bisect on small agents: one whose fourth decision of eight is wrong, one that never varies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.journal.events import FindingAdded, body_of
from holdfast.journal.views import CAUSED
from holdfast.runtime import Runtime, Settings
from holdfast.stores.sqlite import SqliteStore
from tests.cli.support import invoke, rows, start

PROGRAM = '''
import asyncio
import json
import random
from pathlib import Path

import holdfast
from holdfast.testing.models import scripted

SAYS = random.Random(7)


async def says(request):
    """Of eight answers the fourth decides; it is wrong in the recorded run, and mostly right."""
    turn = json.loads(request.raw)["messages"][-1]["content"]
    while Path("halt").exists() and turn == "8":
        await asyncio.sleep(0.01)
    if Path("recording").exists():
        return "wrong" if turn == "4" else f"answer {turn}"
    if turn == "4":
        return "right" if SAYS.random() < 0.9 else "wrong"
    return f"answer {turn} {SAYS.randrange(10**6)}"


model = scripted(says)


async def deliver(text: str) -> str:
    with Path("sent").open("a") as file:
        file.write(text + "\\n")
    return "sent"


send = holdfast.tool(effect="once", name="send", preview=lambda text: "sent")(deliver)
post = holdfast.tool(effect="once", name="post")(deliver)


@holdfast.agent
async def eight():
    said = [(await model(str(turn))).text for turn in range(1, 9)]
    await send(said[3])
    return said[3]


@holdfast.agent
async def posts():
    said = [(await model(str(turn))).text for turn in range(1, 9)]
    await post(said[3])
    return said[3]


@holdfast.agent
async def lone():
    return (await model("4")).text


@holdfast.tool(effect="read")
async def price(n: int) -> int:
    return n


@holdfast.agent
async def plain():
    return [await price(n) for n in range(5)]


@holdfast.agent
async def asks():
    await price(1)
    return await holdfast.ask("Which?")
'''

POLICY = """version: 1
rules:
  - {id: all, when: {tool: "*"}, then: allow}
"""


@pytest.fixture
def made(place: Path) -> Path:
    """A directory with a run `bad`, whose fourth answer was wrong."""
    (place / "eight.py").write_text(PROGRAM, "utf-8")
    (place / "policy.yaml").write_text(POLICY, "utf-8")
    (place / "recording").touch()
    invoke("run", "eight.py:eight", "--name", "bad", "--policy", "policy.yaml")
    invoke("run", "eight.py:posts", "--name", "held", "--policy", "policy.yaml")
    (place / "sent").unlink()
    (place / "recording").unlink()
    return place


GOOD = 'value == "right"'


def test_it_finds_the_step_records_it_and_sends_nothing(made: Path):
    """X45: the finding has the form of decision 0013, is about that step, and is written once."""
    done = invoke("bisect", "bad", "--outcome", GOOD, "--policy", "policy.yaml", "--json")
    found = json.loads(done.stdout)
    assert (found["verdict"], found["step"]) == ("found", "4")
    assert found["probability"] >= 0.9
    assert found["changed"]["good"] > found["kept"]["good"]
    assert len(found["forks"]) <= 40
    assert not (made / "sent").exists()
    again = json.loads(
        invoke("bisect", "bad", "--outcome", GOOD, "--policy", "policy.yaml", "--json").stdout
    )
    assert again == found
    (finding,) = asyncio.run(_findings(made))
    assert finding[0] == "4"
    assert set(finding[1]) == {"step", "intervention", "flips", "of", "low", "high"}
    assert finding[1]["low"] <= finding[1]["flips"] / finding[1]["of"] <= finding[1]["high"]
    text = invoke("bisect", "bad", "--outcome", GOOD, "--policy", "policy.yaml").stdout
    assert "step 4 decides" in text
    assert "█" in text


def test_a_run_that_only_has_the_name_of_a_fork_is_left_alone(made: Path):
    """X46: neither a run of its own nor a live fork is gone on with, though both would send."""
    (made / "halt").touch()
    _killed("bad.bisect-1", "run", "eight.py:posts", "--name", "bad.bisect-1")
    _killed("held.bisect-1", "fork", "held", "--name", "held.bisect-1", "--live")
    (made / "halt").unlink()
    for run in ("bad", "held"):
        done = invoke("bisect", run, "--outcome", GOOD, "--policy", "policy.yaml", code=2)
        assert f"run {run}.bisect-1 " in done.stderr
        assert "--name OTHER" in done.stderr
    assert not (made / "sent").exists()
    assert {row["run"]: row["status"] for row in rows()}.items() >= {
        "bad.bisect-1": "running", "held.bisect-1": "running",
    }.items()  # fmt: skip


def _killed(run: str, *args: str) -> None:
    """Begin a run and kill its process for real, while the model is asked."""
    process = start(*args, "--policy", "policy.yaml", cwd=Path.cwd())
    try:
        while run not in [row["run"] for row in rows()]:
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def test_two_searches_at_once_write_one_finding(made: Path, monkeypatch: pytest.MonkeyPatch):
    """X45: another writes the same finding between the look at the run and the writing."""
    search("bad", "--outcome", GOOD, "--budget", "2", code=1)
    append = SqliteStore.append
    twice: list[bool] = []

    def raced(self: SqliteStore, batches: Any, blobs: Any) -> Any:
        findings = [d for b in batches for d in b.drafts if isinstance(d.body, FindingAdded)]
        if findings and not twice:
            twice.append(True)
            self.append_now([msgspec.structs.replace(one, expect=None) for one in batches], blobs)
        return append(self, batches, blobs)

    monkeypatch.setattr(SqliteStore, "append", raced)
    assert search("bad", "--outcome", GOOD, code=0)["step"] == "4"
    assert twice
    assert len(asyncio.run(_findings(made))) == 1


async def _findings(place: Path, run: str = "bad") -> list[tuple[str, Any]]:
    async with Runtime(Settings(store=str(place / ".holdfast"))) as runtime:
        events = await runtime.store.read(run)
    found = [event for event in events if event.kind == "finding.added"]
    assert all(body_of(event).type == CAUSED for event in found)
    return [
        (body_of(events[body_of(event).about]).key, json.loads(event.value or b"null"))
        for event in found
    ]


def test_the_budget_bounds_all_calls_together(made: Path):
    """X43: three forks, then two more, then none."""
    for budget, forks in ((3, 3), (5, 5), (5, 5)):
        done = invoke("bisect", "bad", "--outcome", GOOD, "--budget", str(budget), "--policy",
                      "policy.yaml", "--json", code=1)  # fmt: skip
        found = json.loads(done.stdout)
        assert (found["verdict"], len(found["forks"])) == ("inconclusive", forks)
        assert found["more"] > 0
        assert [one["run"] for one in found["forks"]] == [
            f"bad.bisect-{number}" for number in range(1, forks + 1)
        ]


def search(run: str, *more: str, code: int | None) -> Any:
    """A bisection, as JSON."""
    done = invoke("bisect", run, *more, "--policy", "policy.yaml", "--json", code=code)
    return json.loads(done.stdout)


def test_forks_that_wait_to_be_published_are_no_evidence(made: Path):
    """X44: those that do as the run did are served from the record and end; the others wait. An
    outcome over steps tells both, from the same forks."""
    found = search("held", "--outcome", GOOD, code=1)
    assert found["verdict"] == "inconclusive"
    assert "waits to be published" in found["text"]
    assert len(found["forks"]) < 20
    steps = 'steps.exists(one, one.name == "post" && one.args.text == "right" && one.happened)'
    assert search("held", "--outcome", steps, code=0)["step"] == "4"
    assert not (made / "sent").exists()


def test_a_program_that_does_not_vary_is_said_to(made: Path):
    invoke("run", "eight.py:plain", "--name", "even")
    found = search("even", code=1)
    assert found["verdict"] == "same"
    assert len(found["forks"]) == 4
    assert "--alternative" in found["text"]
    better = search("even", "--alternative", "3=30", "--outcome", "value[2] == 30", code=0)
    assert better["step"] == "3"
    assert invoke("bisect", "even", "--steps", "2..9", code=2).exit_code == 2


def test_one_candidate_is_no_evidence(made: Path):
    """X48: the prior alone is surer than is asked; still it takes a fork that flips."""
    (made / "recording").touch()
    invoke("run", "eight.py:lone", "--name", "lone", "--policy", "policy.yaml")
    found = search("lone", "--outcome", GOOD, "--budget", "1", code=1)
    assert (found["verdict"], len(found["forks"])) == ("inconclusive", 1)
    assert "ends otherwise: none has yet" in found["text"]
    assert not asyncio.run(_findings(made, "lone"))
    (made / "recording").unlink()
    found = search("lone", "--outcome", GOOD, code=0)
    assert found["changed"]["good"] > 0
    assert len(asyncio.run(_findings(made, "lone"))) == 1


def test_a_part_of_the_run_is_not_blamed_for_what_is_behind_it(made: Path):
    """Forks from the last step asked about take the deciding one behind it anew as well."""
    found = search("bad", "--outcome", GOOD, "--steps", "1..3", "--budget", "25", code=None)
    assert found["step"] not in ("1", "2", "3")
    assert {one["step"] for one in found["forks"]} <= {"1", "2", "3", "4"}
    assert search("bad", "--outcome", GOOD, "--steps", "3..5", code=0)["step"] == "4"


def test_a_cause_becomes_a_rule_by_the_action_behind_it(made: Path):
    search("bad", "--outcome", GOOD, code=0)
    done = invoke("prevent", "bad", "--policy", "policy.yaml", "--json")
    found = json.loads(done.stdout)
    assert (found["cause"], found["step"], found["tool"]) == ("4", "9", "send")
    assert "anew ended otherwise" in found["case"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("bad", "--outcome", "value == "), "--outcome"),
        (("bad", "--outcome", 'value == "wrong"'), "ended well"),
        (("bad", "--steps", "3"), "--steps"),
        (("bad", "--steps", "5..3"), "A..B with A before B"),
        (("bad", "--rates", "0.9/0.3"), "--rates"),
        (("bad", "--alternative", "3"), "--alternative"),
        (("waits",), "has not ended"),
    ],
)
def test_what_cannot_be_bisected_is_said_in_a_line(made: Path, args: tuple[str, ...], says: str):
    if args == ("waits",):
        invoke("run", "eight.py:asks", "--name", "waits", "--no-input", code=10)
    done = invoke("bisect", *args, "--policy", "policy.yaml", code=2)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_killed_search_goes_on_with_its_forks(made: Path):
    """X42: killed for real in the middle of a fork, it finds the step with the forks there were,
    the unfinished one included."""
    search("bad", "--outcome", GOOD, "--budget", "2", code=1)
    (made / "halt").touch()
    _killed("bad.bisect-3", "bisect", "bad", "--outcome", GOOD)
    (made / "halt").unlink()
    (half,) = [row for row in rows() if row["run"] == "bad.bisect-3"]
    assert half["status"] == "running"
    found = search("bad", "--outcome", GOOD, code=0)
    assert found["step"] == "4"
    assert found["forks"][2]["run"] == "bad.bisect-3"
    assert len(rows()) == 2 + len(found["forks"])
    assert all(row["status"] == "done" for row in rows())
    assert not (made / "sent").exists()
