"""``holdfast approve``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--note", default="", metavar="TEXT", help="Why; kept in the journal.")
@click.option("--digest", default=None, metavar="HEX",
              help="Only if it asks about this action: the beginning of its digest.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE",
              help="With this instead: judged again. NAME:=JSON: of whatever kind.")  # fmt: skip
@click.option("--always", is_flag=True, help="Also propose a rule that would have allowed it.")
@click.option("--write", default="", metavar="POLICY",
              help="The policy that asked: --always changes it, and shows how.")  # fmt: skip
@shared
def command(
    run: str, *, note: str, digest: str | None, changes: tuple[str, ...], always: bool, write: str,
    desk: Desk,
) -> int:  # fmt: skip
    """Allow the action that a run asks about.

    If several must approve, it happens after the last of them did. If it is not known whether an
    action happened: it did not, perform it now. @STEP is needed only if the run asks several things
    at once. --always prints what to add to the policy so that it does not ask again; with --write
    it changes that policy (a file, or a folder), keeping comments, after trying that the change
    allows this action; exit code 1 if cases of the policy speak against it (`policy check`).

    Who you are is what HOLDFAST_USER says (else your login): a claim, which is recorded.

    \b
    Examples:
      holdfast approve 7k3
      holdfast approve 7k3@4.1 --note "checked the order" --digest 1f0a
      holdfast approve 7k3@4.1 --set amount=50
      holdfast approve 7k3@4.1 --always --write policies/support
    """
    from holdfast.cli.answering import decide

    if write and not always:
        raise click.UsageError("--write needs --always")
    return asyncio.run(
        decide(desk, run, "approve", note=note, digest=digest, changes=changes, always=always,
               write=write)
    )  # fmt: skip
