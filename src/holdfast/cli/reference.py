"""The reference of the command line, rendered from the commands' own help: docs/cli.md."""

from __future__ import annotations

from collections.abc import Iterator

import click

from holdfast.cli.front import TOPICS, main

WIDTH = 92
INTRODUCTION = """# The command line

`holdfast` works on a store: the directory `.holdfast` where you are, or what `--store` or the
variable `HOLDFAST_STORE` names. It is looked for there only, not in directories above.

- **RUN** is a run's id, or any beginning of it that no other run shares. **RUN@STEP** is a step of
  it, by the key that `holdfast show RUN` lists, such as `7k3@4.1`.
- **REF** names a version of a world: a run, RUN@STEP, or RUN#N for its event N, as
  `holdfast world log RUN` lists them. See [worlds](worlds.md).
- A **VALUE** is JSON if it is JSON, else text: `50`, `true`, `'{"a": 1}'`, `green`. Where a number
  is meant as text, say `--text`, or quote it as JSON: `'"42"'`.
- Results are printed on stdout, progress and hints on stderr. With `--json`, stdout carries one
  JSON document and nothing else; a list is one array. Streams, which go on or may be as long as the
  journal (`run`, `resume`, `log`, `audit log`, `inbox serve`), are one document a line. What agent
  code prints goes to stderr.
- An error is one line on stderr, `holdfast: ...`, and an exit code: see [errors](errors.md).
  Exit code 10 is no error: a run waits for a person, a signal or a time.
- What agents and tools said is shown with control characters written out (`\\x1b`), so that it
  cannot command your terminal. There is no colour where stdout is not a terminal, or with
  `NO_COLOR`.
- Ctrl-C suspends what runs, cleanly; `holdfast resume` goes on with it. So does SIGTERM. A second
  Ctrl-C ends the process at once: nothing that was recorded is lost, but an action of effect `once`
  that was in progress may then be of unknown outcome.
- Shell completion: `eval "$(_HOLDFAST_COMPLETE=bash_source holdfast)"` (or `zsh_source`, and
  `_HOLDFAST_COMPLETE=fish_source holdfast | source`).

This page is written by `python -m holdfast.cli.reference`; a test compares it with the commands.
"""


def render() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    context = click.Context(main, info_name="holdfast", help_option_names=["-h", "--help"])
    for topic, names in TOPICS.items():
        parts.append(f"## {topic}\n")
        for name in names:
            command = main.get_command(context, name)
            assert command is not None
            parts += _commands(command, name, context)
    return "\n".join(parts)


def _commands(command: click.Command, name: str, above: click.Context) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=above, terminal_width=WIDTH, max_content_width=WIDTH
    )
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield from _help(command, context)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _commands(found, inner, context)
        return
    yield from _help(command, context)


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    text = "\n".join(line.rstrip() for line in command.get_help(context).split("\n"))
    yield f"### holdfast {context.command_path.removeprefix('holdfast ')}\n"
    yield f"```text\n{text}\n```\n"


if __name__ == "__main__":
    click.echo(render(), nl=False)
