"""The demo: an agent that repairs a planted bug in a real library, without any model."""
