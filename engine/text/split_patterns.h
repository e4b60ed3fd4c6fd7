#pragma once
// The published pre-tokenizer patterns, and which of them a GGUF names in tokenizer.ggml.pre.

#include <optional>
#include <string_view>
#include <vector>

namespace hs {

// Patterns applied one after the other, each isolating its matches (text-and-services.md 4.3).
std::vector<std::string_view> gpt2_patterns(); // also built into ByteLevel's use_regex
std::vector<std::string_view> kimi_patterns();

struct PreTokenizerName {
    std::vector<std::string_view> patterns;
    bool ignore_merges = false;
    bool add_bos = false;
    bool nfc = false; // the published tokenizer.json normalizes; GGUF has no key for it
};

// Nothing for a name that is not in the table.
std::optional<PreTokenizerName> find_pre_tokenizer(std::string_view name);
// For a GGUF without a name: the four stages that llama.cpp applies then.
PreTokenizerName default_pre_tokenizer();

} // namespace hs
