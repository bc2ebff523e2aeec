"""What an agent runs before it uses a tool of its own: asks the door whether it may.

A file of its own that needs nothing installed: ``python -I -S hook.py``. It never says that
something may happen, only that it may not: what is left is the agent's own to decide.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request


def main() -> None:
    """Pass what stands on standard input to the door, and its answer on. Whatever goes wrong is a
    refusal: exit code 2, which agents take for one."""
    try:
        request = urllib.request.Request(  # noqa: S310 - the launcher said where
            os.environ["HOLDFAST_DOOR"] + "/hook",
            sys.stdin.buffer.read(),
            {"authorization": "Bearer " + os.environ["HOLDFAST_TOKEN"]},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request) as reply:
            sys.stdout.write(reply.read().decode())
    except Exception as error:  # noqa: BLE001 - INVARIANT D88: who cannot ask may not
        sys.stderr.write(json.dumps(f"Holdfast cannot be asked: {type(error).__name__}") + "\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
