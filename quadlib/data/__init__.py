"""Recordings: the table, its sources and splits, decoded media, and batches."""
