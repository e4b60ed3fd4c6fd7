#pragma once
// How fast a model reads and decodes on this machine, at several depths of context. Works on any
// checkpoint that loads, tokenizer or not.

#include "engine/core/json.h"
#include "engine/lab/runner.h"
#include "engine/spec/ratio.h"

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace hs {

struct BenchOptions {
    std::string model{}; // as for resolve_model
    std::string device = "auto";
    int threads = 0;
    std::string kv_dtype = "auto";
    ScheduleEdit edit{};                    // another hybrid ratio than the model's own
    std::string synthetic_weights = "q8_0"; // where there are none, or none that fit
    std::vector<std::int64_t> prompts{512}; // tokens to read; none: reading is not timed
    std::int64_t generate = 128;            // tokens to decode; 0: decoding is not timed
    std::vector<std::int64_t> depths{0};    // tokens held before
    int repeats = 3;
};

struct BenchRow {
    enum class Kind { Prefill, Decode };
    Kind kind = Kind::Prefill;
    std::int64_t depth = 0;
    std::int64_t tokens = 0;
    std::vector<double> tokens_per_s{}; // one per repeat
};

struct BenchResult {
    std::string model{};
    std::string family{};
    std::string schedule{};
    std::string origin{}; // whose weights: "checkpoint", "converted", "synthetic"
    std::string device{};
    std::string kv_dtype{};
    std::int64_t file_bytes = 0;
    std::int64_t weight_bytes = 0;
    double load_ms = 0;
    std::vector<BenchRow> rows{};
    std::vector<LedgerEntry> state{}; // at the longest context reached
    std::int64_t state_context_tokens = 0;
    std::int64_t peak_resident_bytes = 0;
    bool stopped = false;
};

// progress: a line of what is being done. Errors: those of loading and of the model.
Result<BenchResult> bench(const BenchOptions& options,
                          const std::function<void(const std::string&)>& progress,
                          std::stop_token stop);

Json to_json(const BenchResult& result);
std::string to_text(const BenchResult& result);

} // namespace hs
