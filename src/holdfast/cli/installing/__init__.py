"""Putting Holdfast into the configurations of MCP clients, and taking it out again.

``places``: which clients there are and where their files are; ``jsonc`` and ``toml``: changing a
file's text at one spot and nowhere else; ``entries``: what an entry becomes; ``file``: writing,
backups, and what uninstalling restores.
"""
