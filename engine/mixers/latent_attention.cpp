// Latent attention (MLA), dense or sparse. What is cached is one compressed row per position; keys
// and values of the heads are never written out: queries go down to the latent space, attention
// reads latent rows as keys and values of all heads at once, and what it reads comes up again
// (the absorbed form of softmax.md section 3.1).

#include "engine/mixers/mixers.h"
#include "engine/state/softmax_cache.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace hs {
namespace {

class LatentState final : public MixerState {
public:
    LatentState(SoftmaxCache rows, std::optional<SoftmaxCache> index)
        : m_rows(rows)
        , m_index(index) {}

    std::int64_t position() const override { return m_rows.position(); }
    bool can_cut() const override { return true; }
    StateImage image() const override { return {m_rows.position(), {}}; }
    Result<void> restore(const StateImage& image) override {
        HS_ASSERT(image.position <= m_rows.position());
        set_position(image.position);
        return {};
    }

    Result<void> take_back(std::int64_t tokens) override {
        set_position(position() - tokens);
        return {};
    }
    // Of the rows, then of the indexer's keys.
    std::vector<std::byte> tail(std::int64_t from) const override {
        std::vector<std::byte> bytes = m_rows.copy_tail(from);
        if (m_index) {
            const std::vector<std::byte> more = m_index->copy_tail(from);
            bytes.insert(bytes.end(), more.begin(), more.end());
        }
        return bytes;
    }
    Result<void> add_tail(std::int64_t to, std::span<const std::byte> bytes) override {
        const auto row = static_cast<std::size_t>(m_rows.position_bytes());
        const std::size_t key = m_index ? static_cast<std::size_t>(m_index->position_bytes()) : 0;
        const std::size_t rows = bytes.size() / (row + key) * row;
        TRY(m_rows.add_tail(to, bytes.first(rows)));
        if (m_index) {
            TRY(m_index->add_tail(to, bytes.subspan(rows)));
        }
        return {};
    }

