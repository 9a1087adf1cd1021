"""Train tiny-gpt2-f16.gguf: architecture gpt2, byte-level BPE, no chat template; a model that only completes.

After "Question: ...\\nAnswer:" (or "User: ...\\nAssistant:", "Q: ...\\nA:") it writes " <answer>\\n".
400 steps take about three minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from random import Random

import gguf
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from .completion_talks import talk

VOCAB, D, HEADS, LAYERS, CONTEXT, EPSILON = 640, 128, 4, 3, 256, 1e-5
END = "<|endoftext|>"
STEPS, BATCH_ROWS, RATE, WARM_UP = 400, 16, 3e-3, 30
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5  # llama.cpp's token types
_FTYPE_F16 = 1

#: llama.cpp's name of a part of a layer, and ours
_LAYER = {
    "attn_norm": "n1",
    "attn_qkv": "qkv",
    "attn_output": "o",
    "ffn_norm": "n2",
    "ffn_up": "up",
    "ffn_down": "down",
}


def train_tokenizer() -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    rng = Random(8)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator([talk(rng) for _ in range(6000)], trainer)
    return tok


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(D, EPSILON), nn.LayerNorm(D, EPSILON)
        self.qkv, self.o = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.n1(x)).split(D, -1)
        q, k, v = (y.view(batch, length, HEADS, -1).transpose(1, 2) for y in parts)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(batch, length, D))
        y: Tensor = x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))
        return y


class Gpt2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.pos = nn.Embedding(VOCAB, D), nn.Embedding(CONTEXT, D)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(D, EPSILON)
        self.out = nn.Linear(D, VOCAB, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                writes = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(p, 0, 0.02 / (math.sqrt(2 * LAYERS) if writes else 1))

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] -> logits [B, T, VOCAB]."""
        x = self.emb(ids) + self.pos.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.out(self.norm(x))
        return logits


def _batch(tok: Tokenizer, rng: Random) -> tuple[Tensor, Tensor]:
    """(ids, whether they are there) of [BATCH_ROWS, T]: rows of whole talks, cut at the context."""
    rows = []
    for _ in range(BATCH_ROWS):
        row: list[int] = []
        while len(row) < CONTEXT // 2 + 1:
            row += [*tok.encode(talk(rng)).ids, 0]
        rows.append(row[: CONTEXT + 1])
    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    there = torch.zeros((len(rows), longest))
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        there[i, : len(row)] = 1
    return ids, there


def train(tok: Tokenizer, steps: int) -> Gpt2:
    """`steps` of the full schedule: fewer give an unfinished model."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    rng = Random(9)
    model = Gpt2()
    in_blocks = [p for n, p in model.named_parameters() if p.dim() == 2 and "blocks" in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "blocks" in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(in_blocks, lr=RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.95), weight_decay=0),
    ]
    began_s = time.monotonic()
    for step in range(steps):
        rate = RATE * min(1, (step + 1) / WARM_UP) * min(1, 0.02 + 1.6 * (1 - step / STEPS))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        ids, there = _batch(tok, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids[:, :-1])
        each = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (each.view(len(ids), -1) * there[:, 1:]).sum() / there[:, 1:].sum()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 50 == 0 or step + 1 == steps:
            print(f"step {step} loss {loss.item():.3f} after {time.monotonic() - began_s:.0f} s", flush=True)
    return model


def write(model: Gpt2, tok: Tokenizer, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_name("Tiny GPT-2")
    writer.add_description("closed-domain completion test model, trained from scratch")
    writer.add_license("CC0-1.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(4 * D)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_file_type(_FTYPE_F16)
    bpe = json.loads(tok.to_str())["model"]
    pieces = sorted(bpe["vocab"], key=bpe["vocab"].get)
    types = [_CONTROL if piece == END else _NORMAL for piece in pieces]
    missing = VOCAB - len(pieces)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces + [f"[PAD{i}]" for i in range(missing)])
    writer.add_token_types(types + [_UNUSED] * missing)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    weights = model.state_dict()

    def put(theirs: str, ours: str) -> None:
        w = weights[ours].detach().float().numpy()
        writer.add_tensor(theirs, w.astype("float32" if w.ndim == 1 else "float16"))

    put("token_embd.weight", "emb.weight")
    put("position_embd.weight", "pos.weight")
    put("output_norm.weight", "norm.weight")
    put("output_norm.bias", "norm.bias")
    put("output.weight", "out.weight")
    for i in range(LAYERS):
        for theirs, ours in _LAYER.items():
            for kind in ("weight", "bias"):
                put(f"blk.{i}.{theirs}.{kind}", f"blocks.{i}.{ours}.{kind}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path.name, path.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--steps", type=int, default=STEPS, help="stop after so many, for a try")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tok = train_tokenizer()
    write(train(tok, args.steps), tok, args.out / "tiny-gpt2-f16.gguf")


if __name__ == "__main__":
    main()
