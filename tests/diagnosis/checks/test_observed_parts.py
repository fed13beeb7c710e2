"""What a loop's variables say of train and test, each mistake beside a healthy look-alike."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from quadlib.diagnosis.doors import observe
from quadlib.diagnosis.evidence.observed.parts import words_of
from quadlib.diagnosis.observe.arrays import arrays_at_hand
from tests.diagnosis.checks.test_observed_runs import alarms_of

CLASSES, LENGTH = 4, 40


def samples(n=320, *, seed=0):
    """(n, 12) features of four classes, and their labels."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n)
    x = random.normal(size=(CLASSES, 12))[y] + 0.5 * random.normal(size=(n, 12))
    return x.astype("float32") * np.float32(3) + np.float32(1), y


def scaled(x, by, how):
    """Rows of x with their columns scaled by those of other rows."""
    if how == "range":
        return (x - by.min(0)) / (by.max(0) - by.min(0))
    return (x - by.mean(0)) / by.std(0)


def recordings(step, *, people=8):
    """Windows (n, 3, LENGTH) cut every so many moments from walks of several people, and whose."""
    random = np.random.default_rng(0)
    walks = random.normal(size=(people, 3, 600)).cumsum(2).astype("float32") / 5
    starts = range(0, 600 - LENGTH + 1, step)
    cut = [walk[:, start : start + LENGTH] for walk in walks for start in starts]
    return np.stack(cut), np.repeat(np.arange(people), len(starts))


def fit(x, y=None, *, epochs=3):
    """A few steps of a classifier over rows of x."""
    x = torch.tensor(np.asarray(x)).flatten(1)
    y = torch.arange(len(x)) % CLASSES if y is None else torch.tensor(np.asarray(y))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model


@pytest.mark.parametrize(("step", "random_split", "expected"), [(10, True, 1), (10, False, 0)])
def test_windows_that_overlap_are_told_by_their_values(step, random_split, expected):
    def train():
        windows, people = recordings(step)
        order = np.random.default_rng(1).permutation(len(windows))
        held = order % 4 == 0 if random_split else people >= 6
        x_train, x_test = windows[~held], windows[held]
        fit(x_train)
        return x_test

    assert alarms_of(train) == ["QL-S05"] * expected


@pytest.mark.parametrize("random_split", [True, False])
def test_groups_in_both_parts_are_told_by_their_column(random_split):
    def train():
        windows, subjects = recordings(LENGTH)
        order = np.random.default_rng(1).permutation(len(windows))
        held = order % 4 == 0 if random_split else subjects >= 6
        train, test = np.flatnonzero(~held), np.flatnonzero(held)
        fit(windows[train])
        return test

    assert alarms_of(train) == ["QL-S04"] * random_split