    Result<void> make_room(std::int64_t positions) {
        TRY(m_rows.make_room(positions));
        if (m_index) {
            TRY(m_index->make_room(positions));
        }
        return {};
    }
    void set_position(std::int64_t position) {
        m_rows.set_position(position);
        if (m_index) {
            m_index->set_position(position);
        }
    }
    const SoftmaxCache& rows() const { return m_rows; }
    const SoftmaxCache& index() const { return *m_index; }

private:
    SoftmaxCache m_rows;
    std::optional<SoftmaxCache> m_index; // keys of the indexer
};

class LatentAttention final : public TokenMixer {
public:
    LatentSpec m_spec;
    float m_eps = 1e-6f;
    Weight m_q_a, m_q, m_kv_a, m_k_b, m_v_b, m_o, m_gate; // m_q: from the compressed query, or x
    std::span<const float> m_q_norm, m_kv_norm;
    RopeTable m_rope;
    Weight m_index_q, m_index_k, m_index_weights;
    std::span<const float> m_index_norm, m_index_norm_bias;
    RopeTable m_index_rope;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions& options) const override {
        const auto cache = [&](StateKind kind, std::int64_t values) {
            return SoftmaxCache::create(ledger, layer, {.kind = kind, .keys = values},
                                        options.kv_dtype, options.context_tokens);
        };
        const SoftmaxCache rows = TRY(cache(StateKind::LatentCache, m_spec.cached_dim()));
        std::optional<SoftmaxCache> index;
        if (m_spec.indexer) {
            index = TRY(cache(StateKind::IndexerKeys, m_spec.indexer->head_dim));
        }
        return std::unique_ptr<MixerState>(std::make_unique<LatentState>(rows, index));
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        auto& held = static_cast<LatentState&>(state);
        const LatentSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        const std::int64_t first = step.first_position;
        HS_ASSERT(first == held.position());
        TRY(held.make_room(first + tokens));

        // Queries, and the row to keep: [latent | shared key with position].
        const View<float, 2> row = backend.scratch(tokens, s.cached_dim());
        const View<float, 2> queries = backend.scratch(tokens, s.query_heads * s.query_dim());
        View<const float, 2> query_source = x;
        std::vector<Product> products{{m_kv_a, row, nullptr}};
        View<float, 2> gate;
        if (s.output_gate) {
            gate = backend.scratch(tokens, s.query_heads * s.value_dim);
            products.push_back({m_gate, gate, nullptr});
        }
        if (s.query_rank > 0) {
            const View<float, 2> compressed = backend.scratch(tokens, s.query_rank);
            products.push_back({m_q_a, compressed, nullptr});
            backend.matmul(x, products);
            backend.rms_norm(compressed, m_q_norm, m_eps, compressed);
            backend.matmul(compressed, m_q, queries);
            query_source = compressed;
        } else {
            products.push_back({m_q, queries, nullptr});
            backend.matmul(x, products);
        }
        const View<float, 2> latent(row.data, {tokens, s.kv_rank}, {row.stride[0], 1});
        backend.rms_norm(latent, m_kv_norm, m_eps, latent);
        if (s.rope.dims > 0) {
            backend.rope(heads(queries, s.query_dim(), s.nope_dim, s.rope_dim), m_rope, first);
            backend.rope(View<float, 3>(row.data + s.kv_rank, {tokens, 1, s.rope_dim},
                                        {row.stride[0], s.rope_dim, 1}),
                         m_rope, first);
        }
        const SoftmaxCache& rows = held.rows();
        backend.append_kv(View<const float, 3>(row.data, {tokens, 1, s.cached_dim()},
                                               {row.stride[0], s.cached_dim(), 1}),
                          rows.dtype(), rows.keys(), first, 0);

        AttentionOp op;
        op.cache_dtype = rows.dtype();
        op.keys = rows.keys();
        op.values = rows.keys();
        op.kv_heads = 1;
        op.head_dim = s.cached_dim();
        op.value_head_dim = s.kv_rank;
        op.scale = static_cast<float>(s.scale);
        if (s.indexer) {
            TRY(choose(backend, x, query_source, held.index(), step, op));
        } else if (s.shares_choice) {
            TRY(take_choice(step, op));
        }

        // Some tokens at a time: 512 tokens of 128 heads would take 300 MB at once.
        const View<float, 2> mixed = backend.scratch(tokens, s.query_heads * s.value_dim);
        const std::int64_t block =
            std::clamp<std::int64_t>(kBlockRows / s.query_heads, std::int64_t{1}, tokens);
        const View<float, 2> absorbed = backend.scratch(block, s.query_heads * s.cached_dim());
        const View<float, 2> read = backend.scratch(block, s.query_heads * s.kv_rank);
        const std::int32_t* const chosen = op.chosen;
        for (std::int64_t t = 0; t < tokens; t += block) {
            const std::int64_t count = std::min(block, tokens - t);
            const View<float, 2> q = queries.slice(t, count);
            // Queries in the coordinates of the rows: [down to the latent | with position as they
            // are].
            const View<float, 2> down = absorbed.slice(0, count);
            backend.matmul_heads(heads(q, s.query_dim(), 0, s.nope_dim), m_k_b,
                                 heads(down, s.cached_dim(), 0, s.kv_rank));
            backend.copy_columns(heads(q, s.query_dim(), s.nope_dim, s.rope_dim),
                                 heads(down, s.cached_dim(), s.kv_rank, s.rope_dim));
            op.q = heads(down, s.cached_dim(), 0, s.cached_dim());
            op.length = first + t + count;
            op.chosen = chosen != nullptr ? chosen + t * op.chosen_most : nullptr;
            op.out = heads(read.slice(0, count), s.kv_rank, 0, s.kv_rank);
            backend.attention(op);
            backend.matmul_heads(op.out, m_v_b,
                                 heads(mixed.slice(t, count), s.value_dim, 0, s.value_dim));
        }
        held.set_position(first + tokens);
        if (s.output_gate) {
            backend.sigmoid_gate(heads(mixed, s.value_dim, 0, s.value_dim),
                                 heads(gate, s.value_dim, 0, s.value_dim));
        }
        backend.matmul(mixed, m_o, out);
        return {};
    }

private:
    // Columns [first, first + count) of every head, heads `width` apart.
    View<float, 3> heads(View<float, 2> rows, std::int64_t width, std::int64_t first,
                         std::int64_t count) const {
        return {rows.data + first,
                {rows.extent[0], rows.extent[1] / width, count},
                {rows.stride[0], width, 1}};
    }

    // Keeps the indexer's keys of these tokens, and says which positions each of them reads.
    Result<void> choose(Backend& backend, View<const float, 2> x, View<const float, 2> query_source,
                        const SoftmaxCache& cache, const Step& step, AttentionOp& attention) const {
        const IndexerSpec& s = *m_spec.indexer;
        const std::int64_t tokens = x.extent[0];
        const std::int64_t first = step.first_position;
        const View<float, 2> q = backend.scratch(tokens, s.heads * s.head_dim);
        const View<float, 2> k = backend.scratch(tokens, s.head_dim);
        const View<float, 2> weights = backend.scratch(tokens, s.heads);
        const std::array<Product, 2> products{
            {{m_index_k, k, nullptr}, {m_index_weights, weights, nullptr}}};
        backend.matmul(x, products);
        backend.matmul(query_source, m_index_q, q);
        backend.layer_norm(k, m_index_norm, m_index_norm_bias, kIndexNormEps, k);
        if (s.rope.dims > 0) {
            backend.rope(heads(q, s.head_dim, 0, s.head_dim), m_index_rope, first);
            backend.rope(heads(k, s.head_dim, 0, s.head_dim), m_index_rope, first);
        }
        backend.scale(weights, static_cast<float>(
                                   1.0 / std::sqrt(static_cast<double>(s.heads * s.head_dim))));
        backend.append_kv(heads(k, s.head_dim, 0, s.head_dim), cache.dtype(), cache.keys(), first,
                          0);
        if (step.chosen != nullptr) {
            step.chosen->positions = nullptr;
            step.chosen->most = s.top_k;
        }
        if (first + tokens <= s.top_k) {
            return {}; // all of them
        }
        ChooseKeysOp op;
        op.q = heads(q, s.head_dim, 0, s.head_dim);
        op.weights = weights;
        op.cache_dtype = cache.dtype();
        op.keys = cache.keys();
        op.length = first + tokens;
        op.most = s.top_k;
        static_assert(sizeof(std::int32_t) == sizeof(float)); // a position takes a float's room
        if (step.chosen != nullptr) {
            op.chosen = TRY(room_for_choice(backend, *step.chosen, tokens * s.top_k));
            step.chosen->positions = op.chosen;
        } else {
            op.chosen = reinterpret_cast<std::int32_t*>(backend.scratch(tokens, s.top_k).data);
        }
        backend.choose_keys(op);
        attention.chosen = op.chosen;
        attention.chosen_most = s.top_k;
        return {};
    }

