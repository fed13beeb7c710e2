"""Sensor logs as people have them: text with its separators, cells that look like numbers, clocks,
and the columns that are channels.
"""
