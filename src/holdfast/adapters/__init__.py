"""Doors to other systems, each thin: a policy engine outside; agents of other frameworks."""
