"""Tiny random checkpoints of Kimi-Linear, Kimi K3 and OLMo-Hybrid, and what they compute.

    python kda_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)
    python kda_checkpoints.py --sweep /tmp/sweep 16 [first seed]

Kimi-Linear and OLMo-Hybrid come from transformers' classes, Kimi K3, which it lacks, from
kimi_k3_reference.py in float64. The GGUF writers follow spec/delta.md section 14.

The layout of a checkpoint is that of checkpoint_writer.py. --sweep writes random configurations
outside the project, for HYBRIDSCOPE_CHECKPOINTS=... family_golden_test.

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import json
import math
import pathlib
import random
import sys

import gguf
import torch
import transformers
from safetensors.torch import save_file

import checkpoint_writer
import kimi_k3_reference

PLAIN_FILL = checkpoint_writer.fill


def fill(model, seed):
    """OLMo-Hybrid's norms multiply by w, not by 1 + w; Kimi's weights lie in modules of its own."""
    PLAIN_FILL(model, seed)
    generator = torch.Generator().manual_seed(seed + 7)
    olmo = model.config.model_type == "olmo_hybrid"
    with torch.no_grad():
        for name, p in model.named_parameters():
            if olmo and "norm" in name.rsplit(".", 2)[-2]:
                p.copy_(1 + torch.randn(p.shape, generator=generator) * 0.2)
            elif name.endswith("forget_gate.dt_bias"):
                p.copy_(torch.randn(p.shape, generator=generator) * 2 - 2)
    return model


checkpoint_writer.fill = fill


# --- GGUF ----------------------------------------------------------------------------------------

class Gguf:
    def __init__(self, path, arch, c, full):
        self.w = gguf.GGUFWriter(str(path), arch)
        self.arch = arch
        add = self.w
        add.add_name("tiny " + arch)
        add.add_block_count(c["num_hidden_layers"])
        add.add_context_length(c["model_max_length"])
        add.add_embedding_length(c["hidden_size"])
        add.add_feed_forward_length(c["intermediate_size"])
        add.add_vocab_size(c["vocab_size"])
        add.add_head_count(c["num_attention_heads"])
        add.add_head_count_kv([int(i in full) for i in range(c["num_hidden_layers"])])
        add.add_layer_norm_rms_eps(c["rms_norm_eps"])
        add.add_ssm_conv_kernel(c["conv"])
        add.add_uint32(f"{arch}.kda.head_dim", c["kda_dim"])
        add.add_kv_lora_rank(c["kv_lora_rank"])
        if c.get("q_lora_rank"):
            add.add_q_lora_rank(c["q_lora_rank"])
        rope = c["qk_rope_head_dim"]
        add.add_key_length(c["kv_lora_rank"] + rope)
        add.add_value_length(c["kv_lora_rank"])
        add.add_key_length_mla(c["qk_nope_head_dim"] + rope)
        add.add_value_length_mla(c["v_head_dim"])
        add.add_rope_dimension_count(rope)
        add.add_leading_dense_block_count(c["first_k_dense_replace"])
        add.add_expert_count(c["num_experts"])
        add.add_expert_used_count(c["num_experts_per_token"])
        add.add_expert_feed_forward_length(c["moe_intermediate_size"])
        add.add_expert_shared_count(c["num_shared_experts"])
        add.add_expert_weights_scale(c["routed_scaling_factor"])
        add.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)

    def put(self, name, tensor):
        tensor = tensor.contiguous()
        small = tensor.dim() < 2 or "conv1d" in name or "ffn_gate_inp" in name
        if small or tensor.dtype == torch.float32:
            self.w.add_tensor(name, tensor.float().numpy())
        else:
            self.w.add_tensor(name, tensor.to(torch.bfloat16).view(torch.uint8).numpy(),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def ggml_mxfp4(packed, scales):
    """Pairs of neighbours to ggml's 17 bytes of 32: the factor, then values j with j + 16."""
    pairs = packed.reshape(*packed.shape[:-1], -1, 16)
    values = torch.stack([pairs & 15, pairs >> 4], dim=-1).flatten(-2)
    halves = values[..., :16] | (values[..., 16:] << 4)
    return torch.cat([scales[..., None], halves], dim=-1).flatten(-2)


