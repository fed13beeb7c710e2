"""How people's logs tell the time, and where it goes wrong."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text

CASES: list[Case] = []
START = datetime(2023, 6, 4, 14, 37, 48, 201000)  # day and month may be either


def stamped(
    folder: Path,
    stamp: Callable[[float], str],
    head: str = "time,current,voltage",
    seconds: float = 240.0,
    **settings,
) -> Made:
    """Logs whose first column, or columns, are `stamp(seconds since the start)`."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=seconds)
        columns = [numbers(v) for v in truth.channels.values()]
        text(path, [head, *rows([stamp(t) for t in truth.seconds], *columns)])
        return truth

    return logs(folder, write, **settings)


def after(seconds: float, start: datetime = START) -> datetime:
    return start + timedelta(seconds=float(seconds))


@listed(CASES, source="video subtitles, VBA and Java logs: HH:MM:SS,mmm with ; between fields")
def clock_with_comma_milliseconds(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        stamps = [
            after(t).strftime("%H:%M:%S,") + f"{after(t).microsecond // 1000:03d}"
            for t in truth.seconds
        ]
        columns = [numbers(v, ".4f", ",") for v in truth.channels.values()]
        text(path, ["Uhrzeit;current;voltage", *rows(stamps, *columns, separator=";")])
        return truth

    return logs(folder, write)


@listed(CASES, source="Excel: a date saved as a number, days since 1899-12-30")
def excel_serial_days(folder: Path) -> Made:
    return stamped(folder, lambda t: f"{45081.6095 + t / 86400:.9f}", "Date,current,voltage")


@listed(CASES, source="JavaScript Date.now()")
def epoch_milliseconds(folder: Path) -> Made:
    return stamped(
        folder, lambda t: str(int(1685889468201 + t * 1000)), "timestamp,current,voltage"
    )


@listed(CASES, source="ROS bag to CSV: %time in nanoseconds")
def ros_nanoseconds(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: str(1685889468201000000 + round(t * 1e9)),
        "%time,field.current,field.voltage",
        4.0,
    )


@listed(
    CASES,
    source="Android SensorEvent.timestamp: nanoseconds since boot, in a column called timestamp",
)
def nanoseconds_since_boot(folder: Path) -> Made:
    return stamped(
        folder, lambda t: str(73123456789 + round(t * 1e9)), "timestamp_ns,current,voltage", 4.0
    )


@listed(CASES, source="Python time.time() written with pandas to_csv")
def epoch_seconds_as_float_in_exponent(folder: Path) -> Made:
    return stamped(folder, lambda t: f"{1685889468.201 + t:.12e}", "timestamp,current,voltage")


@listed(CASES, source="ISO 8601 with Z and with an offset of the zone")
def iso_with_zone(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: after(t).isoformat(timespec="milliseconds") + "+02:00",
        "datetime,current,voltage",
    )


@listed(CASES, source="ISO basic format, as file names and PLCs write it")
def iso_basic_format(folder: Path) -> Made:
    return stamped(
        folder, lambda t: after(t).strftime("%Y%m%dT%H%M%S.%f"), "timestamp,current,voltage"
    )


@listed(CASES, source="Excel in the USA: 6/4/2023 2:37:48 PM; which is the day is asked")
def american_am_pm(folder: Path) -> Made:
    def stamp(t: float) -> str:
        now = after(t)
        return f"{now.month}/{now.day}/{now.year} {now.strftime('%I').lstrip('0')}:{now:%M:%S} {now:%p}"

    return stamped(folder, stamp, series_dates="month_first")


@listed(
    CASES,
    source="the same, without the setting: all of it within one day, so it does not matter which is the day",
)
def american_date_where_it_does_not_matter(folder: Path) -> Made:
    return stamped(folder, lambda t: after(t).strftime("%m/%d/%Y %H:%M:%S.%f"))


@listed(
    CASES,
    "refused",
    says=r"series_dates|day",
    source="one reading a day for eight months: 04/06 may be April or June",
)
def daily_readings_ambiguous(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: (START + timedelta(days=int(t * 9 / 12))).strftime("%m/%d/%Y"),
        seconds=12.0,
    )


@listed(CASES, source="Excel in Germany: Datum;Uhrzeit apart, decimal comma")
def german_date_and_time_apart(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        dates = [after(t).strftime("%d.%m.%Y") for t in truth.seconds]
        times = [after(t).strftime("%H:%M:%S") for t in truth.seconds]
        columns = [numbers(v, ".4f", ",") for v in truth.channels.values()]
        text(
            path,
            ["Datum;Uhrzeit;current;voltage", *rows(dates, times, *columns, separator=";")],
            "cp1252",
            "\r\n",
        )
        return truth

    return logs(folder, write)


@listed(CASES, source="clock of the day without a date, over midnight")
def over_midnight_without_date(folder: Path) -> Made:
    start = datetime(2023, 6, 4, 23, 58, 30)
    return stamped(
        folder, lambda t: after(t, start).strftime("%H:%M:%S.%f"), "Time,current,voltage"
    )


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv.*",
    source="local time over the end of summer time: 02:59:59 is followed by 02:00:00",
)
def over_the_end_of_summer_time(folder: Path) -> Made:
    def stamp(t: float) -> str:
        wall = datetime(2023, 10, 29, 2, 58) + timedelta(seconds=t)
        if wall >= datetime(2023, 10, 29, 3):
            wall -= timedelta(hours=1)
        return wall.strftime("%Y-%m-%d %H:%M:%S")

    return stamped(folder, stamp)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv.*",
    source="a microsecond counter of 32 bits runs over (Arduino micros(), 71.6 min)",
)
def counter_of_32_bits_wraps(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: str((4294967296 - 2_000_000 + round(t * 1e6)) % 4294967296),
        "micros,current,voltage",
        4.0,
    )


