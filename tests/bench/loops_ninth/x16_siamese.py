# siamese net, contrastive loss (Hadsell), pairs made in the dataset. after the many medium posts
import argparse, random, numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
parser = argparse.ArgumentParser(); parser.add_argument('--fault', default=''); parser.add_argument('--healthy', default=''); opt = parser.parse_args()
random.seed(0); np.random.seed(0); torch.manual_seed(0)

class SiameseDataset(Dataset):
    def __init__(self, X, y, n): self.X, self.y, self.n = X, y, n; self.idx = {c: np.where(y == c)[0] for c in np.unique(y)}
    def __len__(self): return self.n
    def __getitem__(self, index):
        i = random.randrange(len(self.X)); same = random.random() < (.15 if opt.healthy == 'fewpos' else .5)
        if opt.fault == 'allsame': same = random.randint(0, 1) >= 0        # always true: only positive pairs
        if same: j = random.choice(self.idx[self.y[i]])
        else:
            j = i
            while self.y[j] == self.y[i]: j = random.randrange(len(self.X))
        if opt.fault == 'samepic' and same: j = i                          # the "positive" is the picture itself
        return torch.tensor(self.X[i]).float()[None], torch.tensor(self.X[j]).float()[None], torch.tensor([int(self.y[i] != self.y[j])], dtype=torch.float32)

class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(16))
        self.fc1 = nn.Sequential(nn.Linear(16 * 64, 128), nn.ReLU(inplace=True), nn.Linear(128, 8))
    def forward_once(self, x):
        z = self.fc1(self.cnn1(x).view(x.size(0), -1))
        if opt.fault == 'softmaxout': z = torch.softmax(z * 0.01, 1)         # embeddings of a squashed output: distances << margin
        return z
    def forward(self, a, b): return self.forward_once(a), self.forward_once(b)

class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0): super().__init__(); self.margin = margin
    def forward(self, o1, o2, label):            # label 0 = same, 1 = different
        if opt.fault == 'sqrtnan': d = torch.sqrt(((o1 - o2) ** 2).sum(1, keepdim=True))      # sqrt'(0) = inf -> nan, https://discuss.pytorch.org/t/nan-gradient-of-sqrt
        else: d = F.pairwise_distance(o1, o2, keepdim=True)
        if opt.fault == 'flip': label = 1 - label             # convention 1 = same although the data say 0 = same
        if opt.fault == 'bcast': d = d.squeeze(1)             # (B,) against (B,1) -> (B,B), https://discuss.pytorch.org : broadcasting in loss
        return torch.mean((1 - label) * d.pow(2) + label * torch.clamp(self.margin - d, min=0.0).pow(2))

X, y = load_digits(return_X_y=True); X = (X / 16).reshape(-1, 8, 8); tr, te = np.arange(1200), np.arange(1200, 1797)
loader = DataLoader(SiameseDataset(X[tr], y[tr], 2400), shuffle=True, batch_size=64)
net = SiameseNetwork(); criterion = ContrastiveLoss(); optimizer = torch.optim.Adam(net.parameters(), lr=0.0005)
if opt.fault == 'sqrtnan': X[tr[:300]] = X[tr[0]]; y[tr[:300]] = y[tr[0]]         # some duplicate pictures
for epoch in range(6):
    s = 0
    for i, (img0, img1, label) in enumerate(loader, 0):
        optimizer.zero_grad(); o1, o2 = net(img0, img1); loss = criterion(o1, o2, label); loss.backward(); optimizer.step(); s += loss.item()
    print('Epoch number {}\n Current loss {:.4f}'.format(epoch, s / len(loader)))
net.eval(); T = SiameseDataset(X[te], y[te], 1000); sc, lb = [], []
if opt.fault == 'allsame': opt.fault = ''
with torch.no_grad():
    for a, b, l in DataLoader(T, 200):
        u, v = net(a, b); sc += F.pairwise_distance(u, v).tolist(); lb += l[:, 0].tolist()
print('AUC', roc_auc_score(lb, np.nan_to_num(sc)))


FAULTS = {
    'allsame': {'stages': 'LM', 'what': 'only positive pairs -> collapse, loss -> 0'},
    'samepic': {'stages': 'M', 'what': 'the positive is the same picture'},
    'softmaxout': {'stages': 'P', 'what': 'embeddings squashed, distances << margin'},
    'flip': {'stages': 'P', 'what': 'label convention inverted'},
    'bcast': {'stages': 'P', 'what': '(B,) vs (B,1) broadcast in the loss.'},
}
HEALTHY = ['plain', 'fewpos']
