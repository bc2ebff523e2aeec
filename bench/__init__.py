"""Measurements of Holdfast beside a peer and the floor: `make bench`, or ``python -m bench``.

Each module in `bench.measures` measures one thing. Rounds are interleaved (floor, Holdfast, peer,
and again), figures are medians, and the ratios are worth more than the absolute figures.
"""
