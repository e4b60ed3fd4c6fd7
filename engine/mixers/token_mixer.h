#pragma once
// The seam of the engine: a token mixer is const and shared, its state is an argument. A new mixer
// is one file and one row in mixers.cpp.

#include "engine/backend/backend.h"
#include "engine/core/result.h"
#include "engine/spec/model_spec.h"
#include "engine/state/ledger.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Precision and extent of what a sequence keeps.
struct StateOptions {
    DType kv_dtype = DType::F16;        // F32, F16 or BF16
    std::int64_t context_tokens = 4096; // the most it may hold; reserved, not committed

    bool operator==(const StateOptions&) const = default;
};

// Hook a mixer shows its insides to; empty members cost nothing.
struct Tap {
    // (T, heads) values of a linear mixer, row-major: what is kept, and how strongly it writes.
    std::function<void(int layer, std::int64_t first_position, std::int64_t tokens,
                       std::int64_t heads, const float* decay, const float* beta)>
        gates;
    // (T, top_k) chosen experts.
    std::function<void(int layer, std::int64_t first_position, std::int64_t tokens,
                       std::int64_t top_k, const std::int32_t* experts)>
        experts;
};

// A saved copy of one layer's state. Recurrent states are whole; softmax caches are kept by length
// alone, since what they hold is never overwritten (position is enough).
struct StateImage {
    std::int64_t position = 0;
    std::vector<std::byte> bytes; // empty for what can be cut
};

// The state of one layer of one sequence.
class MixerState {
public:
    virtual ~MixerState() = default;
    virtual std::int64_t position() const = 0;
    // True when the state can be cut back to any earlier position.
    virtual bool can_cut() const = 0;
    // Copies what a later restore needs. Cheap where can_cut().
    virtual StateImage image() const = 0;
    // Returns to an image of an earlier position, or back to nothing for position 0 (empty image).
    virtual Result<void> restore(const StateImage& image) = 0;
    // Where can_cut(): what positions [from, position()) hold, to be put back by add_tail().
    virtual std::vector<std::byte> tail(std::int64_t from) const;
    // `bytes` are a tail from where the state stands now; afterwards it stands at `to`.
    virtual Result<void> add_tail(std::int64_t to, std::span<const std::byte> bytes);
    // Takes the last `tokens` of the last call back, at most as many as its Step called tentative.
    virtual Result<void> take_back(std::int64_t tokens) = 0;
};

// The positions that the last indexer of a forward pass chose, for the layers behind it that have
// none of their own.
struct ChosenPositions {
    std::unique_ptr<Buffer> memory;
    const std::int32_t* positions = nullptr; // (T, most); null: all positions
    std::int64_t most = 0;                   // 0: nobody has chosen yet
};

// Where a forward pass stands.
struct Step {
    std::int64_t first_position = 0; // of the call's first token
    std::int64_t tentative = 0;      // of the call's last tokens, how many may be taken back
    int layer = 0;
    const Tap* tap = nullptr;
    ChosenPositions* chosen = nullptr; // null: no layer reads what another chose
};

class TokenMixer {
public:
    virtual ~TokenMixer() = default;
    virtual Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                           const StateOptions& options) const = 0;
    // out (T, hidden) = the mixer's output for the normed input x (T, hidden); state moves T on.
    virtual Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                                 const Step& step, View<float, 2> out) const = 0;
};

} // namespace hs
