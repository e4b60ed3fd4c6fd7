#pragma once
// Reading and decoding on ids, timed: what benchmarks and runs at a depth rest on. Knows no text
// and no template, so it works on checkpoints without a tokenizer.

#include "engine/core/result.h"
#include "engine/run/model.h"
#include "engine/run/sampler.h"
#include "engine/run/sequence.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace hs {

// `count` ids out of `alphabet`, or out of the whole vocabulary when it is empty; the same for the
// same seed on every machine.
std::vector<std::int32_t> filler_ids(std::span<const std::int32_t> alphabet, std::int64_t vocab,
                                     std::int64_t count, std::uint64_t seed);

// The precision "auto", "f32", "f16" or "bf16" stands for; "auto" is default_kv_dtype.
Result<DType> kv_dtype_named(const std::string& name, const Model& model);
// "f16", as a person writes it.
std::string kv_dtype_name(DType dtype);

struct TimedSink {
    std::function<void(std::int64_t tokens, double ms)> prefill{}; // a piece was read
    std::function<void(std::int32_t id, double ms)> token{};       // a token was chosen
};

// Reads ids in pieces of kPrefillPiece, between which `stop` is looked at. logits (vocab): of the
// last id; may be empty. The value is milliseconds; empty when stopped.
inline constexpr std::int64_t kPrefillPiece = 256;
Result<std::optional<double>> timed_prefill(Sequence& sequence, std::span<const std::int32_t> ids,
                                            std::span<float> logits, const TimedSink& sink,
                                            std::stop_token stop);

struct TimedDecode {
    std::vector<std::int32_t> ids{};
    double first_ms = 0; // choosing the first token
    double rest_ms = 0;  // each further one costs a step of the model
    bool stopped = false;
};
// Chooses `count` tokens, whatever they are. logits (vocab): of the sequence's last id, used up.
Result<TimedDecode> timed_decode(Sequence& sequence, std::span<float> logits, Sampler& sampler,
                                 std::int64_t count, const TimedSink& sink, std::stop_token stop);

} // namespace hs
