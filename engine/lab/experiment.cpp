#include "engine/lab/experiment.h"

#include "engine/lab/runner.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <initializer_list>
#include <limits>
#include <set>
#include <utility>

namespace hs {

namespace {

// Beyond these a plan is a slip of the hand.
constexpr std::size_t kMostArms = 32;
constexpr std::size_t kMostDepths = 64;
constexpr std::int64_t kMostTokens = std::int64_t{16} << 20;
constexpr int kMostRepeats = 1000;

Error wrong(std::string what, std::string remedy = {}) {
    return {ErrorCode::InvalidArgument, std::move(what), std::move(remedy)};
}

Result<void> only_keys(const Json& object, std::initializer_list<std::string_view> known) {
    if (!object.is_object()) {
        return Error{ErrorCode::Corrupt, "expected an object", {}};
    }
    for (const auto& [key, value] : object.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            std::string names;
            for (const std::string_view name : known) {
                names += (names.empty() ? "" : ", ") + std::string(name);
            }
            return Error{ErrorCode::Corrupt, fmt::format("unknown key \"{}\"", key),
                         "known are: " + names};
        }
    }
    return {};
}

Result<int> small_int(const Json& object, std::string_view key, int absent) {
    const std::int64_t value = TRY(json_int(object, key, absent));
    if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
        return Error{ErrorCode::Corrupt, fmt::format("\"{}\" is {}, out of range", key, value), {}};
    }
    return static_cast<int>(value);
}

Json to_json(const Sampling& s) {
    return {{"temperature", s.temperature},
            {"top_k", s.top_k},
            {"top_p", s.top_p},
            {"min_p", s.min_p},
            {"repetition_penalty", s.repetition_penalty},
            {"presence_penalty", s.presence_penalty},
            {"seed", s.seed}};
}

Result<Sampling> sampling_from_json(const Json& json, const Sampling& absent) {
    TRY(only_keys(json, {"temperature", "top_k", "top_p", "min_p", "repetition_penalty",
                         "presence_penalty", "seed"}));
    Sampling s;
    s.temperature = TRY(json_number(json, "temperature", absent.temperature));
    s.top_k = TRY(small_int(json, "top_k", absent.top_k));
    s.top_p = TRY(json_number(json, "top_p", absent.top_p));
    s.min_p = TRY(json_number(json, "min_p", absent.min_p));
    s.repetition_penalty = TRY(json_number(json, "repetition_penalty", absent.repetition_penalty));
    s.presence_penalty = TRY(json_number(json, "presence_penalty", absent.presence_penalty));
    s.seed = absent.seed;
    if (const Json* seed = json_member(json, "seed")) {
        if (!seed->is_number_unsigned()) { // all 64 bits are seeds
            return Error{ErrorCode::Corrupt, "\"seed\" is not a whole number from 0", {}};
        }
        s.seed = seed->get<std::uint64_t>();
    }
    return s;
}

Json to_json(const Arm& arm) {
    return {{"label", arm.label},
            {"model", arm.model},
            {"device", arm.device},
            {"threads", arm.threads},
            {"kv_dtype", arm.kv_dtype},
            {"full_layers", arm.edit.full},
            {"other_mixer", arm.edit.other},
            {"layers", arm.edit.layers},
            {"synthetic_weights", arm.synthetic_weights}};
}

Result<Arm> arm_from_json(const Json& json) {
    TRY(only_keys(json, {"label", "model", "device", "threads", "kv_dtype", "full_layers",
                         "other_mixer", "layers", "synthetic_weights"}));
    Arm arm;
    arm.model = TRY(json_string(json, "model"));
    arm.label = TRY(json_string(json, "label", arm.model));
    arm.device = TRY(json_string(json, "device", arm.device));
    arm.threads = TRY(small_int(json, "threads", arm.threads));
    arm.kv_dtype = TRY(json_string(json, "kv_dtype", arm.kv_dtype));
    arm.edit.full = TRY(json_string(json, "full_layers", ""));
    arm.edit.other = TRY(json_string(json, "other_mixer", ""));
    arm.edit.layers = TRY(json_int(json, "layers", 0));
    arm.synthetic_weights = TRY(json_string(json, "synthetic_weights", arm.synthetic_weights));
    return arm;
}

