"""SampleTable: one row a recording, with its label, session, split and where each modality lies."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.kinds import kind_of
from quadlib.files import digest_bytes

SPLITS = ("train", "val", "test")
# Absolute, home, parent, drive, share or scheme ("http:", "file:", "concat:"): a path that may
# leave the root is never opened.
LEAVES_ROOT = r"(?:^|\|)(?:[/~\\]|[A-Za-z][\w+.\-]*:)|(?:^|[|/\\])\.\.(?:$|[|/\\])|\x00"
MODALITY_NAME = r"[A-Za-z]\w*"
# Attributes of torch's ModuleDict, under which no encoder can be kept.
_RESERVED = (
    "add_module apply buffers call_super_init children clear compile cpu cuda double bfloat16 "
    "dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter "
    "get_submodule half ipu items keys load_state_dict modules mtia named_buffers "
    "named_children named_modules named_parameters parameters pop register_backward_hook "
    "register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module "
    "register_parameter register_state_dict_post_hook register_state_dict_pre_hook "
    "requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty train "
    "training type update values xpu zero_grad "
)
RESERVED_NAMES = frozenset(_RESERVED.split())


class TableError(ValueError):
    """The table breaks one or more of its laws; the message lists all of them."""


@dataclass(frozen=True)
class Modality:
    """What a modality is: the name of its kind, and the shape of one raw recording where the source
    knows it; of a series also the names of its channels, and the one that cuts a recording to where
    it is on. `encoder`: the one that reads it, "" for that of its kind; `tune`: what of its network
    is trained; `copy`: which changed copy of its recordings, 0 for themselves.

    Shapes: vector (d,); series (channels,) from files or (channels, steps) from arrays; media files
    ().
    """

    kind: str
    shape: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    crop: str = ""
    encoder: str = ""
    tune: str = ""
    copy: int = 0


def input_shape(modality: Modality, settings: MediaSettings) -> tuple[int, ...]:
    """Shape of one recording of a modality as an encoder receives it, without the batch axis.

    video (T, 2, H, W), image (V, 3, H, W), audio (2, mel, frames), series (channels, steps), vector
    (d,), what a frozen encoder says (pieces, features); a modality that came as an array keeps the
    shape it has. Raises ValueError for a series or
    a vector of unknown shape.
    """
    kind = kind_of(modality)
    channels_alone = kind.channels is not None and len(modality.shape) == 1
    if modality.shape and not channels_alone:
        return modality.shape
    if kind.shape is not None and (kind.channels is None or channels_alone):
        return kind.shape(modality.shape, settings)
    raise ValueError(
        f"the shape of this {modality.kind} is not known; give Modality its shape, or take the "
        "table of an opened MediaStore"
    )


@dataclass(frozen=True)
class SampleTable:
    """Samples with unique ids, labels, sessions and splits; making one checks everything and
    reports all problems at once.

    Args:
        frame: one row a sample, with the columns sample_id, label, group (session), split ("train",
            "val", "test", or "" where not assigned), one column for each modality, and any further
            columns of the source (durations, set-points). A modality's column holds a path
            relative to `root` ("" where missing; several photos joined by "|"), or, for a modality
            in `arrays`, the row in that array (-1 where missing).
        modalities: name -> what it is, in the order that the model takes.
        root: folder of all paths; none of them may leave it.
        arrays: name -> (n, ...) for modalities that are not files.
        classes: names of the classes in the order of their codes; empty sorts the labels.
        normal_class: the class that is no defect, for alarm metrics; "" where there is none.
        confounds: name -> columns that say how a recording was made, such as set-points or the
            operator: never an input of the model, but a baseline beside its score.
        name: what messages call the table.
        notes: what the reader met that is no error, such as manifest rows without a folder.

    Raises:
        TableError: every law that the table breaks, a line each, with its remedy.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from quadlib import SampleTable
        >>> from quadlib.data.samples import Modality
        >>> frame = pd.DataFrame({"sample_id": ["a", "b"], "label": ["good", "bad"],
        ...     "group": ["s1", "s2"], "split": "", "pose": [0, 1]})
        >>> table = SampleTable(frame, {"pose": Modality("vector", (3,))},
        ...     arrays={"pose": np.zeros((2, 3), dtype=np.float32)})
        >>> len(table), table.class_names, table.codes.tolist()
        (2, ('bad', 'good'), [1, 0])
    """

    frame: pd.DataFrame
    modalities: Mapping[str, Modality]
    root: Path | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Sequence[str] = ()
    name: str = "table"
    notes: Sequence[str] = ()
    normal_class: str = ""
    confounds: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        raise_problems(
            self.name,
            table_problems(self.frame, self.modalities, self.classes, self.arrays, self.root)
            or self._role_problems(),
        )
        object.__setattr__(self, "frame", self.frame.reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their codes: the source's order, else sorted;
        independent of splits.
        """
        return tuple(self.classes) or tuple(sorted(self.frame["label"].unique().tolist()))

    @property
    def normal_code(self) -> int | None:
        """Code of the class that is no defect, None where the table names none."""
        return self.class_names.index(self.normal_class) if self.normal_class else None

    @cached_property
    def codes(self) -> np.ndarray:
        """Class code of every row, int64, an index into `class_names`."""
        codes, names = pd.factorize(self.frame["label"])
        position = {name: code for code, name in enumerate(self.class_names)}
        return np.array([position[name] for name in names], dtype=np.int64)[codes]

    @cached_property
    def present(self) -> np.ndarray:
        """Which modalities every row has: bool (n, M), in the order of `modalities`."""
        columns = []
        for name in self.modalities:
            column = self.frame[name]
            columns.append(
                (column.to_numpy() >= 0) if name in self.arrays else (column != "").to_numpy()
            )
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0), dtype=bool)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending, int64."""
        return np.flatnonzero((self.frame["split"] == split).to_numpy()).astype(np.int64)

    def paths(self, row: int, modality: str) -> list[Path]:
        """Absolute paths of one recording's files of a modality; empty where missing."""
        if self.root is None:
            raise TableError(f"{self.name}: {modality} has no files, its values are in arrays")
        return [self.root / part for part in _parts(str(self.frame[modality].iat[row]))]

    def files(self, modality: str) -> list[list[str]]:
        """Of every row, the paths of its files of a modality below `root`; empty where missing."""
        return [_parts(cell) for cell in self.frame[modality].tolist()]

    def with_columns(self, **columns: Sequence | np.ndarray) -> SampleTable:
        """The same recordings with columns replaced or added."""
        return replace(self, frame=self.frame.assign(**columns))

    def take(self, rows: np.ndarray) -> SampleTable:
        """The given rows, in that order, classes unchanged."""
        return replace(self, frame=self.frame.iloc[rows], classes=self.class_names)

    def with_modalities(self, names: Sequence[str]) -> SampleTable:
        """The same recordings with only these modalities, in this order; raises TableError on
        unknown names.
        """
        known = list(self.modalities)
        problems = [
            f"modality {name!r} is named {list(names).count(name)} times; name it once"
            for name in dict.fromkeys(names)
            if list(names).count(name) > 1
        ]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                problems.append(
                    f"no modality {name!r}; "
                    + (f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}")
                )
        raise_problems(self.name, problems)
        dropped = [name for name in self.modalities if name not in names]
        return replace(
            self,
            frame=self.frame.drop(columns=dropped),
            modalities={name: self.modalities[name] for name in names},
            arrays={name: array for name, array in self.arrays.items() if name in names},
            classes=self.class_names,
        )

    def _role_problems(self) -> list[str]:
        """What is wrong with the normal class and the confounds, a line each."""
        problems = []
        if self.normal_class and self.normal_class not in self.class_names:
            problems.append(
                f"normal_class: no class {self.normal_class!r}; the classes are "
                f"{', '.join(self.class_names)}"
            )
        inputs = {*self.modalities, "sample_id", "label", "split"}
        others = [name for name in self.frame.columns if name not in inputs]
        for name in [name for columns in self.confounds.values() for name in columns]:
            if name in inputs:
                problems.append(
                    f"confounds: {name!r} is an input or the truth, and a confound is neither; "
                    "name a column that says how a recording was made"
                )
            elif name not in others:
                near = difflib.get_close_matches(name, others, n=1)
                problems.append(
                    f"confounds: no column {name!r}; "
                    + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(others)}")
                )
        return problems

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, sessions, splits, where each modality lies, classes and array
        contents.
        """
        columns = ["sample_id", "label", "group", "split", *self.modalities]
        parts = [
            self.frame[columns].to_csv(index=False).encode(),
            "\n".join(self.class_names).encode(),
        ]
        parts += [
            f"{name} {spec.kind} {spec.shape}".encode() for name, spec in self.modalities.items()
        ]
        parts += [
            np.ascontiguousarray(self.arrays[name]).tobytes()
            for name in self.modalities
            if name in self.arrays
        ]
        return digest_bytes(*parts)


def _parts(cell: str) -> list[str]:
    return cell.split("|") if cell else []


def raise_problems(name: str, problems: Sequence[str]) -> None:
    """Raises one TableError that lists all problems; does nothing when there are none."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise TableError(f"{name}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))


