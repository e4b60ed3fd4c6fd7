"""Checkpoints of the softmax families: MiMo-V2, gpt-oss, Gemma 3, MiniMax-M2.

    python softmax_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)
    python softmax_checkpoints.py --sweep /tmp/sweep 40 [first seed]

Lengths go past the windows. The GGUF writers follow spec/softmax.md sections 2.6, 7, 8.1 and 10,
apart from the engine.

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import json
import pathlib
import random
import sys

import gguf
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.gemma3.configuration_gemma3 import Gemma3Config, Gemma3TextConfig

import checkpoint_writer

torch.set_num_threads(1)
assert transformers.__version__ == "5.23.0", transformers.__version__


# --- GGUF ----------------------------------------------------------------------------------------

class Writer:
    """A GGUF file with what all these architectures have in common."""

    def __init__(self, path, arch, config, state, matrix_type="bf16"):
        self.w = gguf.GGUFWriter(str(path), arch)
        self.arch, self.matrix_type = arch, matrix_type
        self.plain = {}
        for name, tensor in state.items():
            name = name.replace("language_model.model.", "model.")
            name = name.replace("model.language_model.", "model.")
            if not name.startswith(("model.mtp.", "vision_tower.", "multi_modal_projector.",
                                    "model.vision_tower.", "model.multi_modal_projector.")):
                self.plain[name] = tensor.float() if tensor.is_floating_point() else tensor
        w = self.w
        w.add_name("tiny " + arch)
        if arch != "mimo2":
            w.add_block_count(config.num_hidden_layers)
        w.add_context_length(config.max_position_embeddings)
        w.add_embedding_length(config.hidden_size)
        w.add_feed_forward_length(config.intermediate_size)
        w.add_head_count(config.num_attention_heads)
        w.add_key_length(config.head_dim)
        w.add_value_length(getattr(config, "v_head_dim", config.head_dim))
        w.add_layer_norm_rms_eps(config.rms_norm_eps)

    def rope(self, rope, dims, swa_theta=None):
        w = self.w
        w.add_rope_freq_base(rope["rope_theta"])
        w.add_rope_dimension_count(dims)
        if rope["rope_type"] == "linear":
            w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            w.add_rope_scaling_factor(rope["factor"])
        elif rope["rope_type"] == "yarn":
            w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            w.add_rope_scaling_factor(rope["factor"])
            w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if swa_theta:
            w.add_float32(f"{self.arch}.rope.freq_base_swa", swa_theta)

    def put(self, name, tensor):
        tensor = tensor.contiguous()
        narrow = tensor.dim() >= 2 and "ffn_gate_inp" not in name and not name.endswith(".bias")
        if not narrow or self.matrix_type == "f32":
            self.w.add_tensor(name, tensor.float().numpy())
        else:
            halves = tensor.to(torch.bfloat16).view(torch.uint8).numpy()
            self.w.add_tensor(name, halves, raw_dtype=gguf.GGMLQuantizationType.BF16)

    def take(self, name):
        return self.plain.pop(name)

    def move(self, to, name, add=0.0):
        self.put(to, self.take(name) + add)

    def move_if(self, to, name, add=0.0):
        if name in self.plain:
            self.move(to, name, add)

    def top(self, config, add=0.0):
        self.move("token_embd.weight", "model.embed_tokens.weight")
        self.move("output_norm.weight", "model.norm.weight", add)
        if not config.tie_word_embeddings:
            self.move("output.weight", "lm_head.weight")
        self.plain.pop("lm_head.weight", None)
        self.plain.pop("language_model.lm_head.weight", None)

    def attention(self, p, b, add=0.0):
        for part, to in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
            for kind in ("weight", "bias"):
                self.move_if(f"{b}{to}.{kind}", f"{p}self_attn.{part}_proj.{kind}")
        for part in "qk":
            self.move_if(f"{b}attn_{part}_norm.weight", f"{p}self_attn.{part}_norm.weight", add)

    def experts(self, b, p, count, names):
        for to, name in names:
            self.put(f"{b}ffn_{to}_exps.weight",
                     torch.stack([self.take(f"{p}.{e}.{name}.weight") for e in range(count)]))

    def close(self):
        assert not self.plain, sorted(self.plain)
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


PARTS = (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj"))


def mimo_gguf(path, config, state, fused=False, predicting=0, **options):
    w = Writer(path, "mimo2", config, state, **options)
    slides = [t == "sliding_attention" for t in config.layer_types] + [True] * predicting
    w.w.add_block_count(config.num_hidden_layers + predicting)
    if predicting:  # blocks behind the trunk, which counts and arrays hold too
        w.w.add_nextn_predict_layers(predicting)
        for n in range(config.num_hidden_layers, config.num_hidden_layers + predicting):
            w.put(f"blk.{n}.nextn.eh_proj.weight", torch.zeros(4, 8))
            w.put(f"blk.{n}.attn_q.weight", torch.zeros(4, 4))
    w.w.add_head_count_kv([config.num_key_value_heads * (2 if s else 1) for s in slides])
    w.w.add_sliding_window(config.sliding_window)
    w.w.add_array("mimo2.attention.sliding_window_pattern", slides)
    if config.attention_value_scale is not None:
        w.w.add_float32("mimo2.attention.value_scale", config.attention_value_scale)
    full = config.rope_parameters["full_attention"]
    w.rope(full, int(config.head_dim * full["partial_rotary_factor"]),
           config.rope_parameters["sliding_attention"]["rope_theta"])
    w.w.add_expert_count(config.n_routed_experts)
    w.w.add_expert_used_count(config.num_experts_per_tok)
    w.w.add_expert_feed_forward_length(config.moe_intermediate_size)
    w.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.w.add_expert_weights_norm(config.norm_topk_prob)
    w.w.add_expert_weights_scale(config.routed_scaling_factor)
    if config.n_group > 1:
        w.w.add_expert_group_count(config.n_group)
        w.w.add_expert_group_used_count(config.topk_group)
    w.top(config)
    for n, kind in enumerate(config.mlp_layer_types):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        w.move(b + "attn_norm.weight", p + "input_layernorm.weight")
        w.move(b + "ffn_norm.weight", p + "post_attention_layernorm.weight")
        if fused:
            w.put(b + "attn_qkv.weight",
                  torch.cat([w.take(f"{p}self_attn.{part}_proj.weight") for part in "qkv"]))
        w.attention(p, b)
        w.move_if(b + "attn_sinks.weight", p + "self_attn.attention_sink_bias")
        if kind == "sparse":
            w.move(b + "ffn_gate_inp.weight", p + "mlp.gate.weight")
            w.move(b + "exp_probs_b.bias", p + "mlp.gate.e_score_correction_bias")
            w.experts(b, p + "mlp.experts", config.n_routed_experts, PARTS)
        else:
            for to, name in PARTS:
                w.move(f"{b}ffn_{to}.weight", f"{p}mlp.{name}.weight")
    w.close()


def minimax_gguf(path, config, state, **options):
    w = Writer(path, "minimax-m2", config, state, **options)
    w.w.add_head_count_kv(config.num_key_value_heads)
    partial = config.rope_parameters.get("partial_rotary_factor", 1.0)
    w.rope(config.rope_parameters, int(config.head_dim * partial))
    w.w.add_expert_count(config.num_local_experts)
    w.w.add_expert_used_count(config.num_experts_per_tok)
    w.w.add_expert_feed_forward_length(config.intermediate_size)
    w.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.top(config)
    for n in range(config.num_hidden_layers):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        w.move(b + "attn_norm.weight", p + "input_layernorm.weight")
        w.move(b + "ffn_norm.weight", p + "post_attention_layernorm.weight")
        w.attention(p, b)
        m = p + "block_sparse_moe."
        w.move(b + "ffn_gate_inp.weight", m + "gate.weight")
        w.move(b + "exp_probs_b.bias", m + "e_score_correction_bias")
        w.experts(b, m + "experts", config.num_local_experts,
                  (("gate", "w1"), ("up", "w3"), ("down", "w2")))
    w.close()


def gpt_oss_gguf(path, config, state, **options):
    w = Writer(path, "gpt-oss", config, state, **options)
    w.w.add_head_count_kv(config.num_key_value_heads)
    w.w.add_sliding_window(config.sliding_window)
    w.rope(config.rope_parameters, config.head_dim)
    w.w.add_expert_count(config.num_local_experts)
    w.w.add_expert_used_count(config.num_experts_per_tok)
    w.w.add_expert_feed_forward_length(config.intermediate_size)
    w.top(config)
    for n in range(config.num_hidden_layers):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        w.move(b + "attn_norm.weight", p + "input_layernorm.weight")
        w.move(b + "post_attention_norm.weight", p + "post_attention_layernorm.weight")
        w.attention(p, b)
        w.move(b + "attn_sinks.weight", p + "self_attn.sinks")
        for kind in ("weight", "bias"):
            w.move(f"{b}ffn_gate_inp.{kind}", f"{p}mlp.router.{kind}")
        e = p + "mlp.experts."
        if e + "gate_up_proj_blocks" in w.plain:
            blocks = ggml_blocks(w.take(e + "gate_up_proj_blocks"), w.take(e + "gate_up_proj_scales"))
            down = ggml_blocks(w.take(e + "down_proj_blocks"), w.take(e + "down_proj_scales"))
            for to, rows in (("gate", blocks[:, 0::2]), ("up", blocks[:, 1::2]), ("down", down)):
                w.w.add_tensor(f"{b}ffn_{to}_exps.weight", rows.contiguous().numpy(),
                               raw_dtype=gguf.GGMLQuantizationType.MXFP4)
        else:
            both = w.take(e + "gate_up_proj").mT
            w.put(b + "ffn_gate_exps.weight", both[:, 0::2])
            w.put(b + "ffn_up_exps.weight", both[:, 1::2])
            w.put(b + "ffn_down_exps.weight", w.take(e + "down_proj").mT)
        both = w.take(e + "gate_up_proj_bias")
        w.put(b + "ffn_gate_exps.bias", both[:, 0::2])
        w.put(b + "ffn_up_exps.bias", both[:, 1::2])
        w.move(b + "ffn_down_exps.bias", e + "down_proj_bias")
    w.close()


def gemma_gguf(path, config, state, pattern=None, **options):
    w = Writer(path, "gemma3", config, state, **options)
    w.w.add_head_count_kv(config.num_key_value_heads)
    w.w.add_sliding_window(config.sliding_window)
    if pattern == "flags":
        w.w.add_array("gemma3.attention.sliding_window_pattern",
                      [t == "sliding_attention" for t in config.layer_types])
    elif pattern:
        w.w.add_uint32("gemma3.attention.sliding_window_pattern", pattern)
    local = config.rope_parameters["sliding_attention"]["rope_theta"]
    w.rope(config.rope_parameters["full_attention"], config.head_dim,
           local if local != 10000.0 else None)
    if config.query_pre_attn_scalar != config.head_dim:
        w.w.add_attention_scale(config.query_pre_attn_scalar ** -0.5)
    if config.final_logit_softcapping:
        w.w.add_final_logit_softcapping(config.final_logit_softcapping)
    w.top(config, 1.0)
    for n in range(config.num_hidden_layers):
        p, b = f"model.layers.{n}.", f"blk.{n}."
        for to, name in (("attn_norm", "input_layernorm"),
                         ("post_attention_norm", "post_attention_layernorm"),
                         ("ffn_norm", "pre_feedforward_layernorm"),
                         ("post_ffw_norm", "post_feedforward_layernorm")):
            w.move(f"{b}{to}.weight", f"{p}{name}.weight", 1.0)
        w.attention(p, b, 1.0)
        for to, name in PARTS:
            w.move(f"{b}ffn_{to}.weight", f"{p}mlp.{name}.weight")
    w.close()


# --- configurations as released ------------------------------------------------------------------

def mimo_released(values):
    """The keys of the released config.json instead of transformers' own."""
    rope = values.pop("rope_parameters")
    types, kinds = values.pop("layer_types"), values.pop("mlp_layer_types")
    values |= dict(
        hybrid_layer_pattern=[int(t == "sliding_attention") for t in types],
        moe_layer_freq=[int(k == "sparse") for k in kinds],
        rope_theta=rope["full_attention"]["rope_theta"],
        swa_rope_theta=rope["sliding_attention"]["rope_theta"],
        partial_rotary_factor=rope["full_attention"]["partial_rotary_factor"],
        layernorm_epsilon=values.pop("rms_norm_eps"), add_swa_attention_sink_bias=True,
        add_full_attention_sink_bias=False, swa_num_attention_heads=values["num_attention_heads"],
        swa_num_key_value_heads=2 * values["num_key_value_heads"], swa_head_dim=values["head_dim"],
        swa_v_head_dim=values["v_head_dim"], sliding_window_size=values["sliding_window"],
        attention_chunk_size=values["sliding_window"], hybrid_block_size=None,
        scoring_func="sigmoid", topk_method="noaux_tc", n_shared_experts=None)
    if values["routed_scaling_factor"] == 1.0:
        values["routed_scaling_factor"] = None
    return values


