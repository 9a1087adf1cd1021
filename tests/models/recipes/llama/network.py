"""The chat model in PyTorch, computed as llama.cpp does for architecture "llama".

RMSNorm, rotary positions, SwiGLU, no biases, untied output. Rotary pairs are (i, i + 32) here, which is
cheaper; gguf_file.py reorders the rows of q and k to llama.cpp's (2 i, 2 i + 1).
Four heads and four KV heads of 64: tiled eight times they are TinyLlama-1.1B's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gguf_file import CONTEXT, EPSILON, HEAD_DIM, ROPE_BASE

VOCAB, D, HEADS, LAYERS, FFN = 1024, 256, 4, 4, 704
TRAINED_CONTEXT = 1024
#: up to this length plain attention trains faster than the fused kernel
_PLAIN_ATTENTION_UP_TO = 320


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(D))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (D,), self.w, EPSILON)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = HEAD_DIM // 2
    return x * cos + torch.cat((x[..., half:], x[..., :half]), -1) * sin


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = Norm(), Norm()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(D, FFN, bias=False) for _ in range(2))
        self.down = nn.Linear(FFN, D, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, D]."""
        batch, length, _ = x.shape
        h = self.n1(x)
        q, k, v = (
            m(h).view(batch, length, HEADS, HEAD_DIM).transpose(1, 2) for m in (self.q, self.k, self.v)
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if length <= _PLAIN_ATTENTION_UP_TO:
            a = F.softmax(q @ k.transpose(-1, -2) + mask, -1, dtype=torch.float32).to(v.dtype) @ v
        else:
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        x = x + self.o(a.transpose(1, 2).reshape(batch, length, D))
        h = self.n2(x)
        y: Tensor = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return y


class Llama(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(VOCAB, D)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        self.out = nn.Linear(D, VOCAB, bias=False)
        frequencies = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        angles = torch.arange(CONTEXT).float()[:, None] * frequencies
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), -1), persistent=False)
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), -1), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:  # what writes to the stream starts smaller, as in GPT-2
                writes = name.split(".")[-2] in ("o", "down")
                nn.init.normal_(p, 0, 0.02 / (math.sqrt(2 * LAYERS) if writes else 1))
        nn.init.normal_(self.emb.weight, 0, 0.05)

    def forward(self, ids: Tensor, learned: Tensor) -> Tensor:
        """ids [B, T], learned bool [B, T] -> logits [learned positions, VOCAB]."""
        length = ids.shape[1]
        x = self.emb(ids)
        low = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        scale = HEAD_DIM**0.25  # of the attention, half on q and half on k
        cos, sin = self.cos[:length].to(low) / scale, self.sin[:length].to(low) / scale
        mask = torch.full((length, length), float("-inf")).triu(1).to(low)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        logits: Tensor = self.out(self.norm(x[learned]))
        return logits
