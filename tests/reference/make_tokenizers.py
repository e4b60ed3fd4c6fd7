#!/usr/bin/env python3
"""Small tokenizers with the published split patterns, and what Hugging Face makes of 2,200 strings.

Needs tokenizers==0.23.3 and regex (any version: it only checks one pattern). Deterministic.
Writes into tests/data/tokenizers:
  strings.txt     one string per line, as JSON
  NAME.json       the tokenizer
  NAME.ids        per string, its ids: two characters each, base 64, most significant first
  NAME.plain      the same without any added token, for the strings that hold one: "index ids"
  NAME.decoded    JSON lines [ids, text]: decode(ids, skip_special_tokens=True)
"""
import argparse
import collections
import json
import pathlib
import random
import unicodedata

import regex
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__

PATTERNS = {
    "r2": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r3": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r4": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r5": [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r6": [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r7": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
           r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "r8": ["|".join([
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])],
    "r9": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    "r11": [r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
}

WORDS = {
    "en": "the of and to in is that it was for on are with they this have from one had word but not what all were we when your can said there use each which she do how their will other about out many then them these so some her would make like him into time has look two more write go see number way could people my than first water been call who oil its now find long down day did get come made may part hybrid attention linear state token cache layer don't it's they'll we've I'm he'd you're".split(),
    "ru": "и в не на что он как это все она так его но да ты к у же вы за бы по только ее мне было вот от меня еще нет о из ему теперь когда даже ну вдруг ли если уже или ни быть Привет Мир МоскваГород".split(),
    "el": "και το να είναι για με που δεν από στο την της τα οι ΑθήναΠόλη Σίσυφος".split(),
    "ar": "في من على هذا التي الذي كان مع عن إلى بعد كل أن لا ما هو هي العربية السلام عليكم مَرْحَبًا ١٢٣٤".split(),
    "he": "של את על לא זה הוא עם כל שָׁלוֹם".split(),
    "hi": "के है में की को से का और यह पर नमस्ते दुनिया क्षत्रिय हिन्दी १२३".split(),
    "th": "ที่ และ ใน การ เป็น ของ ภาษาไทย สวัสดี".split(),
    "zh": "的 一 是 不 了 人 我 在 有 他 这 中 大 来 上 国 你好世界 模型 注意力 混合 線性 漢字 、 。 「引用」 〇 々".split(),
    "ja": "の に は を た が で て と し れ さ ひらがな カタカナ 東京タワー 日本語です ー ｶﾀｶﾅ".split(),
    "ko": "이 그 저 것 수 등 한국어 안녕하세요 세계 ㅋㅋㅋ".split(),
    "vi": "không là của và một có người được cho trong tiếng Việt".split(),
}
CODE = ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) {\n\t\ta[i] += b[i];\n}\n",
        "SELECT * FROM t WHERE a>=10 AND b<>'x';", "<div class=\"a b\">&nbsp;</div>\r\n",
        "x=1;y=2;//comment\r\n\r\n", "std::vector<std::pair<int,float>> v{};", "git commit -m 'why' && make -j2",
        "camelCaseName HTTPServerError snake_case_name kebab-case", "0x1F 1e-9 3.14159 1_000_000 12345678901",
        "https://example.org/a/b?c=d&e=%20#f", "\\begin{align} \\frac{a}{b} \\end{align}", "/* ... */ /// //",
        "{\"a\": [1, 2, {\"b\": null}]}", "if [ \"$x\" != '' ]; then echo \"$x\"; fi\n", "__init__ ->None: ... @dataclass"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇯🇵", "❤️", "☃", "1️⃣", "🧑🏿‍🚀", "™", "€", "½", "²", "Ⅷ", "①", "𝔘𝔫𝔦", "𠮷", "🀄"]
CONTRACTIONS = ["I'm", "it's", "IT'S", "don't", "DON'T", "we'll", "WE'LL", "they've", "you're", "he'd", "it'ſ", "'ſ", "'S",
                "l'été", "'tis", "o'clock", "'''", "rock'n'roll", "x's's", "HE'D've", "'llama", "’s don’t"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028", "\x85", "\x0b",
          "\x0c", "\u1680", "\u180e", "\u202f", "\u205f", "\ufeff", "        ", "\n \n  \n", " \t ", "\r", "\n\r"]
CONTROLS = ["\x00", "\x01", "\x07", "\x08", "\x1b[31m", "\x7f", "\x80", "\x9f", "\u200d", "\u200c", "\u200e", "\u061c",
            "\ufffd", "\ufffe", "\U0010ffff", "\ue000", "\U000e0041", "\u0378"]
MARKS = ["e\u0301", "é", "n\u0303", "a\u0323\u0302", "a\u0302\u0323", "\u1100\u1161\u11a8", "각", "\u212b", "\u2126", "ﬁ",
         "\u0344", "क\u093c", "\u0301", "q\u0307\u0323", "ạ\u0308", "ǅ", "ʰ", "ªº", "İ", "ß", "ẞ", "\u1e9b\u0323"]


def mixed_text(rng):
    """A few hundred kilobytes to train on."""
    lines = []
    for _ in range(2500):
        words = WORDS[rng.choice(["en"] * 6 + list(WORDS))]
        line = " ".join(rng.choice(words) for _ in range(rng.randint(3, 14)))
        if rng.random() < 0.3:
            line = line[:1].upper() + line[1:] + rng.choice([".", "!", "?", ", ", ": "])
        if rng.random() < 0.15:
            line += " " + str(rng.randint(0, 99999))
        lines.append(line)
    lines += CODE * 12 + CONTRACTIONS * 8 + MARKS * 3 + EMOJI * 3
    rng.shuffle(lines)
    return lines


def random_characters(rng, count):
    """Code points assigned by Unicode 14, which is what the oldest library in use knows."""
    blocks = [(0x20, 0x7e)] * 4 + [(0xa0, 0x24f), (0x250, 0x36f), (0x370, 0x52f), (0x5d0, 0x6ff), (0x900, 0xdff),
              (0xe01, 0xeff), (0x1100, 0x11ff), (0x1e00, 0x1fff), (0x2000, 0x22ff), (0x2460, 0x27bf), (0x2e80, 0x30ff),
              (0x3130, 0x33ff), (0x4e00, 0x9fa5), (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xff00, 0xffef),
              (0x10400, 0x1044f), (0x1d400, 0x1d7ff), (0x1f300, 0x1f64f), (0x20000, 0x20100)]
    out = []
    while len(out) < count:
        c = chr(rng.randint(*rng.choice(blocks)))
        if unicodedata.category(c) != "Cn":
            out.append(c)
    return "".join(out)


TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]


