"""The search for the best split: whole groups dealt to three splits."""

from __future__ import annotations

import numpy as np

RESTARTS, RESTARTS_OF_FEW = 4, 16
FEW_KINDS = 100
MOST_RESTARTS = 64  # where a class is still missing from a split
MOST_KINDS_EXCHANGED = 1500
EXCHANGES_TRIED = 16
MOST_STEPS = 2000
LEAST_GAIN = 1e-12


class Division:
    """Deals whole groups to three splits: squared deviations of class shares, and far above them,
    classes missing from a split.

    A greedy start from equal shares of each kind, then the best move of one group or exchange of
    two until none helps.
    """

    def __init__(
        self,
        contents: np.ndarray,
        copies: np.ndarray,
        targets: np.ndarray,
        required: np.ndarray,
        allowed: np.ndarray,
    ) -> None:
        sizes = copies @ contents
        aim = sizes[:, None] * targets
        # one more column counts all classes together; its weight only decides between roundings
        self.contents = np.column_stack([contents, contents.sum(axis=1)])
        self.aim = np.vstack([aim, aim.sum(axis=0)])
        self.weight = np.append(1 / sizes**2, 0.01 / sizes.sum() ** 2)
        self.required = np.vstack([required, np.zeros((1, 3), dtype=bool)])
        self.missing_cost = 10.0 * len(self.weight)
        self.copies, self.allowed = copies, allowed
        self.share = allowed * (contents @ targets)
        self.share /= self.share.sum(axis=1, keepdims=True)
        self.length = self.contents**2 @ self.weight
        self.holds = self.contents > 0
        self.products = (
            (self.contents * self.weight) @ self.contents.T
            if len(contents) <= MOST_KINDS_EXCHANGED
            else None
        )

    def cost(self, dealt: np.ndarray) -> float:
        held = self.contents.T @ dealt
        return float(
            self.weight @ ((held - self.aim) ** 2).sum(axis=1)
            + self.missing_cost * (self.required & (held == 0)).sum()
        )

    def best(self, random: np.random.Generator) -> np.ndarray:
        """The cheapest of several solutions, int (kinds, 3); many are tried only while a class
        misses a split.
        """
        enough = RESTARTS if len(self.copies) > FEW_KINDS else RESTARTS_OF_FEW
        best = self.solve(random)
        for attempt in range(1, MOST_RESTARTS):
            if attempt >= enough and self.cost(best) < self.missing_cost:
                break
            best = min(best, self.solve(random), key=self.cost)
        return best

    def solve(self, random: np.random.Generator) -> np.ndarray:
        """Groups of each kind in each split, int (kinds, 3), from one random start."""
        dealt = np.floor(self.copies[:, None] * self.share + 1e-9).astype(np.int64)
        held = self.contents.T @ dealt
        rest = np.repeat(np.arange(len(dealt)), self.copies - dealt.sum(axis=1))
        for kind in random.permutation(rest):
            content = self.contents[kind]
            gained = self.holds[kind] @ (self.required & (held == 0))
            change = 2 * (self.weight * content) @ (held - self.aim) - self.missing_cost * gained
            split = np.argmin(np.where(self.allowed[kind], change, np.inf))
            dealt[kind, split] += 1
            held[:, split] += content
        for _ in range(MOST_STEPS):
            step = self._best_move(dealt, held)
            if step is None:
                step = self._best_exchange(dealt, held)
            if step is None:
                break
            dealt += step
            held = self.contents.T @ dealt
        return dealt

    def _best_move(self, dealt: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """The change of `dealt` that moves one group and lowers the cost most, if any does."""
        pull = self.contents @ (self.weight[:, None] * (held - self.aim))
        gained = self.holds @ (self.required & (held == 0))
        lost = np.stack(
            [(self.holds & (self.contents == held[:, a])) @ self.required[:, a] for a in range(3)],
            axis=1,
        )
        leave, enter = self.missing_cost * lost - 2 * pull, 2 * pull - self.missing_cost * gained
        change = leave[:, :, None] + enter[:, None, :] + 2 * self.length[:, None, None]
        possible = (dealt > 0)[:, :, None] & self.allowed[:, None, :] & ~np.eye(3, dtype=bool)
        change = np.where(possible, change, np.inf)
        kind, a, b = np.unravel_index(np.argmin(change), change.shape)
        return self._step(dealt, (kind, a, b)) if change[kind, a, b] < -LEAST_GAIN else None

    def _best_exchange(self, dealt: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """The change of `dealt` that swaps two groups between splits and lowers the cost most, if
        any does.
        """
        if self.products is None:
            return None
        pull = self.contents @ (self.weight[:, None] * (held - self.aim))
        distance = self.length[:, None] + self.length[None, :] - 2 * self.products
        cost = self.cost(dealt)
        steps = []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            towards = pull[:, b] - pull[:, a]
            change = 2 * (towards[:, None] - towards[None, :] + distance)
            possible = ((dealt[:, a] > 0) & self.allowed[:, b])[:, None] & (
                (dealt[:, b] > 0) & self.allowed[:, a]
            )[None, :]
            change = np.where(possible, change, np.inf)
            # the shares improve by `change`; whether a class would leave a split is seen in the
            # cost itself
            for flat in np.argsort(change, axis=None)[:EXCHANGES_TRIED]:
                one, other = np.unravel_index(flat, change.shape)
                if change[one, other] < -LEAST_GAIN:
                    steps.append(self._step(dealt, (one, a, b), (other, b, a)))
        if not steps:
            return None
        best = min(steps, key=lambda step: self.cost(dealt + step))
        return best if self.cost(dealt + best) < cost - LEAST_GAIN else None

    @staticmethod
    def _step(dealt: np.ndarray, *moves: tuple) -> np.ndarray:
        step = np.zeros_like(dealt)
        for kind, a, b in moves:
            step[kind, a] -= 1
            step[kind, b] += 1
        return step
