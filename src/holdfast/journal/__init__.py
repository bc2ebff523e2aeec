"""What happened: events, their chain, the store port, and views folded from them.

This room knows nothing of agents' code, policies or files. It is pure: it never reads a clock,
rolls dice or touches a disk; stores (above) do that and are held together by one conformance suite.
"""
