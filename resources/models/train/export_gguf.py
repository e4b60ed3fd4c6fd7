"""Write the trained family as Q8_0 GGUF files (architecture qwen35), as llama.cpp's converter would: norm weights plus one
except the gated delta norm, -exp(A_log), the convolution without its middle dimension. Key and value heads are equal in
number, so value heads need no reordering."""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

import model as m

TEMPLATE = """{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
NAMES = {"full": "Full", "1-1": "1:1", "1-3": "1:3", "1-7": "1:7", "none": "None"}
LICENSE = "cc0-1.0"
TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
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


def gguf_name(name):
    if name in TENSORS:
        return TENSORS[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{TENSORS[rest]}"


def to_gguf(name, value):
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return value + 1
    if name.endswith("A_log"):
        return -np.exp(value)
    if name.endswith("conv1d.weight"):
        return value[:, 0]
    return value


def from_gguf(name, value):
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return value - 1
    if name.endswith("A_log"):
        return np.log(-value)
    if name.endswith("conv1d.weight"):
        return value[:, None]
    return value


def write(ratio, state, tokenizer, path, trained_tokens):
    c = m.CONFIG
    w = gguf.GGUFWriter(str(path), "qwen35")
    w.add_type("model")
    w.add_name(f"Hybridscope Ratio {NAMES[ratio]}")
    w.add_basename("Hybridscope-Ratio")
    w.add_size_label("5M")
    full = m.layer_types(ratio).count(m.FULL)
    w.add_description(f"A 5 million parameter model with full attention in {full} of {c['num_hidden_layers']} layers and the gated delta "
                      f"rule in the others; one of five trained on the same {trained_tokens / 1e6:.0f} million tokens to compare hybrid ratios.")
    w.add_license(LICENSE)
    w.add_license_name("CC0 1.0; definitions derive from WordNet 3.0, whose notice is in the model card")
    w.add_languages(["en"])
    w.add_tags(["text-generation", "hybrid-attention", "gated-delta", "ratio-family"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(2)
    w.add_vocab_size(c["vocab_size"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(m.ROPE_THETA)
    w.add_rope_dimension_count(int(c["head_dim"] * m.ROTARY_FACTOR))
    w.add_rope_dimension_sections([6, 5, 5, 0])
    w.add_ssm_conv_kernel(c["linear_conv_kernel_dim"])
    w.add_ssm_state_size(c["linear_key_head_dim"])
    w.add_ssm_group_count(c["linear_num_key_heads"])
    w.add_ssm_time_step_rank(c["linear_num_value_heads"])
    w.add_ssm_inner_size(c["linear_num_value_heads"] * c["linear_value_head_dim"])
    w.add_uint32("qwen35.full_attention_interval", m.INTERVAL[ratio])
    w.add_array("qwen35.attention.recurrent_layers", [t == m.LINEAR for t in m.layer_types(ratio)])

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
        value = np.ascontiguousarray(to_gguf(name, value.float().numpy()), dtype=np.float32)
        target = gguf_name(name)
        if value.ndim == 1 or "conv1d" in target:
            w.add_tensor(target, value)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(target, gguf.quants.quantize(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read(path):
    """A state dict for Qwen3_5ForCausalLM out of a GGUF file, with a dequantiser of its own."""
    back = {}
    for tensor in gguf.GGUFReader(str(path)).tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            blocks = np.frombuffer(tensor.data.tobytes(), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
            value = (blocks["d"].astype(np.float32)[:, None] * blocks["q"]).reshape(shape)
        else:
            value = np.frombuffer(tensor.data.tobytes(), "<f4").reshape(shape)
        back[tensor.name] = value
    layers = m.CONFIG["num_hidden_layers"]
    state = {}
    for name, target in TENSORS.items():
        for full, source in ([(name, target)] if name.startswith("model.") else
                             [(f"model.layers.{i}.{name}", f"blk.{i}.{target}") for i in range(layers)]):
            if source in back:
                state[full] = torch.from_numpy(np.array(from_gguf(full, back[source])))
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, help="tokens each model was trained on, for the description")
    parser.add_argument("--back", action="store_true", help="the other way: GGUF files to checkpoints, to train on from them")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for ratio in m.INTERVAL:
        if args.back:
            torch.save(read(args.checkpoints / f"hybridscope-ratio-{ratio}.gguf"), args.out / f"{ratio}.pt")
            continue
        path = args.out / f"hybridscope-ratio-{ratio}.gguf"
        write(ratio, torch.load(args.checkpoints / f"{ratio}.pt", map_location="cpu"), args.tokenizer.read_text(), path, args.tokens)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