def strings(rng):
    out = list(CONTRACTIONS + EMOJI + SPACES + CONTROLS + MARKS + CODE)
    out += ["", "a", " a", "a ", "  a  ", "\n", "hello world", "Hello, World!", " Hello", "AAAA" * 20, "a" * 90, " " * 70,
            "\n" * 50, "1" * 40, "!" * 60, "=" * 80, "漢" * 40, "é" * 40, "😀" * 20, "\u0301" * 30, "ab" * 50, "\r\n" * 20,
            "A" + "\u0301" * 20 + "b"]

    def word():
        return rng.choice(WORDS[rng.choice(list(WORDS) + ["en"] * 4)])

    def part():
        kind = rng.random()
        if kind < 0.42:
            return word()
        if kind < 0.50:
            return word().upper() if rng.random() < 0.5 else word().title()
        if kind < 0.57:
            return rng.choice(CONTRACTIONS)
        if kind < 0.64:
            return rng.choice(EMOJI)
        if kind < 0.70:
            return rng.choice(MARKS)
        if kind < 0.76:
            return str(rng.randint(0, 10 ** rng.randint(1, 8)))
        if kind < 0.82:
            return rng.choice(CONTROLS)
        if kind < 0.88:
            return "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randint(1, 4)))
        if kind < 0.92:
            code = rng.choice(CODE)
            at = rng.randrange(len(code))
            return code[at:at + rng.randint(1, 9)]
        return random_characters(rng, rng.randint(1, 4))

    while len(out) < 1500:
        text = ""
        for _ in range(rng.randint(1, 5)):
            text += part() + (rng.choice(SPACES) if rng.random() < 0.3 else " " if rng.random() < 0.6 else "")
        out.append(text)
    while len(out) < 1950:
        out.append(random_characters(rng, rng.randint(1, 10)))
    while len(out) < 2200:
        text = ""
        for _ in range(rng.randint(1, 3)):
            text += rng.choice(["", " ", "  ", "\n", "x", word(), part()])
            text += rng.choice(TOKENS + ["<|im_end", "<think", "im_end|>"])
            text += rng.choice(["", " ", "\n\n", "x", "_", word()])
        out.append(text)
    return out


