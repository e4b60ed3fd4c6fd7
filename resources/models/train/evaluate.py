"""Measure the family on held-out rows: loss by position, and recall by distance and number of facts.

Recall: some facts ("The code of the red box is 4182."), then exactly so many tokens of prose, then questions about up to
sixteen of the facts, one after another, with the right answers between them. An answer counts when each of its tokens is
the model's first choice, which is when greedy decoding gives it. Results are written after every cell, so a run on a
slow machine can be stopped with what it has.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import corpus
import handmade as hm
import mixers
import model as m

SEED = 990001
BUCKETS = [0, 128, 256, 512, 1024, 2048, 4096, 8192]
# With the facts and questions these fill rows of a power of two times the chunk, as the chunked rule takes them.
DISTANCES = [100, 500, 2400, 6400]
FACTS = [4, 16, 48, 96]


def recall_row(writer, rng, distance, count, questions=16):
    """Token ids, and the ranges that hold the answers."""
    things = rng.sample([f"{a} {o}" for a in hm.COLORS + hm.ADJECTIVES for o in hm.OBJECTS], count)
    facts = [(t, "".join(rng.choice("0123456789") for _ in range(4))) for t in things]
    ids = writer.encode("<|im_start|>user\nRemember: " + " ".join(f"The code of the {t} is {c}." for t, c in facts) + " ")
    # Prose alone, so that nothing in it looks like a fact.
    filler = []
    while len(filler) < distance:
        filler += writer.encode(" ".join(rng.choice(writer.passages)) + " ")
    ids += filler[:distance]
    answers = []
    for i, (thing, code) in enumerate(rng.sample(facts, min(questions, count))):
        ids += writer.encode(("" if i == 0 else "<|im_start|>user\n") + f"What is the code of the {thing}?<|im_end|>\n<|im_start|>assistant\n")
        answer = writer.encode(f"The code of the {thing} is {code}.<|im_end|>")
        answers.append((len(ids), len(ids) + len(answer)))
        ids += answer + writer.encode("\n")
    return ids, answers


def padded(ids):
    length = m.CHUNK
    while length < len(ids):
        length *= 2
    return ids + [0] * (length - len(ids))


def logits(network, hidden):
    return F.linear(network.model.norm(hidden).float(), network.model.embed_tokens.weight.float())


@torch.no_grad()
def loss_by_position(network, rows, device):
    sums, counts = np.zeros(8192), np.zeros(8192)
    rope = network.rope(8192, device)
    for row in rows:
        ids = (row & 0x3FFF).long().to(device)
        x = network.hidden(ids[None], rope)[0]
        for a in range(0, 8191, 1024):
            b = min(a + 1024, 8191)
            sums[a:b] += F.cross_entropy(logits(network, x[a:b]), ids[a + 1:b + 1], reduction="none").cpu().numpy()
            counts[a:b] += 1
    return {f"{a}-{b}": round(float(sums[a:b].sum() / counts[a:b].sum()), 4) for a, b in zip(BUCKETS, BUCKETS[1:])}


@torch.no_grad()
def recall(network, rows, device):
    right = total = 0
    for ids, answers in rows:
        ids = torch.tensor(padded(ids), device=device)
        x = network.hidden(ids[None], network.rope(len(ids), device))[0]
        for a, b in answers:
            right += bool((logits(network, x[a - 1:b - 1]).argmax(-1) == ids[a:b]).all())
            total += 1
    return right, total


@torch.no_grad()
def definitions(network, writer, words, device):
    """How many of the words the model, asked plainly, defines word for word as it was taught."""
    right = 0
    for word in words:
        rng = random.Random(word["word"])
        question, answer = writer.ask_definition(rng, word)
        ids = writer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
        start = len(ids)
        ids += writer.encode(f"{answer}<|im_end|>")
        end = len(ids)
        ids = torch.tensor(padded(ids), device=device)
        x = network.hidden(ids[None], network.rope(len(ids), device))[0, start - 1:end - 1]
        right += bool((logits(network, x).argmax(-1) == ids[start:end]).all())
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=4, help="recall documents in a cell")
    parser.add_argument("--words", type=int, default=200, help="words of each level to define")
    parser.add_argument("--cells", type=int, default=99, help="recall cells to measure")
    parser.add_argument("--rows", type=int, default=2, help="held-out rows of 8192 tokens for the loss")
    parser.add_argument("--ratios", nargs="+", default=list(m.INTERVAL))
    args = parser.parse_args()
    started = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("highest")
    writer = corpus.load(args.sources)
    networks = {}
    for ratio in args.ratios:
        networks[ratio] = mixers.create(ratio, torch.float32).to(device)
        state = torch.load(args.checkpoints / f"{ratio}.pt", map_location=device)
        networks[ratio].load_state_dict({k: v.float() for k, v in state.items()})
    rng = random.Random(SEED)
    samples = {f"level {n}": rng.sample([w for w in writer.words if w["level"] == n and w["word"] not in writer.sentences], args.words) for n in (10, 20, 35)}
    samples["handwritten"] = rng.sample([writer.by_word[w] for w in writer.sentences], args.words)
    out = {"recall_documents": args.documents, "loss_rows": args.rows, "recall": {r: {} for r in networks}, "loss_by_position": {}, "definitions": {}}
    for ratio, network in networks.items():
        out["definitions"][ratio] = {n: {"right": definitions(network, writer, words, device), "asked": len(words)} for n, words in samples.items()}
        print(f"{time.time() - started:.0f} s: definitions, {ratio}: {out['definitions'][ratio]}", flush=True)
        args.out.write_text(json.dumps(out, indent=1))
    cells = [(d, f) for d in DISTANCES for f in FACTS if d + 30 * f < 8192][:args.cells]
    for distance, count in cells:
        rng = random.Random(SEED + distance * 100 + count)
        rows = [recall_row(writer, rng, distance, count) for _ in range(args.documents)]
        for ratio, network in networks.items():
            right, total = recall(network, rows, device)
            out["recall"][ratio][f"{distance}x{count}"] = {"right": right, "asked": total}
        line = " ".join(f"{r} {out['recall'][r][f'{distance}x{count}']['right'] / total:.2f}" for r in networks)
        print(f"{time.time() - started:.0f} s: {count} facts, {distance} tokens, {total} questions: {line}", flush=True)
        args.out.write_text(json.dumps(out, indent=1))
    rng = random.Random(SEED)
    rows = torch.from_numpy(np.stack([writer.pack(rng, 8192) for _ in range(args.rows)]).astype(np.int32))
    for ratio, network in networks.items():
        out["loss_by_position"][ratio] = loss_by_position(network, rows, device)
        print(f"{time.time() - started:.0f} s: loss by position, {ratio}: {out['loss_by_position'][ratio]}", flush=True)
        args.out.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
