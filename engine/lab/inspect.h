#pragma once
// What a model is, from its header alone: nothing is loaded, so a config.json without weights and a
// file larger than the memory are looked at alike.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/files/checkpoint.h"
#include "engine/mixers/token_mixer.h"
#include "engine/spec/model_spec.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace hs {

struct StateForecast {
    std::int64_t context_tokens = 0;
    std::int64_t bytes = 0;
    std::map<std::string, std::int64_t> by_kind; // the ledger's words
};

struct ModelInspection {
    ModelSpec spec;
    std::string architecture; // as the checkpoint says it
    std::string container;    // "GGUF", "safetensors"
    std::string path;
    std::int64_t file_bytes = 0;
    bool weights_present = false;
    ParameterCount parameters;
    std::map<std::string, std::int64_t> bytes_by_format; // "Q8_0": ...; empty without weights
    std::int64_t weight_bytes = 0;
    // Of the checkpoint, with the reason where it is known; none are told of a model that cannot
    // run.
    std::vector<std::string> unused_tensors;
    DType kv_dtype = DType::F16;
    std::vector<StateForecast> state; // at 4K, 32K, 128K and 1M
    std::int64_t growth_bytes_per_token = 0;
    std::int64_t fixed_bytes = 0;
    std::int64_t break_even_tokens = 0; // see planner.h; 0: none
};

Result<ModelInspection> inspect_model(const std::filesystem::path& path, DType kv_dtype);

// For `info --json` and for a terminal.
Json to_json(const ModelInspection& inspection);
std::string to_text(const ModelInspection& inspection);

} // namespace hs