def kimi_gguf(path, arch, c, full, state, joined_kv=False):
    """c: the words of the released config.json, sizes of KDA as conv and kda_dim."""
    out = Gguf(path, arch, c, full)
    heads = c["num_attention_heads"]
    nope, value, rank = c["qk_nope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
    left = dict(state)

    def take(name):
        return left.pop(name)

    def move(to, name):
        if name in left:
            out.put(to, take(name))

    out.put("token_embd.weight", take("model.embed_tokens.weight"))
    out.put("output_norm.weight", take("model.norm.weight"))
    out.put("output.weight", take("lm_head.weight"))
    for i in range(c["num_hidden_layers"]):
        p, b = f"model.layers.{i}.", f"blk.{i}."
        a = p + "self_attn."
        out.put(b + "attn_norm.weight", take(p + "input_layernorm.weight"))
        out.put(b + "ffn_norm.weight", take(p + "post_attention_layernorm.weight"))
        if i in full:
            for part, to in (("q_proj", "attn_q"), ("q_a_proj", "attn_q_a"),
                             ("q_a_layernorm", "attn_q_a_norm"), ("q_b_proj", "attn_q_b"),
                             ("kv_a_proj_with_mqa", "attn_kv_a_mqa"),
                             ("kv_a_layernorm", "attn_kv_a_norm"), ("g_proj", "attn_gate"),
                             ("o_proj", "attn_output")):
                move(f"{b}{to}.weight", f"{a}{part}.weight")
            kv = take(a + "kv_b_proj.weight")
            if joined_kv:
                out.put(b + "attn_kv_b.weight", kv)
            else:
                kv = kv.reshape(heads, nope + value, rank)
                out.put(b + "attn_k_b.weight", kv[:, :nope].transpose(1, 2))
                out.put(b + "attn_v_b.weight", kv[:, nope:])
        else:
            for part, to in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"),
                             ("f_a_proj", "ssm_f_a"), ("f_b_proj", "ssm_f_b"),
                             ("b_proj", "ssm_beta"), ("g_a_proj", "ssm_g_a"),
                             ("g_b_proj", "ssm_g_b"), ("g_proj", "ssm_g"), ("o_norm", "ssm_norm"),
                             ("o_proj", "attn_output")):
                move(f"{b}{to}.weight", f"{a}{part}.weight")
            for part in "qkv":
                conv = take(f"{a}{part}_conv1d.weight")
                out.put(f"{b}ssm_conv1d_{part}.weight", conv.reshape(1, conv.shape[0], 1, -1))
            rate = -torch.exp(take(a + "A_log").float().flatten()[:c["kda_heads"]])
            out.put(b + "ssm_a", rate if arch == "kimi-k3" else rate.reshape(-1, 1))
            out.put(b + "ssm_dt.bias", take(a + "dt_bias"))
        experts_to_gguf(out, take, move, left, c, p, b)
        if c.get("attn_res_block_size"):
            for part, to in (("self_attention_res", "attn_res_score"), ("mlp_res", "ffn_res_score")):
                out.put(f"{b}{to}.weight", take(f"{p}{part}_norm.weight").float()
                        * take(f"{p}{part}_proj.weight").float().flatten())
    if c.get("attn_res_block_size"):
        out.put("output_res_score.weight", take("model.output_attn_res_norm.weight").float()
                * take("model.output_attn_res_proj.weight").float().flatten())
    if arch == "kimi-k3":
        add = out.w
        add.add_float32("kimi-k3.kda.gate_lower_bound", c["gate_lower_bound"])
        add.add_expert_weights_norm(c["moe_renormalize"])
        add.add_uint32("kimi-k3.expert_latent_length", c["routed_expert_hidden_size"])
        add.add_float32("kimi-k3.activation.situ_beta", c["activation_situ_beta"])
        add.add_float32("kimi-k3.activation.situ_linear_beta", c["activation_situ_linear_beta"])
        add.add_uint32("kimi-k3.attn_res.block_size", c["attn_res_block_size"])
    elif not c["moe_renormalize"]:
        out.w.add_expert_weights_norm(False)
    assert not left, sorted(left)
    out.close()


def experts_to_gguf(out, take, move, left, c, p, b):
    m = p + "block_sparse_moe."
    for part in ("gate", "up", "down"):
        move(f"{b}ffn_{part}.weight", f"{p}mlp.{part}_proj.weight")
        move(f"{b}ffn_{part}.weight", f"{m}{part}_proj.weight")
    if m + "gate.weight" not in left:
        return
    out.put(b + "ffn_gate_inp.weight", take(m + "gate.weight"))
    out.put(b + "exp_probs_b.bias", take(m + "gate.e_score_correction_bias"))
    for part in ("gate", "up", "down"):
        move(f"{b}ffn_{part}_shexp.weight", f"{m}shared_experts.{part}_proj.weight")
    for part, to in (("down_proj", "down"), ("up_proj", "up"), ("norm", "norm")):
        move(f"{b}ffn_routed_{to}.weight", f"{m}routed_expert_{part}.weight")
    for part, to in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
        names = [f"{m}experts.{e}.{part}.weight" for e in range(c["num_experts"])]
        if names[0] in left:
            out.put(f"{b}ffn_{to}_exps.weight", torch.stack([take(name) for name in names]))
            continue
        blocks = torch.stack([ggml_mxfp4(take(name + "_packed"), take(name + "_scale"))
                              for name in names])
        out.w.add_tensor(f"{b}ffn_{to}_exps.weight", blocks.numpy(),
                         raw_dtype=gguf.GGMLQuantizationType.MXFP4)