@listed(CASES, source="stamps of whole seconds, 20 readings each")
def repeated_stamps_of_whole_seconds(folder: Path) -> Made:
    return stamped(folder, lambda t: after(np.floor(t)).strftime("%Y-%m-%d %H:%M:%S"), seconds=12.0)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv.*backwards|sort|order",
    source="rows of two devices appended one after the other, unsorted",
)
def unsorted_rows(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(*(numbers(v) for v in (truth.seconds, *truth.channels.values())))
        text(path, ["t,current,voltage", *body[120:], *body[:120]])
        return truth

    return logs(folder, write)


@listed(CASES, source="the logger paused for a third of the time")
def gap_in_the_middle(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        keep = np.r_[0:80, 160:240]
        body = rows(*(numbers(v) for v in (truth.seconds, *truth.channels.values())))
        text(path, ["time_s,current,voltage", *(body[k] for k in keep)])
        return Truth(truth.seconds[keep], {k: v[keep] for k, v in truth.channels.items()})

    return logs(folder, write)


@listed(CASES, source="event driven: readings are dense where something happens")
def unequal_steps(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        time = 4 * (truth.seconds / 4) ** 2
        phase = time / time[-1]
        channels = {
            "current": 20 + number + 5 * np.sin(4 * phase),
            "voltage": -3 + number + 2 * phase,
        }
        text(
            path,
            [
                "Time (ms),current,voltage",
                *rows(numbers(time * 1000), *(numbers(v) for v in channels.values())),
            ],
        )
        return Truth(time, channels)

    return logs(folder, write)


@listed(CASES, source="minutes: Zeit [min]")
def clock_in_minutes(folder: Path) -> Made:
    return stamped(folder, lambda t: f"{t / 60:.6f}", "Zeit [min],current,voltage")


@listed(
    CASES,
    source="elapsed time as 0:00:01.5, days before it after one day (Gamry, Arbin, Neware cyclers: 1d 02:03:04)",
)
def elapsed_hours_minutes(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: f"{int(t) // 3600}:{int(t) % 3600 // 60:02d}:{t % 60:04.1f}",
        "Elapsed Time,current,voltage",
    )


@listed(CASES, source="minutes and seconds alone, mm:ss.s")
def elapsed_minutes_seconds(folder: Path) -> Made:
    return stamped(
        folder, lambda t: f"{int(t) // 60:02d}:{t % 60:04.1f}", "Elapsed,current,voltage"
    )


@listed(CASES, source="text months: 04-Jun-2023 14:37:48 (MATLAB datestr, LabVIEW)")
def month_in_words(folder: Path) -> Made:
    return stamped(
        folder, lambda t: after(t).strftime("%d-%b-%Y %H:%M:%S.%f"), "Timestamp,current,voltage"
    )


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv|series_dates|series_clock",
    source="text months in German: 04. Mai 2023, 12. Dez 2023",
)
def month_in_german_words(folder: Path) -> Made:
    return stamped(
        folder,
        lambda t: "04. Okt 2023 " + after(t).strftime("%H:%M:%S"),
        "Zeitstempel,current,voltage",
    )


@listed(
    CASES,
    source="two clocks: epoch and seconds since the start; both are clocks, neither a channel",
)
def two_clocks(folder: Path) -> Made:
    return stamped(
        folder, lambda t: f"{1685889468.2 + t:.3f},{t:.3f}", "epoch_s,elapsed_s,current,voltage"
    )


@listed(CASES, source="the clock stands in the last column")
def clock_in_the_last_column(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = [numbers(v) for v in (*truth.channels.values(), truth.seconds)]
        text(path, ["current,voltage,time [s]", *rows(*columns)])
        return truth

    return logs(folder, write)


@listed(
    CASES,
    source="GPS week seconds; the unit is told by nothing but the size of the steps; name 'tow'",
)
def utc_with_trailing_letters(folder: Path) -> Made:
    zone = START.replace(tzinfo=UTC)
    return stamped(
        folder,
        lambda t: (zone + timedelta(seconds=t)).strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        "time,current,voltage",
    )
