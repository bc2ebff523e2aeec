"""Where the journal is kept: in memory (for tests and trials) and in SQLite.

This room knows bytes, files and transactions; it knows nothing of agents, policies or worlds.
"""
