"""Tools that ship with Holdfast. `world` reads, changes and runs commands in a run's world."""
