#pragma once
// A ModelSpec with weights on a backend: prefill and decode, layer by layer. Names no family and
// no kind of mixer. Const once loaded; sequences carry the state.

#include "engine/core/result.h"
#include "engine/files/checkpoint.h"
#include "engine/mixers/channel_mixer.h"
#include "engine/mixers/token_mixer.h"
#include "engine/spec/model_spec.h"
#include "engine/spec/ratio.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

namespace hs {

class Sequence;
struct SpecAndTensors;

struct LoadProgress {
    std::int64_t done_bytes = 0;
    std::int64_t total_bytes = 0;
    std::string stage; // "reading the header", "layer 3 of 8"
};

struct LoadOptions {
    ScheduleEdit edit; // another schedule than the checkpoint's
    // For load_model(): random weights of this type where there are none, or none that fit the
    // edited schedule; empty: refused then.
    std::optional<DType> synthetic;
    std::stop_token stop;
    std::function<void(const LoadProgress&)> progress;
};

class Model {
public:
    // Reads the checkpoint's spec through its family and places every weight. Empty when stopped.
    // Errors: whatever checkpoint and family say, with layer and tensor named; InvalidArgument for
    // an edited schedule that the weights do not fit.
    static Result<std::optional<std::shared_ptr<const Model>>>
    load(std::shared_ptr<Backend> backend, Checkpoint checkpoint, const LoadOptions& options = {});

    // A spec with seeded random weights, for experiments on cost alone. Empty when stopped.
    static Result<std::optional<std::shared_ptr<const Model>>>
    synthetic(std::shared_ptr<Backend> backend, const ModelSpec& spec, std::uint64_t seed,
              DType weights, const LoadOptions& options = {});

    ~Model();
    const ModelSpec& spec() const;
    Backend& backend() const;
    std::int64_t weight_bytes() const;
    bool rounds_inputs() const; // any matrix whose products may
    // Of the checkpoint; those left out knowingly with the reason behind the name:
    // "mtp.fc.weight (multi-token prediction)".
    const std::vector<std::string>& unused_tensors() const;
    // The same of a model that is not loaded, from the names of its tensors alone.
    // Errors: what the model's spec and its tensors' names say against loading it.
    static Result<std::vector<std::string>> unused_tensors(const Checkpoint& checkpoint,
                                                           const SpecAndTensors& read);
    // What else the checkpoint holds (tokenizer, template); null for synthetic models.
    const Checkpoint* checkpoint() const;

    // Runs ids through all layers, appending them to the sequence.
    //   ids (T); logits: nullptr, or room for (1 or T, vocab) f32 in host memory.
    //   stop is looked at between layers. A pass that was stopped returns without error, and the
    //   sequence is at the latest position it could return to.
    // Errors: InvalidArgument for an id outside the vocabulary or a full context, OutOfMemory,
    // Device.
    //   tentative: of the last ids, how many sequence.take_back() may still take back.
    enum class Logits { None, Last, All };
    Result<void> forward(Sequence& sequence, std::span<const std::int32_t> ids, Logits wanted,
                         View<float, 2> logits, const Tap* tap = nullptr,
                         const std::stop_token& stop = {}, std::int64_t tentative = 0) const;

    // Whether there is a multi-token prediction head.
    bool can_draft() const;
    // What that head guesses to follow `next`, which is to follow what the sequence holds: logits
    // (1, vocab) in host memory. The sequence was made with `draft`.
    Result<void> draft(Sequence& sequence, std::int32_t next, View<float, 2> logits) const;

private:
    // The state of one layer, as its mixer wants it; one beyond the layers, of the head.
    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, std::size_t layer,
                                                   const StateOptions& options) const;

    struct Impl;
    explicit Model(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> m_impl;
    friend class Sequence;
};

} // namespace hs
