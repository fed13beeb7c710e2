"""What counts as a label: one rule for loss, sampler, plan, objective, telemetry and retrieval."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
SHOWN = 5  # rows that an error names


class Labels(NamedTuple):
    """The labels of n samples as they were read: tensors where a tensor came, else NumPy arrays.

    values: (n,) whole numbers or strings, or (n, L) bool, the classes of each sample. missing: (n,)
    bool, the samples without a label; their `values` mean nothing.
    """

    values: Tensor | Array
    missing: Tensor | Array


def read_labels(labels: Any, unlabelled: int | str | None = -1) -> Labels:
    """Reads labels by the one rule that every room keeps; what could mean two things is refused.

    One label per sample is (N,) or (N, 1): integers or bools of any width, strings, or both mixed
    with None, NaN and pd.NA, which are unlabelled, as is the value `unlabelled`. Several labels per
    sample are (N, L), bool or integers that are all 0 or 1, and a row without any is unlabelled.
    Class ids or probabilities in (N, L) are refused, and so are floats, since large ones run
    together. A tensor stays on its device and is not waited for, except for the values of an
    integer (N, L), which are checked unless torch.compile is tracing.

    Args:
        labels: A tensor, an array, a pandas column or a list.
        unlabelled: The value that marks a sample without a label; None where no value does.

    Returns:
        The values and which of them are missing.

    Raises:
        TypeError: The labels are floats, or of a type that is no label.
        ValueError: Their shape or their values are not those above; rows are named.

    Example:
        >>> read_labels(["crack", None, "pore"]).missing
        array([False,  True, False])
        >>> read_labels([[3], [3], [-1]]).values
        array([ 3,  3, -1])
    """
    values = labels if isinstance(labels, Tensor) else _as_array(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        several = _several_labels(values)
        some = several.any(1) if isinstance(several, Tensor) else np.any(several, axis=1)
        return Labels(several, ~some)
    if values.ndim != 1:
        raise ValueError(
            f"labels of shape {tuple(values.shape)}; one per sample, shape (N,), or several per "
            "sample, bool of shape (N, L), was expected"
        )
    if isinstance(values, Tensor):
        return _whole_numbers(values, unlabelled)
    if values.dtype.kind in "fc":
        raise TypeError(_of_floats(values))
    if values.dtype.kind in "iub":
        return Labels(values, _equal_to(values, unlabelled))
    return _of_objects(values, unlabelled)


def class_codes(
    labels: Any, unlabelled: int | str | None = -1
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], tuple[str, ...]]:
    """Class codes (N,) int64, -1 where unlabelled, and the names of the classes in order of code.

    Args:
        labels: One label per sample; see read_labels.
        unlabelled: The value that marks a sample without a label; None where no value does.

    Returns:
        Codes into the names, and the names: numbers in numerical, strings in alphabetical order.

    Raises:
        TypeError, ValueError: As read_labels, and on several labels per sample.

    Example:
        >>> class_codes([10, 2, 10, -1])
        (array([ 1,  0,  1, -1]), ('2', '10'))
    """
    values, missing = (
        part.detach().cpu().numpy() if isinstance(part, Tensor) else part
        for part in read_labels(labels, unlabelled)
    )
    if values.ndim != 1:
        raise ValueError(
            f"labels of shape {values.shape}; one per sample, shape (N,), was expected"
        )
    distinct, inverse = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[~missing] = inverse
    return codes, tuple(str(value) for value in distinct)


def joint_codes(parts: list[Labels], device: torch.device) -> list[Tensor]:
    """Codes (n,) int64 of each part, equal exactly where labels are, over all parts, and for each
    unlabelled row one that no other row has. Whole numbers stay as they are.
    """
    text = [isinstance(one.values, np.ndarray) and one.values.dtype.kind == "U" for one in parts]
    if any(text) and not all(text):
        raise TypeError(
            "labels are strings on one side and whole numbers on the other; the same labels were "
            "expected on both"
        )
    if all(text):
        values = [np.asarray(one.values) for one in parts]
        inverse = np.unique(np.concatenate(values), return_inverse=True)[1]
        codes = torch.from_numpy(inverse.astype(np.int64)).to(device)
    else:
        codes = _joined([_as_tensor(one.values, device) for one in parts])
    if not len(codes):
        return [codes for _ in parts]
    missing = _joined([torch.as_tensor(one.missing, device=device) for one in parts])
    unused = codes.min().clamp(max=0) - 1 - torch.arange(len(codes), device=device)
    codes = torch.where(missing, unused, codes)
    if len(parts) == 1:
        return [codes]
    return list(torch.split(codes, [len(one.missing) for one in parts]))


def name_rows(rows: Any) -> str:
    """Which rows a mask (N,) marks, for an error: "rows 3, 7 (2 of 96)"."""
    marked = np.flatnonzero(rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows)
    shown = ", ".join(map(str, marked[:SHOWN])) + (", ..." if len(marked) > SHOWN else "")
    return f"row{'s' if len(marked) > 1 else ''} {shown} ({len(marked)} of {len(rows)})"


def _as_array(labels: Any) -> Array:
    if hasattr(labels, "to_numpy") and not isinstance(labels.dtype, np.dtype):
        # pandas' own integers with a missing entry would become floats
        return np.asarray(labels.to_numpy(dtype=object))
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise ValueError(
            "labels are lists of unequal length; several labels per sample are an (N, L) array of "
            "bool, one column a class"
        ) from error
    if values.ndim == 1 and values.dtype.kind in "fUS" and isinstance(labels, list | tuple):
        # NumPy turns a NaN among strings into the class "nan", and one among integers makes floats
        return np.fromiter(labels, dtype=object, count=len(labels))
    return values


def _whole_numbers(values: Tensor, unlabelled: int | str | None) -> Labels:
    if values.is_floating_point() or values.is_complex():
        raise TypeError(
            f"labels are {values.dtype}; integers or strings were expected, since floats above "
            "2^24 run together. Use labels.long()"
        )
    whole = values.to(torch.int64)
    if unlabelled is None or isinstance(unlabelled, str):
        return Labels(whole, torch.zeros_like(whole, dtype=torch.bool))
    return Labels(whole, whole == int(unlabelled))


def _several_labels(values: Tensor | Array) -> Tensor | Array:
    expected = (
        "several labels per sample are bool or integers 0 and 1, one column a class; one label per "
        "sample has the shape (N,)"
    )
    is_bool = values.dtype == torch.bool if isinstance(values, Tensor) else values.dtype.kind == "b"
    if is_bool:
        return values
    if isinstance(values, Tensor):
        whole = not (values.is_floating_point() or values.is_complex())
    else:
        whole = values.dtype.kind in "iu"
    if not whole:
        raise TypeError(f"labels of shape {tuple(values.shape)} are {values.dtype}; {expected}")
    has = values != 0
    if torch.compiler.is_compiling() or (isinstance(values, Tensor) and values.is_meta):
        return has
    other = (has & (values != 1)).any(1)
    if other.any():
        raise ValueError(
            f"labels of shape {tuple(values.shape)} hold values from {values.min().item()} to "
            f"{values.max().item()} in {name_rows(other)}; {expected}"
        )
    return has


def _of_objects(values: Array, unlabelled: int | str | None) -> Labels:
    """Strings, dates and Python objects: whole numbers stay numbers, all others become text."""
    missing = np.zeros(len(values), dtype=bool)
    if values.dtype.kind in "mM":
        missing = np.isnat(values)
    if values.dtype == object:
        kinds = set(map(type, values))
        if kinds - {str}:
            missing = np.fromiter(map(_is_missing, values), dtype=bool, count=len(values))
            kinds = set(map(type, values[~missing]))
        floats = [kind for kind in kinds if issubclass(kind, float | np.floating)]
        if floats:
            raise TypeError(_of_floats(values[~missing]))
        whole = all(issubclass(kind, int | np.integer | np.bool_) for kind in kinds)
        if kinds and whole and all(-(2**63) <= value < 2**63 for value in values[~missing]):
            known = np.zeros(len(values), dtype=np.int64)
            known[~missing] = values[~missing]
            return Labels(known, missing | _equal_to(known, unlabelled))
    text = values.astype(str)
    return Labels(text, missing | _equal_to(text, unlabelled))


def _is_missing(value: Any) -> bool:
    """None, NaN, pd.NA and NaT, without importing pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or _is_nan(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and value != value


def _equal_to(values: Array, unlabelled: int | str | None) -> Array:
    if unlabelled is None or (values.dtype.kind != "U" and isinstance(unlabelled, str)):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(values == (str(unlabelled) if values.dtype.kind == "U" else unlabelled))


def _of_floats(values: Array) -> str:
    nan = np.fromiter(map(_is_nan, values), dtype=bool, count=len(values))
    return (
        f"labels are floats, {values.dtype}; integers or strings were expected, since large floats "
        "run together"
        + (
            f". NaN: {name_rows(nan)}; use labels.fillna(-1).astype(int)"
            if nan.any()
            else ". Use labels.astype(int)"
        )
    )


def _as_tensor(values: Tensor | Array, device: torch.device) -> Tensor:
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values.astype(np.int64))
    return values.to(device)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