def table_problems(
    frame: pd.DataFrame,
    modalities: Mapping[str, Modality],
    classes: Sequence[str] = (),
    arrays: Mapping[str, np.ndarray] | None = None,
    root: Path | None = None,
) -> list[str]:
    """Every law of SampleTable that these parts of one break, a line each, with its remedy; no file
    is opened.
    """
    missing = [
        name
        for name in ("sample_id", "label", "group", "split", *modalities)
        if name not in frame.columns
    ]
    if missing:
        return [f"no column {name}; found {', '.join(map(str, frame.columns))}" for name in missing]
    problems = []
    if not len(frame):
        problems.append("no recordings; check the path and that its folders are readable")
    ids, label = frame["sample_id"], frame["label"]
    for sample_id, count in ids[ids.duplicated(keep=False)].value_counts(sort=False).items():
        problems.append(
            f"sample_id {sample_id!r} stands in {count} rows; ids must be unique, prefix them with "
            "their session"
        )
    for column, remedy in (
        ("sample_id", "give each its own"),
        ("label", "label them or leave them out"),
        ("group", "name the session, or repeat the sample_id where every recording stands alone"),
    ):
        empty = np.flatnonzero(frame[column].isna() | (frame[column] == ""))
        if len(empty):
            which = (
                f"number {some(empty + 1)} of the {len(frame)}"
                if column == "sample_id"
                else some(ids.iloc[empty])
            )
            problems.append(f"{len(empty)} recording(s) without a {column}: {which}; {remedy}")
    if classes:
        for name in sorted(set(label.dropna()) - set(classes) - {""}):
            problems.append(
                f"label {name!r} of {some(ids[label == name])} is none of the classes "
                f"{', '.join(classes)}"
            )
        if len(set(classes)) < len(classes):
            problems.append(f"a class is listed twice in {', '.join(classes)}; list it once")
    wrong = ~frame["split"].isin([*SPLITS, ""])
    for name in frame["split"][wrong].unique():
        problems.append(
            f"split {name!r} of {some(ids[wrong & (frame['split'] == name)])} is none of "
            f"{', '.join(SPLITS)}; rename it or leave it empty"
        )
    for name, spec in modalities.items():
        problems += _modality_problems(name, spec, frame, (arrays or {}).get(name), root)
    return problems


