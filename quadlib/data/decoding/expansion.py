"""How far what is compressed may expand, whatever its format."""

from __future__ import annotations

# Numbers that were measured are compressed tenfold at best, logs and tables twentyfold; zeros that
# nobody measured, thousandfold.
MOST_EXPANSION = 100
FREE_BYTES = 256 * 2**20  # to which a file may expand whatever its own size


def most_bytes(held: int) -> int:
    """To how many bytes a file that holds so many compressed ones may expand."""
    return max(FREE_BYTES, MOST_EXPANSION * held)
