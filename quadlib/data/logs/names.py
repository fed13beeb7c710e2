"""What names of columns say: a unit in brackets, a clock and its unit, a row number, a label."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNIT_IN_NAME = re.compile(r"^(.*?)(\s*[\[(])\s*([^\[\]()]*)\s*[\])]\s*$")
A_WORD = re.compile(r"[^\s\d]{0,8}")  # in round brackets after a blank, taken for a unit
BY_SLASH = re.compile(r"^(\S.*?)(\s*)/\s*(\S+)$")  # "t / s" of DIN 1313, "Ewe/V"
BY_COMMA = re.compile(r"^(\S.*?),\s*(\S+)$")  # "Temp, °C", and GOST 2.105
IN_UNIT = re.compile(r"^(\S.*?)\s+in\s+(\S+)$")  # "C1 in V", as some oscilloscopes write it
SECONDS = {
    "s": 1.0,
    "sec": 1.0,
    "seconds": 1.0,
    "second": 1.0,
    "sek": 1.0,
    "min": 60.0,
    "h": 3600.0,
}
SECONDS |= {"millis": 1e-3, "micros": 1e-6}  # as microcontrollers count them
SECONDS |= {"с": 1.0, "сек": 1.0, "мс": 1e-3, "мкс": 1e-6, "мин": 60.0, "ч": 3600.0}
SECONDS |= {"ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "d": 86400.0}
CLOCK = re.compile(
    r"%?(?:t|time|zeit|zeitpunkt|uhrzeit|timestamp|time stamp|zeitstempel|date ?[/&]? ?time"
    r"|datum/uhrzeit|(?:seconds|time) elapsed|seconds|sec"
    r"|(?:elapsed|relative|rel|abs|unix)(?: time)?|x value|x[ -]axis"
    r"|epoch|utc|ts|millis|micros|temps|heure|tid|tidpunkt|tijd|tiempo|aika|czas|čas|idő|zaman"
    r"|время|时间|時間)(?: (?:utc|local|ms|us|ns|s|sec|min|seconds))?"
    r"|in (?:s|ms|us|µs|μs|ns|min|h)"
)
DATE, TIME = ("date", "datum"), ("time", "uhrzeit", "zeit")
INDEX = re.compile(
    r"|index|unnamed: ?\d+|no\.?|nr\.?|#|row|zeile|scan|record|seq(?:uence)?(?: number)?"
)
LABELS = re.compile(
    r"(?:class|target|label|split|group)(?:es|s)?(?: ?(?:id|name|label))?"
    r"|(?:sample|recording) ?id|y true"
)
UNITS = re.compile(
    r"|-|[\[(].*[\])]|%|‰|°.?|[µμnmkMGh]?(?:s|V|A|W|N|Nm|Pa|bar|psi|m|g|l|L|Hz|Ohms?|Ω|J|F|H|T|K|C|rpm"
    r"|m/s|m/s²|m/s2|m/s\^2|m/\(s\^2\)|g/s|l/min|L/min|m³/h|mm/s|U/min|1/min|deg|rad|rad/s|dB|ppm|min|sec|kg|t)"
    r"|(?:ms|us|ns|µs|mm|cm|km|mbar|mmHg|degC|deg C|Celsius|A\.U\.|a\.u\.|count|counts)"
    r"|(?:с|сек|мс|мкс|мин|ч|°С|[мк]?А|[мк]?В|[кМ]?Вт|[кМ]?Ом|[кМ]?Гц|[кМ]?Па|бар|к?Н|к?г|[кмс]?м)"
    r"|(?i:seconds?|volts?|amp(?:ere|s)?|watts?)"
)


def plain(name: str) -> str:
    """A name as it is compared: lower case, without its unit, underscores as blanks."""
    return re.sub(r"[\s_]+", " ", base_and_unit(name)[0]).strip().casefold()


def numberless_names(names: Sequence[str]) -> list[str]:
    """The names without the numbers in them; none where two would then be one, or one be empty."""
    short = [re.sub(r"\d+", "", name).strip(" _-.") for name in names]
    keys = [plain(name) for name in short]
    return short if len(set(keys)) == len(keys) and "" not in keys else []


def base_and_unit(name: str) -> tuple[str, str]:
    """A column's name and the unit that it carries, "" where none: in brackets, behind a slash, a
    comma, or "in". V(out) carries none, and km/h is one.
    """
    name = name.strip()
    if match := UNIT_IN_NAME.match(name):
        base, opening, unit = match[1].strip(), match[2], match[3].strip()
        square, apart = opening.endswith("["), opening[:1].isspace()
        if base and (square or is_unit(unit) or (apart and A_WORD.fullmatch(unit))):
            return base, unit
        return name, ""
    for form in (IN_UNIT, BY_COMMA):
        if (match := form.match(name)) and is_unit(match[2]):
            return match[1].strip(), match[2]
    if (match := BY_SLASH.match(name)) and is_unit(match[3]):
        base, apart, unit = match[1].strip(), bool(match[2]), match[3]
        if apart or not is_unit(base) or (base == "t" and unit in SECONDS):
            return base, unit
    return name, ""


def clock_of(name: str) -> str:
    """The name as a clock's, "" where it is none."""
    match = CLOCK.fullmatch(plain(name))
    return match[0] if match else ""


def clock_unit(name: str, unit: str) -> float | None:
    """Seconds of one step of a clock by its name and unit; None where neither says."""
    for word in (base_and_unit(name)[1], unit, plain(name).rpartition(" ")[2], plain(name)):
        if (word_plain := word.strip().casefold()) in SECONDS:
            return SECONDS[word_plain]
    return None


def is_label(name: str) -> bool:
    """Whether a column inside a recording is named like a column of the table."""
    return LABELS.fullmatch(plain(name)) is not None


def is_index(name: str) -> bool:
    """Whether a column is named like row numbers."""
    return INDEX.fullmatch(plain(name)) is not None


def is_unit(cell: str) -> bool:
    """Whether a cell of the row below the names is a unit, or empty."""
    return UNITS.fullmatch(cell.strip()) is not None