def split(patterns):
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]


def add_tokens(tok):
    tok.add_special_tokens(TOKENS[:3])
    tok.add_tokens([AddedToken(t, normalized=False) for t in TOKENS[3:]])


def byte_level(text, patterns, size, nfc=False, ignore_merges=False, bos=False):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        tok.normalizer = normalizers.NFC()
    if patterns is None:
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            split(patterns) + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    add_tokens(tok)
    if bos:
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tok.token_to_id("<|endoftext|>"))])])
    return tok


def whole_merges(tok):
    """Every cut of a token into two tokens is a merge, in the order of the tokens: how a
    SentencePiece or tiktoken model is written down as merges."""
    spec = json.loads(tok.to_str())
    vocab = spec["model"]["vocab"]
    merges = []
    for token, index in sorted(vocab.items(), key=lambda item: item[1]):
        if token.startswith("<0x"):
            continue
        merges += [[token[:i], token[i:]] for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab]
    spec["model"]["merges"] = merges
    return Tokenizer.from_str(json.dumps(spec))


def sentencepiece_like(text, size, kind):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "metaspace":
        tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
        tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="first")])
    elif kind == "spm":
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        # Trained with splits, used without: no token spans two words, as in SentencePiece.
        tok.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                         decoders.Strip(" ", 1, 0)])
    else:
        tok.normalizer = normalizers.Replace(" ", "▁")
        tok.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    # "\n" and friends are left to the byte tokens, as in Llama's vocabulary.
    # The rarer characters too; the trainer's own limit breaks ties by chance.
    counts = collections.Counter(c for line in text for c in line if c not in "\n\t\r")
    alphabet = set(sorted(counts, key=lambda c: (-counts[c], c))[:160])
    text = ["".join(c for c in line if c in alphabet) for line in text]
    tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False))
    spec = json.loads(tok.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    if kind == "spm":
        spec["pre_tokenizer"] = None
    if kind == "gemma":
        spec["pre_tokenizer"] = json.loads(json.dumps({"type": "Split", "pattern": {"String": " "},
                                                       "behavior": "MergedWithPrevious", "invert": False}))
    tok = whole_merges(Tokenizer.from_str(json.dumps(spec)))
    add_tokens(tok)
    return tok


def tiktoken_like(text, size):
    tok = whole_merges(byte_level(text, PATTERNS["r8"], size, ignore_merges=True))
    add_tokens(tok)
    return tok


def with_demanding_tokens(text, size):
    """Added tokens with every attribute, and a normalizer that they meet before or after."""
    tok = byte_level(text, PATTERNS["r3"], size)
    spec = json.loads(tok.to_str())
    spec["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.add_tokens([AddedToken("the", single_word=True, normalized=False), AddedToken("ATTENTION", normalized=True),
                    AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
                    AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("fi", normalized=True),
                    AddedToken("_x", single_word=True, normalized=True)])
    return tok


def demanding_strings(rng):
    parts = ["the", "then", "The", "ATTENTION", "attention", "Attention", "<left>", "<right>", "<both>", "ﬁ", "FI", "_x", "a_x",
             " ", "  ", "\n", "\u3000", "word", "é", "é", "١", "-", "x", "<|im_end|>", "\u200d"]
    return ["".join(rng.choice(parts) for _ in range(rng.randint(1, 7))) for _ in range(500)]


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def packed(ids):
    assert all(0 <= i < 4096 for i in ids)
    return "".join(ALPHABET[i >> 6] + ALPHABET[i & 63] for i in ids)


def check_r8(texts):
    """Oniguruma and the regex module agree on the one pattern that PCRE2 cannot take as it is."""
    ours = pre_tokenizers.Split(Regex(PATTERNS["r8"][0]), "isolated")
    theirs = regex.compile(PATTERNS["r8"][0], regex.V1)
    differing = 0
    for text in texts:
        pieces = [p for p, _ in ours.pre_tokenize_str(text)]
        differing += pieces != [m.group() for m in theirs.finditer(text)]
    print(f"r8: Oniguruma and regex differ on {differing} of {len(texts)} strings")


