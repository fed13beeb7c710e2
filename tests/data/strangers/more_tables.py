"""Further tables and folders: what scripts, R and annotation tools leave beside the recordings."""

from pathlib import Path

import numpy as np
import pandas as pd

from .case import COUNT, LABELS, Case, Made, listed, opened
from .folders import counted, image_folder, photo, read_folder
from .tables import IDS, compare_table, sheet, usual, vector_files

CASES: list[Case] = []


def _text(folder: Path, content: str, encoding: str = "utf-8", labels=LABELS, ids=IDS) -> Made:
    (folder / "recordings.csv").write_bytes(content.encode(encoding))
    return Made(
        opened(folder / "recordings.csv"),
        lambda dataset, words: compare_table(dataset, labels, ids, range(COUNT)),
    )


def _lines(folder: Path, **changes) -> list[str]:
    columns = usual(folder, **changes)
    return [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]


@listed(CASES, source="two byte order marks: a script that wrote utf-8-sig into utf-8-sig")
def two_byte_order_marks(folder: Path) -> Made:
    return _text(folder, "\ufeff" + "\n".join(_lines(folder)), "utf-8-sig")


@listed(
    CASES, source='Excel: ids kept as text by a formula, ="0001"', good="right or refused", says="="
)
def ids_as_formulas(folder: Path) -> Made:
    ids = [f"000{n}" for n in range(COUNT)]
    cells = [f'"=""{name}"""' for name in ids]
    return _text(folder, "\n".join(_lines(folder, sample_id=cells, group=cells)), ids=ids)


@listed(CASES, source="rows of separators alone below the table, no line end at the end")
def separators_below(folder: Path) -> Made:
    return _text(folder, "\n".join([*_lines(folder), ",,,,", ",,,,"]))


@listed(CASES, source="R write.csv: row names in a first column without a name")
def r_write_csv(folder: Path) -> Made:
    lines = _lines(folder)
    quoted = ['""' + "," + lines[0], *(f'"{n}",{line}' for n, line in enumerate(lines[1:], 1))]
    return _text(folder, "\n".join(quoted))


@listed(
    CASES,
    "right or refused",
    says=r"recordings\.csv",
    source="R write.table(sep=','): one name fewer than cells",
)
def r_write_table(folder: Path) -> Made:
    lines = _lines(folder)
    return _text(
        folder, "\n".join([lines[0], *(f'"{n}",{line}' for n, line in enumerate(lines[1:], 1))])
    )


@listed(CASES, source="paths that begin with ./ and hold //")
def paths_with_dots(folder: Path) -> Made:
    base = usual(folder)
    return sheet(folder, base | {"vec": ["./" + name.replace("/", "//") for name in base["vec"]]})


@listed(
    CASES,
    "right or refused",
    says=r"data_root|leave",
    source="files in a neighbouring folder: ../data/x.npy",
)
def paths_to_a_neighbour(folder: Path) -> Made:
    (folder / "table").mkdir()
    names = vector_files(folder, [f"data/v{n}.npy" for n in range(COUNT)])
    return sheet(folder / "table", usual(folder, vec=["../" + name for name in names]))


@listed(CASES, source="paths to a neighbour, with data_root as the message proposes")
def paths_to_a_neighbour_by_setting(folder: Path) -> Made:
    (folder / "table").mkdir()
    names = vector_files(folder, [f"data/v{n}.npy" for n in range(COUNT)])
    return sheet(
        folder / "table", usual(folder, vec=["../" + name for name in names]), data_root=str(folder)
    )


@listed(CASES, source="labels 0 and 1 as integers in Parquet")
def parquet_integer_labels(folder: Path) -> Made:
    frame = pd.DataFrame(usual(folder)).assign(label=[0, 1] * 4)
    frame.to_parquet(folder / "recordings.parquet")
    return Made(
        opened(folder / "recordings.parquet"),
        lambda dataset, words: compare_table(dataset, ["0", "1"] * 4, IDS, range(COUNT)),
    )


