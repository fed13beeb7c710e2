"""What is printed: text that may come from data, and may not steer the terminal."""

from __future__ import annotations

import sys

# Control characters but tabs and new lines, and those that turn the direction of writing.
STEERING = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F))
} | {code: f"\\u{code:04x}" for code in range(0x2066, 0x206A)}


def printable(text: object) -> str:
    """The text, with characters that would steer a terminal written out.

    Example:
        >>> printable("pore\\x1b[31m")
        'pore\\\\x1b[31m'
    """
    return str(text).translate(STEERING)


def say(text: object, *, err: bool = False) -> None:
    """Prints a line of such text on standard output, or on standard error."""
    print(printable(text), file=sys.stderr if err else sys.stdout, flush=True)