def mimo_v2(values):
    values = mimo_released(values)
    values |= dict(architectures=["MiMoV2ForCausalLM"], model_type="mimo_v2",
                   attention_projection_layout="fused_qkv")
    return values


def fuse_qkv(state):
    """q, k and v in one matrix, and tensors of multi-token prediction beside."""
    out = {}
    for name, tensor in state.items():
        if "self_attn.q_proj" in name:
            parts = [state[name.replace("q_proj", part + "_proj")] for part in "qkv"]
            out[name.replace("q_proj", "qkv_proj")] = torch.cat(parts)
        elif "self_attn.k_proj" not in name and "self_attn.v_proj" not in name:
            out[name] = tensor
    out["model.mtp.layers.0.eh_proj.weight"] = torch.zeros(4, 8, dtype=torch.bfloat16)
    return out


def minimax_released(values):
    rope = values.pop("rope_parameters")
    values |= dict(rope_theta=rope["rope_theta"], use_qk_norm=True, qk_norm_type="per_layer",
                   rotary_dim=int(values["head_dim"] * rope.get("partial_rotary_factor", 1.0)),
                   scoring_func="sigmoid", use_routing_bias=True, shared_intermediate_size=0,
                   attn_type_list=[1] * values["num_hidden_layers"], num_mtp_modules=3,
                   use_mtp=True, mtp_transformer_layers=1, shared_moe_mode="sigmoid",
                   layernorm_full_attention_beta=1.0, layernorm_linear_attention_beta=1.0,
                   layernorm_mlp_beta=1.0, mlp_intermediate_size=64)
    return values


