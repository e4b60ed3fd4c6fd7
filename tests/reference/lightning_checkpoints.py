"""Tiny random checkpoints of the lightning hybrids, and what they compute.

    python lightning_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)
    python lightning_checkpoints.py --sweep /tmp/sweep 16 [first seed]

MiniMax in transformers' own form comes from transformers' class; the published form (rotary_dim)
and the families transformers lacks from lightning_reference.py, in float64.

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
import lightning_reference as reference

TABLES = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")


# --- weights -------------------------------------------------------------------------------------

def filled(shapes, seed):
    """bf16 values, large enough that every part of a layer moves the logits."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if "expert_bias" in name:
            out[name] = noise * 0.3
            continue
        if len(shape) == 1:
            noise = 1 + 0.2 * noise
        elif "embed" in name:
            noise = 0.3 * noise
        elif name.endswith("gate.weight") and "output" not in name:
            noise = noise * 2 / math.sqrt(shape[-1])
        else:
            noise = noise / math.sqrt(shape[-1])
        out[name] = checkpoint_writer.rounded(noise)
    return out


def experts_of(prefix, names, count, inner, hidden):
    gate, up, down = names
    shapes = {}
    for e in range(count):
        shapes[f"{prefix}experts.{e}.{gate}.weight"] = (inner, hidden)
        shapes[f"{prefix}experts.{e}.{up}.weight"] = (inner, hidden)
        shapes[f"{prefix}experts.{e}.{down}.weight"] = (hidden, inner)
    return shapes


def minimax_shapes(c):
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    dim = c.get("head_dim") or hidden // heads
    kv = c["num_key_value_heads"] * dim
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], hidden),
              "model.norm.weight": (hidden,)}
    if not c.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (c["vocab_size"], hidden)
    for n, full in enumerate(c["attn_type_list"]):
        p = f"model.layers.{n}."
        shapes[p + "input_layernorm.weight"] = shapes[p + "post_attention_layernorm.weight"] = (
            hidden,)
        a = p + "self_attn."
        if full:
            shapes |= {a + "q_proj.weight": (heads * dim, hidden), a + "k_proj.weight": (kv, hidden),
                       a + "v_proj.weight": (kv, hidden), a + "o_proj.weight": (hidden, heads * dim)}
        else:
            shapes |= {a + "qkv_proj.weight": (3 * heads * dim, hidden),
                       a + "output_gate.weight": (heads * dim, hidden),
                       a + "norm.weight": (heads * dim,), a + "out_proj.weight": (hidden, heads * dim)}
        m = p + "block_sparse_moe."
        shapes[m + "gate.weight"] = (c["num_local_experts"], hidden)
        shapes |= experts_of(m, ("w1", "w3", "w2"), c["num_local_experts"],
                             c["intermediate_size"], hidden)
    return shapes


