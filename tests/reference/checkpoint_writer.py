"""Tiny random checkpoints of every family, and what transformers computes with them.

A checkpoint is a folder:
    hf/config.json, hf/model.safetensors   as transformers saves it, bf16
    model.gguf                             the same weights in the published GGUF layout
    expected.safetensors                   tokens (T) i32, logits (T, vocab) f32, greedy (48) i32

The logits come from float32 arithmetic on the bf16 weights, eager attention. The GGUF writer is
written from spec/formats.md section 1.6 and spec/delta.md section 14, apart from the engine.

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import copy
import json
import math
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

GREEDY_TOKENS = 48


def fill(model, seed):
    """Weights large enough that every part of a layer moves the logits."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, scale):
        return torch.randn(shape, generator=generator) * scale

    zero_centred = hasattr(model.config.get_text_config(), "linear_num_key_heads")
    with torch.no_grad():
        for name, p in model.named_parameters():
            last = name.rsplit(".", 2)[-2:]
            if "linear_attn.norm" in name:
                p.copy_(1 + normal(p.shape, 0.2))
            elif name.endswith("A_log"):
                p.copy_(torch.log(torch.rand(p.shape, generator=generator) * 6 + 0.3))
            elif name.endswith("dt_bias"):
                p.copy_(normal(p.shape, 1.0) - 3)
            elif "conv1d" in name:
                p.copy_(normal(p.shape, 0.5))
            elif "norm" in last[0] and p.dim() == 1:
                p.copy_(normal(p.shape, 0.2) + (0.0 if zero_centred else 1.0))
            elif name.endswith("bias"):
                p.copy_(normal(p.shape, 0.3))
            elif "embed_tokens" in name:
                # Small, or a tied output would only repeat the last token.
                p.copy_(normal(p.shape, 0.1))
            elif name.endswith("mlp.gate.weight"):
                p.copy_(normal(p.shape, 2.0 / math.sqrt(p.shape[-1])))
            elif p.dim() >= 2:
                p.copy_(normal(p.shape, 1.0 / math.sqrt(p.shape[-1])))
            elif name.endswith("sinks"):
                p.copy_(normal(p.shape, 1.0) + 1.0)
            else:
                p.copy_(normal(p.shape, 0.2))
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):  # saved, and rounded with the weights
                b.copy_(normal(b.shape, 0.1).to(torch.bfloat16).float())
    return model


def rounded(weight, dtype=torch.bfloat16):
    """A weight in the type it is stored in. bf16 keeps four binary digits of eight: the archives of
    the checkpoints are a quarter smaller for it."""
    if dtype == torch.bfloat16:
        mantissa, exponent = torch.frexp(weight.float())
        weight = torch.ldexp(torch.round(mantissa * 16) / 16, exponent)
    return weight.to(dtype)


