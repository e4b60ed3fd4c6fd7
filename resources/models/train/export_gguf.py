"""Write the trained models as Q8_0 GGUF files, as llama.cpp's converters would.

The ratio family is qwen35: norm weights plus one except the gated delta norm, -exp(A_log), the convolution without its middle
dimension; key and value heads are equal in number, so value heads need no reordering. The others are minimax-01 (a mixture of one
expert), kimi-linear (three convolutions, the keys' and the values' half of kv_b apart, the keys' transposed) and mimo2."""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

import mixers
import model as m

TEMPLATE = """{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
NAMES = {"full": "Full", "1-1": "1:1", "1-3": "1:3", "1-7": "1:7", "none": "None",
         "1-7-lightning": "1:7 Lightning", "1-3-kda": "1:3 KDA", "1-7-window": "1:7 Window"}
MIXERS = {"1-7-lightning": "lightning attention", "1-3-kda": "Kimi delta attention", "1-7-window": "a sliding window of 128 tokens with sinks"}
ARCHITECTURES = {"1-7-lightning": "minimax-01", "1-3-kda": "kimi-linear", "1-7-window": "mimo2"}
LICENSE = "cc0-1.0"
COMMON = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
}
QWEN = COMMON | {
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight",
    "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight",
    "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.norm.weight": "ssm_norm.weight",
    "linear_attn.out_proj.weight": "ssm_out.weight",
}


MINIMAX = COMMON | {
    "mlp.gate_proj.weight": "ffn_gate_exps.weight",
    "mlp.up_proj.weight": "ffn_up_exps.weight",
    "mlp.down_proj.weight": "ffn_down_exps.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "self_attn.output_gate.weight": "attn_gate.weight",
    "self_attn.norm.weight": "attn_norm_2.weight",
    "self_attn.out_proj.weight": "attn_output.weight",
}
KIMI = COMMON | {
    "self_attn.conv1d.weight": "ssm_conv1d_q.weight ssm_conv1d_k.weight ssm_conv1d_v.weight",
    "self_attn.forget_gate.f_a_proj.weight": "ssm_f_a.weight",
    "self_attn.forget_gate.f_b_proj.weight": "ssm_f_b.weight",
    "self_attn.forget_gate.A_log": "ssm_a",
    "self_attn.forget_gate.dt_bias": "ssm_dt.bias",
    "self_attn.b_proj.weight": "ssm_beta.weight",
    "self_attn.g_a_proj.weight": "ssm_g_a.weight",
    "self_attn.g_b_proj.weight": "ssm_g_b.weight",
    "self_attn.o_norm.weight": "ssm_norm.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "self_attn.kv_b_proj.weight": "attn_k_b.weight attn_v_b.weight",
}
MIMO = COMMON | {"self_attn.sinks": "attn_sinks.weight"}
TENSORS = {"1-7-lightning": MINIMAX, "1-3-kda": KIMI, "1-7-window": MIMO}


def gguf_names(model, name):
    """Where a tensor goes: to one of the file's, or to several."""
    table = TENSORS.get(model, QWEN)
    if name in table:
        return [table[name]]
    _, _, layer, rest = name.split(".", 3)
    return [f"blk.{layer}.{target}" for target in table[rest].split()]


def plus_one(model, name):
    return model not in mixers.NETWORKS and name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight")


def to_gguf(model, name, value):
    """The values of a tensor's parts in the file."""
    if plus_one(model, name):
        return [value + 1]
    if name.endswith("A_log"):
        return [-np.exp(value).reshape((-1, 1) if model in mixers.NETWORKS else -1)]
    if name.endswith("self_attn.conv1d.weight"):
        return [part[None] for part in np.split(value, 3)]
    if name.endswith("conv1d.weight"):
        return [value[:, 0]]
    if name.endswith("kv_b_proj.weight"):
        heads = value.reshape(mixers.HEADS, mixers.NOPE + mixers.D, mixers.LATENT)
        return [heads[:, :mixers.NOPE].transpose(0, 2, 1), heads[:, mixers.NOPE:]]
    if model.endswith("lightning") and ".mlp." in name:
        return [value[None]]
    return [value]


