"""Train models at once: all in one process, each on a CUDA stream of its own, all fed the same batch.

Each model's step (forward, backward, optimizer) is a CUDA graph, one for rows of 1024 and one for rows of 8192 tokens;
the graphs are launch-bound alone and fill the GPU together. Hidden matrices are trained with Muon, the rest with Adam,
at a constant rate that falls linearly to almost nothing over the last part. Runs on the CPU too, slowly, for a test.
"""

import argparse
import contextlib
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo

import corpus
import evaluate
import mixers
import model as m

LONG = 8192
SHARD = {1024: 512, LONG: 64, "drills": 512}  # rows in a file that rows.sh writes
MUON_RATE, ADAM_RATE, EMBED_RATE = 0.02, 0.002, 0.004
MUON_DECAY = 0.02
# Rows of dense recall in a batch of 32 short rows: many at first, for layers that look things up to form, few later. Until
# every model with full attention recalls, from PATIENCE of the steps on, as many as at first again.
DRILLS = ((0.0, 12), (0.12, 6), (0.3, 3))
PATIENCE, ENOUGH = 0.2, 0.9


def orthogonalize(g):
    """The nearest orthogonal matrix, roughly: five Newton-Schulz steps (K. Jordan's Muon)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Optimizer:
    """Muon over stacks of equally shaped matrices and Adam over flat vectors; parameters become views of both."""

    def __init__(self, model):
        matrices, embed, small = {}, [], []
        for name, p in model.named_parameters():
            if p.dim() == 2 and "embed" not in name and min(p.shape) > 8:
                matrices.setdefault((*p.shape, "qkv" in name), []).append(p)
            else:
                (embed if "embed" in name else small).append(p)
        device = next(model.parameters()).device
        self.rate = torch.zeros((), device=device)
        self.step_count = torch.zeros((), device=device)
        self.stacks = []
        for (rows, columns, is_qkv), params in matrices.items():
            stack = torch.stack([p.data for p in params])
            for p, part in zip(params, stack):
                p.data = part
            self.stacks.append((params, stack, torch.zeros_like(stack), 3 if is_qkv else 1))
        self.flats = []
        for params, rate in ((embed, EMBED_RATE), (small, ADAM_RATE)):
            # Compiled kernels expect parameters at multiples of 16 bytes.
            room = [-(-p.numel() // 32) * 32 for p in params]
            flat, grad = torch.zeros(sum(room), device=device), torch.zeros(sum(room), device=device)
            grads = [part[:p.numel()].view(p.shape) for p, part in zip(params, grad.split(room))]
            for p, part in zip(params, flat.split(room)):
                part[:p.numel()] = p.data.flatten()
                p.data = part[:p.numel()].view(p.shape)
            self.flats.append((params, grads, grad, flat, torch.zeros_like(flat), torch.zeros_like(flat), rate))

    def moments(self):
        return [momentum for _, _, momentum, _ in self.stacks] + [moment for *_, first, second, _ in self.flats for moment in (first, second)]

    @torch.no_grad()
    def step(self):
        self.step_count += 1
        for params, stack, momentum, parts in self.stacks:
            grad = torch.stack([p.grad for p in params]).float()
            momentum.lerp_(grad, 0.05)
            update = grad.lerp_(momentum, 0.95)
            n, rows, columns = update.shape
            update = orthogonalize(update.view(n * parts, rows // parts, columns)).view(n, rows, columns)
            scale = math.sqrt(max(1.0, rows / parts / columns))
            stack.mul_(1 - self.rate * (MUON_RATE * MUON_DECAY)).sub_(update * (self.rate * (MUON_RATE * scale)))
        for params, grads, grad, flat, first, second, rate in self.flats:
            torch._foreach_copy_(grads, [p.grad for p in params])
            first.lerp_(grad, 0.1)
            second.lerp_(grad * grad, 0.05)
            update = (first / (1 - 0.9 ** self.step_count)) / ((second / (1 - 0.95 ** self.step_count)).sqrt() + 1e-10)
            flat.sub_(update * (self.rate * rate))


class Trainer:
    """One model with its stream, its graphs and its log."""

    def __init__(self, ratio, args, device, layer, loss):
        torch.manual_seed(args.seed)
        self.ratio, self.device, self.batch_tokens = ratio, device, args.batch_tokens
        self.model = mixers.create(ratio, torch.bfloat16 if device == "cuda" else torch.float32).to(device)
        self.optimizer = Optimizer(self.model)
        self.layer, self.loss = layer, loss
        self.table = torch.tensor(corpus.WEIGHTS, device=device)
        self.log = torch.zeros(args.steps, device=device)
        self.last = torch.zeros((), device=device)
        self.graphs, self.input, self.ropes, self.pool = {}, {}, {}, None
        self.stream = torch.cuda.Stream() if device == "cuda" else None

    def forward_backward(self, rows):
        ids, weights = (rows & 0x3FFF).long(), self.table[(rows >> 14).long()]
        targets = torch.roll(ids, -1, 1)
        weights = torch.roll(weights, -1, 1)
        weights[:, -1] = 0
        x = self.model.hidden(ids, self.ropes[rows.shape[1]], self.layer)
        total, count = self.loss(self.model, x, targets, weights)
        loss = total / count
        loss.backward()
        self.last.copy_(loss.detach())

    def one_step(self, rows):
        self.forward_backward(rows)
        self.optimizer.step()

    def prepare(self, length):
        """Warm up, then capture one step on rows of this length."""
        self.ropes[length] = self.model.rope(length, self.device)
        self.input[length] = torch.zeros(self.batch_tokens // length, length, dtype=torch.int32, device=self.device)
        if self.device != "cuda":
            return
        self.input[length].random_(0, 4096).add_(3 << 14)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.model.zero_grad(set_to_none=True)
                self.forward_backward(self.input[length])
                saved = self.optimizer.rate.clone()
                self.optimizer.step()  # at rate zero: moves nothing but the moments, which are cleared below
                self.optimizer.rate.copy_(saved)
        torch.cuda.synchronize()
        self.model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            self.one_step(self.input[length])
        self.pool = self.pool or graph.pool()
        self.graphs[length] = graph
        torch.cuda.synchronize()
        began = time.time()
        for _ in range(5):
            graph.replay()
        torch.cuda.synchronize()
        print(f"{self.ratio}: {(time.time() - began) / 5 * 1e3:.1f} ms for a step on rows of {length} alone", flush=True)
        for moment in self.optimizer.moments():
            moment.zero_()
        self.optimizer.step_count.zero_()

    def state(self):
        """All that the next step depends on, and the losses so far."""
        optimizer = self.optimizer
        return {"weights": self.model.state_dict(), "moments": optimizer.moments(), "steps": optimizer.step_count, "log": self.log}

    @torch.no_grad()
    def restore(self, state):
        weights = self.model.state_dict()
        assert weights.keys() == state["weights"].keys()
        for name, value in weights.items():
            value.copy_(state["weights"][name])
        for moment, value in zip(self.optimizer.moments(), state["moments"], strict=True):
            moment.copy_(value)
        self.optimizer.step_count.copy_(state["steps"])
        self.log.copy_(state["log"])

    def recalls(self, rows):
        """The share of the marked tokens of rows that are the model's first choice."""
        ids = (rows & 0x3FFF).long()
        asked = torch.roll(rows >> 14, -1, 1).bool()
        asked[:, -1] = False
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            # With gradients on, since that is what the compiled layers were compiled for.
            x = self.model.hidden(ids, self.ropes[rows.shape[1]], self.layer).detach()
            with torch.no_grad():
                x = self.model.model.norm(x[asked]).float()
                right = (x @ self.model.model.embed_tokens.weight.T).argmax(-1) == torch.roll(ids, -1, 1)[asked]
            return right.float().mean().item()

    def train_on(self, rows, length, step, rate):
        if self.device != "cuda":
            self.optimizer.rate.fill_(rate)
            self.model.zero_grad(set_to_none=True)
            self.one_step(rows)
            self.log[step] = self.last
            return
        rows.record_stream(self.stream)
        with torch.cuda.stream(self.stream):
            self.optimizer.rate.fill_(rate)
            self.input[length].copy_(rows)
            self.graphs[length].replay()
            self.log[step].copy_(self.last)


