"""
.. include:: README.md
"""
