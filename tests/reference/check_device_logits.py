#!/usr/bin/env python3
"""Holds a device to the reference logits: runs `hybridscope-cli logits --device D` over checkpoints
of the layout of tests/data/checkpoints (packed ones are unpacked first), whole and in pieces, and
compares with expected.safetensors.

check_device_logits.py CLI [--device cuda] [--folder tests/data/checkpoints] [--jobs 8]
                       [--bound 1e-3] [--only NAME] [--json OUT]
"""
import argparse
import array
import concurrent.futures
import json
import math
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile


def tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        values = array.array("f" if entry["dtype"] == "F32" else "i")
        values.frombytes(data[8 + length + first:8 + length + last])
        found[name] = (entry["shape"], values)
    return found


def difference(found, wanted, vocab):
    """The worst over positions of largest difference over largest value, and of norms."""
    worst = [0.0, 0.0]
    for at in range(0, len(wanted), vocab):
        f, w = found[at:at + vocab], wanted[at:at + vocab]
        deltas = [abs(a - b) for a, b in zip(f, w)]
        if any(math.isnan(d) for d in deltas) or len(f) != len(w):
            return [math.inf, math.inf]
        most = max(abs(v) for v in w)
        worst[0] = max(worst[0], max(deltas) / most)
        worst[1] = max(worst[1], math.sqrt(sum(d * d for d in deltas) / sum(v * v for v in w)))
    return worst


def check(job):
    cli, device, model, expected, split = job
    held = tensors(expected)
    (_, vocab), wanted = held["logits"]
    with tempfile.TemporaryDirectory() as folder:
        ids = pathlib.Path(folder) / "ids"
        out = pathlib.Path(folder) / "out.safetensors"
        ids.write_text(" ".join(str(i) for i in held["tokens"][1]), encoding="ascii")
        run = subprocess.run([cli, "logits", model, "--device", device, "--tokens", ids, "--out",
                              out, "--split", split, "--kv", "f32"], capture_output=True,
                             text=True, check=False)
        if run.returncode != 0:
            return {"error": (run.stderr or run.stdout).strip()[-300:]
                    or f"exit code {run.returncode}"}
        value, norm = difference(tensors(out)["logits"][1], wanted, vocab)
    return {"value": value, "norm": norm}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cli")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--folder", type=pathlib.Path,
                        default=pathlib.Path(__file__).parents[1] / "data" / "checkpoints")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--bound", type=float, default=1e-3)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as unpacked:
        for archive in options.folder.glob(f"*{options.only}*.tar.xz"):
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        return check_all(options, [options.folder, pathlib.Path(unpacked)])


def check_all(options, places):
    jobs = []
    for folder in sorted(entry for place in places for entry in place.iterdir()):
        expected = folder / "expected.safetensors"
        if not expected.exists() or options.only not in folder.name:
            continue
        for model in (folder / "hf", folder / "model.gguf"):
            if model.exists():
                jobs += [(options.cli, options.device, model, expected, split)
                         for split in ("all", "1", "37")]
    if not jobs:
        sys.exit(f"no checkpoints in {options.folder}")
    rows = []
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for job, result in zip(jobs, pool.map(check, jobs)):
            name = f"{job[2].parent.name} {'gguf' if job[2].suffix else 'hf'} split {job[4]}"
            good = result.get("value", math.inf) <= options.bound and \
                result.get("norm", math.inf) <= options.bound
            failed += not good
            text = result.get("error") or f"{result['value']:.2e} {result['norm']:.2e}"
            print(f"{'ok    ' if good else 'FAILED'} {name:40} {text}", flush=True)
            rows.append({"checkpoint": name, "passed": good, **result})
    print(f"{len(rows)} runs, {failed} failed, bound {options.bound:g}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