class Rows:
    """Reads shards in order, waiting for the ones not written yet, behind the rows that steps before this run have used."""

    def __init__(self, folder, name, used):
        self.folder, self.name, self.rows = folder, name, np.zeros((0, 0), np.uint16)
        self.shard, self.at = used // SHARD[name], 0
        if used % SHARD[name]:
            self.next(used % SHARD[name])

    def next(self, count):
        parts = []
        while count > 0:
            if self.at == len(self.rows):
                path = self.folder / f"{self.name}-{self.shard:05d}.npy"
                while not path.exists():
                    time.sleep(0.05)
                self.rows, self.at = np.load(path), 0
                path.unlink()
                self.shard += 1
            parts.append(self.rows[self.at:self.at + count])
            self.at += len(parts[-1])
            count -= len(parts[-1])
        return torch.from_numpy(np.concatenate(parts).astype(np.int32))


def probe(sources, length, count):
    """Rows of held-out recall, 16 facts and few tokens of prose, with the digits of the answers marked."""
    writer, rng, rows = corpus.load(sources), random.Random(770001), []
    while len(rows) < count:
        ids, answers = evaluate.recall_row(writer, rng, 60, 16, 8)
        marks = [0] * len(ids)
        digits = {i for d in "0123456789" for i in writer.encode(d)}
        for a, b in answers:
            for i in range(a, b):
                marks[i] = int(ids[i] in digits)
        assert len(ids) <= length
        rows.append([t | k << 14 for t, k in zip(ids, marks)] + [0] * (length - len(ids)))
    return torch.tensor(rows, dtype=torch.int32)


