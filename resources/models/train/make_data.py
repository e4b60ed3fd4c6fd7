"""Turn freely licensed text into the sources that the family is trained on.

Reads (paths as the Debian packages install them, see README.md):
  wordnet-base           glosses, examples, relations, irregular plurals
  scowl                  which words are common
  r-cran-janeaustenr     six novels, English prose
  dict-jargon, dict-devil  more English prose
Writes into the folder given by --out:
  facts.json     question and answer material on common words
  prose.json     sentences, grouped in passages
  tokenizer.json byte-level BPE of 4096 entries, Qwen3.5's split pattern

What becomes of these sources, token by token, is in corpus.py.
"""

import argparse
import gzip
import json
import random
import re
import struct
import zlib
from collections import defaultdict
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
         r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 4096

POS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
# Nouns of these lexicographer files take an article when their plural is a common word too.
COUNTABLE_FILES = {5, 6, 8, 13, 14, 15, 17, 18, 20, 21, 25, 28}
CONCRETE_FILES = {5, 6, 8, 12, 13, 17, 18, 19, 20, 22, 25, 27}
# Category name -> the WordNet lemma and sense number whose descendants belong to it.
CATEGORIES = {
    "animal": ("animal", 1), "bird": ("bird", 1), "fish": ("fish", 1), "insect": ("insect", 1),
    "mammal": ("mammal", 1), "plant": ("plant", 2), "tree": ("tree", 1), "flower": ("flower", 1),
    "fruit": ("edible_fruit", 1), "vegetable": ("vegetable", 1), "food": ("food", 1), "drink": ("beverage", 1),
    "person": ("person", 1), "tool": ("tool", 1), "vehicle": ("vehicle", 1), "weapon": ("weapon", 1),
    "musical instrument": ("musical_instrument", 1), "piece of furniture": ("furniture", 1),
    "piece of clothing": ("clothing", 1), "building": ("building", 1), "body part": ("body_part", 1),
    "metal": ("metallic_element", 1), "color": ("chromatic_color", 1), "feeling": ("feeling", 1),
    "sport": ("sport", 1), "disease": ("disease", 1), "game": ("game", 1), "machine": ("machine", 1),
    "container": ("container", 1), "reptile": ("reptile", 1),
}
# WordNet files tomato and its like under vegetables only, and so on: looser membership, first match wins.
SUBORDINATE = {"having", "that", "which", "with", "who", "typically", "usually", "especially", "used", "where", "when",
               "and", "or", "by", "as", "including", "containing", "resembling", "found", "characterized", "made"}
# Not fit for a model that greets strangers.
UNFIT = re.compile(r"\b(sex\w*|copulat\w*|prostitut\w*|slur|offensive|vulgar|obscene|disparag\w*|derogatory|penis|vagina\w*|"
                   r"genital\w*|rape\w*|whore\w*|bitch|bastard|negro\w*|nigger\w*|jew\w*|nazi\w*|masturbat\w*|porn\w*|shit\w*|"
                   r"fuck\w*|homosexual\w*|lesbian|damn\w*|whip\w*|suicide|murder\w*|drunk\w*|slut\w*|fag\w*|racis\w*|savage)\b", re.I)
DETERMINERS = {"a", "an", "the", "any", "one", "some", "something", "someone", "somebody", "anything", "anyone", "either", "each",
               "all", "that", "what", "two", "three", "several", "various", "his", "her", "your", "people", "money", "lack",
               "of", "in", "on", "whoever", "whatever", "where", "how", "both", "food", "land", "water", "paper", "cloth", "equipment"}
CATEGORY_ORDER = ["bird", "fish", "insect", "reptile", "mammal", "animal", "tree", "flower", "fruit", "vegetable",
                  "drink", "musical instrument", "piece of furniture", "piece of clothing", "weapon", "vehicle",
                  "tool", "machine", "container", "building", "body part", "metal", "color", "feeling", "sport",
                  "disease", "game", "food", "plant", "person"]


