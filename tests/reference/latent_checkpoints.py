"""Tiny random checkpoints of the families with latent attention, dense and sparse: DeepSeek-V2,
V3, V3.2 and GLM-5.

    python latent_checkpoints.py FOLDER    (then pack_checkpoints.py FOLDER)
    python latent_checkpoints.py /tmp/sweep 40 [first seed]      random ones, outside the project

What is computed comes from transformers' own classes, eager attention, in float32. One thing is
made certain there: which positions an indexer chooses among equal scores. torch.topk leaves it
open; here the lowest position wins (ReLU makes scores that are exactly 0). Checkpoints whose
choices hang on a difference that rounding could turn are thrown away.

The GGUF writer is written from spec/softmax.md section 3.4, apart from the engine.

Versions: torch 2.15, transformers 5.23.0, safetensors, numpy, gguf 0.19.
"""

import contextlib
import json
import math
import pathlib
import random
import sys

import gguf
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.deepseek_v32 import modeling_deepseek_v32
from transformers.models.glm_moe_dsa import modeling_glm_moe_dsa

import checkpoint_writer
import make_checkpoints

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
assert transformers.__version__ == "5.23.0", transformers.__version__
assert torch.__version__.startswith("2.15"), torch.__version__


# --- exact choices -------------------------------------------------------------------------------

class Choices:
    """The least difference, relative to the largest score, between the last score that was chosen
    and the first that was not; equal scores do not count."""
    least = math.inf
    ties = 0


def topk_lowest_first(scores, k, dim=-1):
    order = torch.sort(scores, dim=dim, descending=True, stable=True)
    if k < scores.shape[-1]:
        last, next_ = order.values[..., k - 1], order.values[..., k]
        seen = next_ > -1e30  # what is masked is never chosen
        gap = (last - next_)[seen]
        size = scores.masked_fill(scores < -1e30, 0).abs().amax(-1)[seen]
        Choices.ties += int((gap == 0).sum())
        rest = (gap / size)[gap != 0]
        if rest.numel():
            Choices.least = min(Choices.least, float(rest.min()))
    return torch.return_types.topk((order.values[..., :k], order.indices[..., :k]))


@contextlib.contextmanager
def exact_topk():
    plain = torch.Tensor.topk
    torch.Tensor.topk = topk_lowest_first
    try:
        yield
    finally:
        torch.Tensor.topk = plain


def exactly(forward):
    def inner(self, *args, **kwargs):
        with exact_topk():
            return forward(self, *args, **kwargs)
    return inner


for indexer in (modeling_deepseek_v32.DeepseekV32Indexer, modeling_glm_moe_dsa.GlmMoeDsaIndexer):
    indexer.forward = exactly(indexer.forward)


# --- models --------------------------------------------------------------------------------------

CLASSES = {
    "deepseek_v2": (transformers.DeepseekV2ForCausalLM, transformers.DeepseekV2Config),
    "deepseek_v3": (transformers.DeepseekV3ForCausalLM, transformers.DeepseekV3Config),
    "deepseek_v32": (transformers.DeepseekV32ForCausalLM, transformers.DeepseekV32Config),
    "glm_moe_dsa": (transformers.GlmMoeDsaForCausalLM, transformers.GlmMoeDsaConfig),
}


def build(kind, **settings):
    model_class, config_class = CLASSES[kind]
    model = model_class._from_config(config_class(**settings), attn_implementation="eager",
                                     experts_implementation="eager")
    for module in model.modules():
        # The bias of the choice is a buffer, which nothing would fill.
        bias = getattr(module, "e_score_correction_bias", None)
        if bias is not None:
            del module.e_score_correction_bias
            module.e_score_correction_bias = torch.nn.Parameter(bias.clone())
    return model


def yarn(factor=4.0, original=64, mscale=1.0, all_dim=1.0, theta=1e4):
    return {"rope_type": "yarn", "rope_theta": theta, "factor": factor, "beta_fast": 32.0,
            "beta_slow": 1.0, "original_max_position_embeddings": original, "mscale": mscale,
            "mscale_all_dim": all_dim}


def plain_rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


def add_prediction_layer(layer):
    def edit(state):
        """Tensors of multi-token prediction lie in a layer behind the last."""
        for name in ("eh_proj.weight", "self_attn.q_a_proj.weight", "shared_head.head.weight"):
            state[f"model.layers.{layer}.{name}"] = torch.zeros(4, 8, dtype=torch.bfloat16)
        state[f"model.layers.{layer}.enorm.weight"] = torch.zeros(8, dtype=torch.bfloat16)
        return state
    return edit


