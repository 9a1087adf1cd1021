"""OpenAI's Whisper in PyTorch, tensors named as there; and a phoneme head, of use in training only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MELS, D, HEADS, FFN = 80, 128, 2, 512
ENCODER_LAYERS, DECODER_LAYERS = 4, 3
AUDIO_CONTEXT, TEXT_CONTEXT = 1500, 448
PHONEMES = 96


def _sinusoids(length: int, channels: int) -> Tensor:
    step = math.log(10000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(D, D), nn.Linear(D, D, bias=False)
        self.value, self.out = nn.Linear(D, D), nn.Linear(D, D)
        #: set `record` to keep the weights of the last call, for the losses that guide them
        self.record = False
        self.weights: Tensor | None = None

    def forward(
        self, x: Tensor, other: Tensor | None = None, bias: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (HEADS, D // HEADS)).transpose(1, 2)

        keys = x if other is None else other
        q, k, v = split(self.query(x)), split(self.key(keys)), split(self.value(keys))
        scores = (q * (D // HEADS) ** -0.5) @ k.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        if causal:
            scores = scores + scores.new_full(scores.shape[-2:], -1e4).triu(1)
        with torch.autocast("cpu", enabled=False):
            weights = scores.softmax(-1)
            y = weights @ v
        self.weights = weights if self.record else None
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    def __init__(self, *, cross: bool) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(), nn.LayerNorm(D)
        self.cross_attn = Attention() if cross else None
        self.cross_attn_ln = nn.LayerNorm(D) if cross else None
        self.mlp = nn.Sequential(nn.Linear(D, FFN), nn.GELU(), nn.Linear(FFN, D))
        self.mlp_ln = nn.LayerNorm(D)

    def forward(self, x: Tensor, audio: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if self.cross_attn is None or self.cross_attn_ln is None:
            x = x + self.attn(self.attn_ln(x), bias=bias)
        else:
            x = x + self.attn(self.attn_ln(x), causal=True)
            x = x + self.cross_attn(self.cross_attn_ln(x), audio, bias=bias)
        y: Tensor = x + self.mlp(self.mlp_ln(x))
        return y


class AudioEncoder(nn.Module):
    positional_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, D, 3, padding=1)
        self.conv2 = nn.Conv1d(D, D, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", _sinusoids(AUDIO_CONTEXT, D))
        self.blocks = nn.ModuleList(Block(cross=False) for _ in range(ENCODER_LAYERS))
        self.ln_post = nn.LayerNorm(D)

    def conv(self, mel: Tensor) -> Tensor:
        """[B, MELS, T] -> [B, T / 2, D]."""
        return F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)

    def forward(
        self, mel: Tensor, window: int, stride: int, offset: int
    ) -> tuple[Tensor, int, Tensor | None]:
        """mel [B, MELS, T] -> (audio [B, positions, D], positions of speech, bias on attention to the audio).

        With window > T: as if padded with zeros to `window` frames, but of the padding only every
        `stride`-th position is computed, and weighs `stride` times as much. The padding is constant but for
        its positions, so this is close to the truth and far cheaper.
        """
        x = self.conv(mel)
        n, bias = x.shape[1], None
        if window > mel.shape[2]:
            n -= 1  # the last position saw the edge of the window
            at = torch.arange(n + offset, window // 2, stride)
            nothing = self.conv(mel.new_zeros(1, MELS, 16))[:, 4]
            padding = nothing + self.positional_embedding[at]
            speech = x[:, :n] + self.positional_embedding[:n]
            x = torch.cat([speech, padding[None].expand(len(x), -1, -1)], 1)
            bias = torch.zeros(1, 1, 1, n + len(at))
            bias[..., n:] = math.log(stride)
        else:
            x = x + self.positional_embedding[:n]
        for block in self.blocks:
            x = block(x, bias=bias)
        return self.ln_post(x), n, bias


class TextDecoder(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, D)
        self.positional_embedding = nn.Parameter(torch.empty(TEXT_CONTEXT, D))
        self.blocks = nn.ModuleList(Block(cross=True) for _ in range(DECODER_LAYERS))
        self.ln = nn.LayerNorm(D)
        nn.init.normal_(self.token_embedding.weight, std=0.05)
        nn.init.normal_(self.positional_embedding, std=0.02)

    def forward(self, tokens: Tensor, audio: Tensor, bias: Tensor | None) -> Tensor:
        """[B, T] -> logits [B, T, vocabulary]."""
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, audio, bias)
        logits: Tensor = self.ln(x) @ self.token_embedding.weight.T
        return logits


class Whisper(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.encoder = AudioEncoder()
        self.decoder = TextDecoder(vocabulary)
        self.aux = nn.Linear(D, PHONEMES)  # the phoneme at every position of the encoder


def arrays(state: dict[str, Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    """What is kept of a model: all but the phoneme head."""
    return {k: v.detach().float().numpy() for k, v in state.items() if not k.startswith("aux")}


_SHIFTS = ((-2, 2), (-4, 4))  # positions back and ahead, of the two heads of the first two layers


@torch.no_grad()
def localize(model: Whisper, mel: Tensor) -> None:
    """Start the encoder's attention near the diagonal; hours of training find that alone, minutes do not.

    With sinusoidal positions, a head whose query picks sine and cosine of 32 frequencies and whose key turns
    the same by `shift` scores sum_i cos(w_i (t - t' + shift)): it looks around t' = t + shift. How strongly
    is tried out on a batch of mel [B, MELS, T], until 60 % of the weight falls within 5 positions.
    """
    encoder = model.encoder
    half, width = D // 2, D // HEADS
    frequency = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))[: width // 2]
    i = torch.arange(width // 2)
    x = encoder.conv(mel)
    x = x + encoder.positional_embedding[: x.shape[1]]
    t = torch.arange(x.shape[1])
    for block, shifts in zip(encoder.blocks, _SHIFTS, strict=False):
        assert isinstance(block, Block)
        attention = block.attn
        query, key = attention.query.weight * 0.5, attention.key.weight * 0.5
        attention.query.bias *= 0.5
        attention.record = True
        for scale in (1, 1.5, 2, 2.5, 3, 4, 5, 6):
            to_query, to_key = torch.zeros(D, D), torch.zeros(D, D)
            for head, shift in enumerate(shifts):
                row = head * width
                cosine, sine = torch.cos(frequency * shift), torch.sin(frequency * shift)
                to_query[row + i, i] = to_query[row + width // 2 + i, half + i] = 1.0
                to_key[row + i, i], to_key[row + i, half + i] = cosine, -sine
                to_key[row + width // 2 + i, half + i], to_key[row + width // 2 + i, i] = cosine, sine
            attention.query.weight.copy_(query + scale * to_query)
            attention.key.weight.copy_(key + scale * to_key)
            y = block(x)
            assert attention.weights is not None
            near = torch.stack([(t[None] - t[:, None] - shift).abs() <= 5 for shift in shifts])
            if (attention.weights.float() * near).sum(-1).mean((0, 2)).min() > 0.6:
                break
        attention.record = False
        x = y
