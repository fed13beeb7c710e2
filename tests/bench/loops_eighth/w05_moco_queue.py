# -*- coding: utf-8 -*-
# 动量对比学习 (MoCo) 单机单卡版，自己写的队列
import argparse, copy
import torch, torch.nn as nn, torch.nn.functional as F, numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

参数 = argparse.ArgumentParser(); 参数.add_argument('--fault', default=''); 参数.add_argument('--healthy', default='')
参数 = 参数.parse_args()
torch.manual_seed(1)


class 编码器(nn.Module):
    def __init__(self, 维度=32):
        super().__init__()
        self.主干 = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128))
        self.头 = nn.Sequential(nn.ReLU(), nn.Linear(128, 维度))

    def forward(self, x):
        return F.normalize(self.头(self.主干(x)), dim=1)


class MoCo(nn.Module):
    def __init__(self, K=512, m=0.95, T=0.1):
        super().__init__()
        self.K, self.m, self.T = K, m, T
        self.encoder_q = 编码器()
        # 键编码器: 深拷贝，不需要梯度
        if 参数.fault == 'shared_encoder':     # 忘了 deepcopy; https://github.com/facebookresearch/moco/issues/125
            self.encoder_k = self.encoder_q
        else:
            self.encoder_k = copy.deepcopy(self.encoder_q)
            for p in self.encoder_k.parameters(): p.requires_grad = False
        self.register_buffer('queue', F.normalize(torch.randn(32, K), dim=0)); self.ptr = 0

    @torch.no_grad()
    def 动量更新(self):
        for a, b in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            b.data = b.data * self.m + a.data * (1 - self.m)

    @torch.no_grad()
    def 入队(self, k):
        n = k.shape[0]; self.queue[:, self.ptr:self.ptr + n] = k.T; self.ptr = (self.ptr + n) % self.K

    def forward(self, im_q, im_k):
        q = self.encoder_q(im_q)
        with torch.no_grad():
            if 参数.fault != 'no_momentum':    # https://github.com/PatrickHua/SimSiam/issues/26
                self.动量更新()
            k = self.encoder_k(im_k)
        l_pos = torch.einsum('nc,nc->n', q, k)[:, None]
        l_neg = torch.einsum('nc,ck->nk', q, self.queue.clone().detach())
        if 参数.fault == 'pos_last':           # 正样本放在最后，标签却是 0; https://github.com/Spijkervet/SimCLR/issues/43
            logits = torch.cat([l_neg, l_pos], 1) / self.T
        else:
            logits = torch.cat([l_pos, l_neg], 1) / self.T
        if 参数.fault != 'stale_queue':        # 队列从不更新 (随机初值)
            self.入队(k)
        return logits, torch.zeros(len(q), dtype=torch.long)


def 增强(x):
    x = x * (torch.rand_like(x) > 0.15) * (0.8 + 0.4 * torch.rand(len(x), 1))
    return x + 0.05 * torch.randn_like(x)


X, y = load_digits(return_X_y=True); X = torch.tensor(X).float() / 16
测试 = np.arange(len(X)) % 5 == 0; 训练 = ~测试
网络 = MoCo(m=0.999 if 参数.healthy == 'm999' else 0.95)
优化器 = torch.optim.SGD([p for p in 网络.parameters() if p.requires_grad], lr=0.06 if 参数.healthy != 'm999' else 0.1, momentum=0.9, weight_decay=1e-4)
轮数 = 40
余弦 = torch.optim.lr_scheduler.CosineAnnealingLR(优化器, 轮数)
训练数据 = X[torch.tensor(训练)]
for 轮 in range(轮数):
    损失们 = []
    for idx in torch.randperm(len(训练数据)).split(128):
        if len(idx) < 128: continue
        x = 训练数据[idx]
        输出, 目标 = 网络(增强(x), 增强(x))
        损失 = F.cross_entropy(输出, 目标)
        优化器.zero_grad(); 损失.backward(); 优化器.step(); 损失们.append(损失.item())
    余弦.step()
    if 轮 % 5 == 0: print('轮', 轮, '损失 %.4f' % np.mean(损失们), flush=True)
网络.eval()
with torch.no_grad(): h = 网络.encoder_q(X).numpy()
print('kNN', KNeighborsClassifier(5).fit(h[训练], y[训练]).score(h[测试], y[测试]))


FAULTS = {
    'shared_encoder': {'stages': 'N', 'what': 'no deepcopy; dynamic update no-op'},
    'no_momentum': {'stages': 'N', 'what': 'momentum update not called'},
    'pos_last': {'stages': 'P', 'what': 'positive is the last column, target 0'},
    'stale_queue': {'stages': 'N', 'what': 'queue never enqueued: random negatives for ever'},
}
HEALTHY = ['plain', 'm999']
