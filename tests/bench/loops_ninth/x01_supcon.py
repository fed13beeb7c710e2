"""SupCon pre-training then a linear probe, one file. style: HobbitLong/SupContrast"""
from __future__ import print_function
import argparse, math, time
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class AverageMeter(object):
    def __init__(self): self.reset()
    def reset(self): self.sum = 0; self.count = 0; self.avg = 0
    def update(self, val, n=1):
        self.val = val; self.sum += val * n; self.count += n; self.avg = self.sum / self.count


class TwoCropTransform:
    def __init__(self, sigma): self.sigma = sigma
    def _t(self, x):
        x = x + self.sigma * torch.randn_like(x)
        return torch.roll(x, shifts=int(np.random.randint(-1, 2)), dims=-1)
    def __call__(self, x): return [self._t(x), self._t(x)]


class Digits(torch.utils.data.Dataset):
    def __init__(self, X, y, transform=None): self.X, self.y, self.transform = X, y, transform
    def __len__(self): return len(self.X)
    def __getitem__(self, i):
        x = torch.from_numpy(self.X[i]).float().view(1, 8, 8)
        return (self.transform(x) if self.transform else x), int(self.y[i])


class SupConNet(nn.Module):
    def __init__(self, feat_dim=64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                                     nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 128), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(inplace=True), nn.Linear(128, feat_dim))
    def forward(self, x): return F.normalize(self.head(self.encoder(x)), dim=1)


class SupConLoss(nn.Module):
    def __init__(self, temperature=0.07, fault=''):
        super().__init__(); self.temperature = temperature; self.fault = fault
    def forward(self, features, labels):
        b = features.shape[0]
        labels = labels.contiguous().view(-1, 1)
        mask = torch.eq(labels, labels.T).float()
        if self.fault == 'labelshape':
            # (B,) == (B,) compares element by element; broadcast gives a mask of ones
            mask = torch.eq(labels.view(-1), labels.view(-1)).float().expand(b, b).contiguous()
        contrast = torch.cat(torch.unbind(features, dim=1), dim=0)
        n_views = features.shape[1]
        logits = contrast @ contrast.T / self.temperature
        logits = logits - logits.max(dim=1, keepdim=True)[0].detach()
        mask = mask.repeat(n_views, n_views)
        logits_mask = 1 - torch.eye(b * n_views)
        if self.fault == 'selfpos':        # https://github.com/alinlab/CSI/issues/49
            logits_mask = torch.ones_like(logits_mask)
        mask = mask * logits_mask
        exp_logits = torch.exp(logits) * logits_mask
        log_prob = logits - torch.log(exp_logits.sum(1, keepdim=True))
        return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


def parse_option():
    p = argparse.ArgumentParser('argument for training')
    p.add_argument('--batch_size', type=int, default=64); p.add_argument('--epochs', type=int, default=8)
    p.add_argument('--learning_rate', type=float, default=0.05); p.add_argument('--temp', type=float, default=0.1)
    p.add_argument('--fault', default=''); p.add_argument('--healthy', default='')
    return p.parse_args()


def train(loader, model, criterion, optimizer, epoch, opt):
    model.train(); losses = AverageMeter(); end = time.time()
    for idx, (images, labels) in enumerate(loader):
        bsz = labels.shape[0]
        images = torch.cat([images[0], images[1]], dim=0)
        features = model(images)
        if opt.fault == 'viewsplit':        # features are [view1; view2], reshaped as if they were interleaved
            features = features.view(bsz, 2, -1)
        else:
            f1, f2 = torch.split(features, [bsz, bsz], dim=0)
            features = torch.cat([f1.unsqueeze(1), f2.unsqueeze(1)], dim=1)
        loss = criterion(features, labels)
        losses.update(loss.item(), bsz)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    print('Train: [{}] BT {:.2f} loss {:.3f}'.format(epoch, time.time() - end, losses.avg))
    return losses.avg


def main():
    opt = parse_option(); torch.manual_seed(0); np.random.seed(0)
    X, y = load_digits(return_X_y=True); X = X / 16.0
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    if opt.fault == 'bigLR': opt.learning_rate = 20.0   # https://github.com/HobbitLong/SupContrast/issues/83 , /42 (no --warm)
    sigma = {'heavyaug': 0.6, 'midaug': 0.35}.get(opt.healthy, 0.15)
    train_loader = torch.utils.data.DataLoader(Digits(Xtr, ytr, TwoCropTransform(sigma)), batch_size=opt.batch_size, shuffle=True, drop_last=True)
    model = SupConNet(); criterion = SupConLoss(opt.temp, opt.fault)
    decay = [p for n, p in model.named_parameters() if p.ndim > 1]; nodecay = [p for n, p in model.named_parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{'params': decay, 'weight_decay': 1e-4}, {'params': nodecay, 'weight_decay': 0.0}], lr=opt.learning_rate, momentum=0.9)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, opt.epochs)
    for epoch in range(1, opt.epochs + 1):
        train(train_loader, model, criterion, optimizer, epoch, opt)
        sched.step()
    torch.save({'model': model.state_dict(), 'epoch': opt.epochs}, __import__("tempfile").gettempdir() + "/s01_last.pth")
    # linear probe
    model.eval()
    with torch.no_grad():
        Ftr = model.encoder(torch.tensor(Xtr).float().view(-1, 1, 8, 8)); Fte = model.encoder(torch.tensor(Xte).float().view(-1, 1, 8, 8))
    clf = nn.Linear(128, 10); o = torch.optim.Adam(clf.parameters(), lr=1e-2); T = torch.tensor(ytr)
    for _ in range(100):
        l = F.cross_entropy(clf(Ftr), T); o.zero_grad(); l.backward(); o.step()
    print('linear probe acc %.3f' % (clf(Fte).argmax(1).numpy() == yte).mean())



FAULTS = {
    'labelshape': {'stages': 'P', 'what': 'mask = eq(labels.view(-1), labels.view(-1)) -> all ones.'},
    'viewsplit': {'stages': 'PM', 'what': 'features.view(bsz,2,-1) on [v1;v2]; in train()'},
    'bigLR': {'stages': 'O', 'what': 'SGD lr=20 without warm-up -> collapse/plateau ln.'},
}
HEALTHY = ['plain', 'heavyaug']


if __name__ == '__main__': main()
