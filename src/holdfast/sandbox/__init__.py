"""Walls around commands: what this host can do, and running one command inside of them."""
