"""Kimi K3 in float64, token by token, as the equations of spec/delta.md sections 5, 7.2, 8 and 10
read.

Not the engine's algorithm on purpose: keys and values of latent attention written out instead of
absorbed, one expert after another, the streams of attention residuals kept as a list. Weights are
a dictionary of tensors by their checkpoint names, packed experts already expanded.

Versions: torch 2.15.
"""

import math

import torch

F64 = torch.float64
PREFIX = "language_model.model."


def rms(x, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def silu(x):
    return x * torch.sigmoid(x)


def unit(x):
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class Model:
    def __init__(self, config, weights):
        self.c = config["text_config"]
        self.lin = self.c["linear_attn_config"]
        self.w = {name: tensor.to(F64) for name, tensor in weights.items()}
        self.full = {i - 1 for i in self.lin["full_attn_layers"]}
        self.state = [{} for _ in range(self.c["num_hidden_layers"])]

    def at(self, name):
        return self.w[PREFIX + name]

    def product(self, name, x):
        return self.at(name + ".weight") @ x

    def norm(self, name, x):
        return rms(x, self.c["rms_norm_eps"]) * self.at(name + ".weight")

    # --- token mixers ---

    def short_conv(self, p, part, x, state):
        kernel = self.lin["short_conv_kernel_size"]
        past = state.setdefault("conv_" + part, [torch.zeros_like(x)] * (kernel - 1)) + [x]
        taps = self.at(f"{p}{part}_conv1d.weight").reshape(-1, kernel)
        state["conv_" + part] = past[1:]
        return silu(sum(taps[:, j] * past[j] for j in range(kernel)))

    def kda(self, p, x, state):
        heads, dim = self.lin["num_heads"], self.lin["head_dim"]
        q, k, v = (self.short_conv(p, part, self.product(f"{p}{part}_proj", x), state)
                   .reshape(heads, dim) for part in "qkv")
        q, k = unit(q) / math.sqrt(dim), unit(k)
        f = self.product(p + "f_b_proj", self.product(p + "f_a_proj", x)) + self.at(p + "dt_bias")
        f = f.reshape(heads, dim)
        rate = torch.exp(self.at(p + "A_log").flatten()[:heads])[:, None]
        bound = self.lin.get("gate_lower_bound")
        if bound is None:
            g = -rate * torch.where(f > 20, f, torch.log1p(torch.exp(f.clamp(max=20))))
        else:
            g = bound * torch.sigmoid(rate * f)
        beta = torch.sigmoid(self.product(p + "b_proj", x))
        s = state.get("s", torch.zeros(heads, dim, dim, dtype=F64))
        s = s * torch.exp(g)[:, :, None]
        u = beta[:, None] * (v - torch.einsum("hij,hi->hj", s, k))
        s = s + k[:, :, None] * u[:, None, :]
        state["s"] = s
        o = torch.einsum("hij,hi->hj", s, q)
        if self.lin.get("use_full_rank_gate"):
            gate = self.product(p + "g_proj", x)
        else:
            gate = self.product(p + "g_b_proj", self.product(p + "g_a_proj", x))
        o = rms(o, self.c["rms_norm_eps"]) * self.at(p + "o_norm.weight")
        return self.product(p + "o_proj", o.flatten() * torch.sigmoid(gate))

    def latent(self, p, x, state):
        c = self.c
        heads, nope, rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        value, rank = c["v_head_dim"], c["kv_lora_rank"]
        if c.get("q_lora_rank"):
            low = self.product(p + "q_a_proj", x)
            low = rms(low, 1e-6) * self.at(p + "q_a_layernorm.weight")
            q = self.product(p + "q_b_proj", low)
        else:
            q = self.product(p + "q_proj", x)
        q = q.reshape(heads, nope + rope)
        row = self.product(p + "kv_a_proj_with_mqa", x)
        low = rms(row[:rank], 1e-6) * self.at(p + "kv_a_layernorm.weight")
        kv = self.product(p + "kv_b_proj", low).reshape(heads, nope + value)
        key = torch.cat([kv[:, :nope], row[rank:].expand(heads, rope)], dim=1)
        keys = state.setdefault("keys", [])
        values = state.setdefault("values", [])
        keys.append(key)
        values.append(kv[:, nope:])
        scores = torch.einsum("hd,thd->ht", q, torch.stack(keys)) / math.sqrt(nope + rope)
        out = torch.einsum("ht,thd->hd", torch.softmax(scores, -1), torch.stack(values)).flatten()
        if c.get("mla_use_output_gate"):
            out = out * torch.sigmoid(self.product(p + "g_proj", x))
        return self.product(p + "o_proj", out)

    # --- channel mixers ---

    def glu(self, gate, up):
        if self.c["hidden_act"] == "silu":
            return silu(gate) * up
        a, b = self.c["activation_situ_beta"], self.c["activation_situ_linear_beta"]
        return a * torch.tanh(gate / a) * torch.sigmoid(gate) * b * torch.tanh(up / b)

    def dense(self, p, x):
        return self.product(p + "down_proj", self.glu(self.product(p + "gate_proj", x),
                                                      self.product(p + "up_proj", x)))

    def mixture(self, p, x):
        c = self.c
        scores = torch.sigmoid(self.product(p + "gate", x))
        choice = scores + self.at(p + "gate.e_score_correction_bias")
        chosen = torch.topk(choice, c["num_experts_per_token"]).indices
        weights = scores[chosen]
        if c["moe_renormalize"]:
            weights = weights / (weights.sum() + 1e-20)
        weights = weights * c["routed_scaling_factor"]
        latent = bool(c.get("routed_expert_hidden_size"))
        narrow = self.product(p + "routed_expert_down_proj", x) if latent else x
        total = torch.zeros_like(narrow)
        for e, weight in zip(chosen.tolist(), weights):
            expert = f"{p}experts.{e}."
            inner = self.glu(self.product(expert + "w1", narrow),
                             self.product(expert + "w3", narrow))
            total = total + weight * self.product(expert + "w2", inner)
        if latent:
            if c.get("latent_moe_use_norm"):
                total = self.norm(p + "routed_expert_norm", total)
            total = self.product(p + "routed_expert_up_proj", total)
        if c["num_shared_experts"]:
            total = total + self.dense(p + "shared_experts.", x)
        return total

    # --- the whole ---

    def mix(self, name, aside, p):
        """A softmax over streams, scored by their normalised values, of their raw values."""
        streams = torch.stack(aside + [p])
        normed = rms(streams, self.c["rms_norm_eps"]) * self.at(name + "_norm.weight")
        scores = normed @ self.at(name + "_proj.weight").flatten()
        return torch.softmax(scores, 0) @ streams

    def step(self, token):
        block = self.c.get("attn_res_block_size")
        p = self.at("embed_tokens.weight")[token]
        aside = []
        for i in range(self.c["num_hidden_layers"]):
            layer = f"layers.{i}."
            mixer = self.latent if i in self.full else self.kda
            a = self.mix(layer + "self_attention_res", aside, p) if block else p
            pushed = bool(block) and i % block == 0
            if pushed:
                aside.append(p)
            y = mixer(layer + "self_attn.", self.norm(layer + "input_layernorm", a), self.state[i])
            p = y if pushed else p + y
            a = self.mix(layer + "mlp_res", aside, p) if block else p
            a = self.norm(layer + "post_attention_layernorm", a)
            if i < self.c["first_k_dense_replace"]:
                p = p + self.dense(layer + "mlp.", a)
            else:
                p = p + self.mixture(layer + "block_sparse_moe.", a)
        if block:
            p = self.mix("output_attn_res", aside, p)
        return self.w["language_model.lm_head.weight"] @ self.norm("norm", p)
