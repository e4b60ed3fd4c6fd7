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
    std::int64_t activation_rows = 0;

    std::int64_t position() const { return static_cast<std::int64_t>(ids.size()); }
    bool can_cut() const;
    std::int64_t snapshot_bytes() const;
    void snapshot(bool in_passing);
    // Room for the residual stream, its normed copy and a mixer's output, (3, rows, hidden).
    Result<float*> room_for_activations(std::int64_t rows);
    // Brings every layer to the latest state at or before `position`, also when a pass broke off
    // between layers.
    Result<std::int64_t> restore(std::int64_t position);
};

} // namespace hs
