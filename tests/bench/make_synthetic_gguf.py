"""Writes GGUF files with random weights at published dimensions, for measuring speed.

    python tests/bench/make_synthetic_gguf.py FOLDER [SHAPE MIX]

Shapes: qwen3-0.6b (full attention), qwen3.5-0.8b (hybrid, 1:3). Mixes: q8_0, q4_k_m (which tensor
gets which type follows formats.md section 2.3). The metadata is that of the real models, the
tokenizer has the right number of entries but only bytes among them, the weights are random blocks
with scales that keep activations finite. Any program that reads these architectures loads them.

Pinned: numpy 2.4.6, gguf 0.19.0.
"""

import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

BLOCK = {T.Q8_0: (32, 34), T.Q4_K: (256, 144), T.Q6_K: (256, 210)}
SPREAD = 0.02  # of the weights


def half(x):
    return np.frombuffer(np.float16(x).tobytes(), np.uint8)


def pool(kind, rng, count=16384):
    """Random blocks of one type."""
    size = BLOCK[kind][1]
    b = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == T.Q8_0:  # uniform in +-127 d: spread 74 d
        b[:, 0:2] = half(SPREAD / 74)
    elif kind == T.Q4_K:  # d * scale * q - dmin * minimum, with scale and minimum about 32, q 7.5
        b[:, 0:2] = half(SPREAD / (32 * 4.6))
        b[:, 2:4] = half(7.5 * SPREAD / (32 * 4.6))
    else:  # d * scale * (q - 32), scale uniform in int8
        b[:, 208:210] = half(SPREAD / (74 * 18.5))
    return b


