"""Tables of recordings as people keep them."""

from __future__ import annotations

import datetime as dt
import inspect
import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.data.cases.matrix import Case, Refused, Right


def frame(folder: Path, rows: int = 12) -> pd.DataFrame:
    """Twelve vectors in files of their own: two classes, six sessions of two recordings."""
    (folder / "x").mkdir(exist_ok=True)
    for row in range(rows):
        np.save(folder / "x" / f"{row}.npy", vector(row))
    return pd.DataFrame({"sample_id": [f"r{row}" for row in range(rows)], "label": ["ab"[row % 2] for row in range(rows)], "group": [f"s{row // 2}" for row in range(rows)], "x": [f"x/{row}.npy" for row in range(rows)]})


def vector(row: int) -> np.ndarray:
    return np.random.default_rng(row).normal(row % 2, 1, 4).astype(np.float32)


def table(folder: Path, change: Callable[..., pd.DataFrame] | None = None, rows: int = 12, settings: Mapping[str, Any] | None = None, file: str = "recordings.csv", edit: Callable[[str], str] | None = None, **options: Any) -> Mapping[str, Any]:
    """The table of `frame`, after `change`, in the form that the file's ending says; `edit` changes
    its text, `options` go to DataFrame.to_csv.
    """
    recordings, path = frame(folder, rows), folder / file
    if change is not None:
        wants_folder = len(inspect.signature(change).parameters) == 2
        recordings = change(recordings, folder) if wants_folder else change(recordings)
    if path.suffix == ".parquet":
        recordings.to_parquet(path)
    elif path.suffix == ".feather":
        recordings.to_feather(path)
    else:
        recordings.to_csv(path, **({"index": False} | options))
    if edit is not None:
        text = "" if path.suffix == ".xlsx" else path.read_text()
        path.write_text(edit(text), encoding="latin-1" if "\x89" in edit(text) else "utf-8")
    return {"path": file} | (settings or {})


def case(name: str, change: Any, right: Right | Refused, **options: Any) -> Case:
    return Case(name, "table", lambda folder: table(folder, change, **options), right)


READ = Right({"x": {"r0": vector(0), "r11": vector(11)}})


def paths(change: Callable[[Path, str], str], column: str = "x") -> Any:
    """Every path of the table in another form; `change` takes the folder and the path."""
    return lambda d, folder: d.assign(**{column: [change(folder, path) for path in d[column]]})


def cell(row: int, column: str, value: Any) -> Any:
    return lambda d: d.astype({column: object}).assign(**{column: [value if k == row else old for k, old in enumerate(d[column])]})


