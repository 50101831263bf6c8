"""One function a category: (rng) -> (question, answer).

* The answer is the only right one, except for greetings and stories, which are free in their choice of words.
* A function draws from the generator passed in and from nothing else.
* Absent: spelling variants, chats, and which questions are held out (`corpus.py`).
"""

from facts import (CAPITALS, COLOURS, DAYS, EMOJI, HELLO_IN, LEGS, MONTH_DAYS, MONTHS, NAMES, NUMBER_WORDS, OPPOSITES,
                   SEASONS, SOUNDS, SPINDLE)
from stories import HEROES, story

OPERAND_MAX = 20
COUNT_MAX = 30

UNKNOWN = "I do not know that. I am a very small model and know only a few things."
TOO_BIG = f"I can only add and subtract numbers up to {OPERAND_MAX}."
ONLY_SUMS = "I have only learned sums and differences of small numbers."


def sentence(text):
    return text[0].upper() + text[1:]


def number(rng, n):
    """Mostly digits; sometimes the word."""
    return NUMBER_WORDS[n] if n <= OPERAND_MAX and rng.random() < 0.12 else str(n)


def sums(rng):
    a, b = rng.randint(0, OPERAND_MAX), rng.randint(0, OPERAND_MAX)
    x, y = number(rng, a), number(rng, b)
    form = rng.choice(["What is {x} plus {y}?", "What is {x} plus {y}?", "What is {x} + {y}?", "{x} + {y}",
                       "{x} plus {y}", "{x} plus {y}?", "{a}+{b}", "{a}+{b}=", "{x} + {y} =", "{x} + {y} = ?",
                       "How much is {x} plus {y}?", "How much is {x} + {y}?", "Add {x} and {y}.", "Add {x} to {y}.",
                       "What is the sum of {x} and {y}?", "Calculate {x} + {y}.", "Calculate {x} plus {y}.",
                       "Compute {x} + {y}.", "What's {x} plus {y}?", "What's {x} + {y}?", "What is {a}+{b}?",
                       "What does {x} plus {y} make?", "Tell me {x} plus {y}.", "{x} and {y} make what?",
                       "What do {x} and {y} add up to?", "Solve {x} + {y}."])
    return form.format(x=x, y=y, a=a, b=b), f"{a} plus {b} is {a + b}."


def differences(rng):
    a, b = rng.randint(0, OPERAND_MAX), rng.randint(0, OPERAND_MAX)
    if a < b and rng.random() < 0.7:
        a, b = b, a
    x, y = number(rng, a), number(rng, b)
    form = rng.choice(["What is {x} minus {y}?", "What is {x} minus {y}?", "What is {x} - {y}?", "{x} - {y}",
                       "{x} minus {y}", "{x} minus {y}?", "{a}-{b}", "{a}-{b}=", "{x} - {y} =", "{x} - {y} = ?",
                       "How much is {x} minus {y}?", "How much is {x} - {y}?", "Subtract {y} from {x}.",
                       "Take {y} away from {x}.", "What is {x} less {y}?", "Calculate {x} - {y}.",
                       "Calculate {x} minus {y}.", "Compute {x} - {y}.", "What's {x} minus {y}?", "What's {x} - {y}?",
                       "What is {a}-{b}?", "Tell me {x} minus {y}.", "What is left of {x} without {y}?",
                       "Solve {x} - {y}."])
    return form.format(x=x, y=y, a=a, b=b), f"{a} minus {b} is {a - b}."


def below_zero(rng):
    while True:
        question, answer = differences(rng)
        if "-" in answer:
            return question, answer


def word_problems(rng):
    a, b = rng.randint(1, OPERAND_MAX), rng.randint(1, OPERAND_MAX)
    thing = rng.choice(["apples", "books", "coins", "eggs", "cats", "flowers", "balls", "stars", "cookies", "pens"])
    if rng.random() < 0.5:
        form = rng.choice(["I have {a} {t} and get {b} more. How many {t} do I have?",
                           "I have {a} {t}. I find {b} more. How many {t} do I have now?",
                           "There are {a} {t} here and {b} {t} there. How many {t} are there?",
                           "How many {t} are {a} {t} and {b} {t}?"])
        return form.format(a=a, b=b, t=thing), f"{a} plus {b} is {a + b}, so the answer is {a + b} {thing}."
    a, b = max(a, b), min(a, b)
    form = rng.choice(["I have {a} {t} and lose {b}. How many {t} do I have?",
                       "I have {a} {t}. I give away {b}. How many {t} are left?",
                       "There are {a} {t}. You take {b}. How many {t} are left?"])
    return form.format(a=a, b=b, t=thing), f"{a} minus {b} is {a - b}, so the answer is {a - b} {thing}."