def test_groups_of_a_table_and_of_subsets_are_found_too():
    def train():
        x, _ = samples()
        frame = pd.DataFrame(x).assign(patient_id=np.arange(len(x)) // 4).sample(frac=1)
        train_frame, val_frame = frame[:200], frame[200:]
        fit(train_frame.drop(columns="patient_id").to_numpy())
        return val_frame

    assert alarms_of(train) == ["QL-S04"]

    class Sessions(TensorDataset):
        def __init__(self, x, sessions):
            super().__init__(torch.from_numpy(x))
            self.sessions = sessions

    def subsets(rows, others):
        x, _ = samples()
        dataset = Sessions(x, np.arange(len(x)) // 4)
        train_set, val_set = Subset(dataset, rows), Subset(dataset, others)
        model = nn.Linear(12, CLASSES)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for (part,) in DataLoader(train_set, 20, shuffle=True):
            optimiser.zero_grad()
            model(part).square().mean().backward()
            optimiser.step()
        return val_set

    order = np.random.default_rng(0).permutation(320).tolist()
    assert alarms_of(lambda: subsets(order[:200], order[200:])) == ["QL-S04"]
    assert alarms_of(lambda: subsets(range(200), range(200, 320))) == []


@pytest.mark.parametrize("known", [True, False])
def test_groups_that_the_model_looks_up_are_meant_to_be_known(known):
    def train():
        user_ids = np.random.default_rng(0).integers(0, 40, 320)
        train, test = np.arange(200), np.arange(200, 320)
        table = nn.Embedding(40 if known else 400, 8)
        optimiser = torch.optim.AdamW(table.parameters(), 1e-3)
        for rows in torch.randperm(200).split(20):
            optimiser.zero_grad()
            table(torch.tensor(user_ids)[rows]).square().mean().backward()
            optimiser.step()
        return train, test

    assert alarms_of(train) == ["QL-S04"] * (not known)


class Samples(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row], self.y[row]


class Read(Samples):
    """The same of samples that it holds one by one, as one of files does."""

    def __init__(self, x, y):
        super().__init__([{"x": row} for row in x], y)

    def __getitem__(self, row):
        return self.x[row]["x"], self.y[row]


def fit_and_score(held, other, *, own=None):
    """Trains on one dataset and embeds the other without gradients; own: rows of the first one that
    the others are compared with.
    """
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(4):
        for x, y in DataLoader(held, 32, shuffle=True):
            optimiser.zero_grad()
            cross_entropy(model(x), y).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            for dataset in (own, other) if own else (other,):
                for x, _ in DataLoader(dataset, 64):
                    model(x)
        model.train()


def several(kind, n=160):
    """Samples of which each is there twice, equal or a little changed, in a random order."""
    x, y = samples(n)
    random = np.random.default_rng(1)
    again = x + (0.02 if kind == "near" else 0) * random.normal(size=x.shape).astype("float32")
    order = random.permutation(2 * n)
    return np.concatenate([x, again])[order], np.tile(y, 2)[order]


@pytest.mark.parametrize("dataset", [Samples, Read])
@pytest.mark.parametrize(("kind", "code"), [("equal", "QL-S03"), ("near", "QL-S06"), ("new", "")])
def test_what_was_copied_before_the_split_is_found_whatever_it_is_called(dataset, kind, code):
    x, y = samples(320) if kind == "new" else several(kind)

    def train():
        fit_and_score(dataset(x[:200], y[:200]), dataset(x[200:], y[200:]))

    assert (code in alarms_of(train)) if code else (alarms_of(train) == [])


def test_copies_made_after_the_split_and_a_gallery_of_train_are_no_mistake():
    x, y = samples()
    noise = np.random.default_rng(1).normal(size=(200, 12)).astype("float32")
    more = np.concatenate([x[:200], x[:200] + 0.02 * noise]), np.tile(y[:200], 2)

    def train():
        held, own, other = Samples(*more), Samples(x[:200], y[:200]), Samples(x[200:], y[200:])
        fit_and_score(held, other, own=own)

    assert alarms_of(train) == []


def test_what_both_parts_are_prepared_with_is_no_sample():
    def train():
        x, y = samples()
        train_filters, test_filters = (np.tril(np.ones((20, 12)).cumsum(1)) for _ in range(2))
        fit((x @ train_filters[:12]).astype("float32"), y)
        return test_filters

    assert alarms_of(train) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("XTrain", ["x", "train"]), ("Xtr", ["x", "tr"]), ("yte", ["y", "te"]), ("xy", ["xy"])],
)
def test_names_are_read_by_their_words(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize("repeated", [True, False])
def test_copies_made_before_the_split_are_found(repeated):
    def train():
        x, y = samples()
        if repeated:  # rare classes oversampled, and divided afterwards
            more = np.concatenate([np.arange(len(x)), np.repeat(np.flatnonzero(y == 0), 3)])
            x, y = x[more], y[more]
        x_tr, x_te, y_tr, _y_te = train_test_split(x, y, random_state=0)
        fit(x_tr, y_tr)
        return x_te

    assert alarms_of(train) == ["QL-S03"] * repeated


def test_rows_of_codes_may_well_be_equal():
    def train():
        codes = np.random.default_rng(0).integers(0, 3, (300, 10)).astype("float32")
        x_train, x_test = codes[:200], codes[200:]
        fit(x_train)
        return x_test

    assert alarms_of(train) == []


def test_row_numbers_in_both_parts_are_found():
    def train(train_idx, val_idx):
        x, y = samples()
        fit(x[train_idx], y[train_idx])
        return val_idx

    order = np.random.default_rng(0).permutation(320)
    assert "QL-S10" in alarms_of(lambda: train(order[:240], order[200:]))
    assert alarms_of(lambda: train(order[:240], order[240:])) == []


def test_orders_of_two_arrays_are_no_split():
    def train():
        x, y = samples(480)
        x_train, x_test, y_train = x[:300], x[300:], y[:300]
        train_order = np.random.default_rng(0).permutation(len(x_train))
        test_order = np.random.default_rng(1).permutation(len(x_test))[:60]
        fit(x_train[train_order], y_train[train_order])
        return test_order

    assert alarms_of(train) == []


@pytest.mark.parametrize("how", ["deviation", "range"])
@pytest.mark.parametrize("together", [True, False])
def test_scaling_by_what_is_tested_shows_in_the_columns(how, together):
    def train():
        x, y = samples()
        x[200:] += 6  # other persons: what is tested is not like what is trained on
        by = x if together else x[:200]
        x_train, x_test, y_train = scaled(x[:200], by, how), scaled(x[200:], by, how), y[:200]
        fit(x_train, y_train)
        return x_test

    assert alarms_of(train) == ["QL-S13"] * together


@pytest.mark.parametrize("calls", [1, 2])
def test_samples_and_labels_that_are_divided_apart_do_not_agree(calls):
    def train():
        x, y = samples(400)
        x_train, x_test = train_test_split(x, random_state=0)
        y_train, y_test = train_test_split(y, random_state=calls - 1)
        fit(x_train, y_train)
        return x_test, y_test

    assert alarms_of(train) == ["QL-L12"] * (calls - 1)


def test_labels_that_features_never_showed_are_not_judged():
    def train():
        x, y = samples(400)
        y = np.random.default_rng(3).permutation(y)
        x_train, x_test, y_train, _y_test = train_test_split(x, y, random_state=0)
        fit(x_train, y_train)
        return x_test

    assert alarms_of(train) == []


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (lambda table: table.argmax(1), 1),
        (lambda table: torch.topk(table, 1).indices[:, 0], 1),
        (lambda table: table.fill_diagonal_(-2).max(1).indices, 0),
        (lambda table: table.topk(2).indices[:, 1], 0),
        (lambda table: table.topk(6)[1][:, 1:][:, 0], 0),
        (lambda table: table.topk(5).indices.mode(1).values, 1),
    ],
)
def test_rows_that_find_themselves_are_told(best, expected):
    def train():
        x, y = samples()
        model = fit(x, y, epochs=4).eval()
        with torch.no_grad():
            rows = nn.functional.normalize(model[0](torch.from_numpy(x)), dim=1)
        return (y[best(rows @ rows.T).numpy()] == y).mean()

    assert alarms_of(train) == ["QL-E01"] * expected