# --- Kimi-Linear ---------------------------------------------------------------------------------

def kimi_words(config):
    """A transformers config in the released words, sizes of KDA flat."""
    mlp = config.mlp_layer_types
    return {
        "vocab_size": config.vocab_size, "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "moe_intermediate_size": config.moe_intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "kv_lora_rank": config.kv_lora_rank, "q_lora_rank": config.q_lora_rank,
        "qk_rope_head_dim": config.qk_rope_head_dim, "qk_nope_head_dim": config.qk_nope_head_dim,
        "v_head_dim": config.v_head_dim, "rms_norm_eps": config.rms_norm_eps,
        "model_max_length": config.max_position_embeddings,
        "num_experts": config.num_local_experts,
        "num_experts_per_token": config.num_experts_per_tok,
        "num_shared_experts": config.n_shared_experts,
        "routed_scaling_factor": config.routed_scaling_factor,
        "moe_renormalize": config.norm_topk_prob,
        "first_k_dense_replace": mlp.count("dense"),
        "tie_word_embeddings": config.tie_word_embeddings,
        "conv": config.linear_conv_kernel_dim, "kda_dim": config.linear_head_dim,
        "kda_heads": config.linear_num_heads,
    }


def full_of(config):
    return {i for i, t in enumerate(config.layer_types) if t == "full_attention"}


def kimi_linear_gguf(path, config, state, **options):
    kimi_gguf(path, "kimi-linear", kimi_words(config), full_of(config), state, **options)


def released_words(config):
    """config.json as the release spells it: sizes in linear_attn_config, layers from 1."""
    def edit(values):
        full = sorted(i + 1 for i in full_of(config))
        layers = range(1, config.num_hidden_layers + 1)
        values["linear_attn_config"] = {
            "full_attn_layers": full, "kda_layers": [i for i in layers if i not in full],
            "head_dim": config.linear_head_dim, "num_heads": config.linear_num_heads,
            "short_conv_kernel_size": config.linear_conv_kernel_dim}
        values["first_k_dense_replace"] = config.mlp_layer_types.count("dense")
        for key in ("layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads",
                    "linear_conv_kernel_dim", "qk_head_dim"):
            values.pop(key, None)
        return values | {"mla_use_nope": True, "moe_layer_freq": 1, "use_grouped_topk": True,
                         "moe_router_activation_func": "sigmoid", "head_dim": 72,
                         "rope_theta": 10000.0, "rope_scaling": None,
                         "num_nextn_predict_layers": 0}
    return edit


def released_names(state):
    """Dense layers under their own name: saving renames them along with the mixtures."""
    return {name.replace("block_sparse_moe", "mlp") if ".experts." not in name and
            ".block_sparse_moe.gate." not in name and ".shared_experts." not in name else name:
            tensor for name, tensor in state.items()}


def module_names(state):
    """The names of transformers' modules: experts stacked, convolutions joined."""
    out, experts, convs = {}, {}, {}
    for name, tensor in state.items():
        name = name.replace(".block_sparse_moe.", ".mlp.")
        base, _, rest = name.partition(".self_attn.")
        if rest in ("q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"):
            convs.setdefault(base, {})[rest[0]] = tensor
        elif rest.startswith(("f_a_proj", "f_b_proj", "dt_bias", "A_log")):
            out[f"{base}.self_attn.forget_gate.{rest}"] = tensor
        elif ".experts." in name and ".shared" not in name:
            base, rest = name.split(".experts.")
            number, part = rest.split(".")[:2]
            experts.setdefault(base, {}).setdefault(part, {})[int(number)] = tensor
        else:
            out[name] = tensor
    for base, parts in convs.items():
        out[base + ".self_attn.conv1d.weight"] = torch.cat([parts[p] for p in "qkv"])
    for base, parts in experts.items():
        w1, w3, w2 = (torch.stack([parts[p][e] for e in range(len(parts[p]))])
                      for p in ("w1", "w3", "w2"))
        out[base + ".experts.gate_up_proj"] = torch.cat([w1, w3], dim=1)
        out[base + ".experts.down_proj"] = w2
    return out