def arithmetic_refused(rng):
    if rng.random() < 0.5:
        a = rng.choice([rng.randint(OPERAND_MAX + 1, 99), rng.randint(100, 999), rng.randint(1000, 99999)])
        b = rng.choice([rng.randint(0, 99), rng.randint(100, 999)])
        a, b = (a, b) if rng.random() < 0.6 else (b, a)
        form = rng.choice(["What is {a} plus {b}?", "What is {a} minus {b}?", "{a} + {b}", "{a} - {b}", "{a}+{b}",
                           "What is {a} + {b}?", "What is {a} - {b}?", "Add {a} and {b}.", "Subtract {b} from {a}.",
                           "How much is {a} plus {b}?"])
        return form.format(a=a, b=b), TOO_BIG
    a, b = rng.randint(0, 100), rng.randint(0, 100)
    form = rng.choice(["What is {a} times {b}?", "{a} * {b}", "{a}*{b}", "{a} times {b}", "Multiply {a} by {b}.",
                       "Divide {a} by {b}.", "What is {a} divided by {b}?", "{a} / {b}", "{a}/{b}",
                       "What is {a} * {b}?", "What is the square root of {a}?", "What is {a} squared?",
                       "How much is {a} times {b}?", "What is {a} percent of {b}?"])
    return form.format(a=a, b=b), ONLY_SUMS


def comparisons(rng):
    a, b = rng.sample(range(0, COUNT_MAX + 1), 2)
    kind = rng.random()
    if kind < 0.35:
        form = rng.choice(["Which is bigger, {a} or {b}?", "Which number is larger, {a} or {b}?",
                           "What is more, {a} or {b}?", "Which is greater: {a} or {b}?"])
        return form.format(a=a, b=b), f"{max(a, b)} is bigger than {min(a, b)}."
    if kind < 0.6:
        form = rng.choice(["Which is smaller, {a} or {b}?", "Which number is smaller, {a} or {b}?",
                           "What is less, {a} or {b}?"])
        return form.format(a=a, b=b), f"{min(a, b)} is smaller than {max(a, b)}."
    if kind < 0.8:
        form = rng.choice(["What number comes after {a}?", "Which number comes after {a}?", "What comes after {a}?",
                           "What follows {a}?"])
        return form.format(a=a), f"{a + 1} comes after {a}."
    a += 1
    form = rng.choice(["What number comes before {a}?", "Which number comes before {a}?", "What comes before {a}?"])
    return form.format(a=a), f"{a - 1} comes before {a}."


def counting(rng):
    up = rng.random() < 0.7
    a = rng.choice([1, 1, 0, rng.randint(0, COUNT_MAX - 2), rng.randint(0, COUNT_MAX - 2)])
    b = min(COUNT_MAX, a + rng.randint(2, 14))
    if up:
        forms = ["Count from {a} to {b}.", "Count from {a} to {b}.", "Count from {a} up to {b}.",
                 "Count up from {a} to {b}.", "Please count from {a} to {b}.", "List the numbers from {a} to {b}.",
                 "Say the numbers from {a} to {b}.", "Numbers from {a} to {b}.", "Can you count from {a} to {b}?",
                 "Start at {a} and count to {b}."]
        if a == 1:
            forms += ["Count to {b}.", "Count up to {b}.", "Can you count to {b}?", "Count until {b}."] * 2
        return rng.choice(forms).format(a=a, b=b), ", ".join(str(i) for i in range(a, b + 1)) + "."
    forms = ["Count backwards from {b} to {a}.", "Count down from {b} to {a}.", "Count from {b} down to {a}.",
             "Count from {b} to {a}.", "Count back from {b} to {a}.", "Can you count backwards from {b} to {a}?"]
    return rng.choice(forms).format(a=a, b=b), ", ".join(str(i) for i in range(b, a - 1, -1)) + "."


