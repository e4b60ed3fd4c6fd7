#include "engine/core/json.h"
#include "engine/store/sessions.h"

#include <algorithm>
#include <array>

namespace hs {

namespace {

constexpr int kVersion = 1;

constexpr std::array kReasons{FinishReason::EndToken,   FinishReason::StopString,
                              FinishReason::TokenLimit, FinishReason::ContextFull,
                              FinishReason::Stopped,    FinishReason::Failed};
constexpr std::array kStateKinds{StateKind::KvCache,        StateKind::WindowRing,
                                 StateKind::LatentCache,    StateKind::CompressedCache,
                                 StateKind::IndexerKeys,    StateKind::CompressorBuffer,
                                 StateKind::RecurrentState, StateKind::ConvState};

Json sampling_json(const Sampling& sampling, std::uint64_t seed) {
    return {{"temperature", sampling.temperature},
            {"top_k", sampling.top_k},
            {"top_p", sampling.top_p},
            {"min_p", sampling.min_p},
            {"repetition_penalty", sampling.repetition_penalty},
            {"presence_penalty", sampling.presence_penalty},
            {"seed", seed}};
}

Json timings_json(const Timings& timings) {
    return {{"queue_ms", timings.queue_ms},
            {"tokenise_ms", timings.tokenise_ms},
            {"restore_ms", timings.restore_ms},
            {"prefill_ms", timings.prefill_ms},
            {"ttft_ms", timings.ttft_ms},
            {"decode_ms", timings.decode_ms},
            {"prompt_tokens", timings.prompt_tokens},
            {"reused_tokens", timings.reused_tokens},
            {"prefilled_tokens", timings.prefilled_tokens},
            {"generated_tokens", timings.generated_tokens},
            {"drafted_tokens", timings.drafted_tokens},
            {"accepted_tokens", timings.accepted_tokens},
            {"draft_gain", timings.draft_gain},
            {"prefill_tokens_per_s", timings.prefill_tokens_per_s()},
            {"decode_tokens_per_s", timings.decode_tokens_per_s()}};
}

Json state_json(const StateEvent& state) {
    Json layers = Json::array();
    std::int64_t used = 0;
    std::int64_t held = 0;
    for (const LedgerEntry& entry : state.entries) {
        used += entry.used_bytes;
        held += entry.held_bytes;
        layers.push_back({{"layer", entry.layer},
                          {"kind", to_string(entry.kind)},
                          {"used_bytes", entry.used_bytes},
                          {"held_bytes", entry.held_bytes}});
    }
    return {{"context_tokens", state.context_tokens},
            {"context_limit", state.context_limit},
            {"used_bytes", used},
            {"held_bytes", held},
            {"snapshot_bytes", state.snapshot_bytes},
            {"layers", std::move(layers)}};
}

template <class T, std::size_t N>
Result<T> by_name(const std::array<T, N>& all, std::string_view name) {
    for (const T value : all) {
        if (name == to_string(value)) {
            return value;
        }
    }
    return Error{ErrorCode::Corrupt, "\"" + std::string(name) + "\" is not a known word", {}};
}

Result<Timings> read_timings(const Json& json) {
    return Timings{.queue_ms = TRY(json_number(json, "queue_ms")),
                   .tokenise_ms = TRY(json_number(json, "tokenise_ms")),
                   .restore_ms = TRY(json_number(json, "restore_ms")),
                   .prefill_ms = TRY(json_number(json, "prefill_ms")),
                   .ttft_ms = TRY(json_number(json, "ttft_ms")),
                   .decode_ms = TRY(json_number(json, "decode_ms")),
                   .prompt_tokens = TRY(json_int(json, "prompt_tokens")),
                   .reused_tokens = TRY(json_int(json, "reused_tokens")),
                   .prefilled_tokens = TRY(json_int(json, "prefilled_tokens")),
                   .generated_tokens = TRY(json_int(json, "generated_tokens")),
                   // Absent from what older programs wrote.
                   .drafted_tokens = TRY(json_int(json, "drafted_tokens", 0)),
                   .accepted_tokens = TRY(json_int(json, "accepted_tokens", 0)),
                   .draft_gain = TRY(json_number(json, "draft_gain", 0.0))};
}

Result<StateEvent> read_state(const Json& json) {
    StateEvent state;
    state.context_tokens = TRY(json_int(json, "context_tokens"));
    state.context_limit = TRY(json_int(json, "context_limit"));
    state.snapshot_bytes = TRY(json_int(json, "snapshot_bytes"));
    const Json* layers = json_member(json, "layers");
    if (layers == nullptr || !layers->is_array()) {
        return Error{ErrorCode::Corrupt, "\"layers\" is not an array", {}};
    }
    for (const Json& layer : *layers) {
        LedgerEntry entry;
        const std::int64_t number = TRY(json_int(layer, "layer"));
        if (number < 0 || number > 1'000'000) {
            return Error{ErrorCode::Corrupt, "\"layer\" is out of range", {}};
        }
        entry.layer = static_cast<int>(number);
        const std::string kind = TRY(json_string(layer, "kind"));
        entry.kind = TRY(by_name(kStateKinds, kind));
        entry.used_bytes = TRY(json_int(layer, "used_bytes"));
        entry.held_bytes = TRY(json_int(layer, "held_bytes"));
        state.entries.push_back(entry);
    }
    return state;
}

Result<Metrics> read_metrics(std::string_view text) {
    const Json json = TRY(parse_json(text));
    if (TRY(json_int(json, "version")) != kVersion) {
        return Error{ErrorCode::Unsupported, "they were written by a newer program", {}};
    }
    const Json* timings = json_member(json, "timings");
    const Json* state = json_member(json, "state");
    const Json* sampling = json_member(json, "sampling");
    if (timings == nullptr || state == nullptr || sampling == nullptr) {
        return Error{ErrorCode::Corrupt, "timings, state or sampling are missing", {}};
    }
    Metrics metrics;
    const std::string reason = TRY(json_string(json, "reason"));
    metrics.reason = TRY(by_name(kReasons, reason));
    metrics.error = TRY(json_string(json, "error", ""));
    metrics.reuse_note = TRY(json_string(json, "reuse_note", ""));
    metrics.timings = TRY(read_timings(*timings));
    metrics.state = TRY(read_state(*state));
    Sampling& s = metrics.sampling;
    s.temperature = TRY(json_number(*sampling, "temperature"));
    const std::int64_t top_k = TRY(json_int(*sampling, "top_k"));
    s.top_k = static_cast<int>(std::clamp<std::int64_t>(top_k, 0, 1 << 30));
    s.top_p = TRY(json_number(*sampling, "top_p"));
    s.min_p = TRY(json_number(*sampling, "min_p"));
    s.repetition_penalty = TRY(json_number(*sampling, "repetition_penalty"));
    s.presence_penalty = TRY(json_number(*sampling, "presence_penalty"));
    // Seeds use all 64 bits, which a signed reading would refuse.
    const Json* seed = json_member(*sampling, "seed");
    if (seed == nullptr || !seed->is_number_integer()) {
        return Error{ErrorCode::Corrupt, "\"seed\" is not a whole number", {}};
    }
    s.seed = seed->get<std::uint64_t>();
    return metrics;
}

} // namespace

std::string metrics_json(const GenerateResult& result, const Sampling& sampling) {
    Json json{{"version", kVersion},
              {"reason", to_string(result.reason)},
              {"error", result.error},
              {"reuse_note", result.reuse_note},
              {"sampling", sampling_json(sampling, result.seed)},
              {"timings", timings_json(result.timings)},
              {"state", state_json(result.state)}};
    // A model's text may end inside a character; what cannot be UTF-8 is replaced, not thrown at.
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Metrics> parse_metrics(std::string_view text) {
    return read_metrics(text).with_context("the figures of a reply");
}

} // namespace hs