@pytest.mark.parametrize("inside", [True, False])
def test_queries_that_stand_in_their_gallery_find_themselves(inside):
    def train():
        x, y = samples()
        model = fit(x, y, epochs=4).eval()
        with torch.no_grad():
            rows = nn.functional.normalize(model[0](torch.from_numpy(x)), dim=1)
            logits = model(torch.from_numpy(x))
        bank, queries = rows[: 320 if inside else 240], rows[240:]
        assert torch.softmax(1000 * logits.repeat(1, 9), 1).max(1).values.shape == (320,)
        return (y[(queries @ bank.T).argmax(1).numpy()] == y[240:]).mean()

    assert alarms_of(train) == ["QL-E01"] * inside


def test_arrays_are_named_by_the_way_that_leads_to_them():
    with observe(steps=2) as seen:
        parts = {"train": {"x": samples()[0]}, "test": {"x": samples(seed=1)[0]}}
        fit(parts["train"]["x"])
    names = [name for name, _ in seen.record.named_arrays]
    assert "parts.train.x" in names and "parts.test.x" in names
    assert arrays_at_hand([]) == []


@pytest.mark.parametrize(("kept", "expected"), [(0.01, 1), (0.0, 0), (0.9, 0)])
def test_a_teacher_that_takes_the_weights_over_is_no_average(kept, expected):
    def train():
        x, y = (torch.from_numpy(array) for array in samples())
        model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8))
        teacher = copy.deepcopy(model).requires_grad_(False)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for rows in torch.randperm(len(x)).split(16):
            noisy = x[rows] + 0.1 * torch.randn(len(rows), 12)
            optimiser.zero_grad()
            logits = model(noisy) @ teacher(x[rows]).T
            cross_entropy(logits, torch.arange(len(rows))).backward()
            optimiser.step()
            for old, new in zip(teacher.parameters(), model.parameters(), strict=True):
                old.copy_(kept * old + (1 - kept) * new.detach())

    assert ("QL-N24" in alarms_of(train)) == expected


