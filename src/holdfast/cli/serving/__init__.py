"""Holdfast's own tools for agents: what `holdfast mcp serve` offers.

Each is a function of a struct of arguments to a struct of results; `holdfast.proxy.within` offers
them to clients, and each call is a step of the client's run. Whatever runs, tools and models said
is in these results as data: without characters that command a terminal, and in pages.
"""
