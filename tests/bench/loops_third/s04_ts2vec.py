"""Series of machine sensors, after zhihanyue/ts2vec: an estimator class with fit and encode, two overlapping crops of each
series, hierarchical loss over time scales, an averaged copy of the network for encoding; SVM on the pooled codes."""

import argparse
import random
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

FAULTS = {
    "crops_not_aligned": {
        "stages": "M P",
        "source": "github.com/zhihanyue/ts2vec/issues/37 (do both outputs begin at the same timestamp?)",
    },
    "scaler_on_everything": {
        "stages": "S D",
        "source": "github.com/aikunyi/FourierGNN/pull/11 (test data leaks in by the normalisation), shiyu-coder/Kronos/pull/234",
    },
    "average_never_updated": {
        "stages": "N E",
        "source": "github.com/acids-ircam/diffusion_models/issues/10 (the averaging was never called), Lightning-AI/pytorch-lightning/issues/21724 (measured before the first update_parameters)",
    },
}
HEALTHY = ["healthy", "missing_values", "varying_length", "ema", "late_temporal", "one_cycle"]


# ---- series ---------------------------------------------------------------------------------------------------------
def load_machines(args, n_train=160, n_test=180, length=96, classes=6):
    rng = np.random.default_rng(args.seed)
    world = np.random.default_rng(2)
    freq = world.uniform(0.03, 0.12, (classes, 2))
    mix = world.normal(0, 1, (classes, 4, 4))

    def part(n, drift):
        y = rng.integers(classes, size=n)
        t = np.arange(length)
        X = np.empty((n, length, 4), np.float32)
        for i, c in enumerate(y):
            f = freq[c] * rng.uniform(0.93, 1.07, 2)
            a = 2 * np.pi * (f[:, None] * t + rng.uniform(0, 1, (2, 1)))
            basis = np.stack(
                [np.sin(a[0]), np.sin(a[1]), np.sin(2 * a[0]), np.sign(np.sin(a[1]))], 1
            )
            walk = np.cumsum(rng.normal(0, 0.1, (length, 4)), 0)
            X[i] = basis @ mix[c] * rng.uniform(0.6, 1.4) + walk + rng.normal(0, 1.5, (length, 4))
        X = X * np.array([1.0, 30.0, 0.02, 5.0]) + np.array([4.0, 200.0, 0.5, -20.0])
        return (X * drift).astype(np.float32), y

    train_X, train_y = part(n_train, 1.0)
    test_X, test_y = part(n_test, 1.05)  # measured a year later, gains have drifted
    if args.fault == "missing_values":
        train_X[rng.random(train_X.shape[:2]) < 0.08] = np.nan
    if args.fault == "varying_length":
        for i in range(n_train):
            train_X[i, rng.integers(60, length + 1) :] = np.nan
    scaler = StandardScaler()
    fit_on = train_X
    if args.fault == "scaler_on_everything":
        fit_on = np.concatenate([train_X, test_X])
    scaler.fit(fit_on.reshape(-1, 4))
    scale = lambda X: scaler.transform(X.reshape(-1, 4)).reshape(X.shape)
    return scale(train_X), train_y, scale(test_X), test_y


