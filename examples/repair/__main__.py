"""The demo: `make demo`, or `python -m examples.repair --help`.

An agent repairs a planted bug in a real library; its process is killed on the way; another goes on
without repeating a step; a person is asked before anything is published.

Exit codes: 0 repaired and published, 1 not repaired, 2 wrong use, 3 repaired but the person said
no, 5 the library or git is not to be had, 130 interrupted.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from examples.repair import folder, library, play
from examples.repair.git import GitFailed
from examples.repair.showing import Screen
from holdfast.values.errors import HoldfastError

SEED = 18
"""A bug that takes long enough to kill the agent in the middle, and not much longer."""


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.repair", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--seed", type=int, default=SEED, help=f"which bug is planted (default {SEED})")
    add("--dir", type=Path, default=folder.ROOT / ".demo", help="where (default .demo here)")
    add("--keep", action="store_true", help="keep the runs of earlier demos in the same store")
    add("--resume", action="store_true", help="go on with a demo that was interrupted")
    add("--no-kill", action="store_true", help="let the agent's process live")
    add("--kill-after", type=int, default=6, metavar="N",
        help="kill it when N candidates have been tried (default 6)")  # fmt: skip
    add("--answer", choices=("approve", "deny", "ask"), default="",
        help="answer to the question (default: ask on a terminal, else approve)")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Play the demo; returns the exit code."""
    chosen = options(arguments)
    screen = Screen()
    answer = chosen.answer or ("ask" if sys.stdin.isatty() and sys.stdout.isatty() else "approve")
    wishes = play.Wishes(0 if chosen.no_kill else max(1, chosen.kill_after), answer,
                         unasked=not chosen.answer)  # fmt: skip
    again = f"{play.shown(Path(sys.executable))} -m examples.repair --resume"
    if chosen.dir != folder.ROOT / ".demo":
        again += f" --dir {chosen.dir}"
    place: folder.Place | None = None
    try:
        screen.title("Holdfast: an agent repairs a library, is killed, goes on, and asks first")
        if chosen.resume:
            place = folder.latest(chosen.dir)
            return asyncio.run(play.resumed(screen, place, wishes))
        place = folder.fresh(chosen.dir, chosen.seed, chosen.keep)
        play.prepare(screen, place, library.TOOLZ, chosen.seed, folder.ROOT / ".cache")
        return asyncio.run(play.whole(screen, place, wishes))
    except KeyboardInterrupt:
        started = place is not None and place.secret.is_file()
        way = f"nothing is lost; go on with: {again}" if started else "nothing had begun"
        screen.interrupted(f"interrupted: {way}")
        return 130
    except folder.NotOurs as error:
        screen.say(str(error), "red")
        return 2
    except (library.LibraryUnavailable, GitFailed) as error:
        screen.say(str(error), "red")
        return 5
    except HoldfastError as error:
        screen.say(f"{error}", "red")
        return error.exit_code


if __name__ == "__main__":
    if not hasattr(os, "fork"):
        sys.exit("this demo needs Linux or macOS")
    sys.exit(main(sys.argv[1:]))