def kimi_config(**changes):
    values = dict(
        vocab_size=97, hidden_size=40, intermediate_size=70, moe_intermediate_size=20,
        num_hidden_layers=5, num_attention_heads=3, num_key_value_heads=3, n_shared_experts=1,
        kv_lora_rank=24, qk_rope_head_dim=8, v_head_dim=12, qk_nope_head_dim=16,
        num_local_experts=6, num_experts_per_tok=2, linear_head_dim=16, linear_num_heads=3,
        max_position_embeddings=1024, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention",
                     "full_attention"])
    return transformers.KimiLinearConfig(**(values | changes))


def build(model_class, config):
    extra = {"experts_implementation": "eager"} if "Kimi" in model_class.__name__ else {}
    return model_class._from_config(config, attn_implementation="eager", **extra)


def write_kimi(folder, config, tokens, seed, released=False, modules=False, joined_kv=False,
               **options):
    words = released_words(config) if released else None
    options = {"gguf_options": {"joined_kv": joined_kv}} | options
    if modules:  # the writer of GGUF reads the released names
        options["write_gguf"] = False
    checkpoint_writer.write(
        folder, build(transformers.KimiLinearForCausalLM, config), tokens=tokens, seed=seed,
        config_edit=words,
        safetensors_edit=module_names if modules else released_names if released else None,
        gguf_writer=kimi_linear_gguf, **options)


# --- OLMo-Hybrid ---------------------------------------------------------------------------------

def olmo_config(**changes):
    values = dict(
        vocab_size=101, hidden_size=48, intermediate_size=66, num_hidden_layers=5,
        num_attention_heads=3, linear_key_head_dim=12, linear_value_head_dim=20,
        max_position_embeddings=1024, pad_token_id=0, eos_token_id=2,
        rope_parameters={"rope_theta": None, "rope_type": "default"})
    return transformers.OlmoHybridConfig(**(values | changes))


def without_rotation(values):
    """As the release has it."""
    return values | {"rope_parameters": None, "rope_theta": None}


def olmo_module_names(state):
    out, convs = {}, {}
    for name, tensor in state.items():
        layer = name.partition(".linear_attn.")
        if layer[2] in ("q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"):
            convs.setdefault(layer[0], {})[layer[2][0]] = tensor
            continue
        name = name.replace("attention_layer_norm", "input_layernorm")
        out[name.replace("feedforward_layer_norm", "post_attention_layernorm")] = tensor
    for base, parts in convs.items():
        out[base + ".linear_attn.conv1d.weight"] = torch.cat([parts[p] for p in "qkv"])
    return out


def released_olmo_names(state):
    """Norms of full layers under their own names: saving renames them along with the others."""
    full = {name.rsplit(".self_attn.", 1)[0] for name in state if ".self_attn." in name}
    out = {}
    for name, tensor in state.items():
        base, _, rest = name.rpartition(".feedforward_layer_norm")
        out[base + ".post_attention_layernorm" + rest if base in full else name] = tensor
    return out


def write_olmo(folder, config, tokens, seed, **options):
    checkpoint_writer.write(folder, build(transformers.OlmoHybridForCausalLM, config),
                            tokens=tokens, seed=seed, write_gguf=False, **options)


# --- Kimi K3 -------------------------------------------------------------------------------------

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6],
                   dtype=torch.float64)


