"""Facts of an observed training loop, each a function of its record."""
