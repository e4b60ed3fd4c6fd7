"""Read each GGUF file back into transformers' class for it and compare it with the checkpoint it was made from, on held-out chat: mean
loss of both, and the share of positions where their first choices agree. Writes the card's JSON, in which the entries of other
models stay."""

import argparse
import hashlib
import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F

import chat
import corpus
import export_gguf
import mixers
import model as m


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with the GGUF files")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder with the checkpoints and train.json")
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="what evaluate.py wrote")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--ratios", nargs="+", default=list(m.INTERVAL))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    writer = corpus.load(args.sources)
    rng = random.Random(880001)
    rows = torch.stack([torch.from_numpy(writer.pack(rng, 1024).astype("int32")) for _ in range(args.rows)])
    ids = (rows & 0x3FFF).long()
    answer = torch.roll(rows >> 14, -1, 1)[:, :-1] == corpus.ANSWER
    record = json.loads((args.checkpoints / "train.json").read_text())
    measured = json.loads(args.evaluation.read_text()) if args.evaluation else {}
    card = {"family": "hybridscope-ratio", "tokens": record["tokens"], "steps": record["steps"], "batch_tokens": record["batch_tokens"],
            "rows": {"seed": record["seed"], "drills": record["drills"]}, "context_length": m.CONFIG["max_position_embeddings"],
            "license": export_gguf.LICENSE, "models": []}
    others = [f"hybridscope-ratio-{name}.gguf" for name in m.INTERVAL if name not in args.ratios]
    if others and args.out.exists():
        before = json.loads(args.out.read_text())
        card["models"] = [entry for entry in before["models"] if entry["file"] in others]
        assert before | {"models": card["models"]} == card, "the other models were trained on other rows"
    for ratio in args.ratios:
        path = args.models / f"hybridscope-ratio-{ratio}.gguf"
        network = mixers.create(ratio, torch.float32)
        network.load_state_dict({k: v.float() for k, v in torch.load(args.checkpoints / f"{ratio}.pt", map_location="cpu").items()})
        ours, theirs = network.logits(ids)[:, :-1], chat.load(path)(ids, use_cache=False).logits[:, :-1]

        def losses(logits):
            each = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(answer.shape)
            return round(each.mean().item(), 4), round(each[answer].mean().item(), 4)

        agree = (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item()
        entry = {"file": path.name, "name": f"Hybridscope Ratio {export_gguf.NAMES[ratio]}", "ratio": ":".join(ratio.split("-")[:2]),
                 "mixer": export_gguf.MIXERS.get(ratio, "the gated delta rule"), "architecture": export_gguf.ARCHITECTURES.get(ratio, "qwen35"),
                 "layer_types": m.layer_types(ratio), "full_layers": m.layer_types(ratio).count(m.FULL),
                 "parameters": sum(p.numel() for p in network.parameters()), "bytes": path.stat().st_size,
                 "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "final_training_loss": record["loss"][ratio][-1],
                 "training_seconds": round(record["seconds"], 1), "trained_together": list(record["loss"]), "device": "one " + record["device"],
                 "held_out_loss": {"checkpoint": losses(ours)[0], "gguf": losses(theirs)[0]},
                 "held_out_loss_answers": {"checkpoint": losses(ours)[1], "gguf": losses(theirs)[1]},
                 "first_choice_agreement": round(agree, 4),
                 "recall": measured.get("recall", {}).get(ratio, {}),
                 "definitions": measured.get("definitions", {}).get(ratio, {}),
                 "loss_by_position": measured.get("loss_by_position", {}).get(ratio, {})}
        card["models"].append(entry)
        card["models"].sort(key=lambda other: list(m.INTERVAL).index(other["file"].removeprefix("hybridscope-ratio-").removesuffix(".gguf")))
        print({k: entry[k] for k in ("file", "parameters", "final_training_loss", "held_out_loss", "held_out_loss_answers", "first_choice_agreement")}, flush=True)
    args.out.write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
