"""Asks an exported file its questions, greedily, and says how many answers are right.

* The shown questions (`questions.jsonl`) must all be right: the exit code says so.
* The held-out questions come from the corpus generator with a seed of their own; training never saw their wording.
* An answer is right when it equals the expected text and ends by itself.

Run: python evaluate.py [FILE]
"""

import collections
import json
import pathlib
import random
import sys

import corpus
import text
from export import read_gguf
from model import Session

HELD_OUT_SEED = 77
PER_CATEGORY = 40
TOKENS_MAX = 200


def answer(model, prompt):
    """(text, ended by itself) of a greedy answer to the token ids `prompt`."""
    config, params, tokenizer = model
    end, session, out, feed = tokenizer.token_to_id(text.END), Session(config, params), [], prompt
    while len(out) < TOKENS_MAX:
        token = int(session.feed(feed)[-1].argmax())
        if token == end:
            return tokenizer.decode(out), True
        out.append(token)
        feed = [token]
    return tokenizer.decode(out), False


def ask(model, question, system=None):
    return answer(model, text.prompt_ids(model[2], question, system))


def shown(model):
    """Asks what README shows; returns the number of wrong answers."""
    wrong = 0
    for line in corpus.QUESTIONS.read_text("utf-8").splitlines():
        row = json.loads(line)
        said, ended = ask(model, row["question"])
        right = ended and all(part in said for part in row["must_contain"])
        wrong += not right
        print(f"{'ok   ' if right else 'WRONG'}  {row['question']}  ->  {said}{'' if ended else ' [no end]'}",
              flush=True)
    return wrong


def held_out(model):
    """Prints the share of right answers by category, and every wrong one."""
    right, count = collections.Counter(), collections.Counter()
    rows = corpus.held_out_set(HELD_OUT_SEED, PER_CATEGORY)
    rng = random.Random(HELD_OUT_SEED)
    for row in rows:
        question = corpus.respell(rng, row["question"], row["category"])
        said, ended = ask(model, question)
        good = ended and said == row["answer"]
        right[row["category"]] += good
        count[row["category"]] += 1
        if not good:
            print(f"  {row['category']}: {question!r} -> {said!r}", flush=True)
    print("| category | right | of |\n|---|---|---|")
    for category in count:
        print(f"| {category} | {right[category]} | {count[category]} |")
    print(f"| all | {right.total()} | {count.total()} |", flush=True)


def main():
    here = pathlib.Path(__file__).parent
    model = read_gguf(sys.argv[1] if len(sys.argv) > 1 else here / "spindle-demo.gguf")
    wrong = shown(model)
    held_out(model)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