Json to_json(const Workload& w) {
    return {{"system_prompt", w.system_prompt},
            {"prompt", w.prompt},
            {"raw", w.raw},
            {"enable_thinking", w.enable_thinking},
            {"generate_tokens", w.generate_tokens},
            {"ignore_end_token", w.ignore_end_token},
            {"depths", w.depths},
            {"sampling", to_json(w.sampling)}};
}

Result<Workload> workload_from_json(const Json& json) {
    TRY(only_keys(json, {"system_prompt", "prompt", "raw", "enable_thinking", "generate_tokens",
                         "ignore_end_token", "depths", "sampling"}));
    Workload w;
    w.system_prompt = TRY(json_string(json, "system_prompt", ""));
    w.prompt = TRY(json_string(json, "prompt", ""));
    w.raw = TRY(json_bool(json, "raw", w.raw));
    w.enable_thinking = TRY(json_bool(json, "enable_thinking", w.enable_thinking));
    w.generate_tokens = TRY(json_int(json, "generate_tokens", w.generate_tokens));
    w.ignore_end_token = TRY(json_bool(json, "ignore_end_token", w.ignore_end_token));
    if (const Json* depths = json_member(json, "depths")) {
        if (!depths->is_array()) {
            return Error{ErrorCode::Corrupt, "\"depths\" is not an array", {}};
        }
        for (const Json& depth : *depths) {
            if (!depth.is_number_integer()) {
                return Error{ErrorCode::Corrupt, "\"depths\" holds what is not a whole number", {}};
            }
            w.depths.push_back(depth.get<std::int64_t>());
        }
    }
    if (const Json* sampling = json_member(json, "sampling")) {
        w.sampling = TRY(sampling_from_json(*sampling, w.sampling).with_context("sampling"));
    }
    return w;
}

Result<void> check_sampling(const Sampling& s) {
    // Written so that a NaN is outside.
    const auto within = [](double value, double low, double high) {
        return value >= low && value <= high;
    };
    if (!within(s.temperature, 0, 100) || !within(s.top_p, 0, 1) || !within(s.min_p, 0, 1) ||
        !within(s.repetition_penalty, 0.01, 100) || !within(s.presence_penalty, -100, 100) ||
        s.top_k < 0) {
        return wrong("temperature, top_k, top_p, min_p or a penalty is out of range");
    }
    return {};
}

Result<void> check_workload(const Workload& w) {
    TRY(check_sampling(w.sampling).with_context("sampling"));
    if (w.generate_tokens < 1 || w.generate_tokens > kMostTokens) {
        return wrong(
            fmt::format("generate_tokens is {}, expected 1 to {}", w.generate_tokens, kMostTokens));
    }
    if (w.depths.size() > kMostDepths) {
        return wrong(fmt::format("{} depths, at most {}", w.depths.size(), kMostDepths));
    }
    std::set<std::int64_t> seen;
    for (const std::int64_t depth : w.depths) {
        if (depth < 0 || depth > kMostTokens) {
            return wrong(fmt::format("depth {} is not from 0 to {}", depth, kMostTokens));
        }
        if (!seen.insert(depth).second) {
            return wrong(fmt::format("depth {} stands twice", depth));
        }
    }
    const bool prompt_alone = w.depths.empty() || seen.count(0) != 0;
    if (prompt_alone && w.prompt.empty()) {
        return wrong("there is no prompt", "Write one, or give depths to fill instead.");
    }
    return {};
}

Result<void> check_arm(const Arm& arm) {
    if (arm.label.empty()) {
        return wrong("it has no label");
    }
    constexpr std::array devices{"auto", "cpu", "cuda"};
    if (std::find(devices.begin(), devices.end(), arm.device) == devices.end()) {
        return wrong(fmt::format("unknown device \"{}\"", arm.device), "Choose auto, cpu or cuda.");
    }
    if (arm.threads < 0 || arm.threads > 4096) {
        return wrong(fmt::format("{} threads, expected 0 (all cores) to 4096", arm.threads));
    }
    constexpr std::array precisions{"auto", "f32", "f16", "bf16"};
    if (std::find(precisions.begin(), precisions.end(), arm.kv_dtype) == precisions.end()) {
        return wrong(fmt::format("unknown KV precision \"{}\"", arm.kv_dtype),
                     "Choose auto, f32, f16 or bf16.");
    }
    TRY(synthetic_weights_named(arm.synthetic_weights));
    TRY(resolve_model(arm.model));
    return {};
}

} // namespace