@pytest.mark.parametrize(("decay", "expected"), [(0.9999, 1), (0.9, 0)])
def test_an_average_that_is_evaluated_has_left_its_start(decay, expected):
    def train():
        x, y = (torch.from_numpy(array) for array in samples())
        model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
        )
        average.update_parameters(model)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for _ in range(5):
            for rows in torch.randperm(len(x)).split(16):
                optimiser.zero_grad()
                cross_entropy(model(x[rows]), y[rows]).backward()
                optimiser.step()
                average.update_parameters(model)
        average.eval()
        with torch.no_grad():
            return average(x).argmax(1)

    assert alarms_of(train) == ["QL-N24"] * expected


@pytest.mark.parametrize("kept", ["array", "tensor"])
@pytest.mark.parametrize("copied", [False, True])
def test_an_augmentation_in_place_changes_the_data(kept, copied):
    class Noisy(Dataset):
        def __init__(self, x, y):
            self.x = torch.from_numpy(x) if kept == "tensor" else x
            self.y = y

        def __len__(self):
            return len(self.x)

        def __getitem__(self, row):
            x = self.x[row]
            x = (x.clone() if kept == "tensor" else x.copy()) if copied else x
            x += 0.1 * (torch.randn(12) if kept == "tensor" else torch.randn(12).numpy())
            return x, self.y[row]

    assert alarms_of(lambda: one_epoch(Noisy(*samples()))) == ([] if copied else ["QL-D25"])