@listed(CASES, source="labels as booleans in Parquet")
def parquet_boolean_labels(folder: Path) -> Made:
    frame = pd.DataFrame(usual(folder)).assign(label=[True, False] * 4)
    frame.to_parquet(folder / "recordings.parquet")
    return Made(
        opened(folder / "recordings.parquet"),
        lambda dataset, words: compare_table(dataset, ["True", "False"] * 4, IDS, range(COUNT)),
    )


@listed(
    CASES,
    "refused",
    says=r"(?i)label|missing",
    source="a missing label in Parquet as NaN among floats 0.0 and 1.0",
)
def parquet_missing_label(folder: Path) -> Made:
    frame = pd.DataFrame(usual(folder)).assign(label=[0.0, 1.0, np.nan, 1.0] * 2)
    frame.to_parquet(folder / "recordings.parquet")
    return Made(opened(folder / "recordings.parquet"), lambda dataset, words: [])


@listed(
    CASES,
    source="remark lines below the header that start with #",
    good="right or refused",
    says=r"recordings\.csv|#",
)
def remarks_between_rows(folder: Path) -> Made:
    lines = _lines(folder)
    return _text(folder, "\n".join([*lines[:4], "# welded on Monday", *lines[4:]]))


@listed(CASES, source="ids that are dates")
def ids_that_are_dates(folder: Path) -> Made:
    ids = [f"2023-06-{n + 10}" for n in range(COUNT)]
    return sheet(folder, usual(folder, sample_id=ids, group=ids), ids=ids)


@listed(CASES, source="groups as 1.0 and 1 after a detour over pandas: one session")
def groups_as_floats(folder: Path) -> Made:
    groups = ["1.0", "1", "2", "2.0", "3", "3.0", "4.0", "4"]
    made = sheet(folder, usual(folder, group=groups))

    def compare(dataset, words):
        found = dataset.table.frame["group"].tolist()
        return made.compare(dataset, words) + (
            [] if found == ["1", "1", "2", "2", "3", "3", "4", "4"] else [f"groups {found}"]
        )

    return Made(made.settings, compare)


@listed(CASES, source="README.txt, labels.txt and annotations.json beside class folders")
def texts_beside_class_folders(folder: Path) -> Made:
    truth = image_folder(folder)
    (folder / "README.txt").write_text("Photos of welds.\nTaken in May.\n")
    (folder / "classes.txt").write_text("good\nbad\n")
    (folder / "annotations.json").write_text("{}")
    return read_folder(folder, truth, counted(16))


@listed(CASES, source="annotation files of one name beside each photo: .xml, .json, .txt (YOLO)")
def sidecars_of_annotations(folder: Path) -> Made:
    truth = image_folder(folder)
    for number, name in enumerate(truth):
        (folder / name).with_suffix(".txt").write_text(f"0 0.5 0.5 0.{number + 10} 0.2\n")
        (folder / name).with_suffix(".xml").write_text("<annotation/>")
    return read_folder(folder, truth, counted(16))


@listed(CASES, source="endings in both cases in one folder: .JPG of the camera, .jpg of the editor")
def endings_in_both_cases(folder: Path) -> Made:
    truth = {
        f"{label}/IMG_{n:03d}.{('JPG', 'jpg')[n % 2]}": label
        for label in ("good", "bad")
        for n in range(8)
    }
    for number, name in enumerate(truth):
        photo(folder / name, number)
    return read_folder(folder, truth, counted(16))


@listed(
    CASES,
    source="a class inside a class by mistake: good/good/*.png",
    good="right or refused",
    says="good/good",
)
def class_folder_in_itself(folder: Path) -> Made:
    truth = image_folder(folder)
    moved = {}
    (folder / "inner").mkdir()
    for name, label in truth.items():
        if label == "good":
            (folder / "good/good").mkdir(exist_ok=True)
            (folder / name).rename(folder / "good" / name)
            moved[f"good/{name}"] = label
        else:
            moved[name] = label
    return read_folder(folder, moved, counted(16))
