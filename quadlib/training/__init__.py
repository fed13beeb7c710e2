"""One training run: the loop, what it needs, what it leaves behind, and the doctor beside it.

.. include:: README.md
"""
