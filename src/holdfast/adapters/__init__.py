"""Doors to other systems, each thin: a policy engine outside."""
