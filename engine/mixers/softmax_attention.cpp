// Softmax attention over a KV cache: grouped queries, optional norms of queries and keys, partial
// rotation, a gate on the output, a sliding window.

#include "engine/mixers/mixers.h"
#include "engine/state/softmax_cache.h"

#include <algorithm>
#include <array>

namespace hs {
namespace {

class SoftmaxState final : public MixerState {
public:
    explicit SoftmaxState(SoftmaxCache cache)
        : m_cache(cache) {}

    std::int64_t position() const override { return m_cache.position(); }
    bool can_cut() const override { return m_cache.ring() == 0; }
    StateImage image() const override {
        StateImage image;
        image.position = m_cache.position();
        if (!can_cut()) {
            image.bytes = m_cache.copy_ring();
        }
        return image;
    }
    Result<void> restore(const StateImage& image) override {
        if (!can_cut()) {
            return m_cache.restore_ring(image.position, image.bytes);
        }
        HS_ASSERT(image.position <= m_cache.position());
        m_cache.set_position(image.position);
        return {};
    }

    // A ring has room beside its window: what a few tokens overwrote is no longer seen.
    Result<void> take_back(std::int64_t tokens) override {
        HS_ASSERT(can_cut() || tokens <= kRingSlack);
        m_cache.set_position(m_cache.position() - tokens);
        return {};
    }
    std::vector<std::byte> tail(std::int64_t from) const override {
        return m_cache.copy_tail(from);
    }
    Result<void> add_tail(std::int64_t to, std::span<const std::byte> bytes) override {
        return m_cache.add_tail(to, bytes);
    }

    SoftmaxCache& cache() { return m_cache; }

private:
    SoftmaxCache m_cache;
};

class SoftmaxAttention final : public TokenMixer {
public:
    SoftmaxSpec m_spec;
    float m_eps = 1e-6f;
    Weight m_q, m_k, m_v, m_o;
    std::span<const float> m_q_bias, m_k_bias, m_v_bias, m_o_bias;
    std::span<const float> m_q_norm, m_k_norm;
    std::span<const float> m_sinks;
    RopeTable m_rope;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions& options) const override {
        const SoftmaxCache cache = TRY(SoftmaxCache::create(
            ledger, layer, cache_shape(m_spec), options.kv_dtype, options.context_tokens));
        return std::unique_ptr<MixerState>(std::make_unique<SoftmaxState>(cache));
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        SoftmaxCache& cache = static_cast<SoftmaxState&>(state).cache();
        const SoftmaxSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        HS_ASSERT(step.first_position == cache.position());
        TRY(cache.make_room(step.first_position + tokens));

        const std::int64_t query_width = s.head_dim * (s.output_gate ? 2 : 1);
        const View<float, 2> q_rows = backend.scratch(tokens, s.query_heads * query_width);
        const View<float, 2> k_rows = backend.scratch(tokens, s.kv_heads * s.head_dim);
        const View<float, 2> v_rows = backend.scratch(tokens, s.kv_heads * s.value_head_dim);
        const std::array<Product, 3> products{{{m_q, q_rows, data_or_null(m_q_bias)},
                                               {m_k, k_rows, data_or_null(m_k_bias)},
                                               {m_v, v_rows, data_or_null(m_v_bias)}}};
        backend.matmul(x, products);

        // Heads as (T, heads, dim); a gated head is [query | gate], so its queries have a stride.
        const View<float, 3> q(q_rows.data, {tokens, s.query_heads, s.head_dim},
                               {q_rows.stride[0], query_width, 1});
        const View<float, 3> gate(q_rows.data + s.head_dim, {tokens, s.query_heads, s.head_dim},
                                  {q_rows.stride[0], query_width, 1});
        const View<float, 3> k(k_rows.data, {tokens, s.kv_heads, s.head_dim},
                               {k_rows.stride[0], s.head_dim, 1});
        const View<float, 3> v(v_rows.data, {tokens, s.kv_heads, s.value_head_dim},
                               {v_rows.stride[0], s.value_head_dim, 1});
        norm_heads(backend, q_rows, k_rows, query_width);
        if (s.rope.dims > 0) {
            backend.rope(q, m_rope, step.first_position);
            backend.rope(k, m_rope, step.first_position);
        }

        const View<float, 2> mixed = backend.scratch(tokens, s.query_heads * s.value_head_dim);
        attend(backend, q, k, v, cache, step.first_position, mixed);
        cache.set_position(step.first_position + tokens);
        if (s.value_scale != 1.0) { // of the sum instead of every value: caches stay plain
            backend.scale(mixed, static_cast<float>(s.value_scale));
        }
        if (s.output_gate) {
            const View<float, 3> heads(mixed.data, {tokens, s.query_heads, s.value_head_dim},
                                       {mixed.stride[0], s.value_head_dim, 1});
            backend.sigmoid_gate(heads, gate);
        }
        const Product output{m_o, out, data_or_null(m_o_bias)};
        backend.matmul(mixed, {&output, 1});
        return {};
    }

private:
    static const float* data_or_null(std::span<const float> values) {
        return values.empty() ? nullptr : values.data();
    }

