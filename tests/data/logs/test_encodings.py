"""Letters of other countries are refused by name until the encoding is said, and Western text is
Western.
"""

from __future__ import annotations

import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.encodings import foreign_word
from quadlib.data.logs.read import read_readings

WESTERN = [
    *("Größe", "Öl", "Prüfstück äußerst heiß", "été, où, créée, cœur, naïve", "¿Qué año? ¡Sí!"),
    *("blåøje, smørrebrød", "pääöljy, hääyö", "coração, ação", "25 °C, 3 µm, m³/h, m²K, W/m²K"),
    *("±5 %, ½, 20 £, £5, 3 ¥", "“Zitat”, ‘quote’, l’été, a–b — c…", "Temp°C", "······ ––––– °°°"),
    *("Ð þú ætla", "§ 5, Maß ¹)", "Joule’s", "© 2023 ®, Sensor™"),
]
FOREIGN = [
    *(("Ток, Напряжение", "cp1251"), ("Ток, Напряжение", "koi8-r"), ("时间(s),电流(A)", "gb18030")),
    *(("時間[s],電流[A]", "cp932"), ("시간,전류", "cp949"), ("Ρεύμα [A]", "cp1253")),
    *(("Prąd [A]", "cp1250"), ("Napięcie łuku", "cp1250"), ("Länge, Höhe", "cp850")),
    *(("Größe", "mac-roman"), ("זמן, זרם", "cp1255"), ("الوقت", "cp1256")),
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_text_is_no_foreign_word(text):
    assert foreign_word(text.encode("cp1252", "ignore").decode("cp1252")) == ""


@pytest.mark.parametrize(("text", "encoding"), FOREIGN)
def test_other_letters_show_as_words_that_no_western_language_has(text, encoding):
    assert foreign_word(text.encode(encoding).decode("cp1252", "replace"))


@pytest.mark.parametrize(("text", "encoding"), FOREIGN[:6])
def test_a_log_is_refused_until_its_encoding_is_said(tmp_path, text, encoding):
    path = tmp_path / "log.csv"
    names = (text + ",x").split(",")[:2]
    lines = [f"t;{';'.join(names)}", *(f"{row};{row * 7 % 5};{row % 3}" for row in range(20))]
    path.write_bytes("\n".join(lines).encode(encoding))
    with pytest.raises(DamageError, match="neither UTF-8 nor Western text.*series_encoding="):
        read_readings(path, MediaSettings())
    readings = read_readings(path, MediaSettings(series_encoding=encoding))
    assert list(readings.channels) == [
        name.partition("[")[0].partition("(")[0].strip() for name in names
    ]
    with pytest.raises(DamageError, match="is not text in utf-8; set another series_encoding"):
        read_readings(path, MediaSettings(series_encoding="utf-8"))


def test_an_encoding_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="series_encoding\n.*that Python knows was expected"):
        MediaSettings(series_encoding="windows-9999")