class Writer:
    def __init__(self, path, arch, mix):
        self.rng = np.random.default_rng(1)
        self.mix = mix
        self.pools = {kind: pool(kind, self.rng) for kind in BLOCK}
        self.out = gguf.GGUFWriter(path, arch)

    def matrix(self, name, rows, cols, kind):
        kind = T.Q8_0 if self.mix == "q8_0" else kind
        elems, size = BLOCK[kind]
        count = rows * cols // elems
        blocks = self.pools[kind]
        start = int(self.rng.integers(0, len(blocks)))
        index = (np.arange(count) + start) % len(blocks)
        data = blocks[index].reshape(rows, cols // elems * size)
        self.out.add_tensor(name, data, raw_dtype=kind)

    def vector(self, name, *shape, low=0.9, high=1.1):
        self.out.add_tensor(name, self.rng.uniform(low, high, shape).astype(np.float32))

    def tokenizer(self, vocab, pre, eos):
        bytes_ = [b for b in range(256)]
        printable = set(range(33, 127)) | set(range(161, 173)) | set(range(174, 256))
        shift = 0
        tokens = []
        for b in bytes_:
            if b in printable:
                tokens.append(chr(b))
            else:
                tokens.append(chr(256 + shift))
                shift += 1
        tokens.append("ab")
        kinds = [1] * len(tokens)
        while len(tokens) < vocab:
            tokens.append(f"<|unused_{len(tokens)}|>")
            kinds.append(5)
        kinds[eos] = 3
        self.out.add_tokenizer_model("gpt2")
        self.out.add_tokenizer_pre(pre)
        self.out.add_token_list(tokens)
        self.out.add_token_types(kinds)
        self.out.add_token_merges(["a b"])
        self.out.add_eos_token_id(eos)
        self.out.add_pad_token_id(eos)
        self.out.add_bool("tokenizer.ggml.add_bos_token", False)

    def close(self):
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()


def more_bits(i, n):
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def some(i, n):
    return T.Q6_K if more_bits(i, n) else T.Q4_K


def common(w, arch, name, layers, hidden, ffn, heads, kv_heads, head_dim, context, theta):
    o = w.out
    o.add_name(name)
    o.add_file_type(7 if w.mix == "q8_0" else 15)
    o.add_quantization_version(2)
    o.add_block_count(layers)
    o.add_context_length(context)
    o.add_embedding_length(hidden)
    o.add_feed_forward_length(ffn)
    o.add_head_count(heads)
    o.add_head_count_kv(kv_heads)
    o.add_key_length(head_dim)
    o.add_value_length(head_dim)
    o.add_rope_freq_base(theta)
    o.add_layer_norm_rms_eps(1e-6)


def attention(w, p, hidden, heads, kv_heads, head_dim, gate, i, n):
    w.matrix(p + "attn_q.weight", heads * head_dim * (2 if gate else 1), hidden, T.Q4_K)
    w.matrix(p + "attn_k.weight", kv_heads * head_dim, hidden, T.Q4_K)
    w.matrix(p + "attn_v.weight", kv_heads * head_dim, hidden, some(i, n))
    w.matrix(p + "attn_output.weight", hidden, heads * head_dim, T.Q4_K)
    w.vector(p + "attn_q_norm.weight", head_dim)
    w.vector(p + "attn_k_norm.weight", head_dim)


def dense(w, p, hidden, ffn, i, n):
    w.matrix(p + "ffn_gate.weight", ffn, hidden, T.Q4_K)
    w.matrix(p + "ffn_up.weight", ffn, hidden, T.Q4_K)
    w.matrix(p + "ffn_down.weight", hidden, ffn, some(i, n))


def qwen3_0_6b(path, mix):
    w = Writer(path, "qwen3", mix)
    layers, hidden, ffn, heads, kv, dim, vocab = 28, 1024, 3072, 16, 8, 128, 151936
    common(w, "qwen3", "Synthetic Qwen3 0.6B", layers, hidden, ffn, heads, kv, dim, 40960, 1e6)
    w.tokenizer(vocab, "qwen2", 151645)
    w.matrix("token_embd.weight", vocab, hidden, T.Q6_K)
    for i in range(layers):
        p = f"blk.{i}."
        w.vector(p + "attn_norm.weight", hidden)
        attention(w, p, hidden, heads, kv, dim, False, i, layers)
        w.vector(p + "ffn_norm.weight", hidden)
        dense(w, p, hidden, ffn, i, layers)
    w.vector("output_norm.weight", hidden)
    w.close()


def qwen3_5_0_8b(path, mix):
    w = Writer(path, "qwen35", mix)
    layers, hidden, ffn, heads, kv, dim, vocab = 24, 1024, 3584, 8, 2, 256, 248320
    lin_heads, lin_dim = 16, 128
    common(w, "qwen35", "Synthetic Qwen3.5 0.8B", layers, hidden, ffn, heads, kv, dim, 262144, 1e7)
    o = w.out
    o.add_rope_dimension_count(64)
    o.add_array("qwen35.rope.dimension_sections", [11, 11, 10, 0])
    o.add_ssm_conv_kernel(4)
    o.add_ssm_state_size(lin_dim)
    o.add_ssm_group_count(lin_heads)
    o.add_ssm_time_step_rank(lin_heads)
    o.add_ssm_inner_size(lin_heads * lin_dim)
    o.add_uint32("qwen35.full_attention_interval", 4)
    w.tokenizer(vocab, "qwen35", 248046)
    w.matrix("token_embd.weight", vocab, hidden, T.Q6_K)
    linear = 0
    full = 0
    inner = lin_heads * lin_dim
    for i in range(layers):
        p = f"blk.{i}."
        w.vector(p + "attn_norm.weight", hidden)
        if i % 4 == 3:
            attention(w, p, hidden, heads, kv, dim, True, full, layers // 4)
            full += 1
        else:
            n = layers - layers // 4
            w.matrix(p + "attn_qkv.weight", 3 * inner, hidden, some(linear, n))
            w.matrix(p + "attn_gate.weight", inner, hidden, T.Q4_K)
            w.matrix(p + "ssm_beta.weight", lin_heads, hidden, T.Q4_K)
            w.matrix(p + "ssm_alpha.weight", lin_heads, hidden, T.Q4_K)
            w.matrix(p + "ssm_out.weight", hidden, inner, T.Q4_K)
            w.vector(p + "ssm_conv1d.weight", 3 * inner, 4, low=-0.5, high=0.5)
            w.vector(p + "ssm_a", lin_heads, low=-2.0, high=-0.1)
            w.vector(p + "ssm_dt.bias", lin_heads, low=-3.0, high=0.0)
            w.vector(p + "ssm_norm.weight", lin_dim)
            linear += 1
        w.vector(p + "post_attention_norm.weight", hidden)
        dense(w, p, hidden, ffn, i, layers)
    w.vector("output_norm.weight", hidden)
    w.close()


SHAPES = {"qwen3-0.6b": qwen3_0_6b, "qwen3.5-0.8b": qwen3_5_0_8b}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(sys.argv[2], sys.argv[3])] if len(sys.argv) > 3 else [
        (shape, mix) for shape in SHAPES for mix in ("q8_0", "q4_k_m")]
    for shape, mix in wanted:
        path = folder / f"{shape}-{mix}.gguf"
        SHAPES[shape](path, mix)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
