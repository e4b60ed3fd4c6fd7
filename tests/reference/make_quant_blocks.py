"""Writes tests/data/quant_blocks.bin: random blocks of every weight format and what they mean.

The values come from an implementation of the published closed forms in numpy, float32, in their
order of operations. Where the package `gguf` knows the format, its own dequantisation has to give
the same bits, else the script stops.

    python tests/reference/make_quant_blocks.py

Pinned: numpy 2.4.6, gguf 0.19.0 (second opinion only).

File: per format  name (16 bytes, zero padded), blocks u32, block bytes u32, block elements u32,
the blocks, then blocks * elements float32.
"""

import pathlib
import struct

import numpy as np

F = np.float32
NONLINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], F)
E2M1_TWICE = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], F)


def half(b, k):
    return F(np.frombuffer(b[k:k + 2], "<f2")[0])


def nib(b, i):
    return b[i] & 15 if i < 16 else b[i - 16] >> 4


def bit(word, i):
    return (word >> i) & 1


def u16(b, k):
    return struct.unpack_from("<H", b, k)[0]


def u32(b, k):
    return struct.unpack_from("<I", b, k)[0]


def i8(v):
    return v - 256 if v > 127 else v


def q4_0(b, i):
    return F(nib(b[2:], i) - 8) * half(b, 0)


def q4_1(b, i):
    return F(nib(b[4:], i)) * half(b, 0) + half(b, 2)


def q5_0(b, i):
    return F((nib(b[6:], i) | bit(u32(b, 2), i) << 4) - 16) * half(b, 0)


def q5_1(b, i):
    return F(nib(b[8:], i) | bit(u32(b, 4), i) << 4) * half(b, 0) + half(b, 2)


def q8_0(b, i):
    return F(i8(b[2 + i])) * half(b, 0)


def iq4_nl(b, i):
    return half(b, 0) * NONLINEAR[nib(b[2:], i)]


def mxfp4(b, i):
    return E2M1_TWICE[nib(b[1:], i)] * F(np.ldexp(1.0, b[0] - 128))