def random_ids(rng, tok, name):
    vocab = tok.get_vocab()
    byte_ids = {i for t, i in vocab.items() if t.startswith("<0x")}
    continuation = [vocab[f"<0x{b:02X}>"] for b in range(0x80, 0xc0)] if byte_ids else []
    # Special tokens are skipped, which would join the runs around them.
    skipped = {i for i, t in tok.get_added_tokens_decoder().items() if t.special} if byte_ids else set()
    others = sorted(set(vocab.values()) - byte_ids - skipped)
    out = []
    for _ in range(150):
        ids = []
        for _ in range(rng.randint(1, 8)):
            # Runs of byte tokens are either whole characters or hold none: where a run mixes both,
            # Hugging Face shows U+FFFD for all its bytes, which a stream cannot know in time.
            kind = rng.random()
            if continuation and kind < 0.15:
                if not (ids and ids[-1] in byte_ids):
                    ids += [rng.choice(continuation) for _ in range(rng.randint(1, 3))]
            elif continuation and kind < 0.3:
                if not (ids and ids[-1] in byte_ids):
                    ids += [vocab[f"<0x{b:02X}>"] for b in rng.choice(["€", "😀", "é", "A"]).encode()]
            else:
                ids.append(rng.choice(others))
        out.append(ids)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    here = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--out", type=pathlib.Path, default=here / "data" / "tokenizers")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    text = mixed_text(random.Random(1))
    texts = strings(random.Random(2))
    (out / "strings.txt").write_text("".join(json.dumps(t) + "\n" for t in texts), newline="\n")
    check_r8(texts)

    size = 900
    made = {
        "r1": byte_level(text, None, size),
        "r2": byte_level(text, PATTERNS["r2"], size, ignore_merges=True, bos=True),
        "r3": byte_level(text, PATTERNS["r3"], size, nfc=True),
        "r4": byte_level(text, PATTERNS["r4"], size, nfc=True),
        "r5": byte_level(text, PATTERNS["r5"], size),
        "r6": byte_level(text, PATTERNS["r6"], size, ignore_merges=True),
        "r7": byte_level(text, PATTERNS["r7"], size),
        "r8": tiktoken_like(text, size),
        "r9": byte_level(text, PATTERNS["r9"], size),
        "r11": byte_level(text, PATTERNS["r11"], size, ignore_merges=True),
        "metaspace": sentencepiece_like(text, size, "metaspace"),
        "spm": sentencepiece_like(text, size, "spm"),
        "gemma": sentencepiece_like(text, size, "gemma"),
        "demanding": with_demanding_tokens(text, size),
    }
    for name, tok in made.items():
        rng = random.Random(name)
        spec = json.loads(tok.to_str())
        if name in ("r1", "r5", "spm"):  # the older way of writing merges
            spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
        source = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
        tok = Tokenizer.from_str(source)
        (out / f"{name}.json").write_text(source + "\n", newline="\n")
        if name == "demanding":
            lines = demanding_strings(rng)
            (out / "demanding.txt").write_text("".join(json.dumps(t) + "\n" for t in lines), newline="\n")
        else:
            lines = texts
        encoded = [tok.encode(t, add_special_tokens=False).ids for t in lines]
        (out / f"{name}.ids").write_text("".join(packed(i) + "\n" for i in encoded), newline="\n")

        bare = json.loads(source)
        bare["added_tokens"] = []
        bare["post_processor"] = None
        bare = Tokenizer.from_str(json.dumps(bare))
        holding = [i for i, t in enumerate(lines) if any(token in t for token in TOKENS)]
        if name in ("r2", "r3", "spm"):
            (out / f"{name}.plain").write_text(
                "".join(f"{i} {packed(bare.encode(lines[i], add_special_tokens=False).ids)}\n" for i in holding), newline="\n")
        samples = random_ids(rng, tok, name) + encoded[::40]
        (out / f"{name}.decoded").write_text(
            "".join(json.dumps([packed(i), tok.decode(i, skip_special_tokens=True)]) + "\n" for i in samples), newline="\n")
        print(name, tok.get_vocab_size(), sum(map(len, encoded)))


if __name__ == "__main__":
    main()
