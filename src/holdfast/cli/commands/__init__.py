"""The commands of ``holdfast``, one module each; `holdfast.cli.front` lists them.

Each module has ``command``, the click command. It returns its exit code (None: 0).
"""
