"""Train the voice's network on OUT/data.npz, write OUT/voice.npz: 800 steps, about 7 minutes of one core."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import features as ft
from .teacher import Utterance, load

STEPS, BATCH_FRAMES, RATE, WARM_UP = 800, 7000, 2e-3, 50
_KEPT_OUT = 24  # sentences, to see whether more than the training sentences is learned
#: share of the sentences learned without their final mark, as language models and people leave it out
_WITHOUT_MARK = 0.2


class Net(nn.Module):
    """ids -> log1p(frames) of each; ids and frames -> features of each frame, a small FastSpeech."""

    def __init__(self) -> None:
        super().__init__()
        c1, c2, k1, k2 = ft.PHONEME_CHANNELS, ft.FRAME_CHANNELS, ft.PHONEME_KERNEL, ft.FRAME_KERNEL
        self.emb = nn.Embedding(ft.SYMBOLS, c1)
        self.end = nn.Embedding(ft.SYMBOLS, c1)  # of the last punctuation mark: question or statement
        self.pos = nn.Linear(2, c1, bias=False)
        self.enc = nn.ModuleList(nn.Conv1d(c1, c1, k1, padding=k1 // 2) for _ in range(ft.PHONEME_LAYERS))
        self.dur = nn.Linear(c1, 1)
        self.up = nn.Linear(c1, c2)
        self.frame = nn.Linear(3, c2, bias=False)
        self.dec = nn.ModuleList(
            nn.Conv1d(c2, c2, k2, padding=k2 // 2 * ft.dilation(i), dilation=ft.dilation(i))
            for i in range(ft.FRAME_LAYERS)
        )
        self.out = nn.Linear(c2, ft.OUT)
        nn.init.normal_(self.emb.weight, 0, 0.3)
        nn.init.normal_(self.end.weight, 0, 0.1)

    def encode(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, N], lengths [B] -> phonemes [B, N, C], log1p(frames) [B, N]."""
        at = torch.arange(ids.shape[1])[None]
        mask = (at < lengths[:, None]).float()[..., None]
        last = torch.tensor(ft.END_OF)[ids.gather(1, (lengths - 2).clamp(min=0)[:, None])]
        remaining = ((lengths[:, None] - at) / ft.REMAINING_UNIT).clamp(max=ft.REMAINING_LIMIT)
        position = torch.stack((at / lengths[:, None], remaining), -1)
        h = (self.emb(ids) + self.end(last) + self.pos(position)) * mask
        for layer in self.enc:
            h = (h + F.relu(layer(h.transpose(1, 2)).transpose(1, 2))) * mask
        return h, self.dur(h)[..., 0]

    def decode(self, h: Tensor, owner: Tensor, fraction: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """The phoneme of each frame, how far it is, its length, all [B, F] -> features [B, F, OUT]."""
        x = h.gather(1, owner[..., None].expand(-1, -1, ft.PHONEME_CHANNELS))
        place = torch.stack((fraction, 1 - fraction, torch.log1p(frames) / 3), -1)
        x = F.relu(self.up(x) + self.frame(place)) * mask
        for layer in self.dec:
            x = (x + F.relu(layer(x.transpose(1, 2)).transpose(1, 2))) * mask
        out: Tensor = self.out(x)
        return out


def without_mark(u: Utterance) -> Utterance:
    if u.ids[-2] not in ft.ENDS:
        return u
    frames = np.append(u.frames[:-2], u.frames[-2] + u.frames[-1])
    return Utterance(np.delete(u.ids, -2), frames, u.features)


class Scaled:
    """Batches of utterances; features have mean 0 and deviation 1 (one deviation for each sort)."""

    def __init__(self, data: list[Utterance]) -> None:
        every = np.concatenate([u.features for u in data])
        self.mean: npt.NDArray[np.float32] = every.mean(0)
        self.std: npt.NDArray[np.float32] = every.std(0)
        self.std[ft.BANDS + 1 :] = self.std[ft.BANDS + 1 :].mean()
        self.std[: ft.BANDS] = self.std[: ft.BANDS].mean()

    def losses(self, net: Net, us: list[Utterance]) -> list[Tensor]:
        """Mean absolute errors of log1p(frames), envelope, pitch and noisiness."""
        n, most = max(len(u.ids) for u in us), max(len(u.features) for u in us)
        ids, frames = torch.zeros((len(us), n), dtype=torch.long), torch.zeros((len(us), n))
        owner = torch.zeros((len(us), most), dtype=torch.long)
        fraction, own = torch.zeros((len(us), most)), torch.zeros((len(us), most))
        wanted, mask = torch.zeros((len(us), most, ft.OUT)), torch.zeros((len(us), most, 1))
        for b, u in enumerate(us):
            ids[b, : len(u.ids)] = torch.from_numpy(u.ids)
            frames[b, : len(u.ids)] = torch.from_numpy(u.frames).float()
            k = np.repeat(np.arange(len(u.frames)), u.frames)
            begins = np.cumsum(u.frames) - u.frames
            through = (np.arange(len(k)) - begins[k] + 0.5) / u.frames[k]
            owner[b, : len(k)] = torch.from_numpy(k)
            fraction[b, : len(k)] = torch.from_numpy(through.astype(np.float32))
            own[b, : len(k)] = torch.from_numpy(u.frames[k].astype(np.float32))
            wanted[b, : len(k)] = torch.from_numpy((u.features - self.mean) / self.std)
            mask[b, : len(k)] = 1
        lengths = torch.tensor([len(u.ids) for u in us])
        h, log_frames = net.encode(ids, lengths)
        there = (torch.arange(n)[None] < lengths[:, None]).float()
        of_frames = ((log_frames - torch.log1p(frames)).abs() * there).sum() / there.sum()
        error = (net.decode(h, owner, fraction, own, mask) - wanted).abs() * mask
        total = mask.sum()
        envelope, pitch, noisiness = error.split((ft.BANDS, 1, ft.NOISINESS), -1)
        return [of_frames, *(e.sum() / total / e.shape[-1] for e in (envelope, pitch, noisiness))]


def train(data: list[Utterance], steps: int) -> dict[str, npt.NDArray[np.float16 | np.float32]]:
    """`steps` of the full schedule: fewer give an unfinished voice."""
    torch.manual_seed(2)
    torch.set_num_threads(1)
    rng = Random(4)
    rng.shuffle(data)
    test, data = data[:_KEPT_OUT], data[_KEPT_OUT:]
    scaled, net = Scaled(data), Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=1e-3)
    began_s, pool = time.monotonic(), list[list[Utterance]]()
    for step in range(steps):
        cosine = 0.01 + 0.99 * (1 + np.cos(np.pi * step / STEPS)) / 2
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * cosine
        batch: list[Utterance] = []
        while sum(len(u.features) for u in batch) < BATCH_FRAMES:
            if not pool:  # fours of like length
                by_length = sorted(data, key=lambda u: len(u.features) + rng.random() * 60)
                pool = [by_length[i : i + 4] for i in range(0, len(by_length), 4)]
                rng.shuffle(pool)
            batch += pool.pop()
        losses = scaled.losses(net, [without_mark(u) if rng.random() < _WITHOUT_MARK else u for u in batch])
        loss = losses[0] + losses[1] + 0.5 * losses[2] + 0.5 * losses[3]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step + 1 == steps:
            with torch.no_grad():
                unseen = scaled.losses(net, test)
            shown = [" ".join(f"{x.item():.3f}" for x in which) for which in (losses, unseen)]
            seconds = time.monotonic() - began_s
            print(f"step {step} errors {shown[0]} | unseen {shown[1]} after {seconds:.0f} s", flush=True)
    weights = {k: v.numpy().astype(np.float16) for k, v in net.state_dict().items()}
    return {"mean": scaled.mean, "std": scaled.std, **weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder, with data.npz in it")
    parser.add_argument("--steps", type=int, default=STEPS, help="stop after so many, for a try")
    args = parser.parse_args()
    np.savez(args.out / "voice.npz", **train(load(args.out / "data.npz"), args.steps))


if __name__ == "__main__":
    main()
