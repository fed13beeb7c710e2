"""Watches a loop after its traced steps, cheaply: where it evaluates, saves, loads and keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.observe.at_hand import names_at_hand, note_arrays
from quadlib.diagnosis.observe.digests import Bystanders
from quadlib.diagnosis.observe.evaluations import EvaluationWatch
from quadlib.diagnosis.observe.frames import frames_within, is_ours, own_frames
from quadlib.diagnosis.observe.journal import Journal
from quadlib.diagnosis.observe.keeping import KeepingWatch
from quadlib.diagnosis.observe.later import Later, Run
from quadlib.diagnosis.observe.later_hooks import LaterHooks
from quadlib.diagnosis.observe.layers import differs_in_training, gathers_statistics
from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.modes import ModeWatch
from quadlib.diagnosis.observe.neighbours import NeighbourWatch
from quadlib.diagnosis.observe.pairings import PairWatch, checksums
from quadlib.diagnosis.observe.probes import ProbeWatch
from quadlib.diagnosis.observe.states import loaded_onto_itself
from quadlib.diagnosis.words import has_part

MOST_RUNS = 64
SHORT_SECONDS = 10.0  # a script that ends by then is watched to its end
MOST_ROWS = 1 << 20  # of all runs together, whose labels and checksums are kept
MOST_MODULES = 16
MOST_LOOKS = 4  # at what the variables hold where an evaluation begins


class LaterWatch:
    """Fills a `Later`; `leave` is called, and may raise, once enough was seen or time is up.
    begin_anew(optimiser) is asked, where an optimiser takes the first step of another loop, whether
    that loop is watched instead.
    """

    def __init__(
        self,
        journal: Journal,
        later: Later,
        outermost: FrameType,
        leave: Callable[[str], None],
        begin_anew: Callable[[Any], bool],
    ) -> None:
        self.journal, self.later, self.leave = journal, later, leave
        self._begin_anew = begin_anew
        self.record = journal.record
        self.trained = self._trained_parameters()
        self._outermost: FrameType | None = outermost
        self._started = time.monotonic()
        self._deadline = self._started + later.seconds
        self._hooks = LaterHooks(self)
        own = self.watching, journal.looking
        self._also = ProbeWatch(later.probes, *own), NeighbourWatch(later.own_best, *own)
        self._pairs = PairWatch(later)
        self._run: Run | None = None  # the one that delivered the last batch
        self._iterators: dict[int, tuple[Any, Run]] = {}
        self.learning = False  # a module was called with gradients since the last batch
        self._evaluating = False
        self._stepped_in: CodeType | None = None  # the innermost function around a watched step
        self._training: set[CodeType] = set()  # code that runs around the steps
        self._looked_from: set[int] = set()  # frames, in the evaluation that goes on
        self._pending: list[nn.Module] = []  # called without gradients since the last step
        self._rows = 0
        self._next_look, self._wait = 0, 1
        self._depth = 0
        self._modes = ModeWatch(later, self.record.modules.values())
        self._inputs = EvaluationWatch(later.evaluated_on)
        self._others = Bystanders(self.record)
        self._keeping = KeepingWatch(self.record, later, self.trained, self._others.parameters)
        self._modules: dict[int, bool] = {}
        self._met = list(self.record.optimisers)

    def install(self) -> None:
        with self.journal.looking():
            self._look_round()
        self._hooks.install()
        for patches in self._also:
            patches.install()
        self._inputs.install()

    def remove(self, frames: Iterable[FrameType] = ()) -> None:
        """Ends the watch; frames: those that an exception left, whose variables are looked at."""
        self._pairs.stop()
        self._inputs.remove()
        for patches in self._also:
            patches.remove()
        self._hooks.remove()
        with self.journal.looking():
            for module in self._pending:
                self._is_evaluated(module)
            self._evaluation_over()
            self._modes.end()
            self.later.still = [m for m in self.later.evaluating if self._others.still(m)]
            frames = list(frames) or frames_within(sys._getframe(), self._frame)
            self._keeping.look(frames, self._now)
            note_arrays(self.record, frames)
            self.later.averages = [
                average
                for average in self.journal.averages.measure(self._now)
                if any(_share(average.module, module) for module in self.later.evaluating)
            ]
            self.later.steps = max(self.later.steps, self.later.first_step)
            self.later.kept = self._keeping.kept()
        self._outermost = None

    def watching(self) -> bool:
        return self.journal.watching()

    # steps

    def stepped(self, optimiser: Any) -> None:
        """An optimiser stepped: what came before it was training, and an evaluation is over."""
        self.later.steps = max(self.later.steps, self.later.first_step) + 1
        self._pairs.stop()
        self._pending.clear()
        another = self._is_first_of(optimiser) and self._of_another_loop(optimiser)
        if another and self._begin_anew(optimiser):
            return
        watched = any(known is optimiser for known in self.record.optimisers)
        self._modes.stepped(self._evaluating and watched)
        if self._run is not None:
            with self.journal.looking():
                self._trained_on(self._run)
        if self._evaluating:
            with self.journal.looking():
                self._evaluation_over()
            self._next_look, self._wait = self.later.steps, 1
        if self.later.steps >= self._next_look:  # ever more rarely, until the next evaluation
            self._next_look, self._wait = self.later.steps + self._wait, 2 * self._wait
            with self.journal.looking():
                self._look_round()
        self._leave_in_time()

    def _look_round(self) -> None:
        """At what the variables hold, from within a step."""
        frames = frames_within(sys._getframe(), self._frame)
        own = [frame.f_code for frame in own_frames(frames)]
        self._training |= {*own}
        if self._stepped_in is None:
            self._stepped_in = own[-1]
        self._keeping.look(frames, self._now)

    def _is_first_of(self, optimiser: Any) -> bool:
        """Whether an optimiser is met for the first time."""
        if any(known is optimiser for known in self._met):
            return False
        self._met.append(optimiser)
        return True

    def _of_another_loop(self, optimiser: Any) -> bool:
        """Whether an optimiser trains another model, where the watched loop is over: its function
        has returned, or goes on with this one. One that a probe steps is noted as such.
        """
        with self.journal.looking():
            trained = {id(parameter) for parameter in self.trained.values()}
            held = [p for group in optimiser.param_groups for p in group["params"]]
            moves = sum(id(p) in trained and p.grad is not None for p in held)
            frames = frames_within(sys._getframe(), self._frame)
            own = [frame.f_code for frame in own_frames(frames)]
            names = [code.co_name for code in own]
            probe = next((n for n in names if has_part(n, conventions.PROBE_NAMES)), "")
            if probe and moves:
                self.later.moved_by_probes.append((probe, moves))
            matrices = sum(p.ndim > 1 for p in held)
            over = self._stepped_in not in own[:-1]
            return over and not probe and not moves and matrices > 1
        return False

    def _leave_in_time(self) -> None:
        saved = any(save.step >= self._first_evaluation for save in self.later.saves)
        seen = self.later.evaluated and saved and not self._evaluating
        if seen and time.monotonic() > self._started + SHORT_SECONDS:
            self.leave("left")
        elif time.monotonic() > self._deadline:
            self.leave("limit")

    @property
    def _first_evaluation(self) -> int:
        return min((run.step for run in self.later.runs), default=self.later.first_step)

    @property
    def _frame(self) -> FrameType:
        assert self._outermost is not None  # the watch has not ended
        return self._outermost

    # batches

    def fetched(self, iterator: Any, batch: Any, rows: tuple[int, ...] | None) -> None:
        if time.monotonic() > self._deadline:
            self.leave("limit")
        if vars(iterator).get("_trained_on", False):
            self._run = None
            return
        with self.journal.looking():
            if id(iterator) not in self._iterators:
                run = Run(self._now, iterator._observed_loader)
                self._iterators[id(iterator)] = iterator, run
            self._run = self._iterators[id(iterator)][1]
            self._run.n_batches += 1
            if self._run.n_batches > 1:
                self._judge_batch(self._run)
            self.learning = False
            if self._run is not None and self._rows < MOST_ROWS:
                self._note_batch(self._run, batch, rows)

    def _judge_batch(self, run: Run) -> None:
        """Whether the batch before was trained on or evaluated."""
        if self.learning:
            self._trained_on(run)
        elif run.modules:
            self._begins(run.modules, run)

    def _note_batch(self, run: Run, batch: Any, rows: tuple[int, ...] | None) -> None:
        run.rows += rows or ()
        for path, tensor in tensors_in(batch):
            if tensor.ndim == 1 and not tensor.is_floating_point():
                self._rows += len(tensor)
                run.labels.setdefault(path, []).append(tensor.detach().cpu().numpy().copy())

    def exhausted(self, iterator: Any) -> None:
        with self.journal.looking():
            run = self._iterators.pop(id(iterator), (None, None))[1]
            if run is not None and not self.learning and run.modules:
                run.whole = True
                self._begins(run.modules, run)
                self._pairs.knows(run)
            if self._run is run:
                self._run = None

    def _trained_on(self, run: Run) -> None:
        self._run = None
        for iterator, other in list(self._iterators.values()):
            if other is run:
                iterator._trained_on = True
                vars(iterator).pop("_later_rows", None)
                del self._iterators[id(iterator)]
        self.later.runs = [other for other in self.later.runs if other is not run]

    # evaluations

    def calling(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._inputs.before()

    def called(self, module: nn.Module, args: Any, result: Any) -> None:
        """A module was called without gradients."""
        self._depth -= 1
        if self._depth or result is None:
            return
        with self.journal.looking():
            if self._run is not None:
                self._note_call(self._run, module, result)
            elif not module.training and self._is_trained(module):
                self._begins([module])
            elif len(self._pending) < MOST_MODULES:
                self._pending.append(module)
            if self._run is None:
                self._modes.called(module)
            if self._is_trained(module) and not module.training:
                source = None if self._run is None else self._run.loader.dataset
                self._inputs.after(module, args, source)
        if time.monotonic() > self._deadline:
            self.leave("limit")

    def _note_call(self, run: Run, module: nn.Module, result: Any) -> None:
        if not any(known is module for known in run.modules):
            run.modules.append(module)
        wrong = module.training and self._is_trained(module) and differs_in_training(module)
        if wrong and not gathers_statistics(module):
            run.training.append(module)
        for _, tensor in tensors_in(result)[:1]:
            if tensor.ndim >= 2 and tensor.is_floating_point() and self._rows < MOST_ROWS:
                self._rows += len(tensor)
                run.outputs.setdefault(id(module), []).append(checksums(tensor))

    def _begins(self, modules: list[nn.Module], run: Run | None = None) -> None:
        """These modules evaluate, on a loader's batches or others."""
        self._note_given()
        self._evaluating = True
        known = any(other is run for other in self.later.runs)
        if run is not None and not known and len(self.later.runs) < MOST_RUNS:
            self.later.runs.append(run)
        for module in modules:
            self._is_evaluated(module)
        self._pairs.start()

    def _note_given(self) -> None:
        """What is evaluated, once for each function that does so."""
        if not self._evaluating and len(self.later.evaluations) < MOST_RUNS:
            self.later.evaluations.append(set())
            self._looked_from.clear()
        if len(self._looked_from) == MOST_LOOKS:
            return
        frames = frames_within(sys._getframe(), self._frame)
        innermost = next((id(f) for f in reversed(frames) if not is_ours(f)), 0)
        if innermost not in self._looked_from:
            self._looked_from.add(innermost)
            self.later.evaluations[-1] |= names_at_hand(frames, self._training)
            note_arrays(self.record, frames)

    def _is_evaluated(self, module: nn.Module) -> None:
        known = self.later.evaluating
        if len(known) < MOST_MODULES and not any(other is module for other in known):
            known.append(module)

    def _evaluation_over(self) -> None:
        self.later.evaluated |= self._evaluating
        self._evaluating = False

    def _is_trained(self, module: nn.Module) -> bool:
        if id(module) not in self._modules:
            known = {id(parameter) for parameter in self.trained.values()}
            self._modules[id(module)] = any(id(p) in known for p in module.parameters())
        return self._modules[id(module)]

    # weights

    def loads_itself(self, module: nn.Module, state: Any) -> bool:
        with self.journal.looking():
            return loaded_onto_itself(module, state)
        return False

    def loaded(self, module: nn.Module, state: Any, result: Any, strict: bool, own: bool) -> None:
        with self.journal.looking():
            self._keeping.loaded(module, state, result, strict, own, self._now)

    def saved(self, content: Any, file: Any) -> None:
        with self.journal.looking():
            self._keeping.saved(content, file, self._now)

    @property
    def _now(self) -> int:
        return max(self.later.steps, self.later.first_step)

    def _trained_parameters(self) -> dict[str, Tensor]:
        """Name -> parameter of what the optimisers move."""
        names = {id(p): name for name, p in self.record.parameters.items()}
        return {
            names.get(id(p), f"optimiser {n}, group {g}, parameter {k}"): p
            for n, optimiser in enumerate(self.record.optimisers)
            for g, group in enumerate(optimiser.param_groups)
            for k, p in enumerate(group["params"])
            if p.requires_grad
        }


def _share(one: nn.Module, other: nn.Module) -> bool:
    """Whether one module is a part of the other, or the other of it."""
    return any(part is one for part in other.modules()) or any(
        part is other for part in one.modules()
    )