# ---- encoder --------------------------------------------------------------------------------------------------------
class SamePadConv(nn.Module):
    def __init__(self, cin, cout, k, dilation=1):
        super().__init__()
        receptive = (k - 1) * dilation + 1
        self.conv = nn.Conv1d(cin, cout, k, padding=receptive // 2, dilation=dilation)

    def forward(self, x):
        return self.conv(x)


class ConvBlock(nn.Module):
    def __init__(self, cin, cout, dilation):
        super().__init__()
        self.conv1 = SamePadConv(cin, cout, 3, dilation)
        self.conv2 = SamePadConv(cout, cout, 3, dilation)
        self.projector = nn.Conv1d(cin, cout, 1) if cin != cout else None

    def forward(self, x):
        residual = x if self.projector is None else self.projector(x)
        return self.conv2(F.gelu(self.conv1(F.gelu(x)))) + residual


class TSEncoder(nn.Module):
    def __init__(self, input_dims, output_dims, hidden_dims=32, depth=4):
        super().__init__()
        self.input_fc = nn.Linear(input_dims, hidden_dims)
        channels = [hidden_dims] * depth + [output_dims]
        self.feature_extractor = nn.Sequential(
            *[
                ConvBlock(channels[i - 1] if i else hidden_dims, channels[i], 2**i)
                for i in range(len(channels))
            ]
        )
        self.repr_dropout = nn.Dropout(0.1)

    def forward(self, x, mask=None):
        nan_mask = ~x.isnan().any(dim=-1)
        x = self.input_fc(torch.where(nan_mask[..., None], x, torch.zeros_like(x)))
        if mask is None:
            mask = "binomial" if self.training else "all_true"
        keep = torch.rand(x.shape[:2]) < 0.5 if mask == "binomial" else torch.ones_like(nan_mask)
        x = torch.where((keep & nan_mask)[..., None], x, torch.zeros_like(x))
        return self.repr_dropout(self.feature_extractor(x.transpose(1, 2))).transpose(1, 2)


# ---- loss -----------------------------------------------------------------------------------------------------------
def hierarchical_contrastive_loss(z1, z2, alpha=0.5, temporal_unit=0):
    loss, d = torch.tensor(0.0), 0
    while z1.size(1) > 1:
        if alpha != 0:
            loss = loss + alpha * instance_contrastive_loss(z1, z2)
        if d >= temporal_unit and 1 - alpha != 0:
            loss = loss + (1 - alpha) * temporal_contrastive_loss(z1, z2)
        d += 1
        z1, z2 = (F.max_pool1d(z.transpose(1, 2), kernel_size=2).transpose(1, 2) for z in (z1, z2))
    if z1.size(1) == 1:
        if alpha != 0:
            loss = loss + alpha * instance_contrastive_loss(z1, z2)
        d += 1
    return loss / d


def off_diagonal_log_softmax(z):
    sim = torch.matmul(z, z.transpose(1, 2))
    logits = torch.tril(sim, diagonal=-1)[:, :, :-1]  # every row without itself
    logits = logits + torch.triu(sim, diagonal=1)[:, :, 1:]
    return -F.log_softmax(logits, dim=-1)


def instance_contrastive_loss(z1, z2):
    B = z1.size(0)
    if B == 1:
        return z1.new_tensor(0.0)
    logits = off_diagonal_log_softmax(torch.cat([z1, z2], dim=0).transpose(0, 1))
    i = torch.arange(B)
    return (logits[:, i, B + i - 1].mean() + logits[:, B + i, i].mean()) / 2


def temporal_contrastive_loss(z1, z2):
    T = z1.size(1)
    if T == 1:
        return z1.new_tensor(0.0)
    logits = off_diagonal_log_softmax(torch.cat([z1, z2], dim=1))
    t = torch.arange(T)
    return (logits[:, t, T + t - 1].mean() + logits[:, T + t, t].mean()) / 2


def take_per_row(A, indx, num_elem):
    all_indx = indx[:, None] + np.arange(num_elem)
    return A[torch.arange(all_indx.shape[0])[:, None], all_indx]


class TS2Vec:
    def __init__(self, args, input_dims, output_dims=48, lr=1e-3, batch_size=16):
        self.args, self.lr, self.batch_size = args, lr, batch_size
        self._net = TSEncoder(input_dims, output_dims)
        if args.fault == "ema":
            self.net = AveragedModel(self._net, multi_avg_fn=get_ema_multi_avg_fn(0.95))
        else:
            self.net = AveragedModel(self._net)
        self.net.update_parameters(self._net)
        self.n_iters = 0

    def fit(self, train_data, n_iters, verbose=True):
        dataset = TensorDataset(torch.from_numpy(train_data).to(torch.float))
        loader = DataLoader(dataset, batch_size=self.batch_size, shuffle=True, drop_last=True)
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=self.lr)
        scheduler = None
        if self.args.fault == "one_cycle":
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=n_iters)
        loss_log = []
        while self.n_iters < n_iters:
            cum_loss, n_epoch_iters = 0, 0
            for (x,) in loader:
                if self.n_iters >= n_iters:
                    break
                ts_l = x.size(1)
                crop_l = np.random.randint(low=4, high=ts_l + 1)
                crop_left = np.random.randint(ts_l - crop_l + 1)
                crop_right = crop_left + crop_l
                crop_eleft = np.random.randint(crop_left + 1)
                crop_eright = np.random.randint(low=crop_right, high=ts_l + 1)
                crop_offset = np.random.randint(
                    low=-crop_eleft, high=ts_l - crop_eright + 1, size=x.size(0)
                )
                optimizer.zero_grad()
                out1 = self._net(take_per_row(x, crop_offset + crop_eleft, crop_right - crop_eleft))
                out2 = self._net(take_per_row(x, crop_offset + crop_left, crop_eright - crop_left))
                if self.args.fault == "crops_not_aligned":
                    out1 = out1[:, :crop_l]
                else:
                    out1 = out1[:, -crop_l:]
                out2 = out2[:, :crop_l]
                unit = 1 if self.args.fault == "late_temporal" else 0
                loss = hierarchical_contrastive_loss(out1, out2, temporal_unit=unit)
                loss.backward()
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
                if self.args.fault != "average_never_updated":
                    self.net.update_parameters(self._net)
                cum_loss += loss.item()
                n_epoch_iters += 1
                self.n_iters += 1
            loss_log.append(cum_loss / n_epoch_iters)
            if verbose and len(loss_log) % 5 == 1:
                print(f"Epoch #{len(loss_log) - 1}: loss={loss_log[-1]:.4f}")
        return loss_log

    @torch.no_grad()
    def encode(self, data):
        self.net.eval()
        out = self.net(torch.from_numpy(data).to(torch.float), "all_true")
        self.net.train()
        return F.max_pool1d(out.transpose(1, 2), out.size(1)).squeeze(2).numpy()


def eval_classification(model, train_X, train_y, test_X, test_y):
    clf = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(model.encode(train_X), train_y)
    return clf.score(model.encode(test_X), test_y)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=100, help="iterations")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    data = load_machines(args)
    model = TS2Vec(args, input_dims=4)
    print(f"before: accuracy {eval_classification(model, *data):.3f}")
    log = model.fit(data[0], args.steps)
    print(f"loss {log[0]:.3f} -> {log[-1]:.3f}, accuracy {eval_classification(model, *data):.3f}")
