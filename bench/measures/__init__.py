"""One module per measure, each with ``async measure(ground) -> list[Figure]``; in this order."""

NAMES = (
    "sequential", "once", "together", "onestep", "replay", "fork", "signal", "parked",
    "conversation", "checkpoints", "listing", "imports", "worlds", "openworlds", "databases",
    "merging", "judging", "flowing", "consulting", "budgets", "backtesting", "auditing", "wire",
    "mcp", "bisecting", "explaining", "anomalies", "economics", "tables",
    "console",
)  # fmt: skip