def older_spelling(values):
    """One theta and one scaling, as files before rope_parameters have them."""
    inner = values.get("text_config", values)
    rope = inner.pop("rope_parameters")
    if "full_attention" in rope:
        inner["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    inner["rope_theta"] = rope.pop("rope_theta")
    inner["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    return values


# --- FP8 in slabs --------------------------------------------------------------------------------

def fp8(matrix, block):
    """Quants, factors, and what they stand for."""
    rows, cols = matrix.shape
    factors = torch.zeros(-(-rows // block), -(-cols // block))
    quants = torch.zeros(rows, cols, dtype=torch.float8_e4m3fn)
    real = torch.zeros(rows, cols)
    for i in range(factors.shape[0]):
        for j in range(factors.shape[1]):
            at = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            factors[i, j] = matrix[at].abs().max() / 448
            quants[at] = (matrix[at] / factors[i, j]).to(torch.float8_e4m3fn)
            real[at] = quants[at].float() * factors[i, j]
    return quants, factors, real


def mimo_fp8(folder, config, slabs, tokens, seed):
    """Projections as `slabs` parts [q | k | v], each with its own blocks; experts in FP8."""
    model = transformers.MiMoV2FlashForCausalLM._from_config(config, attn_implementation="eager")
    folder = pathlib.Path(folder)
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    for old in (folder / "hf").iterdir():
        old.unlink()
    checkpoint_writer.save_rounded(checkpoint_writer.fill(model, seed), folder / "hf")
    path = folder / "hf" / "model.safetensors"
    state, out = load_file(path), {}
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            if "self_attn.q_proj" in name:
                names = [name.replace("q_proj", part + "_proj") for part in "qkv"]
                cuts = [state[n].float().chunk(slabs) for n in names]
                parts = [fp8(torch.cat([c[i] for c in cuts]), 128) for i in range(slabs)]
                fused = name.replace("q_proj", "qkv_proj")
                out[fused] = torch.cat([part[0] for part in parts])
                out[fused + "_scale_inv"] = torch.cat([part[1] for part in parts])
                sizes = [c[0].shape[0] for c in cuts]
                real = [part[2].split(sizes) for part in parts]
                for i, n in enumerate(names):
                    parameters[n].copy_(torch.cat([r[i] for r in real]))
            elif ".experts." in name:
                quants, factors, real = fp8(tensor.float(), 128)
                out[name], out[name + "_scale_inv"] = quants, factors
                base, rest = name.split(".experts.")
                expert, part = int(rest.split(".")[0]), rest.split(".")[1]
                width = config.moe_intermediate_size
                if part == "down_proj":
                    parameters[base + ".experts.down_proj"][expert].copy_(real)
                else:
                    first = 0 if part == "gate_proj" else width
                    parameters[base + ".experts.gate_up_proj"][expert, first:first + width] = real
            elif "self_attn.k_proj" not in name and "self_attn.v_proj" not in name:
                out[name] = tensor
    save_file(out, path, metadata={"format": "pt"})
    found = finish(folder, model, tokens, seed, lambda values: mimo_v2(values) | dict(
        quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                             "weight_block_size": [128, 128]}))
    if not found:
        mimo_fp8(folder, config, slabs, tokens, seed + 1000)


# --- MXFP4 ---------------------------------------------------------------------------------------

E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def mxfp4(matrix):
    """Pairs of codes (..., cols / 32, 16), exponents (..., cols / 32), and what they stand for."""
    groups = matrix.unflatten(-1, (-1, 32))
    exponents = torch.floor(torch.log2(groups.abs().amax(-1))) - 2
    scaled = groups / torch.exp2(exponents)[..., None]
    codes = (scaled[..., None] - E2M1).abs().argmin(-1).to(torch.uint8)
    real = (E2M1[codes.long()] * torch.exp2(exponents)[..., None]).flatten(-2)
    return codes[..., 0::2] | (codes[..., 1::2] << 4), (exponents + 127).to(torch.uint8), real


def ggml_blocks(pairs, exponents):
    """The exponent, then element i in the low half of byte i and i + 16 in the high half."""
    codes = torch.stack([pairs & 15, pairs >> 4], -1).flatten(-2)
    halves = codes[..., :16] | (codes[..., 16:] << 4)
    return torch.cat([exponents[..., None], halves], -1).flatten(-2)


def gpt_oss_mxfp4(folder, config, tokens, seed):
    model = build(transformers.GptOssForCausalLM, config)
    folder = pathlib.Path(folder)
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    for old in (folder / "hf").iterdir():
        old.unlink()
    checkpoint_writer.save_rounded(checkpoint_writer.fill(model, seed), folder / "hf")
    path = folder / "hf" / "model.safetensors"
    state = load_file(path)
    parameters = dict(model.named_parameters())
    for name in [n for n in state if n.endswith(("gate_up_proj", "down_proj"))]:
        state[name + "_blocks"], state[name + "_scales"], real = mxfp4(state.pop(name).mT.float())
        with torch.no_grad():
            parameters[name].copy_(real.mT)
    save_file({n: t.contiguous() for n, t in state.items()}, path, metadata={"format": "pt"})
    found = finish(folder, model, tokens, seed, lambda values: older_spelling(values) | dict(
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
            "lm_head"]}))
    gpt_oss_gguf(folder / "model.gguf", config, load_file(path))
    if not found:
        gpt_oss_mxfp4(folder, config, tokens, seed + 1000)


def finish(folder, model, tokens, seed, config_edit):
    """False where a greedy choice was a near tie."""
    path = folder / "hf" / "config.json"
    path.write_text(json.dumps(config_edit(json.loads(path.read_text())), indent=1) + "\n")
    ids, logits, greedy, margin = checkpoint_writer.expected_of(
        model.eval(), tokens, model.config.get_text_config().vocab_size, seed)
    save_file({"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
               "greedy": torch.tensor(greedy, dtype=torch.int32)}, folder / "expected.safetensors")
    print(folder.name, margin)
    return margin > 2e-3


# --- the stored checkpoints ----------------------------------------------------------------------

def build(model_class, config):
    return model_class._from_config(config, attn_implementation="eager",
                                    experts_implementation="eager")


def mimo_config(**more):
    values = dict(
        vocab_size=101, hidden_size=48, intermediate_size=70, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=1, head_dim=24, v_head_dim=16,
        moe_intermediate_size=20, n_routed_experts=6, num_experts_per_tok=2, sliding_window=20,
        max_position_embeddings=1024, bos_token_id=None,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"])
    return transformers.MiMoV2FlashConfig(**(values | more))


def gpt_oss_config(**more):
    values = dict(
        vocab_size=97, hidden_size=48, intermediate_size=24, num_hidden_layers=4,
        num_local_experts=5, num_experts_per_tok=2, head_dim=16, num_attention_heads=6,
        num_key_value_heads=2, sliding_window=12, max_position_embeddings=1024,
        rope_parameters={"rope_type": "yarn", "rope_theta": 150000.0, "factor": 8.0,
                         "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                         "original_max_position_embeddings": 64})
    return transformers.GptOssConfig(**(values | more))


def gemma_config(**more):
    values = dict(
        vocab_size=103, hidden_size=48, intermediate_size=70, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=20, sliding_window=16,
        query_pre_attn_scalar=20, max_position_embeddings=1024, pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})
    return Gemma3TextConfig(**(values | more))


def minimax_config(**more):
    values = dict(
        vocab_size=99, hidden_size=48, intermediate_size=20, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, head_dim=16, num_local_experts=6,
        num_experts_per_tok=2, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5})
    return transformers.MiniMaxM2Config(**(values | more))


def main(out):
    out = pathlib.Path(out)
    write = checkpoint_writer.write
    write(out / "mimo-v2-flash", build(transformers.MiMoV2FlashForCausalLM, mimo_config()),
          tokens=150, seed=101, config_edit=mimo_released, gguf_writer=mimo_gguf,
          gguf_options={"predicting": 2})
    # Twice the window and more, both kinds of layer with groups that are no powers of two, in
    # transformers' own spelling.
    write(out / "mimo-v2-groups", build(transformers.MiMoV2FlashForCausalLM, mimo_config(
        hidden_size=40, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=1,
        head_dim=20, v_head_dim=10, sliding_window=7, n_routed_experts=8, num_experts_per_tok=3,
        n_group=4, topk_group=2, routed_scaling_factor=1.5, attention_value_scale=0.612,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        mlp_layer_types=["sparse", "dense", "sparse"])),
        tokens=120, seed=102, gguf_writer=mimo_gguf, gguf_options={"fused": True})
    write(out / "mimo-v2-fused", build(transformers.MiMoV2FlashForCausalLM, mimo_config(
        num_hidden_layers=3, layer_types=["full_attention", "sliding_attention",
                                          "full_attention"])),
        tokens=100, seed=103, config_edit=mimo_v2, safetensors_edit=fuse_qkv, write_gguf=False)
    mimo_fp8(out / "mimo-v2-fp8", mimo_config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
        head_dim=24, v_head_dim=16, moe_intermediate_size=24, n_routed_experts=4,
        layer_types=["full_attention", "sliding_attention"]), 2, 100, 104)

    write(out / "gpt-oss", build(transformers.GptOssForCausalLM, gpt_oss_config()),
          tokens=130, seed=105, config_edit=older_spelling, gguf_writer=gpt_oss_gguf)
    write(out / "gpt-oss-pattern", build(transformers.GptOssForCausalLM, gpt_oss_config(
        hidden_size=36, intermediate_size=30, num_hidden_layers=3, head_dim=24,
        num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, sliding_window=33,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"])),
        tokens=110, seed=106, write_gguf=False)

    # Beside the others: products with MXFP4 round their inputs.
    gpt_oss_mxfp4(out.parent / "quantised" / "gpt-oss-mxfp4", gpt_oss_config(
        hidden_size=64, intermediate_size=32, num_hidden_layers=3), 100, 112)

    write(out / "gemma3", build(transformers.Gemma3ForCausalLM, gemma_config()),
          tokens=120, seed=107, config_edit=older_spelling, gguf_writer=gemma_gguf)
    write(out / "gemma3-capped", build(transformers.Gemma3ForCausalLM, gemma_config(
        hidden_size=60, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
        head_dim=16, sliding_window=9, query_pre_attn_scalar=24, final_logit_softcapping=5.0,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        tie_word_embeddings=False,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}})),
        tokens=100, seed=108, gguf_writer=gemma_gguf, gguf_options={"pattern": "flags"})
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                  image_size=8, patch_size=4)
    text = gemma_config(num_hidden_layers=4, sliding_window=11,
                        layer_types=["sliding_attention", "full_attention"] * 2).to_dict()
    write(out / "gemma3-multimodal", build(
        transformers.Gemma3ForConditionalGeneration,
        Gemma3Config(text_config=text, vision_config=vision | {"model_type": "siglip_vision_model"},
                     mm_tokens_per_image=4, image_token_index=100, boi_token_index=101,
                     eoi_token_index=102)),
        tokens=100, seed=109, gguf_writer=gemma_gguf, gguf_options={"pattern": 2})

    write(out / "minimax-m2", build(transformers.MiniMaxM2ForCausalLM, minimax_config()),
          tokens=120, seed=110, config_edit=minimax_released, gguf_writer=minimax_gguf)
    write(out / "minimax-m2-whole", build(transformers.MiniMaxM2ForCausalLM, minimax_config(
        hidden_size=36, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3,
        head_dim=12, num_local_experts=9, num_experts_per_tok=4, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4})),
        tokens=100, seed=111, gguf_writer=minimax_gguf)


