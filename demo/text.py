"""The tokenizer and the chat format: how a document of the corpus becomes token ids with a loss weight each.

* Byte-level BPE with GPT-2's pre-tokenizer, so GGUF's `tokenizer.ggml.model = gpt2`, `pre = gpt-2` describe it.
* Special tokens come last: the 256 bytes and the merges keep the ids that BPE gave them.
* Every text ends with <|im_end|>, chat turn or plain text: an engine needs to know one end token only.
"""

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [PAD, START, END]

# Loss weight of text the model is not asked to write: enough to learn words by, too little to spend capacity on.
OTHER_WEIGHT = 0.05

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts, vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab - len(SPECIAL),
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def document_text(document):
    """The document without special tokens, for the tokenizer's training."""
    if "text" in document:
        return document["text"]
    return "\n".join(part for question, answer, _ in document["turns"] for part in ("user", question, "assistant",
                                                                                    answer, "system"))


def segments(document):
    """[(text, loss weight)] in the order the model reads them; special tokens are written out."""
    if "text" in document:
        return [(document["text"] + END, 1.0)]
    parts = [(f"{START}system\n{document['system']}{END}\n", OTHER_WEIGHT)] if document["system"] else []
    for question, answer, _ in document["turns"]:
        parts.append((f"{START}user\n{question}{END}\n{START}assistant\n", OTHER_WEIGHT))
        parts.append((answer + END, 1.0))
        parts.append(("\n", OTHER_WEIGHT))
    return parts


def encode_document(tokenizer, document, length_max):
    """(ids, weights) of at most `length_max` tokens; a chat is cut after the last turn that fits."""
    ids, weights, good = [], [], 0
    for text, weight in segments(document):
        part = tokenizer.encode(text).ids
        if len(ids) + len(part) > length_max:
            break
        ids += part
        weights += [weight] * len(part)
        if weight == 1.0:
            good = len(ids)
    return ids[:good], weights[:good]


def prompt_ids(tokenizer, question, system=None):
    """A one-turn chat up to where the assistant speaks."""
    head = f"{START}system\n{system}{END}\n" if system else ""
    return tokenizer.encode(f"{head}{START}user\n{question}{END}\n{START}assistant\n").ids


def pack(tokenizer, documents, rows, length):
    """Fills a batch with documents: ids, targets, weights, document numbers, each [rows, length]."""
    pad = tokenizer.token_to_id(PAD)
    ids = np.full((rows, length), pad, np.int32)
    targets = np.full((rows, length), pad, np.int32)
    weights = np.zeros((rows, length), np.float32)
    numbers = np.zeros((rows, length), np.int32)  # 0: padding
    fill, count = [0] * rows, 0
    misses = 0
    while misses < 8:
        part, loss = encode_document(tokenizer, next(documents), length + 1)
        row = next((r for r in range(rows) if fill[r] + len(part) - 1 <= length), None)
        if row is None or len(part) < 2:
            misses += 1
            continue
        count += 1
        start, end = fill[row], fill[row] + len(part) - 1
        ids[row, start:end], targets[row, start:end] = part[:-1], part[1:]
        weights[row, start:end], numbers[row, start:end] = loss[1:], count
        fill[row] = end
    return ids, targets, weights, numbers