def older_spelling(values):
    """The keys as transformers 4 and the released files write them."""
    p = values.pop("rope_parameters")
    values["rope_theta"] = p.pop("rope_theta")
    values["rope_scaling"] = None
    if p["rope_type"] != "default":
        p["type"] = p.pop("rope_type")
        values["rope_scaling"] = p
    values |= {"moe_layer_freq": 1, "ep_size": 1, "num_nextn_predict_layers": 1}
    if values["model_type"] == "deepseek_v2":
        values |= {"scoring_func": "softmax", "seq_aux": True, "aux_loss_alpha": 0.001}
    else:
        values |= {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}
    return values


# --- GGUF ----------------------------------------------------------------------------------------

def to_gguf(path, config, state, kv="split", prediction=0, matrix_type="bf16"):
    """kv: "split" as llama.cpp's converter writes it now, "flat" as ik_llama.cpp's does (all three,
    two-dimensional, heads' own lengths), "whole" as older files have it."""
    kind = config.model_type
    arch = {"deepseek_v32": "deepseek32", "glm_moe_dsa": "glm-dsa"}.get(kind, "deepseek2")
    heads, nope, rope = (config.num_attention_heads, config.qk_nope_head_dim,
                         config.qk_rope_head_dim)
    value, rank = config.v_head_dim, config.kv_lora_rank
    layers = config.num_hidden_layers
    w = gguf.GGUFWriter(str(path), arch)
    w.add_name("tiny " + kind)
    w.add_block_count(layers + prediction)
    if prediction:
        w.add_nextn_predict_layers(prediction)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_vocab_size(config.vocab_size)
    w.add_kv_lora_rank(rank)
    if config.q_lora_rank:
        w.add_q_lora_rank(config.q_lora_rank)
    if kv == "split":
        w.add_head_count_kv(1)
        w.add_key_length(rank + rope)
        w.add_value_length(rank)
        w.add_key_length_mla(nope + rope)
        w.add_value_length_mla(value)
    else:
        w.add_head_count_kv(heads)
        w.add_key_length(nope + rope)
        w.add_value_length(value)
    w.add_rope_dimension_count(rope)
    p = config.rope_parameters
    w.add_rope_freq_base(p["rope_theta"])
    if p["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(p["factor"])
        w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_log_mul(0.1 * p["mscale_all_dim"])
    w.add_leading_dense_block_count(config.first_k_dense_replace)
    w.add_expert_count(config.n_routed_experts)
    w.add_expert_used_count(config.num_experts_per_tok)
    w.add_expert_shared_count(config.n_shared_experts)
    w.add_expert_feed_forward_length(config.moe_intermediate_size)
    w.add_expert_weights_scale(config.routed_scaling_factor)
    if kind != "deepseek_v2":
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        w.add_expert_weights_norm(config.norm_topk_prob)
    if kind != "deepseek_v2" or config.topk_method != "greedy":
        w.add_expert_group_count(config.n_group)
        w.add_expert_group_used_count(config.topk_group)
    if hasattr(config, "index_topk"):
        w.add_indexer_head_count(config.index_n_heads)
        w.add_indexer_key_length(config.index_head_dim)
        w.add_indexer_top_k(config.index_topk)

    plain = {n: t.float() for n, t in state.items()
             if not any(n.startswith(f"model.layers.{layers + i}.") for i in range(4))}

    def put(name, tensor):
        tensor = tensor.contiguous()
        keep = tensor.dim() < 2 or "ffn_gate_inp" in name or "indexer.proj" in name
        if keep or matrix_type == "f32":
            w.add_tensor(name, tensor.numpy())
        else:
            halves = tensor.to(torch.bfloat16).view(torch.uint8).numpy()
            w.add_tensor(name, halves, raw_dtype=gguf.GGMLQuantizationType.BF16)

    take = plain.pop
    put("token_embd.weight", take("model.embed_tokens.weight"))
    put("output_norm.weight", take("model.norm.weight"))
    head = take("lm_head.weight", None)
    if not config.tie_word_embeddings:
        put("output.weight", head)
    for n in range(layers):
        a, m, b = f"model.layers.{n}.self_attn.", f"model.layers.{n}.mlp.", f"blk.{n}."
        put(b + "attn_norm.weight", take(f"model.layers.{n}.input_layernorm.weight"))
        put(b + "ffn_norm.weight", take(f"model.layers.{n}.post_attention_layernorm.weight"))
        for name, to in (("q_proj", "attn_q"), ("q_a_proj", "attn_q_a"), ("q_b_proj", "attn_q_b"),
                         ("q_a_layernorm", "attn_q_a_norm"), ("o_proj", "attn_output"),
                         ("kv_a_proj_with_mqa", "attn_kv_a_mqa"),
                         ("kv_a_layernorm", "attn_kv_a_norm"), ("indexer.wq_b", "indexer.attn_q_b"),
                         ("indexer.wk", "indexer.attn_k"), ("indexer.k_norm", "indexer.k_norm"),
                         ("indexer.weights_proj", "indexer.proj")):
            for part in ("weight", "bias"):
                if f"{a}{name}.{part}" in plain:
                    put(f"{b}{to}.{part}", take(f"{a}{name}.{part}"))
        whole = take(a + "kv_b_proj.weight")
        keys, values = whole.reshape(heads, nope + value, rank).split([nope, value], dim=1)
        keys = keys.transpose(1, 2)  # (heads, rank, nope)
        if kv != "split":
            put(b + "attn_kv_b.weight", whole)
        if kv == "flat":
            keys, values = keys.reshape(heads * rank, nope), values.reshape(heads * value, rank)
        if kv != "whole":
            put(b + "attn_k_b.weight", keys)
            put(b + "attn_v_b.weight", values)
        if m + "gate.weight" in plain:
            put(b + "ffn_gate_inp.weight", take(m + "gate.weight"))
            if m + "gate.e_score_correction_bias" in plain:
                put(b + "exp_probs_b.bias", take(m + "gate.e_score_correction_bias"))
            for part in ("gate", "up", "down"):
                put(b + f"ffn_{part}_exps.weight",
                    torch.stack([take(f"{m}experts.{e}.{part}_proj.weight")
                                 for e in range(config.n_routed_experts)]))
                put(b + f"ffn_{part}_shexp.weight", take(f"{m}shared_experts.{part}_proj.weight"))
        else:
            for part in ("gate", "up", "down"):
                put(b + f"ffn_{part}.weight", take(f"{m}{part}_proj.weight"))
    for i in range(prediction):
        for name, shape in (("nextn.eh_proj.weight", (4, 8)), ("attn_q_a.weight", (4, 8)),
                            ("nextn.enorm.weight", (8,))):
            put(f"blk.{layers + i}.{name}", torch.zeros(shape))
    assert not plain, sorted(plain)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# --- writing -------------------------------------------------------------------------------------

def expected_of(*arguments):
    """As checkpoint_writer's, whose caller tries another seed where a margin is small."""
    Choices.least, Choices.ties = math.inf, 0
    ids, logits, greedy, margin = plain_expected_of(*arguments)
    if Choices.least < 1e-5:
        margin = 0.0
    elif Choices.least < math.inf:
        print(f"choices: least difference {Choices.least:.1e}, {Choices.ties} ties at the edge")
    return ids, logits, greedy, margin


plain_expected_of = checkpoint_writer.expected_of
checkpoint_writer.expected_of = expected_of


def write(folder, model, tokens, seed, **options):
    checkpoint_writer.write(folder, model, tokens, seed, gguf_writer=to_gguf, **options)


def write_fp8(folder, kind, seed, **settings):
    """FP8 with a factor per block, of which heads are no multiples. The expected logits are those
    of the dequantised weights."""
    model = build(kind, **settings)
    while True:
        (folder / "hf").mkdir(parents=True, exist_ok=True)
        checkpoint_writer.save_rounded(checkpoint_writer.fill(model, seed), folder / "hf")
        path = folder / "hf" / "model.safetensors"
        state, parameters = load_file(path), dict(model.named_parameters())
        out = {}
        for name, tensor in state.items():
            # As released: projections are FP8; router, norms and the indexer's weights are not.
            if (name not in parameters or tensor.dim() != 2 or ".layers." not in name
                    or "mlp.gate." in name or "weights_proj" in name):
                out[name] = tensor
            else:
                out |= make_checkpoints.to_fp8({name: tensor}, model, 32)
        save_file(out, path, metadata={"format": "pt"})
        ids, logits, greedy, margin = checkpoint_writer.expected_of(
            model.eval(), 90, settings["vocab_size"], seed)
        if margin > 2e-3:
            break
        seed += 1000
    values = json.loads((folder / "hf" / "config.json").read_text())
    values["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic",
                                     "fmt": "e4m3", "scale_fmt": "ue8m0",
                                     "weight_block_size": [32, 32]}
    (folder / "hf" / "config.json").write_text(json.dumps(values, indent=1) + "\n")
    save_file({"tokens": ids.to(torch.int32), "logits": logits.contiguous(),
               "greedy": torch.tensor(greedy, dtype=torch.int32)}, folder / "expected.safetensors")
    print(folder.name, margin)


def main(out):
    out = pathlib.Path(out)
    # As DeepSeek-V2-Lite: no compressed queries, softmax routing without renormalisation.
    write(out / "deepseek-v2", build(
        "deepseek_v2", vocab_size=101, hidden_size=36, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=3, q_lora_rank=None, kv_lora_rank=20, qk_nope_head_dim=12,
        qk_rope_head_dim=8, v_head_dim=10, intermediate_size=50, moe_intermediate_size=14,
        n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=3, first_k_dense_replace=1,
        routed_scaling_factor=1.5, max_position_embeddings=512,
        rope_parameters=yarn(factor=8.0, mscale=0.707, all_dim=0.707)),
        tokens=120, seed=21, gguf_options={"kv": "whole"})
    # As the large DeepSeek-V2: compressed queries, experts out of the groups with the best one.
    write(out / "deepseek-v2-groups", build(
        "deepseek_v2", vocab_size=101, hidden_size=40, num_hidden_layers=2, num_attention_heads=5,
        num_key_value_heads=5, q_lora_rank=18, kv_lora_rank=16, qk_nope_head_dim=10,
        qk_rope_head_dim=6, v_head_dim=11, intermediate_size=50, moe_intermediate_size=10,
        n_routed_experts=9, n_shared_experts=1, num_experts_per_tok=2, n_group=3, topk_group=2,
        topk_method="group_limited_greedy", first_k_dense_replace=0, routed_scaling_factor=4.0,
        max_position_embeddings=512, rope_parameters=plain_rope(1e4)),
        tokens=90, seed=28, config_edit=older_spelling)
    write(out / "deepseek-v3", build(
        "deepseek_v3", vocab_size=113, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, q_lora_rank=28, kv_lora_rank=24, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, intermediate_size=60, moe_intermediate_size=16,
        n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3,
        first_k_dense_replace=1, max_position_embeddings=512, rope_parameters=yarn()),
        tokens=150, seed=22, config_edit=older_spelling, gguf_options={"prediction": 1},
        safetensors_edit=add_prediction_layer(3))
    # Rotation of halves, no YaRN, queries straight from the stream, many small heads, tied.
    write(out / "deepseek-v3-half", build(
        "deepseek_v3", vocab_size=97, hidden_size=40, num_hidden_layers=2, num_attention_heads=10,
        num_key_value_heads=10, q_lora_rank=None, kv_lora_rank=18, qk_nope_head_dim=6,
        qk_rope_head_dim=10, v_head_dim=7, intermediate_size=44, moe_intermediate_size=12,
        n_routed_experts=5, n_group=1, topk_group=1, num_experts_per_tok=2, norm_topk_prob=False,
        first_k_dense_replace=0, rope_interleave=False, tie_word_embeddings=True,
        max_position_embeddings=512, rope_parameters=plain_rope(5e4)),
        tokens=110, seed=23, write_gguf=False)
    sparse = dict(
        vocab_size=107, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=24, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, intermediate_size=56, moe_intermediate_size=16,
        n_routed_experts=8, num_experts_per_tok=3, index_n_heads=3, index_head_dim=20,
        index_topk=24, first_k_dense_replace=1, max_position_embeddings=512)
    write(out / "deepseek-v3.2", build("deepseek_v32", **sparse, n_group=2, topk_group=1,
                                       rope_parameters=yarn()),
          tokens=130, seed=24, gguf_options={"prediction": 1},
          safetensors_edit=add_prediction_layer(3))
    # One indexer head leaves many scores at exactly 0.
    write(out / "deepseek-v3.2-ties", build(
        "deepseek_v32", **sparse | dict(index_n_heads=1, index_topk=40, num_attention_heads=3,
                                        num_key_value_heads=3, first_k_dense_replace=3),
        n_group=2, topk_group=1, rope_parameters=plain_rope(1e4)),
        tokens=120, seed=25, config_edit=older_spelling, gguf_options={"kv": "flat"})
    write(out / "glm-5", build("glm_moe_dsa", **sparse | dict(qk_nope_head_dim=24, v_head_dim=32),
                               rope_parameters=plain_rope(1e5)),
          tokens=130, seed=26, gguf_options={"prediction": 1})
    # As GLM-5.2: two layers of five read what a layer before them chose.
    write(out / "glm-5.2", build("glm_moe_dsa", **sparse | dict(
        num_hidden_layers=5, hidden_size=32, index_topk=17, n_routed_experts=4,
        num_experts_per_tok=2, index_topk_freq=2, index_skip_topk_offset=2),
        rope_parameters=plain_rope(1e6)), tokens=100, seed=29)
    write_fp8(out / "deepseek-v3.2-fp8", "deepseek_v32", 27, **sparse | dict(
        hidden_size=64, num_hidden_layers=2, kv_lora_rank=32, n_group=2, topk_group=1,
        moe_intermediate_size=32, rope_parameters=yarn()))


# --- sweep ---------------------------------------------------------------------------------------

def sweep(out, count, first):
    for seed in range(first, first + count):
        r = random.Random(seed)
        kind = list(CLASSES)[seed % 4]
        heads, layers = r.choice([1, 2, 3, 4, 6, 16, 40]), r.choice([2, 3, 4])
        experts, groups = r.choice([(4, 1), (6, 1), (8, 2), (8, 4), (12, 3), (16, 8)])
        kept = r.randint(1, groups)
        settings = dict(
            vocab_size=r.choice([97, 128, 151]), hidden_size=heads * r.choice([8, 12]) + 24 * heads,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
            q_lora_rank=r.choice([16, 24, 33, 64]), kv_lora_rank=r.choice([8, 17, 32, 48, 64]),
            qk_nope_head_dim=r.choice([4, 9, 16, 32]), qk_rope_head_dim=r.choice([2, 4, 8, 16]),
            v_head_dim=r.choice([5, 8, 16, 33]), intermediate_size=r.choice([33, 48, 80]),
            moe_intermediate_size=r.choice([8, 16, 25]), n_routed_experts=experts,
            n_shared_experts=r.choice([1, 1, 2]),
            num_experts_per_tok=r.randint(1, min(4, experts // groups * kept)),
            first_k_dense_replace=r.choice([0, 1, layers]),
            routed_scaling_factor=r.choice([1.0, 2.5]), norm_topk_prob=r.random() < 0.7,
            rms_norm_eps=r.choice([1e-5, 1e-6]), tie_word_embeddings=r.random() < 0.4,
            max_position_embeddings=512)
        settings["hidden_size"] = max(32, min(settings["hidden_size"], 120) // heads * heads)
        same = r.random() < 0.6  # GGUF cannot say two different strengths
        strength = r.choice([0.707, 1.0])
        scaled = r.random() < 0.6
        settings["rope_parameters"] = (
            yarn(r.choice([4.0, 40.0]), r.choice([16, 64, 256]), strength if same else 0.5,
                 strength, r.choice([1e4, 1e6])) if scaled else plain_rope(r.choice([1e4, 1e6])))
        if kind == "deepseek_v2":
            settings["norm_topk_prob"] = False
            # transformers rotates pairs as complex numbers, which odd strides forbid.
            for odd in ("qk_nope_head_dim", "kv_lora_rank"):
                settings[odd] += settings[odd] % 2
            if groups > 1:
                settings |= dict(n_group=groups, topk_group=kept,
                                 topk_method="group_limited_greedy")
        else:
            settings |= dict(n_group=groups, topk_group=kept)
        if kind in ("deepseek_v2", "deepseek_v3") and r.random() < 0.4:
            settings["q_lora_rank"] = None
        interleave = True
        if kind == "deepseek_v3":
            interleave = settings["rope_interleave"] = r.random() < 0.7
        if kind in ("deepseek_v32", "glm_moe_dsa"):
            settings |= dict(index_n_heads=r.choice([1, 2, 4, 5]), index_topk=r.choice([1, 8, 30, 64]),
                             index_head_dim=settings["qk_rope_head_dim"] + r.choice([0, 3, 8, 16]))
        if kind == "glm_moe_dsa" and r.random() < 0.6:
            settings["indexer_types"] = ["full"] + [r.choice(["full", "shared"])
                                                    for _ in range(layers - 1)]
        folder = pathlib.Path(out) / f"{seed:04}-{kind}"
        dtype = r.choice([torch.bfloat16, torch.bfloat16, torch.float16, torch.float32])
        write(folder, build(kind, **settings), tokens=r.choice([65, 100, 150]), seed=seed,
              write_gguf=interleave and (same or not scaled),
              gguf_options={"kv": r.choice(["split", "flat", "whole"]),
                            "prediction": r.choice([0, 1]),
                            "matrix_type": r.choice(["f32", "bf16"])
                            if dtype == torch.bfloat16 else "f32"},
              config_edit=older_spelling if r.random() < 0.4 else None, dtype=dtype)
        (folder / "config.txt").write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2].isdigit():
        sweep(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    else:
        main(sys.argv[1])