def one_epoch(dataset, sampler=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    loader = DataLoader(dataset, 32, shuffle=sampler is None, sampler=sampler, drop_last=True)
    for x, y in loader:
        optimiser.zero_grad()
        cross_entropy(model(x), y).backward()
        optimiser.step()


@pytest.mark.parametrize("each", ["row", "class"])
def test_a_draw_by_weights_has_one_for_each_row(each):
    x, y = samples()
    weights = 1 / np.bincount(y)
    sampler = WeightedRandomSampler(
        torch.from_numpy(weights[y] if each == "row" else weights), len(y)
    )
    dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    found = alarms_of(lambda: one_epoch(dataset, sampler))
    assert ("QL-B03" in found) == (each == "class") and len(found) == (each == "class")


@pytest.mark.parametrize("how", ["deviation", "range"])
@pytest.mark.parametrize("by", ["train", "each", "person"])
def test_what_is_tested_is_not_scaled_by_itself(how, by):
    def train():
        x, y = samples()
        x_train, x_test, y_train = x[:200], x[200:], y[:200]
        if by == "person":
            x_train, x_test = (
                np.concatenate([scaled(own, own, how) for own in np.split(part, 4)])
                for part in (x_train, x_test)
            )
        else:
            x_test = scaled(x_test, x_train if by == "train" else x_test, how)
            x_train = scaled(x_train, x_train, how)
        fit(x_train, y_train)
        return x_test

    assert alarms_of(train) == ["QL-E22"] * (by == "each")


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("how", ["sklearn", "pandas"])
def test_names_of_classes_are_numbered_once(how, again):
    names = np.array(["ant", "bee", "cat", "dog", "eel"])

    def number(values):
        if how == "pandas":
            return pd.factorize(values)[0]
        return LabelEncoder().fit_transform(values)

    def train():
        x, y = samples()
        fit(x[:200], number(names[y[:200]]))
        others = names[y[200:]]
        return number(others[others != "ant"]) if again else others

    assert alarms_of(train) == ["QL-L06"] * again


def test_columns_of_a_table_are_numbered_apart():
    def train():
        x, y = samples()
        towns = np.array(["Aden", "Bonn", "Cork", "Doha"])
        origin, target = pd.factorize(towns[y]), pd.factorize(towns[y[::-1]])
        fit(x, y)
        return origin, target

    assert alarms_of(train) == []


def test_the_largest_logit_that_a_loss_takes_off_is_no_neighbour():
    def train():
        x, y = samples()
        model = fit(x, y)
        model.eval()
        with torch.no_grad():
            rows = nn.functional.normalize(model(torch.from_numpy(x)), dim=1)
            logits = rows @ rows.T
            return logits - logits.max(dim=1, keepdim=True).values

    assert alarms_of(train) == []


@pytest.mark.parametrize("known", [True, False])
def test_what_is_tested_is_looked_at_where_an_evaluation_begins(known):
    def evaluate(model, rows):
        x, _ = samples()
        test_x = torch.from_numpy(x[rows])
        model.eval()
        with torch.no_grad():
            return model(test_x)

    def train():
        train_x, y = samples()[0][:200], samples()[1][:200]
        model = fit(train_x, y)
        evaluate(model, slice(150, 250) if known else slice(200, 300))
        model.train()
        torch.optim.AdamW(model.parameters()).step()

    assert alarms_of(train) == ["QL-S03"] * known


@pytest.mark.parametrize(
    ("part", "validated", "expected"),
    [("test", False, 1), ("val", False, 0), ("test", True, 0)],
)
def test_the_best_epoch_is_not_chosen_by_the_test(part, validated, expected):
    def accuracy(model, x, y):
        with torch.no_grad():
            model.eval()
            return float((model(torch.from_numpy(x)).argmax(1).numpy() == y).mean())

    def train():
        x, y = samples()
        test_x, test_y, val_x = x[200:], y[200:], x[150:200]
        if part == "val":
            val_x, val_y = test_x, test_y
            del test_x, test_y
        model = fit(x[:150], y[:150])
        optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
        best_acc = 0.0
        for _ in range(6):
            model.train()
            optimiser.zero_grad()
            cross_entropy(model(torch.from_numpy(x[:150])), torch.from_numpy(y[:150])).backward()
            optimiser.step()
            acc = accuracy(model, *((val_x, val_y) if part == "val" else (test_x, test_y)))
            if validated:
                accuracy(model, val_x, y[150:200])
            best_acc = max(acc, best_acc)
        return best_acc

    assert alarms_of(train) == ["QL-E23"] * expected


@pytest.mark.parametrize("rows", [0, 1, -2])
def test_labels_that_are_rows_off_are_told(rows):
    def train():
        x, y = samples()
        features, labels = x[2:-2], np.roll(y, rows)[2:-2]
        fit(features, labels)

    assert alarms_of(train) == ["QL-L12"] * (rows != 0)


def test_a_modality_that_is_rows_off_leaves_the_labels_alone():
    def train():
        x, labels = samples()
        sound, sensor = x[:, :6], np.roll(x[:, 6:], 1, axis=0)
        fit(np.concatenate([sound, sensor], axis=1), labels)

    assert "QL-L12" not in alarms_of(train)
