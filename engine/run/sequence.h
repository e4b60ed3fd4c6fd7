#pragma once
// One conversation's state on a model: one MixerState per layer, a position, the ids it holds, and
// snapshots. A recurrent state cannot be cut back, so restore() returns where it landed and the
// caller prefills the rest.

#include "engine/core/result.h"
#include "engine/mixers/token_mixer.h"
#include "engine/run/events.h"
#include "engine/state/ledger.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hs {

class Model;

struct SequenceOptions {
    StateOptions state;
    std::int64_t snapshot_budget_bytes = std::int64_t{512} << 20; // oldest go first
    bool draft = false; // keeps what the model's multi-token prediction head needs, if it has one
};

// A reply that was generated here: its text stands for these very ids, which need not be those the
// tokenizer would choose for it. The last of them may not have been read.
struct HeldReply {
    std::int64_t first = 0; // position of its first token
    std::vector<std::int32_t> ids;
    std::string text;
};

class Sequence {
public:
    static Result<std::unique_ptr<Sequence>> create(std::shared_ptr<const Model> model,
                                                    const SequenceOptions& options);
    ~Sequence();

    std::int64_t position() const;
    std::span<const std::int32_t> ids() const; // what it holds, position() of them
    std::int64_t context_limit() const;
    const StateLedger& ledger() const;
    StateEvent state() const;
    const Model& model() const;

    // Saves the state at the current position, unless one is there already.
    void snapshot();
    // The same for as long as work may be broken off; replaces the one before of its kind.
    void snapshot_in_passing();
    void forget_snapshot_in_passing();
    // Positions that can be returned to exactly; every position when no layer is recurrent.
    std::vector<std::int64_t> snapshot_positions() const;
    std::int64_t snapshot_bytes() const; // of branches that were set aside too
    // Whether every layer can be cut back anywhere, so that snapshots are not needed.
    bool can_cut() const;

    // Takes the last `tokens` of the last forward pass back, where that called them tentative.
    Result<void> take_back(std::int64_t tokens);
    bool drafts() const;

    // Goes back to the latest state at or before `position` and returns where that is.
    Result<std::int64_t> restore(std::int64_t position);

    // Makes the sequence hold as much of `ids` as it can, at most `most` of them, and returns how
    // much that is: of what it holds, or of a branch it left. What it goes back from is set aside
    // as a branch of its own while the budget has room, so that one can return to it unread.
    Result<std::int64_t> keep_common_prefix(std::span<const std::int32_t> ids,
                                            std::int64_t most = INT64_MAX);

    // Remembers a reply whose tokens it holds, all but the last at least.
    void note_reply(HeldReply reply);
    // What it holds, and after it what it has set aside: ids from the beginning, and replies that
    // lie in them (of a branch, those behind its fork). Valid until the sequence changes.
    struct Text {
        std::span<const std::int32_t> ids;
        std::span<const HeldReply> replies;
    };
    std::vector<Text> texts() const;

private:
    friend class Model;
    struct Impl;
    explicit Sequence(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> m_impl;
};

} // namespace hs
