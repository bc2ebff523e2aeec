"""The pages that people live in: one module a noun, templates and vendored scripts beside.

A page reads what `holdfast.explain` computes and calls the same functions as the command line. What
agents and tools say is hostile: it is shown as text only, cleaned and escaped.
"""
