"""Exports of simulators, potentiostats, wearables and data bases, as their users show them."""

from datetime import datetime, timedelta
from pathlib import Path

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text

CASES: list[Case] = []
START = datetime(2023, 6, 14, 14, 37, 48)


def simple(
    folder: Path,
    head: list[str],
    names: tuple[str, str],
    separator: str = "\t",
    decimal: str = ".",
    encoding: str = "utf-8",
    ending: str = "txt",
    stamp=None,
    seconds: float = 4.0,
    foot: tuple[str, ...] = (),
) -> Made:
    """A head, then the clock and two channels."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=seconds)
        clock = (
            [stamp(t) for t in truth.seconds] if stamp else numbers(truth.seconds, ".6f", decimal)
        )
        columns = [clock, *(numbers(v, ".6f", decimal) for v in truth.channels.values())]
        text(path, [*head, *rows(*columns, separator=separator), *foot], encoding)
        return Truth(truth.seconds, dict(zip(names, truth.channels.values(), strict=True)))

    return logs(folder, write, ending)


@listed(
    CASES,
    source="BioLogic EC-Lab .mpt: units behind a slash, cp1252, the number of its head lines in the head",
)
def biologic_units_by_slash(folder: Path) -> Made:
    head = [
        "EC-Lab ASCII FILE",
        "Nb header lines : 4                          ",
        "",
        "time/s\tEwe/V\tI/mA",
    ]
    return simple(folder, head, ("Ewe", "I"), encoding="cp1252")


@listed(CASES, source="DIN 1313: 't / s', 'U / V'")
def names_by_din(folder: Path) -> Made:
    return simple(folder, ["t / s;I / A;U / V"], ("I", "U"), ";", ",")


@listed(CASES, source="DIN in words: 'Zeit / ms'")
def names_by_din_in_words(folder: Path) -> Made:
    return simple(
        folder,
        ["Zeit / ms;Strom / A;Spannung / V"],
        ("Strom", "Spannung"),
        ";",
        ",",
        stamp=lambda t: f"{1000 * t:.2f}".replace(".", ","),
    )


@listed(CASES, source="LTspice: File, Export data as text; names with brackets that are no units")
def ltspice_names_with_brackets(folder: Path) -> Made:
    return simple(folder, ["time\tV(out)\tV(in)"], ("V(out)", "V(in)"))


@listed(CASES, source="Modelica: der(x) and x beside each other")
def modelica_derivatives(folder: Path) -> Made:
    return simple(folder, ['"time","der(x)","x"'], ("der", "x"), ",", ending="csv")


@listed(
    CASES, source="COMSOL: the last line of its comments names the columns, with blanks in names"
)
def comsol_comment_header(folder: Path) -> Made:
    head = [
        "% Model:              weld.mph",
        "% Version:            COMSOL 6.1",
        "% Expressions:        2",
        "% t,I (A),U (V)",
    ]
    return simple(folder, head, ("I", "U"), ",", ending="csv")


@listed(CASES, source="HOBOware: a title, names with commas in quotes, 12-hour times")
def hobo_names_with_commas(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        stamps = [
            (START + timedelta(seconds=float(t))).strftime("%m/%d/%y %I:%M:%S %p")
            for t in truth.seconds
        ]
        count = [str(n + 1) for n in range(len(stamps))]
        body = rows(count, stamps, *(numbers(v) for v in truth.channels.values()), [""] * 240)
        head = [
            '"Plot Title: Weld 12"',
            '"#","Date Time, GMT+02:00","Temp, °C (LGR S/N: 10347)","RH, % (LGR S/N: 10347)","Host Connected"',
        ]
        text(path, head + body, "utf-8-sig")
        return Truth(
            truth.seconds, {"Temp": truth.channels["current"], "RH": truth.channels["voltage"]}
        )

    return logs(folder, write)


@listed(
    CASES, "right or refused", says=r"log0\.csv|Time \(s\)", source="Vernier: 'Latest: Time (s)'"
)
def vernier_run_before_the_name(folder: Path) -> Made:
    return simple(
        folder,
        ["Latest: Time (s),Latest: Current (A),Latest: Potential (V)"],
        ("Current", "Potential"),
        ",",
        ending="csv",
    )


@listed(CASES, source="MATLAB writetimetable: durations as '0.016667 sec'")
def matlab_timetable_durations(folder: Path) -> Made:
    return simple(
        folder,
        ["Time,current,voltage"],
        ("current", "voltage"),
        ",",
        ending="csv",
        stamp=lambda t: f"{t:.6f} sec",
    )


@listed(CASES, source="Sensor Logger app: nanoseconds since 1970 and seconds_elapsed, then z, y, x")
def phone_sensor_logger(folder: Path) -> Made:
    return simple(
        folder,
        ["time,seconds_elapsed,z,y"],
        ("z", "y"),
        ",",
        ending="csv",
        stamp=lambda t: f"{1686753468201000000 + round(t * 1e9)},{t:.6f}",
    )


@listed(CASES, source="phyphox: quoted names, exponents")
def phyphox_exponents(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(*(numbers(v, ".9E") for v in (truth.seconds, *truth.channels.values())))
        text(path, ['"Time (s)","Acceleration x (m/s^2)","Acceleration y (m/s^2)"', *body])
        return Truth(
            truth.seconds,
            {
                "Acceleration x": truth.channels["current"],
                "Acceleration y": truth.channels["voltage"],
            },
        )

    return logs(folder, write)


@listed(CASES, source="one degree sign in cp1252 in a file that else is ASCII")
def one_byte_of_another_code(folder: Path) -> Made:
    return simple(
        folder, ["time_s,T in °C,voltage"], ("T", "voltage"), ",", encoding="cp1252", ending="csv"
    )


@listed(CASES, source="Excel: hundreds of rows of separators alone below the data")
def empty_rows_below(folder: Path) -> Made:
    return simple(
        folder,
        ["time_s;current;voltage"],
        ("current", "voltage"),
        ";",
        ending="csv",
        foot=(";;",) * 300,
    )


@listed(CASES, source="R write.table: row names, and one name fewer than columns")
def r_row_names(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        count = [f'"{n + 1}"' for n in range(240)]
        text(
            path,
            [
                '"time" "current" "voltage"',
                *rows(
                    count,
                    *(numbers(v) for v in (truth.seconds, *truth.channels.values())),
                    separator=" ",
                ),
            ],
        )
        return truth

    return logs(folder, write, "txt")


@listed(
    CASES,
    source="Gamry .DTA as text: a tab before each line, units below the names, a point number",
)
def gamry_dta(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            "\t" + line
            for line in rows(
                [str(n) for n in range(240)],
                *(numbers(v, ".5E") for v in (truth.seconds, *truth.channels.values())),
                separator="\t",
            )
        ]
        head = [
            "EXPLAIN",
            "TAG\tCHRONOP",
            "TITLE\tLABEL\tChronopotentiometry\tTest &Identifier",
            "CURVE\tTABLE\t240",
            "\tPt\tT\tVf\tIm",
            "\t#\ts\tV vs. Ref.\tA",
        ]
        text(path, head + body, "cp1252", "\r\n")
        return Truth(
            truth.seconds, {"Vf": truth.channels["current"], "Im": truth.channels["voltage"]}
        )

    return logs(folder, write, "txt")