def read_wordnet(folder):
    synsets, lemmas = {}, defaultdict(dict)
    for pos, name in POS.items():
        for line in open(folder / f"data.{name}", encoding="latin-1"):
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split()
            count = int(fields[3], 16)
            words = [fields[4 + 2 * i] for i in range(count)]
            words = [re.sub(r"\(.*\)$", "", w) for w in words]
            at = 4 + 2 * count
            pointers = []
            for _ in range(int(fields[at])):
                symbol, offset, target_pos, source_target = fields[at + 1:at + 5]
                pointers.append((symbol, ("a" if target_pos == "s" else target_pos, offset), source_target))
                at += 4
            synsets[pos, fields[0]] = {"file": int(fields[1]), "words": words, "pointers": pointers,
                                       "gloss": gloss.strip(), "satellite": fields[2] == "s"}
        for line in open(folder / f"index.{name}", encoding="latin-1"):
            if line.startswith("  "):
                continue
            fields = line.split()
            pointer_count = int(fields[3])
            rest = fields[4 + pointer_count:]
            lemmas[fields[0]][pos] = {"tagged": int(rest[1]), "senses": [(pos, o) for o in rest[2:]]}
    counts = {}
    for line in open(folder / "cntlist.rev", encoding="latin-1"):
        key, sense, count = line.split()
        lemma, rest = key.split("%")
        pos = "nvara"[int(rest[0]) - 1]
        counts[lemma, pos, int(sense)] = int(count)
    return synsets, lemmas, counts


def read_common_words(folder):
    level = {}
    for size in (10, 20, 35, 40, 50):
        for kind in ("english", "american"):
            path = folder / f"{kind}-words.{size}"
            if path.exists():
                for word in path.read_text(encoding="latin-1").split():
                    level.setdefault(word, size)
    return level


def read_r_strings(path):
    """The character vectors in an R data file, in order: enough of R's format to read the novels."""
    data = path.read_bytes()
    at, texts = 0, []
    while at + 5 < len(data):
        length = struct.unpack(">I", data[at:at + 4])[0]
        block = zlib.decompressobj()
        try:
            raw = block.decompress(data[at + 4:])
        except zlib.error:
            at += 1
            continue
        if len(raw) != length:
            at += 1
            continue
        at = len(data) - len(block.unused_data)
        i, lines = 0, []
        while (i := raw.find(b"\x00\x04\x00\x09", i)) >= 0:
            size = struct.unpack(">i", raw[i + 4:i + 8])[0]
            lines.append(raw[i + 8:i + 8 + size].decode("utf-8", "replace") if size > 0 else "")
            i += 8 + max(size, 0)
        texts.append(lines)
    return texts


def clean(text):
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"').replace("--", " - ")
    text = re.sub(r"[_`*]+", "", text)
    return re.sub(r"\s+", " ", text).strip()