Result<DType> synthetic_weights_named(const std::string& name) {
    constexpr std::array<std::pair<const char*, DType>, 6> known{{{"q8_0", DType::Q8_0},
                                                                  {"q4_0", DType::Q4_0},
                                                                  {"q4_k", DType::Q4_K},
                                                                  {"bf16", DType::BF16},
                                                                  {"f16", DType::F16},
                                                                  {"f32", DType::F32}}};
    for (const auto& [text, dtype] : known) {
        if (name == text) {
            return dtype;
        }
    }
    return wrong(fmt::format("random weights cannot be \"{}\"", name),
                 "Choose q8_0, q4_0, q4_k, bf16, f16 or f32.");
}

Json to_json(const Experiment& e) {
    Json arms = Json::array();
    for (const Arm& arm : e.arms) {
        arms.push_back(to_json(arm));
    }
    return {{"title", e.title},
            {"arms", std::move(arms)},
            {"workload", to_json(e.workload)},
            {"repeats", e.repeats},
            {"warm_ups", e.warm_ups},
            {"baseline", e.baseline},
            {"context_tokens", e.context_tokens}};
}

Result<Experiment> experiment_from_json(const Json& json) {
    TRY(only_keys(
        json, {"title", "arms", "workload", "repeats", "warm_ups", "baseline", "context_tokens"}));
    Experiment e;
    e.title = TRY(json_string(json, "title", ""));
    e.repeats = TRY(small_int(json, "repeats", e.repeats));
    e.warm_ups = TRY(small_int(json, "warm_ups", e.warm_ups));
    e.baseline = TRY(small_int(json, "baseline", e.baseline));
    e.context_tokens = TRY(json_int(json, "context_tokens", e.context_tokens));
    const Json* workload = json_member(json, "workload");
    if (workload == nullptr) {
        return Error{ErrorCode::NotFound, "\"workload\" is missing", {}};
    }
    e.workload = TRY(workload_from_json(*workload).with_context("workload"));
    const Json* arms = json_member(json, "arms");
    if (arms == nullptr) {
        return Error{ErrorCode::NotFound, "\"arms\" is missing", {}};
    }
    if (!arms->is_array() || arms->size() > kMostArms) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("\"arms\" is not an array of at most {} arms", kMostArms),
                     {}};
    }
    for (std::size_t i = 0; i < arms->size(); ++i) {
        e.arms.push_back(TRY(arm_from_json((*arms)[i]).with_context(fmt::format("arms[{}]", i))));
    }
    return e;
}

Result<void> check(const Experiment& e) {
    if (e.arms.empty()) {
        return wrong("the experiment has no arms", "Name at least one model.");
    }
    if (e.arms.size() > kMostArms) {
        return wrong(fmt::format("{} arms, at most {}", e.arms.size(), kMostArms));
    }
    if (e.repeats < 1 || e.repeats > kMostRepeats) {
        return wrong(fmt::format("{} repeats, expected 1 to {}", e.repeats, kMostRepeats));
    }
    if (e.warm_ups < 0 || e.warm_ups > kMostRepeats) {
        return wrong(fmt::format("{} warm-ups, expected 0 to {}", e.warm_ups, kMostRepeats));
    }
    if (e.baseline < 0 || e.baseline >= static_cast<int>(e.arms.size())) {
        return wrong(
            fmt::format("the baseline is arm {}, expected 0 to {}", e.baseline, e.arms.size() - 1));
    }
    if (e.context_tokens < 0 || e.context_tokens > kMostTokens) {
        return wrong(
            fmt::format("context_tokens is {}, expected 0 to {}", e.context_tokens, kMostTokens));
    }
    TRY(check_workload(e.workload).with_context("workload"));
    std::set<std::string> labels;
    for (std::size_t i = 0; i < e.arms.size(); ++i) {
        TRY(check_arm(e.arms[i]).with_context(fmt::format("arm {} \"{}\"", i, e.arms[i].label)));
        if (!labels.insert(e.arms[i].label).second) {
            return wrong(fmt::format("two arms are called \"{}\"", e.arms[i].label));
        }
    }
    return {};
}

} // namespace hs
