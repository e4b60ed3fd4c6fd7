"""Writes tests/data/quantised: small matrices in the forms that quantised checkpoints have, with the
values they stand for by the published formulas (spec/formats.md sections 2.2 and 3.3).

    python make_quantised_tensors.py ../data/quantised

One folder per form: config.json, model.safetensors, expected.safetensors (F32 under the name of the
matrix). "mxfp4" holds the same experts a second time as GGUF. Written byte by byte with numpy, apart
from the engine and from the libraries that make such files.

Versions: numpy, gguf 0.19.
"""

import json
import pathlib
import struct
import sys

import gguf
import numpy as np

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)


def save(path, tensors):
    """tensors: name to (dtype name, array of the raw integers or floats)."""
    header, blobs, at = {}, [], 0
    for name, (dtype, array) in tensors.items():
        blob = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write(out, name, quantisation, tensors, expected):
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Qwen3ForCausalLM"], "quantization_config": quantisation}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save(folder / "model.safetensors", tensors)
    save(folder / "expected.safetensors",
         {key: ("F32", value.astype(np.float32)) for key, value in expected.items()})


def bf16(values):
    """The upper halves of f32, and the f32 they stand for."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    upper = (bits >> 16).astype(np.uint16)
    return upper, (upper.astype(np.uint32) << 16).view(np.float32)


def e4m3(byte):
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, mantissa = (byte >> 3) & 15, byte & 7
    if exponent == 0:
        return sign * mantissa * 2.0 ** -9
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


E4M3 = np.array([e4m3(b) for b in range(256)], dtype=np.float32)


def fp8_bytes(r, shape):
    """All finite values."""
    return (r.integers(0, 0x7f, shape) | (r.integers(0, 2, shape) << 7)).astype(np.uint8)


def spread(factors, shape, block):
    return np.repeat(np.repeat(factors, block[0], 0), block[1], 1)[:shape[0], :shape[1]]


def fp8(out):
    r = np.random.default_rng(1)
    block = (128, 128)
    for name, shape, block, setting in (
            ("fp8-block", (150, 200), (128, 128), {"weight_block_size": [128, 128]}),
            ("fp8-small-block", (70, 100), (16, 32), {"weight_block_size": [16, 32]})):
        quants = fp8_bytes(r, shape)
        count = (-(-shape[0] // block[0]), -(-shape[1] // block[1]))
        factors = r.uniform(1e-4, 1e-2, count).astype(np.float32)
        write(out, name, {"quant_method": "fp8"} | setting,
              {"a.weight": ("F8_E4M3", quants), "a.weight_scale_inv": ("F32", factors)},
              {"a.weight": E4M3[quants] * spread(factors, shape, block)})

    shape = (33, 64)
    compressed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    a, b, c, d, e = (fp8_bytes(r, shape) for _ in range(5))
    stack = fp8_bytes(r, (3, 20, 48))
    rows, rows_real = bf16(r.uniform(1e-4, 1e-2, (33, 1)))
    one = np.array([0.0123], dtype=np.float32)
    groups = r.uniform(1e-3, 1e-2, (33, 2)).astype(np.float32)
    powers = r.integers(110, 125, (33, 2)).astype(np.uint8)
    write(out, "fp8-channel", compressed,
          {"row.weight": ("F8_E4M3", a), "row.weight_scale": ("BF16", rows),
           "one.weight": ("F8_E4M3", b), "one.weight_scale": ("F32", one),
           "group.weight": ("F8_E4M3", c), "group.weight_scale": ("F32", groups),
           "power.weight": ("F8_E4M3", d), "power.weight_scale": ("U8", powers),
           "scalar.weight": ("F8_E4M3", e), "scalar.weight_scale": ("F32", one.reshape(()))},
          {"row.weight": E4M3[a] * rows_real, "one.weight": E4M3[b] * one,
           "group.weight": E4M3[c] * np.repeat(groups, 32, 1),
           "power.weight": E4M3[d] * np.repeat(np.exp2(powers - np.float32(127)), 32, 1),
           "scalar.weight": E4M3[e] * one})

    factors = r.uniform(1e-3, 1e-2, (3, 2, 1)).astype(np.float32)
    write(out, "fp8-experts", {"quant_method": "fp8", "weight_block_size": [16, 48]},
          {"stack": ("F8_E4M3", stack), "stack_scale_inv": ("F32", factors)},
          {f"stack.{i}": E4M3[stack[i]] * spread(factors[i], (20, 48), (16, 48))
           for i in range(3)})

    # Two slabs of 40 rows, blocks of 16 begin anew in each.
    quants = fp8_bytes(r, (80, 32))
    factors = r.uniform(1e-3, 1e-2, (6, 2)).astype(np.float32)
    real = [E4M3[quants[40 * i:40 * i + 40]] * spread(factors[3 * i:3 * i + 3], (40, 32), (16, 16))
            for i in range(2)]
    write(out, "fp8-slabs", {"quant_method": "fp8", "weight_block_size": [16, 16]},
          {"slabs": ("F8_E4M3", quants), "slabs_scale_inv": ("F32", factors)},
          {"first": np.concatenate([x[:24] for x in real]),
           "rest": np.concatenate([x[24:] for x in real])})


def pairs(codes):
    """Element 2k in the low half of byte k."""
    return (codes[..., 0::2] | (codes[..., 1::2] << 4)).astype(np.uint8)


def mxfp4(out):
    r = np.random.default_rng(2)
    experts, inter, hidden = 3, 5, 64

    def random(*shape):
        codes = r.integers(0, 16, shape).astype(np.uint8)
        powers = r.integers(100, 140, shape[:-1] + (shape[-1] // 32,)).astype(np.uint8)
        powers.flat[:3] = (0, 1, 252)  # the ends of the range
        real = E2M1[codes] * np.repeat(np.exp2(powers.astype(np.float64) - 127), 32, -1)
        return codes, powers, real.astype(np.float32)

    both, both_powers, both_real = random(experts, 2 * inter, hidden)
    plain, plain_powers, plain_real = random(6, 96)
    blocks = pairs(both).reshape(experts, 2 * inter, hidden // 32, 16)
    write(out, "mxfp4", {"quant_method": "mxfp4"},
          {"e_blocks": ("U8", blocks), "e_scales": ("U8", both_powers),
           "p.weight_packed": ("U8", pairs(plain)), "p.weight_scale": ("U8", plain_powers)},
          {"p.weight": plain_real, "gate": both_real[:, 0::2], "up": both_real[:, 1::2]})

    # ggml's blocks: the exponent, then element i in the low half of byte i and i + 16 in the high.
    parts = both.reshape(experts, 2 * inter, hidden // 32, 32)
    ggml = np.concatenate([both_powers[..., None],
                           parts[..., :16] | (parts[..., 16:] << 4)], -1).astype(np.uint8)
    ggml = ggml.reshape(experts, 2 * inter, -1)
    w = gguf.GGUFWriter(str(out / "mxfp4" / "model.gguf"), "gpt-oss")
    for name, rows in (("gate", ggml[:, 0::2]), ("up", ggml[:, 1::2])):
        w.add_tensor(name, np.ascontiguousarray(rows), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def pack(values, bits, axis=-1):
    """Unsigned integers into words, the first in the lowest bits."""
    values = np.moveaxis(values, axis, -1).astype(np.uint64)
    per_word = 32 // bits
    pad = -values.shape[-1] % per_word
    values = np.concatenate([values, np.zeros(values.shape[:-1] + (pad,), np.uint64)], -1)
    values = values.reshape(values.shape[:-1] + (-1, per_word))
    shifts = (np.arange(per_word) * bits).astype(np.uint64)
    words = (values << shifts).sum(-1).astype(np.uint32).view(np.int32)
    return np.moveaxis(words, -1, axis)


def integers(out):
    r = np.random.default_rng(3)
    tensors, expected = {}, {}

    def add(name, bits, shape, groups, scales, zero_points=False, index=None, packed=True):
        low = -(1 << (bits - 1))
        q = r.integers(low, -low, shape)
        z = r.integers(low, -low, (shape[0], groups)) if zero_points else np.zeros(
            (shape[0], groups), int)
        kind, raw, real = scales((shape[0], groups))
        of = index if index is not None else np.repeat(np.arange(groups), shape[1] // groups)
        if packed:
            tensors[name + ".weight_packed"] = ("I32", pack(q - low, bits))
            tensors[name + ".weight_shape"] = ("I64", np.array(shape, dtype=np.int64))
        else:
            tensors[name + ".weight"] = ("I8", q.astype(np.int8))
        tensors[name + ".weight_scale"] = (kind, raw)
        if zero_points:
            tensors[name + ".weight_zero_point"] = (
                ("I32", pack(z - low, bits, 0)) if packed else ("I8", z.astype(np.int8)))
        if index is not None:
            tensors[name + ".weight_g_idx"] = ("I32", index.astype(np.int32))
        expected[name + ".weight"] = (q - z[:, of]).astype(np.float32) * real[:, of]

    def halves(shape):
        values = r.uniform(1e-3, 1e-1, shape).astype(np.float16)
        return "F16", values, values.astype(np.float32)

    def brains(low, high):
        def make(shape):
            return ("BF16",) + bf16(r.uniform(low, high, shape))
        return make

    add("blocks4", 4, (7, 96), 3, halves)                      # as Q4_0
    add("tiny4", 4, (7, 96), 3, brains(1e-9, 1e-8))            # factors that are no halves
    add("brain4", 4, (5, 64), 2, brains(1e-3, 1e-2))
    add("zeros4", 4, (19, 96), 3, halves, zero_points=True)
    add("order4", 4, (6, 64), 4, halves, index=r.permutation(np.repeat(np.arange(4), 16)))
    add("odd4", 4, (3, 44), 11, halves)                        # a row ends within a word
    add("blocks8", 8, (9, 64), 1, halves)                      # as Q8_0
    add("zeros8", 8, (5, 64), 2, halves, zero_points=True)
    add("two", 2, (4, 48), 3, halves)
    add("channel8", 8, (6, 40), 1, brains(1e-3, 1e-2), packed=False)
    add("plain8", 8, (6, 64), 1, halves, packed=False)
    add("moved8", 8, (6, 40), 1, halves, zero_points=True, packed=False)
    write(out, "integers", {"quant_method": "compressed-tensors", "format": "pack-quantized"},
          tensors, expected)


def main(out):
    out = pathlib.Path(out)
    fp8(out)
    mxfp4(out)
    integers(out)


if __name__ == "__main__":
    main(sys.argv[1])
