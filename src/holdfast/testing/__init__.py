"""What tests of programs on Holdfast need, and what Holdfast is tested with itself.

Import the modules by name: `clock` (virtual time, seeded chance), `faults` (stores that crash),
`outside` (a record of effects), `standin` (a model server), `lives` (hosts that die and are
replaced), `oracles` (what must hold of every journal), `programs` (random agents), `sim` (the
seeded simulation).
"""
