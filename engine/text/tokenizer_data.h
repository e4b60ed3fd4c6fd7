#pragma once
// What a Tokenizer is made of, filled by the loaders (tokenizer_json.cpp, tokenizer_gguf.cpp,
// tokenizer_tiktoken.cpp) and never changed after. Private to engine/text.

#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/normalize.h"
#include "engine/text/pre_tokenize.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// How one token's text becomes bytes, step by step.
struct DecoderStep {
    enum class Kind { Replace, ByteFallback, Strip };
    Kind kind = Kind::Replace;
    std::string from; // Replace; Strip: the character taken away
    std::string to;   // Replace
    std::int64_t start = 0;
    std::int64_t stop = 0;
};

struct Decoder {
    bool bytes = false;             // the tokens are written in the byte alphabet
    std::vector<DecoderStep> steps; // per token
    std::string strip_first; // taken from the start of the first token, every time it stands there
    std::string strip_text;  // taken from the start of the text ...
    std::int64_t strip_text_count = 0; // ... at most so often
};

struct TokenizerParts {
    Vocabulary vocabulary;
    std::vector<bool> special; // by id: shows nothing when special tokens are skipped
    std::vector<bool> added;   // by id: its text is as it is, outside the byte alphabet
    AddedTokens raw;           // matched before normalization
    AddedTokens normalized;    // matched after it

    std::vector<Normalizer> normalizers;
    std::vector<PreTokenizer> pre_tokenizers;
    Bpe model;
    Decoder decoder;

    std::vector<TokenId> prefix; // what the post-processor puts first
    std::optional<TokenId> bos;
    std::optional<TokenId> eos;
    std::optional<TokenId> pad;
    std::vector<TokenId> end_tokens; // sorted

    bool is(const std::vector<bool>& flags, TokenId id) const {
        return id >= 0 && static_cast<std::size_t>(id) < flags.size() &&
               flags[static_cast<std::size_t>(id)];
    }
};

struct Tokenizer::Data : TokenizerParts {};

// Adds to end_tokens the eos and every special or added token whose name ends replies, then sorts.
void settle_end_tokens(TokenizerParts& parts, std::vector<TokenId> more);

// Compiles patterns as stages that isolate their matches.
Result<void> add_stages(const std::vector<std::string_view>& patterns, TokenizerParts& parts);

// bos, eos, pad and add_bos_token of a tokenizer_config.json.
Result<void> apply_tokenizer_config(const Json& config, TokenizerParts& parts);

Result<TokenizerParts> parts_of_tokenizer_text(std::string_view text, const Json* tokenizer_config);
Result<TokenizerParts> parts_of_tokenizer_json(const Json& json, const Json* tokenizer_config);
Result<TokenizerParts> parts_of_gguf(const Json& metadata);
Result<TokenizerParts> parts_of_tiktoken(std::string_view ranks, const Json* tokenizer_config);

} // namespace hs
