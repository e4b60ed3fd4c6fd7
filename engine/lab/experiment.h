#pragma once
// An experiment is data: arms, a workload, repeats and an order. The same value is edited by the
// window, read from a plan file by the command line program, stored with its samples, and printed
// in the report.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/core/tensor_view.h"
#include "engine/run/events.h"
#include "engine/spec/ratio.h"

#include <cstdint>
#include <string>
#include <vector>

namespace hs {

// One configuration.
struct Arm {
    std::string label{}; // "1:3"
    std::string model{}; // a path, or the name of a bundled model or a published architecture
    std::string device = "auto";
    int threads = 0;
    std::string kv_dtype = "auto"; // "auto", "f32", "f16", "bf16"
    ScheduleEdit edit{};           // another hybrid ratio than the model's own
    // Type of the random weights that an architecture without weights, or an edited schedule that
    // they do not fit, runs with: "q8_0", "bf16", ...
    std::string synthetic_weights = "q8_0";

    bool operator==(const Arm&) const = default;
};

// What each arm must do.
struct Workload {
    std::string system_prompt{};
    std::string prompt{};
    bool raw = false;
    bool enable_thinking = true; // for templates that know such a switch
    std::int64_t generate_tokens = 64;
    bool ignore_end_token = false; // always the full length, so that arms do equal work
    // Context lengths to fill before decoding is timed; 0, or none given: the prompt alone. The
    // filler is seeded text from the prompt's own tokens, the same ids for every arm with one
    // vocabulary. After a filler the full length is decoded, whatever ends a reply.
    std::vector<std::int64_t> depths{};
    Sampling sampling{.temperature = 0.0};

    bool operator==(const Workload&) const = default;
};

// Isolated: one arm after another in rounds, so that the machine's drift falls on all alike.
struct Experiment {
    std::string title{};
    std::vector<Arm> arms{};
    Workload workload;
    int repeats = 3;
    int warm_ups = 1;
    int baseline = 0;                // index of the arm the others are compared with
    std::int64_t context_tokens = 0; // 0: what the workload needs

    bool operator==(const Experiment&) const = default;
};

// "q8_0" and the like. Errors: InvalidArgument, with what random weights can be.
Result<DType> synthetic_weights_named(const std::string& name);
Json to_json(const Experiment& experiment);
// Errors: Corrupt or NotFound, with the key; unknown keys are refused by name.
Result<Experiment> experiment_from_json(const Json& json);
// Everything that can be said before running: at least one arm, sane counts, models that exist.
Result<void> check(const Experiment& experiment);

} // namespace hs