def from_gguf(model, name, parts, shape):
    value = parts[0]
    if plus_one(model, name):
        return value - 1
    if name.endswith("A_log"):
        value = np.log(-value)
    elif name.endswith("self_attn.conv1d.weight"):
        value = np.concatenate([part[0] for part in parts])
    elif name.endswith("kv_b_proj.weight"):
        value = np.concatenate((parts[0].transpose(0, 2, 1), parts[1]), 1)
    return value.reshape(shape)


def family_settings(w, model):
    """What the architectures call differently or have of their own."""
    c = m.CONFIG
    types = m.layer_types(model)
    if model.endswith("lightning"):
        heads(w, c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["head_dim"])
        w.add_rope_freq_base(m.ROPE_THETA)
        w.add_rope_dimension_count(c["head_dim"])  # whole heads: the form of transformers' port
        w.add_expert_count(1)
        w.add_expert_used_count(1)
        w.add_float32("minimax-01.residual_scale", mixers.ALPHA)
        w.add_array("minimax-01.attention.recurrent_layers", [t == m.LINEAR for t in types])
    elif model.endswith("kda"):
        heads(w, mixers.HEADS, [int(t == m.FULL) for t in types], mixers.LATENT + mixers.SHARED, mixers.LATENT)
        w.add_ssm_conv_kernel(c["linear_conv_kernel_dim"])
        w.add_uint32("kimi-linear.kda.head_dim", mixers.D)
        w.add_kv_lora_rank(mixers.LATENT)
        w.add_key_length_mla(mixers.NOPE + mixers.SHARED)
        w.add_value_length_mla(mixers.D)
        w.add_rope_dimension_count(mixers.SHARED)
        w.add_leading_dense_block_count(c["num_hidden_layers"])
    elif model.endswith("window"):
        heads(w, mixers.QUERY_HEADS, [mixers.QUERY_HEADS // (1 if t == m.SLIDING else 2) for t in types], mixers.KEY_DIM, mixers.VALUE_DIM)
        w.add_rope_freq_base(m.ROPE_THETA)
        w.add_float32("mimo2.rope.freq_base_swa", mixers.SLIDING_THETA)
        w.add_rope_dimension_count(mixers.ROTATED)
        w.add_sliding_window(mixers.WINDOW)
        w.add_array("mimo2.attention.sliding_window_pattern", [t == m.SLIDING for t in types])
        w.add_float32("mimo2.attention.value_scale", mixers.VALUE_SCALE)
        # Of mixtures, which no layer has but the architecture counts on.
        w.add_expert_count(1)
        w.add_expert_used_count(1)
        w.add_expert_feed_forward_length(c["intermediate_size"])
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    else:
        heads(w, c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["head_dim"])
        w.add_rope_freq_base(m.ROPE_THETA)
        w.add_rope_dimension_count(int(c["head_dim"] * m.ROTARY_FACTOR))
        w.add_rope_dimension_sections([6, 5, 5, 0])
        w.add_ssm_conv_kernel(c["linear_conv_kernel_dim"])
        w.add_ssm_state_size(c["linear_key_head_dim"])
        w.add_ssm_group_count(c["linear_num_key_heads"])
        w.add_ssm_time_step_rank(c["linear_num_value_heads"])
        w.add_ssm_inner_size(c["linear_num_value_heads"] * c["linear_value_head_dim"])
        w.add_uint32("qwen35.full_attention_interval", m.INTERVAL[model])
        w.add_array("qwen35.attention.recurrent_layers", [t == m.LINEAR for t in types])


def heads(w, query, key_value, key_length, value_length):
    w.add_head_count(query)
    w.add_head_count_kv(key_value)
    w.add_key_length(key_length)
    w.add_value_length(value_length)
    w.add_layer_norm_rms_eps(m.CONFIG["rms_norm_eps"])


def write(model, state, tokenizer, path, trained_tokens):
    c = m.CONFIG
    w = gguf.GGUFWriter(str(path), ARCHITECTURES.get(model, "qwen35"))
    w.add_type("model")
    w.add_name(f"Hybridscope Ratio {NAMES[model]}")
    w.add_basename("Hybridscope-Ratio")
    w.add_size_label("5M")
    full = m.layer_types(model).count(m.FULL)
    w.add_description(f"A 5 million parameter model with full attention in {full} of {c['num_hidden_layers']} layers and "
                      f"{MIXERS.get(model, 'the gated delta rule')} in the others; one of "
                      f"{'eight' if model in mixers.NETWORKS else 'five'} trained on the same {trained_tokens / 1e6:.0f} million tokens to compare "
                      f"hybrid ratios{' and mixers' if model in mixers.NETWORKS else ''}.")
    w.add_license(LICENSE)
    w.add_license_name("CC0 1.0; definitions derive from WordNet 3.0, whose notice is in the model card")
    w.add_languages(["en"])
    w.add_tags(["text-generation", "hybrid-attention"] + ([] if model in mixers.NETWORKS else ["gated-delta"]) + ["ratio-family"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(2)
    w.add_vocab_size(c["vocab_size"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    family_settings(w, model)

    vocabulary = sorted(json.loads(tokenizer)["model"]["vocab"].items(), key=lambda kv: kv[1])
    special = {a["id"]: a["content"] for a in json.loads(tokenizer)["added_tokens"]}
    tokens = [t for t, _ in vocabulary] + [special[i] for i in range(len(vocabulary), c["vocab_size"])]
    merges = [" ".join(x) if isinstance(x, list) else x for x in json.loads(tokenizer)["model"]["merges"]]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen35")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))])
    w.add_token_merges(merges)
    by_name = {v: k for k, v in special.items()}
    w.add_eos_token_id(by_name["<|im_end|>"])
    w.add_bos_token_id(by_name["<|endoftext|>"])
    w.add_pad_token_id(by_name["<|endoftext|>"])
    w.add_uint32("tokenizer.ggml.eot_token_id", by_name["<|im_end|>"])
    w.add_add_bos_token(False)
    w.add_add_eos_token(False)
    w.add_chat_template(TEMPLATE)
    w.add_float32("general.sampling.temp", 0.1)
    w.add_float32("general.sampling.top_p", 0.9)

    for name, value in state.items():
        for target, part in zip(gguf_names(model, name), to_gguf(model, name, value.float().numpy()), strict=True):
            part = np.ascontiguousarray(part, dtype=np.float32)
            if part.ndim == 1 or "conv1d" in target or target.endswith("ssm_a"):
                w.add_tensor(target, part)
            else:
                kind = gguf.GGMLQuantizationType.Q8_0
                w.add_tensor(target, gguf.quants.quantize(part, kind), raw_dtype=kind)
    if model.endswith("lightning"):  # the router of the only expert
        for i in range(c["num_hidden_layers"]):
            w.add_tensor(f"blk.{i}.ffn_gate_inp.weight", np.zeros((1, c["hidden_size"]), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read(model, path):
    """The network's state dict out of a GGUF file, with a dequantiser of its own."""
    back = {}
    for tensor in gguf.GGUFReader(str(path)).tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            blocks = np.frombuffer(tensor.data.tobytes(), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
            value = (blocks["d"].astype(np.float32)[:, None] * blocks["q"]).reshape(shape)
        else:
            value = np.frombuffer(tensor.data.tobytes(), "<f4").reshape(shape)
        back[tensor.name] = value
    state = {}
    for name, value in mixers.create(model).state_dict().items():
        parts = [back[target] for target in gguf_names(model, name)]
        state[name] = torch.from_numpy(np.array(from_gguf(model, name, parts, value.shape)))
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, help="tokens each model was trained on, for the description")
    parser.add_argument("--ratios", nargs="+", default=list(m.INTERVAL))
    parser.add_argument("--back", action="store_true", help="the other way: GGUF files to checkpoints, to train on from them")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for ratio in args.ratios:
        if args.back:
            torch.save(read(ratio, args.checkpoints / f"hybridscope-ratio-{ratio}.gguf"), args.out / f"{ratio}.pt")
            continue
        path = args.out / f"hybridscope-ratio-{ratio}.gguf"
        write(ratio, torch.load(args.checkpoints / f"{ratio}.pt", map_location="cpu"), args.tokenizer.read_text(), path, args.tokens)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