def to_mxfp4(w):
    """(packed pairs, factors, what they mean) of a matrix, 32 values of a row to a factor."""
    rows, cols = w.shape
    groups = w.double().reshape(rows, cols // 32, 32)
    most = groups.abs().amax(-1).clamp(min=1e-30)
    exponent = torch.floor(torch.log2(most)) - 2
    scaled = groups / torch.exp2(exponent)[..., None]
    code = (scaled[..., None] - FP4).abs().argmin(-1)
    meant = (FP4[code] * torch.exp2(exponent)[..., None]).reshape(rows, cols)
    code = code.reshape(rows, cols).to(torch.uint8)
    return code[:, 0::2] | (code[:, 1::2] << 4), (exponent + 127).to(torch.uint8), meant


def k3_config(**changes):
    text = {
        "model_type": "kimi_linear", "architectures": ["KimiLinearForCausalLM"],
        "vocab_size": 89, "hidden_size": 40, "intermediate_size": 70, "moe_intermediate_size": 32,
        "num_hidden_layers": 5, "num_attention_heads": 3, "num_key_value_heads": 3,
        "kv_lora_rank": 20, "q_lora_rank": 28, "qk_rope_head_dim": 6, "v_head_dim": 10,
        "qk_nope_head_dim": 14, "mla_use_nope": True, "mla_use_output_gate": True,
        "linear_attn_config": {"full_attn_layers": [3, 5], "head_dim": 16, "num_heads": 3,
                               "short_conv_kernel_size": 4, "gate_lower_bound": -5.0,
                               "use_full_rank_gate": True},
        "num_experts": 4, "num_experts_per_token": 2, "num_shared_experts": 2,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_renormalize": True,
        "moe_router_activation_func": "sigmoid", "routed_scaling_factor": 1.0,
        "routed_expert_hidden_size": 32, "latent_moe_use_norm": True, "hidden_act": "situ",
        "activation_situ_beta": 4.0, "activation_situ_linear_beta": 25.0, "attn_res_block_size": 2,
        "use_grouped_topk": True, "num_expert_group": 1, "topk_group": 1, "topk_method": "noaux_tc",
        "rms_norm_eps": 1e-5, "model_max_length": 1024, "tie_word_embeddings": False,
        "num_nextn_predict_layers": 0,
    }
    linear = text["linear_attn_config"] | changes.pop("linear", {})
    text |= changes
    listed = linear["full_attn_layers"]
    linear["kda_layers"] = [i for i in range(1, text["num_hidden_layers"] + 1) if i not in listed]
    text["linear_attn_config"] = linear
    return {"architectures": ["KimiK3ForConditionalGeneration"], "model_type": "kimi_k3",
            "text_config": text, "vision_config": {"hidden_size": 16}, "dtype": "bfloat16"}


def k3_weights(config, seed, padded_rates=True):
    c = config["text_config"]
    lin = c["linear_attn_config"]
    generator = torch.Generator().manual_seed(seed)
    out = {}

    def normal(shape, spread, middle=0.0):
        return torch.randn(shape, generator=generator) * spread + middle

    def matrix(name, rows, cols, spread=1.0):
        out[name + ".weight"] = checkpoint_writer.rounded(
            normal((rows, cols), spread / math.sqrt(cols)))

    def norm(name, width, dtype=torch.bfloat16):
        out[name + ".weight"] = checkpoint_writer.rounded(normal((width,), 0.2, 1.0), dtype)

    hidden, heads, dim = c["hidden_size"], lin["num_heads"], lin["head_dim"]
    wide = heads * dim
    root = "language_model.model."
    matrix(root + "embed_tokens", c["vocab_size"], hidden, 0.3 * math.sqrt(hidden))
    matrix("language_model.lm_head", c["vocab_size"], hidden)
    norm(root + "norm", hidden)

    def residual(name):
        norm(name + "_norm", hidden)
        matrix(name + "_proj", 1, hidden, 2.0)

    def dense(p, inner):
        matrix(p + "gate_proj", inner, hidden, 2.0)
        matrix(p + "up_proj", inner, hidden, 2.0)
        matrix(p + "down_proj", hidden, inner)

    if c.get("attn_res_block_size"):
        residual(root + "output_attn_res")
    for i in range(c["num_hidden_layers"]):
        layer = f"{root}layers.{i}."
        a = layer + "self_attn."
        norm(layer + "input_layernorm", hidden)
        norm(layer + "post_attention_layernorm", hidden)
        if c.get("attn_res_block_size"):
            residual(layer + "self_attention_res")
            residual(layer + "mlp_res")
        if i + 1 in lin["full_attn_layers"]:
            n, nope, rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
            value, rank = c["v_head_dim"], c["kv_lora_rank"]
            if c["q_lora_rank"]:
                matrix(a + "q_a_proj", c["q_lora_rank"], hidden)
                norm(a + "q_a_layernorm", c["q_lora_rank"])
                matrix(a + "q_b_proj", n * (nope + rope), c["q_lora_rank"], 2.0)
            else:
                matrix(a + "q_proj", n * (nope + rope), hidden, 2.0)
            matrix(a + "kv_a_proj_with_mqa", rank + rope, hidden, 1.5)
            norm(a + "kv_a_layernorm", rank)
            matrix(a + "kv_b_proj", n * (nope + value), rank, 1.5)
            if c["mla_use_output_gate"]:
                matrix(a + "g_proj", n * value, hidden)
            matrix(a + "o_proj", hidden, n * value)
        else:
            for part in "qkv":
                matrix(f"{a}{part}_proj", wide, hidden)
                shape = (wide, 1, lin["short_conv_kernel_size"])
                out[f"{a}{part}_conv1d.weight"] = normal(shape, 0.5)
            matrix(a + "f_a_proj", dim, hidden)
            matrix(a + "f_b_proj", wide, dim)
            out[a + "dt_bias"] = normal((wide,), 2.0, -2.0)
            rates = heads + 5 if padded_rates else heads
            out[a + "A_log"] = torch.log(torch.rand(rates, generator=generator) * 3 + 0.3)
            matrix(a + "b_proj", heads, hidden)
            if lin["use_full_rank_gate"]:
                matrix(a + "g_proj", wide, hidden)
            else:
                matrix(a + "g_a_proj", dim, hidden)
                matrix(a + "g_b_proj", wide, dim)
            norm(a + "o_norm", dim, torch.float32)
            matrix(a + "o_proj", hidden, wide)
        if i < c["first_k_dense_replace"]:
            dense(layer + "mlp.", c["intermediate_size"])
            continue
        m = layer + "block_sparse_moe."
        inner = c["moe_intermediate_size"]
        narrow = c["routed_expert_hidden_size"] or hidden
        matrix(m + "gate", c["num_experts"], hidden, 2.0)
        out[m + "gate.e_score_correction_bias"] = normal((c["num_experts"],), 0.1)
        if c["num_shared_experts"]:
            dense(m + "shared_experts.", inner * c["num_shared_experts"])
        if c["routed_expert_hidden_size"]:
            matrix(m + "routed_expert_down_proj", narrow, hidden)
            matrix(m + "routed_expert_up_proj", hidden, narrow)
            if c["latent_moe_use_norm"]:
                norm(m + "routed_expert_norm", narrow)
        for e in range(c["num_experts"]):
            matrix(f"{m}experts.{e}.w1", inner, narrow, 2.0)
            matrix(f"{m}experts.{e}.w3", inner, narrow, 2.0)
            matrix(f"{m}experts.{e}.w2", narrow, inner)
    return out


def packed_experts(weights):
    """(what the file holds, what it means)"""
    stored, meant = {}, {}
    for name, tensor in weights.items():
        if ".experts." not in name:
            stored[name], meant[name] = tensor, tensor
            continue
        stored[name + "_packed"], stored[name + "_scale"], meant[name] = to_mxfp4(tensor)
    return stored, meant


def k3_expected(config, weights, tokens, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, config["text_config"]["vocab_size"], (tokens,), generator=generator)
    model = kimi_k3_reference.Model(config, weights)
    logits = [model.step(int(i)) for i in ids]
    greedy, margins, last = [], [], logits[-1]
    for _ in range(checkpoint_writer.GREEDY_TOKENS):
        top = torch.topk(last, 2)
        margins.append(float((top.values[0] - top.values[1]) / last.abs().max()))
        greedy.append(int(top.indices[0]))
        last = model.step(greedy[-1])
    return ids, torch.stack(logits).float(), greedy, min(margins)


def write_k3(folder, config, tokens, seed, packed=True, padded_rates=True, write_gguf=True):
    folder = pathlib.Path(folder)
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    while True:
        weights = k3_weights(config, seed, padded_rates)
        stored, meant = packed_experts(weights) if packed else (weights, weights)
        ids, logits, greedy, margin = k3_expected(config, meant, tokens, seed)
        if margin > 2e-3:
            break
        seed += 1000
    c = config["text_config"]
    if packed:
        c["quantization_config"] = {
            "quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                "num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}}}}
    (folder / "hf" / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    vision = {"vision_tower.patch.weight": torch.zeros(2, 2, dtype=torch.bfloat16),
              "mm_projector.0.weight": torch.zeros(2, 2, dtype=torch.bfloat16)}
    save_file(stored | vision, folder / "hf" / "model.safetensors", metadata={"format": "pt"})
    save_file({"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
               "greedy": torch.tensor(greedy, dtype=torch.int32)}, folder / "expected.safetensors")
    if write_gguf:
        lin = c["linear_attn_config"]
        words = c | {"conv": lin["short_conv_kernel_size"], "kda_dim": lin["head_dim"],
                     "kda_heads": lin["num_heads"], "gate_lower_bound": lin["gate_lower_bound"]}
        state = {name.removeprefix("language_model."): t for name, t in stored.items()}
        kimi_gguf(folder / "model.gguf", "kimi-k3", words,
                  {i - 1 for i in lin["full_attn_layers"]}, state)
    print(f"{folder.name}: {tokens} tokens, {len(set(greedy))} different greedy tokens, least "
          f"margin {margin:.4f}, " + ", ".join(f"{p.relative_to(folder)} {p.stat().st_size}"
                                               for p in sorted(folder.rglob('*')) if p.is_file()))


# --- what is stored ------------------------------------------------------------------------------

def main(out):
    out = pathlib.Path(out)
    write_kimi(out / "kimi-linear", kimi_config(), tokens=170, seed=21, released=True)
    write_kimi(out / "kimi-linear-modules",
               kimi_config(q_lora_rank=20, linear_head_dim=10, linear_num_heads=4,
                           linear_conv_kernel_dim=3, tie_word_embeddings=True, n_shared_experts=2,
                           norm_topk_prob=False, hidden_size=36, num_hidden_layers=4,
                           layer_types=["full_attention", "linear_attention", "linear_attention",
                                        "linear_attention"],
                           mlp_layer_types=["sparse", "dense", "sparse", "sparse"]),
               tokens=140, seed=22, modules=True)
    write_kimi(out / "kimi-linear-groups",
               kimi_config(num_local_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2,
                           num_hidden_layers=3, qk_nope_head_dim=10, v_head_dim=18,
                           num_attention_heads=5, num_key_value_heads=5,
                           layer_types=["linear_attention", "full_attention", "linear_attention"]),
               tokens=130, seed=23, write_gguf=False)
    write_k3(out / "kimi-k3", k3_config(moe_intermediate_size=24, routed_expert_hidden_size=28),
             tokens=150, seed=24, packed=False)
    # Beside the others: products with MXFP4 may round their inputs.
    write_k3(out.parent / "quantised" / "kimi-k3-mxfp4",
             k3_config(num_hidden_layers=3, num_experts=3, num_experts_per_token=3, hidden_size=36,
                       intermediate_size=40, num_shared_experts=1,
                       linear={"full_attn_layers": [3], "head_dim": 16, "num_heads": 2}),
             tokens=100, seed=28)
    write_k3(out / "kimi-k3-plain",
             k3_config(num_hidden_layers=5, attn_res_block_size=3, q_lora_rank=None, hidden_size=40,
                       moe_intermediate_size=20, routed_expert_hidden_size=24, num_experts=5,
                       num_experts_per_token=3, num_shared_experts=1, latent_moe_use_norm=False,
                       activation_situ_beta=2.5, routed_scaling_factor=1.7, moe_renormalize=False,
                       linear={"full_attn_layers": [2, 5], "head_dim": 12, "num_heads": 4,
                               "short_conv_kernel_size": 3, "gate_lower_bound": -3.0}),
             tokens=120, seed=25, packed=False, padded_rates=False)
    write_olmo(out / "olmo-hybrid", olmo_config(), tokens=170, seed=26,
               config_edit=without_rotation, safetensors_edit=released_olmo_names)
    write_olmo(out / "olmo-hybrid-rotated",
               olmo_config(num_hidden_layers=4, hidden_size=40, num_attention_heads=4,
                           num_key_value_heads=2, linear_num_key_heads=2, linear_num_value_heads=4,
                           linear_allow_neg_eigval=False, linear_conv_kernel_dim=3,
                           attention_bias=True,
                           layer_types=["linear_attention", "full_attention", "linear_attention",
                                        "linear_attention"],
                           rope_parameters={"rope_theta": 5e5, "rope_type": "default"}),
               tokens=140, seed=29)


# --- random configurations -----------------------------------------------------------------------

def random_types(r, layers):
    types = [r.choice(["linear_attention", "linear_attention", "full_attention"])
             for _ in range(layers)]
    types[r.randrange(layers)] = "linear_attention"
    if "full_attention" not in types:
        types[types.index("linear_attention") - 1] = "full_attention"
    return types if "linear_attention" in types else types[1:] + ["linear_attention"]


def random_kimi(r):
    layers = r.choice([2, 3, 5])
    heads = r.choice([1, 2, 3, 5])
    experts = r.choice([4, 8, 12])
    groups = r.choice([1, 1, 2, experts // 4])  # two experts in each at least
    kept = r.randint(1, groups)
    types = random_types(r, layers)
    dense = r.choice([0, 1, 2])
    return kimi_config(
        vocab_size=r.choice([97, 128, 151]), hidden_size=r.choice([32, 36, 50, 64, 96]),
        intermediate_size=r.choice([33, 48, 70]), moe_intermediate_size=r.choice([16, 20, 33]),
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
        n_shared_experts=r.choice([1, 2]), kv_lora_rank=r.choice([8, 24, 33, 64]),
        q_lora_rank=r.choice([None, None, 17, 32]), qk_rope_head_dim=r.choice([4, 8, 16]),
        v_head_dim=r.choice([8, 12, 33]), qk_nope_head_dim=r.choice([8, 16, 21]),
        num_local_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts // groups)),
        n_group=groups, topk_group=kept, norm_topk_prob=r.random() < 0.7,
        routed_scaling_factor=r.choice([1.0, 2.446]), linear_head_dim=r.choice([8, 16, 20, 37, 64]),
        linear_num_heads=r.choice([1, 2, 3, 5]), linear_conv_kernel_dim=r.choice([2, 3, 4, 4]),
        rms_norm_eps=r.choice([1e-5, 1e-6]), tie_word_embeddings=r.random() < 0.3,
        layer_types=types, mlp_layer_types=["dense" if i < dense else "sparse"
                                            for i in range(layers)])


def random_olmo(r):
    layers = r.choice([2, 3, 5])
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([1, 2])
    keys = r.choice([1, 2, 3])
    theta = r.choice([None, 1e4, 5e5])
    return olmo_config(
        vocab_size=r.choice([97, 128, 151]), hidden_size=heads * r.choice([8, 10, 16]),
        intermediate_size=r.choice([33, 48, 70]), num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, linear_num_key_heads=keys,
        linear_num_value_heads=keys * r.choice([1, 1, 2, 3]),
        linear_key_head_dim=r.choice([8, 12, 20, 33, 96]),
        linear_value_head_dim=r.choice([8, 16, 24, 40]), linear_conv_kernel_dim=r.choice([2, 3, 4]),
        linear_allow_neg_eigval=r.random() < 0.7, tie_word_embeddings=r.random() < 0.4,
        attention_bias=r.random() < 0.3, rms_norm_eps=r.choice([1e-5, 1e-6]),
        layer_types=random_types(r, layers),
        rope_parameters={"rope_theta": theta, "rope_type": "default"})


def random_k3(r, packed):
    layers = r.choice([2, 3, 5, 7])
    types = random_types(r, layers)
    experts = r.choice([3, 4, 7])
    heads = r.choice([1, 2, 3])
    widths = [32, 64] if packed else [16, 20, 33]
    return k3_config(
        vocab_size=r.choice([97, 128]), hidden_size=r.choice([32, 36, 50, 64]),
        intermediate_size=r.choice([33, 48]), moe_intermediate_size=r.choice(widths),
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
        kv_lora_rank=r.choice([8, 24, 33]), q_lora_rank=r.choice([None, 17, 32]),
        qk_rope_head_dim=r.choice([4, 8]), v_head_dim=r.choice([8, 12, 33]),
        qk_nope_head_dim=r.choice([8, 21]), mla_use_output_gate=r.random() < 0.7,
        num_experts=experts, num_experts_per_token=r.randint(1, experts),
        num_shared_experts=r.choice([0, 1, 2]), first_k_dense_replace=r.choice([0, 1, 2]),
        moe_renormalize=r.random() < 0.7, routed_scaling_factor=r.choice([1.0, 2.0]),
        routed_expert_hidden_size=r.choice(widths), latent_moe_use_norm=r.random() < 0.7,
        hidden_act=r.choice(["situ", "situ", "silu"]), activation_situ_beta=r.choice([1.0, 4.0]),
        activation_situ_linear_beta=r.choice([3.0, 25.0]), attn_res_block_size=r.choice([1, 2, 3]),
        rms_norm_eps=r.choice([1e-5, 1e-6]),
        linear={"full_attn_layers": [i + 1 for i, t in enumerate(types) if t == "full_attention"],
                "head_dim": r.choice([8, 16, 20, 37]), "num_heads": r.choice([1, 2, 3]),
                "short_conv_kernel_size": r.choice([2, 4]),
                "gate_lower_bound": r.choice([-5.0, -5.0, -1.0, -8.0]),
                "use_full_rank_gate": r.random() < 0.6})


def sweep(out, count, first):
    for seed in range(first, first + count):
        r = random.Random(seed)
        tokens = r.choice([65, 100, 150])
        for kind in ("kimi", "olmo", "k3"):
            folder = pathlib.Path(out) / f"{seed:04}-{kind}"
            dtype = r.choice([torch.bfloat16, torch.bfloat16, torch.float16, torch.float32])
            if kind == "kimi":
                modules = r.random() < 0.3
                write_kimi(folder, random_kimi(r), tokens, seed, released=r.random() < 0.5,
                           modules=modules, joined_kv=r.random() < 0.3, dtype=dtype,
                           write_gguf=dtype == torch.bfloat16)
            elif kind == "olmo":
                edit = r.choice([None, olmo_module_names, released_olmo_names])
                write_olmo(folder, random_olmo(r), tokens, seed, dtype=dtype, safetensors_edit=edit)
            else:
                packed = r.random() < 0.5
                config = random_k3(r, packed)
                write_k3(folder, config, tokens, seed, packed=packed,
                         padded_rates=r.random() < 0.5,
                         write_gguf=config["text_config"]["hidden_act"] == "situ")


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert transformers.__version__ == "5.23.0", transformers.__version__
    if sys.argv[1] == "--sweep":
        sweep(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    else:
        main(sys.argv[1])