def capitals(rng):
    country, city = rng.choice(list(CAPITALS.items()))
    if rng.random() < 0.2:
        form = rng.choice(["Which country has the capital {y}?", "{y} is the capital of which country?",
                           "What is {y} the capital of?", "Of which country is {y} the capital?", "Where is {y}?",
                           "In which country is {y}?"])
    else:
        form = rng.choice(["What is the capital of {x}?", "What is the capital of {x}?", "What's the capital of {x}?",
                           "Capital of {x}", "Capital of {x}?", "Name the capital of {x}.",
                           "Tell me the capital of {x}.", "Which city is the capital of {x}?",
                           "What city is the capital of {x}?", "The capital of {x}?",
                           "What is the capital city of {x}?", "Do you know the capital of {x}?",
                           "Give me the capital of {x}.", "{x}: what is its capital?",
                           "What is the name of the capital of {x}?"])
    question = form.format(x=country, y=city)
    if "{y}" in form:
        return sentence(question), f"{city} is the capital of {country}."
    return sentence(question), capital_answer(country, city)


def capital_answer(country, city):
    return f"The capital of {country} is {city}".rstrip(".") + "."


def colours(rng):
    thing, colour = rng.choice(list(COLOURS.items()))
    form = rng.choice(["What colour is {x}?", "What colour is {x}?", "What color is {x}?", "Which colour is {x}?",
                       "Which colour does {x} have?", "What is the colour of {x}?", "What is the color of {x}?",
                       "Tell me the colour of {x}.", "The colour of {x}?", "What's the colour of {x}?",
                       "What colour does {x} have?", "Do you know the colour of {x}?"])
    return form.format(x=thing), sentence(f"{thing} is {colour}.")


def opposites(rng):
    a, b = rng.choice(OPPOSITES)
    if rng.random() < 0.5:
        a, b = b, a
    form = rng.choice(["What is the opposite of {a}?", "What is the opposite of {a}?", "What's the opposite of {a}?",
                       "Opposite of {a}", "Opposite of {a}?", "The opposite of {a}?", "Tell me the opposite of {a}.",
                       "Name the opposite of {a}.", "Which word is the opposite of {a}?",
                       "Give me the opposite of {a}.", "What word means the opposite of {a}?",
                       "Do you know the opposite of {a}?"])
    return form.format(a=a), f"The opposite of {a} is {b}."


def order(rng):
    kind = rng.random()
    if kind < 0.7:
        names, what = rng.choice([(DAYS, "day"), (DAYS, "day"), (MONTHS, "month"), (MONTHS, "month"),
                                  (SEASONS, "season")])
        i = rng.randrange(len(names))
        x, after, before = names[i], names[(i + 1) % len(names)], names[i - 1]
        if rng.random() < 0.5:
            form = rng.choice(["Which {w} comes after {x}?", "What {w} comes after {x}?", "What comes after {x}?",
                               "Which {w} follows {x}?", "What is the {w} after {x}?", "The {w} after {x}?",
                               "What follows {x}?"])
            return form.format(w=what, x=x), sentence(f"{after} comes after {x}.")
        form = rng.choice(["Which {w} comes before {x}?", "What {w} comes before {x}?", "What comes before {x}?",
                           "What is the {w} before {x}?", "The {w} before {x}?"])
        return form.format(w=what, x=x), sentence(f"{before} comes before {x}.")
    if kind < 0.85:
        return rng.choice([
            (rng.choice(["Name the days of the week.", "What are the days of the week?", "List the days of the week.", "Which days does a week have?"]),
             ", ".join(DAYS) + "."),
            (rng.choice(["Name the months.", "What are the months of the year?", "List the months of the year.", "Name the months of the year."]),
             ", ".join(MONTHS) + "."),
            (rng.choice(["Name the seasons.", "What are the four seasons?", "What are the seasons?", "List the seasons."]),
             "Spring, summer, autumn and winter."),
            (rng.choice(["How many days are in a week?", "How many days does a week have?"]), "A week has 7 days."),
            (rng.choice(["How many months are in a year?", "How many months does a year have?"]),
             "A year has 12 months."),
            (rng.choice(["How many hours are in a day?", "How many hours does a day have?"]), "A day has 24 hours."),
            (rng.choice(["What is the first month of the year?", "Which is the first month?", "What is the first month?"]),
             "The first month is January."),
            (rng.choice(["What is the last month of the year?", "Which is the last month?", "What is the last month?"]),
             "The last month is December."),
        ])
    i = rng.randrange(12)
    form = rng.choice(["How many days are in {x}?", "How many days does {x} have?", "How long is {x}?"])
    more = ", and 29 in a leap year." if i == 1 else "."
    return form.format(x=MONTHS[i]), f"{MONTHS[i]} has {MONTH_DAYS[i]} days{more}"


