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
constexpr std::array<const char*, 5> kQwen4Exp{"Qwen4ExpForConditionalGeneration",
                                               "Qwen4ExpForCausalLM", "qwen4exp", "qwen4_exp",
                                               "qwen4_exp_text"};
constexpr std::array<const char*, 5> kGemma3{"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration",
                                             "gemma3", "gemma3_text", "Gemma3TextModel"};
constexpr std::array<const char*, 4> kGptOss{"GptOssForCausalLM", "gpt-oss", "gpt_oss",
                                             "GptOssModel"};
constexpr std::array<const char*, 6> kMimo{
    "MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM", "mimo2",
    "mimo_v2_flash",          "mimo_v2",           "MiMoV2FlashModel"};
constexpr std::array<const char*, 3> kDeepseekV2{"DeepseekV2ForCausalLM", "deepseek_v2",
                                                 "DeepseekV2Model"};
constexpr std::array<const char*, 4> kDeepseekV3{"DeepseekV3ForCausalLM", "deepseek2",
                                                 "deepseek_v3", "DeepseekV3Model"};
constexpr std::array<const char*, 4> kDeepseekV32{"DeepseekV32ForCausalLM", "deepseek32",
                                                  "deepseek_v32", "DeepseekV32Model"};
constexpr std::array<const char*, 4> kDeepseekV4{"DeepseekV4ForCausalLM", "deepseek4",
                                                 "deepseek_v4", "DeepseekV4Model"};
constexpr std::array<const char*, 4> kGlm5{"GlmMoeDsaForCausalLM", "glm-dsa", "glm_moe_dsa",
                                           "GlmMoeDsaModel"};
constexpr std::array<const char*, 4> kMinimaxM2{"MiniMaxM2ForCausalLM", "minimax-m2", "minimax_m2",
                                                "MiniMaxM2Model"};
constexpr std::array<const char*, 6> kMinimaxM3{"MiniMaxM3SparseForCausalLM",
                                                "MiniMaxM3SparseForConditionalGeneration",
                                                "MiniMaxM3VLForConditionalGeneration",
                                                "minimax-m3",
                                                "minimax_m3_vl",
                                                "minimax_m3_vl_text"};
constexpr std::array<const char*, 9> kMinimax{"MiniMaxText01ForCausalLM",
                                              "minimax-01",
                                              "minimax_text_01",
                                              "MiniMaxText01Model",
                                              "MiniMaxM1ForCausalLM",
                                              "minimax_m1",
                                              "MiniMaxForCausalLM",
                                              "minimax",
                                              "MiniMaxModel"};
constexpr std::array<const char*, 4> kRingLinear{"BailingMoeLinearV2ForCausalLM",
                                                 "bailing_moe_linear_v2", "bailing_moe_linear",
                                                 "BailingMoeLinearForCausalLM"};
// The third generation is answered to say why it does not run.
constexpr std::array<const char*, 3> kLingHybrid{"BailingMoeV2_5ForCausalLM", "bailing_hybrid",
                                                 "BailingMoeV3ForCausalLM"};
constexpr std::array<const char*, 7> kKimi{
    "KimiLinearForCausalLM", "KimiK3ForConditionalGeneration",
    "kimi-linear",           "kimi-k3",
    "kimi_linear",           "kimi_k3",
    "KimiLinearModel"};
constexpr std::array<const char*, 3> kOlmoHybrid{"OlmoHybridForCausalLM", "olmo_hybrid",
                                                 "OlmoHybridModel"};

// REGISTER A FAMILY HERE: one row, the names it answers to and its reader.
constexpr std::array<Family, 22> kFamilies{{
    {"llama", kLlama, read_llama},
    {"gemma3", kGemma3, read_gemma3},
    {"gpt-oss", kGptOss, read_gpt_oss},
    {"mimo-v2", kMimo, read_mimo_v2},
    {"deepseek-v2", kDeepseekV2, read_deepseek_v2},
    {"deepseek-v3", kDeepseekV3, read_deepseek_v3},
    {"deepseek-v3.2", kDeepseekV32, read_deepseek_v32},
    {"deepseek-v4", kDeepseekV4, read_deepseek_v4},
    {"glm-5", kGlm5, read_glm_5},
    {"minimax-01", kMinimax, read_minimax},
    {"ring-linear", kRingLinear, read_ring_linear},
    {"ling-hybrid", kLingHybrid, read_ling_hybrid},
    {"minimax-m2", kMinimaxM2, read_minimax_m2},
    {"minimax-m3", kMinimaxM3, read_minimax_m3},
    {"kimi", kKimi, read_kimi},
    {"olmo-hybrid", kOlmoHybrid, read_olmo_hybrid},
    {"qwen3", kQwen3, read_qwen3},
    {"qwen3-moe", kQwen3Moe, read_qwen3_moe},
    {"qwen3-next", kQwen3Next, read_qwen3_next},
    {"qwen3.5", kQwen35, read_qwen3_5},
    {"qwen3.5-moe", kQwen35Moe, read_qwen3_5_moe},
    {"qwen4-exp", kQwen4Exp, read_qwen4_exp},
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

Result<void> check_runs(const ModelSpec& spec) {
    if (spec.cannot_run.empty()) {
        return {};
    }
    return refused(fmt::format("{} is planned, not run: {}", spec.name, spec.cannot_run),
                   "Inspect it and plan its memory; to chat, compare or measure, take a model that "
                   "runs.");
}

} // namespace hs
