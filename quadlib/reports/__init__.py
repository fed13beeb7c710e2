"""Notebooks run in batch, and what they found as pages that open anywhere."""