def schedule_at(step, schedule):
    return [count for at, count in schedule if at <= step][-1]


def rows_used(steps, args, schedule):
    """Rows of each kind in that many first steps."""
    used = {name: 0 for name in SHARD}
    for step in range(steps):
        if is_long(step, args.steps, args.long_from):
            used[LONG] += args.batch_tokens // LONG
        else:
            drills = schedule_at(step, schedule)
            used["drills"] += drills
            used[args.length] += args.batch_tokens // args.length - drills
    return used


def is_long(step, steps, start):
    return step >= start * steps and step % 4 == 3


def rate_at(step, progress, warmup, peak, decay):
    return peak * min(1.0, (step + 1) / warmup, max(0.01, (1 - progress) / decay))


def save(trainers, folder, record, to_go_on):
    record["loss"] = {t.ratio: [round(c.mean().item(), 4) for c in t.log[:record["steps"]].cpu().split(max(1, record["steps"] // 100))]
                      for t in trainers}
    (folder / "train.json").write_text(json.dumps(record))
    files = {f"{t.ratio}.pt": {k: v.half() for k, v in t.model.state_dict().items()} for t in trainers}
    if to_go_on:
        files["resume.pt"] = {"record": record, "states": {t.ratio: t.state() for t in trainers}}
    for name, value in files.items():
        torch.save(value, folder / f"{name}.part")
        (folder / f"{name}.part").rename(folder / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="folder that corpus.py fills with shards")
    parser.add_argument("--sources", type=Path, required=True, help="what make_data.py wrote, for the recall that is reported")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-tokens", type=int, default=32768)
    parser.add_argument("--length", type=int, default=1024, help="of the short rows")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--resume", type=Path, help="the resume.pt of a run that was cut off, to go on with its rows where it was written")
    parser.add_argument("--until", type=int, help="stop at this step, to go on later")
    parser.add_argument("--drills", type=json.loads, help="JSON list of [step, rows] in place of the schedule: the same rows for another model")
    parser.add_argument("--reports", type=int, default=60)
    parser.add_argument("--ratios", nargs="+", default=list(m.INTERVAL))
    parser.add_argument("--peak", type=float, default=1.0, help="scale of all learning rates")
    parser.add_argument("--decay", type=float, default=0.4, help="share of the steps over which the rate falls")
    parser.add_argument("--long-from", type=float, default=0.4, help="share of the steps after which every fourth is long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=1e9, help="seconds, start included, at which to end with the rate fallen")
    args = parser.parse_args()
    started = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    layer, loss = (lambda module, x, rope: module(x, rope)), (lambda model, *a: model.loss(*a))
    if device == "cuda":

        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.cache_size_limit = 64
        for layer_class in (m.Layer, mixers.NormedLayer):
            layer_class.forward = torch.compile(layer_class.forward, dynamic=False, fullgraph=True)
        m.Model.loss = torch.compile(m.Model.loss, dynamic=False, fullgraph=True)
    lengths = [args.length] + [LONG] * any(is_long(s, args.steps, args.long_from) for s in range(args.steps))
    trainers = []
    for ratio in args.ratios:
        trainer = Trainer(ratio, args, device, layer, loss)
        for n in lengths:
            trainer.prepare(n)
        trainers.append(trainer)
        print(f"{ratio} ready after {time.time() - started:.1f} s", flush=True)
    short = args.batch_tokens // args.length
    given = args.drills
    assert given is None or all(0 <= count <= short for _, count in given), f"--drills: a batch holds {short} short rows"
    probes = probe(args.sources, args.length, short).to(device)
    args.out.mkdir(parents=True, exist_ok=True)
    record = {"steps": 0, "tokens": 0, "seconds": 0.0, "batch_tokens": args.batch_tokens, "seed": args.seed, "drills": [], "recall": [],
              "device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    if args.resume:
        kept = torch.load(args.resume, map_location=device)
        record = kept["record"]
        for trainer in trainers:
            trainer.restore(kept["states"][trainer.ratio])
    first = record["steps"]
    used = rows_used(first, args, record["drills"])
    print(f"from step {first}, rows from " + ", ".join(f"shard {used[name] // SHARD[name]} of {name}" for name in used), flush=True)
    rows = {n: Rows(args.rows, n, used[n]) for n in lengths}
    drill_rows = Rows(args.rows, "drills", used["drills"])
    learned = False
    before, began, tokens, printed, waited = record["seconds"], time.time(), record["tokens"], first, 0.0
    for step in range(first, args.steps):
        n = LONG if is_long(step, args.steps, args.long_from) else args.length
        w = time.time()
        if given is not None:
            drills = schedule_at(step, given)
        else:
            drills = [k for share, k in DRILLS if share * args.steps <= step][-1] * short // 32
            if step >= PATIENCE * args.steps and not learned:
                drills = DRILLS[0][1] * short // 32
        if not record["drills"] or record["drills"][-1][1] != drills:
            record["drills"].append([step, drills])
        drills = drills if n == args.length else 0
        batch = rows[n].next(args.batch_tokens // n - drills)
        if drills:
            batch = torch.cat((batch, drill_rows.next(drills)))
        waited += time.time() - w
        if device == "cuda":
            batch = batch.pin_memory().to(device, non_blocking=True)
            torch.cuda.current_stream().synchronize()
        # The learning rate follows the steps, or the clock where the time is limited and the clock is ahead.
        progress = max(step / args.steps, (time.time() - began) / (args.time_limit - (began - started)))
        rate = rate_at(step, progress, args.warmup, args.peak, args.decay)
        for trainer in trainers:
            trainer.train_on(batch, n, step, rate)
        tokens += args.batch_tokens
        done = progress >= 1 or step + 1 in (args.steps, args.until)
        report = (step + 1) % (args.steps // args.reports or 1) == 0 or done
        # The streams run ahead of one another at most this far.
        if device == "cuda" and (step % 16 == 15 or report):
            torch.cuda.synchronize()
        if step + 1 == first + 100:
            print(f"{(time.time() - began) * 10:.1f} ms a step on short rows, all models together", flush=True)
        if report:
            span = slice(printed, step + 1)
            recall = {t.ratio: round(t.recalls(probes), 3) for t in trainers}
            learned = learned or all(r >= ENOUGH for ratio, r in recall.items() if m.FULL in m.layer_types(ratio))
            mean = " ".join(f"{t.ratio} {t.log[span].mean().item():.4f} {recall[t.ratio]:.2f}" for t in trainers)
            print(f"step {step + 1} {tokens / 1e6:.1f} M tokens {time.time() - began:.1f} s (waited {waited:.1f}) {drills} {mean}", flush=True)
            printed = step + 1
            seconds = before + time.time() - began
            record |= {"steps": step + 1, "tokens": tokens, "seconds": seconds,
                       "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0}
            record["recall"].append([step + 1, recall])
            save(trainers, args.out, record, done or len(record["recall"]) % 10 == 0)
            if done:
                break
    print(f"{seconds:.1f} s, {tokens / seconds / 1e6:.3f} M tokens/s for each of {len(trainers)} models, {record['memory_gib']:.1f} GiB")


if __name__ == "__main__":
    main()
