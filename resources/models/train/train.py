"""Train the whole family at once: five models in one process, each on a CUDA stream of its own, all fed the same batch.

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
import model as m

LONG = 8192
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
        self.model = m.Model(ratio, torch.bfloat16 if device == "cuda" else torch.float32).to(device)
        if args.resume:
            state = torch.load(args.resume / f"{ratio}.pt", map_location=device)
            self.model.load_state_dict({k: v.float() for k, v in state.items()})
        self.optimizer = Optimizer(self.model)
        self.layer, self.loss = layer, loss
        self.table = torch.tensor(corpus.WEIGHTS, device=device)
        self.log = torch.zeros(args.steps, device=device)
        self.last = torch.zeros((), device=device)
        self.graphs, self.input, self.pool = {}, {}, None
        self.stream = torch.cuda.Stream() if device == "cuda" else None

    def forward_backward(self, rows, rope):
        ids, weights = (rows & 0x3FFF).long(), self.table[(rows >> 14).long()]
        targets = torch.roll(ids, -1, 1)
        weights = torch.roll(weights, -1, 1)
        weights[:, -1] = 0
        x = self.model.hidden(ids, rope, self.layer)
        total, count = self.loss(self.model, x, targets, weights)
        loss = total / count
        loss.backward()
        self.last.copy_(loss.detach())

    def one_step(self, rows, rope):
        self.forward_backward(rows, rope)
        self.optimizer.step()

    def prepare(self, length, rope):
        """Warm up, then capture one step on rows of this length."""
        self.input[length] = torch.zeros(self.batch_tokens // length, length, dtype=torch.int32, device=self.device)
        if self.device != "cuda":
            return
        self.input[length].random_(0, 4096).add_(3 << 14)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.model.zero_grad(set_to_none=True)
                self.forward_backward(self.input[length], rope)
                saved = self.optimizer.rate.clone()
                self.optimizer.step()  # at rate zero: moves nothing but the moments, which are cleared below
                self.optimizer.rate.copy_(saved)
        torch.cuda.synchronize()
        self.model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            self.one_step(self.input[length], rope)
        self.pool = self.pool or graph.pool()
        self.graphs[length] = graph
        torch.cuda.synchronize()
        for _, _, momentum, _ in self.optimizer.stacks:
            momentum.zero_()
        for *_, first, second, _ in self.optimizer.flats:
            first.zero_(), second.zero_()
        self.optimizer.step_count.zero_()

    def recalls(self, rows, rope):
        """The share of the marked tokens of rows that are the model's first choice."""
        ids = (rows & 0x3FFF).long()
        asked = torch.roll(rows >> 14, -1, 1).bool()
        asked[:, -1] = False
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            # With gradients on, since that is what the compiled layers were compiled for.
            x = self.model.hidden(ids, rope, self.layer).detach()
            with torch.no_grad():
                x = self.model.model.norm(x[asked]).float()
                right = (x @ self.model.model.embed_tokens.weight.T).argmax(-1) == torch.roll(ids, -1, 1)[asked]
            return right.float().mean().item()

    def train_on(self, rows, length, step, rate, rope):
        if self.device != "cuda":
            self.optimizer.rate.fill_(rate)
            self.model.zero_grad(set_to_none=True)
            self.one_step(rows, rope)
            self.log[step] = self.last
            return
        rows.record_stream(self.stream)
        with torch.cuda.stream(self.stream):
            self.optimizer.rate.fill_(rate)
            self.input[length].copy_(rows)
            self.graphs[length].replay()
            self.log[step].copy_(self.last)


class Rows:
    """Reads shards in order, waiting for the ones not written yet."""

    def __init__(self, folder, name):
        self.folder, self.name, self.shard, self.at, self.rows = folder, name, 0, 0, np.zeros((0, 0), np.uint16)

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


def is_long(step, steps, start):
    return step >= start * steps and step % 4 == 3


def rate_at(step, progress, warmup, peak, decay):
    return peak * min(1.0, (step + 1) / warmup, max(0.01, (1 - progress) / decay))


