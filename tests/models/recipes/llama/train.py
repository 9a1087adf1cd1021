"""Train the chat model: 560 steps of 4096 tokens, about 13 minutes of one core with bfloat16."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from . import talks, tokenizer
from .network import TRAINED_CONTEXT, Llama

STEPS, BATCH_TOKENS, RATE = 560, 4096, 2e-3
WARM_UP, HOLD = 30, 220  # steps: the rate rises, holds until the second, and then falls linearly
_POOL = 6000  # talks sorted by length together


def batches(tok: tokenizer.Spm, rng: Random) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endlessly (ids, next ids, learned) of [B, T]: talks of like length, padded with </s>, not learned."""
    end = tok.id["</s>"]
    while True:
        pool = []
        for _ in range(_POOL):
            system, turns = talks.dialog(rng)
            ids, mask = talks.tokenize(tok, system, turns, bos=rng.random() < 0.5)
            pool.append((ids[:TRAINED_CONTEXT], mask[:TRAINED_CONTEXT]))
        pool.sort(key=lambda talk: len(talk[0]) + rng.random() * 4)
        groups, group = [], list[tuple[list[int], list[int]]]()
        for talk in pool:
            if group and (len(group) + 1) * max(len(talk[0]), len(group[-1][0])) > BATCH_TOKENS:
                groups.append(group)
                group = []
            group.append(talk)
        groups.append(group)
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(talk[0]) for talk in group)
            all_ids = torch.full((len(group), longest), end)
            learned = torch.zeros((len(group), longest), dtype=torch.bool)
            for i, (ids, mask) in enumerate(group):
                all_ids[i, : len(ids)] = torch.tensor(ids)
                learned[i, : len(mask)] = torch.tensor(mask, dtype=torch.bool)
            yield all_ids[:, :-1].contiguous(), all_ids[:, 1:], learned[:, 1:]


def train(steps: int) -> Llama:
    """`steps` of the full schedule: fewer give an unfinished model."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    vocabulary = tokenizer.load()
    model = Llama()
    in_layers = [p for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "layers" in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            in_layers, lr=RATE, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    data = batches(tokenizer.Spm(vocabulary.pieces, vocabulary.scores), Random(77))
    began_s = time.monotonic()
    model.train()
    for step in range(steps):
        falling = 1.0 if step < HOLD else 0.02 + 0.98 * (STEPS - step) / (STEPS - HOLD)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * falling
        ids, following, learned = next(data)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids, learned)
        loss = F.cross_entropy(logits.float(), following[learned])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 20 == 0 or step + 1 == steps:
            print(f"step {step} loss {loss.item():.4f} after {time.monotonic() - began_s:.0f} s", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; the model becomes OUT/tiny-chat-f16.gguf"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="stop after so many, for a try")
    args = parser.parse_args()
    from .gguf_file import write_chat

    args.out.mkdir(parents=True, exist_ok=True)
    model = train(args.steps)
    weights = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
    write_chat(weights, tokenizer.load(), args.out / "tiny-chat-f16.gguf")


if __name__ == "__main__":
    main()
