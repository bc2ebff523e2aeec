"""What docs/http.md shows is so."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from holdfast.api.oidc import Client, check_client
from holdfast.api.table import WAYS
from holdfast.cli import main
from holdfast.cli.commands.serve import command
from tests.api.sites import TOKENS, served_site

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")


def test_the_table_of_routes_is_the_table():
    told = re.findall(r"^\| `(GET|POST) (\S+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted((way.method, way.path, way.role) for way in WAYS)


def test_the_program_runs_as_it_stands(tmp_path: Path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace('ask("/inbox")["questions"]', 'ask("/inbox")["questions"][1:]')
    with served_site(tmp_path) as (url, _):
        env = {**os.environ, "HOLDFAST_URL": url, "HOLDFAST_TOKEN": TOKENS["approver"]}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True,
                              text=True, check=True, timeout=60)  # fmt: skip
    assert done.stdout == "asks Which colour? ['red', 'green']\napprover-person\n"


def test_the_file_about_a_provider_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    client = check_client(msgspec.yaml.decode(text, type=Client))
    assert client.roles["reviewers"] == "approver"
    assert client.secret_file


def test_the_commands_are_ones():
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
             for line in block.splitlines() if line.startswith("holdfast serve")]  # fmt: skip
    assert len(lines) >= 2
    above = click.Context(main, info_name="holdfast", **main.context_settings)
    for line in lines:
        command.make_context("serve", shlex.split(line)[2:], parent=above)
