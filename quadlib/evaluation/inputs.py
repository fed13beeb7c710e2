"""What retrieval and kNN accept: finite unit rows, one label a row, ids for both or neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from quadlib.loss.labels import name_rows, read_labels

UNIT_TOLERANCE = 1e-2  # of the norm: rows normalised in half precision are off by 1e-3


def check_embeddings(**embeddings: np.ndarray) -> None:
    """Raises ValueError that lists every array which is not (n, D) finite unit rows, or not as wide
    as the others.
    """
    problems, widths = [], {}
    for name, values in embeddings.items():
        if values.ndim != 2:
            problems.append(f"{name} has the shape {values.shape}; (rows, dimensions) was expected")
            continue
        if len(values):
            widths[name] = values.shape[1]
        squares = np.einsum("nd,nd->n", values, values, dtype=np.float64)
        broken = ~np.isfinite(squares)
        off = ~broken & (np.abs(np.sqrt(np.where(broken, 1, squares)) - 1) > UNIT_TOLERANCE)
        if broken.any():
            problems.append(
                f"{name}: {name_rows(broken)} hold NaN or infinity; leave them out "
                f"({name}[np.isfinite({name}).all(axis=1)]), or ask the doctor for the cause"
            )
        if off.any():
            norms = np.sqrt(squares[off])
            problems.append(
                f"{name}: {name_rows(off)} are not of length 1 but {norms.min():.3g} to "
                f"{norms.max():.3g}; divide each row by its norm: "
                f"{name} / np.linalg.norm({name}, axis=1, keepdims=True), and leave out rows of 0"
            )
    if len(set(widths.values())) > 1:
        sizes = ", ".join(f"{name} {width}" for name, width in widths.items())
        problems.append(f"dimensions differ: {sizes}; embed both with the same model")
    if problems:
        raise ValueError("\n".join(problems))


def check_lengths(rows: int, what: str, **columns: Any) -> None:
    """Raises ValueError where a column has not one entry for each of the `rows` of `what`."""
    wrong = [
        f"{name} has {len(column)} entries"
        for name, column in columns.items()
        if column is not None and len(column) != rows
    ]
    if wrong:
        raise ValueError(f"{what} has {rows} rows, but {' and '.join(wrong)}; give one a row")


def check_neighbours(neighbours: int) -> None:
    """Raises ValueError unless `neighbours` is a whole number from 1 on."""
    if isinstance(neighbours, bool) or not isinstance(neighbours, int | np.integer):
        raise ValueError(f"neighbours={neighbours!r}; a whole number was expected, for example 5")
    if neighbours < 1:
        raise ValueError(f"neighbours={neighbours}; at least one row must vote, for example 5")


def one_label_each(labels: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) as numpy and which are missing, by the rule of quadlib.loss.labels."""
    values, missing = read_labels(labels)
    if values.ndim != 1:
        raise ValueError(
            f"{what} of shape {tuple(values.shape)} name several classes a row; retrieval and kNN "
            "need one label a row, shape (n,)"
        )
    return np.asarray(values), np.asarray(missing)


def common_codes(
    query_labels: Any, gallery_labels: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both sides as int64 codes of one numbering, -1 where unlabelled, and the distinct
    labels that the codes count.

    Raises:
        TypeError, ValueError: As read_labels, and where one side has numbers and the other text.
    """
    sides = [
        (*one_label_each(query_labels, "query_labels"), "query_labels"),
        (*one_label_each(gallery_labels, "gallery_labels"), "gallery_labels"),
    ]
    filled = [(values, name) for values, missing, name in sides if not missing.all()]
    if len({values.dtype.kind == "U" for values, _ in filled}) > 1:
        kinds = " and ".join(f"{name} are {values.dtype}" for values, name in filled)
        raise TypeError(
            f"{kinds}, so none could ever match; give names on both sides, or codes on both"
        )
    known = [values[~missing] for values, missing, _ in sides if not missing.all()]
    names, numbers = np.unique(
        np.concatenate(known) if known else np.zeros(0, dtype=np.int64), return_inverse=True
    )
    labelled = ~np.concatenate([missing for _, missing, _ in sides])
    codes = np.full(len(labelled), -1, dtype=np.int64)
    codes[labelled] = numbers
    return codes[: len(sides[0][0])], codes[len(sides[0][0]) :], names


def id_codes(query_ids: Any, gallery_ids: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Ids of both sides as codes of one numbering, or None where neither has any."""
    if (query_ids is None) != (gallery_ids is None):
        raise ValueError("give ids for both queries and gallery, or for neither")
    if query_ids is None:
        return None
    both = np.concatenate([np.asarray(query_ids), np.asarray(gallery_ids)])
    codes = np.unique(both, return_inverse=True)[1].reshape(-1)
    return codes[: len(query_ids)], codes[len(query_ids) :]
