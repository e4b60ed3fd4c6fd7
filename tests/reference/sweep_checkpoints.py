"""Writes random configurations of every family into a folder outside the project, for

    python sweep_checkpoints.py /tmp/sweep 40 [first seed]
    HYBRIDSCOPE_CHECKPOINTS=/tmp/sweep family_golden_test

A tool for looking further than the stored checkpoints, not a part of the tests.

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import json
import pathlib
import random
import sys

import torch
import transformers
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig

import checkpoint_writer


def rope(r, head_dim, partial, hybrid):
    kind = r.choice(["default", "default", "linear", "llama3", "yarn"])
    values = {"rope_type": kind, "rope_theta": r.choice([1e4, 5e5, 1e6, 1e7])}
    if hybrid:
        values["partial_rotary_factor"] = partial
    if kind != "default":
        values["factor"] = r.choice([2.0, 4.0, 8.0])
    if kind in ("llama3", "yarn"):
        values["original_max_position_embeddings"] = r.choice([32, 64, 256])
    if kind == "llama3":
        values |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return values


def common(r, hybrid):
    head_dim = r.choice([16, 20, 32, 48, 64, 128, 256] if hybrid else [8, 16, 30, 64, 80, 128, 256])
    kv = r.choice([1, 2, 3])
    group = r.choice([1, 2, 3, 4]) if head_dim < 128 else r.choice([1, 2])
    kv = kv if head_dim < 128 else 1
    partial = r.choice([0.25, 0.5, 1.0])
    return dict(
        vocab_size=r.choice([97, 128, 151, 255]), hidden_size=r.choice([32, 36, 50, 64, 96]),
        num_hidden_layers=r.choice([2, 3, 5]), num_attention_heads=kv * group,
        num_key_value_heads=kv, head_dim=head_dim, intermediate_size=r.choice([33, 48, 70, 128]),
        attention_bias=r.random() < 0.3, tie_word_embeddings=r.random() < 0.5,
        rms_norm_eps=r.choice([1e-5, 1e-6]), max_position_embeddings=1024,
        rope_parameters=rope(r, head_dim, partial, hybrid))


def moe(r, shared):
    experts = r.choice([3, 4, 8, 16])
    values = dict(num_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts)),
                  moe_intermediate_size=r.choice([16, 20, 33]))
    if shared:
        values["shared_expert_intermediate_size"] = r.choice([16, 24, 35])
    return values


def linear(r, layers):
    keys = r.choice([1, 2, 3])
    types = [r.choice(["linear_attention", "full_attention"]) for _ in range(layers)]
    values = dict(linear_num_key_heads=keys, linear_num_value_heads=keys * r.choice([1, 2, 3, 4]),
                  linear_key_head_dim=r.choice([8, 16, 20, 32, 64]),
                  linear_conv_kernel_dim=r.choice([2, 3, 4, 4]))
    values["linear_value_head_dim"] = r.choice([values["linear_key_head_dim"], 8, 16, 24])
    if r.random() < 0.6:
        values["layer_types"] = types
    return values


def make(r):
    family = r.choice(["llama", "qwen3", "qwen3_moe", "qwen3_next", "qwen3_5", "qwen3_5_moe"])
    hybrid = family in ("qwen3_next", "qwen3_5", "qwen3_5_moe")
    c = common(r, hybrid)
    layers = c["num_hidden_layers"]
    if family == "llama":
        c["mlp_bias"] = r.random() < 0.3
        c["hidden_size"] = c["num_attention_heads"] * r.choice([8, 12, 16])
        if r.random() < 0.5:
            c["head_dim"] = c["hidden_size"] // c["num_attention_heads"]
        return family, transformers.LlamaForCausalLM, transformers.LlamaConfig(**c)
    if family == "qwen3":
        if r.random() < 0.4:
            c |= dict(use_sliding_window=True, sliding_window=r.choice([1, 7, 33]),
                      layer_types=[r.choice(["full_attention", "sliding_attention"])
                                   for _ in range(layers)])
        return family, transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**c)
    if family == "qwen3_moe":
        c |= moe(r, False) | dict(norm_topk_prob=r.random() < 0.5,
                                  decoder_sparse_step=r.choice([1, 1, 2]))
        return family, transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(**c)
    c |= linear(r, layers)
    if family == "qwen3_next":
        c |= moe(r, True) | dict(norm_topk_prob=r.random() < 0.7,
                                 mlp_only_layers=r.choice([[], [0], [layers - 1]]))
        return family, transformers.Qwen3NextForCausalLM, transformers.Qwen3NextConfig(**c)
    if family == "qwen3_5":
        return family, transformers.Qwen3_5ForCausalLM, Qwen3_5TextConfig(**c)
    del c["intermediate_size"]
    c |= moe(r, True)
    return family, transformers.Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig(**c)


def older_spelling(values):
    """The keys as transformers 4 wrote them."""
    p = values.pop("rope_parameters")
    values["rope_theta"] = p.pop("rope_theta")
    if "partial_rotary_factor" in p:
        values["partial_rotary_factor"] = p.pop("partial_rotary_factor")
    values["rope_scaling"] = None if p["rope_type"] == "default" else p
    return values


def main(out, count, first):
    for seed in range(first, first + count):
        r = random.Random(seed)
        family, model_class, config = make(r)
        model = model_class._from_config(config, attn_implementation="eager",
                                         experts_implementation="eager")
        folder = pathlib.Path(out) / f"{seed:04}-{family}"
        sliding = bool(getattr(config, "sliding_window", None))
        plain_gguf = (not sliding and config.rope_parameters["rope_type"] != "llama3"
                      or family == "llama")
        even = int(config.head_dim * config.rope_parameters.get("partial_rotary_factor", 1)) % 2 == 0
        options = {"max_shard_size": "60KB"} if r.random() < 0.3 else {}
        dtype = r.choice([torch.bfloat16, torch.bfloat16, torch.float16, torch.float32])
        exact = ["f32", "bf16"] if dtype == torch.bfloat16 else ["f32"]
        checkpoint_writer.write(
            folder, model, tokens=r.choice([65, 100, 150]), seed=seed, write_gguf=plain_gguf and even,
            gguf_options={"recurrent_flags": True, "matrix_type": r.choice(exact)},
            config_edit=older_spelling if r.random() < 0.4 else None, save_options=options,
            dtype=dtype)
        (folder / "config.txt").write_text(json.dumps(config.to_dict(), indent=1, default=str))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
