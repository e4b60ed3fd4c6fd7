#pragma once
// Plain values that cross from the engine to whoever watches: requests, token events, timings.

#include "engine/state/ledger.h"
#include "engine/text/chat_template.h"

#include <cstdint>
#include <string>
#include <vector>

namespace hs {

struct Sampling {
    double temperature = 0.7; // 0: greedy
    int top_k = 40;           // 0: off
    double top_p = 0.95;      // 1: off
    double min_p = 0.0;       // 0: off
    double repetition_penalty = 1.0;
    double presence_penalty = 0.0;
    std::uint64_t seed = 0; // 0: a fresh one per reply, reported in the result

    bool operator==(const Sampling&) const = default;
};

struct GenerateRequest {
    std::vector<ChatMessage> messages; // for the chat template; or
    std::string raw_prompt;            // text as it is, when raw
    bool raw = false;
    bool enable_thinking = true;
    Sampling sampling;
    std::int64_t max_tokens = 512;
    std::vector<std::string> stop_strings;
    // Guess ahead with the model's multi-token prediction head, where it has one and it pays. The
    // reply is the same either way.
    bool draft = true;
};

enum class FinishReason { EndToken, StopString, TokenLimit, ContextFull, Stopped, Failed };
const char* to_string(FinishReason reason);

// From the worker taking up a request; waiting before that is queue_ms.
struct Timings {
    double queue_ms = 0;
    double tokenise_ms = 0;
    double restore_ms = 0;
    double prefill_ms = 0;
    double ttft_ms = 0;   // to the first token
    double decode_ms = 0; // all tokens after the first
    std::int64_t prompt_tokens = 0;
    std::int64_t reused_tokens = 0; // held already, not read again
    std::int64_t prefilled_tokens = 0;
    std::int64_t generated_tokens = 0;
    std::int64_t drafted_tokens = 0;  // guessed ahead
    std::int64_t accepted_tokens = 0; // of them, those that came
    double draft_gain = 0;            // decode throughput against decoding without; 0: not known

    double prefill_tokens_per_s() const {
        return prefill_ms > 0 ? 1000.0 * static_cast<double>(prefilled_tokens) / prefill_ms : 0;
    }
    double decode_tokens_per_s() const {
        return decode_ms > 0 ? 1000.0 * static_cast<double>(generated_tokens - 1) / decode_ms : 0;
    }
};

// Part of a prompt has been read.
struct PrefillEvent {
    std::int64_t done_tokens = 0; // of the tokens that must be read
    std::int64_t total_tokens = 0;
    double elapsed_ms = 0;
};

// One generated token. text may be empty (inside a character) or several characters.
struct TokenEvent {
    std::int64_t position = 0; // in the sequence
    std::int32_t id = 0;
    std::string text;
    bool thinking = false; // inside a thinking block
    double elapsed_ms = 0; // since the worker took the request up
};

// What a sequence holds now, for plots and the layer strip.
struct StateEvent {
    std::int64_t context_tokens = 0;
    std::int64_t context_limit = 0;
    std::vector<LedgerEntry> entries;
    std::int64_t snapshot_bytes = 0;
};

struct GenerateResult {
    FinishReason reason = FinishReason::EndToken;
    std::string error; // when Failed
    std::string text;  // without thinking
    std::string thinking;
    std::vector<std::int32_t> prompt_ids;
    std::vector<std::int32_t> ids;
    std::uint64_t seed = 0;
    std::string reuse_note; // why tokens were read again, in words; empty when none were
    Timings timings;
    StateEvent state; // at the end
};

} // namespace hs
