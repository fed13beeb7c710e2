"""Contracts of the checkpoint: it can be read, fits the model, is finite, and holds what a resume
and a reader need.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.evaluation.scores import optimiser_steps
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


def weights_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The model's weights in a checkpoint: under one of the usual keys, or the checkpoint itself.
    Raises Unavailable.
    """
    for candidate in (*(content.get(key) for key in conventions.MODEL_KEYS), content):
        if isinstance(candidate, Mapping):
            found = {
                str(name): value for name, value in candidate.items() if isinstance(value, Tensor)
            }
            if found and len(found) >= 0.5 * len(candidate):
                return found
    held = ", ".join(map(str, list(content)[:6]))
    raise Unavailable(
        f"the checkpoint holds no weights under {', '.join(conventions.MODEL_KEYS[:3])}; it holds "
        f"{held}"
    )


@check("C07", "the checkpoint can be read", "epoch")
def readable(x: Examination) -> Iterator[Finding]:
    given = x.subject.checkpoint
    paths = [Path(given)] if isinstance(given, (str, Path)) else []
    if given is None and x.subject.run is None:
        raise Unavailable("no checkpoint")
    if x.subject.run is not None:
        paths += sorted((x.run_folder / "checkpoints").glob("*.pth"))
    for path in paths:
        problem = _problem(path)
        if problem:
            yield Finding(
                "QL-C07",
                "error",
                f"the checkpoint {path.name} cannot be read: {problem}",
                where=str(path),
                evidence=(f"{path.stat().st_size} bytes" if path.is_file() else "no such file",),
                ruled_out=() if not path.is_file() else ("a missing file",),
                consequences=("QL-C01", "QL-C03"),
                help="take the other checkpoint of the run, or train it anew; write to a temporary "
                "file and rename it   [changes the file]",
            )


def _problem(path: Path) -> str:
    """Why a checkpoint file cannot be read, in words; empty where it can, or where reading it would
    run code.
    """
    if not path.is_file():
        return "it is not there"
    if not path.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        # before torch 1.6 a checkpoint was a plain pickle
        return (
            ""
            if path.read_bytes()[:1] == b"\x80" and _loads(path)
            else f"{type(error).__name__}: {error}"
        )
    except Exception as error:  # a damaged directory of the archive surfaces as many types
        return f"{type(error).__name__}: {error}"
    return f"the checksum of {damaged} fails" if damaged else ""