    void norm_heads(Backend& backend, View<float, 2> q_rows, View<float, 2> k_rows,
                    std::int64_t query_width) const {
        const SoftmaxSpec& s = m_spec;
        if (s.qk_norm == QkNorm::PerHead) {
            // Every head is a row of its own; q_rows is contiguous, so heads lie query_width apart.
            const View<float, 2> q_heads(
                q_rows.data, {q_rows.extent[0] * s.query_heads, s.head_dim}, {query_width, 1});
            const View<float, 2> k_heads(k_rows.data, {k_rows.extent[0] * s.kv_heads, s.head_dim},
                                         {s.head_dim, 1});
            HS_ASSERT(q_rows.contiguous() && k_rows.contiguous());
            backend.rms_norm(q_heads, m_q_norm, m_eps, q_heads);
            backend.rms_norm(k_heads, m_k_norm, m_eps, k_heads);
        } else if (s.qk_norm == QkNorm::AllHeads) {
            backend.rms_norm(q_rows, m_q_norm, m_eps, q_rows);
            backend.rms_norm(k_rows, m_k_norm, m_eps, k_rows);
        }
    }

    // Appends keys and values and attends; a ring takes no more at once than it has slots beside
    // the window.
    void attend(Backend& backend, View<const float, 3> q, View<const float, 3> k,
                View<const float, 3> v, const SoftmaxCache& cache, std::int64_t first_position,
                View<float, 2> mixed) const {
        const SoftmaxSpec& s = m_spec;
        const std::int64_t tokens = q.extent[0];
        const std::int64_t most = cache.ring() > 0 ? cache.ring() - s.window + 1 : tokens;
        for (std::int64_t first = 0; first < tokens; first += most) {
            const std::int64_t count = std::min(most, tokens - first);
            const std::int64_t at = first_position + first;
            backend.append_kv(k.slice(first, count), cache.dtype(), cache.keys(), at, cache.ring());
            backend.append_kv(v.slice(first, count), cache.dtype(), cache.values(), at,
                              cache.ring());
            AttentionOp op;
            op.q = q.slice(first, count);
            op.cache_dtype = cache.dtype();
            op.keys = cache.keys();
            op.values = cache.values();
            op.length = at + count;
            op.ring = cache.ring();
            op.kv_heads = s.kv_heads;
            op.head_dim = s.head_dim;
            op.value_head_dim = s.value_head_dim;
            op.scale = static_cast<float>(s.scale);
            op.window = s.window;
            op.sinks = data_or_null(m_sinks);
            op.out = View<float, 3>(mixed.data + first * mixed.stride[0],
                                    {count, s.query_heads, s.value_head_dim},
                                    {mixed.stride[0], s.value_head_dim, 1});
            backend.attention(op);
        }
    }
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_softmax_attention(const TokenMixerSpec& spec,
                                                           const MixerContext& context) {
    const auto& s = std::get<SoftmaxSpec>(spec);
    auto mixer = std::make_unique<SoftmaxAttention>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(context.norm_eps);
    const std::int64_t query_rows = s.query_heads * s.head_dim * (s.output_gate ? 2 : 1);
    const std::int64_t key_rows = s.kv_heads * s.head_dim;
    const std::int64_t value_rows = s.kv_heads * s.value_head_dim;
    if (s.output_gate && s.value_head_dim != s.head_dim) {
        return Error{ErrorCode::Unsupported,
                     context.prefix + ": a gated output expects values as wide as queries",
                     {}};
    }
    mixer->m_q = TRY(context.matrix("q", query_rows, context.hidden));
    mixer->m_k = TRY(context.matrix("k", key_rows, context.hidden));
    mixer->m_v = TRY(context.matrix("v", value_rows, context.hidden));
    mixer->m_o = TRY(context.matrix("o", context.hidden, s.query_heads * s.value_head_dim));
    if (s.qkv_bias) {
        mixer->m_q_bias = TRY(context.vector("q_bias", query_rows));
        mixer->m_k_bias = TRY(context.vector("k_bias", key_rows));
        mixer->m_v_bias = TRY(context.vector("v_bias", value_rows));
    }
    if (s.output_bias) {
        mixer->m_o_bias = TRY(context.vector("o_bias", context.hidden));
    }
    if (s.sinks) {
        mixer->m_sinks = TRY(context.vector("sinks", s.query_heads));
    }
    if (s.qk_norm != QkNorm::None) {
        const bool per_head = s.qk_norm == QkNorm::PerHead;
        mixer->m_q_norm = TRY(context.vector("q_norm", per_head ? s.head_dim : query_rows));
        mixer->m_k_norm = TRY(context.vector("k_norm", per_head ? s.head_dim : key_rows));
    }
    if (s.rope.dims > 0) {
        mixer->m_rope = make_rope_table(s.rope);
        for (std::size_t i = 0; i < s.rope.divisors.size(); ++i) {
            mixer->m_rope.inverse_frequency[i] /= s.rope.divisors[i];
        }
    }
    return std::unique_ptr<TokenMixer>(std::move(mixer));
}

} // namespace hs