def save_rounded(model, folder, dtype=torch.bfloat16, **options):
    """Saves the weights in a narrow type and leaves the same values in the model, in float32.

    The model itself is not cast: rotation frequencies are buffers and would lose their digits."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(rounded(p, dtype).float())
    copy.deepcopy(model).to(dtype).save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)


def expected_of(model, tokens, vocab, seed):
    """Logits for random tokens, and a greedy continuation whose choices are not close."""
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, vocab, (tokens,), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
        greedy, margins = [], []
        text = ids
        for _ in range(GREEDY_TOKENS):
            last = model(input_ids=text[None], use_cache=False).logits[0, -1].float()
            top = torch.topk(last, 2)
            margins.append(float((top.values[0] - top.values[1]) / last.abs().max()))
            greedy.append(int(top.indices[0]))
            text = torch.cat([text, top.indices[:1]])
    return ids, logits, greedy, min(margins)


def write(folder, model, tokens, seed, safetensors_edit=None, write_gguf=True, gguf_options=None,
          config_edit=None, save_options=None, dtype=torch.bfloat16, gguf_writer=None):
    """Writes one checkpoint. Tries seeds until no greedy choice is a near tie.

    gguf_writer(path, config, state): for families that to_gguf() below does not know."""
    folder = pathlib.Path(folder)
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    config = model.config.get_text_config()
    while True:
        save_rounded(fill(model, seed), folder / "hf", dtype, **(save_options or {}))
        ids, logits, greedy, margin = expected_of(model.eval(), tokens, config.vocab_size, seed)
        if margin > 2e-3:
            break
        seed += 1000
        for old in (folder / "hf").iterdir():
            old.unlink()
    if safetensors_edit:
        path = folder / "hf" / "model.safetensors"
        save_file(safetensors_edit(load_file(path)), path, metadata={"format": "pt"})
    path = folder / "hf" / "config.json"
    values = json.loads(path.read_text())
    if config_edit:
        values = config_edit(values)
    path.write_text(json.dumps(values, indent=1) + "\n")
    save_file({"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
               "greedy": torch.tensor(greedy, dtype=torch.int32)},
              folder / "expected.safetensors")
    if write_gguf:
        (gguf_writer or to_gguf)(folder / "model.gguf", config, load_file_all(folder / "hf"),
                                 **(gguf_options or {}))
    print(f"{folder.name}: {tokens} tokens, {len(set(greedy))} different greedy tokens, least "
          f"margin {margin:.4f}, "
          + ", ".join(f"{p.relative_to(folder)} {p.stat().st_size}"
                      for p in sorted(folder.rglob('*')) if p.is_file()))


def load_file_all(folder):
    state = {}
    for path in sorted(folder.glob("*.safetensors")):
        state.update(load_file(path))
    return state


# --- GGUF ----------------------------------------------------------------------------------------

ARCHITECTURES = {"llama": "llama", "qwen3": "qwen3", "qwen3_moe": "qwen3moe",
                 "qwen3_next": "qwen3next", "qwen3_5_text": "qwen35",
                 "qwen3_5_moe_text": "qwen35moe"}


def permute_pairs(weight, heads):
    """Rows of each head from (half, half) to adjacent pairs."""
    return (weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            .swapaxes(1, 2).reshape(weight.shape))


def tile_heads(x, axis, key_heads, per_key, width):
    """Value heads of an axis from (key head, r) to (r, key head)."""
    x = x.movedim(axis, 0)
    x = x.reshape(key_heads, per_key, width, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(key_heads * per_key * width, *x.shape[3:]).movedim(0, axis)


def llama3_divisors(config):
    p = config.rope_parameters
    dim = config.head_dim
    divisors = []
    for i in range(dim // 2):
        frequency = p["rope_theta"] ** (-2 * i / dim)
        wavelength = 2 * math.pi / frequency
        low = p["original_max_position_embeddings"] / p["low_freq_factor"]
        high = p["original_max_position_embeddings"] / p["high_freq_factor"]
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(p["factor"])
        else:
            smooth = ((p["original_max_position_embeddings"] / wavelength - p["low_freq_factor"])
                      / (p["high_freq_factor"] - p["low_freq_factor"]))
            divisors.append(1 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def to_gguf(path, config, state, fused_in=False, fused_experts=False, recurrent_flags=False,
            matrix_type="bf16"):
    arch = ARCHITECTURES[config.model_type]
    hybrid = arch in ("qwen3next", "qwen35", "qwen35moe")
    w = gguf.GGUFWriter(str(path), arch)
    w.add_name("tiny " + arch)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(getattr(config, "intermediate_size", 1))
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    w.add_rope_freq_base(rope["rope_theta"])
    partial = rope.get("partial_rotary_factor", 1.0) if hybrid else 1.0
    w.add_rope_dimension_count(int(config.head_dim * partial))
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(config))
    experts = getattr(config, "num_experts", 0) or 0
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(config.num_experts_per_tok)
        w.add_expert_feed_forward_length(config.moe_intermediate_size)
        if not getattr(config, "norm_topk_prob", True):
            w.add_expert_weights_norm(False)
    if hybrid:
        w.add_full_attention_interval(getattr(config, "full_attention_interval", None) or 4)
        w.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        w.add_ssm_state_size(config.linear_key_head_dim)
        w.add_ssm_group_count(config.linear_num_key_heads)
        w.add_ssm_time_step_rank(config.linear_num_value_heads)
        w.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
        if experts:
            w.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
        if recurrent_flags:
            w.add_array(f"{arch}.attention.recurrent_layers",
                        [t == "linear_attention" for t in config.layer_types])
        if arch != "qwen3next":
            w.add_rope_dimension_sections([1, 1, 0, 0])

    plain = {}
    for name, tensor in state.items():
        name = name.replace("model.language_model.", "model.")
        if not name.startswith(("mtp.", "model.visual.")):
            plain[name] = tensor.float()

    def put(name, tensor):
        tensor = tensor.contiguous()
        keep = tensor.dim() < 2 or "conv1d" in name or "ffn_gate_inp" in name
        if keep or matrix_type == "f32":
            w.add_tensor(name, tensor.numpy())
        else:
            halves = tensor.to(torch.bfloat16).view(torch.uint8).numpy()
            w.add_tensor(name, halves, raw_dtype=gguf.GGMLQuantizationType.BF16)

    def take(name):
        return plain.pop(name)

    one = 1.0 if hybrid else 0.0
    put("token_embd.weight", take("model.embed_tokens.weight"))
    put("output_norm.weight", take("model.norm.weight") + one)
    if "lm_head.weight" in plain and not config.tie_word_embeddings:
        put("output.weight", take("lm_head.weight"))
    plain.pop("lm_head.weight", None)
    for n in range(config.num_hidden_layers):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        put(b + "attn_norm.weight", take(p + "input_layernorm.weight") + one)
        put(b + ("post_attention_norm" if hybrid else "ffn_norm") + ".weight",
            take(p + "post_attention_layernorm.weight") + one)
        if p + "self_attn.q_proj.weight" in plain:
            for part, to in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"),
                             ("o", "attn_output")):
                for kind in ("weight", "bias"):
                    name = f"{p}self_attn.{part}_proj.{kind}"
                    if name in plain:
                        tensor = take(name)
                        if arch == "llama" and part in "qk":
                            heads = (config.num_attention_heads if part == "q"
                                     else config.num_key_value_heads)
                            tensor = permute_pairs(tensor, heads)
                        put(f"{b}{to}.{kind}", tensor)
            for part in "qk":
                if p + f"self_attn.{part}_norm.weight" in plain:
                    put(b + f"attn_{part}_norm.weight",
                        take(p + f"self_attn.{part}_norm.weight") + one)
        else:
            linear_to_gguf(put, take, config, arch, p + "linear_attn.", b, fused_in)
        if p + "mlp.gate.weight" in plain:
            moe_to_gguf(put, take, plain, experts, p + "mlp.", b, fused_experts)
        else:
            for part in ("gate", "up", "down"):
                for kind in ("weight", "bias"):
                    if f"{p}mlp.{part}_proj.{kind}" in plain:
                        put(f"{b}ffn_{part}.{kind}", take(f"{p}mlp.{part}_proj.{kind}"))
    assert not plain, sorted(plain)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def linear_to_gguf(put, take, config, arch, p, b, fused_in):
    key_heads, value_heads = config.linear_num_key_heads, config.linear_num_value_heads
    dk, dv = config.linear_key_head_dim, config.linear_value_head_dim
    per_key = value_heads // key_heads
    conv = take(p + "conv1d.weight").squeeze(1)
    decay = -torch.exp(take(p + "A_log"))
    dt = take(p + "dt_bias")
    out = take(p + "out_proj.weight")
    if arch == "qwen3next":
        fused = take(p + "in_proj_qkvz.weight")
        if fused_in:
            put(b + "ssm_in.weight", fused)
        else:
            groups = fused.reshape(key_heads, 2 * dk + 2 * per_key * dv, -1)
            parts = torch.split(groups, [dk, dk, per_key * dv, per_key * dv], dim=1)
            q, k, v, z = (part.reshape(-1, fused.shape[1]) for part in parts)
            put(b + "attn_qkv.weight", torch.cat([q, k, v]))
            put(b + "attn_gate.weight", z)
        put(b + "ssm_ba.weight", take(p + "in_proj_ba.weight"))
    else:
        def tiled(x, axis=0, width=1):
            return tile_heads(x, axis, key_heads, per_key, width)

        def tiled_values(x):  # the value part of q | k | v
            keys = 2 * key_heads * dk
            return torch.cat([x[:keys], tiled(x[keys:], width=dv)])

        put(b + "attn_qkv.weight", tiled_values(take(p + "in_proj_qkv.weight")))
        put(b + "attn_gate.weight", tiled(take(p + "in_proj_z.weight"), width=dv))
        put(b + "ssm_beta.weight", tiled(take(p + "in_proj_b.weight")))
        put(b + "ssm_alpha.weight", tiled(take(p + "in_proj_a.weight")))
        conv, decay, dt = tiled_values(conv), tiled(decay), tiled(dt)
        out = tiled(out, axis=1, width=dv)
    put(b + "ssm_conv1d.weight", conv)
    put(b + "ssm_a", decay)
    put(b + "ssm_dt.bias", dt)
    put(b + "ssm_norm.weight", take(p + "norm.weight"))
    put(b + "ssm_out.weight", out)


def moe_to_gguf(put, take, plain, experts, p, b, fused_experts):
    put(b + "ffn_gate_inp.weight", take(p + "gate.weight"))
    if p + "experts.gate_up_proj" in plain:
        gate, up = take(p + "experts.gate_up_proj").chunk(2, dim=1)
        down = take(p + "experts.down_proj")
    else:
        gate, up, down = (torch.stack([take(f"{p}experts.{e}.{part}_proj.weight")
                                       for e in range(experts)])
                          for part in ("gate", "up", "down"))
    if fused_experts:
        put(b + "ffn_gate_up_exps.weight", torch.cat([gate, up], dim=1))
    else:
        put(b + "ffn_gate_exps.weight", gate)
        put(b + "ffn_up_exps.weight", up)
    put(b + "ffn_down_exps.weight", down)
    if p + "shared_expert_gate.weight" in plain:
        for part in ("gate", "up", "down"):
            put(b + f"ffn_{part}_shexp.weight", take(p + f"shared_expert.{part}_proj.weight"))
        put(b + "ffn_gate_inp_shexp.weight", take(p + "shared_expert_gate.weight")[0])
