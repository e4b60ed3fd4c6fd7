#include "engine/text/split_patterns.h"

#include <array>
#include <cstdint>
#include <span>

namespace hs {

namespace {

using Text = std::string_view;

// Verbatim, numbered as in text-and-services.md section 4.3; regex.cpp rewrites them for PCRE2.
constexpr Text kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr Text kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kDigits3 = R"(\p{N}{1,3})";
constexpr Text kDeepseekCjk = R"([一-龥぀-ゟ゠-ヿ]+)";
constexpr Text kDeepseekRest =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kKimi =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr Text kMiniCpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Text kDigit = R"(\p{N})";
constexpr Text kLines = R"([^\n]+|[\n]+)";

constexpr std::array kR1{kGpt2};
constexpr std::array kR2{kLlama3};
constexpr std::array kR3{kQwen2};
constexpr std::array kR4{kQwen35};
constexpr std::array kR5{kO200k};
constexpr std::array kR6{kTekken};
constexpr std::array kR7{kDigits3, kDeepseekCjk, kDeepseekRest};
constexpr std::array kR8{kKimi};
constexpr std::array kR9{kBailing};
constexpr std::array kR11{kDigits3, kMiniCpm5};
constexpr std::array kSeed{kSeedCoder};
constexpr std::array kDigitThenGpt2{kDigit, kGpt2};
constexpr std::array kLinesAlone{kLines};

enum Trait : std::uint8_t { kPlain = 0, kWhole = 1, kBos = 2, kNfc = 4 };

struct Row {
    Text name;
    std::span<const Text> patterns;
    std::uint8_t traits = kPlain;
};

constexpr std::uint8_t kLlama3Traits = kWhole | kBos;

// Kimi's own tokenizer is tiktoken's, which looks a whole piece up first: kWhole.
constexpr std::array kRows{
    Row{"llama-bpe", kR2, kLlama3Traits},
    Row{"llama3", kR2, kLlama3Traits},
    Row{"llama-v3", kR2, kLlama3Traits},
    Row{"falcon3", kR2, kLlama3Traits},
    Row{"falcon-h1", kR2, kLlama3Traits},
    Row{"pixtral", kR2, kLlama3Traits},
    Row{"midm-2.0", kR2, kLlama3Traits},
    Row{"lfm2", kR2, kLlama3Traits},
    Row{"jina-v5-nano", kR2, kLlama3Traits},
    Row{"smaug-bpe", kR2},
    Row{"dbrx", kR2},
    Row{"glm4", kR2},
    Row{"chatglm-bpe", kR2},
    Row{"qwen2", kR3, kNfc},
    Row{"deepseek-r1-qwen", kR3},
    Row{"megrez", kR3},
    Row{"kormo", kR3},
    Row{"f2llmv2", kR3},
    Row{"stablelm2", kR3},
    Row{"hunyuan", kR3},
    Row{"solar-open", kR3},
    Row{"grok-2", kR3},
    Row{"qwen35", kR4, kNfc},
    Row{"gpt-4o", kR5},
    Row{"llama4", kR5},
    Row{"kanana2", kR5},
    Row{"talkie", kR5},
    Row{"minimax-m2", kR5},
    Row{"tekken", kR6, kLlama3Traits},
    Row{"deepseek-v3", kR7},
    Row{"hunyuan-dense", kR7},
    Row{"joyai-llm", kR7},
    Row{"kimi-k2", kR8, kWhole},
    Row{"bailingmoe", kR9},
    Row{"bailingmoe2", kR9},
    Row{"llada-moe", kR9},
    Row{"minicpm5", kR11, kWhole},
    Row{"gpt-2", kR1},
    Row{"phi-2", kR1},
    Row{"mpt", kR1},
    Row{"olmo", kR1},
    Row{"jais", kR1},
    Row{"exaone4", kR1},
    Row{"modern-bert", kR1},
    Row{"gigachat", kR1},
    Row{"a.x-4.0", kR1},
    Row{"mellum", kR1},
    Row{"trillion", kR1},
    Row{"granite-docling", kR1},
    Row{"roberta-bpe", kR1},
    Row{"starcoder", kDigitThenGpt2},
    Row{"refact", kDigitThenGpt2},
    Row{"command-r", kDigitThenGpt2},
    Row{"smollm", kDigitThenGpt2},
    Row{"codeshell", kDigitThenGpt2},
    Row{"exaone", kDigitThenGpt2},
    Row{"minerva-7b", kDigitThenGpt2},
    Row{"mellum2", kDigitThenGpt2},
    Row{"seed-coder", kSeed},
    Row{"gemma4", kLinesAlone},
    Row{"granite-embed-multi-311m", kLinesAlone},
    Row{"sarvam-moe", kLinesAlone},
};

std::vector<Text> listed(std::span<const Text> patterns) {
    return {patterns.begin(), patterns.end()};
}

} // namespace

std::vector<std::string_view> gpt2_patterns() {
    return listed(kR1);
}
std::vector<std::string_view> kimi_patterns() {
    return listed(kR8);
}

std::optional<PreTokenizerName> find_pre_tokenizer(std::string_view name) {
    for (const Row& row : kRows) {
        if (row.name == name) {
            return PreTokenizerName{listed(row.patterns), (row.traits & kWhole) != 0,
                                    (row.traits & kBos) != 0, (row.traits & kNfc) != 0};
        }
    }
    return std::nullopt;
}

PreTokenizerName default_pre_tokenizer() {
    return {{R"([\p{P}\$\+<=>\^~\|]+)",
             R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))",
             R"(\p{N}+)", R"([0-9][0-9][0-9])"},
            false,
            false,
            false};
}

} // namespace hs
