"""Does the gate hold when an agent is deceived? Scenarios replayed without a model.

``python -m bench.security``. What is measured, and what is not: docs/security-bench.md.
"""