def save(trainers, folder, record):
    record["loss"] = {t.ratio: [round(c.mean().item(), 4) for c in t.log[:record["steps"]].cpu().split(max(1, record["steps"] // 100))]
                      for t in trainers}
    (folder / "train.json").write_text(json.dumps(record))
    for trainer in trainers:
        path = folder / f"{trainer.ratio}.pt"
        torch.save({k: v.half() for k, v in trainer.model.state_dict().items()}, f"{path}.part")
        Path(f"{path}.part").rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="folder that corpus.py fills with shards")
    parser.add_argument("--sources", type=Path, required=True, help="what make_data.py wrote, for the recall that is reported")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-tokens", type=int, default=32768)
    parser.add_argument("--length", type=int, default=1024, help="of the short rows")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--resume", type=Path, help="folder with checkpoints to go on from")
    parser.add_argument("--first-step", type=int, default=0, help="to go on with a run that was cut off, on rows of another seed")
    parser.add_argument("--drills", help="JSON list of [step, rows] in place of the schedule: the same rows for another model")
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
        m.Layer.forward = torch.compile(m.Layer.forward, dynamic=False, fullgraph=True)
        m.Model.loss = torch.compile(m.Model.loss, dynamic=False, fullgraph=True)
    lengths = [args.length] + [LONG] * any(is_long(s, args.steps, args.long_from) for s in range(args.steps))
    ropes = {n: m.rope_table(n, device) for n in lengths}
    trainers = []
    for ratio in args.ratios:
        trainer = Trainer(ratio, args, device, layer, loss)
        for n in lengths:
            trainer.prepare(n, ropes[n])
        trainers.append(trainer)
        print(f"{ratio} ready after {time.time() - started:.1f} s", flush=True)
    rows = {n: Rows(args.rows, n) for n in lengths}
    drill_rows, given = Rows(args.rows, "drills"), json.loads(args.drills) if args.drills else None
    short = args.batch_tokens // args.length
    probes = probe(args.sources, args.length, short).to(device)
    args.out.mkdir(parents=True, exist_ok=True)
    record = {"batch_tokens": args.batch_tokens, "seed": args.seed, "drills": [], "recall": [],
              "device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    learned = False
    began, tokens, printed, waited = time.time(), 0, 0, 0.0
    for step in range(args.first_step, args.steps):
        n = LONG if is_long(step, args.steps, args.long_from) else args.length
        w = time.time()
        if given is not None:
            drills = [k for at, k in given if at <= step][-1]
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
        rate = rate_at(step - args.first_step, progress, args.warmup, args.peak, args.decay)
        for trainer in trainers:
            trainer.train_on(batch, n, step, rate, ropes[n])
        tokens += args.batch_tokens
        done = progress >= 1 or step == args.steps - 1
        report = (step + 1) % (args.steps // args.reports or 1) == 0 or done
        # The streams run ahead of one another at most this far.
        if device == "cuda" and (step % 16 == 15 or report):
            torch.cuda.synchronize()
        if report:
            span = slice(printed, step + 1)
            recall = {t.ratio: round(t.recalls(probes, ropes[args.length]), 3) for t in trainers}
            learned = learned or all(r >= ENOUGH for ratio, r in recall.items() if m.FULL in m.layer_types(ratio))
            mean = " ".join(f"{t.ratio} {t.log[span].mean().item():.4f} {recall[t.ratio]:.2f}" for t in trainers)
            print(f"step {step + 1} {tokens / 1e6:.1f} M tokens {time.time() - began:.1f} s (waited {waited:.1f}) {drills} {mean}", flush=True)
            printed = step + 1
            seconds = time.time() - began
            record |= {"steps": step + 1, "tokens": tokens, "seconds": seconds,
                       "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0}
            record["recall"].append([step + 1, recall])
            save(trainers, args.out, record)
            if done:
                break
    print(f"{seconds:.1f} s, {tokens / seconds / 1e6:.3f} M tokens/s for each of {len(trainers)} models, {record['memory_gib']:.1f} GiB")


if __name__ == "__main__":
    main()
