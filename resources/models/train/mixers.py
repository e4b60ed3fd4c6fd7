"""Three networks beside the ratio family, with its sizes, its channel mixer and its training: lightning attention (MiniMax-01),
Kimi delta attention (Kimi Linear) and a sliding window with sinks (MiMo-V2). They compute what transformers' MiniMaxForCausalLM,
KimiLinearForCausalLM and MiMoV2FlashForCausalLM compute, with the parameter names of their modules (check_model.py holds them
equal), except that MiniMax's single expert goes by the names of a dense MLP: for_transformers() says how.

None has a loop over chunks: what lightning attention keeps falls at a constant rate, so that one product of matrices gives the
states before all chunks; Kimi delta attention takes the scan of the gated delta rule.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import model as m
from model import CHUNK, CONFIG, FULL, LINEAR, SLIDING, linear, projection

HIDDEN, HEADS, D = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["head_dim"]
WIDTH = HEADS * D
EPS = CONFIG["rms_norm_eps"]


class Norm(nn.Module):
    """Multiplies by the weight itself, not by one more."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x, gate=None):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + EPS) * self.weight
        return (y if gate is None else y * gate.float().sigmoid()).to(x.dtype)


def chunked(x):
    """(batch, time, heads, ...) to (batch, heads, chunks, CHUNK, ...)."""
    b, t, h = x.shape[:3]
    return x.transpose(1, 2).reshape(b, h, t // CHUNK, CHUNK, *x.shape[3:])


def causal_attention(q, k, v):
    """q, k, v (batch, time, heads, any), with fewer heads in k and v than in q or as many; as q, with v's last size."""
    wanted = v.shape[-1]
    v = F.pad(v, (0, q.shape[-1] - wanted))  # the fast kernels want one size
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], 2) if x.shape[2] < q.shape[2] else x for x in (k, v))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)[..., :wanted]


# --- lightning attention (MiniMax-01) ------------------------------------------------------------------------------------------

# What the residual stream is multiplied by: (2 * layers)^(1/4), as in the published models.
ALPHA = (2 * CONFIG["num_hidden_layers"]) ** 0.25


def lightning_rates(index):
    """Of the decay of each head in layer `index`, as transformers' MiniMax has them for any number of heads."""
    last = CONFIG["num_hidden_layers"] - 1 + 1e-5
    slopes = (2.0 ** (-8 / HEADS)) ** torch.arange(1, HEADS + 1, dtype=torch.float64)
    return (slopes * (1 - index / last + 1e-5)).float()


def lightning(q, k, v, rate):
    """o_t = sum over s <= t of exp(-rate (t - s)) (q_t . k_s) v_s; q, k, v (batch, time, heads, d), rate (heads).

    Products take v's dtype; decays, and the states before the chunks, are float32.
    """
    dtype = v.dtype
    q, k, v = chunked(q), chunked(k), chunked(v)
    b, h, n, _, d = q.shape
    i = torch.arange(CHUNK, device=q.device)
    at = rate[:, None, None, None]  # (heads, chunks, CHUNK, 1)
    span = i[:, None] - i[None, :]
    decay = torch.where(span >= 0, (-at * span.clamp(min=0)).exp(), 0.0)
    attention = ((q @ k.transpose(-1, -2)) * decay).to(dtype)
    update = (k * (-at * (CHUNK - 1 - i)[:, None]).exp()).to(dtype).transpose(-1, -2) @ v
    c = torch.arange(n, device=q.device)
    passed = c[:, None] - 1 - c[None, :]
    kept = torch.where(passed >= 0, (-rate[:, None, None] * CHUNK * passed.clamp(min=0)).exp(), 0.0)
    state = (kept @ update.float().reshape(b, h, n, d * d)).reshape(b, h, n, d, d).to(dtype)
    out = attention @ v + (q * (-at * (i + 1)[:, None]).exp()).to(dtype) @ state
    return out.reshape(b, h, n * CHUNK, d).transpose(1, 2)


