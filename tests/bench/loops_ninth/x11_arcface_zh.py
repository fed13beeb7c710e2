# -*- coding: utf-8 -*-
# 手写 ArcFace，训练一维传感器序列
import argparse, math, numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
命令 = argparse.ArgumentParser(); 命令.add_argument('--fault', default=''); 命令.add_argument('--healthy', default=''); a = 命令.parse_args()
torch.manual_seed(0)
类数 = 20
class 序列(Dataset):
    def __init__(self, 每类, 种子):
        r = np.random.RandomState(种子); 模板 = np.random.RandomState(123).randn(类数, 3, 50).cumsum(-1); 模板 -= 模板.mean(-1, keepdims=True); 模板 /= 模板.std(-1, keepdims=True)
        self.y = np.repeat(np.arange(类数), 每类); self.x = (模板[self.y] + 1.5 * r.randn(len(self.y), 3, 50)).astype('float32')
    def __len__(self): return len(self.y)
    def __getitem__(self, i): return self.x[i], self.y[i]
class 网络(nn.Module):
    def __init__(self):
        super().__init__(); self.gru = nn.GRU(3, 48, batch_first=True, bidirectional=True); self.fc = nn.Linear(96, 64); self.bn = nn.BatchNorm1d(64)
    def forward(self, x):
        o, _ = self.gru(x.transpose(1, 2)); return self.bn(self.fc(o.mean(1)))
class ArcMargin(nn.Module):
    def __init__(self, d, c, s=16.0, m=0.3):
        super().__init__(); self.w = nn.Parameter(torch.empty(c, d)); nn.init.xavier_uniform_(self.w); self.s, self.m = s, m
    def forward(self, f, y):
        f = F.normalize(f); w = self.w if a.fault == 'nonorm' else F.normalize(self.w)
        cos = F.linear(f, w).clamp(-1 + 1e-7, 1 - 1e-7); th = torch.acos(cos)
        one = F.one_hot(y, cos.size(1)).bool()
        return self.s * torch.where(one, torch.cos(th + self.m), cos)
net = 网络()
margin = 17.2 if a.fault == 'degrees' else 0.3        # 角度当成弧度 (pml 用角度, 手写用弧度)
head = ArcMargin(64, 类数, s=64. if a.healthy == 's64' else 16., m=margin)
参数 = list(net.parameters())
if a.fault != 'headopt': 参数 += list(head.parameters())   # https://github.com/4uiiurz1/pytorch-adacos/issues/10
opt = torch.optim.AdamW(参数, lr=2e-3)
训练集, 测试集 = 序列(60, 0), 序列(20, 1)
if a.fault == 'labelmod': 训练集.y = 训练集.y[np.random.RandomState(4).permutation(len(训练集.y))] * 0 + (np.arange(len(训练集.y)) % 类数)   # 标签按次序重新编号，与文件次序不符
loader = DataLoader(训练集, 64, shuffle=True, drop_last=True)
for 轮 in range(8):
    net.train(); 和 = 对 = 数 = 0
    for x, y in loader:
        z = head(net(x), y); loss = F.cross_entropy(z, y)
        if a.fault == 'noclear': pass                   # zero_grad 忘了 https://github.com/salesforce/corr_based_prediction/issues/1
        else: opt.zero_grad()
        loss.backward(); opt.step(); 和 += loss.item(); 数 += 1
    print('轮', 轮, '损失 %.4f' % (和 / 数))
net.eval()
with torch.no_grad():
    f = F.normalize(torch.cat([net(torch.from_numpy(训练集.x[i:i+256])) for i in range(0, len(训练集), 256)])); g = F.normalize(net(torch.from_numpy(测试集.x)))
print('检索 R@1 %.3f' % (训练集.y[(g @ f.T).argmax(1).numpy()] == 测试集.y).mean())


FAULTS = {
    'degrees': {'stages': 'P', 'what': 'm=17.2 rad'},
    'headopt': {'stages': 'N', 'what': 'head.w not in the optimiser'},
    'labelmod': {'stages': 'L', 'what': 'labels rewritten in another order'},
    'noclear': {'stages': 'O', 'what': 'zero_grad forgotten'},
}
HEALTHY = ['plain', 's64']
