"""Holds the networks equal to transformers' classes in float32: logits of the five ratios to Qwen3_5ForCausalLM's, those of
mixers.py to MiniMaxForCausalLM's, KimiLinearForCausalLM's and MiMoV2FlashForCausalLM's; and the chunked rules to the token-by-token
recurrences, forward and backward, at rows of many chunks. On a GPU, the kernels too."""

import torch
import transformers as tf
from transformers.models.kimi_linear import modeling_kimi_linear as kimi
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen

import mixers
import model as m

TOKENS = dict(eos_token_id=4095, pad_token_id=4093, bos_token_id=None)


def reference_config(ratio):
    sections = [6, 5, 5]
    return tf.Qwen3_5TextConfig(**m.CONFIG, layer_types=m.layer_types(ratio), **TOKENS,
                                rope_parameters={"rope_type": "default", "rope_theta": m.ROPE_THETA, "mrope_section": sections,
                                                 "mrope_interleaved": True, "partial_rotary_factor": m.ROTARY_FACTOR})


def reference(name):
    """transformers' class for a model, with weights of its own."""
    common = {k: v for k, v in m.CONFIG.items() if not k.startswith("linear_")} | TOKENS | {"layer_types": m.layer_types(name)}
    rope = {"rope_type": "default", "rope_theta": m.ROPE_THETA}
    if name not in mixers.NETWORKS:
        return tf.Qwen3_5ForCausalLM(reference_config(name)).eval()
    if name.endswith("lightning"):
        factors = {f"{kind}_{which}_factor": mixers.ALPHA if which == "alpha" else 1.0
                   for kind in ("full_attn", "linear_attn", "mlp") for which in ("alpha", "beta")}
        config = tf.MiniMaxConfig(**common, **factors, num_local_experts=1, num_experts_per_tok=1, rope_parameters=rope, block_size=64)
        return tf.MiniMaxForCausalLM._from_config(config, experts_implementation="eager").eval()
    dense = {"mlp_layer_types": ["dense"] * m.CONFIG["num_hidden_layers"]}
    if name.endswith("kda"):
        common.pop("head_dim")
        return tf.KimiLinearForCausalLM._from_config(tf.KimiLinearConfig(
            **common, **dense, kv_lora_rank=mixers.LATENT, qk_nope_head_dim=mixers.NOPE, qk_rope_head_dim=mixers.SHARED, v_head_dim=mixers.D,
            linear_head_dim=mixers.D, linear_num_heads=mixers.HEADS)).eval()
    common |= {"num_attention_heads": mixers.QUERY_HEADS, "num_key_value_heads": mixers.QUERY_HEADS // 2, "head_dim": mixers.KEY_DIM}
    share = {"partial_rotary_factor": (mixers.ROTATED + 0.5) / mixers.KEY_DIM}
    config = tf.MiMoV2FlashConfig(**common, **dense, v_head_dim=mixers.VALUE_DIM, sliding_window=mixers.WINDOW,
                                  attention_value_scale=mixers.VALUE_SCALE,
                                  rope_parameters={m.FULL: rope | share, m.SLIDING: rope | share | {"rope_theta": mixers.SLIDING_THETA}})
    return tf.MiMoV2FlashForCausalLM._from_config(config, attn_implementation="eager").eval()


def filled(name, state):
    """transformers' class with a network's weights."""
    network = reference(name)
    state = mixers.create(name).for_transformers(state) if name in mixers.NETWORKS else dict(state)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    # Lightning attention's tables of decays, which no checkpoint holds.
    tables = {k: v for k, v in network.state_dict().items() if k.rsplit(".")[-1] in ("slope_rate", "query_decay", "key_decay", "diagonal_decay")}
    network.load_state_dict(state | tables)
    return network


def close(a, b, most, what):
    error = ((a.cpu() - b).norm() / b.norm()).item()
    print(f"{what}: relative difference {error:.1e}", flush=True)
    assert error < most, what


def check_rule(name, ours, theirs, inputs, device, most=2e-5):
    """Forward and backward on the same inputs, theirs in float64 on the CPU."""
    a = [x.detach().to(device, torch.float32).requires_grad_() for x in inputs]
    b = [x.detach().double().requires_grad_() for x in inputs]
    ours, theirs = ours(*a), theirs(*b)
    probe = torch.randn_like(theirs)
    close(ours, theirs, most, f"{name}, out")
    grads = (torch.autograd.grad((x * probe.to(x)).sum(), y) for x, y in ((ours, a), (theirs, b)))
    for i, (x, y) in enumerate(zip(*grads)):
        close(x, y, most, f"{name}, gradient {i}")


def delta_rule(q, k, v, g, beta):
    """Token by token, in the inputs' precision; g with or without a channel for each key dimension."""
    q, k = (x / ((x * x).sum(-1, keepdim=True) + 1e-6).sqrt() for x in (q, k))
    g = g if g.dim() == 4 else g[..., None]
    state, out = torch.zeros(*q.shape[0:1], q.shape[2], q.shape[3], v.shape[3], dtype=q.dtype), []
    for t in range(q.shape[1]):
        state = state * g[:, t].exp()[..., None]
        delta = (v[:, t] - (state * k[:, t, :, :, None]).sum(-2)) * beta[:, t, :, None]
        state = state + k[:, t, :, :, None] * delta[..., None, :]
        out.append((state * q[:, t, :, :, None]).sum(-2) * q.shape[-1] ** -0.5)
    return torch.stack(out, 1)


def lightning(q, k, v, rate):
    t = torch.arange(q.shape[1])
    span = (t[:, None] - t[None, :]).double()
    decay = torch.where(span >= 0, (-rate[:, None, None] * span).exp(), 0.0)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * decay
    return torch.einsum("bhts,bshd->bthd", scores, v)


def windowed(q, k, v, sinks):
    t = torch.arange(q.shape[1])
    span = t[:, None] - t[None, :]
    scores = torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    scores = scores.masked_fill((span < 0) | (span >= mixers.WINDOW), float("-inf"))
    scores = torch.cat((scores, sinks[:, None, None].expand(*scores.shape[:3], 1)), -1)
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1)[..., :-1], v)


