"""Two-stage SupCon in the style of public one-file repos: contrastive pretraining, then a linear classifier."""
import argparse, math, os, tempfile
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset, DataLoader, WeightedRandomSampler


def parse_option():
    p = argparse.ArgumentParser('argument for training')
    p.add_argument('--fault', default='none')
    p.add_argument('--healthy', default='none')
    p.add_argument('--batch_size', type=int, default=64)
    p.add_argument('--epochs', type=int, default=12)
    p.add_argument('--learning_rate', type=float, default=0.05)
    p.add_argument('--temp', type=float, default=0.1)
    p.add_argument('--warm', action='store_true')
    return p.parse_args()


class TwoCropDigits(Dataset):
    def __init__(self, x, y):
        self.x, self.y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)

    def __len__(self):
        return len(self.y)

    def aug(self, im):
        im = torch.roll(im, (int(torch.randint(-1, 2, ())), int(torch.randint(-1, 2, ()))), (1, 2))
        return im + 0.1 * torch.randn_like(im)

    def __getitem__(self, i):
        return [self.aug(self.x[i]), self.aug(self.x[i])], self.y[i]


class SupConNet(nn.Module):
    def __init__(self, feat_dim=64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                                     nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 128))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, feat_dim))

    def forward(self, x):
        return self.head(self.encoder(x))


class SupConLoss(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature

    def forward(self, features, labels):
        b, v = features.shape[:2]
        labels = labels.view(-1, 1)
        mask = torch.eq(labels, labels.T).float().repeat(v, v)
        f = torch.cat(torch.unbind(features, 1), 0)
        logits = f @ f.T / self.temperature
        logits = logits - logits.max(1, keepdim=True)[0].detach()
        not_self = 1 - torch.eye(b * v)
        mask = mask * not_self
        exp = torch.exp(logits) * not_self
        log_prob = logits - torch.log(exp.sum(1, keepdim=True))
        return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


def adjust_lr(opt, optimizer, epoch):
    lr = opt.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / opt.epochs))
    if opt.warm and epoch < 3:
        lr = opt.learning_rate * (epoch + 1) / 4
    for g in optimizer.param_groups:
        g['lr'] = lr


def train(loader, model, criterion, optimizer, epoch, opt):
    model.train()
    losses = []
    for images, labels in loader:
        bsz = labels.shape[0]
        images = torch.cat([images[0], images[1]], dim=0)
        features = model(images)
        # https://github.com/HobbitLong/SupContrast/issues/10 (order and axes of `features`)
        if opt.fault == 'view_reshape':
            features = F.normalize(features, dim=1).view(bsz, 2, -1)
        else:
            f1, f2 = torch.split(features, [bsz, bsz], dim=0)
            features = torch.stack([f1, f2], dim=1)
            features = F.normalize(features, dim=1 if opt.fault == 'normalize_dim' else 2)
        loss = criterion(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f'Train: [{epoch}] lr {optimizer.param_groups[0]["lr"]:.4f} loss {np.mean(losses):.3f}', flush=True)


def linear(opt, path, train_x, train_y, test_x, test_y):
    model = SupConNet()
    state = torch.load(path)['model']
    # https://discuss.pytorch.org/t/does-model-load-state-dict-strict-false-ignore-new-parameters-introduced-in-my-models-constructor/84539
    if opt.fault == 'ckpt_prefix':
        model.load_state_dict({'module.' + k: v for k, v in state.items()}, strict=False)
    else:
        model.load_state_dict(state)
    model.eval()
    clf = nn.Linear(128, 10)
    o = torch.optim.SGD(clf.parameters(), lr=0.1, momentum=0.9)
    to = lambda a: torch.tensor(a, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    with torch.no_grad():
        a, b = model.encoder(to(train_x)), model.encoder(to(test_x))
    for _ in range(60):
        loss = F.cross_entropy(clf(a), torch.tensor(train_y))
        o.zero_grad(); loss.backward(); o.step()
    print('linear accuracy', (clf(b).argmax(1).numpy() == test_y).mean())


def main():
    opt = parse_option()
    torch.manual_seed(0); np.random.seed(0)
    x, y = load_digits(return_X_y=True)
    xa, xb, ya, yb = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    sampler = None
    if opt.healthy == 'imbalanced_balanced':   # long tail, but a balanced sampler
        keep = np.concatenate([np.where(ya == c)[0][: max(8, int(120 * 0.7 ** c))] for c in range(10)])
        xa, ya = xa[keep], ya[keep]
        w = 1.0 / np.bincount(ya)[ya]
        sampler = WeightedRandomSampler(torch.tensor(w), 1200)
    if opt.healthy == 'warm_small_lr':
        opt.warm, opt.learning_rate = True, 0.02
    loader = DataLoader(TwoCropDigits(xa, ya), opt.batch_size, shuffle=sampler is None, sampler=sampler, drop_last=True)
    model, criterion = SupConNet(), SupConLoss(opt.temp)
    optimizer = torch.optim.SGD(model.parameters(), lr=opt.learning_rate, momentum=0.9, weight_decay=1e-4)
    for epoch in range(opt.epochs):
        adjust_lr(opt, optimizer, epoch)
        train(loader, model, criterion, optimizer, epoch, opt)
    path = os.path.join(tempfile.mkdtemp(), 'last.pth')
    torch.save({'opt': vars(opt), 'model': model.state_dict()}, path)
    linear(opt, path, xa, ya, xb, yb)



FAULTS = {
    'view_reshape': {'stages': 'P', 'what': "cat([v1,v2]) features of 2B rows are cut by .view(B,2,-1): the two 'views' of a row are different images, labels do not belong; also normalised over right axis"},
    'normalize_dim': {'stages': 'P', 'what': 'F.normalize(features, dim=1) on [B,2,D] normalises over views, not over the feature axis; logits huge, nan'},
    'ckpt_prefix': {'stages': 'C', 'what': "load_state_dict with 'module.' prefix and strict=False loads nothing, the linear stage sees a random encoder"},
}
HEALTHY = ['plain', 'imbalanced_balanced', 'warm_small_lr']


if __name__ == '__main__':
    main()
