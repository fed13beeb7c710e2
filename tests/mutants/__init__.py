"""Changes of single comparisons, operators and numbers, which the tests must notice."""