def splits(*names: str) -> Any:
    """Train for the first three sessions, then three named splits."""
    return lambda d: d.assign(split=[names[min(row // 2 // 2, 2)] for row in range(len(d))])


def holds(test: Callable[[Any], bool], why: str) -> Right:
    return Right({"x": {"r0": vector(0)}}, holds=lambda dataset: "" if test(dataset.table) else why)


def classes(*names: str) -> Right:
    return holds(lambda t: sorted(set(t.frame["label"])) == list(names), f"classes are not {names}")


def counts(train: int, val: int, test: int) -> Right:
    return holds(lambda t: [len(t.rows(s)) for s in ("train", "val", "test")] == [train, val, test], f"splits are not of {train}, {val}, {test}")


def one_split_each(column: str) -> Right:
    return holds(lambda t: t.frame.groupby(t.frame["group"])["split"].nunique().max() == 1 and t.frame["group"].nunique() == 6, f"{column} is not the group")


def third_class(d: pd.DataFrame, sessions: Callable[[int], str], rows: int = 4) -> pd.DataFrame:
    """The last `rows` recordings become a class c, in sessions of their own."""
    last = d.index >= len(d) - rows
    return d.assign(label=d["label"].where(~last, "c"), group=[sessions(row) if late else g for row, (late, g) in enumerate(zip(last, d["group"], strict=True))])


def official(d: pd.DataFrame) -> pd.DataFrame:
    """As the measured welds are divided: one class in train, and sessions, each of one class, in two splits."""
    return d.assign(label=["a"] * 6 + ["b"] * 6, split=["train", "val", "train", "test", "train", "val"] + ["val", "test"] * 3)


def outside(folder: Path) -> Path:
    place = folder.parent / f"{folder.name} elsewhere"
    place.mkdir(exist_ok=True)
    return place


def moved(folder: Path, as_link: bool) -> Path:
    """The files lie in another folder; the table names them there, or links lead to them."""
    place = outside(folder)
    for path in (folder / "x").iterdir():
        path.rename(place / path.name)
        if as_link:
            path.symlink_to(place / path.name)
    return place


FORMS = [
    case("as the README shows it", None, READ),
    case("semicolons", None, READ, sep=";"),
    case("tabs, .tsv", None, READ, file="recordings.tsv", sep="\t"),
    case("tabs in a .csv", None, READ, sep="\t"),
    case("byte order mark", None, READ, encoding="utf-8-sig"),
    case("UTF-16", None, READ, encoding="utf-16"),
    case("cp1252 with umlauts", lambda d: d.assign(label=d["label"].map({"a": "Übernaht", "b": "gut"})), classes("gut", "Übernaht"), encoding="cp1252"),
    case("CR LF", None, READ, lineterminator="\r\n"),
    case("gzip", None, READ, file="recordings.csv.gz"),
    case("the index of a data frame", None, READ, index=True),
    case("two columns without a name", lambda d: d.assign(**{"": "", " ": ""}), READ),
    case("blanks around names", lambda d: d.rename(columns=lambda name: f" {name} "), READ),
    case("a label with the separator in it", lambda d: d.assign(label=d["label"] + ", hot"), classes("a, hot", "b, hot")),
    case("a line break in a remark", lambda d: d.assign(remark="two\nlines"), READ),
    case("sep= line of a spreadsheet", None, READ, edit=lambda text: "sep=,\n" + text),
    case("empty lines at the end", None, READ, edit=lambda text: text + "\n\n,,,\n"),
    case("a comment above", None, READ, edit=lambda text: "# exported 2023-06-14\n" + text),
    case("empty file", None, Refused(("empty",)), edit=lambda text: ""),
    case("header alone", lambda d: d[:0], Refused(("no recording",))),
    case("an extra field in one line", None, Refused(("line 4",)), edit=lambda text: text.replace("x/2.npy", "x/2.npy,7")),
    case("a name twice", lambda d: pd.concat([d, d["x"]], axis=1), Refused(("x", "twice"))),
    case("a folder as path", None, Refused(("folder", "make-table")), settings={"path": "x"}),
    case("no such file", None, Refused(("recording.csv", "recordings.csv")), settings={"path": "recording.csv"}),
    case("a spreadsheet", None, Refused(("xlsx", "CSV")), file="recordings.xlsx", edit=lambda text: "PK\x03\x04"),
    case("JSON lines", None, Refused((".jsonl", "CSV")), file="recordings.jsonl", edit=lambda text: '{"sample_id": 1}\n'),
    case("UTF-8 bytes that are an image", None, Refused(("text",)), edit=lambda text: "\x89PNG\r\n\0\0\0"),
    case("Parquet", None, READ, file="recordings.parquet"),
    case("Parquet with sample_id as index", lambda d: d.set_index("sample_id"), READ, file="recordings.parquet"),
    case("Parquet with columns of every type", lambda d: d.assign(when=pd.Timestamp("2023-06-14", tz="UTC"), took=pd.Timedelta("3s"), kind=pd.Categorical(d["label"]), price=[Decimal("1.5")] * len(d), many=[[1, 2]] * len(d), day=dt.date(2023, 6, 14), raw=[b"x"] * len(d)), READ, file="recordings.parquet"),
    case("Parquet with labels as categories", lambda d: d.astype({"label": "category", "group": "category"}), READ, file="recordings.parquet"),
    case("Parquet with labels as numbers", lambda d: d.assign(label=[row % 2 for row in range(12)]), classes("0", "1"), file="recordings.parquet"),
    case("Feather", None, READ, file="recordings.feather"),
]

COLUMNS = [
    case("Sample_ID, Label, Group", lambda d: d.rename(columns={"sample_id": "Sample_ID", "label": "Label", "group": "Group"}), Right(READ.values, says=("Sample_ID",))),
    case("id and class", lambda d: d.rename(columns={"sample_id": "id", "label": "class"}), Right(READ.values, says=("id", "class"))),
    case("sample id with a blank", lambda d: d.rename(columns={"sample_id": "sample id"}), READ),
    case("no sample_id", lambda d: d.drop(columns="sample_id"), Refused(("sample_id",))),
    case("no label", lambda d: d.drop(columns="label"), Refused(("label",))),
    case("two columns that may be the label", lambda d: d.rename(columns={"label": "class"}).assign(target=d["label"]), Refused(("label", "class", "target"))),
    case("no group", lambda d: d.drop(columns="group"), Right(READ.values, says=("group",))),
    case("group by setting", lambda d: d.rename(columns={"group": "subject"}), one_split_each("subject"), settings={"group": "subject"}),
    case("group by setting that no column has", lambda d: d.rename(columns={"group": "subject"}), Refused(("group", "subjct", "subject")), settings={"group": "subjct"}),
    case("group by two columns", lambda d: d.assign(day=[row // 6 for row in range(12)], part=[row // 2 % 3 for row in range(12)]).drop(columns="group"), one_split_each("day and part"), settings={"group": "day,part"}),
    case("a session column and no group", lambda d: d.rename(columns={"group": "session"}), Right(READ.values, says=("session", 'group="session"'))),
    case("numbers as ids, with zeros in front", lambda d: d.assign(sample_id=[f"{row:03}" for row in range(12)]), Right({"x": {"000": vector(0)}})),
    case("an id twice", cell(3, "sample_id", "r2"), Refused(("r2",))),
    case("an id missing", cell(3, "sample_id", ""), Refused(("sample_id", "number 4 of"))),
    case("groups 1 and 1.0", lambda d: d.assign(group=[f"{row // 2 + 1}" + ".0" * (row % 2) for row in range(12)]), one_split_each("group")),
    case("a group missing", cell(3, "group", ""), Refused(("group", "r3"))),
    case("information beside", lambda d: d.assign(operator="km", amps=range(12)), Right(READ.values, says=("operator", "amps"))),
    case("a modality called type", lambda d: d.rename(columns={"x": "type"}), Refused(("type",))),
    case("a modality called keys", lambda d: d.rename(columns={"x": "keys"}), Refused(("keys",))),
    case("a modality with a dot in its name", lambda d: d.rename(columns={"x": "cam.1"}), Right({"cam_1": READ.values["x"]})),
    case("a modality with a blank in its name", lambda d: d.rename(columns={"x": "front cell"}), Right({"front_cell": READ.values["x"]})),
    case("numbers alone", lambda d: d.drop(columns="x").assign(height=range(12), weight=range(12)), Refused(("modality", ".npz"))),
    case("a modality that is not there", None, Refused(("sensr", "x")), settings={"modalities": ["sensr"]}),
]

LABELS = [
    *(case(f"label {word or 'empty'}", cell(3, "label", word), Refused(("label", "r3"))) for word in ("", "nan", "NaN", "None", "N/A", "null", "#N/A", "NULL", "n/a", "-")),
    case("labels 1 and 1.0", lambda d: d.assign(label=[("1", "1.0", "2", "2.0")[row % 2 * 2 + row // 2 % 2] for row in range(12)]), classes("1", "2")),
    case("labels as whole numbers", lambda d: d.assign(label=[row % 2 for row in range(12)]), classes("0", "1")),
    case("labels true and false", lambda d: d.assign(label=[row % 2 == 0 for row in range(12)]), classes("False", "True")),
    case("labels with zeros in front", lambda d: d.assign(label=["007", "07"] * 6), classes("007", "07")),
    case("blanks around a label", cell(4, "label", "a "), Refused(("a ", "blank"))),
    case("blanks around every label", lambda d: d.assign(label=d["label"] + " "), Right(READ.values, says=("label: 12 values have blanks around them",))),
    case("a letter of another alphabet in a label", lambda d: d.assign(label=["a", "\u0430"] * 6), Refused(("alphabet", "clearly apart"))),
    case("labels that differ by case", lambda d: d.assign(label=["OK", "nok", "ok", "nok"] * 3), Refused(("OK", "ok", "case"))),
    case("one class", lambda d: d.assign(label="a"), Refused(("'a'", "second class"))),
    case("a class of one recording", cell(0, "label", "rare"), Refused(("rare",))),
    case("a class for each recording", lambda d: d.assign(label=[f"c{row}" for row in range(12)]), Refused(("class",))),
    case("classes by setting", lambda d: third_class(d, lambda row: f"t{row}"), classes("a", "b"), settings={"classes": ["a", "b"]}),
    case("a class left out", lambda d: third_class(d, lambda row: f"t{row}"), classes("a", "b"), settings={"leave_out": ["c"]}),
    case("a class left out that no recording has", None, Refused(("leave_out", "'c'")), settings={"leave_out": ["c"]}),
    case("a class by setting with a slip", lambda d: third_class(d, lambda row: f"t{row}"), Refused(("classes", "bb", "b")), settings={"classes": ["a", "bb"]}),
]

PATHS = [
    case("absolute", paths(lambda folder, path: str(folder / path)), READ),
    case("backslashes", paths(lambda folder, path: path.replace("/", "\\")), READ),
    case("a dot in front", paths(lambda folder, path: f"./{path}"), READ),
    case("blanks around", paths(lambda folder, path: f" {path} "), READ),
    case("an environment variable", paths(lambda folder, path: (os.environ.update(CASE_ROOT=str(folder)), f"$CASE_ROOT/{path}")[1]), READ),
    case("an environment variable that is not set", paths(lambda folder, path: f"$CASE_UNSET/{path}"), Refused(("CASE_UNSET",))),
    case("home", paths(lambda folder, path: (os.environ.update(HOME=str(folder)), f"~/{path}")[1]), READ),
    case("a file: address", paths(lambda folder, path: f"file://{folder}/{path}"), READ),
    case("a web address", paths(lambda folder, path: f"https://example.org/{path}"), Refused(("address", "download"))),
    case("a drive of Windows", paths(lambda folder, path: f"D:\\weld\\{path}"), Refused(("drive of Windows",))),
    case("of another machine", paths(lambda folder, path: f"/mnt/nas/weld/{path}"), Refused(("/mnt/nas/weld", "data_root"))),
    case("below the table's folder, table elsewhere", lambda d: d, READ, settings={"data_root": "."}),
    case("outside of the table's folder", paths(lambda folder, path: str(moved(folder, False) / Path(path).name) if (folder / path).exists() else str(outside(folder) / Path(path).name)), Refused(("data_root",))),
    case("through links that lead out", paths(lambda folder, path: (moved(folder, True) if not (folder / path).is_symlink() else 0, path)[1]), Refused(("link", "data_root"))),
    case("a parent folder", paths(lambda folder, path: f"../{folder.name}/{path}"), READ),
    case("none exists", paths(lambda folder, path: path.replace("x/", "features/")), Refused(("features/0.npy", "12"))),
    case("one is missing", cell(3, "x", "x/99.npy"), Refused(("r3", "x/99.npy"))),
    case("another case of the folder", paths(lambda folder, path: path.replace("x/", "X/")), Refused(("X/0.npy", "x/0.npy"))),
    case("a folder in place of a file", cell(3, "x", "x"), Refused(("row 4", ".npy"))),
    case("no ending", paths(lambda folder, path: path.removesuffix(".npy")), Refused(("x/0", "ending"))),
    case("an ending of no known kind beside", lambda d: d.assign(cloud=[f"c/{row}.pcd" for row in range(12)]), Right(READ.values, says=("cloud", ".pcd"))),
    case("some endings of no known kind", cell(3, "x", "x/3.pcd"), Refused(("x", ".pcd"))),
    case("two kinds in one column", cell(3, "x", "x/3.jpg"), Refused(("x", ".jpg", ".npy"))),
    case("missing words", lambda d: d.assign(y=[("N/A", "nan", "None", "", "x2/0.npy")[min(row % 6, 4)] for row in range(12)]), Refused(("x2/0.npy",))),
    case("a modality that most recordings lack", lambda d, folder: d.assign(y=[small(folder, row) if row in (0, 1, 4, 5, 8) else ("N/A", "nan", "")[row % 3] for row in range(12)]), Right(READ.values, says=("y",))),
    case("a recording without any modality", cell(3, "x", ""), Refused(("r3",))),
    case("umlauts and blanks in names", lambda d, folder: d.assign(x=[named(folder, path, "größe ") for path in d["x"]]), READ),
    case("names that a Mac decomposed", lambda d, folder: d.assign(x=[named(folder, path, "gro\u0308\u00dfe") and path.replace("x/", "x/gr\u00f6\u00dfe") for path in d["x"]]), READ),
    case("upper-case endings", lambda d, folder: d.assign(x=[upper(folder, path) for path in d["x"]]), READ),
    case("the same file under two recordings", cell(3, "x", "x/2.npy"), Refused(("r3", "r2"))),
]

SPLITS = [
    case("train, val, test", splits("train", "val", "test"), counts(4, 4, 4)),
    case("Train, validation, holdout", splits("Train", "validation", "holdout"), counts(4, 4, 4)),
    case("training, valid, testing", splits("training", "valid", "testing"), counts(4, 4, 4)),
    case("TRAIN, dev, Eval", splits("TRAIN", "dev", "Eval"), Refused(("Eval",))),
    case("blanks around the names of splits", splits("train ", " val", "test"), counts(4, 4, 4)),
    case("a split of no known name", splits("train", "val", "fold3"), Refused(("fold3",))),
    case("folds as numbers", lambda d: d.assign(split=[row // 2 % 3 for row in range(12)]), Refused(("split", "0"))),
    case("an empty split column", lambda d: d.assign(split=""), READ),
    case("a split for some", lambda d: splits("train", "val", "test")(d).pipe(cell(3, "split", "")), Refused(("split", "r3"))),
    case("no val", splits("train", "test", "test"), Refused(("val", "grouped"))),
    case("no test", splits("train", "val", "val"), counts(4, 8, 0)),
    case("train alone", splits("train", "train", "train"), Refused(("val", "grouped"))),
    case("a session in two splits", lambda d: splits("train", "val", "test")(d).pipe(cell(3, "split", "val")), Refused(("s1", "train", "val"))),
    case("a session in two splits, allowed", lambda d: splits("train", "val", "test")(d).pipe(cell(8, "split", "val")), counts(4, 5, 3), settings={"allow": ["QL-S04"]}),
    case("a split of its own, made anew", lambda d: splits("train", "val", "test")(d).pipe(cell(3, "split", "val")), one_split_each("group"), settings={"split": "grouped"}),
    case("a class that train lacks", lambda d: splits("train", "val", "test")(d).assign(label=["a", "b"] * 4 + ["c"] * 4), Refused(("c", "leave_out"))),
    case("one class in train", lambda d: splits("train", "val", "test")(d).assign(label=["a"] * 4 + ["a", "b"] * 4), Refused(("train", "'a'"))),
    case("a class of one session", lambda d: third_class(d, lambda row: "t"), Right(READ.values, says=("c", "one session"))),
    case("a class of one session is an error", lambda d: third_class(d, lambda row: "t"), Refused(("c", "one session")), settings={"single_session": "error"}),
    case("a class of one session is dropped", lambda d: third_class(d, lambda row: "t"), classes("a", "b"), settings={"single_session": "drop"}),
    case("one session for all", lambda d: d.assign(group="s"), Refused(("session",))),
    case("every session has one class", lambda d: d.assign(group=d["label"]), Refused(("session",))),
    case("two sessions", lambda d: d.assign(group=[f"s{row // 6}" for row in range(12)]), Refused(("session",))),
    case("the official split of welds", official, Refused(("single class, 'a'", "s0 in train and val", 'allow="QL-S01,QL-S04"', 'split="grouped"'))),
    case("the official split of welds, allowed", official, counts(3, 5, 4), settings={"allow": ["QL-S01", "QL-S04"]}),
    case("the official split of welds, made anew", official, one_split_each("group"), settings={"split": "grouped"}),
    case("many blockers at once", lambda d: splits("train", "val", "val")(d).pipe(cell(0, "label", "lone")).pipe(cell(3, "split", "val")).pipe(cell(6, "x", "")), Refused(("lone", "s1", "r6"))),
]


def small(folder: Path, row: int) -> str:
    np.save(folder / "x" / f"y{row}.npy", np.random.default_rng(row + 99).normal(0, 1, 3))
    return f"x/y{row}.npy"


def named(folder: Path, path: str, prefix: str) -> str:
    new = path.replace("x/", f"x/{prefix}")
    (folder / path).rename(folder / new)
    return new


def upper(folder: Path, path: str) -> str:
    new = path.replace(".npy", ".NPY")
    (folder / path).rename(folder / new)
    return new


def npz(name: str, change: Callable[[dict[str, Any]], Any], right: Right | Refused, **settings: Any) -> Case:
    """Features of twelve recordings in one .npz."""

    def make(folder: Path) -> Mapping[str, Any]:
        arrays: dict[str, Any] = {"x": np.stack([vector(row) for row in range(12)]), "y": np.array(["a", "b"] * 6), "group": np.array([f"s{row // 2}" for row in range(12)]), "sample_id": np.array([f"r{row}" for row in range(12)])}
        arrays.update(change(arrays) or {})
        np.savez(folder / "features.npz", **{k: v for k, v in arrays.items() if v is not None})
        return {"path": "features.npz"} | settings

    return Case(name, "table npz", make, right)


FEATURES = [
    npz("plain", lambda a: {}, READ),
    npz("doubles", lambda a: {"x": a["x"].astype(float)}, READ),
    npz("labels as numbers", lambda a: {"y": np.arange(12) % 2}, classes("0", "1")),
    npz("labels as doubles", lambda a: {"y": np.arange(12) % 2 * 1.0}, classes("0", "1")),
    npz("labels as a column", lambda a: {"y": a["y"][:, None]}, READ),
    npz("labels called label", lambda a: {"label": a["y"], "y": None}, READ),
    npz("labels called labels, groups called groups", lambda a: {"labels": a["y"], "groups": a["group"], "y": None, "group": None}, READ),
    npz("no labels", lambda a: {"y": None}, Refused(("y",))),
    npz("no group", lambda a: {"group": None}, Right(READ.values, says=("group",))),
    npz("no sample_id", lambda a: {"sample_id": None}, Right(holds=lambda dataset: "" if len(dataset.table) == 12 else "rows are lost")),
    npz("set-points beside", lambda a: {"amps": np.arange(12.0), "when": np.array(["2023-06-14"] * 12, "M8[D]"), "operator": np.array(["km"] * 12)}, Right(READ.values, says=("amps", "when", "operator"), holds=lambda dataset: "" if list(dataset.store.arrays) == ["x"] else "they are modalities")),
    npz("modalities by setting", lambda a: {"z": a["x"][:, :2] + 1}, Right(READ.values, says=("z",), holds=lambda dataset: "" if list(dataset.store.arrays) == ["x"] else "z is read"), modalities=["x"]),
    npz("information by setting", lambda a: {"setting": a["x"][:, :2] + 1}, Right(READ.values, says=("setting",), holds=lambda dataset: "" if list(dataset.store.arrays) == ["x"] else "it is read"), information=["setting"]),
    npz("information that is not there", lambda a: {}, Refused(("information", "settng")), information=["settng"]),
    npz("a scalar beside", lambda a: {"fs": np.array(1000.0)}, Right(READ.values, says=("fs",))),
    npz("names of the features beside", lambda a: {"feature_names": np.array(list("abcd"))}, Right(READ.values, says=("feature_names",))),
    npz("an array of another length", lambda a: {"z": np.ones((7, 3), np.float32)}, Refused(("z", "7", "12"))),
    npz("NaN in some features", lambda a: {"x": np.where(np.arange(4) == 2, np.nan, a["x"])}, Refused(("x", "NaN"))),
    npz("a whole row of NaN", lambda a: {"z": np.where(np.arange(12)[:, None] == 2, np.nan, a["x"] * 2)}, Right(READ.values, says=("z",))),
    npz("objects", lambda a: {"z": np.array([{}] * 12, object)}, Refused(("z", "pickle"))),
    npz("complex", lambda a: {"x": a["x"] * 1j}, Refused(("x", "complex"))),
    npz("a missing label", lambda a: {"y": np.array(["a", "b"] * 5 + ["a", ""])}, Refused(("label", "r11"))),
    npz("series of steps and channels", lambda a: {"s": np.random.default_rng(0).normal(0, 1, (12, 100, 3)).astype(np.float32)}, Right(READ.values, holds=lambda dataset: "" if dataset.store.arrays["s"].shape[:2] == (12, 3) else str(dataset.store.arrays["s"].shape))),
    npz("a split", lambda a: {"split": np.array(["train"] * 4 + ["validation"] * 4 + ["test"] * 4)}, counts(4, 4, 4)),
    npz("nothing but labels", lambda a: {"x": None}, Refused(("modality",))),
    npz("the same array twice", lambda a: {"z": a["x"]}, Refused(("same", "x"))),
]

if os.geteuid():  # the superuser may read every file
    PATHS.append(case("a file that may not be read", lambda d, folder: ((folder / "x/3.npy").chmod(0), d)[1], Refused(("x/3.npy", "permission"))))

CASES: list[Case] = [*FORMS, *COLUMNS, *LABELS, *PATHS, *SPLITS, *FEATURES]