def _loads(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        return "weights_only" in str(error)
    return True


@check("C01", "the checkpoint's weights fit the model", "epoch")
def keys_match(x: Examination) -> Iterator[Finding]:
    stored = weights_of(x.checkpoint)
    if not isinstance(x.subject.model, nn.Module):
        raise Unavailable("no model")
    own = x.subject.model.state_dict()
    matched = [name for name in own if name in stored and own[name].shape == stored[name].shape]
    misshapen = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    share = max(len(matched) / max(len(own), 1), len(matched) / max(len(stored), 1))
    if share >= x.limits.matching_tensors:
        yield from _misshapen(x, own, stored, misshapen)
        return
    prefix, after, renamed = _prefix(own, stored)
    held = [
        name
        for name in own
        if name in renamed and torch.equal(own[name].cpu(), renamed[name].cpu())
    ]
    if len(held) >= x.limits.matching_tensors * len(own):
        yield Finding(
            "QL-C01",
            "note",
            f"the checkpoint's names are not the model's: they fit {prefix}",
            where=_where(x),
            evidence=(
                f"{len(held)} of the model's {len(own)} tensors hold the checkpoint's values, so "
                "whoever loaded it changed the names",
                f"checkpoint: first {next(iter(stored))}; model: first {next(iter(own), '')}",
            ),
            help="save the state of what is wrapped, such as model.module, so that "
            "load_state_dict(strict=True) reads it   "
            "[changes the file]",
        )
        return
    first, mine = next(iter(stored)), next(iter(own), "")
    evidence = [
        f"checkpoint: {len(stored)} tensors, first {first}; model: {len(own)}, first {mine}; same "
        f"name and shape: {len(matched)}"
    ]
    if after > len(matched):
        evidence.append(f"{prefix}: {after} of {len(own)} would match")
    if misshapen:
        evidence.append(f"{len(misshapen)} names match in another shape, first {misshapen[0]}")
    yield Finding(
        "QL-C01",
        "error" if not matched else "warning",
        f"the checkpoint holds {len(matched) or 'none'} of the model's {len(own)} tensors; with "
        "strict=False the others stay as they were",
        where=_where(x),
        evidence=tuple(evidence),
        ruled_out=("a damaged file: it can be read",) if stored else (),
        consequences=("QL-E10", "QL-C08"),
        help="model.load_state_dict(state, strict=True), with the prefix removed from the names   "
        "[changes the weights]",
    )


def _misshapen(
    x: Examination, own: Mapping[str, Tensor], stored: Mapping[str, Tensor], names: list[str]
) -> Iterator[Finding]:
    if names:
        name = names[0]
        yield Finding(
            "QL-C01",
            "warning",
            f"{len(names)} tensors of the checkpoint have another shape than the model's",
            where=_where(x),
            evidence=(
                f"{name}: {tuple(stored[name].shape)} in the checkpoint, {tuple(own[name].shape)} "
                "in the model",
            ),
            consequences=("QL-E10",),
            help="build the model from the checkpoint's own settings   [changes the model]",
        )


def _prefix(
    own: Mapping[str, Tensor], stored: Mapping[str, Tensor]
) -> tuple[str, int, Mapping[str, Tensor]]:
    """The change of prefix after which most names match in shape: in words, how many do, and the
    tensors by their new names.
    """
    tries: dict[str, Mapping[str, Tensor]] = {"as it is": stored}
    for prefix in conventions.WEIGHT_PREFIXES:
        inside = {
            name.removeprefix(prefix): value
            for name, value in stored.items()
            if name.startswith(prefix)
        }
        tries |= {
            f"without the prefix {prefix!r}": inside,
            f"with the prefix {prefix!r}": {prefix + name: value for name, value in stored.items()},
        }
    counts = {
        text: sum(name in own and own[name].shape == value.shape for name, value in state.items())
        for text, state in tries.items()
    }
    best = max(counts, key=lambda text: counts[text])
    return best, counts[best], tries[best]


@check("C02", "the checkpoint's weights are finite", "epoch")
def finite_weights(x: Examination) -> Iterator[Finding]:
    stored = weights_of(x.checkpoint)
    bad = {
        name: int((~torch.isfinite(value)).sum())
        for name, value in stored.items()
        if value.is_floating_point()
    }
    bad = {name: count for name, count in bad.items() if count}
    if bad:
        name = next(iter(bad))
        yield Finding(
            "QL-C02",
            "error",
            f"{len(bad)} of {len(stored)} tensors in the checkpoint hold values that are not "
            "finite",
            where=_where(x),
            evidence=(f"first {name}: {bad[name]} of {stored[name].numel()} values",),
            consequences=("QL-E10",),
            help="go back to an earlier checkpoint, and find the first loss that is not finite   "
            "[changes the weights]",
        )


@check("C03", "a resume finds the optimiser, its steps and the schedule", "epoch")
def resume_state(x: Examination) -> Iterator[Finding]:
    content = x.checkpoint
    done = _number(content, *conventions.STEP_KEYS)
    epoch = _number(content, *conventions.EPOCH_KEYS)
    if not (done or epoch):
        raise Unavailable("the checkpoint does not say how far training was (epoch, step)")
    state = next(
        (
            content[key]
            for key in conventions.OPTIMISER_KEYS
            if isinstance(content.get(key), Mapping)
        ),
        None,
    )
    progress = f"epoch {epoch}" if not done else f"step {done}"
    declared = x.subject.setting("resume", default="")
    resumes = declared not in ("", "never", False, None) or any(
        word in Path(_where(x)).name for word in conventions.RESUMED_FILES
    )
    if state is None:
        if resumes or x.subject.optimizer is not None:
            yield _reset(
                x,
                f"the checkpoint of {progress} holds no optimiser state, so a resume starts it at "
                "step 0",
                f"it holds {', '.join(map(str, list(content)[:8]))}",
                "error" if resumes else "warning",
            )
    else:
        steps = optimiser_steps(dict(state))
        # plain SGD keeps no state and counts no steps
        stateless = steps is None and all(
            "momentum" in g and not g["momentum"] for g in state.get("param_groups", [])
        )
        if not state.get("state") and not stateless:
            yield _reset(
                x,
                f"the optimiser state of {progress} is empty, so a resume starts its moments at 0",
                "state_dict()['state'] is {}",
                "error",
            )
        elif steps == 0:
            yield _reset(
                x,
                f"the optimiser has counted 0 steps at {progress}",
                "the step counter of every parameter is 0",
                "error",
            )
    scheduler = x.subject.scheduler
    if scheduler is not None:
        kept = next(
            (
                content[key]
                for key in conventions.SCHEDULER_KEYS
                if isinstance(content.get(key), Mapping)
            ),
            None,
        )
        if kept is None or kept.get("last_epoch", 1) == 0:
            state_text = "no" if kept is None else "a fresh"
            yield _reset(
                x,
                f"the schedule restarts: the checkpoint of {progress} holds {state_text} "
                "scheduler state",
                "the pipeline has a scheduler; its rate would be that of step 0 again",
                "error" if resumes else "warning",
            )


@check("C03", "the optimiser has counted the steps of the history", "epoch")
def live_steps(x: Examination) -> Iterator[Finding]:
    if x.subject.optimizer is None:
        raise Unavailable("no optimiser")
    steps = [item["step"] for item in x.history if isinstance(item.get("step"), int)]
    done = max(steps, default=0)
    if done < 2:
        raise Unavailable("the history counts no steps")
    state = x.subject.optimizer.state_dict()
    counted = optimiser_steps(state)
    adaptive = any(
        "betas" in group or group.get("momentum") for group in x.subject.optimizer.param_groups
    )
    if counted is None and (state["state"] or not adaptive):
        return  # plain SGD keeps nothing; SGD with momentum keeps its buffers and counts no steps
    accumulation = (
        x.subject.setting(
            *conventions.ACCUMULATION,
            default=1,
        )
        or 1
    )
    share = done / counted if counted else 0.0
    if 1.9 < share < 65 and abs(share - round(share)) < 0.02 * share:
        raise Unavailable(
            f"the optimiser has counted one step for {round(share)} of the history: gradients are "
            "accumulated"
        )
    if (counted or 0) < x.limits.counted_steps * done / accumulation:
        yield _reset(
            x,
            f"the optimiser has counted {counted or 0} steps where the history has {done}: its "
            "state was not restored",
            "its moments, and Adam's bias correction, start anew with the counter",
            "error",
        )


def _reset(x: Examination, title: str, evidence: str, severity: Any) -> Finding:
    return Finding(
        "QL-C03",
        severity,
        title,
        where=_where(x),
        evidence=(evidence,),
        ruled_out=("the weights: they are judged by themselves",),
        help="save and load model, optimizer, scheduler and random state together   [changes "
        "resumed runs]",
    )


def _number(content: Mapping[str, Any], *names: str) -> int:
    values = [content.get(name) for name in names]
    return next(
        (
            int(value)
            for value in values
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ),
        0,
    )


@check("C04", "the checkpoint's classes and normalisation are those of the data", "epoch")
def labels_and_normaliser(x: Examination) -> Iterator[Finding]:
    content = x.checkpoint
    kept = _class_names(content)
    names = getattr(x.subject.table, "class_names", None)
    normaliser = getattr(getattr(x.subject.loader, "dataset", None), "normaliser", None)
    if (kept is None or names is None) and not (
        "normaliser" in content and hasattr(normaliser, "state_dict")
    ):
        raise Unavailable(
            "the checkpoint names no classes" if kept is None else "the table names no classes"
        )
    if kept is not None and names is not None and kept != [str(name) for name in names]:
        same = set(kept) == set(map(str, names))
        moved = [
            name
            for position, name in enumerate(kept)
            if position >= len(names) or str(names[position]) != name
        ]
        what = "in another order" if same else "of other data"
        yield Finding(
            "QL-C04",
            "error",
            f"the checkpoint has the classes {what}: {len(moved)} of {len(kept)} indices mean "
            "another one in the table",
            where=_where(x),
            evidence=(
                f"checkpoint: {', '.join(kept[:8])}",
                f"table: {', '.join(map(str, list(names)[:8]))}",
            ),
            ruled_out=("the weights: only the meaning of the indices differs",),
            consequences=("QL-E10",),
            help="take class_names from the checkpoint when labels become indices   [changes the "
            "score]",
        )
    if "normaliser" in content and normaliser is not None and hasattr(normaliser, "state_dict"):
        differing = _differing(
            content["normaliser"], normaliser.state_dict(), x.limits.same_statistics
        )
        if differing:
            yield Finding(
                "QL-C04",
                "error",
                "the data are normalised with other statistics than the checkpoint's: "
                f"{differing[0]}",
                where=_where(x),
                evidence=(
                    f"{len(differing)} values differ by more than 1e-4 of their size: "
                    f"{', '.join(differing[:4])}",
                ),
                consequences=("QL-E10",),
                help="Normaliser.from_state_dict(checkpoint['normaliser'])   [changes the inputs]",
            )


def _class_names(content: Mapping[str, Any]) -> list[str] | None:
    for key in conventions.CLASS_KEYS:
        value = content.get(key)
        if isinstance(value, Mapping):
            return [str(name) for name, _ in sorted(value.items(), key=lambda item: item[1])]
        if isinstance(value, (list, tuple)):
            return [str(name) for name in value]
    return None


def _differing(one: Any, other: Any, room: float, path: str = "") -> list[str]:
    """Paths of numbers that differ in two nested structures."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found = [f"{path}{key} is in one of them" for key in one.keys() ^ other.keys()]
        return found + [
            text
            for key in one.keys() & other.keys()
            for text in _differing(one[key], other[key], room, f"{path}{key} ")
        ]
    if isinstance(one, (Tensor, np.ndarray, float, int, list, tuple)) and not isinstance(one, bool):
        try:
            a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        except (TypeError, ValueError):
            return []
        return (
            [path.strip()]
            if a.shape != b.shape
            or not np.allclose(a, b, rtol=room, atol=room / 100, equal_nan=True)
            else []
        )
    return []


def _where(x: Examination) -> str:
    given = x.subject.checkpoint
    if isinstance(given, (str, Path)):
        return str(given)
    return f"checkpoint of {x.subject.name}"
