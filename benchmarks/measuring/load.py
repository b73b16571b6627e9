"""The load: real questions and texts of different lengths, answers of different lengths."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Who wrote Don Quixote, and when?",
    "Name three rivers in Africa.",
    "How do I boil an egg so that the yolk stays soft?",
    "Explain in a few paragraphs how a bicycle stays upright.",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "What is the difference between weather and climate? Give examples of each.",
    "List ten ideas for a rainy Sunday with two small children.",
    "How does a refrigerator move heat from the inside to the outside?",
    "Write a polite e-mail to a neighbour whose dog barks at night.",
    "Describe the water cycle to a ten-year-old.",
    "Give me a recipe for lentil soup, with quantities for four people.",
    "What happened in the year 1969 that people still talk about?",
    "Write a Python function that returns the n-th Fibonacci number, and explain each line.",
    "What are the advantages and the disadvantages of working from home?",
    "Tell me about the history of chess, from its beginnings to computers.",
    "How do vaccines teach the body to defend itself?",
    "Plan a weekend in a small town by the sea: two days, on foot, with little money.",
    "Why do leaves change their colour in autumn, and why do they fall?",
    "Write a poem of twelve lines about the first snow.",
    "Explain what a database index is and when it does harm.",
    "How can I learn to play the guitar as an adult? Give me a plan for three months.",
    "What is inflation, and what can a central bank do about it?",
    "Describe how bread rises, from flour to crust.",
    "Compare cats and dogs as companions for an old person who lives alone in a flat on the third floor.",
    "I have forgotten my umbrella on the train. Whom do I call, what do I say, and what should I have ready?",
    "Write a dialogue between a teacher and a pupil who has not done his homework and has a very good excuse.",
    "Which planets have rings? Explain what the rings are made of and how they may have formed.",
    "Explain recursion with the help of a set of Russian dolls, then with a short program.",
)

TASKS = (
    "Summarize this text in a few sentences.",
    "Write five questions that a reader of this text should be able to answer, with the answers.",
    "Explain this text to a child, in simple words and at some length.",
    "Continue this text in the same style.",
    "List the facts in this text, one a line, and say which of them surprised you.",
)

TEXTS = (
    (
        "The lighthouse stood on a rock that the sea covered twice a day. Its keeper had lived there for nineteen "
        "years, and in all that time he had left it only for funerals. Every evening he climbed the one hundred and "
        "twelve steps, cleaned the lens with a linen cloth, trimmed the wick, and wrote down the wind, the clouds and "
        "the ships that he had seen. On the morning of the great storm he wrote nothing at all."
    ),
    (
        "Bread is made of flour, water, salt and something that makes it rise. Wheat flour has two proteins that join "
        "to gluten when they meet water: a net that stretches and holds gas. Yeast, a fungus of one cell, eats the "
        "sugar in the dough and gives off carbon dioxide. The bubbles grow in the net, and the dough rises. In the "
        "oven the gas expands once more, the yeast dies at about fifty-five degrees, the starch takes up the water "
        "and sets, and the crust turns brown, because sugars and proteins react with each other. Who leaves the dough "
        "in a cold place over night gets a better taste: the bacteria in it have time to make acids. A loaf that was "
        "cut while it was hot is gummy, since the starch inside has not set yet; and a loaf in a plastic bag loses "
        "its crust, since the water that wanders outwards can't get away."
    ),
    (
        "In a small town in the mountains there were two clockmakers who had not spoken to each other for thirty "
        "years. Nobody remembered why. The one repaired the clocks on the left bank of the river, the other those on "
        "the right, and the clock on the bridge, which belonged to neither bank, had stood still since their quarrel. "
        "One winter the ice took the bridge away, and with it the clock."
    ),
    (
        "A tide is the rise and fall of the sea, twice in a little more than a day. The moon pulls at the water that "
        "is nearest to it more strongly than at the earth as a whole, and at the water that is farthest away less "
        "strongly; so there are two bulges, and the earth turns under them. The sun does the same, with a little less "
        "than half the strength. When sun, moon and earth stand in a line, at new moon and at full moon, the two add "
        "up and the tides are high: spring tides. When they form a right angle, the tides are low: neap tides. That "
        "is the theory for a sea without land. In truth the coasts hold the water up, and the shape of a bay decides "
        "whether the sea rises by a hand's breadth or by sixteen metres. The mills that ground corn with the tide "
        "knew these tables by heart, and so did the fishermen; the first man who could compute them in advance for "
        "any harbour built a machine of brass wheels, one for each of the motions, with a pen that drew the sum on a "
        "drum of paper. Such machines were kept secret during two wars, because landings depended on them. Today a "
        "telephone does it in a millisecond, but the constants that it uses still come from years of readings at a "
        "wooden post with marks on it."
    ),
    (
        "The committee met on the second Tuesday of every month in the room above the fire station. It had seven "
        "members, of whom four were needed for a decision. The minutes were kept by hand in a green book. The "
        "question before it that evening was whether the old lime tree in front of the school should be felled. The "
        "headmaster said that its roots lifted the pavement and that a child had broken an arm. The gardener said "
        "that the tree was two hundred years old and in good health, and that a pavement can be moved. The treasurer "
        "said that moving it cost nine thousand, and felling the tree two. Then a woman whom nobody knew stood up at "
        "the back of the room."
    ),
    (
        "Sorting is the most studied problem of computing. A pile of exam papers can be sorted by looking for the "
        "lowest mark again and again; that takes a hundred times as long for ten times as many papers. It is faster "
        "to split the pile in two, to sort both halves in the same way, and to merge them: then ten times as many "
        "papers take a little more than ten times as long, and no method that only compares two papers at a time can "
        "do essentially better. If the marks are whole numbers from one to six, though, nobody would compare at all: "
        "one makes six piles. What is best depends on what is known beforehand, on how much is sorted already, and on "
        "whether the pile fits on the desk."
    ),
    (
        "My grandmother kept bees. In May, when the rape was in flower, one could hear the hives from the kitchen. "
        "She went to them without a veil and spoke to them: of the weather, of the price of sugar, of who had died. "
        "Bees must be told of a death in the house, she said, or they leave. When she died herself it was I who went "
        "out and knocked at the hives, seven of them, one after the other, and said it aloud. I was eleven and felt "
        "foolish. Six stayed. The seventh was empty the next morning, without a single dead bee on the ground, and my "
        "uncle, who taught physics, spent the whole summer explaining to us why that meant nothing."
    ),
    (
        "A contract is an agreement that the law will enforce. It needs an offer, an acceptance, and in some "
        "countries something given in return. It need not be written: who takes a newspaper from the pile and puts a "
        "coin on the counter has made one. What was said before counts only as far as it became part of the "
        "agreement, and what is printed small on the back counts only if the other side could know it. If one party "
        "does not do what it promised, the other may ask for the thing itself, or for what the breach has cost, but "
        "not for both, and must do what is reasonable to keep the damage small."
    ),
)


@dataclass(frozen=True)
class Ask:
    """One request of the load."""

    prompt: str
    """What the user says."""
    max_tokens: int


def asks(
    seed: int = 0, *, longest: int = 128, shortest: int = 16, texts: bool = True, after: int | None = None
) -> Iterator[Ask]:
    """Requests without end, in a mixed order. Each begins with a number of its own, so that none continues another.

    Args:
        seed: the order.
        longest: tokens that an answer may have, at most.
        shortest: and at least.
        texts: whether some prompts bring a text of 60 to 300 tokens.
        after: they are numbered from the next number on; None: from 1000 times the seed.
    """
    rng = random.Random(seed)
    prompts = [*QUESTIONS]
    if texts:
        prompts += [f"{task}\n\n{text}" for task, text in itertools.product(TASKS, TEXTS)]
    number = 1000 * seed if after is None else after
    while True:
        rng.shuffle(prompts)
        for prompt in prompts:
            number += 1
            yield Ask(f"{number}. {prompt}", rng.randrange(shortest, longest + 1))


def prose(characters: int, seed: int = 0) -> str:
    """Text of about that length: the texts' sentences, mixed, so that no two seeds begin alike."""
    rng = random.Random(seed)
    sentences = [f"{sentence.strip('.')}." for text in TEXTS for sentence in text.split(". ")]
    pieces = [f"Part {seed}."]
    length = 0
    while length < characters:
        piece = rng.choice(sentences)
        pieces.append(piece)
        length += len(piece) + 1
    return " ".join(pieces)
