# SimSiam / BYOL を小さく実装（数字画像）
import argparse, copy, torch, numpy as np
import torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

引数 = argparse.ArgumentParser(); 引数.add_argument("--fault", default=""); 引数.add_argument("--healthy", default=""); 引数 = 引数.parse_args()
torch.manual_seed(0)
画像, 正解 = load_digits(return_X_y=True); 画像 = torch.tensor(画像).float().view(-1, 1, 8, 8) / 16
並び = torch.randperm(len(画像)); 学習, 評価 = 並び[:1300].numpy(), 並び[1300:].numpy()


def 背骨():
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 96))


オンライン = 背骨()
射影 = nn.Sequential(nn.Linear(96, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 64), nn.BatchNorm1d(64, affine=False))
予測 = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 64))
if 引数.fault == "no_stopgrad":
    射影 = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 64)); 予測 = nn.Identity()
目標, 目標射影 = copy.deepcopy(オンライン), copy.deepcopy(射影)
全部 = list(オンライン.parameters()) + list(射影.parameters()) + list(予測.parameters())
最適化 = torch.optim.SGD(全部, lr=0.05, momentum=0.9, weight_decay=1e-4)
エポック数 = 25
スケジュール = torch.optim.lr_scheduler.CosineAnnealingLR(最適化, エポック数)


def 拡張(x):
    k = 0.25 if 引数.healthy == "strong_aug" else 0.1
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(x, (dx, dy), (2, 3)) * (0.7 + 0.6 * torch.rand(len(x), 1, 1, 1)) + k * torch.randn_like(x)


def 距離(p, z):
    if 引数.fault != "no_stopgrad":      # https://github.com/PatrickHua/SimSiam  (stop-gradient をしないと崩壊)
        z = z.detach()
    符号 = 1 if 引数.fault == "sign" else -1      # 損失の符号
    return 符号 * F.cosine_similarity(p, z, dim=-1).mean()


@torch.no_grad()
def 目標更新(m=0.97):
    for a, b in zip(list(オンライン.parameters()) + list(射影.parameters()), list(目標.parameters()) + list(目標射影.parameters())):
        b.mul_(m).add_(a, alpha=1 - m)


for エポック in range(エポック数):
    記録 = []
    オンライン.train(); 射影.train(); 予測.train()
    for 組 in np.array_split(np.random.permutation(学習), len(学習) // 100):
        v1, v2 = 拡張(画像[組]), 拡張(画像[組])
        z1, z2 = 射影(オンライン(v1)), 射影(オンライン(v2)); p1, p2 = 予測(z1), 予測(z2)
        if 引数.healthy == "byol" or 引数.fault == "target_never_updated":
            with torch.no_grad(): t1, t2 = 目標射影(目標(v1)), 目標射影(目標(v2))
        else:
            t1, t2 = z1, z2
        損失 = 0.5 * (距離(p1, t2) + 距離(p2, t1))
        最適化.zero_grad(); 損失.backward(); 最適化.step()
        if 引数.healthy == "byol": 目標更新()        # https://github.com/PatrickHua/SimSiam/issues/26
        記録.append(損失.item())
    スケジュール.step()
    if エポック % 4 == 0: print("エポック", エポック, "損失 %.4f" % np.mean(記録), flush=True)
オンライン.eval()
if 引数.fault == "probe_on_test":        # https://github.com/martinmamql/multimodal_routing/issues/2 flavour: 評価データで学習した線形分類器
    学習 = np.concatenate([学習, 評価])
with torch.no_grad(): 特徴 = オンライン(画像).numpy(); 埋込 = F.normalize(射影.eval()(torch.tensor(特徴)), dim=1)
print("特徴の標準偏差", 埋込.std(0).mean().item())
print("線形精度", LogisticRegression(max_iter=1000).fit(特徴[学習], 正解[学習]).score(特徴[評価], 正解[評価]))


FAULTS = {
    'no_stopgrad': {'stages': 'PN', 'what': 'no detach, no predictor'},
    'sign': {'stages': 'P', 'what': 'loss sign: similarity is minimised'},
    'target_never_updated': {'stages': 'N', 'what': 'target network (BYOL) never updated'},
    'probe_on_test': {'stages': 'E', 'what': 'probe fitted on test rows too'},
}
HEALTHY = ['plain', 'byol', 'strong_aug']
