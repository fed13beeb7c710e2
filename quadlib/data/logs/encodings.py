"""Whether bytes that were read as Windows-1252 are Western text, or letters of another country."""

from __future__ import annotations

import re

# A word without a letter of ASCII: Cyrillic, Greek, Chinese, Japanese and Korean are read so.
WORD = re.compile(r"(?<!\w)[^\x00-\x7f\s]{3,}(?!\w)")
# A sign within a word: Polish, Czech, Turkish, the console's code page 850 and old Macs.
SIGN = re.compile(
    r"(?<=[^\W\d_])[§¡¢£¤¥¦¨¬¯¶¸¹¿†‡ˆ˜„”“‚](?=[a-z])|(?<!\w)[³¹](?=[a-z]{2})|[£¥](?=[a-z]{2})"
    r"|(?<=[^\x00-\x7f])¬"
)


def foreign_word(text: str) -> str:
    """A word that no Western language has, "" where there is none."""
    for match in WORD.finditer(text):
        if len({letter for letter in match[0] if letter.isalpha()}) > 1:
            return match[0]
    sign = SIGN.search(text)
    return text[max(0, sign.start() - 5) : sign.end() + 5].strip() if sign else ""
