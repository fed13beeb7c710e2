"""Ways into the doctor for a training loop that is not ours: around a block, or a whole script."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from quadlib.diagnosis.engine import diagnose
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.script import observe_script
from quadlib.diagnosis.observe.watching_on import WatchingOn
from quadlib.diagnosis.report import Diagnosis
from quadlib.diagnosis.subject import Subject

log = logging.getLogger(__name__)
WATCHING_ON = (
    "no error in the watched steps; watching on until an evaluation and a save are over "
    "(--seconds 0 leaves at once)"
)


class observe:
    """Watches the training loop inside a with-block, unchanged, and judges what it saw.

    The loop's numbers are bit for bit those of an unwatched run. After the last watched step the
    block is left, unless stop is False: then the loop goes on by itself.

    Args:
        steps: Optimiser steps that are watched.
        stop: Whether the block is left after them.
        seconds: For how long it is watched on, without tracing, until an evaluation and a save
            after training have ended; 0 leaves it at once.
        **declared: What the loop does not show, as `Subject` takes it: labels, splits, table,
            settings, history, checkpoint.

    Raises:
        AlreadyObserving: Another loop is being watched.

    Example:
        >>> import torch, quadlib
        >>> model = torch.nn.Linear(4, 2)
        >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with quadlib.observe(steps=2) as seen:
        ...     for _ in range(10):
        ...         optimiser.zero_grad()
        ...         model(torch.randn(8, 4)).square().mean().backward()
        ...         optimiser.step()
        >>> seen.record.n_steps
        2
    """

    def __init__(
        self, steps: int = 8, *, stop: bool = True, seconds: float = 0.0, **declared: Any
    ) -> None:
        self._verdict = _Verdict(declared)
        self._recorder = WatchingOn(
            steps, seconds=seconds, settled=self._verdict.settled, stop=stop
        )
        self._diagnosis: Diagnosis | None = None
        Subject(**declared)  # an unknown name is refused before the loop runs

    @property
    def record(self) -> Record:
        """What was seen, event by event."""
        return self._recorder.record

    @property
    def diagnosis(self) -> Diagnosis:
        """The verdict on what was seen; made when it is first asked for."""
        if self._diagnosis is None:
            self._diagnosis = self._verdict.of(self.record)
        return self._diagnosis

    def __enter__(self) -> observe:
        self._recorder.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool:
        return self._recorder.__exit__(*raised)

    def _repr_html_(self) -> str:
        return self.diagnosis._repr_html_()


def diagnose_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    steps: int = 8,
    stop: bool = True,
    seconds: float = 0.0,
) -> Diagnosis:
    """The verdict on a script's training loop, which is left after `steps` optimiser steps unless
    stop is False; where they show no error, it is watched on for these seconds, until an evaluation
    and a save after training have ended.

    Raises:
        FileNotFoundError: The script does not exist.
    """
    verdict = _Verdict({})
    record = observe_script(
        script, arguments, steps=steps, stop=stop, seconds=seconds, settled=verdict.settled
    )
    return verdict.of(record)


class _Verdict:
    """The verdict on a loop that is judged after its watched steps, and again on what it did
    afterwards.
    """

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.declared = declared
        self._first: dict[int, Diagnosis] = {}

    def settled(self, record: Record) -> bool:
        """Judges the watched steps; whether they show an error."""
        first = self._first[id(record)] = judge(record, **self.declared)
        errors = any(root.severity == "error" for root in first.roots)
        if not errors:
            log.info(WATCHING_ON)
        return errors

    def of(self, record: Record) -> Diagnosis:
        """That of the loops before it too."""
        own = self._of_one(record)
        return own if record.before is None else self.of(record.before).then(own)

    def _of_one(self, record: Record) -> Diagnosis:
        first = self._first.get(id(record))
        if first is None:
            return judge(record, **self.declared)
        if record.later is None:
            return first
        subject = Subject(record=record, **self.declared)
        later = diagnose(subject, phases=["variables", "later"])
        return first | later


def judge(record: Record, **declared: Any) -> Diagnosis:
    """The verdict on a recorded loop; declared: what the loop does not show, as `Subject` takes
    it.
    """
    return diagnose(Subject(record=record, **declared))