def _modality_problems(
    name: str, spec: Modality, frame: pd.DataFrame, array: np.ndarray | None, root: Path | None
) -> list[str]:
    problems = []
    if not re.fullmatch(MODALITY_NAME, name):
        problems.append(
            f"modality {name!r}: a name starts with a letter and goes on with letters, digits and "
            "_; rename its column"
        )
    if name in RESERVED_NAMES:
        problems.append(
            f"modality {name!r}: the model keeps its encoders under their modalities' names, and "
            f"{name} is a word of its own there; rename the column, for example {name}_data"
        )
    column, ids = frame[name], frame["sample_id"]
    if array is None:
        if root is None:
            problems.append(f"modality {name} has neither a root folder for its paths nor an array")
        empty = column.isna()
        if empty.any():
            problems.append(
                f"modality {name}: the paths of {some(ids[empty])} are not text; write an empty "
                "text where it is missing"
            )
        leaves = column.str.contains(LEAVES_ROOT, na=False)
        for sample_id, text in zip(ids[leaves], column[leaves], strict=True):
            problems.append(
                f"{sample_id}: {name} {text!r} is not a path inside the table's folder; put the "
                "file there, and write its path from there on"
            )
        return problems
    if array.shape[1:] != spec.shape:
        problems.append(
            f"modality {name}: its array holds {array.shape[1:]} a recording, its shape says "
            f"{spec.shape}"
        )
    outside = (column < -1) | (column >= len(array))
    if outside.any():
        problems.append(
            f"modality {name}: {some(ids[outside])} point outside its array of {len(array)} rows; "
            "-1 marks a missing one"
        )
    return problems


def some(values: Sequence | pd.Series | np.ndarray, most: int = 5) -> str:
    """The first few values, and how many more there are."""
    values = list(values)
    return ", ".join(map(str, values[:most])) + (
        f" and {len(values) - most} more" if len(values) > most else ""
    )
