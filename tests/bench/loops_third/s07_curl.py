"""Contrastive learning from a replay buffer of pixels, after MishaLaskin/curl: frame stack, ring of observations, random
crops, bilinear similarity with a momentum encoder, two optimisers. A reward predictor stands for the critic."""

import argparse
import collections

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.linear_model import Ridge

FAULTS = {
    "frames_share_memory": {
        "stages": "D M",
        "source": "github.com/google-deepmind/dm_control/issues/34 (returned observations are mutated by the next step), chainer/chainerrl/issues/157, Farama-Foundation/SuperSuit/pull/116",
    },
    "drawn_from_capacity": {
        "stages": "B D",
        "source": "github.com/assume-framework/assume/pull/855 (buffer counted as full too early, empty values can be sampled)",
    },
    "anchor_detached": {
        "stages": "N",
        "source": "github.com/MishaLaskin/curl curl_sac.py (encode(x, detach), flag --detach_encoder), edreisMD/ConVIRT-pytorch/issues/7 (one side in no_grad)",
    },
}
HEALTHY = ["healthy", "contrastive_only", "full_buffer", "slow_updates", "tau_one", "bf16"]

IMAGE, CROP = 22, 18


class PointMass:
    """A bright point with inertia and a dim one that drifts; the frame is drawn into one array."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self._pixels = np.zeros((1, IMAGE, IMAGE), np.uint8)
        self.grid = np.stack(np.meshgrid(np.arange(IMAGE), np.arange(IMAGE), indexing="ij"), -1)

    def draw(self):
        self._pixels[:] = 30
        for place, bright in ((self.x, 200), (self.other, 100)):
            d = ((self.grid - place) ** 2).sum(-1)
            self._pixels[0] = np.clip(self._pixels[0] + bright * np.exp(-d / 3.0), 0, 255)
        return self._pixels

    def reset(self):
        self.x, self.v = self.rng.uniform(6, 15, 2), self.rng.normal(0, 1, 2)
        self.other, self.t = self.rng.uniform(5, 16, 2), 0
        return self.draw()

    def step(self, action):
        self.v = 0.9 * self.v + 0.7 * action
        self.x = self.x + self.v
        for k in range(2):
            if not 4 < self.x[k] < 17:
                self.x[k], self.v[k] = np.clip(self.x[k], 4, 17), -self.v[k]
        self.other = np.clip(self.other + self.rng.normal(0, 0.5, 2), 4, 17)
        self.t += 1
        reward = 1 - np.linalg.norm(self.x - 10.5) / 8
        return self.draw(), reward, self.t >= 50, {"state": np.concatenate([self.x, self.v])}


class FrameStack:
    def __init__(self, env, k, args):
        self.env, self.k, self.args = env, k, args
        self._frames = collections.deque([], maxlen=k)

    def _append(self, frame):
        self._frames.append(frame if self.args.fault == "frames_share_memory" else frame.copy())

    def reset(self):
        frame = self.env.reset()
        for _ in range(self.k):
            self._append(frame)
        return np.concatenate(list(self._frames), axis=0)

    def step(self, action):
        frame, reward, done, info = self.env.step(action)
        self._append(frame)
        return np.concatenate(list(self._frames), axis=0), reward, done, info


class ReplayBuffer:
    def __init__(self, obs_shape, capacity, batch_size, args):
        self.capacity, self.batch_size, self.args = capacity, batch_size, args
        self.obses = np.zeros((capacity, *obs_shape), dtype=np.uint8)
        self.rewards = np.zeros((capacity, 1), dtype=np.float32)
        self.idx, self.full = 0, False
        self.rng = np.random.default_rng(args.seed)

    def add(self, obs, reward):
        np.copyto(self.obses[self.idx], obs)
        self.rewards[self.idx] = reward
        self.idx = (self.idx + 1) % self.capacity
        self.full = self.full or self.idx == 0

    def sample_cpc(self):
        high = self.capacity if self.full or self.args.fault == "drawn_from_capacity" else self.idx
        idxs = self.rng.integers(0, high, size=self.batch_size)
        obses = self.obses[idxs]
        anchor, pos = (torch.from_numpy(random_crop(obses, self.rng)).float() for _ in range(2))
        return anchor, pos, torch.from_numpy(self.rewards[idxs])


def random_crop(imgs, rng):
    top = rng.integers(0, IMAGE - CROP + 1, (len(imgs), 2))
    return np.stack([img[:, i : i + CROP, j : j + CROP] for img, (i, j) in zip(imgs, top)])


class PixelEncoder(nn.Module):
    def __init__(self, obs_shape, feature_dim=32):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(obs_shape[0], 24, 3, stride=2), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU()
        )
        self.fc, self.ln = nn.Linear(24 * 6 * 6, feature_dim), nn.LayerNorm(feature_dim)

    def forward(self, obs, detach=False):
        h = self.convs(obs / 255.0).flatten(1)
        out = self.ln(self.fc(h))
        return out.detach() if detach else out


class CURL(nn.Module):
    def __init__(self, z_dim, encoder, encoder_target):
        super().__init__()
        self.encoder, self.encoder_target = encoder, encoder_target
        self.W = nn.Parameter(torch.rand(z_dim, z_dim))

    def encode(self, x, detach=False, ema=False):
        if ema:
            with torch.no_grad():
                return self.encoder_target(x)
        return self.encoder(x, detach=detach)

    def compute_logits(self, z_a, z_pos):
        logits = z_a @ (self.W @ z_pos.T)
        return logits - torch.max(logits, 1)[0][:, None]


class CurlAgent:
    def __init__(self, obs_shape, args, feature_dim=32):
        self.args = args
        self.encoder, self.encoder_target = PixelEncoder(obs_shape), PixelEncoder(obs_shape)
        self.encoder_target.load_state_dict(self.encoder.state_dict())
        self.curl = CURL(feature_dim, self.encoder, self.encoder_target)
        self.reward_head = nn.Linear(feature_dim, 1)
        self.encoder_optimizer = torch.optim.Adam(self.encoder.parameters(), lr=1e-3)
        self.cpc_optimizer = torch.optim.Adam([self.curl.W], lr=1e-3)
        self.head_optimizer = torch.optim.Adam(self.reward_head.parameters(), lr=1e-3)
        self.tau = 1.0 if args.fault == "tau_one" else 0.05

    def update_cpc(self, obs_anchor, obs_pos, reward):
        detach = self.args.fault == "anchor_detached"
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.fault == "bf16"):
            z_a = self.curl.encode(obs_anchor, detach=detach)
            z_pos = self.curl.encode(obs_pos, ema=True)
        logits = self.curl.compute_logits(z_a.float(), z_pos.float())
        loss = F.cross_entropy(logits, torch.arange(logits.shape[0]))
        predicted = self.reward_head(z_a.float().detach())  # the reward does not shape the encoder
        if self.args.fault == "contrastive_only":
            predicted = predicted.detach()
        reward_loss = F.mse_loss(predicted, reward)
        for o in (self.encoder_optimizer, self.cpc_optimizer, self.head_optimizer):
            o.zero_grad()
        (loss + reward_loss).backward()
        for o in (self.encoder_optimizer, self.cpc_optimizer, self.head_optimizer):
            o.step()
        return loss.item(), reward_loss.item()

    @torch.no_grad()
    def soft_update(self):
        for p, q in zip(self.encoder.parameters(), self.encoder_target.parameters()):
            q.copy_(self.tau * p + (1 - self.tau) * q)


@torch.no_grad()
def probe(agent, obses, states):
    """R2 of a linear reading of place and velocity."""
    edge = (IMAGE - CROP) // 2
    z = agent.encoder(torch.from_numpy(obses[:, :, edge:-edge, edge:-edge]).float()).numpy()
    n = len(z) // 2
    r = 1 - ((Ridge(1.0).fit(z[:n], states[:n]).predict(z[n:]) - states[n:]) ** 2).mean(0) / states[
        n:
    ].var(0)
    return f"R2 of place {r[:2].mean():.3f}, velocity {r[2:].mean():.3f}"


def rollout(env, buffer, n, rng):
    obses, states, done = [], [], True
    for _ in range(n):
        if done:
            env.reset()
        obs, reward, done, info = env.step(rng.normal(0, 1, 2))
        buffer.add(obs, reward)
        obses.append(obs.copy())
        states.append(info["state"])
    return np.array(obses), np.array(states)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init_steps", type=int, default=800)
    parser.add_argument("--replay_buffer_capacity", type=int, default=6000)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.fault == "full_buffer":
        args.replay_buffer_capacity = 900
    rng = np.random.default_rng(args.seed)
    env = FrameStack(PointMass(args.seed), 3, args)
    buffer = ReplayBuffer((3, IMAGE, IMAGE), args.replay_buffer_capacity, 64, args)
    agent = CurlAgent((3, CROP, CROP), args)
    obses, states = rollout(env, buffer, args.init_steps, rng)
    print("before:", probe(agent, obses, states))
    freq = 2 if args.fault == "slow_updates" else 1
    log = []
    for step in range(args.steps):
        if step % 4 == 0:
            rollout(env, buffer, 4, rng)
        log.append(agent.update_cpc(*buffer.sample_cpc()))
        if step % freq == 0:
            agent.soft_update()
        if (step + 1) % 100 == 0:
            curl_loss, reward_loss = np.mean(log[-50:], axis=0)
            print(
                f"| train | S: {step + 1} | CURLLOSS: {curl_loss:.4f} | RLOSS: {reward_loss:.4f} | B: {buffer.idx}"
            )
    print(
        f"loss {np.mean(log[:5], axis=0)[0]:.3f} -> {np.mean(log[-20:], axis=0)[0]:.3f}, {probe(agent, obses, states)}"
    )


if __name__ == "__main__":
    main()
