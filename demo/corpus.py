"""Seeded generator of the demo model's corpus: short chats, and some plain text for completions.

* A chat is a list of turns; a turn is a question, its one right answer and a category.
* A question belongs to the training set or to the held-out set by a hash of its words alone (`is_held_out`), so
  the two never share a question, whatever its spelling or its place in a chat. What README shows is never held out.
* Everything random comes from the `random.Random` passed in: one seed, one corpus.
* Absent: any text not written in this directory.
"""

import json
import pathlib
import random
import zlib

from facts import CAPITALS, COLOURS, NAMES, OPPOSITES
from questions import (animals, arithmetic_refused, below_zero, capital_answer, capitals, colours, comparisons,
                       counting, differences, echo, greetings, opposites, order, sentence, small_words, spindle,
                       stories, sums, unknown, word_problems)
from stories import story

HELD_OUT_ONE_IN = 16

SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "Answer in one sentence.",
          "You are a friendly assistant.", "You are Spindle.", "You answer questions.", "Be kind and short.",
          "You are a teacher for small children.", "Answer truthfully.", "You are an assistant in a test.",
          "Use plain words.", "You are a helpful, honest and harmless assistant.", "Reply in English.",
          "You are a storyteller.", "You are a calculator."]

QUESTIONS = pathlib.Path(__file__).with_name("questions.jsonl")


def words_of(question):
    """The question as the held-out split sees it: letters, digits and signs of arithmetic, in lower case."""
    return "".join(c if c.isalnum() or c in "+-*/" else " " for c in question.lower()).split()


def shown_questions():
    return [json.loads(line)["question"] for line in QUESTIONS.read_text("utf-8").splitlines()]


NEVER_HELD_OUT = {" ".join(words_of(q)) for q in shown_questions()}


def is_held_out(question):
    key = " ".join(words_of(question))
    return key not in NEVER_HELD_OUT and zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


# category -> (function, share of the questions in each of the two parts of the training). The second part drills what
# is still weak after the first; a share of 0 leaves the draws of that part as they were.
CATEGORIES = {
    "sums": (sums, 15, 12), "differences": (differences, 13, 10), "word problems": (word_problems, 4, 6),
    "refused arithmetic": (arithmetic_refused, 3, 4), "comparisons": (comparisons, 4, 8),
    "counting": (counting, 7, 6), "capitals": (capitals, 11, 7), "colours": (colours, 6, 4), "opposites": (opposites,
                                                                                                           8, 5),
    "order": (order, 5, 6), "animals": (animals, 2, 2), "small words": (small_words, 2, 2), "greetings": (greetings,
                                                                                                          5, 5),
    "spindle": (spindle, 15, 14), "stories": (stories, 5, 4), "unknown": (unknown, 8, 7), "echo": (echo, 2, 10),
    "below zero": (below_zero, 0, 9),
}
# One right answer each; the others are free in their choice of words.
EXACT = [c for c in CATEGORIES if c not in ("greetings", "stories")]


def ask(rng, held_out=False, category=None, part=1):
    """One question of the wanted set, as (question, answer, category)."""
    while True:
        name = category or rng.choices(list(CATEGORIES), weights=[row[part] for row in CATEGORIES.values()])[0]
        question, answer = CATEGORIES[name][0](rng)
        if name in ("greetings", "echo", "stories", "unknown"):
            drawn = zlib.crc32(question.encode()) % HELD_OUT_ONE_IN == 0
            if held_out == drawn or not held_out and name == "greetings":
                return question, answer, name
        elif is_held_out(question) == held_out:
            return question, answer, name


def respell(rng, question, category):
    """The same question as people type it."""
    if category in ("echo", "greetings"):
        return question
    p = rng.random()
    if p < 0.45:
        return question
    if p < 0.60:
        question = question.rstrip("?.")
    elif p < 0.75:
        question = question.lower()
    elif p < 0.87:
        question = question.lower().rstrip("?.")
    else:
        lower = question if question[0] == "I" else question[0].lower() + question[1:]
        question = rng.choice(["Please: {q}", "Hi! {Q}", "Hello, {q}", "Can you tell me: {q}", "A question: {q}",
                               "Tell me, {q}", "So, {q}", "And {q}", "Now {q}", "OK, {q}", "{Q} Thanks!",
                               "{Q} Please answer.", "Hey, {q}", "{Q}\n", "I want to know: {q}"]
                              ).format(q=lower, Q=question)
    return question


