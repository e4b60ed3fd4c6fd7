"""Lightning hybrids in float64, token by token, as the equations of spec/lightning.md read.

Not the engine's algorithm on purpose: the recurrence instead of blocks, keys and values of latent
attention written out instead of absorbed, one expert after another. Weights are a dictionary of
tensors by their checkpoint names.

Versions: torch 2.15.
"""

import math

import torch

F64 = torch.float64


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def silu(x):
    return x * torch.sigmoid(x)


def slopes(heads):
    """Section 1.1."""
    power = 2 ** int(math.log2(heads))
    all_of = [2.0 ** (-8.0 * (h + 1) / power) for h in range(power)]
    finer = [2.0 ** (-8.0 * (h + 1) / (2 * power)) for h in range(2 * power)]
    all_of += finer[0::2][: heads - power]
    return torch.tensor(all_of, dtype=F64)


def rotation(dims, theta, scaling, context):
    """Inverse frequencies and what multiplies cos and sin (section 3.3)."""
    i = torch.arange(0, dims, 2, dtype=F64)
    plain = theta ** (-i / dims)
    if not scaling or scaling.get("rope_type", scaling.get("type", "default")) == "default":
        return plain, 1.0
    assert scaling.get("rope_type", scaling.get("type")) == "yarn"
    factor = scaling["factor"]
    original = scaling.get("original_max_position_embeddings", context)

    def dim_of(turns):
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dim_of(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(dim_of(scaling.get("beta_slow", 1))), dims - 1)
    ramp = ((torch.arange(dims // 2, dtype=F64) - low) / max(high - low, 0.001)).clamp(0, 1)
    frequencies = plain / factor * ramp + plain * (1 - ramp)

    def magnitude(strength):
        return 0.1 * strength * math.log(factor) + 1.0 if factor > 1 else 1.0

    strength, all_dims = scaling.get("mscale"), scaling.get("mscale_all_dim")
    suggested = magnitude(strength) / magnitude(all_dims) if strength and all_dims else magnitude(1)
    return frequencies, scaling.get("attention_factor", suggested) * scaling.get("attn_factor", 1)


def rotate(x, position, frequencies, magnitude, interleaved=False):
    """The first 2 * len(frequencies) values of the last axis."""
    n = len(frequencies)
    angle = position * frequencies
    c, s = torch.cos(angle) * magnitude, torch.sin(angle) * magnitude
    x = x.clone()
    if interleaved:
        a, b = x[..., 0:2 * n:2].clone(), x[..., 1:2 * n:2].clone()
        x[..., 0:2 * n:2], x[..., 1:2 * n:2] = a * c - b * s, b * c + a * s
    else:
        a, b = x[..., :n].clone(), x[..., n:2 * n].clone()
        x[..., :n], x[..., n:2 * n] = a * c - b * s, b * c + a * s
    return x


class Softmax:
    """Keys and values of all positions; one query at a time."""

    def __init__(self, scale):
        self.scale, self.keys, self.values = scale, [], []

    def step(self, q, k, v):  # (heads, dim), (kv heads, dim), (kv heads, value dim)
        self.keys.append(k)
        self.values.append(v)
        group = q.shape[0] // k.shape[0]
        keys, values = torch.stack(self.keys), torch.stack(self.values)
        out = []
        for h in range(q.shape[0]):
            p = torch.softmax(keys[:, h // group] @ q[h] * self.scale, 0)
            out.append(p @ values[:, h // group])
        return torch.stack(out)


class Lightning:
    """Section 1.2: decay, add, read."""

    def __init__(self, heads, dim, rates, scale):
        self.state = torch.zeros(heads, dim, dim, dtype=F64)
        self.keep = torch.exp(-rates)[:, None, None]
        self.scale = scale

    def step(self, q, k, v):
        self.state = self.keep * self.state + k[:, :, None] * v[:, None, :]
        return self.scale * torch.einsum("hk,hkv->hv", q, self.state)


class Model:
    """What the families share; step(id) gives the logits behind it."""

    def __init__(self, config, weights):
        self.c = config
        self.w = {name: tensor.to(F64) for name, tensor in weights.items()}
        self.heads = config["num_attention_heads"]
        self.dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.layers = config["num_hidden_layers"]
        self.eps = config["rms_norm_eps"]
        self.position = 0
        self.mixers = [self.make(n) for n in range(self.layers)]

    def lightning(self, n, scale):
        last = self.layers - 1
        factor = 1 - (n / last if last > 0 else 0) + 1e-5
        return Lightning(self.heads, self.dim, slopes(self.heads) * factor, scale)

    def product(self, name, x):
        return self.w[name] @ x

    def output(self, x):
        tied = self.c.get("tie_word_embeddings")
        return self.w[self.embedding if tied else "lm_head.weight"] @ x

    def step(self, token):
        x = self.w[self.embedding][token]
        for n in range(self.layers):
            x = self.layer(n, x)
        self.position += 1
        self.hidden = rms_norm(x, self.w["model.norm.weight"], self.eps)
        return self.output(self.hidden)

    def grouped_norm(self, x, weight, groups, eps):
        return rms_norm(x.reshape(groups, -1), weight.reshape(groups, -1), eps).reshape(-1)


class MiniMax(Model):
    """Section 2, the published form: rotary_dim, residual = normed input."""

    embedding = "model.embed_tokens.weight"
    mixer_eps = 1e-5

    def make(self, n):
        if self.c["attn_type_list"][n] == 1:
            return Softmax(self.dim ** -0.5)
        return self.lightning(n, 1.0)

    def layer(self, n, x):
        c, p = self.c, f"model.layers.{n}."
        kind = "full" if c["attn_type_list"][n] == 1 else "linear"
        h = rms_norm(x, self.w[p + "input_layernorm.weight"], self.eps)
        skip = h if c.get("postnorm") else x
        mixed = (self.full if kind == "full" else self.linear)(n, h)
        x = (c[f"layernorm_{kind}_attention_alpha"] * skip
             + c[f"layernorm_{kind}_attention_beta"] * mixed)
        h = rms_norm(x, self.w[p + "post_attention_layernorm.weight"], self.eps)
        skip = h if c.get("postnorm") else x
        return c["layernorm_mlp_alpha"] * skip + c["layernorm_mlp_beta"] * self.mixture(n, h)

    def linear(self, n, h):
        p = f"model.layers.{n}.self_attn."
        qkv = silu(self.product(p + "qkv_proj.weight", h)).reshape(self.heads, 3, self.dim)
        o = self.mixers[n].step(qkv[:, 0], qkv[:, 1], qkv[:, 2]).reshape(-1)
        o = rms_norm(o, self.w[p + "norm.weight"], self.mixer_eps)
        gate = torch.sigmoid(self.product(p + "output_gate.weight", h))
        return self.product(p + "out_proj.weight", gate * o)

    def full(self, n, h):
        c, p = self.c, f"model.layers.{n}.self_attn."
        frequencies, magnitude = rotation(c.get("rotary_dim", self.dim), c["rope_theta"],
                                          c.get("rope_scaling"), c["max_position_embeddings"])
        q = self.product(p + "q_proj.weight", h).reshape(-1, self.dim)
        k = self.product(p + "k_proj.weight", h).reshape(-1, self.dim)
        v = self.product(p + "v_proj.weight", h).reshape(-1, self.dim)
        q = rotate(q, self.position, frequencies, magnitude)
        k = rotate(k, self.position, frequencies, magnitude)
        return self.product(p + "o_proj.weight", self.mixers[n].step(q, k, v).reshape(-1))

    def mixture(self, n, h):
        p = f"model.layers.{n}.block_sparse_moe."
        scores = torch.softmax(self.product(p + "gate.weight", h), 0)
        weights, chosen = torch.topk(scores, self.c["num_experts_per_tok"])
        weights = weights / weights.sum()
        out = torch.zeros_like(h)
        for weight, e in zip(weights, chosen.tolist()):
            e = f"{p}experts.{e}."
            inner = (silu(self.product(e + "w1.weight", h)) * self.product(e + "w3.weight", h))
            out += weight * self.product(e + "w2.weight", inner)
        return out


class Bailing(Model):
    """Sections 3 and 4: lightning with norms and rotation; what stands between is the child's."""

    embedding = "model.word_embeddings.weight"

    def is_full(self, n):
        group = self.c["layer_group_size"]
        return (n + 1) % group == 0 or n >= self.layers // group * group

    def make(self, n):
        return self.make_full() if self.is_full(n) else self.lightning(n, self.dim ** -0.5)

    def rotation_of_heads(self):
        c = self.c
        dims = c.get("rotary_dim") or int(self.dim * c.get("partial_rotary_factor", 1.0))
        return rotation(dims, c["rope_theta"], c.get("rope_scaling"), c["max_position_embeddings"])

    def queries_keys(self, p, q, k):
        q, k = q.reshape(-1, self.dim), k.reshape(-1, self.dim)
        if self.c.get("use_qk_norm"):
            q = rms_norm(q, self.w[p + "query_layernorm.weight"], self.eps)
            k = rms_norm(k, self.w[p + "key_layernorm.weight"], self.eps)
        frequencies, magnitude = self.rotation_of_heads()
        return (rotate(q, self.position, frequencies, magnitude),
                rotate(k, self.position, frequencies, magnitude))

    def layer(self, n, x):
        p = f"model.layers.{n}."
        h = rms_norm(x, self.w[p + "input_layernorm.weight"], self.eps)
        x = x + (self.full if self.is_full(n) else self.linear)(n, h)
        h = rms_norm(x, self.w[p + "post_attention_layernorm.weight"], self.eps)
        return x + (self.mlp(p + "mlp.", h) if n < self.c["first_k_dense_replace"]
                    else self.mixture(p + "mlp.", h))

    def linear(self, n, h):
        p = f"model.layers.{n}.attention."
        width = self.heads * self.dim
        q, k, v = self.product(p + "query_key_value.weight", h).split(width)
        q, k = self.queries_keys(p, q, k)
        o = self.mixers[n].step(q, k, v.reshape(-1, self.dim)).reshape(-1)
        o = self.grouped_norm(o, self.w[p + "g_norm.weight"], self.c.get("group_norm_size", 1),
                              self.eps)
        return self.product(p + "dense.weight",
                            o * torch.sigmoid(self.product(p + "g_proj.weight", h)))

    def mlp(self, p, h):
        return self.product(p + "down_proj.weight", silu(self.product(p + "gate_proj.weight", h))
                            * self.product(p + "up_proj.weight", h))

    def mixture(self, p, h):
        """Section 3.4."""
        c = self.c
        z = self.product(p + "gate.weight", h)
        scores = torch.sigmoid(z) if c["score_function"] == "sigmoid" else torch.softmax(z, 0)
        choice = scores.clone()
        if c.get("moe_router_enable_expert_bias"):
            choice += self.w[p + "gate.expert_bias"]
        groups, kept = c.get("n_group") or 1, c.get("topk_group") or 1
        if groups > 1:
            by_group = choice.reshape(groups, -1)
            best = by_group.topk(2, dim=1).values.sum(1).topk(kept).indices
            mask = torch.full((groups, 1), -math.inf, dtype=F64)
            mask[best] = 0
            choice = (by_group + mask).reshape(-1)
        chosen = choice.topk(c["num_experts_per_tok"]).indices
        weights = scores[chosen]
        if c.get("norm_topk_prob"):
            weights = weights / (weights.sum() + 1e-20)
        weights = weights * c.get("routed_scaling_factor", 1.0)
        out = torch.zeros_like(h)
        for weight, e in zip(weights, chosen.tolist()):
            out += weight * self.mlp(f"{p}experts.{e}.", h)
        if c.get("num_shared_experts"):
            out += self.mlp(p + "shared_experts.", h)
        return out


class RingLinear(Bailing):
    def make_full(self):
        return Softmax(self.dim ** -0.5)

    def full(self, n, h):
        p = f"model.layers.{n}.attention."
        kv = self.c["num_key_value_heads"] * self.dim
        q, k, v = self.product(p + "query_key_value.weight", h).split(
            [self.heads * self.dim, kv, kv])
        q, k = self.queries_keys(p, q, k)
        o = self.mixers[n].step(q, k, v.reshape(-1, self.dim))
        return self.product(p + "dense.weight", o.reshape(-1))


class LingHybrid(Bailing):
    """Section 4.3, with keys and values written out."""

    def make_full(self):
        c = self.c
        scale = (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]) ** -0.5
        scaling = c.get("rope_scaling")
        if scaling and scaling.get("mscale_all_dim") and scaling["factor"] > 1:
            scale *= (0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1) ** 2
        return Softmax(scale)

    def drafts(self, ids):
        """Section 4.5: row r, of the hidden row of position r and the token behind it, guesses the
        token after that. Its layer stands behind the last and keeps rows of its own."""
        model, p = LingHybrid(self.c, self.w), f"model.layers.{self.layers}."
        model.mixers.append(model.make_full())
        out = []
        for r in range(len(ids) - 1):
            model.step(int(ids[r]))
            u = self.product(p + "eh_proj.weight", torch.cat([
                rms_norm(self.w[self.embedding][int(ids[r + 1])], self.w[p + "enorm.weight"],
                         self.eps),
                rms_norm(model.hidden, self.w[p + "hnorm.weight"], self.eps)]))
            model.position = r
            h = rms_norm(u, self.w[p + "input_layernorm.weight"], self.eps)
            u = u + model.full(self.layers, h)
            h = rms_norm(u, self.w[p + "post_attention_layernorm.weight"], self.eps)
            u = u + model.mixture(p + "mlp.", h)
            model.position = r + 1
            out.append(self.output(rms_norm(u, self.w[p + "final_layernorm.weight"], self.eps)))
        return torch.stack(out).float()

    def full(self, n, h):
        c, p = self.c, f"model.layers.{n}.attention."
        nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        if c.get("q_lora_rank"):
            cq = rms_norm(self.product(p + "q_a_proj.weight", h),
                          self.w[p + "q_a_layernorm.weight"], 1e-6)
            q = self.product(p + "q_b_proj.weight", cq)
        else:
            q = self.product(p + "q_proj.weight", h)
        q = q.reshape(self.heads, nope + rope)
        latent, shared = self.product(p + "kv_a_proj_with_mqa.weight", h).split(
            [c["kv_lora_rank"], rope])
        latent = rms_norm(latent, self.w[p + "kv_a_layernorm.weight"], 1e-6)
        kv = self.product(p + "kv_b_proj.weight", latent).reshape(self.heads, nope + value)
        frequencies, magnitude = rotation(rope, c["rope_theta"], c.get("rope_scaling"),
                                          c["max_position_embeddings"])
        interleaved = c.get("rope_interleave", True)
        q_rope = rotate(q[:, nope:], self.position, frequencies, magnitude, interleaved)
        k_rope = rotate(shared, self.position, frequencies, magnitude, interleaved)
        q = torch.cat([q[:, :nope], q_rope], 1)
        k = torch.cat([kv[:, :nope], k_rope.expand(self.heads, rope)], 1)
        o = self.mixers[n].step(q, k, kv[:, nope:])
        return self.product(p + "dense.weight", o.reshape(-1))