    // Scratch memory ends with the layer; what the layers behind it read has to last longer.
    static Result<std::int32_t*> room_for_choice(Backend& backend, ChosenPositions& chosen,
                                                 std::int64_t count) {
        const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(std::int32_t));
        if (chosen.memory == nullptr || chosen.memory->bytes() < bytes) {
            chosen.memory = nullptr;
            chosen.memory = TRY(backend.allocate(bytes));
        }
        return reinterpret_cast<std::int32_t*>(chosen.memory->data());
    }

    static Result<void> take_choice(const Step& step, AttentionOp& attention) {
        if (step.chosen == nullptr || step.chosen->most == 0) {
            return Error{ErrorCode::InvalidArgument,
                         "layer " + std::to_string(step.layer) +
                             " reads the positions that a layer before it chose, and none has an "
                             "indexer",
                         "Begin the schedule with a layer that has one."};
        }
        attention.chosen = step.chosen->positions;
        attention.chosen_most = step.chosen->most;
        return {};
    }

    static constexpr std::int64_t kBlockRows = 8192; // heads of tokens
    static constexpr float kIndexNormEps = 1e-6f;    // softmax.md section 3.2
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_latent_attention(const TokenMixerSpec& spec,
                                                          const MixerContext& context) {
    const auto& s = std::get<LatentSpec>(spec);
    auto mixer = std::make_unique<LatentAttention>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(s.latent_norm_eps > 0 ? s.latent_norm_eps : context.norm_eps);
    const std::int64_t query_rows = s.query_heads * s.query_dim();
    if (s.query_rank > 0) {
        mixer->m_q_a = TRY(context.matrix("q_a", s.query_rank, context.hidden));
        mixer->m_q_norm = TRY(context.vector("q_a_norm", s.query_rank));
        mixer->m_q = TRY(context.matrix("q_b", query_rows, s.query_rank));
    } else {
        mixer->m_q = TRY(context.matrix("q", query_rows, context.hidden));
    }
    mixer->m_kv_a = TRY(context.matrix("kv_a", s.cached_dim(), context.hidden));
    mixer->m_kv_norm = TRY(context.vector("kv_a_norm", s.kv_rank));
    mixer->m_k_b = TRY(context.matrix("k_b", s.query_heads * s.kv_rank, s.nope_dim));
    mixer->m_v_b = TRY(context.matrix("v_b", s.query_heads * s.value_dim, s.kv_rank));
    mixer->m_o = TRY(context.matrix("o", context.hidden, s.query_heads * s.value_dim));
    if (s.output_gate) {
        mixer->m_gate = TRY(context.matrix("gate", s.query_heads * s.value_dim, context.hidden));
    }
    if (s.rope.dims > 0) {
        mixer->m_rope = make_rope_table(s.rope);
    }
    if (s.indexer) {
        const IndexerSpec& index = *s.indexer;
        const std::int64_t width = s.query_rank > 0 ? s.query_rank : context.hidden;
        mixer->m_index_q = TRY(context.matrix("indexer.q", index.heads * index.head_dim, width));
        mixer->m_index_k = TRY(context.matrix("indexer.k", index.head_dim, context.hidden));
        mixer->m_index_weights =
            TRY(context.matrix("indexer.weights", index.heads, context.hidden));
        mixer->m_index_norm = TRY(context.vector("indexer.k_norm", index.head_dim));
        mixer->m_index_norm_bias = TRY(context.vector("indexer.k_norm_bias", index.head_dim));
        if (index.rope.dims > 0) {
            mixer->m_index_rope = make_rope_table(index.rope);
        }
    }
    return std::unique_ptr<TokenMixer>(std::move(mixer));
}

} // namespace hs
