"""Looking at an MCP server before anybody uses it: its tools, what they seem to do, what is odd.

``listing`` asks the server; ``facts`` and ``draft`` make a policy of what it says; ``findings``
says what in its texts speaks to a model rather than to a reader. What a server says of itself is a
claim.
"""
