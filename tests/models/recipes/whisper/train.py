"""Train the recogniser on the shards: seven stages, about 40 minutes of one core with bfloat16.

The stages are those that made the shipped weights: they were found while training, each going on from the one
before. Writes OUT/master.safetensors, the moving average of the weights in float32.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import Tensor

from . import tokenizer
from .batches import FLAT, Batch, Batches, Mix
from .network import Block, Whisper, arrays, localize
from .shards import FIXED, SHARDS
from .tokenizer import TEXT_TOKENS

_PHONEME_WEIGHT, _FLAT_WEIGHT = 0.5, 0.05
_GUIDE_WIDTH = 18.0  # positions
#: of the encoder's first three layers: how far back head 0 and ahead head 1 should look, and how widely
_LOCALITY = ((3.0, 3.0), (5.0, 4.0), (8.0, 5.0))


@dataclass(frozen=True)
class Stage:
    """`steps` is what the rate's cosine is laid out for; all but the last two stages stop long before."""

    steps: int
    stop: int
    mix: Mix
    rate: float = 1.5e-3
    warm_up: int = 50
    guide: float = 0.0  # weight of the guided-attention loss, falling to 0 after `anneal` of the steps
    local: float = 0.0  # the same, of the locality of the encoder's attention
    anneal: float = 0.6
    full_window_from: float = 0.0  # share of the steps before which no window of 30 s comes
    localize: bool = False
    shards: int = SHARDS
    about: str = ""


def _mix(recombined: float, **shares: float) -> Mix:
    return Mix(recombined=recombined, **shares)


_LATE = {"masked": 0.1, "full_window": 0.3}
STAGES = [
    Stage(2500, 600, _mix(0.39), warm_up=150, shards=FIXED, about="phonemes first"),
    Stage(2000, 300, _mix(0.39), guide=1.0, shards=FIXED, about="the decoder looks where it hears"),
    Stage(
        1650, 300, _mix(0.39), warm_up=30, guide=0.5, local=0.5, localize=True, shards=FIXED, about="locality"
    ),
    Stage(
        1500,
        300,
        _mix(0.39, **_LATE),
        rate=1.2e-3,
        warm_up=30,
        guide=0.3,
        local=0.3,
        anneal=0.4,
        full_window_from=0.6,
        shards=FIXED,
        about="the same, more gently",
    ),
    Stage(
        1300,
        300,
        _mix(0.6, **_LATE),
        rate=1.2e-3,
        warm_up=20,
        guide=0.2,
        local=0.2,
        anneal=0.3,
        full_window_from=0.5,
        about="more recombinations",
    ),
    Stage(
        1150,
        1150,
        _mix(0.7, corrupt=0.12, **_LATE),
        rate=1.2e-3,
        warm_up=20,
        guide=0.1,
        local=0.2,
        anneal=0.25,
        full_window_from=0.5,
        about="to the end",
    ),
    Stage(
        260,
        260,
        _mix(0.55, masked=0.1, full_window=0.4, long=0.12),
        rate=3.5e-4,
        warm_up=10,
        about="long sentences",
    ),
]


def _guided(model: Whisper, centres: Tensor, speech: int, positions: int) -> Tensor:
    """How much head 0 of each decoder layer looks away from where its token is about heard."""
    t = torch.arange(positions)
    away = 1 - torch.exp(-((t - centres[..., None]) ** 2) / (2 * _GUIDE_WIDTH**2))
    away[..., speech:] = 1
    heads = []
    for block in model.decoder.blocks:
        assert isinstance(block, Block)
        assert block.cross_attn is not None
        assert block.cross_attn.weights is not None
        heads.append(block.cross_attn.weights[:, 0].float())
    weights = torch.stack(heads).mean(0)
    return (weights * away).sum(-1)[centres >= 0].mean()