class Lightning(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.qkv_proj = projection(3 * WIDTH, HIDDEN)  # rows head by head: q, k, v
        self.output_gate = projection(WIDTH, HIDDEN)
        self.out_proj = projection(HIDDEN, WIDTH)
        self.norm = Norm(WIDTH)
        self.register_buffer("rate", lightning_rates(index), persistent=False)

    def forward(self, x, rope):
        b, t, _ = x.shape
        q, k, v = F.silu(linear(x, self.qkv_proj.weight)).view(b, t, HEADS, 3, D).unbind(3)
        out = self.norm(lightning(q, k, v, self.rate).reshape(b, t, -1), linear(x, self.output_gate.weight))
        return linear(out, self.out_proj.weight)


class RotatedAttention(nn.Module):
    """Rotates whole heads, as transformers' MiniMax does."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (projection(WIDTH, HIDDEN) for _ in range(3))
        self.o_proj = projection(HIDDEN, WIDTH)

    def forward(self, x, rope):
        b, t, _ = x.shape
        q, k, v = (linear(x, p.weight).view(b, t, HEADS, D) for p in (self.q_proj, self.k_proj, self.v_proj))
        out = causal_attention(m.rotate(q, *rope), m.rotate(k, *rope), v)
        return linear(out.reshape(b, t, -1), self.o_proj.weight)


class NormedLayer(m.Layer):
    """What the residual stream passes on is the normed input."""

    def forward(self, x, rope):
        x = self.input_layernorm(x)
        x = self.post_attention_layernorm(ALPHA * x + self.self_attn(x, rope))
        return ALPHA * x + self.mlp(x)


class MiniMax(m.Model):
    norm = Norm

    def layers(self, types):
        for i, kind in enumerate(types):
            yield NormedLayer(kind, Lightning(i) if kind == LINEAR else RotatedAttention(), norm=Norm)

    def rope(self, length, device):
        return {FULL: m.rope_table(length, device, D)}

    def for_transformers(self, state):
        """The MLP as the only expert, and a router that has no choice."""
        out = {}
        for name, value in state.items():
            if name.endswith("mlp.gate_proj.weight"):
                layer = name.removesuffix("gate_proj.weight")
                out[layer + "gate.weight"] = torch.zeros(1, HIDDEN)
                out[layer + "experts.gate_up_proj"] = torch.cat((value, state[layer + "up_proj.weight"]))[None]
                out[layer + "experts.down_proj"] = state[layer + "down_proj.weight"][None]
            elif ".mlp." not in name:
                out[name] = value
        return out


# --- Kimi delta attention and latent attention (Kimi Linear) ---------------------------------------------------------------------

LATENT, NOPE, SHARED = 128, 64, 32  # rank of keys and values; dimensions of a key of its own and of the one all heads share

if torch.cuda.is_available():
    import triton
    import triton.language as tl

    # Each program takes 16 rows (or columns) of one chunk. Nothing is divided by a decay: their differences alone are raised,
    # and those are never above zero where they count.

    @triton.jit
    def pairs_kernel(q, k, g, qk, kk, N: tl.constexpr, ROWS: tl.constexpr):
        base = (tl.program_id(0) // (N // ROWS)).to(tl.int64) * N * N
        first = (tl.program_id(0) % (N // ROWS)) * ROWS
        i, d = first + tl.arange(0, ROWS), tl.arange(0, N)
        at = base + i[:, None] * N + d[None, :]
        q_i, k_i, g_i = tl.load(q + at).to(tl.float32), tl.load(k + at).to(tl.float32), tl.load(g + at)
        qk_i, kk_i = tl.zeros((ROWS, N), tl.float32), tl.zeros((ROWS, N), tl.float32)
        for j in range(first + ROWS):
            k_j, g_j = tl.load(k + base + j * N + d).to(tl.float32), tl.load(g + base + j * N + d)
            seen = k_j[None, :] * tl.exp(tl.minimum(g_i - g_j[None, :], 0.0))
            here = d[None, :] == j
            qk_i = tl.where(here, tl.sum(q_i * seen, 1)[:, None], qk_i)
            kk_i = tl.where(here, tl.sum(k_i * seen, 1)[:, None], kk_i)
        tl.store(qk + at, tl.where(i[:, None] >= d[None, :], qk_i, 0.0).to(qk.dtype.element_ty))
        tl.store(kk + at, tl.where(i[:, None] > d[None, :], kk_i, 0.0))

    @triton.jit
    def pairs_by_row_kernel(k, g, dqk, dkk, dq, dk, N: tl.constexpr, ROWS: tl.constexpr):
        base = (tl.program_id(0) // (N // ROWS)).to(tl.int64) * N * N
        first = (tl.program_id(0) % (N // ROWS)) * ROWS
        i, d = first + tl.arange(0, ROWS), tl.arange(0, N)
        at = base + i[:, None] * N + d[None, :]
        g_i = tl.load(g + at)
        dq_i, dk_i = tl.zeros((ROWS, N), tl.float32), tl.zeros((ROWS, N), tl.float32)
        for j in range(first + ROWS):
            k_j, g_j = tl.load(k + base + j * N + d).to(tl.float32), tl.load(g + base + j * N + d)
            seen = k_j[None, :] * tl.exp(tl.minimum(g_i - g_j[None, :], 0.0))
            dqk_j = tl.load(dqk + base + i * N + j).to(tl.float32)
            dkk_j = tl.load(dkk + base + i * N + j)
            dq_i += tl.where(i >= j, dqk_j, 0.0)[:, None] * seen
            dk_i += tl.where(i > j, dkk_j, 0.0)[:, None] * seen
        tl.store(dq + at, dq_i)
        tl.store(dk + at, dk_i)

    @triton.jit
    def pairs_by_column_kernel(q, k, g, dqk, dkk, dk, N: tl.constexpr, ROWS: tl.constexpr):
        base = (tl.program_id(0) // (N // ROWS)).to(tl.int64) * N * N
        first = (tl.program_id(0) % (N // ROWS)) * ROWS
        j, d = first + tl.arange(0, ROWS), tl.arange(0, N)
        at = base + j[:, None] * N + d[None, :]
        g_j = tl.load(g + at)
        dk_j = tl.zeros((ROWS, N), tl.float32)
        for i in range(first, N):
            row = base + i * N
            q_i, k_i, g_i = tl.load(q + row + d).to(tl.float32), tl.load(k + row + d).to(tl.float32), tl.load(g + row + d)
            dqk_i = tl.where(j <= i, tl.load(dqk + row + j).to(tl.float32), 0.0)
            dkk_i = tl.where(j < i, tl.load(dkk + row + j), 0.0)
            asked = dqk_i[:, None] * q_i[None, :] + dkk_i[:, None] * k_i[None, :]
            dk_j += asked * tl.exp(tl.minimum(g_i[None, :] - g_j, 0.0))
        tl.store(dk + at, dk_j)


def falls(g):
    """exp(g[i] - g[j]) for j <= i in each chunk and channel; the other half is cut off by who asks."""
    return (g[..., :, None, :] - g[..., None, :, :]).clamp(max=0).exp()


@torch.library.custom_op("hybridscope::pairs", mutates_args=())
def pairs(q: torch.Tensor, k: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each chunk, sum over d of exp(g[i, d] - g[j, d]) q[i, d] k[j, d] for j <= i in q's dtype, and with k for q, j < i, in float32.
    g holds logarithms of decays summed up from the chunk's start."""
    q, k, g = (x.contiguous() for x in (q, k, g))
    qk, kk = torch.empty_like(q), torch.empty_like(g)
    if q.is_cuda:
        pairs_kernel[(q.numel() // (CHUNK * 16),)](q, k, g, qk, kk, CHUNK, 16, num_warps=2)
    else:
        seen = falls(g) * k.float()[..., None, :, :]
        qk.copy_((q.float()[..., :, None, :] * seen).sum(-1).tril())
        kk.copy_((k.float()[..., :, None, :] * seen).sum(-1).tril(-1))
    return qk, kk


@torch.library.custom_op("hybridscope::pairs_backward", mutates_args=())
def pairs_backward(q: torch.Tensor, k: torch.Tensor, g: torch.Tensor, dqk: torch.Tensor,
                   dkk: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients by q, by k as a row and by k as a column."""
    q, k, g, dqk, dkk = (x.contiguous() for x in (q, k, g, dqk, dkk))
    dq, dk_row, dk_column = (torch.empty_like(g) for _ in range(3))
    if q.is_cuda:
        grid = (q.numel() // (CHUNK * 16),)
        pairs_by_row_kernel[grid](k, g, dqk, dkk, dq, dk_row, CHUNK, 16, num_warps=2)
        pairs_by_column_kernel[grid](q, k, g, dqk, dkk, dk_column, CHUNK, 16, num_warps=2)
    else:
        decay, dqk, dkk = falls(g), dqk.float().tril()[..., None], dkk.tril(-1)[..., None]
        seen = decay * k.float()[..., None, :, :]
        dq.copy_((dqk * seen).sum(-2))
        dk_row.copy_((dkk * seen).sum(-2))
        dk_column.copy_(((dqk * q.float()[..., :, None, :] + dkk * k.float()[..., :, None, :]) * decay).sum(-3))
    return dq, dk_row, dk_column


pairs.register_fake(lambda q, k, g: (q.new_empty(q.shape), g.new_empty(g.shape)))
pairs_backward.register_fake(lambda q, k, g, dqk, dkk: tuple(g.new_empty(g.shape) for _ in range(3)))


def pairs_gradient(ctx, dqk, dkk):
    q, k, g = ctx.saved_tensors
    dq, dk_row, dk_column = pairs_backward(q, k, g, dqk, dkk)
    dg = q.float() * dq + k.float() * (dk_row - dk_column)
    return dq.to(q.dtype), (dk_row + dk_column).to(k.dtype), dg


pairs.register_autograd(pairs_gradient, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def kimi_delta_rule(q, k, v, g, beta):
    """The gated delta rule with a decay for each channel of the keys; g (batch, time, heads, 64) its logarithm.

    Matrix products take v's dtype; decays, the products of pairs, the triangular inverse and the scan are float32.
    """
    b, t, h, d = q.shape
    dtype = v.dtype
    q, k = q.float(), k.float()
    q = chunked((q * torch.rsqrt((q * q).sum(-1, keepdim=True) + 1e-6) * d**-0.5).to(dtype))
    k = chunked((k * torch.rsqrt((k * k).sum(-1, keepdim=True) + 1e-6)).to(dtype))
    v, beta = chunked(v), chunked(beta.float())[..., None]
    cum = chunked(g.float()).cumsum(-2)
    attention, system = pairs(q, k, cum)
    inverse = m.UnitLowerInverse.apply(system * beta, dtype)
    new_v = inverse @ (v * beta).to(dtype)
    seen_k = inverse @ (k * (beta * cum.exp())).to(dtype)
    last = cum[..., -1:, :]
    kept_k = (k * (last - cum).exp()).to(dtype).transpose(-1, -2)
    eye = torch.eye(d, device=q.device)
    state = m.states_before(eye * last.exp() - kept_k @ seen_k, (kept_k @ new_v).float()).to(dtype)
    out = (q * cum.exp()).to(dtype) @ state + attention @ (new_v - seen_k @ state)
    return out.reshape(b, h, t, d).transpose(1, 2)


class ForgetGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.f_a_proj, self.f_b_proj = projection(D, HIDDEN), projection(WIDTH, D)
        # Half-lives from a few tokens to about a thousand, as in the gated delta layers of the ratio family.
        dt = torch.exp(torch.empty(WIDTH).uniform_(math.log(0.001), math.log(0.1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.empty(1, 1, HEADS, 1).uniform_(1, 8)))


class KimiDelta(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (projection(WIDTH, HIDDEN) for _ in range(3))
        self.conv1d = nn.Conv1d(3 * WIDTH, 3 * WIDTH, CONFIG["linear_conv_kernel_dim"], groups=3 * WIDTH, bias=False)
        self.forget_gate = ForgetGate()
        self.b_proj = projection(HEADS, HIDDEN)
        self.g_a_proj, self.g_b_proj = projection(D, HIDDEN), projection(WIDTH, D)
        self.o_norm = Norm(D)
        self.o_proj = projection(HIDDEN, WIDTH)

    def forward(self, x, rope):
        b, t, _ = x.shape
        forget = self.forget_gate
        together = torch.cat([p.weight for p in (self.q_proj, self.k_proj, self.v_proj, forget.f_a_proj, self.g_a_proj)])
        mixed, f, z = linear(x, together).split((3 * WIDTH, D, D), -1)
        taps = self.conv1d.weight.to(mixed.dtype)[:, 0]
        padded = F.pad(mixed, (0, 0, 3, 0))
        mixed = F.silu(sum(padded[:, i:i + t] * taps[:, i] for i in range(4)))
        q, k, v = mixed.view(b, t, 3, HEADS, D).unbind(2)
        g = F.softplus(linear(f, forget.f_b_proj.weight).float() + forget.dt_bias).view(b, t, HEADS, D) * -forget.A_log.exp()
        beta = linear(x, self.b_proj.weight).float().sigmoid()
        out = kimi_delta_rule(q, k, v, g, beta)
        out = self.o_norm(out, linear(z, self.g_b_proj.weight).view(b, t, HEADS, D))
        return linear(out.reshape(b, t, -1), self.o_proj.weight)


class LatentAttention(nn.Module):
    """Nothing rotates: order comes from the delta layers."""

    def __init__(self):
        super().__init__()
        self.q_proj = projection(HEADS * (NOPE + SHARED), HIDDEN)
        self.kv_a_proj_with_mqa = projection(LATENT + SHARED, HIDDEN)
        self.kv_a_layernorm = Norm(LATENT)
        self.kv_b_proj = projection(HEADS * (NOPE + D), LATENT)
        self.o_proj = projection(HIDDEN, WIDTH)

    def forward(self, x, rope):
        b, t, _ = x.shape
        q = linear(x, self.q_proj.weight).view(b, t, HEADS, NOPE + SHARED)
        latent, shared = linear(x, self.kv_a_proj_with_mqa.weight).split((LATENT, SHARED), -1)
        k, v = linear(self.kv_a_layernorm(latent), self.kv_b_proj.weight).view(b, t, HEADS, NOPE + D).split((NOPE, D), -1)
        k = torch.cat((k, shared[:, :, None].expand(b, t, HEADS, SHARED)), -1)
        return linear(causal_attention(q, k, v).reshape(b, t, -1), self.o_proj.weight)


class KimiLinear(m.Model):
    norm = Norm

    def layers(self, types):
        for kind in types:
            yield m.Layer(kind, KimiDelta() if kind == LINEAR else LatentAttention(), norm=Norm)

    def rope(self, length, device):
        return {}

    def for_transformers(self, state):
        return dict(state)


# --- a sliding window with sinks (MiMo-V2) ----------------------------------------------------------------------------------------

# A small MiMo-V2: sizes of keys and values as 192 to 128, a third of a key rotates, full layers have half as many KV heads.
WINDOW, QUERY_HEADS, KEY_DIM, VALUE_DIM, ROTATED, SLIDING_THETA = 128, 4, 72, 48, 24, 10000.0
VALUE_SCALE = math.sqrt(HIDDEN / (QUERY_HEADS * VALUE_DIM))


def windowed_attention(q, k, v, sinks):
    """q, k, v (batch, time, heads, any): each query sees the WINDOW last keys, its own among them, and its head's sink, which
    takes its share of the softmax and gives nothing."""
    b, t, h, d = q.shape
    size = min(WINDOW, t)

    def blocks(x):
        return x.transpose(1, 2).reshape(b, h, t // size, size, -1)

    def with_before(x):
        x = F.pad(x.transpose(1, 2), (0, 0, size, 0)).reshape(b, h, t // size + 1, size, -1)
        return torch.cat((x[:, :, :-1], x[:, :, 1:]), 3)

    k, v = with_before(k), with_before(v)
    scores = (blocks(q) @ k.transpose(-1, -2)).float() * d**-0.5
    i, j = torch.arange(size, device=q.device)[:, None], torch.arange(2 * size, device=q.device)[None, :]
    seen = (j > i) & (j <= i + size)
    there = (torch.arange(t // size, device=q.device)[:, None, None] > 0) | (j >= size)
    scores = torch.where(seen & there, scores, -1e9)
    total = torch.logaddexp(scores.logsumexp(-1, keepdim=True), sinks.float()[:, None, None, None])
    out = (scores - total).exp().to(v.dtype) @ v
    return out.reshape(b, h, t, -1).transpose(1, 2)


class MiMoAttention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kv_heads = QUERY_HEADS if kind == SLIDING else QUERY_HEADS // 2
        self.q_proj = projection(QUERY_HEADS * KEY_DIM, HIDDEN)
        self.k_proj = projection(self.kv_heads * KEY_DIM, HIDDEN)
        self.v_proj = projection(self.kv_heads * VALUE_DIM, HIDDEN)
        self.o_proj = projection(HIDDEN, QUERY_HEADS * VALUE_DIM)
        self.sinks = nn.Parameter(torch.zeros(QUERY_HEADS)) if kind == SLIDING else None

    def forward(self, x, rope):
        b, t, _ = x.shape
        q = m.rotate(linear(x, self.q_proj.weight).view(b, t, QUERY_HEADS, KEY_DIM), *rope)
        k = m.rotate(linear(x, self.k_proj.weight).view(b, t, self.kv_heads, KEY_DIM), *rope)
        v = linear(x, self.v_proj.weight).view(b, t, self.kv_heads, VALUE_DIM) * VALUE_SCALE
        out = causal_attention(q, k, v) if self.sinks is None else windowed_attention(q, k, v, self.sinks)
        return linear(out.reshape(b, t, -1), self.o_proj.weight)


class MiMo(m.Model):
    norm = Norm

    def layers(self, types):
        for kind in types:
            yield m.Layer(kind, MiMoAttention(kind), norm=Norm)

    def rope(self, length, device):
        return {FULL: m.rope_table(length, device, ROTATED), SLIDING: m.rope_table(length, device, ROTATED, SLIDING_THETA)}

    def for_transformers(self, state):
        return dict(state)


# ---------------------------------------------------------------------------------------------------------------------------------

NETWORKS = {"1-7-lightning": MiniMax, "1-3-kda": KimiLinear, "1-7-window": MiMo}


def create(name, dtype=torch.bfloat16):
    return NETWORKS.get(name, m.Model)(name, dtype)
