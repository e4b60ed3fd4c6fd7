"""Writes tests/data/checkpoints: one tiny checkpoint of every family with what it computes.

    python make_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5Config, Qwen3_5TextConfig
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig

import checkpoint_writer

torch.set_num_threads(1)
assert transformers.__version__ == "5.23.0", transformers.__version__
assert torch.__version__.startswith("2.15"), torch.__version__


def stack_experts(state):
    """Experts as the released BF16 mixtures of Qwen3.5 have them: (E, 2 I, H) and (E, H, I)."""
    stacked = {}
    experts = {}
    for name, tensor in state.items():
        if ".mlp.experts." in name and name.endswith("_proj.weight"):
            base, rest = name.split(".experts.")
            number, part = rest.split(".")[:2]
            experts.setdefault(base, {}).setdefault(part, {})[int(number)] = tensor
        else:
            stacked[name] = tensor
    for base, parts in experts.items():
        order = range(len(parts["up_proj"]))
        gate, up, down = (torch.stack([parts[p][e] for e in order])
                          for p in ("gate_proj", "up_proj", "down_proj"))
        stacked[base + ".experts.gate_up_proj"] = torch.cat([gate, up], dim=1)
        stacked[base + ".experts.down_proj"] = down
    return stacked


def add_prediction_layer(state):
    """Tensors of multi-token prediction, which the text model does not use."""
    state["mtp.fc.weight"] = torch.zeros(4, 8, dtype=torch.bfloat16)
    state["mtp.layers.0.self_attn.q_proj.weight"] = torch.zeros(4, 4, dtype=torch.bfloat16)
    return state


def to_fp8(state, model, block):
    """Matrices of the layers as FP8 with a factor per block; the model gets what they stand for."""
    parameters = dict(model.named_parameters())
    out = {}
    for name, tensor in state.items():
        if ".layers." not in name or tensor.dim() != 2:
            out[name] = tensor
            continue
        rows, cols = tensor.shape
        scales = torch.zeros(-(-rows // block), -(-cols // block))
        quants = torch.zeros(rows, cols, dtype=torch.float8_e4m3fn)
        real = torch.zeros(rows, cols)
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                at = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
                part = tensor[at].float()
                scales[i, j] = (part.abs().max() / 448).to(torch.bfloat16).float()
                quants[at] = (part / scales[i, j]).to(torch.float8_e4m3fn)
                real[at] = quants[at].float() * scales[i, j]
        out[name] = quants
        out[name + "_scale_inv"] = scales.to(torch.bfloat16)
        with torch.no_grad():
            parameters[name].copy_(real)
    return out


def write_fp8(folder):
    """The expected logits are those of the dequantised weights."""
    config = transformers.Qwen3Config(
        vocab_size=96, hidden_size=160, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=40, intermediate_size=200, max_position_embeddings=512,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e5})
    model = transformers.Qwen3ForCausalLM._from_config(config, attn_implementation="eager")
    checkpoint_writer.fill(model, 71)
    checkpoint_writer.save_rounded(model, folder / "hf")
    path = folder / "hf" / "model.safetensors"
    save_file(to_fp8(load_file(path), model, 128), path, metadata={"format": "pt"})
    values = json.loads((folder / "hf" / "config.json").read_text())
    values["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic",
                                     "fmt": "e4m3", "weight_block_size": [128, 128]}
    (folder / "hf" / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    ids, logits, greedy, margin = checkpoint_writer.expected_of(model.eval(), 100, 96, 71)
    assert margin > 2e-3, margin
    save_file({"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
               "greedy": torch.tensor(greedy, dtype=torch.int32)}, folder / "expected.safetensors")
    print(folder.name, margin)


def main(out):
    out = pathlib.Path(out)

    def build(model_class, config):
        return model_class._from_config(config, attn_implementation="eager")

    checkpoint_writer.write(
        out / "qwen3",
        build(transformers.Qwen3ForCausalLM, transformers.Qwen3Config(
            vocab_size=131, hidden_size=60, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, head_dim=24, intermediate_size=90,
            max_position_embeddings=1024, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
        tokens=120, seed=1)

    # Every second layer sees 20 positions, and biases everywhere attention can have them.
    checkpoint_writer.write(
        out / "qwen3-window",
        build(transformers.Qwen3ForCausalLM, transformers.Qwen3Config(
            vocab_size=100, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, head_dim=16, intermediate_size=64, attention_bias=True,
            max_position_embeddings=1024, use_sliding_window=True, sliding_window=20,
            layer_types=["full_attention", "sliding_attention"] * 2,
            rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                             "original_max_position_embeddings": 64})),
        tokens=180, seed=2, write_gguf=False)

    checkpoint_writer.write(
        out / "qwen3-moe",
        build(transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(
            vocab_size=128, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=1, head_dim=16, intermediate_size=72, moe_intermediate_size=20,
            num_experts=8, num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1],
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
        tokens=120, seed=3, gguf_options={"fused_experts": True})

    checkpoint_writer.write(
        out / "llama",
        build(transformers.LlamaForCausalLM, transformers.LlamaConfig(
            vocab_size=128, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=90, max_position_embeddings=512,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "llama3", "rope_theta": 5e3, "factor": 8.0,
                             "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 64})),
        tokens=120, seed=4)

    checkpoint_writer.write(
        out / "llama-bias",
        build(transformers.LlamaForCausalLM, transformers.LlamaConfig(
            vocab_size=97, hidden_size=60, num_hidden_layers=2, num_attention_heads=5,
            num_key_value_heads=5, head_dim=10, intermediate_size=77, attention_bias=True,
            mlp_bias=True, tie_word_embeddings=True, max_position_embeddings=512,
            rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0})),
        tokens=100, seed=5)

    checkpoint_writer.write(
        out / "qwen3-next",
        build(transformers.Qwen3NextForCausalLM, transformers.Qwen3NextConfig(
            vocab_size=128, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, intermediate_size=64, moe_intermediate_size=16,
            shared_expert_intermediate_size=24, num_experts=6, num_experts_per_tok=2,
            linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=16,
            linear_value_head_dim=8, mlp_only_layers=[2], max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6,
                             "partial_rotary_factor": 0.5})),
        tokens=170, seed=6, safetensors_edit=add_prediction_layer)

    checkpoint_writer.write(
        out / "qwen3-next-fused",
        build(transformers.Qwen3NextForCausalLM, transformers.Qwen3NextConfig(
            vocab_size=80, hidden_size=40, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=1, head_dim=32, moe_intermediate_size=16,
            shared_expert_intermediate_size=16, num_experts=4, num_experts_per_tok=2,
            linear_num_key_heads=3, linear_num_value_heads=3, linear_key_head_dim=12,
            linear_value_head_dim=12, layer_types=["linear_attention", "full_attention",
                                                   "linear_attention"],
            max_position_embeddings=1024)),
        tokens=150, seed=7, gguf_options={"fused_in": True, "recurrent_flags": True})

    checkpoint_writer.write(
        out / "qwen3.5",
        build(transformers.Qwen3_5ForCausalLM, Qwen3_5TextConfig(
            vocab_size=128, hidden_size=56, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, intermediate_size=70, linear_num_key_heads=2,
            linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
            tie_word_embeddings=True, max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 1e7,
                             "partial_rotary_factor": 0.25})),
        tokens=200, seed=8, safetensors_edit=add_prediction_layer)

    text = dict(
        vocab_size=100, hidden_size=48, num_hidden_layers=5, num_attention_heads=3,
        num_key_value_heads=1, head_dim=24, intermediate_size=70, linear_num_key_heads=3,
        linear_num_value_heads=9, linear_key_head_dim=8, linear_value_head_dim=8,
        linear_conv_kernel_dim=3, attention_bias=True, max_position_embeddings=1024,
        layer_types=["full_attention", "linear_attention", "linear_attention", "linear_attention",
                     "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e5, "partial_rotary_factor": 0.5,
                         "mrope_section": [2, 2, 2], "mrope_interleaved": True})
    vision = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=48,
                  patch_size=2, num_position_embeddings=16, spatial_merge_size=1)
    checkpoint_writer.write(
        out / "qwen3.5-multimodal",
        build(transformers.Qwen3_5ForConditionalGeneration,
              Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=False,
                            image_token_id=98, video_token_id=99, vision_start_token_id=96,
                            vision_end_token_id=97)),
        tokens=150, seed=9, gguf_options={"recurrent_flags": True})

    checkpoint_writer.write(
        out / "qwen3.5-moe",
        build(transformers.Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig(
            vocab_size=128, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, moe_intermediate_size=16,
            shared_expert_intermediate_size=20, num_experts=6, num_experts_per_tok=2,
            linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
            linear_value_head_dim=16, max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 1e7,
                             "partial_rotary_factor": 0.25})),
        tokens=150, seed=10, safetensors_edit=stack_experts)

    (out / "qwen3-fp8" / "hf").mkdir(parents=True, exist_ok=True)
    write_fp8(out / "qwen3-fp8")


if __name__ == "__main__":
    main(sys.argv[1])