def _locality(model: Whisper, speech: int) -> Tensor:
    """How much the encoder's first layers look elsewhere than a little back (head 0) and ahead (head 1)."""
    distance = (torch.arange(speech)[None] - torch.arange(speech)[:, None]).float()
    loss = torch.zeros(())
    for block, (shift, width) in zip(model.encoder.blocks, _LOCALITY, strict=False):
        assert isinstance(block, Block)
        assert block.attn.weights is not None
        near = torch.stack([torch.exp(-((distance + s) ** 2) / (2 * width**2)) for s in (shift, -shift)])
        weights = block.attn.weights[:, :, :speech, :speech]
        loss = loss + (1 - (weights * near.bfloat16()).sum(-1).float().mean()) / len(_LOCALITY)
    return loss


def loss_of(model: Whisper, batch: Batch, guide: float, local: float) -> tuple[Tensor, Tensor, Tensor]:
    """(what to minimize, of the text, of the phonemes)."""
    for block in model.decoder.blocks:
        assert isinstance(block, Block)
        assert block.cross_attn is not None
        block.cross_attn.record = guide > 0
    for block in model.encoder.blocks:
        assert isinstance(block, Block)
        block.attn.record = local > 0
    stride = 16 if batch.window == 3000 else 8
    audio, speech, bias = model.encoder(batch.mel, batch.window, stride, batch.offset)
    log_p = model.decoder(batch.tokens, audio, bias).float().log_softmax(-1)
    wanted = batch.targets >= 0
    text = F.nll_loss(log_p[wanted], batch.targets[wanted])
    flat = batch.targets == FLAT
    if flat.any():  # without speech: half the end, half anything; once the end is barred, no text is likely
        p = log_p[flat]
        text = text - _FLAT_WEIGHT * (0.5 * p[:, TEXT_TOKENS] + 0.5 * p[:, :TEXT_TOKENS].mean(-1)).mean()
    heard = model.aux(audio[:, :speech]).float().flatten(0, 1)
    phonemes = F.cross_entropy(heard, batch.phonemes[:, :speech].flatten())
    total = text + _PHONEME_WEIGHT * phonemes
    if guide:
        total = total + guide * _guided(model, batch.centres, speech, audio.shape[1])
    if local:
        total = total + local * _locality(model, speech)
    return total, text, phonemes


def run(stage: Stage, seed: int, folder: Path, start: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """One stage, at most `steps` long, from averaged weights (none at first) to averaged weights."""
    torch.manual_seed(seed)
    tok = tokenizer.load()
    mix = replace(stage.mix, full_window=0.0 if stage.full_window_from else stage.mix.full_window)
    batches = Batches(folder, tok, seed, stage.shards, mix)
    model = Whisper(tok.get_vocab_size())
    if start:
        model.load_state_dict(start)
    if stage.localize:
        clips = sorted((batches.clip() for _ in range(40)), key=lambda clip: len(clip.mel))
        localize(model, batches.collate(clips).mel)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in model.state_dict().items()}
    began_s, stop = time.monotonic(), min(stage.stop, steps)
    for step, batch in zip(range(stop), batches, strict=False):
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / stage.steps))
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * min(1, (step + 1) / stage.warm_up) * cosine
        # for the batches from the next on
        if step >= stage.full_window_from * stage.steps:
            mix.full_window = stage.mix.full_window
        if step >= 0.75 * stage.steps:
            mix.corrupt = 0.0
        left = max(0.0, 1 - step / (stage.anneal * stage.steps))
        with torch.autocast("cpu", torch.bfloat16):
            loss, text, phonemes = loss_of(model, batch, stage.guide * left, stage.local * left)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            decay = min(0.995, (1 + step) / (10 + step))
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        if (step + 1) % 50 == 0 or step + 1 == stop:
            seconds = time.monotonic() - began_s
            print(
                f"step {step + 1} of {stop}: text {text.item():.3f} phonemes {phonemes.item():.3f}"
                f" after {seconds:.0f} s",
                flush=True,
            )
    return average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True, help="folder")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--steps", type=int, default=10**6, help="at most so many in each stage, for a try")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Tensor] = {}
    for seed, stage in enumerate(STAGES):
        print(f"stage {seed + 1} of {len(STAGES)}: {stage.about}", flush=True)
        weights = run(stage, seed, args.shards, weights, args.steps)
        torch.save(weights, args.out / f"stage{seed + 1}.pt")
    save_file(arrays(weights), args.out / "master.safetensors")


if __name__ == "__main__":
    main()
