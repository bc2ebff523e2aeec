"""Worlds beside `git worktree add`, `cp -r`, a stat-scan commit and PostgreSQL's ``TEMPLATE``."""
