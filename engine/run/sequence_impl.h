#pragma once
// What a Sequence is made of, for the two files that work on it: sequence.cpp and model.cpp.

#include "engine/backend/backend.h"
#include "engine/mixers/token_mixer.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace hs {

// Rows of width hidden that a token takes on its way through the layers: the residual stream, its
// normed copy, a mixer's output, and streams put aside by attention residuals.
constexpr std::int64_t kHeadRows = 6; // of the multi-token prediction head
inline std::int64_t activation_rows(const ModelSpec& spec) {
    const auto layers = static_cast<std::int64_t>(spec.layers.size());
    const std::int64_t aside =
        spec.residual_block > 0 ? (layers + spec.residual_block - 1) / spec.residual_block : 0;
    return 3 + aside + (spec.draft ? kHeadRows : 0);
}

struct Sequence::Impl {
    struct Snapshot {
        std::int64_t position = 0;
        std::vector<StateImage> images; // one per layer
        StateImage head;                // of the head's layer
        std::int64_t bytes = 0;
        bool in_passing = false;
    };

    Impl(std::shared_ptr<const Model> of, const SequenceOptions& with)
        : model(std::move(of))
        , options(with)
        , ledger(model->backend()) {}

    // A continuation that was left, to be taken up again: what followed position `from` there.
    struct Branch {
        std::int64_t from = 0;
        std::vector<std::int32_t> ids;             // all, from the beginning
        std::vector<std::vector<std::byte>> tails; // of the layers that can be cut, or empty
        std::vector<Snapshot> snapshots;           // after `from`
        std::vector<HeldReply> replies;            // that reach beyond `from`
        std::int64_t bytes = 0;                    // of all of it
    };

    std::shared_ptr<const Model> model;
    SequenceOptions options;
    StateLedger ledger;
    std::vector<std::unique_ptr<MixerState>> layers;
    std::vector<std::int32_t> ids;
    std::vector<Snapshot> snapshots; // in order of age
    std::vector<Branch> branches;    // in order of age
    std::vector<HeldReply> replies;
    // Multi-token prediction. The head's layer has seen the rows of all positions but the last, or
    // that too after a guess.
    struct Drafting {
        std::unique_ptr<MixerState> layer;
        std::unique_ptr<Buffer> rows; // (2, hidden): final rows of the last two positions
        std::int64_t hidden = 0;
        std::optional<std::int32_t> guessed_from; // the token draft() was told of

        float* row_before() const { return reinterpret_cast<float*>(rows->data()); }
        float* last_row() const { return row_before() + hidden; }
        // Drops what a guess, or the tokens of the last pass, added behind `positions`.
        Result<void> take_back_to(std::int64_t positions);
        // Goes back further. A layer that cannot be cut needs its image of there, and without one
        // begins anew: see Sequence::drafts().
        Result<void> restore(std::int64_t positions, const StateImage& saved);
    };
    std::optional<Drafting> drafting;
    std::unique_ptr<Buffer> activations;
    std::int64_t activation_tokens = 0;
    ChosenPositions chosen; // of the pass under way

    std::int64_t position() const { return static_cast<std::int64_t>(ids.size()); }
    bool can_cut() const;
    std::int64_t snapshot_bytes() const; // of snapshots and branches
    Snapshot image_of_now(bool in_passing) const;
    void keep_to_budget();
    void snapshot(bool in_passing);
    // Room for the activations of a pass, (activation_rows(spec), rows, hidden).
    Result<float*> room_for_activations(std::int64_t tokens);
    // Brings every layer to the latest state at or before `position`, also when a pass broke off
    // between layers.
    Result<std::int64_t> restore(std::int64_t position);
    // Where restore() would land.
    std::int64_t landing(std::int64_t position) const;
    // Keeps what lies behind `from` for later, if it is worth it and fits the budget.
    void set_aside(std::int64_t from);
    // Makes the sequence hold the first `reach` ids of a branch.
    Result<void> take_up(std::size_t branch, std::int64_t reach);
    Result<std::int64_t> keep_common_prefix(std::span<const std::int32_t> wanted,
                                            std::int64_t most);
};

} // namespace hs
