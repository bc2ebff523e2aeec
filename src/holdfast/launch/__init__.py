"""Launching: any command on a branch of a directory, its traffic through doors of this process.

Begin reading at `launching.py`; the contract is docs/launcher.md.
"""
