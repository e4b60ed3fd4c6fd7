"""The network of the ratio family, written for fast training: the same function and the same parameter names as transformers'
Qwen3_5ForCausalLM, so its state dict loads there unchanged (check_model.py holds the two equal). mixers.py builds on it.

The gated delta rule runs in its chunked (WY) form with everything batched: the inverse of the unit triangular system by
doubling, and the state at each chunk's start by a recursive pairwise scan instead of a loop over chunks.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

CHUNK = 64
CONFIG = dict(vocab_size=4096, hidden_size=256, intermediate_size=320, num_hidden_layers=8, num_attention_heads=3,
              num_key_value_heads=3, head_dim=64, linear_conv_kernel_dim=4, linear_key_head_dim=64, linear_value_head_dim=64,
              linear_num_key_heads=3, linear_num_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True,
              rms_norm_eps=1e-6)
ROPE_THETA, ROTARY_FACTOR = 100000.0, 0.5
# Every n-th layer is full attention; 9 of 8 layers: none. The first five are the ratio family, with the gated delta rule in
# the other layers; the names of the rest say what those have (mixers.py).
INTERVAL = {"full": 1, "1-1": 2, "1-3": 4, "1-7": 8, "none": 9, "1-7-lightning": 8, "1-3-kda": 4, "1-7-window": 8}
LINEAR, FULL, SLIDING = "linear_attention", "full_attention", "sliding_attention"


def layer_types(name):
    other = SLIDING if name.endswith("window") else LINEAR
    return [FULL if (i + 1) % INTERVAL[name] == 0 else other for i in range(CONFIG["num_hidden_layers"])]


if torch.cuda.is_available():
    import triton
    import triton.language as tl

    @triton.jit
    def unit_lower_inverse_kernel(a, out, N: tl.constexpr):
        # One 64 x 64 system a program: forward substitution, row after row, in registers.
        i = tl.arange(0, N)
        at = tl.program_id(0).to(tl.int64) * N * N + i[:, None] * N + i[None, :]
        inverse = tl.where(i[:, None] > i[None, :], -tl.load(a + at), 0.0)
        for r in range(1, N):
            row = tl.sum(tl.where(i[:, None] == r, inverse, 0.0), 0)
            row += tl.sum(row[:, None] * inverse, 0)
            inverse = tl.where(i[:, None] == r, row[None, :], inverse)
        tl.store(out + at, tl.where(i[:, None] == i[None, :], 1.0, inverse))


def unit_lower_inverse(a):
    """(I + A)^-1 for strictly lower triangular A of size CHUNK."""
    n = a.shape[-1]
    if a.is_cuda:
        a = a.contiguous()
        out = torch.empty_like(a)
        unit_lower_inverse_kernel[(a.numel() // (n * n),)](a, out, n, num_warps=4)
        return out
    # By doubling the size of the inverted diagonal blocks.
    i = torch.arange(n, device=a.device)
    inverse = torch.eye(n, device=a.device, dtype=a.dtype).expand_as(a)
    size = 1
    while size < n:
        same = (i[:, None] // (2 * size) == i[None, :] // (2 * size)) & (i[:, None] // size > i[None, :] // size)
        off = torch.where(same, a, 0.0)
        inverse = inverse - inverse @ off @ inverse
        size *= 2
    return inverse


class UnitLowerInverse(torch.autograd.Function):
    """The inverse in float32, handed on in the dtype of the products that follow."""

    @staticmethod
    def forward(ctx, a, dtype):
        inverse = unit_lower_inverse(a).to(dtype)
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        t = inverse.transpose(-1, -2)
        return -(t @ grad @ t).float(), None


def states_before(decay_map, update):
    """S[c] for S[0] = 0, S[c + 1] = decay_map[c] @ S[c] + update[c], over dimension 2, by pairing neighbours."""
    n = update.shape[2]
    if n == 1:
        return torch.zeros_like(update)
    even_map, even_update = decay_map[:, :, 0::2], update[:, :, 0::2]
    odd_map, odd_update = decay_map[:, :, 1::2], update[:, :, 1::2]
    before_even = states_before(odd_map @ even_map, odd_map @ even_update + odd_update)
    before_odd = even_map @ before_even + even_update
    return torch.stack((before_even, before_odd), 3).flatten(2, 3)


def gated_delta_rule(q, k, v, g, beta):
    """q, k, v (batch, time, heads, 64), g and beta (batch, time, heads), time a power of two times CHUNK; returns v's shape.

    Matrix products take v's dtype; decays, the triangular inverse and the scan over chunks are float32.
    """
    b, t, h, d = q.shape
    dtype = v.dtype

    def chunks(x):
        return x.transpose(1, 2).reshape(b, h, t // CHUNK, CHUNK, *x.shape[3:])

    q, k = q.float(), k.float()
    q = chunks((q * torch.rsqrt((q * q).sum(-1, keepdim=True) + 1e-6) * d**-0.5).to(dtype))
    k = chunks((k * torch.rsqrt((k * k).sum(-1, keepdim=True) + 1e-6)).to(dtype))
    v = chunks(v)
    g, beta = chunks(g.float()), chunks(beta.float())
    cum = g.cumsum(-1)
    i = torch.arange(CHUNK, device=q.device)
    lower = i[:, None] >= i[None, :]
    decay = torch.where(lower, cum[..., :, None] - cum[..., None, :], -1e9).exp()
    kt = k.transpose(-1, -2)
    attention = ((q @ kt) * decay).to(dtype)
    system = torch.where(i[:, None] > i[None, :], (k @ kt) * decay * beta[..., None], 0.0)
    inverse = UnitLowerInverse.apply(system, dtype)
    new_v = inverse @ (v * beta[..., None]).to(dtype)
    seen_k = inverse @ (k * (beta * cum.exp())[..., None]).to(dtype)
    last = cum[..., -1:]
    kept_k = (k * (last - cum).exp()[..., None]).to(dtype).transpose(-1, -2)
    eye = torch.eye(d, device=q.device)
    state = states_before(eye * last.exp()[..., None] - kept_k @ seen_k, (kept_k @ new_v).float()).to(dtype)
    out = (q * cum.exp()[..., None]).to(dtype) @ state + attention @ (new_v - seen_k @ state)
    return out.reshape(b, h, t, d).transpose(1, 2)


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])
        return (y * (1 + self.weight)).to(x.dtype)


class GatedNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x, gate):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])
        return (y * self.weight * F.silu(gate.float())).to(gate.dtype)


def projection(rows, columns):
    return nn.Linear(columns, rows, bias=False)


class GatedDelta(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, self.heads, self.d = CONFIG["hidden_size"], CONFIG["linear_num_key_heads"], CONFIG["linear_key_head_dim"]
        width = self.heads * self.d
        self.in_proj_qkv = projection(3 * width, hidden)
        self.in_proj_z = projection(width, hidden)
        self.in_proj_b = projection(self.heads, hidden)
        self.in_proj_a = projection(self.heads, hidden)
        self.conv1d = nn.Conv1d(3 * width, 3 * width, CONFIG["linear_conv_kernel_dim"], groups=3 * width, bias=False)
        self.out_proj = projection(hidden, width)
        self.norm = GatedNorm(self.d)
        # Decay that starts slow: half-lives from a few tokens to about a thousand.
        self.A_log = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 8)))
        dt = torch.exp(torch.empty(self.heads).uniform_(math.log(0.001), math.log(0.1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x, rope):
        b, t, _ = x.shape
        mixed = linear(x, self.in_proj_qkv.weight)
        taps = self.conv1d.weight.to(mixed.dtype)[:, 0]
        padded = F.pad(mixed, (0, 0, 3, 0))
        mixed = F.silu(sum(padded[:, i:i + t] * taps[:, i] for i in range(4)))
        q, k, v = mixed.view(b, t, 3, self.heads, self.d).unbind(2)
        z = linear(x, self.in_proj_z.weight).view(b, t, self.heads, self.d)
        beta = linear(x, self.in_proj_b.weight).float().sigmoid()
        g = -self.A_log.exp() * F.softplus(linear(x, self.in_proj_a.weight).float() + self.dt_bias)
        out = gated_delta_rule(q, k, v, g, beta)
        return linear(self.norm(out, z).reshape(b, t, -1), self.out_proj.weight)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, self.heads, self.d = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["head_dim"]
        width = self.heads * self.d
        self.q_proj = projection(2 * width, hidden)
        self.k_proj = projection(width, hidden)
        self.v_proj = projection(width, hidden)
        self.o_proj = projection(hidden, width)
        self.q_norm, self.k_norm = Norm(self.d), Norm(self.d)

    def forward(self, x, rope):
        b, t, _ = x.shape
        q, gate = linear(x, self.q_proj.weight).view(b, t, self.heads, 2, self.d).unbind(3)
        k = linear(x, self.k_proj.weight).view(b, t, self.heads, self.d)
        v = linear(x, self.v_proj.weight).view(b, t, self.heads, self.d)
        q, k = (rotate(n, *rope).transpose(1, 2) for n in (self.q_norm(q), self.k_norm(k)))
        out = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True).transpose(1, 2)
        return linear((out * gate.sigmoid()).reshape(b, t, -1), self.o_proj.weight)


def rotate(x, cos, sin):
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    cos, sin = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1)


def rope_table(length, device, dim=int(CONFIG["head_dim"] * ROTARY_FACTOR), theta=ROPE_THETA):
    frequency = 1.0 / theta ** (torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj, self.up_proj, self.down_proj = projection(inner, hidden), projection(inner, hidden), projection(hidden, inner)

    def forward(self, x):
        return linear(F.silu(linear(x, self.gate_proj.weight)) * linear(x, self.up_proj.weight), self.down_proj.weight)


class Layer(nn.Module):
    def __init__(self, kind, mixer, mixer_name="self_attn", norm=Norm):
        super().__init__()
        hidden = CONFIG["hidden_size"]
        self.kind, self.mixer_name = kind, mixer_name
        self.add_module(mixer_name, mixer)
        self.mlp = MLP()
        self.input_layernorm, self.post_attention_layernorm = norm(hidden), norm(hidden)

    def forward(self, x, rope):
        x = x + getattr(self, self.mixer_name)(self.input_layernorm(x), rope)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, layers, norm):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(layers)
        self.norm = norm(CONFIG["hidden_size"])


class Model(nn.Module):
    norm = Norm

    def __init__(self, name, dtype=torch.bfloat16):
        super().__init__()
        self.dtype = dtype
        self.model = Trunk(self.layers(layer_types(name)), self.norm)
        depth = CONFIG["num_hidden_layers"]
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
                if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
                    p.data /= math.sqrt(2 * depth)
            elif p.dim() == 3:
                nn.init.uniform_(p, -0.5, 0.5)

    def layers(self, types):
        for kind in types:
            yield Layer(kind, GatedDelta(), "linear_attn") if kind == LINEAR else Layer(kind, Attention())

    def rope(self, length, device):
        """The tables that the layers of each kind rotate by."""
        return {FULL: rope_table(length, device)}

    def hidden(self, ids, rope, layer=lambda module, x, rope: module(x, rope)):
        x = F.embedding(ids, self.model.embed_tokens.weight).to(self.dtype)
        for module in self.model.layers:
            x = layer(module, x, rope.get(module.kind))
        return x

    def loss(self, x, targets, weights):
        """Per-token cross entropy, weighted: (sum of weight * loss, sum of weight)."""
        logits = linear(self.model.norm(x), self.model.embed_tokens.weight).float()
        each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return (each * weights.flatten()).sum(), weights.sum()

    def logits(self, ids):
        x = self.hidden(ids, self.rope(ids.shape[1], ids.device))
        return linear(self.model.norm(x), self.model.embed_tokens.weight).float()
