"""Command lines that run the library's tests, and the reading of what they report."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRACER = Path(__file__).with_name("tracer.py")
"""The program that runs pytest and reports; may be copied to where the tests can see it."""

TEST_SECONDS = 3.0
"""Limit of one test: a planted bug or a candidate may loop for ever."""

LEAST_SECONDS = 1.0
"""The least limit of a test that `patience` gives, for the sake of a busy machine."""

RUN_SECONDS = 60.0
"""Limit of a whole run, which ends itself then."""

GRACE_SECONDS = 5.0
"""How much later than the run's own limit a caller should kill it."""

FAILING_TRIED = 5
"""How many of the failing tests judge a candidate first."""

CANDIDATE_SECONDS = 15.0
"""Limit of the run of those tests."""

# assert=plain: rewriting the assertions of every test file costs more than running them.
_PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--assert=plain", "--tb=short")

FAILING = frozenset({"failed", "error", "crashed"})
"""Outcomes that count as a failure."""


@dataclass(frozen=True, slots=True)
class Run:
    """How the tests are to be run."""

    tests: tuple[str, ...] = ()
    """Test ids; none means the whole suite."""
    trace: bool = False
    first_failure: bool = False
    """Stop at the first test that fails."""
    test_seconds: float = TEST_SECONDS
    seconds: float = RUN_SECONDS


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of the tests said."""

    outcomes: dict[str, str]
    """{test id: passed, failed, error, skipped, or crashed when the process died in it}."""
    messages: dict[str, str]
    """{test id or file: why it failed}."""
    broken: tuple[str, ...]
    """Files that could not be imported, so that their tests did not run."""
    lines: dict[str, frozenset[tuple[str, int]]]
    """{test id: lines of the library it ran}, traced runs only; "" stands for the import."""
    finished: bool
    """Whether pytest came to its end (it also does when tests fail)."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def failing(self) -> tuple[str, ...]:
        """The tests that failed, in the order in which they ran."""
        return tuple(test for test, outcome in self.outcomes.items() if outcome in FAILING)

    @property
    def passing(self) -> tuple[str, ...]:
        """The tests that passed, in the order in which they ran."""
        return tuple(test for test, outcome in self.outcomes.items() if outcome == "passed")

    @property
    def green(self) -> bool:
        """Whether tests ran, all came to their end and none failed."""
        return self.finished and not self.broken and not self.failing and bool(self.passing)

    @property
    def why(self) -> str:
        """One line on what is wrong; empty when green."""
        if self.green:
            return ""
        if self.broken:
            return f"{self.broken[0]} cannot be imported"
        if self.failing:
            return f"{len(self.failing)} of {len(self.outcomes)} tests fail: {self.failing[0]}"
        return "the run ended early" if not self.finished else "no test ran"


def command(run: Run, python: str = sys.executable, tracer: Path | str = TRACER) -> list[str]:
    """The command that runs the tests, for the top folder of the library; no shell, no settings.

    Its standard output is the report for `read`; a run that hangs ends itself after `run.seconds`.
    """
    words = [python, "-B", str(tracer), f"--test-seconds={run.test_seconds:g}"]
    words.append(f"--seconds={run.seconds:g}")
    if run.trace:
        words.append("--trace")
    words += ["--", *_PYTEST]
    if run.first_failure:
        words.append("-x")
    return [*words, *run.tests]


def patience(report: Report) -> float:
    """A limit for each test of a candidate: far more than any passing test of `report` took.

    Candidates for a bug that makes tests hang often hang too, and waiting for them is what such
    a repair spends its time on.
    """
    slowest = max((report.seconds.get(test, 0.0) for test in report.passing), default=TEST_SECONDS)
    return min(TEST_SECONDS, max(LEAST_SECONDS, 20 * slowest))


def judge(report: Report) -> Run:
    """The run that a candidate has to pass first: of tests that failed."""
    tests = report.failing[:FAILING_TRIED] if not report.broken else report.broken[:1]
    limit = patience(report)
    return Run(tests, first_failure=True, test_seconds=limit, seconds=CANDIDATE_SECONDS)


def read(text: str) -> Report:
    """The report of a run, also of one that died on the way: then the open test has crashed."""
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    lines: dict[str, frozenset[tuple[str, int]]] = {}
    broken: list[str] = []
    seconds: dict[str, float] = {}
    finished = False
    for entry in _entries(text):
        event, test = entry.get("event"), str(entry.get("test", ""))
        if event == "start":
            outcomes[test] = "crashed"  # until its end is read
        elif event == "end":
            outcomes[test] = str(entry.get("outcome"))
            seconds[test] = float(entry.get("seconds", 0.0))
        elif event == "broken":
            broken.append(test)
        elif event == "lines":
            lines[test] = _places(entry.get("lines"))
        elif event == "finished":
            finished = int(entry.get("code", 3)) in {0, 1, 2, 5}
        if entry.get("message"):
            messages[test] = str(entry["message"])
    return Report(outcomes, messages, tuple(broken), lines, finished, seconds)


def _entries(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a report; a torn last line or a stray print is passed over."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _places(lines: object) -> frozenset[tuple[str, int]]:
    if not isinstance(lines, Mapping):
        return frozenset()
    return frozenset((str(path), int(line)) for path, many in lines.items() for line in many)


def perform(root: Path, run: Run) -> Report:
    """Run the tests below `root` and read the report: for use without an engine."""
    words: Sequence[str] = command(run)
    try:
        done = subprocess.run(
            words,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=run.seconds + GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return read((late.stdout or b"").decode(errors="replace"))
    return read(done.stdout.decode(errors="replace"))
