"""Trains the demo model from nothing and writes `spindle-demo.gguf` and `logits.json` beside itself.

* Seeded: each step draws its documents from a generator seeded by (SEED, step), so a run that was stopped goes on from
  its checkpoint with the batches it would have had.
* Two parts: the first teaches, the second drills what is still weak; its last steps read windows of the whole context,
  among them long chats.
* Absent: any input but the files of this directory; any network.

Run: python train.py [--work DIR] [--out DIR]   (checkpoints go to the first, results to the second)
"""

import argparse
import functools
import pathlib
import random
import sys
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

import corpus
import evaluate
import text
from export import read_gguf, write_gguf, write_logits
from model import Config, forward, init

SEED = 20260101
CONTEXT = 1024
TOKENS_A_STEP = 4096
SHORT_WINDOW = 256
STEPS, LONG_STEPS = 4200, 300  # the last LONG_STEPS of STEPS read long windows
LEARNING_RATE, WARMUP, WEIGHT_DECAY, CLIP = 4e-3, 100, 0.05, 1.0
BETA1, BETA2, EPSILON = 0.9, 0.98, 1e-9
TOKENIZER_DOCUMENTS = 40000
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class Part:
    """A stretch of the training with a warm-up and a cosine of its own, which it may leave before the end."""

    steps: int
    long_steps: int  # at the end: windows of the whole context
    rate: float
    warmup: int
    cosine: int


PARTS = [Part(steps=2200, long_steps=0, rate=4e-3, warmup=100, cosine=2400),
         Part(steps=500, long_steps=100, rate=2.5e-3, warmup=40, cosine=500)]
STEPS = sum(part.steps for part in PARTS)


def part_of(step):
    """(number of the part from 1, the part, the step within it)"""
    for number, part in enumerate(PARTS, 1):
        if step < part.steps:
            return number, part, step
        step -= part.steps
    raise ValueError("past the last step")


def tokenizer_for(work):
    path = work / "tokenizer.json"
    if not path.exists():
        rng = random.Random(SEED)
        texts = (text.document_text(corpus.document(rng)) for _ in range(TOKENIZER_DOCUMENTS))
        text.train_tokenizer(texts, Config.vocab).save(str(path))
    return Tokenizer.from_file(str(path))


def batch_of(tokenizer, step):
    rng = random.Random(SEED * 1_000_003 + step)
    number, part, within = part_of(step)
    long = within >= part.steps - part.long_steps
    length = CONTEXT if long else SHORT_WINDOW

    def documents():
        while True:
            # In long windows, one document in 40 is a chat that fills a window: about half of all tokens.
            yield corpus.document(rng, long=long and rng.random() < 1 / 40, part=number)

    return text.pack(tokenizer, documents(), TOKENS_A_STEP // length, length)


def loss_of(config, params, batch):
    ids, targets, weights, numbers = batch
    logits = forward(config, params, ids, numbers)
    picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    losses = (jax.nn.logsumexp(logits, -1) - picked) * weights
    answer = weights == 1.0
    return losses.sum() / weights.sum(), (losses * answer).sum() / answer.sum()


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_step(config, state, batch, rate):
    params, first, second, step = state
    (_, answer_loss), grads = jax.value_and_grad(functools.partial(loss_of, config), has_aux=True)(params, batch)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
    step = step + 1
    new = {}, {}, {}
    for name, weight in params.items():
        grad = grads[name] * scale
        m = BETA1 * first[name] + (1 - BETA1) * grad
        v = BETA2 * second[name] + (1 - BETA2) * grad * grad
        update = m / (1 - BETA1 ** step) / (jnp.sqrt(v / (1 - BETA2 ** step)) + EPSILON)
        decay = WEIGHT_DECAY if weight.ndim == 2 else 0.0
        new[0][name] = weight - rate * (update + decay * weight)
        new[1][name], new[2][name] = m, v
    return (*new, step), answer_loss, norm


def rate_at(step):
    _, part, step = part_of(step)
    if step < part.warmup:
        return part.rate * (step + 1) / part.warmup
    progress = (step - part.warmup) / (part.cosine - part.warmup)
    return part.rate * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress)))


def save(path, state, step):
    params, first, second, _ = state
    arrays = {f"{kind}/{name}": np.asarray(a) for kind, group in (("w", params), ("m", first), ("v", second))
              for name, a in group.items()}
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, step=step, **arrays)
    partial.rename(path)


def load(path):
    """(state, step) of a checkpoint."""
    with np.load(path) as arrays:
        groups = tuple({k[2:]: jnp.asarray(arrays[k]) for k in arrays.files if k.startswith(kind)}
                       for kind in ("w/", "m/", "v/"))
        step = int(arrays["step"])
    return (*groups, jnp.float32(step)), step


def train(work, tokenizer):
    config, checkpoint = Config(), work / "checkpoint.npz"
    if checkpoint.exists():
        state, start = load(checkpoint)
    else:
        params = {k: jnp.asarray(v) for k, v in init(config, SEED).items()}
        zeros = [{k: jnp.zeros_like(v) for k, v in params.items()} for _ in range(2)]
        state, start = (params, *zeros, jnp.float32(0)), 0
    total = sum(v.size for v in state[0].values())
    print(f"{total} parameters, {total - config.vocab * config.width} beyond the embeddings; from step {start}",
          flush=True)
    begun, recent = time.monotonic(), []
    for step in range(start, STEPS):
        state, loss, norm = train_step(config, state, batch_of(tokenizer, step), rate_at(step))
        recent.append(float(loss))
        if (step + 1) % 20 == 0:
            print(f"step {step + 1}/{STEPS}  answer loss {np.mean(recent):.4f}  gradient {float(norm):.2f}  "
                  f"{(time.monotonic() - begun) / (step + 1 - start):.2f} s a step", flush=True)
            recent = []
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == STEPS:
            save(checkpoint, state, step + 1)
    return {k: np.asarray(v) for k, v in state[0].items()}


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=here.parent / "target" / "demo",
                        help="where checkpoints go, and where an interrupted run goes on from")
    parser.add_argument("--out", type=pathlib.Path, default=here, help="where the model and its logits go")
    arguments = parser.parse_args()
    for directory in (arguments.work, arguments.out):
        directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_for(arguments.work)
    params = train(arguments.work, tokenizer)

    # From here on only the exported file counts: it is read back, compared and questioned.
    file = arguments.out / "spindle-demo.gguf"
    write_gguf(file, Config(), params, tokenizer, CONTEXT)
    model = read_gguf(file)
    difference = write_logits(arguments.out / "logits.json", *model)
    print(f"logits: step by step and whole differ by {difference:.1e} at most")
    wrong = evaluate.shown(model)
    evaluate.held_out(model)
    if wrong or difference > 5e-4:
        sys.exit(f"{file}: {wrong} of the shown questions answered wrongly")


if __name__ == "__main__":
    main()