def bailing_shapes(c, model):
    hidden, heads, layers = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    dim = c.get("head_dim") or hidden // heads
    kv = c.get("num_key_value_heads", heads)
    shapes = {"model.word_embeddings.weight": (c["vocab_size"], hidden),
              "model.norm.weight": (hidden,)}
    if not c.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (c["vocab_size"], hidden)

    def attention(p, full):
        a = p + "attention."
        if full and model is reference.LingHybrid:
            nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
            rank = c.get("q_lora_rank")
            if rank:
                shapes.update({a + "q_a_proj.weight": (rank, hidden),
                               a + "q_a_layernorm.weight": (rank,),
                               a + "q_b_proj.weight": (heads * (nope + rope), rank)})
            else:
                shapes[a + "q_proj.weight"] = (heads * (nope + rope), hidden)
            shapes.update({a + "kv_a_proj_with_mqa.weight": (c["kv_lora_rank"] + rope, hidden),
                           a + "kv_a_layernorm.weight": (c["kv_lora_rank"],),
                           a + "kv_b_proj.weight": (heads * (nope + value), c["kv_lora_rank"]),
                           a + "dense.weight": (hidden, heads * value)})
            return
        rows = (heads + 2 * kv) * dim if full else 3 * heads * dim
        shapes[a + "query_key_value.weight"] = (rows, hidden)
        shapes[a + "dense.weight"] = (hidden, heads * dim)
        if c.get("use_qk_norm"):
            shapes[a + "query_layernorm.weight"] = shapes[a + "key_layernorm.weight"] = (dim,)
        if not full:
            shapes[a + "g_proj.weight"] = (heads * dim, hidden)
            shapes[a + "g_norm.weight"] = (heads * dim,)

    def mlp(p, inner):
        shapes.update({p + "gate_proj.weight": (inner, hidden), p + "up_proj.weight": (inner, hidden),
                       p + "down_proj.weight": (hidden, inner)})

    def mixture(m):
        shapes[m + "gate.weight"] = (c["num_experts"], hidden)
        if c.get("moe_router_enable_expert_bias"):
            shapes[m + "gate.expert_bias"] = (c["num_experts"],)
        shapes.update(experts_of(m, ("gate_proj", "up_proj", "down_proj"), c["num_experts"],
                                 c["moe_intermediate_size"], hidden))
        if c.get("num_shared_experts"):
            mlp(m + "shared_experts.", c["num_shared_experts"] * c.get(
                "moe_shared_expert_intermediate_size", c["moe_intermediate_size"]))

    group = c["layer_group_size"]
    for n in range(layers + c.get("num_nextn_predict_layers", 0)):
        p = f"model.layers.{n}."
        shapes[p + "input_layernorm.weight"] = shapes[p + "post_attention_layernorm.weight"] = (
            hidden,)
        attention(p, n >= layers or (n + 1) % group == 0 or n >= layers // group * group)
        if n < c["first_k_dense_replace"]:
            mlp(p + "mlp.", c["intermediate_size"])
        else:
            mixture(p + "mlp.")
        if n >= layers:
            shapes[p + "eh_proj.weight"] = (hidden, 2 * hidden)
            for norm in ("enorm", "hnorm", "final_layernorm"):
                shapes[p + norm + ".weight"] = (hidden,)
    return shapes


# --- FP8 -----------------------------------------------------------------------------------------

def is_quantised(name, tensor):
    return (tensor.dim() == 2 and "embed" not in name and "lm_head" not in name
            and not name.endswith("mlp.gate.weight"))


def to_fp8(weights, block):
    """(what the file holds, what it means). block: (rows, cols), or None for one factor per row."""
    stored, meant = {}, {}
    for name, w in weights.items():
        if not is_quantised(name, w):
            stored[name], meant[name] = w, w
            continue
        w = w.float()
        rows, cols = w.shape
        br, bc = block or (1, cols)
        down, across = -(-rows // br), -(-cols // bc)
        scale = torch.zeros(down, across)
        for i in range(down):
            for j in range(across):
                piece = w[i * br:(i + 1) * br, j * bc:(j + 1) * bc]
                scale[i, j] = piece.abs().max() / 448
        spread = scale.repeat_interleave(br, 0)[:rows].repeat_interleave(bc, 1)[:, :cols]
        stored[name] = (w / spread).to(torch.float8_e4m3fn)
        stored[name + ("_scale_inv" if block else "_scale")] = scale
        meant[name] = stored[name].double() * spread.double()
    return stored, meant


FP8_BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
FP8_ROWS = {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                "num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}}}}


# --- one checkpoint ------------------------------------------------------------------------------

def expected_of(model_class, config, weights, tokens, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, config["vocab_size"], (tokens,), generator=generator)
    model = model_class(config, weights)
    logits = [model.step(int(i)) for i in ids]
    greedy, margins, last = [], [], logits[-1]
    for _ in range(checkpoint_writer.GREEDY_TOKENS):
        top = torch.topk(last, 2)
        margins.append(float((top.values[0] - top.values[1]) / last.abs().max()))
        greedy.append(int(top.indices[0]))
        last = model.step(greedy[-1])
    return ids, torch.stack(logits).float(), greedy, min(margins)


def write(folder, config, model_class, shapes, tokens, seed, gguf_writer=None, fp8=None,
          edit=None, names=None):
    folder = pathlib.Path(folder)
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    while True:
        weights = filled(shapes, seed)
        if edit:
            edit(weights)
        stored, meant = weights, weights
        if fp8 is not None:
            stored, meant = to_fp8(weights, fp8 or None)
        ids, logits, greedy, margin = expected_of(model_class, config, meant, tokens, seed)
        if margin > 2e-3:
            break
        seed += 1000
    values = dict(config)
    if fp8 is not None:
        values["quantization_config"] = (
            FP8_BLOCKS | {"weight_block_size": list(fp8)} if fp8 else FP8_ROWS)
    (folder / "hf" / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    stored = {(names or (lambda name: name))(name): t for name, t in stored.items()}
    save_file(stored, folder / "hf" / "model.safetensors", metadata={"format": "pt"})
    expected = {"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
                "greedy": torch.tensor(greedy, dtype=torch.int32)}
    if folder.name.endswith("-draft"):
        expected["draft"] = model_class(config, meant).drafts(ids)
    save_file(expected, folder / "expected.safetensors")
    if gguf_writer:
        gguf_writer(folder / "model.gguf", config, weights)
    print(f"{folder.name}: {tokens} tokens, {len(set(greedy))} different greedy tokens, least "
          f"margin {margin:.4f}, " + ", ".join(f"{p.relative_to(folder)} {p.stat().st_size}"
                                               for p in sorted(folder.rglob('*')) if p.is_file()))


# --- GGUF ----------------------------------------------------------------------------------------

class Gguf:
    def __init__(self, path, arch, c):
        self.w = gguf.GGUFWriter(str(path), arch)
        self.arch = arch
        self.w.add_name("tiny " + arch)
        self.w.add_context_length(c["max_position_embeddings"])
        self.w.add_embedding_length(c["hidden_size"])
        self.w.add_vocab_size(c["vocab_size"])
        self.w.add_head_count(c["num_attention_heads"])
        self.w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        self.w.add_rope_freq_base(c["rope_theta"])
        self.w.add_expert_used_count(c["num_experts_per_tok"])
        scaling = c.get("rope_scaling")
        if scaling:
            self.w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            self.w.add_rope_scaling_factor(scaling["factor"])
            self.w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])

    def put(self, name, tensor):
        tensor = tensor.contiguous()
        if tensor.dim() < 2 or "ffn_gate_inp" in name:
            self.w.add_tensor(name, tensor.float().numpy())
        else:
            self.w.add_tensor(name, tensor.to(torch.bfloat16).view(torch.uint8).numpy(),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def minimax_gguf(path, c, weights, flags=True, rotated=None):
    """Section 2.6. The fused rows stay as they are, head by head."""
    heads = c["num_attention_heads"]
    dim = c.get("head_dim") or c["hidden_size"] // heads
    g = Gguf(path, "minimax-01", c)
    g.w.add_block_count(c["num_hidden_layers"])
    g.w.add_feed_forward_length(c["intermediate_size"])
    g.w.add_head_count_kv(c["num_key_value_heads"])
    g.w.add_key_length(dim)
    g.w.add_value_length(dim)
    g.w.add_rope_dimension_count(rotated or c["rotary_dim"])
    g.w.add_expert_count(c["num_local_experts"])
    g.w.add_float32("minimax-01.residual_scale", c["layernorm_mlp_alpha"])
    if flags:
        g.w.add_array("minimax-01.attention.recurrent_layers",
                      [kind == 0 for kind in c["attn_type_list"]])
    else:
        g.w.add_uint32("minimax-01.full_attention_interval", c["attn_type_list"].index(1) + 1)
    left = dict(weights)
    g.put("token_embd.weight", left.pop("model.embed_tokens.weight"))
    g.put("output_norm.weight", left.pop("model.norm.weight"))
    if "lm_head.weight" in left:
        g.put("output.weight", left.pop("lm_head.weight"))
    for n, full in enumerate(c["attn_type_list"]):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        pairs = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
                 "ffn_gate_inp": "block_sparse_moe.gate"}
        if full:
            pairs |= {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
                      "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj"}
        else:
            pairs |= {"attn_qkv": "self_attn.qkv_proj", "attn_gate": "self_attn.output_gate",
                      "attn_norm_2": "self_attn.norm", "attn_output": "self_attn.out_proj"}
        for to, source in pairs.items():
            g.put(f"{b}{to}.weight", left.pop(f"{p}{source}.weight"))
        for to, source in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
            stack = [left.pop(f"{p}block_sparse_moe.experts.{e}.{source}.weight")
                     for e in range(c["num_local_experts"])]
            g.put(f"{b}ffn_{to}_exps.weight", torch.stack(stack))
    assert not left, sorted(left)
    g.close()


def bailing_gguf(path, c, weights, split=True):
    """Section 4.8."""
    heads, layers = c["num_attention_heads"], c["num_hidden_layers"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    group = c["layer_group_size"]
    extra = c.get("num_nextn_predict_layers", 0)
    full = [(n + 1) % group == 0 or n >= layers // group * group for n in range(layers)]
    g = Gguf(path, "bailing_hybrid", c)
    key = "bailing_hybrid."
    g.w.add_block_count(layers + extra)
    g.w.add_feed_forward_length(c["intermediate_size"])
    g.w.add_head_count_kv([1 if f else 0 for f in full] + [1] * extra)
    if c.get("q_lora_rank"):
        g.w.add_q_lora_rank(c["q_lora_rank"])
    g.w.add_kv_lora_rank(c["kv_lora_rank"])
    g.w.add_uint32(key + "attention.key_length", c["kv_lora_rank"] + rope)
    g.w.add_uint32(key + "attention.value_length", c["kv_lora_rank"])
    g.w.add_uint32(key + "attention.key_length_mla", nope + rope)
    g.w.add_uint32(key + "attention.value_length_mla", value)
    g.w.add_uint32(key + "attention.group_norm_groups", c.get("group_norm_size", 1))
    g.w.add_rope_dimension_count(rope)
    g.w.add_leading_dense_block_count(c["first_k_dense_replace"])
    g.w.add_expert_count(c["num_experts"])
    g.w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    g.w.add_expert_shared_count(c["num_shared_experts"])
    g.w.add_uint32(key + "expert_shared_feed_forward_length",
                   c.get("moe_shared_expert_intermediate_size", c["moe_intermediate_size"]))
    g.w.add_expert_weights_scale(c["routed_scaling_factor"])
    g.w.add_expert_weights_norm(c["norm_topk_prob"])
    g.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    g.w.add_uint32(key + "expert_group_count", c["n_group"])
    g.w.add_uint32(key + "expert_group_used_count", c["topk_group"])
    if extra:
        g.w.add_uint32(key + "nextn_predict_layers", extra)
    left = dict(weights)
    g.put("token_embd.weight", left.pop("model.word_embeddings.weight"))
    g.put("output_norm.weight", left.pop("model.norm.weight"))
    g.put("output.weight", left.pop("lm_head.weight"))
    for n in range(layers + extra):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        pairs = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
        if n >= layers or full[n]:
            pairs |= {"attn_kv_a_mqa": "attention.kv_a_proj_with_mqa",
                      "attn_kv_a_norm": "attention.kv_a_layernorm",
                      "attn_output": "attention.dense"}
            if c.get("q_lora_rank"):
                pairs |= {"attn_q_a": "attention.q_a_proj", "attn_q_a_norm": "attention.q_a_layernorm",
                          "attn_q_b": "attention.q_b_proj"}
            else:
                pairs["attn_q"] = "attention.q_proj"
            kv_b = left.pop(p + "attention.kv_b_proj.weight")
            if split:
                by_head = kv_b.reshape(heads, nope + value, -1)
                g.put(b + "attn_k_b.weight", by_head[:, :nope].transpose(1, 2))
                g.put(b + "attn_v_b.weight", by_head[:, nope:])
            else:
                g.put(b + "attn_kv_b.weight", kv_b)
        else:
            pairs |= {"attn_qkv": "attention.query_key_value", "attn_gate": "attention.g_proj",
                      "layer_output_norm": "attention.g_norm", "attn_output": "attention.dense",
                      "attn_q_norm": "attention.query_layernorm",
                      "attn_k_norm": "attention.key_layernorm"}
        if n >= layers:
            pairs |= {"nextn.eh_proj": "eh_proj", "nextn.enorm": "enorm", "nextn.hnorm": "hnorm",
                      "layer_output_norm": "final_layernorm"}
        if n < c["first_k_dense_replace"]:
            pairs |= {f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")}
        else:
            pairs["ffn_gate_inp"] = "mlp.gate"
            g.put(b + "exp_probs_b.bias", left.pop(p + "mlp.gate.expert_bias"))
            for part in ("gate", "up", "down"):
                pairs[f"ffn_{part}_shexp"] = f"mlp.shared_experts.{part}_proj"
                g.put(f"{b}ffn_{part}_exps.weight", torch.stack(
                    [left.pop(f"{p}mlp.experts.{e}.{part}_proj.weight")
                     for e in range(c["num_experts"])]))
        for to, source in pairs.items():
            g.put(f"{b}{to}.weight", left.pop(f"{p}{source}.weight"))
    assert not left, sorted(left)
    g.close()


# --- configurations ------------------------------------------------------------------------------

def minimax_config(**changes):
    c = {"architectures": ["MiniMaxText01ForCausalLM"], "model_type": "minimax_text_01",
         "hidden_size": 28, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
         "intermediate_size": 14, "num_local_experts": 5, "num_experts_per_tok": 2,
         "vocab_size": 99, "rms_norm_eps": 1e-5, "rope_theta": 10000000, "rotary_dim": 8,
         "max_position_embeddings": 1024, "hidden_act": "silu", "tie_word_embeddings": False,
         "postnorm": True, "attn_type_list": [0, 0, 1, 0, 0, 1], "shared_intermediate_size": 0,
         "shared_moe_mode": "sigmoid", "sliding_window": None, "attention_dropout": 0.0,
         "bos_token_id": None, "eos_token_id": None, "router_aux_loss_coef": 0.001}
    c |= changes
    c["num_hidden_layers"] = len(c["attn_type_list"])
    for kind in ("full_attention", "linear_attention", "mlp"):
        c.setdefault(f"layernorm_{kind}_alpha", 0.8)
        c.setdefault(f"layernorm_{kind}_beta", 1.0)
    return c


def ring_config(**changes):
    return {"architectures": ["BailingMoeLinearV2ForCausalLM"], "model_type": "bailing_moe_linear",
            "hidden_size": 36, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 40,
            "moe_intermediate_size": 8, "moe_shared_expert_intermediate_size": 12,
            "num_experts": 8, "num_experts_per_tok": 3, "num_shared_experts": 1, "n_group": 4,
            "topk_group": 2, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1,
            "layer_group_size": 3, "group_norm_size": 2, "rope_theta": 1000000,
            "partial_rotary_factor": 0.6, "max_position_embeddings": 1024, "rope_scaling": None,
            "rms_norm_eps": 1e-6, "vocab_size": 103, "use_qk_norm": True, "use_bias": False,
            "use_qkv_bias": False, "score_function": "sigmoid", "norm_topk_prob": True,
            "moe_router_enable_expert_bias": True, "router_dtype": "fp32", "linear_silu": False,
            "tie_word_embeddings": False, "num_nextn_predict_layers": 0, "hidden_act": "silu",
            "use_rmsnorm": True, "embedding_dropout": 0.0, "output_dropout": 0.0,
            "max_window_layers": 20, "head_norm": None} | changes


def ling_config(**changes):
    return ring_config() | {
        "architectures": ["BailingMoeV2_5ForCausalLM"], "model_type": "bailing_hybrid",
        "num_hidden_layers": 5, "num_key_value_heads": 4, "layer_group_size": 4,
        "q_lora_rank": 20, "kv_lora_rank": 24, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6,
        "v_head_dim": 14, "rotary_dim": 6, "rope_theta": 6000000, "rope_interleave": True,
        "topk_method": "noaux_tc", "num_nextn_predict_layers": 1} | changes


def write_published(folder, c, **options):
    write(folder, c, reference.MiniMax, minimax_shapes(c), **options)


def write_ring(folder, c, **options):
    write(folder, c, reference.RingLinear, bailing_shapes(c, reference.RingLinear), **options)


def write_ling(folder, c, **options):
    write(folder, c, reference.LingHybrid, bailing_shapes(c, reference.LingHybrid), **options)


def port_gguf(path, config, state):
    """transformers' form: all of a head rotates, and no tables are kept."""
    c = config.to_dict()
    c |= {"rope_theta": config.rope_parameters["rope_theta"], "head_dim": config.head_dim,
          "attn_type_list": [int(t == "full_attention") for t in config.layer_types],
          "layernorm_mlp_alpha": config.mlp_alpha_factor}
    state = {name: t for name, t in state.items() if not name.endswith(TABLES)}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    minimax_gguf(path, c, state, rotated=config.head_dim)


def without_tables(state):
    return {name: t for name, t in state.items() if not name.endswith(TABLES)}


def port_model(**changes):
    values = dict(vocab_size=97, hidden_size=32, intermediate_size=14, num_hidden_layers=4,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=12, num_local_experts=5,
                  num_experts_per_tok=2, max_position_embeddings=1024, rms_norm_eps=1e-6,
                  block_size=32, layer_types=["linear_attention", "linear_attention",
                                              "full_attention", "linear_attention"])
    values |= {f"{kind}_{which}_factor": 0.7 if which == "alpha" else 1.0
               for kind in ("full_attn", "linear_attn", "mlp") for which in ("alpha", "beta")}
    values |= changes
    return transformers.MiniMaxForCausalLM._from_config(
        transformers.MiniMaxConfig(**values), attn_implementation="eager",
        experts_implementation="eager")


# --- all -----------------------------------------------------------------------------------------

def empty_rows(weights):
    weights["lm_head.weight"][[90, 97]] = 0


def main(out):
    out = pathlib.Path(out)
    checkpoint_writer.write(out / "minimax-port", port_model(), tokens=170, seed=31,
                            safetensors_edit=without_tables, gguf_writer=port_gguf)
    # Decay tables in the file, rates that fall evenly over six heads, other factors, one layer type
    # after another by default.
    checkpoint_writer.write(
        out / "minimax-port-tables",
        port_model(num_attention_heads=6, num_key_value_heads=3, head_dim=10, hidden_size=30,
                   block_size=16, layer_types=None, tie_word_embeddings=True, full_attn_beta_factor=0.6,
                   linear_attn_alpha_factor=0.3, mlp_alpha_factor=0.2,
                   full_attn_alpha_factor=0.4, mlp_beta_factor=1.3, sliding_window=50),
        tokens=130, seed=32, write_gguf=False)
    write_published(out / "minimax-01", minimax_config(), tokens=190, seed=33,
                    gguf_writer=minimax_gguf, edit=empty_rows)
    write_published(
        out / "minimax-m1", minimax_config(
            architectures=["MiniMaxM1ForCausalLM"], model_type="minimax_m1", hidden_size=36,
            num_attention_heads=6, num_key_value_heads=1, head_dim=8, rotary_dim=4,
            attn_type_list=[0, 0, 0, 1], tie_word_embeddings=True,
            layernorm_full_attention_alpha=0.3, layernorm_linear_attention_alpha=0.3,
            layernorm_mlp_alpha=0.3),
        tokens=150, seed=34, gguf_writer=lambda p, c, w: minimax_gguf(p, c, w, flags=False))

    write_ring(out / "ring-linear", ring_config(), tokens=180, seed=35)
    write_ring(out / "ring-linear-yarn", ring_config(
        num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=3, head_dim=8, rotary_dim=4,
        layer_group_size=2, group_norm_size=6, tie_word_embeddings=True, norm_topk_prob=False,
        num_experts=6, n_group=None, topk_group=None, num_shared_experts=2, vocab_size=91,
        moe_shared_expert_intermediate_size=14, first_k_dense_replace=2,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                      "attn_factor": 1.1}),
        tokens=150, seed=36)
    write_ring(out / "ring-lite-linear", ring_config(
        architectures=["BailingMoeLinearForCausalLM"], score_function="softmax", n_group=1,
        topk_group=1, moe_router_enable_expert_bias=False, num_hidden_layers=4, layer_group_size=4,
        group_norm_size=1, use_qk_norm=False, num_shared_experts=0, first_k_dense_replace=0,
        routed_scaling_factor=1.0), tokens=100, seed=37)

    write_ling(out / "ling-hybrid-draft", ling_config(), tokens=180, seed=38, gguf_writer=bailing_gguf)
    write_ling(out / "ling-hybrid-yarn", ling_config(
        num_hidden_layers=6, layer_group_size=3, q_lora_rank=None, num_nextn_predict_layers=0,
        rotary_dim=8, qk_rope_head_dim=8, head_dim=16, hidden_size=32, v_head_dim=8,
        group_norm_size=4, num_experts=6, n_group=3, first_k_dense_replace=2, vocab_size=95,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
        tokens=140, seed=39, gguf_writer=lambda p, c, w: bailing_gguf(p, c, w, split=False))
    small = dict(num_hidden_layers=4, num_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2,
                 num_nextn_predict_layers=0, layer_group_size=2)
    write_ling(out / "ling-hybrid-fp8-rows", ling_config(
        **small, rope_scaling={"type": "yarn", "factor": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7,
                               "original_max_position_embeddings": 128}),
        tokens=110, seed=40, fp8=())
    write_ling(out / "ling-hybrid-fp8-blocks", ling_config(**small, rope_interleave=False),
               tokens=110, seed=41, fp8=(16, 32),
               names=lambda n: n.replace("expert_bias", "e_score_correction_bias"))


# --- sweep ---------------------------------------------------------------------------------------

def random_yarn(r):
    if r.random() < 0.6:
        return None
    return {"type": "yarn", "factor": r.choice([2.0, 4.0, 8.0]),
            "original_max_position_embeddings": r.choice([32, 64, 256])}


def random_port(r):
    heads = r.choice([2, 3, 4, 5, 8])
    layers = r.choice([1, 2, 4, 7])
    types = [r.choice(["linear_attention", "linear_attention", "full_attention"])
             for _ in range(layers)]
    alpha = r.choice([0.8, 1.0, 2.2, 3.5])
    dim = r.choice([8, 12, 20, 32, 64])
    rope = {"rope_type": r.choice(["default", "default", "yarn", "linear"]),
            "rope_theta": r.choice([1e4, 1e6])}
    if rope["rope_type"] != "default":
        rope["factor"] = 4.0
    if rope["rope_type"] == "yarn":
        rope["original_max_position_embeddings"] = r.choice([32, 128])
    return port_model(
        rope_parameters=rope,
        vocab_size=r.choice([80, 97, 130]), hidden_size=r.choice([32, 44, 60]),
        num_hidden_layers=layers, layer_types=types, num_attention_heads=heads,
        num_key_value_heads=r.choice([n for n in (1, 2, 3, heads) if heads % n == 0]), head_dim=dim,
        block_size=r.choice([8, 64, 256]), tie_word_embeddings=r.random() < 0.4,
        num_local_experts=r.choice([2, 5, 8]), num_experts_per_tok=r.choice([1, 2]),
        sliding_window=r.choice([None, None, 33]),
        **{f"{k}_alpha_factor": alpha for k in ("full_attn", "linear_attn", "mlp")})


def random_published(r):
    heads = r.choice([2, 3, 4, 8])
    dim = r.choice([8, 10, 16, 40, 128])
    kinds = [r.choice([0, 0, 1]) for _ in range(r.choice([2, 4, 6]))]
    return minimax_config(
        hidden_size=r.choice([32, 40, 56]), num_attention_heads=heads,
        num_key_value_heads=r.choice([n for n in (1, heads) if heads % n == 0]), head_dim=dim,
        rotary_dim=r.choice([4, 8]), attn_type_list=kinds, vocab_size=r.choice([80, 111]),
        num_local_experts=r.choice([3, 8]), tie_word_embeddings=r.random() < 0.4,
        postnorm=True, rope_theta=r.choice([1e4, 1e7]))


def random_bailing(r, make):
    heads = r.choice([2, 3, 4, 8])
    dim = r.choice([8, 12, 16, 24, 128])
    groups = r.choice([1, 2, 4])
    top_k = r.choice([1, 2, 3])
    values = dict(
        hidden_size=r.choice([32, 48, 60]), num_attention_heads=heads, head_dim=dim,
        num_key_value_heads=r.choice([n for n in (1, 2, heads) if heads % n == 0]),
        num_hidden_layers=r.choice([2, 4, 7]), layer_group_size=r.choice([2, 3, 4]),
        group_norm_size=r.choice([1, 2, heads]) if heads * dim % 2 == 0 else 1,
        num_experts=8, n_group=groups, topk_group=r.choice([1, 2]) if groups > 1 else 1,
        num_experts_per_tok=min(top_k, 2 if groups == 4 else 3), rotary_dim=r.choice([4, 8]),
        first_k_dense_replace=r.choice([0, 1, 2]), num_shared_experts=r.choice([1, 2]),
        routed_scaling_factor=r.choice([1.0, 2.5]), norm_topk_prob=r.random() < 0.7,
        rope_scaling=random_yarn(r), vocab_size=r.choice([80, 103]),
        rope_theta=r.choice([1e4, 6e6]), rms_norm_eps=r.choice([1e-5, 1e-6]))
    if make is ling_config:
        rope = values["rotary_dim"]
        values |= dict(q_lora_rank=r.choice([None, 12, 30]), kv_lora_rank=r.choice([8, 20, 64]),
                       qk_nope_head_dim=r.choice([4, 10, 32]), qk_rope_head_dim=rope,
                       v_head_dim=r.choice([4, 12, 32]),
                       num_nextn_predict_layers=r.choice([0, 1]))
    return make(**values)


def sweep(out, count, first):
    for seed in range(first, first + count):
        r = random.Random(seed)
        tokens = r.choice([65, 100, 150])
        folder = pathlib.Path(out)
        family = ("port", "published", "ring", "ling")[seed % 4]
        if family == "port":
            model = random_port(r)
            plain = (model.config.sliding_window is None and len(model.config.layer_types) > 1
                     and model.config.rope_parameters["rope_type"] == "default")
            dtype = r.choice([torch.bfloat16, torch.float16, torch.float32])
            checkpoint_writer.write(folder / f"{seed:04}-port", model, tokens=tokens, seed=seed,
                                    write_gguf=plain and dtype == torch.bfloat16, dtype=dtype,
                                    save_options=r.choice([{}, {"max_shard_size": "60KB"}]),
                                    gguf_writer=port_gguf)
        elif family == "published":
            write_published(folder / f"{seed:04}-published", random_published(r), tokens=tokens,
                            seed=seed, gguf_writer=minimax_gguf)
        elif family == "ring":
            fp8 = r.choice([None, None, (), (8, 16)])
            write_ring(folder / f"{seed:04}-ring", random_bailing(r, ring_config), tokens=tokens,
                       seed=seed, fp8=fp8)
        else:
            c, split = random_bailing(r, ling_config), r.random() < 0.6
            fp8 = r.choice([None, None, None, (), (8, 16)])
            writer = None if fp8 is not None else lambda p, k, w, s=split: bailing_gguf(p, k, w, s)
            write_ling(folder / f"{seed:04}-ling", c, tokens=tokens, seed=seed, fp8=fp8,
                       gguf_writer=writer)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "--sweep":
        sweep(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    else:
        main(sys.argv[1])
