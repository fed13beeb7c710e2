"""Contracts of the model's weights: finite, unlike one another, trainable where declared, shared
only on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.model.contracts import N01, N06, N10, N11, N12
from quadlib.diagnosis.evidence.batch import input_paths
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.facts import model_of, parts_of
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(N01, "the weights that nobody declared frozen are trainable")
def frozen(x: Examination) -> Iterator[Finding]:
    parameters = dict(model_of(x).named_parameters())
    if not parameters:
        raise Unavailable("the model has no parameters")
    declared, prefixes = declared_frozen(x)
    fixed = {name: p for name, p in parameters.items() if not p.requires_grad}
    undeclared = {
        name
        for name in fixed
        if not any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)
    }
    parts = [
        part
        for part, own in parts_of(model_of(x)).items()
        if set(own) <= undeclared and any(p.ndim >= 2 for p in own.values())
    ]
    evidence = [_share_frozen(parameters)]
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    verb = "is" if len(parts) == 1 else "are"
    if len(fixed) == len(parameters):
        title = "every parameter of the model is frozen, so no step can change it"
    elif matrices and not declared and not any(p.requires_grad for p in matrices):
        title = (
            f"only norms and biases are trainable: all {len(matrices)} weight matrices of the "
            "model are frozen"
        )
    elif parts and _settings_rule_it_out(x, declared, prefixes):
        title = f"{', '.join(parts)} {verb} frozen, though the settings do not say so"
        evidence.append(
            f"declared: freeze={list(prefixes)}; frozen beyond that: {len(undeclared)} parameters, "
            f"for example {sorted(undeclared)[0]}"
        )
    elif parts and not declared:
        yield _linear_probe(
            f"{', '.join(parts)} {verb} frozen, as for a linear probe", parts, evidence
        )
        return
    else:
        return
    yield N01.broken(
        "error",
        title,
        where=", ".join(parts) or "the model",
        evidence=tuple(evidence),
        ruled_out=(
            "learning rate and loss (a frozen parameter has no gradient)",
            "a declared linear probe or freeze setting",
        ),
        help="call model.requires_grad_(True) before building the optimiser, or declare what is "
        "frozen on purpose: freeze=[...]   [changes what is trained; retrain]",
    )


def _share_frozen(parameters: Mapping[str, nn.Parameter]) -> str:
    total = sum(p.numel() for p in parameters.values())
    count = sum(p.numel() for p in parameters.values() if not p.requires_grad)
    matrices = [p.requires_grad for p in parameters.values() if p.ndim >= 2]
    return (
        f"{count} of {total} parameters ({count / total:.1%}) have requires_grad=False; "
        f"{sum(matrices)} of {len(matrices)} weight matrices are trainable"
    )


def _settings_rule_it_out(x: Examination, declared: bool, prefixes: tuple[str, ...]) -> bool:
    """Whether the settings list what is frozen, so that anything else is a mistake; weights that
    come from elsewhere are often frozen without being listed.
    """
    lists = isinstance(x.subject.setting("freeze"), (list, tuple))
    pretrained = bool(x.subject.setting(*conventions.PRETRAINED))
    return lists and (bool(prefixes) or not declared) and not pretrained


def _linear_probe(title: str, parts: list[str], evidence: list[str]) -> Finding:
    return N01.broken(
        "note",
        title,
        where=", ".join(parts),
        evidence=tuple(evidence),
        help="if this is not intended, call requires_grad_(True) before the optimiser is built; "
        "if it is, declare it: settings={'freeze': [...]}   [changes what is trained; retrain]",
    )


@check(N11, "what the settings declare frozen is frozen")
def declared_but_trained(x: Examination) -> Iterator[Finding]:
    model = model_of(x)
    _, prefixes = declared_frozen(x)
    for prefix in prefixes:
        named = {
            name: p
            for name, p in model.named_parameters()
            if name == prefix or name.startswith(prefix + ".")
        }
        free = [name for name, p in named.items() if p.requires_grad]
        if not free:
            continue
        yield N11.broken(
            "error",
            f"the settings freeze {prefix!r}, but {len(free)} of its {len(named)} parameters are "
            "trainable",
            where=prefix,
            scope=scope_of(x, prefix),
            evidence=(f"requires_grad is True of {', '.join(free[:3])}; False was expected",),
            help="freeze it before the optimiser is built: "
            "model.get_submodule(name).requires_grad_(False) "
            "  [changes what is trained; retrain]",
        )


@check(N06, "no two units of a layer start from the same weights")
def equal_units(x: Examination) -> Iterator[Finding]:
    found = duplicated_units(model_of(x), x.limits)
    if not found:
        return
    parts = {part_of(model_of(x), name) for name in found}
    name, (equal, rows) = max(found.items(), key=lambda item: item[1][0] / item[1][1])
    weight = dict(model_of(x).named_parameters())[name].detach()
    value = (
        f", all {float(weight.flatten()[0]):.4g}"
        if bool((weight == weight.flatten()[0]).all())
        else ""
    )
    yield N06.broken(
        "error",
        f"{equal} of {rows} units of {name} have equal weights, so they stay equal and count as "
        "one",
        where=f"{len(found)} weight matrices: {', '.join(list(found)[:4])}"
        + (" ..." if len(found) > 4 else ""),
        scope=scope_of(x, parts.pop()) if len(parts) == 1 else "",
        evidence=(
            f"{name} {tuple(weight.shape)}: {equal} of {rows} rows equal another row bit for "
            f"bit{value}; random weights have 0",
            "units with equal weights get equal gradients at every step",
        ),
        ruled_out=(
            "zero-initialised weights (rows of zeros were not counted)",
            "frozen kernels (only trainable weights were compared)",
        ),
        help="initialise it at random: torch.nn.init.kaiming_uniform_(weight), or "
        "layer.reset_parameters()   [changes the model; retrain]",
    )


@check(N10, "all weights and buffers are finite")
def finite(x: Examination) -> Iterator[Finding]:
    model = model_of(x)
    wrong = {
        name: int((~torch.isfinite(value)).sum())
        for name, value in (*model.named_parameters(), *model.named_buffers())
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    }
    if not wrong:
        return
    after = trained(x)
    name = next(iter(wrong))
    yield N10.broken(
        "error",
        f"{len(wrong)} of the model's tensors hold values that are not finite",
        where=", ".join(list(wrong)[:4]),
        evidence=(
            f"{name}: {wrong[name]} values are NaN or infinite, "
            + ("after training began" if after else "before any step"),
        ),
        symptom=after,
        help="go back to the last checkpoint with finite weights and look at the loss just before"
        if after
        else "initialise every parameter; torch.empty and skip_init leave memory as it was   "
        "[changes the model; retrain]",
    )


@check(N12, "parts that share weights do so on purpose")
def shared(x: Examination) -> Iterator[Finding]:
    owners: dict[int, list[str]] = {}
    model = model_of(x)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(part_of(model, name))
    sharing = {tuple(sorted(set(parts))) for parts in owners.values() if len(set(parts)) > 1}
    for parts in sorted(sharing):
        count = sum(set(found) == set(parts) for found in owners.values())
        yield N12.broken(
            "note",
            f"{' and '.join(parts)} share {count} parameters",
            where=", ".join(parts),
            evidence=(f"{count} parameter objects are found in each of them",),
            help="if each should learn its own, build one module each: [Encoder() for _ in names], "
            "not [Encoder()] * n "
            "  [changes the model; retrain]",
        )


def declared_frozen(x: Examination) -> tuple[bool, tuple[str, ...]]:
    """Whether anything is declared frozen, and the prefixes that are named: in the settings, else
    by the model's own `frozen`.
    """
    given = [value for name in conventions.FREEZE if (value := x.subject.setting(name))]
    if not given and x.subject.setting("freeze") is None:
        given = [
            value
            for value in [getattr(x.subject.model, "frozen", None)]
            if isinstance(value, (list, tuple)) and value
        ]
    named = [value for value in given if isinstance(value, (str, list, tuple))]
    prefixes = [
        str(prefix) for value in named for prefix in ([value] if isinstance(value, str) else value)
    ]
    return bool(given), tuple(dict.fromkeys(prefixes))


def duplicated_units(model: nn.Module, limits: Limits) -> dict[str, tuple[int, int]]:
    """Trainable weight matrices with rows that equal another row bit for bit: how many, and of how
    many; rows of zeros do not count.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if (
            parameter.ndim < 2
            or not parameter.requires_grad
            or "weight" not in name.rsplit(".", 1)[-1]
        ):
            continue
        rows = parameter.detach().flatten(1)
        rows = rows[(rows != 0).any(dim=1)]
        if len(rows) < 2 or rows.shape[1] < limits.unit_columns:
            continue
        if (equal := _equal_rows(rows)) >= max(2, limits.equal_units * len(parameter)):
            found[name] = (equal, len(parameter))
    return found