def sentences_of(text):
    return [s for s in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", text) if 15 < len(s) < 400]


def read_prose(novels, jargon, devil):
    passages = []
    for lines in read_r_strings(novels):
        if len(lines) < 2000:
            continue
        for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
            paragraph = clean(paragraph)
            if len(paragraph) > 80 and paragraph.isascii() and not paragraph.isupper():
                passages.append(sentences_of(paragraph))
    for path in (jargon, devil):
        text = gzip.open(path).read().decode("utf-8", "replace")
        for entry in re.split(r"\n\s*\n", text):
            entry = clean(entry)
            if 80 < len(entry) < 3000 and entry.isascii() and not re.search(r"[{}|<>\\=/]{1}.*[{}|<>\\=/]", entry):
                passages.append(sentences_of(entry))
    return [p for p in passages if p]


def tidy_gloss(gloss):
    """The definition in a gloss as one clause, and its quoted examples."""
    examples = [e.strip(" ;,.") for e in re.findall(r'"([^"]{6,110})"', gloss)]
    body = re.split(r';?\s*"', gloss)[0]
    body = re.sub(r"\([^()]*\)", "", body)
    body = re.sub(r"\s+", " ", body).replace("`", "'").replace(" ,", ",").strip(" ;:,.")
    clauses = [c.strip(" ,.") for c in body.split(";") if c.strip(" ,.")]
    if not clauses:
        return None, examples
    text = clauses[0]
    if len(text.split()) < 7 and len(clauses) > 1 and len(clauses[1].split()) < 10:
        text += "; " + clauses[1]
    words = text.split()
    if len(words) > 24:
        # A tiny model does better with a definition that ends early: cut before a subordinate part.
        cut = max((i for i in range(8, 20) if words[i - 1].endswith(",") or words[i] in SUBORDINATE), default=18)
        text = " ".join(words[:cut]).rstrip(",;")
        text = re.sub(r"( (and|or|of|the|a|an|in|to|with|by|for|usually|typically|especially|often))+$", "", text)
    examples = [e.replace("--", " - ") for e in examples if not UNFIT.search(e)]
    return (text if len(text) > 5 and text.isascii() else None), examples


def article(word):
    if re.match(r"(uni([^nm]|$)|use|usu|eu|one|ura|ute|uku)", word):
        return "a"
    if re.match(r"(hour|honest|heir|honou?r)", word):
        return "an"
    return "an" if word[0] in "aeiou" else "a"


def make_facts(folder, level):
    synsets, lemmas, counts = read_wordnet(folder)

    def ancestors(key, seen=None):
        seen = set() if seen is None else seen
        for symbol, target, _ in synsets[key]["pointers"]:
            if symbol in ("@", "@i") and target not in seen:
                seen.add(target)
                ancestors(target, seen)
        return seen

    roots = {name: lemmas[lemma]["n"]["senses"][sense - 1] for name, (lemma, sense) in CATEGORIES.items()}
    exceptions = defaultdict(list)
    for line in open(folder / "noun.exc"):
        plural, *singulars = line.split()
        exceptions[singulars[0]].append(plural)

    def plural_of(word):
        if exceptions.get(word):
            known = [p for p in exceptions[word] if p in level]
            return known[0] if known else exceptions[word][0]
        if re.search(r"(s|x|z|ch|sh)$", word):
            return word + "es"
        if re.search(r"[^aeiou]y$", word):
            return word[:-1] + "ies"
        return word + "s"

    def inflections(word):
        stem = word[:-1] if word.endswith("e") else word
        return {word, plural_of(word), word + "ed", word + "d", stem + "ing", stem + "ed", word + word[-1] + "ing",
                word + word[-1] + "ed", word + "s", word[:-1] + "ied" if word.endswith("y") else word}

    words = []
    for word, size in sorted(level.items()):
        if not re.fullmatch(r"[a-z]{2,16}", word) or word not in lemmas:
            continue
        entry = lemmas[word]
        strength = {}
        for pos, e in entry.items():
            strength[pos] = sum(counts.get((word, pos, i + 1), 0) for i in range(len(e["senses"]))) + 0.4 * len(e["senses"])
        main = max(strength, key=strength.get)
        noun_file = synsets[entry["n"]["senses"][0]]["file"] if "n" in entry else 0
        tagged = sum(strength.values())
        if size > 35 or (size == 35 and noun_file not in CONCRETE_FILES and tagged < 3):
            continue
        item = {"word": word, "level": size, "main": main, "senses": {}}
        for pos in entry:
            if strength[pos] < 0.15 * strength[main] and pos != main and not (pos == "n" and noun_file in CONCRETE_FILES):
                continue
            senses = entry[pos]["senses"]
            # An inflected form or a proper name reached through a lower-case lemma is not the common word.
            chosen = next((k for k in senses[:2] if tidy_gloss(synsets[k]["gloss"])[0]
                           and not UNFIT.search(synsets[k]["gloss"]) and not UNFIT.search(word)
                           and word in synsets[k]["words"]
                           and not any(s == "@i" for s, _, _ in synsets[k]["pointers"])), None)
            if chosen is None:
                continue
            synset = synsets[chosen]
            gloss, examples = tidy_gloss(synset["gloss"])
            for k in senses[:3]:
                examples += tidy_gloss(synsets[k]["gloss"])[1]
            forms = inflections(word)
            examples = [e for e in dict.fromkeys(examples) if forms & set(re.findall(r"[a-z]+", e.lower()))
                        and len(e.split()) >= 4 and e.isascii()][:4]
            synonyms = [w for w in synset["words"] if w != word and level.get(w, 99) <= 40 and w.isalpha() and w.islower()][:3]
            antonyms = []
            for k in senses[:3]:
                number = [w.lower() for w in synsets[k]["words"]].index(word) + 1 if word in [w.lower() for w in synsets[k]["words"]] else 0
                for symbol, target, st in synsets[k]["pointers"]:
                    if symbol == "!" and int(st[:2], 16) == number:
                        antonyms.append(synsets[target]["words"][int(st[2:], 16) - 1])
            antonyms = [w for w in dict.fromkeys(antonyms) if level.get(w, 99) <= 40 and w.isalpha()][:1]
            sense = {"gloss": gloss, "examples": examples, "synonyms": synonyms, "antonyms": antonyms}
            if pos == "n":
                plural = plural_of(word)
                sense["plural"] = plural if plural in level else None
                countable = synset["file"] in COUNTABLE_FILES and plural in level
                if re.match(r"(a|an|any|one|someone|somebody)\b", gloss) and plural in level and synset["file"] not in (7, 12, 26):
                    countable = True
                if synset["file"] in (13, 27) and not re.match(r"(a|an|any|one)\b", gloss):
                    countable = False
                up = ancestors(chosen) | {chosen}
                sense["categories"] = [c for c in CATEGORY_ORDER if roots[c] in up]
                if {"fruit", "vegetable"} & set(sense["categories"]) and plural in level:
                    countable = True
                    if not re.match(r"(a|an|any|the|one)\b", gloss):
                        sense["gloss"] = f"{article(gloss)} {gloss}"
                first = gloss.split()[0].lower().rstrip(",")
                head = re.split(r" (?:of|that|in|with|for|having|who|which|used|and|or|from|to|on|found|made|by|producing|bearing|"
                                r"growing|often|when|where|as)\b|[,;]", gloss)[0].split()
                if countable and sense["gloss"] == gloss and first not in DETERMINERS:
                    if len(head) > 1 and re.search(r"[^su]s$", head[-1]) and head[-1][:-1] in level and plural in level:
                        sense["of_plural"] = True
                    elif first.endswith("est"):
                        sense["gloss"] = f"the {gloss}"
                    else:
                        sense["gloss"] = f"{article(gloss.lower())} {gloss}"
                if first in ("state", "feeling", "condition", "quality", "act", "process", "sense", "period", "form"):
                    sense["gloss"] = f"{article(gloss)} {gloss}"
                sense["article"] = article(word) if countable else ""
                parents = [t for s, t, _ in synset["pointers"] if s == "@"]
                if parents:
                    parent = synsets[parents[0]]["words"][0].replace("_", " ")
                    if all(level.get(p, 99) <= 40 for p in parent.split()) and parent != word:
                        sense["kind"] = parent
            item["senses"][pos] = sense
        if item["senses"]:
            if item["main"] not in item["senses"]:
                item["main"] = next(iter(item["senses"]))
            words.append(item)

    capitals, names = {}, []
    for key, synset in synsets.items():
        if key[0] != "n" or not any(s == "@i" for s, _, _ in synset["pointers"]):
            continue
        gloss, _ = tidy_gloss(synset["gloss"])
        name = synset["words"][0].replace("_", " ")
        if not gloss or not name.isascii():
            continue
        m = re.match(r"(?:the )?(?:modern )?(?:capital|national capital)(?: and (?:the )?(?:largest|principal|chief) city)? of ([A-Z][A-Za-z]+(?: [A-Z][a-z]+)*)(?![-\w])", gloss)
        if m and synset["file"] == 15 and re.fullmatch(r"[A-Z][A-Za-z ]+", name):
            capitals.setdefault(m.group(1), name)
    for key, synset in synsets.items():
        if key[0] != "n" or not any(s == "@i" for s, _, _ in synset["pointers"]):
            continue
        gloss, _ = tidy_gloss(synset["gloss"])
        if not gloss:
            continue
        for name in synset["words"]:
            name = name.replace("_", " ")
            if name in capitals or name in capitals.values() or (synset["file"] == 17 and name in (
                    "Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto", "Moon", "Sun")):
                names.append({"name": name, "gloss": gloss})
    known = {w["word"] for w in words}
    # Real but rare words, for learning to say "I do not know the word ...".
    rare = sorted(w for w in lemmas if re.fullmatch(r"[a-z]{4,11}", w) and w not in level and w not in known)
    examples = sorted({e for s in synsets.values() for e in tidy_gloss(s["gloss"])[1]
                       if len(e.split()) >= 4 and e.isascii() and re.match(r"[A-Za-z]", e)})
    return {"words": words, "capitals": capitals, "names": names, "rare": rare}, examples


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(SPECIALS), special_tokens=[], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(SPECIALS)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default="/usr/share/wordnet")
    parser.add_argument("--scowl", type=Path, default="/usr/share/dict/scowl")
    parser.add_argument("--novels", type=Path, default="/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
    parser.add_argument("--tokenizer", type=Path, help="keep this tokenizer instead of training one")
    parser.add_argument("--dictd", type=Path, default="/usr/share/dictd")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    facts, examples = make_facts(args.wordnet, read_common_words(args.scowl))
    prose = read_prose(args.novels, args.dictd / "jargon.dict.dz", args.dictd / "devil.dict.dz")
    random.Random(1).shuffle(examples)
    (args.out / "facts.json").write_text(json.dumps(facts))
    (args.out / "prose.json").write_text(json.dumps({"passages": prose, "examples": examples}))

    print(f"{len(facts['words'])} words, {len(facts['capitals'])} capitals, {len(facts['names'])} names, "
          f"{len(prose)} passages of {sum(len(s) for p in prose for s in p) / 1e6:.1f} M characters, {len(examples)} examples")
    if args.tokenizer:
        (args.out / "tokenizer.json").write_text(args.tokenizer.read_text())
        return
    import corpus
    writer = corpus.Writer(facts, {"passages": prose, "examples": examples}, None)
    texts = [text for seed in range(60000) for text, _ in writer.chat(random.Random(seed))]
    texts += [" ".join(p) for p in prose[::3]] + examples[::4]
    train_tokenizer(texts).save(str(args.out / "tokenizer.json"))



if __name__ == "__main__":
    main()
