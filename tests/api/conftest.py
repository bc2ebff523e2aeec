"""A working directory with agents in it, as for the command line."""

from tests.cli.conftest import place as place