def q2_k(b, i):
    h, k, l = i // 128, (i % 128) // 32, i % 32
    s = b[i // 16]
    q = (b[16 + 32 * h + l] >> 2 * k) & 3
    return half(b, 80) * F(s & 15) * F(q) - half(b, 82) * F(s >> 4)


def q3_k(b, i):
    h, k, l, j = i // 128, (i % 128) // 32, i % 32, i // 16
    q = ((b[32 + 32 * h + l] >> 2 * k) & 3) - (0 if bit(b[l], i // 32) else 4)
    low = b[96 + j] & 15 if j < 8 else b[96 + j - 8] >> 4
    s = (low | ((b[104 + j % 4] >> 2 * (j // 4)) & 3) << 4) - 32
    return half(b, 108) * F(s) * F(q)


def scale_min(b, g):
    s = b[4:16]
    if g < 4:
        return s[g] & 63, s[g + 4] & 63
    return (s[g + 4] & 15) | (s[g - 4] >> 6) << 4, s[g + 4] >> 4 | (s[g] >> 6) << 4


def q4_k(b, i):
    sc, mn = scale_min(b, i // 32)
    v = b[16 + 32 * (i // 64) + i % 32]
    q = v & 15 if i % 64 < 32 else v >> 4
    return half(b, 0) * F(sc) * F(q) - half(b, 2) * F(mn)


def q5_k(b, i):
    sc, mn = scale_min(b, i // 32)
    v = b[48 + 32 * (i // 64) + i % 32]
    q = (v & 15 if i % 64 < 32 else v >> 4) | bit(b[16 + i % 32], i // 32) << 4
    return half(b, 0) * F(sc) * F(q) - half(b, 2) * F(mn)


def q6_k(b, i):
    h, k, l = i // 128, (i % 128) // 32, i % 32
    v = b[64 * h + 32 * (k & 1) + l]
    q = ((v & 15 if k < 2 else v >> 4) | ((b[128 + 32 * h + l] >> 2 * k) & 3) << 4) - 32
    return half(b, 208) * F(i8(b[192 + i // 16])) * F(q)


def iq4_xs(b, i):
    g = i // 32
    s = ((b[4 + g // 2] >> 4 * (g % 2)) & 15) | ((u16(b, 2) >> 2 * g) & 3) << 4
    return half(b, 0) * F(s - 32) * NONLINEAR[nib(b[8 + 16 * g:], i % 32)]


def f8_e4m3(b, i):
    sign = -1.0 if b[0] & 0x80 else 1.0
    e, m = (b[0] >> 3) & 15, b[0] & 7
    return F(sign * (m * 2.0**-9 if e == 0 else (1 + m / 8) * 2.0**(e - 7)))


# name: block bytes, block elements, element, offsets of halves
FORMATS = {
    "Q4_0": (18, 32, q4_0, [0]),
    "Q4_1": (20, 32, q4_1, [0, 2]),
    "Q5_0": (22, 32, q5_0, [0]),
    "Q5_1": (24, 32, q5_1, [0, 2]),
    "Q8_0": (34, 32, q8_0, [0]),
    "Q2_K": (84, 256, q2_k, [80, 82]),
    "Q3_K": (110, 256, q3_k, [108]),
    "Q4_K": (144, 256, q4_k, [0, 2]),
    "Q5_K": (176, 256, q5_k, [0, 2]),
    "Q6_K": (210, 256, q6_k, [208]),
    "IQ4_NL": (18, 32, iq4_nl, [0]),
    "IQ4_XS": (136, 256, iq4_xs, [0]),
    "MXFP4": (17, 32, mxfp4, []),
    "F8_E4M3": (1, 1, f8_e4m3, []),
}


def random_blocks(rng, name, count, size, halves):
    if name == "F8_E4M3":  # every value that is a number
        return [bytes([v]) for v in range(256) if v & 0x7F != 0x7F]
    blocks = []
    for n in range(count):
        b = bytearray(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
        for k in halves:
            # Any finite half, subnormals and both zeros among them.
            bits = int(rng.integers(0, 0x7C00)) | int(rng.integers(0, 2)) << 15
            struct.pack_into("<H", b, k, bits if n > 0 else bits & 0x83FF)
        if name == "MXFP4":
            b[0] = n % 3 if n < 3 else min(b[0], 250)
        blocks.append(bytes(b))
    return blocks


def second_opinion(name, blocks, values):
    try:
        import gguf
        dequantize = gguf.quants.dequantize
        kind = getattr(gguf.GGMLQuantizationType, name, None)
    except ImportError:
        print(f"{name}: gguf is not installed, not compared")
        return
    if kind is None:
        return
    data = np.frombuffer(b"".join(blocks), np.uint8).reshape(len(blocks), -1)
    other = dequantize(data, kind).reshape(-1)
    same = (other.view(np.uint32) == values.view(np.uint32)) | ((other == 0) & (values == 0))
    assert same.all(), f"{name}: {np.count_nonzero(~same)} of {same.size} values differ"
    print(f"{name}: {values.size} values equal to gguf's")


def main():
    rng = np.random.default_rng(20261124)
    out = pathlib.Path(__file__).parent.parent / "data" / "quant_blocks.bin"
    with np.errstate(all="ignore"), open(out, "wb") as file:
        for name, (size, elems, element, halves) in FORMATS.items():
            blocks = random_blocks(rng, name, 4 if elems == 256 else 16, size, halves)
            values = np.array([element(b, i) for b in blocks for i in range(elems)], F)
            second_opinion(name, blocks, values)
            file.write(struct.pack("<16sIII", name.encode(), len(blocks), size, elems))
            file.write(b"".join(blocks))
            file.write(values.tobytes())
    print(out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
