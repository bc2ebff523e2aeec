"""Run pytest and report, test by test, what happened and (with --trace) which lines ran.

A program of its own, with the standard library and pytest only, so that it runs anywhere the
library under repair runs: `python -B tracer.py [options] -- [pytest arguments]`, in the top folder
of the library. Each line of the report is one JSON object, written at once, so that a reader still
has what came before a crash or a time limit. The report goes to --report, or to standard output,
in which case everything that pytest and the tests print goes to standard error.
"""

import argparse
import faulthandler
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TextIO

MEMORY_BYTES = 2 << 30
"""Address space for a run of the tests: a mutant may well build an endless list."""

MESSAGE_CHARACTERS = 2_000
"""How much of a failure is reported."""

AGAIN_SECONDS = 0.5
"""How soon a test that caught its own time limit is interrupted again."""


class Lines:
    """The lines of the library that ran since the last `take`, by file."""

    def __init__(self, root: Path) -> None:
        """Watch the files below `root` that are no tests."""
        self._root = str(root) + os.sep
        self._names: dict[str, str | None] = {}
        self._seen: dict[str, set[int]] = {}

    def take(self) -> dict[str, list[int]]:
        """What was seen, and start afresh."""
        seen, self._seen = self._seen, {}
        return {name: sorted(lines) for name, lines in sorted(seen.items())}

    def name(self, filename: str) -> str | None:
        """The path below the root of a library file; None for tests and everything else."""
        if filename.startswith("<"):
            return None  # frozen or generated code, which would resolve to a place below the root
        if filename not in self._names:
            full = os.path.realpath(filename)
            name = full.removeprefix(self._root) if full.startswith(self._root) else None
            self._names[filename] = None if name is None or _is_test(name) else name
        return self._names[filename]

    def add(self, name: str, line: int) -> None:
        """One line ran (an empty module reports line 0)."""
        if line > 0:
            self._seen.setdefault(name, set()).add(line)


def _is_test(name: str) -> bool:
    parts = name.split("/")
    stem = parts[-1]
    return (
        "tests" in parts[:-1]
        or "test" in parts[:-1]
        or stem.startswith("test_")
        or stem.endswith("_test.py")
        or stem == "conftest.py"
    )


class SettraceWatch:
    """Watch lines with sys.settrace (Python 3.11)."""

    def __init__(self, lines: Lines) -> None:
        """Report to `lines`."""
        self._lines = lines

    def start(self) -> None:
        """Begin to watch this thread."""
        sys.settrace(self._call)

    def stop(self) -> None:
        """Stop watching."""
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        name = self._lines.name(frame.f_code.co_filename)
        if name is None:
            return None
        # The header counts too: a wrong default argument is used by each call.
        self._lines.add(name, frame.f_code.co_firstlineno)
        return self._line

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        name = self._lines.name(frame.f_code.co_filename)
        if name is not None and event == "line":
            self._lines.add(name, frame.f_lineno)
        return self._line


class MonitorWatch:
    """Watch lines with sys.monitoring (Python 3.12 and newer), each only once: far cheaper."""

    def __init__(self, lines: Lines) -> None:
        """Report to `lines`."""
        self._lines = lines
        self._monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  (typed as 3.11)
        self._tool: int = self._monitoring.COVERAGE_ID
        events = self._monitoring.events
        self._monitoring.use_tool_id(self._tool, "repair-demo")
        self._monitoring.register_callback(self._tool, events.LINE, self._line)
        self._monitoring.register_callback(self._tool, events.PY_START, self._start)

    def start(self) -> None:
        """Begin to watch."""
        events = self._monitoring.events
        self._monitoring.restart_events()
        self._monitoring.set_events(self._tool, events.LINE | events.PY_START)

    def stop(self) -> None:
        """Stop watching."""
        self._monitoring.set_events(self._tool, 0)

    def _start(self, code: CodeType, offset: int) -> Any:
        return self._line(code, code.co_firstlineno)

    def _line(self, code: CodeType, line: int) -> Any:
        name = self._lines.name(code.co_filename)
        if name is not None:
            self._lines.add(name, line)
        return self._monitoring.DISABLE