def check_rules(device):
    q, k, v = (torch.randn(2, 512, 3, 64) for _ in range(3))
    g, beta = -torch.rand(2, 512, 3) * torch.tensor([0.001, 0.1, 2.0]), torch.rand(2, 512, 3)
    check_rule("gated delta rule", m.gated_delta_rule, delta_rule, (q, k, v, g, beta), device)
    # Channels that keep for long beside channels that forget within a token, which no product of factors would survive.
    g = -torch.rand(2, 512, 3, 64) * torch.logspace(-4, 1.5, 64)
    check_rule("Kimi delta rule", mixers.kimi_delta_rule, delta_rule, (q, k, v, g, beta), device)
    for index in (0, 6):
        rate = mixers.lightning_rates(index)
        check_rule(f"lightning attention of layer {index}", lambda q, k, v: mixers.lightning(q, k, v, rate.to(device)),
                   lambda q, k, v: lightning(q, k, v, rate.double()), (q, k, v), device)
    q, k = torch.randn(2, 2, 512, 4, 72)
    v, sinks = torch.randn(2, 512, 4, 48), torch.randn(4)
    check_rule("windowed attention", mixers.windowed_attention, windowed, (q, k, v, sinks), device)


def main():
    torch.manual_seed(0)
    q, k, v, beta = (*torch.randn(3, 1, 64, 3, 64), torch.rand(1, 64, 3))
    g = -torch.rand(1, 64, 3, 64)
    same = dict(beta=beta, initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=True)
    close(delta_rule(q, k, v, g, beta), kimi.recurrent_kimi_delta_attention(q, k, v, g=g, **same)[0], 1e-5, "token by token, Kimi")
    close(delta_rule(q, k, v, g[..., 0], beta), qwen.torch_recurrent_gated_delta_rule(q, k, v, g=g[..., 0], **same)[0], 1e-5, "token by token, Qwen")
    check_rules("cuda" if torch.cuda.is_available() else "cpu")
    for name in m.INTERVAL:
        ours = mixers.create(name, torch.float32)
        for p in ours.parameters():
            p.data += 0.02 * torch.randn_like(p)
        theirs = filled(name, ours.state_dict())
        ids = torch.randint(0, 4096, (2, 512))
        with torch.no_grad():
            a, b = ours.logits(ids), theirs(ids, use_cache=False).logits
        count = sum(p.numel() for p in ours.parameters())
        close(a, b, 1e-4, f"{name}: {count} parameters, logits")


if __name__ == "__main__":
    main()