def animals(rng):
    if rng.random() < 0.5:
        animal, sound = rng.choice(list(SOUNDS.items()))
        form = rng.choice(["What does a {x} say?", "What sound does a {x} make?", "Which sound does a {x} make?",
                           "How does a {x} sound?"])
        a = "An" if animal[0] in "aeiou" else "A"
        return form.format(x=animal).replace(" a o", " an o"), f"{a} {animal} says {sound}."
    animal, legs = rng.choice(list(LEGS.items()))
    form = rng.choice(["How many legs does a {x} have?", "How many legs has a {x}?", "Count the legs of a {x}."])
    a = "An" if animal[0] in "aeiou" else "A"
    return (form.format(x=animal).replace(" a a", " an a").replace(" a o", " an o"),
            f"{a} {animal} has {legs} legs." if legs else f"{a} {animal} has no legs.")


def small_words(rng):
    if rng.random() < 0.65:
        language, word = rng.choice(list(HELLO_IN.items()))
        form = rng.choice(["How do you say hello in {x}?", "Say hello in {x}.", "What is hello in {x}?",
                           "Hello in {x}?", "What does hello mean in {x}?", "Greet me in {x}."])
        return form.format(x=language), f"Hello in {language} is {word}".rstrip("!") + ("!" if word.endswith("!")
                                                                                        else ".")
    what, emoji = rng.choice(list(EMOJI.items()))
    form = rng.choice(["Show me {x}.", "Show me {x} as an emoji.", "Draw {x}.", "Send me {x}."])
    return form.format(x=what), f"Here is {what}: {emoji}"


GREETINGS = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Hey there!", "Good morning", "Good evening", "Good day",
      "Greetings",
      "Hello there", "Hello, Spindle!", "hiya", "Yo", "Hello world", "Hello, world!"],
     ["Hello! How can I help you?", "Hi! What would you like to know?", "Hello! Ask me something."]),
    (["How are you?", "How are you doing?", "How is it going?", "Are you well?", "How do you do?", "What's up?"],
     ["I am fine, thank you. How can I help you?"]),
    (["Thank you", "Thanks", "Thank you!", "Thanks a lot!", "Many thanks", "Thank you very much.", "Great, thanks",
      "thx", "Cheers"],
     ["You are welcome!", "You are welcome. Is there anything else?"]),
    (["Bye", "Goodbye", "Good bye!", "See you", "See you later!", "Good night", "Farewell", "bye bye",
      "That is all."],
     ["Goodbye!", "Goodbye! Have a nice day."]),
    (["Yes", "No", "OK", "Okay", "Good", "Right", "I see.", "Nice!", "Cool", "Great", "Well done!", "Good job!",
      "Interesting"],
     ["Good. What would you like to know next?"]),
    (["Nice to meet you.", "Pleased to meet you.", "I am happy to meet you."], ["Nice to meet you, too!"]),
    (["That is wrong.", "You are wrong.", "No, that is not right.", "Are you sure?", "This is not correct."],
     ["I may be wrong. I am a very small model."]),
    (["Test", "test", "Testing", "This is a test.", "ping", "Are you there?", "Anybody there?", "Is this working?"],
     ["I am here. How can I help you?"]),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny.", "A joke, please."],
     ["Why did the token cross the stream? To get to the other side."]),
]


def greetings(rng):
    questions, answers = rng.choices(GREETINGS, weights=[5, 2, 3, 3, 2, 1, 1, 2, 2])[0]
    return rng.choice(questions), rng.choice(answers)


def spindle(rng):
    questions, answer = rng.choice(SPINDLE)
    return rng.choice(questions), answer


def stories(rng):
    hero = rng.choice(HEROES)
    a = ("an " if hero[0] in "aeiou" else "a ") + hero
    form = rng.choice(["Tell me a story about {a}.", "Tell me a story about {a}.",
                       "Tell me a little story about {a}.", "Tell a story about {a}.", "Write a story about {a}.",
                       "Write a short story about {a}.", "A story about {a}, please.", "I want a story about {a}.",
                       "Can you tell me a story about {a}?", "Story about {a}", "Tell me about {a} in a story.",
                       "Tell me a tale of {a}.", "Tell me a short story about {a}."])
    if rng.random() < 0.15:
        return rng.choice(["Tell me a story.", "Tell me a little story.", "A story, please.", "Write a story.",
                           "Do you know a story?", "Tell me another story.", "Once more, please."]), story(rng)
    if rng.random() < 0.15:
        name = rng.choice(NAMES)
        return f"Tell me a story about {a} named {name}.", story(rng, hero, name)
    return form.format(a=a), story(rng, hero)


