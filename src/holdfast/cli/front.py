"""The front door: which commands there are, and how errors leave.

``holdfast --help`` must answer at once, so a command's module is imported when it is called; its
line in the overview stands here, and a test compares it with the command's own help.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from holdfast.cli.failing import report, usage

TOPICS: dict[str, dict[str, str]] = {
    "Runs": {
        "run": "Start an agent and stay with it until it ends or waits; or launch a command.",
        "ps": "List runs, newest first.",
        "show": "Show what a run did, step by step, or everything about one step.",
        "why": "Say why a run took a step, or ended as it did.",
        "log": "Print events as they were committed, of one run or of all.",
        "top": "Watch what runs, what it spends and what it asks; answer it.",
        "resume": "Go on with runs that were suspended or left.",
        "cancel": "Ask a run to stop.",
        "signal": "Send a signal that a run may wait for.",
    },
    "Doors for agents that are not ours": {
        "mcp": "Stand between MCP clients and servers: each call of a tool is judged and recorded.",
        "scan": "List an MCP server's tools, say what is odd about them, and draft a policy.",
        "proxy": "Stand between agents and models: judge, budget, record and replay every call.",
        "skills": "Check skills, list their versions, and report what came of using them.",
    },
    "Worlds": {
        "try": "Run a command in forks of this directory, side by side, and keep the best.",
        "attempts": "Show the forks of a try again, best first, and what can be done with them.",
        "world": "Look at, merge, rewind and move the worlds that runs work in.",
        "conflicts": "List what stands in the way of a refused merge.",
        "resolve": "Decide a conflict of a refused merge; after the last one it goes through.",
    },
    "Answers to runs that wait for a person": {
        "inbox": "List what runs ask people, the longest waiting first; on a terminal, answer it.",
        "approve": "Allow the action that a run asks about.",
        "deny": "Refuse the action that a run asks about, or decline its question.",
        "answer": "Answer the question that a run asks.",
    },
    "Console": {
        "serve": "Serve the console and the HTTP interface, and go on with runs that wait.",
    },
    "Branches": {
        "fork": "Branch a run off before a step, with something changed or nothing.",
        "replay": "Check that runs still reproduce under today's code.",
        "diff": "Compare two runs: where they first differ, from what, and what came of it.",
        "what-if": "Fork a run with one thing changed, and compare what comes of it.",
        "score": "Say what a run's outcome is worth.",
        "pairs": "Export (wrong, right) trajectories of forks for training, as JSON lines.",
        "publish": "Perform what a fork held, in order, or drop it.",
        "bisect": "Find the step of a run that, taken otherwise, flips how it ended.",
        "prevent": "From a step that went wrong to a rule or a case that stops the next one.",
    },
    "Costs": {
        "spend": "Show what was spent, by agent, run, model, step, team, branch or day.",
        "economics": "Show what an outcome costs, where time goes, and what was wasted.",
        "economize": "Find decisions of models and people that plain code could make.",
    },
    "Audit": {
        "audit": "Sign what happened, prove it, export it, and read it as sentences.",
        "report": "Print the evidence for controls of frameworks, its gaps and owners.",
        "agents": "List the agents that ran, and what the policy says of them.",
        "anomalies": "List what agents did that is unlike what they did before.",
        "kill": "Stop an agent, a tool or a rule everywhere, at once.",
        "erase": "Erase what a run or a step carried, and keep the proof that it happened.",
    },
    "Store": {
        "fsck": "Check the integrity of a store, without a running system.",
        "budget": "Show what is reserved, used and left of budgets.",
        "gc": "Delete old ended runs, and content that nothing refers to.",
        "export": "Write runs into one file.",
        "sql": "Ask the journal in SQL, reading only.",
        "import": "Read runs from a file that export wrote.",
    },
    "Other": {
        "doctor": "Say what this host can do for sandboxes, and how to get what is missing.",
        "policy": "Write, check and try policies.",
        "risk": "Look at how risk is weighed, and learn from what persons decided.",
        "version": "Print the version.",
    },
}
"""Every command under its topic, with the first line of its help."""

_MODULES = {"import": "import_file", "try": "try_", "what-if": "what_if"}


class Front(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the overview."""
        return [name for topic in TOPICS.values() for name in topic]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(
            f"holdfast.cli.commands.{_MODULES.get(cmd_name, cmd_name)}"
        )
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing anything."""
        for topic, commands in TOPICS.items():
            with formatter.section(topic):
                formatter.write_dl(list(commands.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; an error becomes one line on stderr and an exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):  # not a text file of Python's own
                reconfigure = getattr(stream, "reconfigure")  # noqa: B009 - a TextIO may lack it
                reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name or "holdfast", complete_var, False, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            code = 2
        except click.ClickException as error:
            code = usage(error)
        except (click.Abort, KeyboardInterrupt):
            click.echo("holdfast: interrupted", err=True)
            code = 130
        except Exception as error:  # noqa: BLE001 - the last line of defence reports it
            code = report(error)
        _let_stdout_go()
        sys.exit(code if isinstance(code, int) else 0)


def _let_stdout_go() -> None:
    """What stdout could not take was reported; the interpreter must not try again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Front,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`holdfast COMMAND --help` explains a command. Errors and exit codes: docs/errors.md.",
)
@click.version_option(None, "--version", package_name="holdfast", message="holdfast %(version)s")
def main() -> None:
    """Run AI agents durably, watch them, answer them, branch them.

    Everything that an agent does is recorded in a store, the directory .holdfast here unless
    --store or HOLDFAST_STORE says otherwise. RUN is a run's id or any unique beginning of it;
    RUN@STEP is a step of it, as `holdfast show RUN` lists them.
    """
