"""``holdfast run``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits
from holdfast.values.errors import Misuse

_LAUNCHES = (
    "sandbox", "enforce", "agent", "role", "patience", "upstreams", "key_envs", "models", "servers",
    "network", "readable", "secrets", "seconds", "ignore", "gitignore",
)  # fmt: skip
"""Options that are for commands only."""


class Launching(click.Command):
    """A command whose first ``--``, if no TARGET stands before it, begins a command to launch."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What stands after that ``--`` is the command's."""
        at = args.index("--") if "--" in args else len(args)
        words = tuple(args[at + 1 :])
        if words and not self._names_target(ctx, args[:at]):
            ctx.meta["holdfast.command"] = words
            args = args[:at]
        return super().parse_args(ctx, args)

    def _names_target(self, ctx: click.Context, args: list[str]) -> bool:
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        return isinstance(given.get("target"), str)


@click.command(cls=Launching)
@click.argument("target", required=False, default="")
@click.argument("args", nargs=-1)
@click.option("--args", "json_args", metavar="JSON", help="Arguments as a JSON object or array.")
@click.option("--name", default=None, metavar="ID", help="The run's id (default: a new one).")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--world", default="", metavar="DIR",
              help="Begin with this directory's content (a command: not this one's).")  # fmt: skip
@click.option("--no-input", is_flag=True, help="Ask nothing here, even on a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell about single steps.")
@click.option("--enforce", is_flag=True, help="Of a command: let the policy decide, not only look.")
@click.option("--sandbox", is_flag=True, help="Of a command: run it inside walls.")
@click.option("--network", multiple=True, metavar="HOST", help="Inside walls: a host it reaches.")
@click.option("--read", "readable", multiple=True, metavar="PATH",
              help="Inside walls: a path outside that it reads.")  # fmt: skip
@click.option("--secret", "secrets", multiple=True, metavar="NAME",
              help="Inside walls: a variable that it sees.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0), default=0.0, metavar="SECONDS",
              help="Inside walls: its time limit (default: none).")  # fmt: skip
@click.option("--server", "servers", multiple=True, metavar="NAME",
              help="Inside walls: an MCP server of the project that may run outside.")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="GLOB", help="Leave such paths out of its copy.")
@click.option("--gitignore", is_flag=True, help="Leave out what git ignores.")
@click.option("--agent", default="", metavar="NAME",
              help="Who a command is, for the policy (default: its program).")  # fmt: skip
@click.option("--role", default="", metavar="NAME", help="Its role.")
@click.option("--patience", type=click.FloatRange(0), default=limits.PATIENCE_SECONDS,
              show_default=True, metavar="SECONDS",
              help="How long a call of a command's waits for a person.")  # fmt: skip
@click.option("--upstream", "upstreams", multiple=True, metavar="NAME[=URL]",
              help="Another provider of models for a command, as of `holdfast proxy`.")  # fmt: skip
@click.option("--key-env", "key_envs", multiple=True, metavar="NAME=VAR",
              help="The variable that holds its key.")  # fmt: skip
@click.option("--models", default="", metavar="FILE",
              help="JSON: upstreams, fallback, prices (docs/models.md).")  # fmt: skip
@shared
@click.pass_context
def command(
    ctx: click.Context,
    target: str,
    args: tuple[str, ...],
    *,
    json_args: str | None,
    name: str | None,
    policy: str,
    world: str,
    no_input: bool,
    quiet: bool,
    desk: Desk,
    **launches: Any,
) -> int:
    """Start an agent and stay with it until it ends or waits; or launch a command.

    TARGET is FILE.py:NAME or MODULE:NAME. ARGS are values, or name=value: JSON if it is JSON, else
    text; a parameter declared as str takes the text as it is. The result is printed as JSON on
    stdout, all else on stderr.

    On a terminal, what the run asks a person is asked here. Otherwise, when the run waits for a
    person or a signal, this says how to answer and ends with exit code 10. Ctrl-C suspends the run
    (`holdfast resume` goes on with it); a second Ctrl-C ends at once.

    Without TARGET, what follows -- is a command: a coding agent, a script. It works on a copy of
    this directory, and its calls of models and MCP tools are one run: recorded, and with --enforce
    judged. In the end this says what would have needed a person, what it cost and what it changed.
    The exit code is the command's; 127 if it is not there (docs/launcher.md).

    \b
    Examples:
      holdfast run repair.py:repair library=toolz tries=3
      holdfast run shop.agents:refund --args '{"order": "A-17"}' --policy policy.yaml
      holdfast run -- claude -p 'fix the failing test'
      holdfast run --enforce --policy policy.yaml -- codex exec 'update the changelog'
    """
    words: tuple[str, ...] = ctx.meta.get("holdfast.command", ())
    if words:
        if json_args is not None:
            raise Misuse("--args is for agents: a command has its own arguments after --")
        return _launch(desk, words, name=name, policy=policy, world=world, no_input=no_input,
                       **launches)  # fmt: skip
    if not target:
        raise click.UsageError("Say TARGET, or -- and a command.", ctx)
    for one in _LAUNCHES:
        if ctx.get_parameter_source(one) is click.core.ParameterSource.COMMANDLINE:
            option = next(param.opts[0] for param in ctx.command.params if param.name == one)
            raise Misuse(f"{option} is for commands: holdfast run {option} ... -- COMMAND")
    return _start(desk, target, args, json_args, name=name, policy=policy, world=world,
                  no_input=no_input, quiet=quiet)  # fmt: skip


def _launch(desk: Desk, words: tuple[str, ...], **chosen: Any) -> int:
    try:
        from holdfast.cli.launched import Chosen, launch
    except ModuleNotFoundError as error:
        raise Misuse(
            f"launching needs {error.name}: pip install 'holdfast[proxy,models]'"
        ) from None
    return asyncio.run(launch(desk, words, Chosen(**chosen)))


def _start(
    desk: Desk, target: str, args: tuple[str, ...], json_args: str | None, *, name: str | None,
    policy: str, world: str, no_input: bool, quiet: bool,
) -> int:  # fmt: skip
    from holdfast.cli.attend import Manner
    from holdfast.cli.launching import arguments, load
    from holdfast.cli.refs import naming, run_name
    from holdfast.cli.running import execute, runtime_of

    wanted = run_name(name)
    runtime = runtime_of(desk, policy=policy)
    program = load(runtime, target)
    positional, named = arguments(program, args, json_args)
    program.bind(positional, named)  # wrong arguments must not leave an empty store behind

    async def begin(runtime: Any, _: Any) -> list[str]:
        with naming(wanted):
            handle = await runtime.launch(
                program, positional, named, name=wanted, world=Path(world) if world else None
            )
        desk.screen.note((f"run {handle.id}", "bold"), f"  {program.name}")
        return [handle.id]

    manner = Manner(user=desk.user, timers=True, quiet=quiet)
    return asyncio.run(execute(desk, runtime, begin, manner, may_ask=not no_input))