class Reporter:
    """The pytest plugin: writes one JSON line for each thing that happens."""

    def __init__(self, out: TextIO, watch: Any, lines: Lines, limit: float) -> None:
        """Write to `out`; interrupt a test after `limit` seconds."""
        self._out = out
        self._watch = watch
        self._lines = lines
        self._limit = limit
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._began = 0.0

    def say(self, **entry: object) -> None:
        """Write one entry."""
        self._out.write(json.dumps(entry, sort_keys=True) + "\n")
        self._out.flush()

    def start_watching(self) -> None:
        """Watch lines from here, when that is wanted."""
        if self._watch is not None:
            self._watch.start()

    def say_lines(self, test: str) -> None:
        """Report the lines that ran for a test, or for the import when `test` is empty."""
        if self._watch is not None:
            self._watch.stop()
            self.say(event="lines", test=test, lines=self._lines.take())

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be imported."""
        if report.failed:
            self.say(event="broken", test=report.nodeid, message=_message(report))

    def pytest_collection_finish(self, session: Any) -> None:
        """What ran up to here ran at import."""
        self.say_lines("")
        self.say(event="collected", count=len(session.items))

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        """A test begins; should the process die now, the reader knows in which test."""
        self._began = time.monotonic()
        self._outcomes[nodeid] = ("passed", "")
        self.say(event="start", test=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Setup, call or teardown ended; the worst of the three counts."""
        was, _ = self._outcomes.get(report.nodeid, ("passed", ""))
        if report.failed:
            outcome = "failed" if report.when == "call" else "error"
            if was != "failed":
                self._outcomes[report.nodeid] = (outcome, _message(report))
        elif report.skipped and was == "passed":
            self._outcomes[report.nodeid] = ("skipped", "")

    def pytest_runtest_logfinish(self, nodeid: str, location: object) -> None:
        """A test ended."""
        outcome, message = self._outcomes[nodeid]
        seconds = round(time.monotonic() - self._began, 4)
        self.say(event="end", test=nodeid, outcome=outcome, message=message, seconds=seconds)


def _message(report: Any) -> str:
    return str(report.longreprtext)[-MESSAGE_CHARACTERS:]


def _limited(reporter: Reporter, limit: float, watch: Any) -> Any:
    """A plugin object with the wrapper around each test, made late because it needs pytest."""
    import pytest

    def too_slow(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"the test took longer than {limit:g} s", pytrace=False)

    class Limited:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
            try:
                return (yield)
            finally:
                if watch is not None:
                    reporter.say_lines(item.nodeid)

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_call(self, item: Any) -> Iterator[None]:
            reporter.start_watching()
            signal.signal(signal.SIGALRM, too_slow)
            signal.setitimer(signal.ITIMER_REAL, limit, AGAIN_SECONDS)
            try:
                return (yield)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                if watch is not None:
                    watch.stop()

    return Limited()


def _open_report(path: str | None) -> TextIO:
    """The report file; for standard output, everything else is sent to standard error first."""
    if path is not None:
        return Path(path).open("w", encoding="utf-8")
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", help="file for the report instead of standard output")
    parser.add_argument("--trace", action="store_true", help="report the lines each test ran")
    parser.add_argument("--test-seconds", type=float, default=3.0, help="limit of one test")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of the whole run")
    parser.add_argument("arguments", nargs="*", help="arguments of pytest")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run pytest as told; returns its exit code."""
    options = _options(arguments)
    out = _open_report(options.report)
    # The top folder of the library stands first, so that its own code is what is tested; the
    # folder of this file goes, so that its neighbours do not shadow modules of the library.
    root = Path.cwd().resolve()
    sys.path[0] = str(root)
    sys.dont_write_bytecode = True  # edits of the same size and second would meet stale bytecode
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    _limit_memory()
    # A thread in C: it ends the process even when a test is stuck inside C code.
    faulthandler.dump_traceback_later(options.seconds, exit=True)
    import pytest

    lines = Lines(root)
    watch: Any = None
    if options.trace:
        watch = MonitorWatch(lines) if sys.version_info >= (3, 12) else SettraceWatch(lines)
    reporter = Reporter(out, watch, lines, options.test_seconds)
    plugins: list[object] = [reporter, _limited(reporter, options.test_seconds, watch)]
    reporter.start_watching()
    code = int(pytest.main(options.arguments, plugins=plugins))
    if watch is not None:
        watch.stop()
    reporter.say(event="finished", code=code)
    return code


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (ValueError, OSError):
        pass  # macOS refuses; the time limit still holds there


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
