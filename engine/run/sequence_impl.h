#pragma once
// What a Sequence is made of, for the two files that work on it: sequence.cpp and model.cpp.

#include "engine/backend/backend.h"
#include "engine/mixers/token_mixer.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace hs {

// Rows of width hidden that a token takes on its way through the layers: the residual stream, its
// normed copy, a mixer's output, and streams put aside by attention residuals.
inline std::int64_t activation_rows(const ModelSpec& spec) {
    const auto layers = static_cast<std::int64_t>(spec.layers.size());
    return 3 +
           (spec.residual_block > 0 ? (layers + spec.residual_block - 1) / spec.residual_block : 0);
}

struct Sequence::Impl {
    struct Snapshot {
        std::int64_t position = 0;
        std::vector<StateImage> images; // one per layer
        std::int64_t bytes = 0;
        bool in_passing = false;
    };

    Impl(std::shared_ptr<const Model> of, const SequenceOptions& with)
        : model(std::move(of))
        , options(with)
        , ledger(model->backend()) {}

    std::shared_ptr<const Model> model;
    SequenceOptions options;
    StateLedger ledger;
    std::vector<std::unique_ptr<MixerState>> layers;
    std::vector<std::int32_t> ids;
    std::vector<Snapshot> snapshots; // in order of age
    std::vector<HeldReply> replies;
    std::unique_ptr<Buffer> activations;
    std::int64_t activation_tokens = 0;
    ChosenPositions chosen; // of the pass under way

    std::int64_t position() const { return static_cast<std::int64_t>(ids.size()); }
    bool can_cut() const;
    std::int64_t snapshot_bytes() const;
    void snapshot(bool in_passing);
    // Room for the activations of a pass, (activation_rows(spec), rows, hidden).
    Result<float*> room_for_activations(std::int64_t tokens);
    // Brings every layer to the latest state at or before `position`, also when a pass broke off
    // between layers.
    Result<std::int64_t> restore(std::int64_t position);
};

} // namespace hs
