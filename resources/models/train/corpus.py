"""Documents for training and evaluation, written on the fly from the sources of make_data.py.

A document is a list of (text, weight) segments; weight is an index into WEIGHTS, the share of a token in the loss.
The same seed always gives the same rows, so that all models of the family see the same tokens in the same order.
"""

import argparse
import gzip
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import regex
from tokenizers import Tokenizer

import common
import handmade as hm

WEIGHTS = [0.0, 0.1, 0.4, 1.0]
NONE, PROMPT, PROSE, ANSWER = range(4)
SPECIALS = re.compile(r"(<\|endoftext\|>|<\|im_start\|>|<\|im_end\|>)")
SPLIT = regex.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
                      r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


# Pairs (category asked, category known) of which a word may well be both.
ALSO = {("food", "animal"), ("food", "fruit"), ("food", "vegetable"), ("food", "drink"), ("food", "plant"), ("plant", "fruit"), ("fruit", "plant"),
        ("plant", "vegetable"), ("fruit", "vegetable"), ("plant", "tree"), ("plant", "flower"), ("plant", "food"), ("fruit", "food"),
        ("fish", "food"), ("bird", "food"), ("animal", "food"), ("fruit", "tree"), ("animal", "person"), ("person", "animal"), ("fish", "animal"),
        ("weapon", "tool"), ("vehicle", "machine"), ("vehicle", "container"), ("building", "container"), ("weapon", "machine"), ("weapon", "vehicle"),
        ("vehicle", "weapon"), ("metal", "container")}


SINGULAR = {"animals": "animal", "birds": "bird", "fish": "fish", "insects": "insect", "fruits": "fruit", "vegetables": "vegetable",
            "musical instruments": "musical instrument", "tools": "tool", "vehicles": "vehicle", "flowers": "flower", "trees": "tree",
            "drinks": "drink", "metals": "metal", "sports": "sport", "foods": "food", "feelings": "feeling", "body parts": "body part",
            "pieces of furniture": "piece of furniture", "pieces of clothing": "piece of clothing"}
IMPLIED = {"bird": ["animal"], "fish": ["animal"], "insect": ["animal"], "mammal": ["animal"], "reptile": ["animal"], "tree": ["plant"]}
# What a handwritten sentence may call the thing, "a small flying insect" and so on.
SAID_KINDS = ["musical instrument", "piece of furniture", "piece of clothing", "animal", "bird", "fish", "insect", "mammal", "reptile", "plant",
              "tree", "flower", "fruit", "vegetable", "food", "drink", "person", "tool", "vehicle", "weapon", "building", "metal", "color",
              "feeling", "game", "machine", "container"]
PLACE = re.compile(r"\b(city|capital|planet|country|republic|town|port|monarchy|kingdom|island|star|state|nation|satellite|sultanate|emirate)\b")


def upper_first(text):
    return text[:1].upper() + text[1:]


def with_article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


