"""Little stories from a grammar: a hero, a place, something missing or feared, a helper, a good end.

* Hero and name recur in nearly every sentence, so that a model of this size keeps to the animal it was asked about.
* The choices are independent of each other: greedy decoding follows one path, sampling finds all the others.
"""

from facts import NAMES

ANIMALS = ["cat", "dog", "mouse", "bird", "frog", "rabbit", "fox", "bear", "duck", "horse", "pig", "cow", "sheep",
           "owl",
           "lion", "elephant", "fish", "turtle", "bee", "hedgehog", "dragon", "squirrel", "penguin", "snail",
           "monkey"]
OTHERS = ["robot", "boy", "girl", "king", "queen", "wizard", "farmer", "baker", "sailor", "train", "star", "tree",
          "boat",
          "snowman", "teddy bear", "spindle", "giant", "pirate", "princess", "little cloud"]
HEROES = ANIMALS + OTHERS
PLACES = ["in a small house", "in a green forest", "by the sea", "on a farm", "in a big city", "near a river",
          "on a high hill", "in a quiet garden", "in an old castle", "under a tall tree"]
ADJECTIVES = ["little", "small", "kind", "brave", "happy", "old", "young", "clever", "shy", "curious"]
THINGS = ["a red ball", "a blue hat", "a golden key", "a shiny stone", "a warm scarf", "a big book", "a sweet apple",
          "a yellow flower", "a silver bell", "a round drum"]
WEATHER = ["It was a sunny day.", "It was raining.", "The wind was cold.", "The snow was deep.", "The sky was blue.",
           "It was a quiet morning."]
FEARS = ["the dark", "the deep water", "the big storm", "the high wall", "the loud thunder"]
ENDINGS = ["They were friends from that day on.", "They laughed and went home together.",
           "And they lived happily ever after.", "That night {he} slept very well.", "Everybody was happy.",
           "It was the best day of all."]


def pronoun(hero, rng):
    if hero in ("boy", "king", "wizard", "farmer", "baker", "sailor", "pirate", "giant"):
        return "he"
    if hero in ("girl", "queen", "princess"):
        return "she"
    return rng.choice(["he", "she"])


def story(rng, hero=None, name=None):
    """One story of 50 to 110 words about `hero`."""
    hero = hero or rng.choice(HEROES)
    he = pronoun(hero, rng)
    name = name or rng.choice(NAMES)
    friend = rng.choice([a for a in ANIMALS if a != hero])
    adjective, place, thing = rng.choice(ADJECTIVES), rng.choice(PLACES), rng.choice(THINGS)
    if adjective == "little" and hero.startswith("little"):
        adjective = "kind"
    article = "an" if adjective[0] in "aeiou" else "a"
    the_thing = "the " + thing.split(" ", 1)[1]
    a_friend = ("an " if friend[0] in "aeiou" else "a ") + friend
    lines = [rng.choice([
        f"Once upon a time there was {article} {adjective} {hero} named {name}. {name} lived {place}.",
        f"Once upon a time, {article} {adjective} {hero} named {name} lived {place}.",
    ])]
    plot = rng.choice(["lost", "fear", "gift", "race"])
    if plot == "lost":
        lines += [rng.choice(WEATHER),
                  f"One day {name} lost {thing}. The {hero} looked everywhere, but {the_thing} was gone.",
                  f"Then {name} met {a_friend}. \"Why are you sad?\" asked the {friend}. \"I lost {the_thing},\" said the {hero}.",
                  f"They looked together, and the {friend} found {the_thing} {rng.choice(['under a leaf', 'behind a stone', 'in the grass', 'near the door'])}.",
                  f"\"Thank you!\" said {name}."]
    elif plot == "fear":
        fear = rng.choice(FEARS)
        lines += [f"The {hero} was afraid of {fear}.",
                  f"One evening {name} heard {rng.choice(['a small voice', 'a cry', 'somebody call'])}. It was {a_friend} who could not get home.",
                  f"{name} was still afraid of {fear}, but {he} went out to help.",
                  f"\"You are very brave,\" said the {friend}. The {hero} smiled, because {he} was not afraid any more."]
    elif plot == "gift":
        lines += [f"One day the {hero} found {thing}. \"This is beautiful,\" said {name}.",
                  f"On the way home {he} met {a_friend} who had nothing at all. {name} thought for a while.",
                  f"Then the {hero} gave {the_thing} to the {friend}.",
                  f"The {friend} danced with joy, and {name} was happy, too."]
    else:
        lines += [rng.choice(WEATHER),
                  f"The {hero} wanted to race with {a_friend}. \"I am faster than you,\" said the {friend}.",
                  f"They ran and ran. Then the {friend} fell down, and {name} stopped to help.",
                  f"\"You could have won,\" said the {friend}. \"A friend is better than a prize,\" said the {hero}."]
    lines.append(rng.choice(ENDINGS).format(he=he))
    return " ".join(lines)
