"""The demo model's architecture, in JAX for training and, from the exported file, in NumPy for checking.

* Llama: pre-norm RMSNorm, rotary positions on interleaved pairs (2i, 2i+1) as GGUF's "llama" means them, grouped
  key/value heads, SwiGLU, input and output embedding tied.
* Matrices are stored [out, in], as GGUF rows are, and named as GGUF names its tensors; the export only rounds.
* Absent: dropout, biases, anything that could differ between training and the exported file.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Config:
    vocab: int = 2048
    width: int = 256
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2  # fewer than heads, so that a wrong head mapping shows
    head_dim: int = 64
    ffn: int = 384  # the largest multiple of 32 that keeps three layers below 1.5 M parameters
    norm_eps: float = 1e-5
    rope_base: float = 10000.0


def init(config, seed):
    """Random weights as {GGUF tensor name: float32 array}."""
    rng = np.random.default_rng(seed)

    def matrix(out, inp, scale=1.0):
        return (rng.standard_normal((out, inp)) * scale / np.sqrt(inp)).astype(np.float32)

    residual = 1 / np.sqrt(2 * config.layers)
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    params = {"token_embd.weight": (rng.standard_normal((config.vocab, config.width)) * 0.02).astype(np.float32),
              "output_norm.weight": np.ones(config.width, np.float32)}
    for i in range(config.layers):
        params |= {
            f"blk.{i}.attn_norm.weight": np.ones(config.width, np.float32),
            f"blk.{i}.attn_q.weight": matrix(q, config.width),
            f"blk.{i}.attn_k.weight": matrix(kv, config.width),
            f"blk.{i}.attn_v.weight": matrix(kv, config.width),
            f"blk.{i}.attn_output.weight": matrix(config.width, q, residual),
            f"blk.{i}.ffn_norm.weight": np.ones(config.width, np.float32),
            f"blk.{i}.ffn_gate.weight": matrix(config.ffn, config.width),
            f"blk.{i}.ffn_up.weight": matrix(config.ffn, config.width),
            f"blk.{i}.ffn_down.weight": matrix(config.width, config.ffn, residual),
        }
    return params


def rope_table(config, length):
    """cos and sin, each [length, head_dim / 2], computed in float64."""
    inverse = config.rope_base ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    angle = np.arange(length, dtype=np.float64)[:, None] * inverse[None, :]
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def forward(config, params, ids, documents):
    """Logits [batch, length, vocab]. `documents` [batch, length] numbers the texts packed into a row: attention stays
    within one text, so that each behaves as if it stood at position 0 (rotary positions are relative)."""
    batch, length = ids.shape
    cos, sin = (jnp.asarray(t)[None, :, None, :] for t in rope_table(config, length))

    def norm(x, weight):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + config.norm_eps) * weight

    def rope(x):  # [batch, length, heads, head_dim]
        even, odd = x[..., 0::2], x[..., 1::2]
        return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)

    causal = jnp.tril(jnp.ones((length, length), bool))
    mask = (causal[None] & (documents[:, :, None] == documents[:, None, :]))[:, None, None]
    group = config.heads // config.kv_heads
    x = params["token_embd.weight"][ids]
    for i in range(config.layers):
        w = {k.split(".")[2]: v for k, v in params.items() if k.startswith(f"blk.{i}.")}
        h = norm(x, w["attn_norm"])
        q = rope((h @ w["attn_q"].T).reshape(batch, length, config.heads, config.head_dim))
        k = rope((h @ w["attn_k"].T).reshape(batch, length, config.kv_heads, config.head_dim))
        v = (h @ w["attn_v"].T).reshape(batch, length, config.kv_heads, config.head_dim)
        q = q.reshape(batch, length, config.kv_heads, group, config.head_dim)
        scores = jnp.einsum("btkgd,bskd->bkgts", q, k) / np.sqrt(config.head_dim).astype(np.float32)
        scores = jax.nn.softmax(jnp.where(mask, scores, -1e9), -1)
        out = jnp.einsum("bkgts,bskd->btkgd", scores, v).reshape(batch, length, -1)
        x = x + out @ w["attn_output"].T
        h = norm(x, w["ffn_norm"])
        x = x + (jax.nn.silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    return norm(x, params["output_norm.weight"]) @ params["token_embd.weight"].T


class Session:
    """One sequence over given weights in NumPy float32, with a key/value cache."""

    def __init__(self, config, params, length_max=2048):
        self.config, self.params, self.position = config, params, 0
        self.cos, self.sin = rope_table(config, length_max)
        self.k = [np.zeros((length_max, config.kv_heads, config.head_dim), np.float32) for _ in range(config.layers)]
        self.v = [np.zeros_like(self.k[0]) for _ in range(config.layers)]
        self.layers = [{k.split(".")[2]: v for k, v in params.items() if k.startswith(f"blk.{i}.")}
                       for i in range(config.layers)]

    def feed(self, ids):
        """Appends `ids` and returns their logits, [len(ids), vocab]."""
        c, start, end = self.config, self.position, self.position + len(ids)
        cos, sin = self.cos[start:end, None, :], self.sin[start:end, None, :]

        def norm(x, weight):
            return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(c.norm_eps)) * weight

        def rope(x):
            even, odd = x[..., 0::2], x[..., 1::2]
            return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)

        group = c.heads // c.kv_heads
        mask = np.arange(end)[None, :] > np.arange(start, end)[:, None]
        x = self.params["token_embd.weight"][np.asarray(ids)]
        for w, keys, values in zip(self.layers, self.k, self.v):
            h = norm(x, w["attn_norm"])
            q = rope((h @ w["attn_q"].T).reshape(len(ids), c.heads, c.head_dim))
            keys[start:end] = rope((h @ w["attn_k"].T).reshape(len(ids), c.kv_heads, c.head_dim))
            values[start:end] = (h @ w["attn_v"].T).reshape(len(ids), c.kv_heads, c.head_dim)
            out = np.empty_like(q)
            for head in range(c.heads):
                scores = q[:, head] @ keys[:end, head // group].T / np.float32(np.sqrt(c.head_dim))
                scores[mask] = -np.inf
                scores = np.exp(scores - scores.max(-1, keepdims=True))
                out[:, head] = scores / scores.sum(-1, keepdims=True) @ values[:end, head // group]
            x = x + out.reshape(len(ids), -1) @ w["attn_output"].T
            h = norm(x, w["ffn_norm"])
            gate = h @ w["ffn_gate"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
        self.position = end
        return norm(x, self.params["output_norm.weight"]) @ self.params["token_embd.weight"].T