def _equal_rows(rows: Tensor) -> int:
    """How many rows have an equal one: sums find the candidates, bits decide."""
    sums = rows.double().sum(dim=1).cpu().numpy()
    values, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    if len(values) == len(sums):
        return 0
    suspects = (
        rows[torch.as_tensor(np.flatnonzero(counts[inverse.reshape(-1)] > 1), device=rows.device)]
        .float()
        .cpu()
        .numpy()
    )
    repeats = np.unique(suspects, axis=0, return_counts=True)[1]
    return int(repeats[repeats > 1].sum())


def part_of(model: nn.Module, name: str) -> str:
    """The part of the model that a parameter or module belongs to."""
    pieces = name.split(".")
    nested = isinstance(getattr(model, pieces[0], None), (nn.ModuleDict, nn.ModuleList))
    return ".".join(pieces[: 2 if nested else 1])


def scope_of(x: Examination, part: str) -> str:
    """The modality that a part is named after, else the part itself; before a batch is loaded, a
    name that the table or a ModuleDict gives is taken for one.
    """
    outer, _, last = part.rpartition(".")
    try:
        if x.affords("loads"):
            return last if last in input_paths(x.batches[0]) else part
    except Unavailable:
        return part
    nested = outer and isinstance(model_of(x).get_submodule(outer), nn.ModuleDict)
    return last if nested or last in getattr(x.subject.table, "modalities", ()) else part


def trained(x: Examination) -> bool:
    """Whether steps were taken before this examination: by the optimiser's state or a history."""
    if getattr(x.subject.optimizer, "state", None):
        return True
    try:
        return len(x.history) > 0
    except Unavailable:
        return False
