"""What several tests of the demo need: a small library with tests, and a model on loopback."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CORE = '''"""A small library."""


def chunks(values, size):
    """Split into lists of at most `size`."""
    found = []
    start = 0
    while start < len(values):
        found.append(values[start:start + size])
        start += size
    return found


def middle(low, value, high):
    if value < low:
        return low
    if value > high:
        return high
    return value


def total(values, first=0):
    found = first
    for value in values:
        found += value
    return found
'''
TESTS = """from lib.core import chunks, middle, total

def test_even():
    assert chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]

def test_rest():
    assert chunks([1, 2, 3], 2) == [[1, 2], [3]]

def test_empty():
    assert chunks([], 2) == []

def test_middle():
    assert [middle(1, n, 3) for n in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 3]

def test_total():
    assert (total([1, 2]), total([], 5)) == (3, 5)
"""


def write_library(root: Path, core: str = CORE, tests: str = TESTS) -> Path:
    """A library with one file and its tests, below `root`, which is made."""
    (root / "lib").mkdir(parents=True, exist_ok=True)
    (root / "lib/__init__.py").write_text("")
    (root / "lib/core.py").write_text(core)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (root / "test_core.py").write_text(tests)
    return root


HOPELESS = "def first(values):\n    return values\n"
"""Code for which there is one candidate, which does not do."""
HOPELESS_TESTS = "from lib.core import first\n\ndef test_it():\n    assert first([1]) == 'x'\n"


class Provider(BaseHTTPRequestHandler):
    """Speaks both wires; keeps what it was asked."""

    asked: list[tuple[str, dict[str, str], dict]] = []  # noqa: RUF012
    answer = ""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if body["model"] == "refused":
            self.send_error(429, "slow down")
            return
        if self.path == "/v1/chat/completions":
            reply = {"choices": [{"message": {"role": "assistant", "content": self.answer}}]}
        else:
            reply = {"content": [{"type": "text", "text": self.answer}]}
        raw = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format, *args):  # noqa: A002
        pass


@contextmanager
def listening() -> Generator[str]:
    """The provider's address, while it listens."""
    Provider.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
