#include "engine/spec/families.h"

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace hs {
namespace {

constexpr std::array<const char*, 3> kLlama{"LlamaForCausalLM", "llama", "LlamaModel"};
constexpr std::array<const char*, 3> kQwen3{"Qwen3ForCausalLM", "qwen3", "Qwen3Model"};
constexpr std::array<const char*, 4> kQwen3Moe{"Qwen3MoeForCausalLM", "qwen3moe", "qwen3_moe",
                                               "Qwen3MoeModel"};
constexpr std::array<const char*, 4> kQwen3Next{"Qwen3NextForCausalLM", "qwen3next", "qwen3_next",
                                                "Qwen3NextModel"};
constexpr std::array<const char*, 7> kQwen35{"Qwen3_5ForCausalLM",
                                             "Qwen3_5ForConditionalGeneration",
                                             "qwen35",
                                             "qwen3_5",
                                             "qwen3_5_text",
                                             "Qwen3_5TextModel",
                                             "Qwen3_5Model"};
constexpr std::array<const char*, 7> kQwen35Moe{"Qwen3_5MoeForCausalLM",
                                                "Qwen3_5MoeForConditionalGeneration",
                                                "qwen35moe",
                                                "qwen3_5_moe",
                                                "qwen3_5_moe_text",
                                                "Qwen3_5MoeTextModel",
                                                "Qwen3_5MoeModel"};

// REGISTER A FAMILY HERE: one row, the names it answers to and its reader.
constexpr std::array<Family, 6> kFamilies{{
    {"llama", kLlama, read_llama},
    {"qwen3", kQwen3, read_qwen3},
    {"qwen3-moe", kQwen3Moe, read_qwen3_moe},
    {"qwen3-next", kQwen3Next, read_qwen3_next},
    {"qwen3.5", kQwen35, read_qwen3_5},
    {"qwen3.5-moe", kQwen35Moe, read_qwen3_5_moe},
}};

} // namespace

std::span<const Family> families() {
    return kFamilies;
}

Result<const Family*> find_family(std::string_view architecture) {
    std::string known;
    for (const Family& family : kFamilies) {
        if (std::find(family.answers_to.begin(), family.answers_to.end(), architecture) !=
            family.answers_to.end()) {
            return &family;
        }
        known += (known.empty() ? "" : ", ") + std::string(family.name) + " (" +
                 family.answers_to.front() + ")";
    }
    return refused(
        fmt::format("architecture \"{}\" is not known; known are {}", architecture, known),
        "Open a model of one of these families.");
}

Result<SpecAndTensors> read_model(const Checkpoint& checkpoint) {
    const Family* family = TRY(find_family(checkpoint.architecture()));
    return family->read(checkpoint).with_context(family->name);
}

} // namespace hs
