"""The exported model: writing it as GGUF, reading that file back, and the logits others are compared with.

* Matrices are rounded to F16 once, here; norms stay F32. Whatever checks the model reads the file, not the trainer's
  weights.
* The tokenizer read back is built from the file's own tokens and merges.
* Absent: quantized types; a separate output matrix (it is the embedding).
"""

import json
from dataclasses import replace

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import text
from model import Config, Session, forward

LOGIT_UNIT = 1e-4  # logits are stored as integers of this unit: a rounding of 5e-5, far below the 1e-3 they are held to
PREFILL_POSITIONS, STEPS = 4, 8
MARGIN_MIN = 0.01  # a greedy choice closer than this is no fact about the model; the steps end before it


def write_gguf(path, config, params, tokenizer, context):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("spindle-demo")
    writer.add_description("The demo model of Spindle, trained on a corpus that Spindle generates")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_vocab_size(config.vocab)
    bpe = json.loads(tokenizer.to_str())["model"]
    tokens = [tokenizer.id_to_token(i) for i in range(config.vocab)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in text.SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_eos_token_id(tokenizer.token_to_id(text.END))
    writer.add_pad_token_id(tokenizer.token_to_id(text.PAD))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(text.CHAT_TEMPLATE)
    for name, weight in params.items():
        writer.add_tensor(name, weight.astype(np.float16 if weight.ndim == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path):
    """(config, float32 weights, tokenizer) of an exported file."""
    reader = gguf.GGUFReader(str(path))

    def field(name):
        return reader.fields[name].contents()

    config = replace(Config(), vocab=len(field("tokenizer.ggml.tokens")), width=field("llama.embedding_length"),
                     layers=field("llama.block_count"), heads=field("llama.attention.head_count"),
                     kv_heads=field("llama.attention.head_count_kv"), head_dim=field("llama.rope.dimension_count"),
                     ffn=field("llama.feed_forward_length"), norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
                     rope_base=field("llama.rope.freq_base"))
    params = {t.name: np.array(t.data, dtype=np.float32) for t in reader.tensors}
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(text.SPECIAL)
    return config, params, tokenizer


def chat_text(turns, system=None):
    """Messages as the chat template writes them; an odd number of `turns` ends with the user's."""
    out = f"{text.START}system\n{system}{text.END}\n" if system else ""
    for i, message in enumerate(turns):
        out += f"{text.START}{'assistant' if i % 2 else 'user'}\n{message}{text.END}\n"
    return out + f"{text.START}assistant\n"


LONG_CHAT = ["What is Spindle?",
             "Spindle is an OpenAI-compatible server for language models. It is made of WebAssembly components.",
             "My name is Anna.", "Nice to meet you, Anna!", "What is 12 plus 7?", "12 plus 7 is 19.",
             "Count from 1 to 12.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.", "What is the opposite of loud?",
             "The opposite of loud is quiet."]
PROMPTS = {
    "plain text": "Once upon a time",
    "one word": chat_text(["Hello!"]),
    "a fact": chat_text(["What is the capital of Italy?"]),
    "with a system message": chat_text(["What is 13 minus 4?"], "You are a helpful assistant."),
    "beyond ASCII": chat_text(["Say: Grüße, 你好 🙂"]),
    "a story": chat_text(["Tell me a story about a bird."]),
    "a long chat": chat_text([*LONG_CHAT, "What colour is snow?"]),
    "a chat of several hundred tokens": chat_text([*(LONG_CHAT * 3), "How many days are in a week?"]),
}


def write_logits(path, config, params, tokenizer):
    """Logits of PROMPTS in float32: the last positions of the prefill, then some greedy steps. Returns the largest
    difference between the step-by-step and the whole-sequence computation."""
    end = tokenizer.token_to_id(text.END)
    rows, difference = [], 0.0
    for name, prompt in PROMPTS.items():
        ids = tokenizer.encode(prompt).ids
        session = Session(config, params)
        logits = session.feed(ids)
        first = max(0, len(ids) - PREFILL_POSITIONS)
        seen = [*logits[first:]]
        row = {"name": name, "text": prompt, "ids": ids, "prefill_from": first, "prefill": [units(x) for x in seen],
               "greedy": [], "steps": []}
        while len(row["greedy"]) < STEPS:
            best = np.sort(seen[-1])[-2:]
            token = int(seen[-1].argmax())
            if token == end or best[1] - best[0] < MARGIN_MIN:
                break
            seen.append(session.feed([token])[0])
            row["greedy"].append(token)
            row["steps"].append(units(seen[-1]))
        rows.append(row)
        whole = np.array(ids + row["greedy"])[None]
        again = np.asarray(forward(config, params, whole, np.ones_like(whole)))[0, first:]
        difference = max(difference, float(np.abs(again - np.array(seen)).max()))
    body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    path.write_text(f'{{"logit_unit":{LOGIT_UNIT},"vocab":{config.vocab},"prompts":[\n{body}\n]}}\n', "utf-8")
    return difference


def units(logits):
    return np.rint(logits / LOGIT_UNIT).astype(int).tolist()