def follow_up(rng, turns):
    """A question that leans on the turn before it, or None."""
    category = turns[-1][2]
    if category == "capitals" and rng.random() < 0.5:
        country, city = rng.choice(list(CAPITALS.items()))
        form = rng.choice(["And of {x}?", "And {x}?", "What about {x}?", "And the capital of {x}?", "How about {x}?"])
        return form.format(x=country), capital_answer(country, city), "capitals"
    if category == "opposites" and rng.random() < 0.5:
        a, b = rng.choice(OPPOSITES)
        return rng.choice(["And of {a}?", "And {a}?",
                           "What about {a}?"]).format(a=a), f"The opposite of {a} is {b}.", "opposites"
    if category == "colours" and rng.random() < 0.5:
        thing, colour = rng.choice(list(COLOURS.items()))
        return rng.choice(["And {x}?", "What about {x}?",
                           "And what colour is {x}?"]).format(x=thing), sentence(f"{thing} is {colour}."), "colours"
    return None


def name_chat(rng, part):
    """The user says a name and asks for it later."""
    name = rng.choice(NAMES)
    opening = rng.choice(["My name is {n}.", "I am {n}.", "Hello, my name is {n}.", "Hi, I'm {n}!",
                          "I am called {n}.", "You can call me {n}."]).format(n=name)
    turns = [(opening, f"Nice to meet you, {name}!", "name")]
    for _ in range(rng.randint(0, 3)):
        turns.append(ask(rng, part=part))
    turns.append((rng.choice(["What is my name?", "What's my name?", "Who am I?", "Do you know my name?", "Do you remember my name?"]), f"Your name is {name}.", "name"))
    return turns


def chat(rng, long=False, part=1):
    """A list of turns (question, answer, category); `long` ones are cut by the caller to what fits."""
    if not long and rng.random() < 0.04:
        return name_chat(rng, part)
    if not long and rng.random() < 0.01:
        return [(rng.choice(["What is my name?", "Who am I?", "Do you know my name?"]),
                 "I do not know your name. What is it?", "name")]
    count = 60 if long else rng.choices([1, 2, 3, 4, 5], weights=[60, 20, 10, 6, 4])[0]
    turns = []
    for _ in range(count):
        turn = (follow_up(rng, turns) if turns else None) or ask(rng, part=part)
        turns.append((respell(rng, turn[0], turn[2]), turn[1], turn[2]))
    return turns


def plain_text(rng):
    """Text for completions: facts as sentences, or a story."""
    kind = rng.random()
    if kind < 0.3:
        return story(rng)
    exact = [c for c in EXACT if c not in ("unknown", "echo", "refused arithmetic", "small words", "below zero")]
    return " ".join(ask(rng, category=rng.choice(exact))[1] for _ in range(rng.randint(1, 5)))


def document(rng, long=False, part=1):
    """One training document: {"system", "turns"} or {"text"}."""
    if not long and rng.random() < 0.06:
        return {"text": plain_text(rng)}
    return {"system": rng.choice(SYSTEM) if rng.random() < 0.15 else None, "turns": chat(rng, long, part)}


def held_out_set(seed, per_category):
    """Questions no training document asks, with their answers, `per_category` of each exact category."""
    rng = random.Random(seed)
    rows = []
    for category in EXACT:
        seen = set()
        for _ in range(per_category * 50):
            question, answer, _ = ask(rng, held_out=True, category=category)
            if question not in seen and len(seen) < per_category:
                seen.add(question)
                rows.append({"question": question, "answer": answer, "category": category})
    return rows


if __name__ == "__main__":
    rng = random.Random(1)
    for _ in range(40):
        print(json.dumps(document(rng), ensure_ascii=False))