# --- further than the stored ones ----------------------------------------------------------------

def sweep_one(r):
    """A random configuration: (name, model class, config, options of write)."""
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([2, 4, 6])
    layers = r.choice([2, 3, 5])
    types = [r.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
    common = dict(vocab_size=r.choice([97, 128, 151, 255]), hidden_size=heads * r.choice([8, 12, 20]),
                  num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv,
                  head_dim=r.choice([8, 16, 20, 32, 48, 64, 128]),
                  rms_norm_eps=r.choice([1e-5, 1e-6]), tie_word_embeddings=r.random() < 0.4,
                  intermediate_size=r.choice([16, 33, 48, 70]))
    experts = r.choice([4, 8, 16])
    window = r.choice([1, 2, 7, 16, 33, 64, 200])
    family = r.choice(["mimo", "gpt_oss", "gemma3", "minimax_m2"])
    matrix = {"matrix_type": r.choice(["f32", "bf16"])}
    if family == "mimo":
        partial = r.choice([0.334, 0.5, 0.25, 1.0])
        dims = int(common["head_dim"] * partial)
        rope = {"rope_type": "default", "partial_rotary_factor": partial}
        config = mimo_config(
            **common, v_head_dim=r.choice([8, 12, 16, 40]), sliding_window=window, layer_types=types,
            attention_value_scale=r.choice([None, 0.707, 1.3]), n_routed_experts=experts,
            num_experts_per_tok=r.randint(1, 4), moe_intermediate_size=r.choice([16, 21]),
            mlp_layer_types=[r.choice(["dense", "sparse"]) for _ in range(layers)],
            attention_bias=r.random() < 0.2, norm_topk_prob=r.random() < 0.7,
            routed_scaling_factor=r.choice([1.0, 2.5]), n_group=r.choice([1, 2]),
            topk_group=1 if r.random() < 0.7 else 1,
            rope_parameters={"full_attention": rope | {"rope_theta": r.choice([1e5, 5e6])},
                             "sliding_attention": rope | {"rope_theta": r.choice([1e4, 3e3])}})
        if config.n_group == 2:
            config.num_experts_per_tok = min(config.num_experts_per_tok, experts // 2)
        return (family, transformers.MiMoV2FlashForCausalLM, config, dict(
            gguf_writer=mimo_gguf, write_gguf=dims % 2 == 0,
            gguf_options=matrix | {"fused": r.random() < 0.3 and not config.attention_bias},
            config_edit=mimo_released if r.random() < 0.5 else None))
    if family == "gpt_oss":
        alternate = r.random() < 0.6
        yarn = {"rope_type": "yarn", "rope_theta": r.choice([1e4, 150000.0]),
                "factor": r.choice([4.0, 32.0]), "beta_fast": 32.0, "beta_slow": 1.0,
                "truncate": False, "original_max_position_embeddings": r.choice([32, 64, 4096])}
        config = gpt_oss_config(
            **common, sliding_window=window, num_local_experts=experts,
            num_experts_per_tok=r.randint(1, 4), layer_types=None if alternate else types,
            swiglu_limit=7.0 if alternate else r.choice([1.0, 7.0]), rope_parameters=yarn)
        return (family, transformers.GptOssForCausalLM, config, dict(
            gguf_writer=gpt_oss_gguf, gguf_options=matrix, write_gguf=alternate,
            config_edit=older_spelling if r.random() < 0.5 else None))
    if family == "gemma3":
        full = r.choice([{"rope_type": "default"}, {"rope_type": "linear", "factor": 8.0}])
        config = gemma_config(
            **common, sliding_window=window, layer_types=types,
            query_pre_attn_scalar=r.choice([common["head_dim"], 24, 168]),
            attention_bias=False, final_logit_softcapping=r.choice([None, None, 30.0]),
            rope_parameters={"full_attention": full | {"rope_theta": r.choice([1e6, 1e5])},
                             "sliding_attention": {"rope_type": "default",
                                                   "rope_theta": r.choice([1e4, 5e4])}})
        return (family, transformers.Gemma3ForCausalLM, config, dict(
            gguf_writer=gemma_gguf, gguf_options=matrix | {"pattern": "flags"},
            config_edit=older_spelling if r.random() < 0.5 else None))
    config = minimax_config(
        **common, num_local_experts=experts, num_experts_per_tok=r.randint(1, 4),
        rope_parameters={"rope_type": "default", "rope_theta": r.choice([1e4, 5e6]),
                         "partial_rotary_factor": r.choice([0.5, 0.25, 1.0])})
    rotated = int(config.head_dim * config.rope_parameters["partial_rotary_factor"])
    return (family, transformers.MiniMaxM2ForCausalLM, config, dict(
        gguf_writer=minimax_gguf, gguf_options=matrix, write_gguf=rotated % 2 == 0,
        config_edit=minimax_released if r.random() < 0.5 else None))


def sweep(out, count, first):
    for seed in range(first, first + count):
        r = random.Random(seed)
        family, model_class, config, options = sweep_one(r)
        dtype = torch.float32 if options["gguf_options"].get("matrix_type") == "f32" else None
        checkpoint_writer.write(pathlib.Path(out) / f"{seed:04}-{family}",
                                build(model_class, config), tokens=r.choice([65, 100, 150]),
                                seed=seed, **options,
                                **({"dtype": dtype} if dtype is not None else {}))


if __name__ == "__main__":
    if sys.argv[1] == "--sweep":
        sweep(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    else:
        main(sys.argv[1])