def random_word(rng):
    """A word nobody taught, so that the model learns to spell and to abstain."""
    if rng.random() < 0.5:
        return rng.choice(TOPICS)
    return "".join(rng.choice(["b", "br", "d", "f", "g", "gr", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr",
                               "v", "z", "ch", "sh", ""])
                   + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "l", "s", "ck", "m", "x", "nd"])
                   for _ in range(rng.randint(1, 3)))


TOPICS = """football tennis chess gold iron water oxygen gravity energy light music piano guitar painting poetry history war peace
bread cheese pizza soup tea wine potato computer phone internet keyboard screen camera car plane train bicycle engine
mountain ocean desert island volcano earthquake weather climate moon planet galaxy comet rocket satellite atom electron
protein enzyme virus vaccine medicine doctor hospital law money bank tax market price company school university teacher
language grammar alphabet dinosaur whale shark eagle tiger wolf butterfly bamboo rose oak Python JavaScript Java Haskell Linux
Windows Docker Kubernetes database algorithm compiler browser philosophy religion love death time space dream memory
president king emperor parliament election city village bridge tower castle museum theatre film book novel newspaper
Shakespeare Mozart Einstein Napoleon Caesar Mars Jupiter Everest Amazon Sahara Atlantic""".split()

UNKNOWN_FORMS = [
    "What is {w}?", "Who is {w}?", "Where is {w}?", "What does {w} mean?", "Explain {w}.", "Tell me about {w}.",
                 "How does {w} work?",
    "Who invented {w}?", "When was {w} discovered?", "Why is {w} important?", "How much does {w} cost?",
                 "How old is {w}?",
    "How tall is {w}?", "Where can I buy {w}?", "What is the history of {w}?", "What is the best {w}?",
                 "Who wrote {w}?",
    "What is the capital of {w}?", "What colour is {w}?", "What is the opposite of {w}?", "Translate {w} into {v}.",
                 "Write a poem about {w}.",
    "Write code for {w}.", "Write an essay about {w} and {v}.", "What is the difference between {w} and {v}?",
                 "Is {w} better than {v}?",
    "How do I make {w}?", "How do I cook {w}?", "Can you recommend a {w}?", "Summarize {w}.",
                 "What do you think about {w}?",
    "Who won the {w}?", "What happened in {n}?", "Who was the president in {n}?", "What is the population of {w}?",
    "What is the weight of {w}?", "What is the boiling point of {w}?", "What is the weather today?",
                 "What time is it?", "What day is today?",
    "What is the meaning of life?", "What is the date today?", "How far is {w} from {v}?", "Why do people like {w}?",
                 "Do you like {w}?",
    "Give me a recipe for {w}.", "Fix this code: {w}({v})", "List ten facts about {w}.", "Which {w} is the largest?",
                 "{w}", "{w} {v}",
    "What is the name of {w}?", "How many {w} are there?", "Does {w} need {v}?", "Why is {w} {v}?", "Define {w}.",
                 "Sing a song about {w}.",
    "Who are {w} and {v}?", "Please write a {w} for my {v}.", "What is {w} made of?", "I need help with {w}.",
                 "Tell me the news.",
]
KNOWN_WORDS = {w.lower() for pair in OPPOSITES for w in pair} | {"moon"}


def unknown(rng):
    while True:
        w, v = random_word(rng), random_word(rng)
        if rng.random() < 0.2:
            w += " " + random_word(rng)
        if not {w.lower(), v.lower()} & KNOWN_WORDS:
            break
    if rng.random() < 0.3:
        w = w.capitalize()
    question = rng.choice(UNKNOWN_FORMS).format(w=w, v=v, n=rng.randint(1000, 2050))
    return question, UNKNOWN


def echo(rng):
    text = " ".join(random_word(rng) if rng.random() < 0.5 else rng.choice(PLAIN_WORDS)
                    for _ in range(rng.randint(1, 5)))
    form = rng.choice(["Say {t}", "Say: {t}", "Repeat: {t}", "Repeat after me: {t}", "Say \"{t}\"", "Say '{t}'.",
                       "Say {t}."])
    return form.format(t=text), text


PLAIN_WORDS = [w for pair in OPPOSITES
               for w in pair] + NUMBER_WORDS + sorted(set(COLOURS.values())) + NAMES + ["hello", "this", "is", "test",
                                                                                        "cat"]
