"""Identifiers, canonical bytes, ports, errors and limits: what every room may use.

This room knows nothing of runs, events or files, and imports no other room.
"""