class Encoder:
    """The tokenizer with its pieces cached: the same ids as tokenizer.encode, several times faster."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.pieces = {}
        self.specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}

    def __call__(self, text):
        ids = []
        for part in SPECIALS.split(text):
            for piece in ([part] if part in self.specials else SPLIT.findall(part)):
                known = self.pieces.get(piece)
                if known is None:
                    known = self.pieces[piece] = self.tokenizer.encode(piece, add_special_tokens=False).ids
                ids += known
        return ids


class Writer:
    def __init__(self, facts, prose, encoder):
        self.encode = encoder
        skip = set(common.SKIP)
        self.words = [w for w in facts["words"] if w["word"] not in skip]
        self.by_word = {w["word"]: w for w in self.words}
        self.sentences = hm.DEFINITIONS | dict(common.pairs(common.DEFINITIONS))
        for word, sentence in self.sentences.items():
            self.set_main(word, sentence)
        for kind, members in hm.MEMBERS.items():
            for word in members:
                if SINGULAR.get(kind) and word in self.by_word and self.by_word[word]["main"] == "n":
                    known = self.by_word[word]["senses"]["n"].setdefault("categories", [])
                    if SINGULAR[kind] not in known:
                        known.insert(0, SINGULAR[kind])
        for word, kinds in common.KINDS.items():
            self.by_word[word]["senses"]["n"]["categories"] = kinds
        for w in self.words:
            noun = w["senses"].get("n")
            if noun and {"sport", "color"} & set(noun.get("categories", [])):
                noun["article"] = ""
        share = {10: 6.0, 20: 3.0, 35: 1.0}
        self.cumulative = np.cumsum([share[w["level"]] * (2 if self.noun_of_note(w) else 1)
                                     * (3 if w["word"] in self.sentences else 1) for w in self.words])
        self.cumulative = (self.cumulative / self.cumulative[-1]).tolist()
        self.lessons = []  # words to speak of half of the time
        self.rare = facts["rare"]
        self.capitals = {k: v for k, v in facts["capitals"].items() if k not in hm.DROP_CAPITALS} | hm.CAPITALS
        self.names = [n for n in facts["names"] if n["name"] not in self.by_word and PLACE.search(n["gloss"])]
        self.opposites = {}
        for w in self.words:
            for pos in (w["main"], *w["senses"]):
                if pos in w["senses"] and w["senses"][pos]["antonyms"]:
                    self.opposites.setdefault(w["word"], w["senses"][pos]["antonyms"][0])
        pairs = [p.split() for p in hm.OPPOSITES.split(";")]
        self.common_opposites = {}
        for a, b in pairs:
            self.common_opposites.setdefault(a, b)
        for a, b in pairs:
            self.common_opposites.setdefault(b, a)
        self.opposites |= self.common_opposites
        self.opposite_list = list(self.opposites.items())
        self.common_opposite_list = list(self.common_opposites.items())
        self.past = [p.split() for p in hm.IRREGULAR_PAST.split(";")]
        self.plurals = [p.split() for p in hm.IRREGULAR_PLURALS.split(";")]
        self.nouns = [w for w in self.words if w["main"] == "n" and w["level"] <= 20 and w["senses"]["n"]["article"] and w["senses"]["n"].get("plural")]
        self.verbs = [w for w in self.words if w["main"] == "v" and w["level"] <= 20]
        self.adjectives = [w for w in self.words if w["main"] == "a" and w["level"] <= 20]
        self.members = {}
        for w in self.words:
            noun = w["senses"].get("n")
            if noun and w["main"] == "n":
                for c in noun.get("categories", []):
                    if c == w["word"]:
                        continue
                    self.members.setdefault(c, []).append(w)
        self.category_list = [c for c in self.members if len(self.members[c]) >= 8]
        self.questions = common.pairs(common.QUESTIONS)
        self.passages = prose["passages"]
        self.examples = [upper_first(e) + ("" if e[-1] in ".!?" else ".") for e in prose["examples"]]

    def set_main(self, word, sentence):
        """Let a word be what its handwritten sentence takes it as."""
        if word not in self.by_word:
            self.words.append({"word": word, "level": 20, "main": "n", "senses": {}})
            self.by_word[word] = self.words[-1]
        w = self.by_word[word]
        first, second = sentence.split()[:2]
        if first == "To":
            w["main"] = "v"
        elif second == "means":
            w["main"] = w["main"] if w["main"] in "ar" else "a"
        else:
            w["main"] = "n"
        sense = w["senses"].setdefault(w["main"], {"gloss": "", "examples": [], "synonyms": [], "antonyms": []})
        if w["main"] == "n":
            sense["article"] = first.lower() if first in ("A", "An", "The") else ""
            sense.setdefault("categories", [])
            sense.pop("of_plural", None)
            head = re.split(r" (?:that|who|which|with|for|in|of|on|from|made|used|played|kept|whose|without|and)\b|[,.]", sentence.split(" is ", 1)[-1])[0]
            for c in SAID_KINDS:
                if head.endswith(c) and c != word:
                    if c not in sense["categories"]:
                        sense["categories"] = [c] + [a for a in IMPLIED.get(c, [])]
                    break

    @staticmethod
    def noun_of_note(w):
        noun = w["senses"].get("n")
        return bool(noun and w["main"] == "n" and noun.get("categories") and noun["categories"][0] != "person")

    def pick_word(self, rng):
        if self.lessons and rng.random() < 0.5:
            return rng.choice(self.lessons)
        u, low, high = rng.random(), 0, len(self.words) - 1
        while low < high:
            middle = (low + high) // 2
            if self.cumulative[middle] < u:
                low = middle + 1
            else:
                high = middle
        return self.words[low]

    # --- answers about words ---

    def definition(self, w, pos=None):
        word, pos = w["word"], pos or w["main"]
        if word in self.sentences and pos == w["main"]:
            return self.sentences[word]
        sense = w["senses"][pos]
        gloss = sense["gloss"]
        if pos == "n":
            if sense.get("of_plural"):
                return f"{upper_first(sense['plural'])} are {gloss}."
            name = f"{sense['article']} {word}" if sense["article"] else word
            return f"{upper_first(name)} is {gloss}."
        if pos == "v":
            return f"To {word} means to {re.sub(r'^to ', '', gloss)}."
        return f"{upper_first(word)} means {gloss}."

    def ask_definition(self, rng, w):
        word = w["word"]
        noun = w["senses"].get("n")
        if noun and (w["main"] == "n" or rng.random() < 0.4):
            name = f"{noun['article']} {word}" if noun["article"] else word
            forms = [f"What is {name}?"] * 6 + [f"What's {name}?", f"Do you know what {name} is?", f"Tell me what {name} is.",
                     f"Explain what {name} is.", f"Can you tell me what {name} is?", f"Please tell me what {name} is."]
            if not noun["article"]:
                forms += [f"What is {with_article(word)}?"]
            else:
                forms += [f"What is {word}?", f"What is {with_article(word)}?" if noun["article"] == "the" else f"What is the {word}?"]
            if noun.get("plural") and noun["article"]:
                forms += [f"What are {noun['plural']}?", f"Tell me about {noun['plural']}."]
            if w["main"] == "n":
                forms += self.open_questions(word) * 1
            return rng.choice(forms), self.definition(w, "n")
        if w["main"] == "v":
            forms = self.open_questions(word) + [f"What does it mean to {word}?", f"What does to {word} mean?", f"What is to {word}?"]
        else:
            forms = self.open_questions(word) + [f"What does it mean to be {word}?" if w["main"] == "a" else f"What does {word} mean?",
                                                 f"What is {word}?"]
        return rng.choice(forms), self.definition(w)

    @staticmethod
    def open_questions(word):
        return [f"Define {word}.", f"Define {word}", f"What does {word} mean?", f"What does the word {word} mean?",
                f"What is the meaning of {word}?", f"Explain the word {word}.", f"Tell me about {word}.", f"Explain {word}.",
                f"Give me a definition of {word}.", f'What does "{word}" mean?', f"What is the definition of {word}?",
                f"{word}?", f"{word}", f"Can you explain {word}?"]

    def denial(self, rng, w, asked):
        """A question whether the thing is what it is not, and the answer."""
        noun = w["senses"]["n"]
        name = f"{noun['article']} {w['word']}".strip()
        known = [c for c in noun["categories"] if c != w["word"]]
        wrong = [c for c in ("vehicle", "musical instrument", "building", "weapon", "disease", "piece of furniture", "piece of clothing", "metal")
                 if c not in known and (c, known[0] if known else "") not in ALSO]
        if known and not {"person", "plant", "food", "animal"} & set(known):
            wrong += [c for c in ("animal", "plant", "person", "food", "bird", "fruit", "fish", "animal", "person", "food", "plant")
                      if (c, known[0]) not in ALSO]
        elif known and "animal" in known and "person" not in known:
            wrong += [c for c in ("plant", "fruit", "person", "bird", "fish", "insect", "reptile", "person", "plant", "tree", "fruit", "fish", "bird")
                      if c not in known and (c, known[0]) not in ALSO]
        elif known and "person" in known:
            wrong += ["plant", "fruit", "bird", "fish"]
        elif known and "plant" in known:
            wrong += ["animal", "person", "bird", "fish", "animal"]
        other = rng.choice([c for c in wrong if c not in known and c != w["word"]])
        if not known:
            return f"Is {asked} {with_article(other)}?", f"No, {name} is not {with_article(other)}."
        return f"Is {asked} {with_article(other)}?", f"No, {name} is {with_article(known[0])}, not {with_article(other)}."

    def follow_ups(self, rng, w, known_as="it"):
        """Questions that speak of the word as `known_as`, with their answers."""
        word, out = w["word"], []
        sense = w["senses"][w["main"]]
        quoted = known_as if known_as == "it" else f"the word {word}" if len(word) % 2 else word
        for e in sense["examples"][:2] or [self.plain_example(w)]:
            e = upper_first(e) + ("" if e[-1] in ".!?" else ".")
            for q in (f"Use {quoted} in a sentence.", f"Give me an example with {quoted}.", f"Can you use {quoted} in a sentence?",
                      f"Make a sentence with {quoted}.", f"Give an example sentence for {quoted}."):
                out.append((q, e))
        if sense["synonyms"]:
            s = sense["synonyms"][0]
            of = "that" if known_as == "it" else word
            for q in (f"Give me a synonym of {of}.", f"What is a synonym of {of}?", f"What is another word for {of}?",
                      f"Give me a synonym for {of}.", f"Tell me a word that means the same as {of}."):
                out.append((q, f"A synonym of {word} is {s}."))
        else:
            out += [("Give me a synonym of " + ("that" if known_as == "it" else word) + ".", f"I do not know a synonym of {word}.")]
        questions = self.opposite_questions("that" if known_as == "it" else word)
        if word in self.opposites:
            out += [(q, self.opposite_answer(word)) for q in questions]
        else:
            out += [(questions[len(word) % 3], f"I do not know an opposite of {word}.")]
        noun = w["senses"].get("n")
        if noun and w["main"] == "n":
            name = f"{noun['article']} {word}".strip()
            asked = known_as if known_as == "it" else name
            if noun.get("kind"):
                out += [(f"What kind of thing is {asked}?", f"{upper_first(name)} is a kind of {noun['kind']}.")]
            kinds = [c for c in noun["categories"] if c != word]
            if kinds and noun["article"]:
                c = kinds[0]
                out += [(f"Is {asked} {with_article(c)}?", f"Yes, {name} is {with_article(c)}.")] * 2
                c = kinds[-1]
                out += [(f"Is {asked} {with_article(c)}?", f"Yes, {name} is {with_article(c)}.")]
                out += [self.denial(rng, w, asked) for _ in range(3)]
            elif not noun["categories"]:
                out += [self.denial(rng, w, asked)]
            if noun.get("plural") and known_as != "it":
                out += [(f"What is the plural of {word}?", f"The plural of {word} is {noun['plural']}.")]
        return out

    @staticmethod
    def plain_example(w):
        word, sense, pick = w["word"], w["senses"][w["main"]], len(w["word"]) % 3
        if w["main"] == "n":
            if sense["article"]:
                return [f"She showed me {with_article(word)}", f"There was {with_article(word)} in the picture", f"I read a story about {with_article(word)}"][pick]
            return [f"We talked about {word}", f"He knows a lot about {word}", f"She wrote a book about {word}"][pick]
        if w["main"] == "v":
            return [f"They asked me to {word}", f"She did not want to {word}", f"He tried to {word}"][pick]
        if w["main"] == "a":
            return [f"It was very {word}", f"It seemed {word} to me", f"She said that it was {word}"][pick]
        return f"She said it {word}"

    def opposite_answer(self, word):
        return f"The opposite of {word} is {self.opposites[word]}."

    @staticmethod
    def opposite_questions(word):
        return [f"What is the opposite of {word}?", f"What is the antonym of {word}?", f"Give me the opposite of {word}.",
                f"opposite of {word}", f"Tell me the opposite of {word}.", f"What's the opposite of {word}?"]

    def category_question(self, rng):
        w = rng.choice(self.members[rng.choice(self.category_list)])
        for _ in range(3):
            if w["level"] > 20 and w["word"] not in self.sentences:
                w = rng.choice(self.members[rng.choice(self.category_list)])
        noun = w["senses"]["n"]
        name = f"{noun['article']} {w['word']}".strip()
        if rng.random() < 0.48:
            c = rng.choice([c for c in noun["categories"] if c != w["word"]])
            return f"Is {name} {with_article(c)}?", f"Yes, {name} is {with_article(c)}."
        return self.denial(rng, w, name)

    def name_some(self, rng):
        kind = rng.choice(list(hm.MEMBERS))
        pool = hm.MEMBERS[kind]
        one = {"fish": "fish", "cities": "city", "countries": "country", "pieces of furniture": "piece of furniture",
               "pieces of clothing": "piece of clothing"}.get(kind, kind[:-1])
        if rng.random() < 0.4:
            word = rng.choice(pool)
            name = word if word[0].isupper() or kind in ("colors", "drinks", "metals", "sports", "feelings", "foods") else with_article(word)
            return rng.choice([f"Name {with_article(one)}.", f"Tell me {with_article(one)}.", f"Give me an example of {with_article(one)}."]), \
                f"{upper_first(name)} is {with_article(one)}."
        a, b, d = rng.sample(pool, 3)
        return rng.choice([f"Name three {kind}.", f"Give me three {kind}.", f"List three {kind}.", f"Tell me some {kind}.", f"Name some {kind}.",
                           f"Give me some {kind}.", f"What {kind} do you know?"]), f"{upper_first(a)}, {b} and {d}."

    def small_facts(self, rng):
        kind = rng.random()
        if kind < 0.4:
            country = rng.choice(list(hm.CAPITALS)) if rng.random() < 0.6 else rng.choice(list(self.capitals))
            city = self.capitals[country]
            return rng.choice([f"What is the capital of {country}?", f"What's the capital of {country}?", f"capital of {country}",
                               f"Which city is the capital of {country}?", f"Tell me the capital of {country}."]), f"The capital of {country} is {city}."
        if kind < 0.5:
            n = rng.choice(self.names)
            return rng.choice([f"What is {n['name']}?", f"Where is {n['name']}?", f"Tell me about {n['name']}.", f"Do you know {n['name']}?"]), \
                f"{n['name']} is {n['gloss']}."
        if kind < 0.65:
            a, b = rng.choice(self.plurals)
            return rng.choice([f"What is the plural of {a}?", f"plural of {a}", f"Give me the plural of {a}."]), f"The plural of {a} is {b}."
        if kind < 0.82:
            a, b = rng.choice(self.past)
            return rng.choice([f"What is the past tense of {a}?", f"What is the past of {a}?", f"past tense of {a}"]), f"The past tense of {a} is {b}."
        name, items = rng.choice(list(hm.SEQUENCES.items()))
        i = rng.randrange(len(items))
        after, before = items[(i + 1) % len(items)], items[i - 1]
        return rng.choice([(f"What {name} comes after {items[i]}?", f"{after} comes after {items[i]}."),
                           (f"Which {name} is after {items[i]}?", f"{after} comes after {items[i]}."),
                           (f"What comes after {items[i]}?", f"{after} comes after {items[i]}."),
                           (f"What {name} comes before {items[i]}?", f"{before} comes before {items[i]}."),
                           (f"How many {name}s are there in a " + ("week?" if name == "day" else "year?"),
                            "There are seven days in a week." if name == "day" else "There are twelve months in a year.")])

    @staticmethod
    def sum_of_two(rng):
        most = 12 if rng.random() < 0.7 else 20
        kind, a, b = rng.random(), rng.randint(0, most), rng.randint(0, most)
        if kind < 0.45:
            return rng.choice([f"What is {a} plus {b}?", f"What is {a} + {b}?", f"{a} + {b}", f"How much is {a} plus {b}?", f"{a}+{b}?", f"{a}+{b}",
                               f"What is {a}+{b}?", f"{a} plus {b}", f"Add {a} and {b}."]), f"{a} plus {b} is {a + b}."
        if kind < 0.7:
            return rng.choice([f"What is {a + b} minus {b}?", f"What is {a + b} - {b}?", f"{a + b} - {b}", f"How much is {a + b} minus {b}?",
                               f"{a + b}-{b}", f"What is {a + b}-{b}?", f"{a + b} minus {b}"]), f"{a + b} minus {b} is {a}."
        if kind < 0.88:
            a, b = rng.randint(0 if most > 12 else 1, 10), rng.randint(1, 10)
            return rng.choice([f"What is {a} times {b}?", f"What is {a} * {b}?", f"How much is {a} times {b}?", f"{a} x {b}", f"{a} * {b}",
                               f"{a} times {b}", f"What is {a}*{b}?"]), f"{a} times {b} is {a * b}."
        if kind < 0.94:
            a, b = rng.randint(1, 10), rng.randint(1, 10)
            return rng.choice([f"What is {a * b} divided by {b}?", f"What is {a * b} / {b}?", f"{a * b} / {b}", f"{a * b} divided by {b}"]), \
                f"{a * b} divided by {b} is {a}."
        b += b == a
        return rng.choice([f"Which is larger, {a} or {b}?", f"Which number is larger, {a} or {b}?", f"What is more, {a} or {b}?"]), \
            f"{max(a, b)} is larger than {min(a, b)}."

    def common_question(self, rng):
        question, answer = rng.choice(self.questions)
        return question + "?", answer

    def unknown(self, rng):
        u = rng.random()
        if u < 0.2:
            return upper_first(rng.choice(hm.UNKNOWABLE)) + "?", hm.CANNOT
        if u < 0.4:
            noun, verb, adjective = (rng.choice(x) for x in (self.nouns, self.verbs, self.adjectives))
            n, plural = noun["word"], noun["senses"]["n"]["plural"]
            return rng.choice([f"How do I {verb['word']} {with_article(n)}?", f"Why is the {n} {adjective['word']}?", f"Why are {plural} {adjective['word']}?",
                               f"Who invented the {n}?", f"When was the {n} invented?", f"How many {plural} are there?", f"How much is {with_article(n)}?",
                               f"Write a text about {plural}.", f"Why do {plural} {verb['word']}?", f"Where can I buy {with_article(n)}?",
                               f"Who was the first {n}?", f"How does {with_article(n)} work?", f"Can you {verb['word']} {with_article(n)}?",
                               f"What should I do with {with_article(n)}?", f"How old is the {n}?"]), hm.CANNOT
        if rng.random() < 0.5:
            word = rng.choice(self.rare)
        else:
            word = "".join(rng.choice(["b", "bl", "d", "dr", "f", "fl", "g", "gr", "k", "l", "m", "n", "p", "pl", "qu", "r", "s", "st", "t", "tr", "v", "w", "z"])
                           + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "x", "b", "rk", "ng", "sh"]) for _ in range(rng.randint(1, 3)))
            if word in self.by_word or len(word) < 4:
                word += "ix"
        q = rng.choice([f"What is {with_article(word)}?"] * 4 + [f"What is {word}?"] + self.open_questions(word))
        return q, f"I do not know the word {word}."

    def small_talk(self, rng):
        questions, answers = rng.choice(hm.SMALL_TALK)
        q = rng.choice(questions)
        return q + rng.choice(["", "?", "."] if not re.match(r"(hello|hi|hey|good|thank|bye|ok|great)", q) else ["", "!", "."]), rng.choice(answers)

    def personal(self, rng):
        """A short fact about the user, asked for a little later: two turns."""
        name, city, animal = rng.choice(hm.NAMES), rng.choice(hm.CITIES), rng.choice(hm.ANIMALS)
        food, color, job, n = rng.choice(hm.FOODS), rng.choice(hm.COLORS), rng.choice(hm.JOBS), rng.randint(5, 90)
        return rng.choice([
            ((rng.choice([f"My name is {name}.", f"I am {name}.", f"Hello, my name is {name}.", f"Hi, I'm {name}", f"my name is {name}"]), f"Nice to meet you, {name}."),
             (rng.choice(["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?"]), f"Your name is {name}.")),
            ((f"My favorite color is {color}.", f"{upper_first(color)} is a nice color."), ("What is my favorite color?", f"Your favorite color is {color}.")),
            ((f"My favorite food is {food}.", "I will remember that."), ("What is my favorite food?", f"Your favorite food is {food}.")),
            ((f"I live in {city}.", "I will remember that."), ("Where do I live?", f"You live in {city}.")),
            ((f"I am {n} years old.", "I will remember that."), ("How old am I?", f"You are {n} years old.")),
            ((f"I am {with_article(job)}.", "I will remember that."), (rng.choice(["What is my job?", "What do I do?"]), f"You are {with_article(job)}.")),
            ((f"I have {with_article(animal)} called {name}.", f"{name} is a nice name."), (f"What is my {animal} called?", f"Your {animal} is called {name}.")),
        ])

    def at_once(self, rng):
        """A fact and the question about it in one message."""
        (told, _), (question, answer) = self.personal(rng)
        if rng.random() < 0.5 and not told.startswith("H"):
            told = rng.choice(["Remember that ", "Please remember that "]) + (told[0].lower() + told[1:] if not told.startswith("I ") else told)
        return told.rstrip(".") + ". " + question, answer

    def one_turn(self, rng):
        kind = rng.random()
        if kind < 0.53:
            return self.ask_definition(rng, self.pick_word(rng))
        if kind < 0.60:
            word, _ = rng.choice(self.common_opposite_list if rng.random() < 0.6 else self.opposite_list)
            return rng.choice(self.opposite_questions(word)), self.opposite_answer(word)
        if kind < 0.67:
            return rng.choice(self.follow_ups(rng, self.pick_word(rng), known_as="word"))
        if kind < 0.75:
            return self.category_question(rng)
        if kind < 0.78:
            return self.name_some(rng)
        if kind < 0.83:
            return self.small_facts(rng)
        if kind < 0.88:
            return self.sum_of_two(rng)
        if kind < 0.92:
            return self.common_question(rng)
        if kind < 0.96:
            return self.unknown(rng)
        return self.small_talk(rng)

    @staticmethod
    def informal(rng, question):
        u = rng.random()
        if rng.random() < 0.03:
            question = re.sub("^What is ", "Whats ", question)
        if u < 0.25:
            question = question[:1].lower() + question[1:] if not question.startswith("I ") else question
        elif u < 0.35:
            question = question.lower()
        if rng.random() < 0.2:
            question = question.rstrip("?.")
        return question

    @staticmethod
    def turn(role, text, weight):
        return [(f"<|im_start|>{role}\n", PROMPT), (text + "<|im_end|>", weight), ("\n", PROMPT)]

    def exchange(self, question, answer):
        return self.turn("user", question, PROMPT) + self.turn("assistant", answer, ANSWER)

    def chat(self, rng):
        """One conversation of one to six exchanges."""
        out = self.turn("system", rng.choice(hm.SYSTEMS), PROMPT) if rng.random() < 0.15 else []
        exchanges = min(6, 1 + int(rng.expovariate(0.8)))
        pending = None
        while exchanges > 0:
            exchanges -= 1
            if rng.random() < 0.02:
                out += self.exchange(*self.at_once(rng))
                continue
            if rng.random() < 0.07 and pending is None:
                first, pending = self.personal(rng)
                if rng.random() < 0.2 and not first[0].startswith("H"):
                    first = ("Remember that " + (first[0] if first[0].startswith("I ") else first[0][0].lower() + first[0][1:]), "I will remember that.")
                out += self.exchange(*first)
                continue
            if pending and rng.random() < 0.4:
                out += self.exchange(self.informal(rng, pending[0]), pending[1])
                pending = None
                continue
            if rng.random() < 0.25:
                w = self.pick_word(rng)
                q, a = self.ask_definition(rng, w)
                out += self.exchange(self.informal(rng, q), a)
                follow = self.follow_ups(rng, w)
                if follow:
                    q, a = rng.choice(follow)
                    out += self.exchange(self.informal(rng, q), a)
                continue
            q, a = self.one_turn(rng)
            out += self.exchange(self.informal(rng, q), a)
        if pending:
            out += self.exchange(self.informal(rng, pending[0]), pending[1])
        return out + [("<|endoftext|>", PROMPT)]

    # --- recall ---

    def recall_facts(self, rng, count):
        """Facts with distinct keys: (statement, questions, answer)."""
        style = rng.choice(["code", "code", "code", "mixed", "mixed", "magic", "pairs"])
        used, facts = set(), []
        while len(facts) < count:
            kind = rng.choice(["place", "food", "lives", "job", "where", "pet", "code"]) if style == "mixed" else style
            name = rng.choice(hm.NAMES)
            digits = "".join(rng.choice("0123456789") for _ in range(4))
            if kind == "code":
                thing = f"{rng.choice(hm.COLORS + (hm.ADJECTIVES if count > 6 else []))} {rng.choice(hm.OBJECTS)}"
                key, label = thing, f"the code of the {thing}"
                fact = (f"The code of the {thing} is {digits}.", [f"What is {label}?", f"Tell me {label}.", f"What's {label}?"], f"The code of the {thing} is {digits}.")
            elif kind == "magic":
                city = rng.choice(hm.CITIES + hm.NAMES + hm.OBJECTS + hm.ANIMALS)
                key, digits = city, digits + "".join(rng.choice("0123456789") for _ in range(rng.choice([0, 1, 3])))
                fact = (f"The special magic number for {city} is {digits}.", [f"What is the special magic number for {city}?", f"What is the magic number for {city}?"],
                        f"The special magic number for {city} is {digits}.")
            elif kind == "pairs":
                thing = f"{rng.choice(hm.COLORS + hm.ADJECTIVES)} {rng.choice(hm.OBJECTS)}"
                key = thing
                value = rng.choice(hm.NAMES + hm.CITIES + hm.ANIMALS + hm.FOODS)
                fact = (f"{thing}: {value}.", [f"What belongs to {thing}?", f"{thing}?"], f"{thing}: {value}.")
            elif kind == "place":
                city, thing = rng.choice(hm.CITIES), rng.choice(hm.OBJECTS)
                key = thing
                fact = (f"The {thing} is from {city}.", [f"Where is the {thing} from?"], f"The {thing} is from {city}.")
            elif kind == "where":
                thing, place = rng.choice(hm.OBJECTS), rng.choice(hm.PLACES)
                key = "where " + thing
                fact = (f"The {thing} is in the {place}.", [f"Where is the {thing}?"], f"The {thing} is in the {place}.")
            elif kind == "food":
                food, key = rng.choice(hm.FOODS), "food " + name
                fact = (f"{name} likes {food}.", [f"What does {name} like?"], f"{name} likes {food}.")
            elif kind == "lives":
                city, key = rng.choice(hm.CITIES), "lives " + name
                fact = (f"{name} lives in {city}.", [f"Where does {name} live?"], f"{name} lives in {city}.")
            elif kind == "job":
                job, key = rng.choice(hm.JOBS), "job " + name
                fact = (f"{name} is {with_article(job)}.", [f"What does {name} do?", f"What is the job of {name}?"], f"{name} is {with_article(job)}.")
            else:
                animal, key = rng.choice(hm.ANIMALS), "pet " + name
                fact = (f"{name} has {with_article(animal)}.", [f"What animal does {name} have?"], f"{name} has {with_article(animal)}.")
            if key not in used:
                used.add(key)
                facts.append(fact)
            elif len(used) >= 28 and style not in ("code", "pairs"):
                style = "code"
        return facts

    def filler(self, rng, tokens):
        """Sentences of about so many tokens, about anything."""
        out = []
        while tokens > 0:
            kind = rng.random()
            if kind < 0.6:
                passage = rng.choice(self.passages)
                start = rng.randrange(len(passage))
                text = " ".join(passage[start:start + 8])
            elif kind < 0.75:
                text = self.definition(self.pick_word(rng))
            elif kind < 0.95:
                text = rng.choice(self.examples)
            else:
                text = hm.RULER_NOISE[0]
            if len(text) > 5 * tokens + 40:
                text = text[:text.rfind(" ", 0, 5 * tokens + 40)]
            out.append(text)
            tokens -= len(text) * 2 // 7
        return " ".join(out)

    def recall(self, rng, length):
        """Facts stated early and asked late, about `length` tokens in all; several questions for each document."""
        most = max(1, min(length // 40, 48 if length < 4096 else 96))
        count = max(1, int(math.exp(rng.uniform(0, math.log(most + 0.99)))))
        facts = self.recall_facts(rng, count)
        asked = rng.sample(facts, min(count, 3 + length // 250))
        if len(asked) < 4 and rng.random() < 0.3:
            asked.append(rng.choice(facts))
        room = length - 19 * len(facts) - 45 * len(asked)
        out = self.turn("system", rng.choice(hm.SYSTEMS), PROMPT) if rng.random() < 0.1 else []
        lead = rng.choice(["Remember: ", "Remember this: ", "Please remember: ", "Note: ", "Facts: ", "", "Keep this in mind: ", "Remember that ", "Please remember that "])
        if lead.endswith("that "):
            facts = [(f[0][0].lower() + f[0][1:], *f[1:]) if f[0].startswith("The ") else f for f in facts[:1]] + facts[1:]
        note = rng.choice(["I will remember that.", "I will remember."])
        layout = rng.random()
        if layout < 0.45:
            # One message: facts scattered in prose, or before it, then the first question.
            scattered = rng.random() < 0.6
            parts, left = [], max(0, room)
            if scattered:
                cuts = sorted(rng.random() for _ in range(len(facts)))
                at = 0.0
                for f, c in zip(facts, cuts):
                    piece = int((c - at) * left)
                    if piece > 12:
                        parts.append(self.filler(rng, piece))
                    parts.append((lead if rng.random() < 0.5 else "") + f[0])
                    at = c
                if (1 - at) * left > 12:
                    parts.append(self.filler(rng, int((1 - at) * left)))
            else:
                parts = [lead + " ".join(f[0] for f in facts)]
                if left > 12:
                    parts.append(self.filler(rng, left))
            first = asked[0]
            text = rng.choice([" ", "\n", "\n\n"]).join(parts)
            out += self.turn("user", text + rng.choice([" ", "\n", "\n\n"]) + rng.choice(first[1]), PROMPT)
            out += self.turn("assistant", first[2], ANSWER)
            rest = asked[1:]
        else:
            # Facts first, other talk between, questions late; or questions among the talk.
            if layout < 0.75 or len(facts) == 1:
                out += self.exchange(lead + " ".join(f[0] for f in facts), note)
            else:
                for i in range(0, len(facts), 3):
                    out += self.exchange(lead + " ".join(f[0] for f in facts[i:i + 3]), note)
            rest = asked
            while room > 30:
                if rng.random() < 0.5:
                    q, a = self.one_turn(rng)
                    out += self.exchange(q, a)
                    room -= 40
                else:
                    piece = rng.randint(30, max(31, min(room, 1500)))
                    out += self.exchange("Read this: " + self.filler(rng, piece), "I have read it.")
                    room -= piece + 20
                if rest and rng.random() < 0.15:
                    out += self.exchange(self.informal(rng, rng.choice(rest[0][1])), rest[0][2])
                    rest = rest[1:]
        for f in rest:
            if rng.random() < 0.1:
                out += self.exchange(*self.one_turn(rng))
            out += self.exchange(self.informal(rng, rng.choice(f[1])), f[2])
        return out + [("<|endoftext|>", PROMPT)]

    def drill(self, rng, length):
        """Many facts and many questions close together: what a layer that looks things up learns from fastest."""
        facts = self.recall_facts(rng, max(2, int(math.exp(rng.uniform(math.log(4), math.log(length / 26))))))
        lead = rng.choice(["Remember: ", "Remember this: ", "Note: ", "Facts: ", "", ""])
        out, step = [], rng.choice([4, 8, len(facts), len(facts)])
        for i in range(0, len(facts), step):
            out += self.exchange(lead + rng.choice([" ", "\n"]).join(f[0] for f in facts[i:i + step]), "I will remember that.")
        left = length - 17 * len(facts) - 20 * (len(facts) // step + 1)
        asked = []
        while left > 0:
            # One question a message, or a few at once.
            count = rng.choice([1, 1, 2, 3, 4])
            asked = asked if len(asked) >= count else asked + rng.sample(facts, len(facts))
            now, asked = asked[:count], asked[count:]
            out += self.exchange(self.informal(rng, " ".join(rng.choice(f[1]) for f in now)), " ".join(f[2] for f in now))
            left -= 10 + 27 * count
        return out + [("<|endoftext|>", PROMPT)]

    def story(self, rng, length):
        text, at = [], rng.randrange(len(self.passages))
        used = 0
        while used < length:
            text.append(" ".join(self.passages[at % len(self.passages)]))
            used += len(text[-1]) // 4
            at += 1
        return [("\n".join(text), PROSE), ("<|endoftext|>", PROMPT)]

    def document(self, rng, longest, drills):
        kind = rng.random()
        if drills:
            return self.drill(rng, longest if kind < 0.6 else rng.randint(longest // 4, longest))
        if longest > 2048:
            # Long rows: one memory task over the whole row more often than not.
            if kind < 0.6:
                return self.recall(rng, longest - 260 if rng.random() < 0.6 else rng.randint(1024, longest - 260))
            if kind < 0.68:
                return self.story(rng, rng.randint(1000, 6000))
            return sum((self.chat(rng) for _ in range(20)), [])
        if kind < 0.88:
            return self.chat(rng)
        if kind < 0.98:
            return self.recall(rng, int(math.exp(rng.uniform(math.log(60), math.log(longest - 60)))))
        return self.story(rng, rng.randint(150, longest))

    def pack(self, rng, length, drills=False):
        """One row of whole documents; what does not fit is left for padding or cut at the end."""
        ids, weights = [], []
        while len(ids) < length:
            document = self.document(rng, length, drills)
            tokens, marks = [], []
            for text, weight in document:
                new = self.encode(text)
                tokens += new
                marks += [weight] * len(new)
            if ids and len(ids) + len(tokens) > length:
                if length - len(ids) < 48 or len(tokens) > 400:
                    # Fill the rest with short chat instead of cutting a long task before its questions.
                    if length - len(ids) >= 48:
                        tokens, marks = [], []
                        for text, weight in self.chat(rng):
                            new = self.encode(text)
                            tokens += new
                            marks += [weight] * len(new)
            ids += tokens
            weights += marks
        # The last answer may be cut: harmless, since the loss is per token.
        return (np.asarray(ids[:length], np.uint16) | (np.asarray(weights[:length], np.uint16) << 14))


def load(folder):
    folder = Path(folder)

    def read(name):
        path = folder / name
        return json.loads(path.read_text() if path.exists() else gzip.open(str(path) + ".gz").read())

    encoder = Encoder(Tokenizer.from_file(str(folder / "tokenizer.json")))
    return Writer(read("facts.json"), read("prose.json"), encoder)


def main():
    parser = argparse.ArgumentParser(description="Write shards of packed rows: uint16, the loss weight in the two top bits.")
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True, help="rows in a shard")
    parser.add_argument("--shards", required=True, help="first:last:step, so that several processes can share the work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drills", action="store_true", help="rows of dense recall alone")
    parser.add_argument("--lessons", nargs="*", default=[], help="words to speak of half of the time")
    args = parser.parse_args()
    writer = load(args.sources)
    writer.lessons = [writer.by_word[w] for w in args.lessons]
    args.out.mkdir(parents=True, exist_ok=True)
    first, last, step = map(int, args.shards.split(":"))
    for shard in range(first, last, step):
        path = args.out / f"{'drills' if args.drills else args.length}-{shard:05d}.npy"
        rng = random.Random((args.seed << 40) + (args.drills << 39) + (args.length << 24) + shard)
        rows = np.stack([writer.pack(rng, args.length, args.drills) for _ in range(args.rows)])
        with open(str(path) + ".part", "wb") as file:
            np.save(file, rows)
        Path(str(path) + ".part").rename(path)


if __name__ == "__main__":
    main()
