"""Putting Holdfast into the configurations of MCP clients, and taking it out again.

Which clients there are and where their files are is in `holdfast.launch.places`. ``toml`` and
`holdfast.launch.jsonc`: changing a file's text at one spot and nowhere else; ``entries``: what an
entry becomes; ``file``: writing, backups, and what uninstalling restores.
"""
