#include "engine/run/sequence.h"

#include "engine/run/sequence_impl.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace hs {

// --- the parts -----------------------------------------------------------------------------------

bool Sequence::Impl::can_cut() const {
    return std::all_of(layers.begin(), layers.end(), [](const auto& l) { return l->can_cut(); });
}

std::int64_t Sequence::Impl::snapshot_bytes() const {
    std::int64_t bytes = 0;
    for (const Snapshot& snapshot : snapshots) {
        bytes += snapshot.bytes;
    }
    for (const Branch& branch : branches) {
        bytes += branch.bytes;
    }
    return bytes;
}

// Branches that were left go first: a way back along the present one is wanted more often.
void Sequence::Impl::keep_to_budget() {
    std::int64_t total = snapshot_bytes();
    const auto drop_oldest = [&](auto& from) {
        total -= from.front().bytes;
        from.erase(from.begin());
    };
    while (total > options.snapshot_budget_bytes && !branches.empty()) {
        drop_oldest(branches);
    }
    while (total > options.snapshot_budget_bytes && !snapshots.empty()) {
        drop_oldest(snapshots);
    }
}

Sequence::Impl::Snapshot Sequence::Impl::image_of_now(bool in_passing) const {
    Snapshot saved;
    saved.position = position();
    saved.in_passing = in_passing;
    for (const auto& layer : layers) {
        saved.images.push_back(layer->image());
        saved.bytes += static_cast<std::int64_t>(saved.images.back().bytes.size());
    }
    if (drafting) {
        saved.head = drafting->layer->image();
        saved.bytes += static_cast<std::int64_t>(saved.head.bytes.size());
    }
    return saved;
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

Result<void> Sequence::Impl::Drafting::take_back_to(std::int64_t positions) {
    guessed_from.reset();
    const std::int64_t back = layer->position() - std::max<std::int64_t>(0, positions);
    return back > 0 ? layer->take_back(back) : Result<void>();
}

Result<void> Sequence::Impl::Drafting::restore(std::int64_t positions, const StateImage& saved) {
    if (!layer->can_cut()) {
        TRY(layer->restore(saved));
        return take_back_to(positions); // the image may hold a guess
    }
    guessed_from.reset();
    StateImage cut;
    cut.position = std::max<std::int64_t>(0, positions);
    return cut.position < layer->position() ? layer->restore(cut) : Result<void>();
}

std::int64_t Sequence::Impl::landing(std::int64_t wanted) const {
    wanted = std::clamp<std::int64_t>(wanted, 0, position());
    const bool everywhere = std::all_of(layers.begin(), layers.end(), [&](const auto& layer) {
        return layer->position() == wanted || (layer->can_cut() && layer->position() > wanted);
    });
    std::int64_t landed = everywhere ? wanted : 0;
    for (const Snapshot& snapshot : snapshots) {
        if (!everywhere && snapshot.position <= wanted) {
            landed = std::max(landed, snapshot.position);
        }
    }
    return landed;
}

Result<std::int64_t> Sequence::Impl::restore(std::int64_t wanted) {
    const std::int64_t landed = landing(wanted);
    set_aside(landed);
    const auto best = std::find_if(snapshots.begin(), snapshots.end(),
                                   [&](const Snapshot& s) { return s.position == landed; });
    for (std::size_t i = 0; i < layers.size(); ++i) {
        MixerState& layer = *layers[i];
        if (layer.position() == landed) {
            continue;
        }
        StateImage empty;
        empty.position = landed;
        const bool cut = layer.can_cut() || best == snapshots.end();
        TRY(layer.restore(cut ? empty : best->images[i]));
    }
    if (drafting && landed < position()) {
        // The last row belongs to what is left: the head sees nothing in its place.
        TRY(drafting->restore(landed - 1, best != snapshots.end() ? best->head : StateImage()));
        const std::vector<std::byte> zero(static_cast<std::size_t>(drafting->rows->bytes()));
        model->backend().copy_in(drafting->rows->data(), zero);
    }
    ids.resize(static_cast<std::size_t>(landed));
    // What comes next need not be what came then, and would overwrite the caches of later ones.
    std::erase_if(snapshots, [&](const Snapshot& s) { return s.position > landed; });
    std::erase_if(replies, [&](const HeldReply& r) {
        return r.first + static_cast<std::int64_t>(r.ids.size()) > landed + 1;
    });
    return landed;
}

// --- branches ------------------------------------------------------------------------------------

namespace {

// Fewer tokens are read again as fast as they are put back.
constexpr std::int64_t kWorthKeeping = 8;

std::int64_t common(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
    return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

} // namespace

void Sequence::Impl::set_aside(std::int64_t from) {
    const std::int64_t end = position();
    const bool whole = std::all_of(layers.begin(), layers.end(),
                                   [&](const auto& layer) { return layer->position() == end; });
    if (end - from < kWorthKeeping || !whole) {
        return; // too little, or a pass broke off between the layers
    }
    Branch branch;
    branch.from = from;
    branch.ids = ids;
    for (const Snapshot& snapshot : snapshots) {
        if (snapshot.position > from && !snapshot.in_passing) {
            branch.snapshots.push_back(snapshot);
        }
    }
    if (!can_cut() && (branch.snapshots.empty() || branch.snapshots.back().position != end)) {
        branch.snapshots.push_back(image_of_now(false));
    }
    for (const Snapshot& snapshot : branch.snapshots) {
        branch.bytes += snapshot.bytes;
    }
    if (branch.bytes > options.snapshot_budget_bytes) {
        return;
    }
    for (const auto& layer : layers) {
        branch.tails.push_back(layer->can_cut() ? layer->tail(from) : std::vector<std::byte>());
        branch.bytes += static_cast<std::int64_t>(branch.tails.back().size());
    }
    for (const HeldReply& reply : replies) {
        if (reply.first + static_cast<std::int64_t>(reply.ids.size()) > from + 1) {
            branch.replies.push_back(reply);
        }
    }
    if (branch.bytes <= options.snapshot_budget_bytes) {
        std::erase_if(branches, [&](const Branch& old) { return old.ids == branch.ids; });
        branches.push_back(std::move(branch));
    }
}

Result<void> Sequence::Impl::take_up(std::size_t index, std::int64_t reach) {
    Branch branch = std::move(branches[index]);
    branches.erase(branches.begin() + static_cast<std::ptrdiff_t>(index));
    set_aside(branch.from);
    const auto saved = std::find_if(branch.snapshots.begin(), branch.snapshots.end(),
                                    [&](const Snapshot& s) { return s.position == reach; });
    for (std::size_t i = 0; i < layers.size(); ++i) {
        MixerState& layer = *layers[i];
        if (layer.can_cut()) {
            StateImage cut;
            cut.position = branch.from;
            TRY(layer.restore(cut));
            TRY(layer.add_tail(reach, branch.tails[i]));
        } else {
            HS_ASSERT(saved != branch.snapshots.end());
            TRY(layer.restore(saved->images[i]));
        }
    }
    if (drafting) {
        TRY(drafting->restore(branch.from - 1, {}));
    }
    ids.assign(branch.ids.begin(), branch.ids.begin() + reach);
    std::erase_if(snapshots, [&](const Snapshot& s) { return s.position > branch.from; });
    for (Snapshot& snapshot : branch.snapshots) {
        if (snapshot.position <= reach) {
            snapshots.push_back(std::move(snapshot));
        }
    }
    const auto reaches_beyond = [](const HeldReply& r, std::int64_t position) {
        return r.first + static_cast<std::int64_t>(r.ids.size()) > position + 1;
    };
    std::erase_if(replies, [&](const HeldReply& r) { return reaches_beyond(r, branch.from); });
    for (HeldReply& reply : branch.replies) {
        if (!reaches_beyond(reply, reach)) {
            replies.push_back(std::move(reply));
        }
    }
    keep_to_budget();
    return {};
}

Result<std::int64_t> Sequence::Impl::keep_common_prefix(std::span<const std::int32_t> wanted,
                                                        std::int64_t most) {
    const auto shared = [&](const std::vector<std::int32_t>& held) {
        return std::min(most, common(held, wanted));
    };
    std::int64_t best = landing(shared(ids));
    std::optional<std::size_t> taken;
    for (std::size_t i = 0; i < branches.size(); ++i) {
        const Branch& branch = branches[i];
        const std::int64_t same = shared(branch.ids);
        if (same <= branch.from || common(ids, branch.ids) < branch.from) {
            continue; // parts from it before it begins
        }
        std::int64_t reach = can_cut() ? same : 0;
        for (const Snapshot& snapshot : branch.snapshots) {
            if (snapshot.position <= same) {
                reach = std::max(reach, snapshot.position);
            }
        }
        if (reach > best) {
            best = reach;
            taken = i;
        }
    }
    if (!taken) {
        return restore(shared(ids));
    }
    TRY(take_up(*taken, best));
    return best;
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
    if (options.draft && impl->model->can_draft()) {
        Impl::Drafting drafting;
        const ModelSpec& spec = impl->model->spec();
        drafting.layer = TRY(impl->model->make_state(impl->ledger, spec.layers.size(), state));
        drafting.hidden = spec.hidden;
        drafting.rows = TRY(impl->model->backend().allocate(
            2 * spec.hidden * static_cast<std::int64_t>(sizeof(float))));
        impl->drafting = std::move(drafting);
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
    Snapshot saved = image_of_now(in_passing);
    if (in_passing) {
        std::erase_if(snapshots, [](const Snapshot& s) { return s.in_passing; });
    }
    snapshots.push_back(std::move(saved));
    keep_to_budget();
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

Result<void> Sequence::take_back(std::int64_t tokens) {
    HS_ASSERT(tokens >= 0 && tokens <= position());
    for (const auto& layer : m_impl->layers) {
        TRY(layer->take_back(tokens));
    }
    m_impl->ids.resize(m_impl->ids.size() - static_cast<std::size_t>(tokens));
    if (m_impl->drafting && tokens > 0) {
        HS_ASSERT(tokens == 1); // two rows are kept
        Impl::Drafting& drafting = *m_impl->drafting;
        TRY(drafting.take_back_to(position() - 1));
        m_impl->model->backend().copy(reinterpret_cast<std::byte*>(drafting.last_row()),
                                      reinterpret_cast<const std::byte*>(drafting.row_before()),
                                      drafting.hidden * static_cast<std::int64_t>(sizeof(float)));
    }
    return {};
}

bool Sequence::drafts() const {
    // A branch that was taken up is new to the head.
    return m_impl->drafting && m_impl->drafting->layer->position() + 1 >= position();
}

Result<std::int64_t> Sequence::restore(std::int64_t position) {
    auto landed = m_impl->restore(position);
    m_impl->keep_to_budget();
    return landed;
}

Result<std::int64_t> Sequence::keep_common_prefix(std::span<const std::int32_t> ids,
                                                  std::int64_t most) {
    auto kept = m_impl->keep_common_prefix(ids, most);
    m_impl->keep_to_budget();
    return kept;
}

void Sequence::note_reply(HeldReply reply) {
    HS_ASSERT(reply.first >= 0 && !reply.ids.empty());
    HS_ASSERT(reply.first + static_cast<std::int64_t>(reply.ids.size()) <= position() + 1);
    m_impl->replies.push_back(std::move(reply));
}

std::vector<Sequence::Text> Sequence::texts() const {
    std::vector<Text> all{{m_impl->ids, m_impl->replies}};
    for (const Impl::Branch& branch : m_impl->branches) {
        all.push_back({branch.ids, branch.replies});
    }
    return all;
}

} // namespace hs
