#include "engine/run/sequence.h"

#include "engine/run/sequence_impl.h"

#include <algorithm>
#include <numeric>

namespace hs {

// --- the parts -----------------------------------------------------------------------------------

bool Sequence::Impl::can_cut() const {
    return std::all_of(layers.begin(), layers.end(), [](const auto& l) { return l->can_cut(); });
}

std::int64_t Sequence::Impl::snapshot_bytes() const {
    return std::accumulate(snapshots.begin(), snapshots.end(), std::int64_t{0},
                           [](std::int64_t sum, const Snapshot& s) { return sum + s.bytes; });
}

Result<float*> Sequence::Impl::room_for_activations(std::int64_t tokens) {
    if (tokens > activation_tokens) {
        activations.reset(); // not both at once
        activation_tokens = 0;
        const ModelSpec& spec = model->spec();
        const std::int64_t bytes =
            activation_rows(spec) * tokens * spec.hidden * static_cast<std::int64_t>(sizeof(float));
        activations = TRY(model->backend().allocate(bytes).with_context("activations"));
        activation_tokens = tokens;
    }
    return reinterpret_cast<float*>(activations->data());
}

Result<std::int64_t> Sequence::Impl::restore(std::int64_t wanted) {
    wanted = std::clamp<std::int64_t>(wanted, 0, position());
    const Snapshot* best = nullptr;
    const bool everywhere = std::all_of(layers.begin(), layers.end(), [&](const auto& layer) {
        return layer->position() == wanted || (layer->can_cut() && layer->position() > wanted);
    });
    std::int64_t landed = everywhere ? wanted : 0;
    if (!everywhere) {
        for (const Snapshot& snapshot : snapshots) {
            if (snapshot.position <= wanted && snapshot.position >= landed) {
                best = &snapshot;
                landed = snapshot.position;
            }
        }
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        MixerState& layer = *layers[i];
        if (layer.position() == landed && everywhere) {
            continue;
        }
        StateImage empty;
        empty.position = landed;
        const bool cut = layer.can_cut() || best == nullptr;
        TRY(layer.restore(cut ? empty : best->images[i]));
    }
    ids.resize(static_cast<std::size_t>(landed));
    // What comes next need not be what came then, and would overwrite the caches of later ones.
    std::erase_if(snapshots, [&](const Snapshot& s) { return s.position > landed; });
    std::erase_if(replies, [&](const HeldReply& r) {
        return r.first + static_cast<std::int64_t>(r.ids.size()) > landed + 1;
    });
    return landed;
}

// --- the public face -----------------------------------------------------------------------------

Sequence::Sequence(std::unique_ptr<Impl> impl)
    : m_impl(std::move(impl)) {}

Sequence::~Sequence() = default;

Result<std::unique_ptr<Sequence>> Sequence::create(std::shared_ptr<const Model> model,
                                                   const SequenceOptions& options) {
    const StateOptions& state = options.state;
    if (state.context_tokens < 1) {
        return Error{ErrorCode::InvalidArgument,
                     "expected a context of at least one token, found " +
                         std::to_string(state.context_tokens),
                     {}};
    }
    if (state.kv_dtype != DType::F32 && state.kv_dtype != DType::F16 &&
        state.kv_dtype != DType::BF16) {
        return Error{ErrorCode::InvalidArgument,
                     std::string("expected a KV cache of F32, F16 or BF16, found ") +
                         to_string(state.kv_dtype),
                     {}};
    }
    auto impl = std::make_unique<Impl>(std::move(model), options);
    for (std::size_t i = 0; i < impl->model->spec().layers.size(); ++i) {
        impl->layers.push_back(TRY(impl->model->make_state(impl->ledger, i, state)));
    }
    return std::unique_ptr<Sequence>(new Sequence(std::move(impl)));
}

std::int64_t Sequence::position() const {
    return m_impl->position();
}

std::span<const std::int32_t> Sequence::ids() const {
    return m_impl->ids;
}

std::int64_t Sequence::context_limit() const {
    return m_impl->options.state.context_tokens;
}

const StateLedger& Sequence::ledger() const {
    return m_impl->ledger;
}

const Model& Sequence::model() const {
    return *m_impl->model;
}

StateEvent Sequence::state() const {
    StateEvent event;
    event.context_tokens = position();
    event.context_limit = context_limit();
    event.entries = m_impl->ledger.entries();
    event.snapshot_bytes = m_impl->snapshot_bytes();
    return event;
}

bool Sequence::can_cut() const {
    return m_impl->can_cut();
}

void Sequence::Impl::snapshot(bool in_passing) {
    const std::int64_t at = position();
    const auto here = std::find_if(snapshots.begin(), snapshots.end(),
                                   [&](const Snapshot& s) { return s.position == at; });
    if (here != snapshots.end()) {
        here->in_passing = here->in_passing && in_passing;
        return;
    }
    if (at == 0 || can_cut()) {
        return; // nothing to save where every layer can be cut
    }
    Snapshot saved;
    saved.position = at;
    saved.in_passing = in_passing;
    for (const auto& layer : layers) {
        saved.images.push_back(layer->image());
        saved.bytes += static_cast<std::int64_t>(saved.images.back().bytes.size());
    }
    if (in_passing) {
        std::erase_if(snapshots, [](const Snapshot& s) { return s.in_passing; });
    }
    snapshots.push_back(std::move(saved));
    std::int64_t total = snapshot_bytes();
    while (total > options.snapshot_budget_bytes && !snapshots.empty()) {
        total -= snapshots.front().bytes;
        snapshots.erase(snapshots.begin());
    }
}

void Sequence::snapshot() {
    m_impl->snapshot(false);
}

void Sequence::snapshot_in_passing() {
    m_impl->snapshot(true);
}

void Sequence::forget_snapshot_in_passing() {
    std::erase_if(m_impl->snapshots, [](const Impl::Snapshot& s) { return s.in_passing; });
}

std::vector<std::int64_t> Sequence::snapshot_positions() const {
    std::vector<std::int64_t> positions;
    if (can_cut()) {
        positions.resize(static_cast<std::size_t>(position()) + 1);
        std::iota(positions.begin(), positions.end(), std::int64_t{0});
        return positions;
    }
    positions.push_back(0);
    for (const Impl::Snapshot& snapshot : m_impl->snapshots) {
        positions.push_back(snapshot.position);
    }
    std::sort(positions.begin(), positions.end());
    return positions;
}

std::int64_t Sequence::snapshot_bytes() const {
    return m_impl->snapshot_bytes();
}

Result<std::int64_t> Sequence::restore(std::int64_t position) {
    return m_impl->restore(position);
}

Result<std::int64_t> Sequence::keep_common_prefix(std::span<const std::int32_t> ids) {
    const std::vector<std::int32_t>& held = m_impl->ids;
    const auto [mine, theirs] = std::mismatch(held.begin(), held.end(), ids.begin(), ids.end());
    return m_impl->restore(mine - held.begin());
}

void Sequence::note_reply(HeldReply reply) {
    HS_ASSERT(reply.first >= 0 && !reply.ids.empty());
    HS_ASSERT(reply.first + static_cast<std::int64_t>(reply.ids.size()) <= position() + 1);
    m_impl->replies.push_back(std::move(reply));
}

const std::vector<HeldReply>& Sequence::replies() const {
    return m_impl->replies;
}

} // namespace hs
