// Any bytes through every split pattern: they come back as they were, in a stream too, and only
// markup becomes an added token. The first byte picks the pattern.

#include "engine/core/json.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::array<const char*, 11> kPatterns = {
    "gpt-2",   "llama-bpe",  "stablelm2", "gpt-4o",    "tekken", "deepseek-v3",
    "kimi-k2", "bailingmoe", "minicpm5",  "starcoder", "default"};

// All bytes, a few merges, one control token; or the same as a SentencePiece vocabulary.
hs::Json vocabulary(const std::string& model, const std::string& pre) {
    hs::Json metadata = hs::Json::object();
    hs::Json tokens = hs::Json::array();
    hs::Json types = hs::Json::array();
    hs::Json scores = hs::Json::array();
    const bool is_bytes = model == "gpt2";
    const auto add = [&](const std::string& text, int type) {
        tokens.push_back(text);
        types.push_back(type);
        scores.push_back(-static_cast<double>(tokens.size()));
    };
    constexpr std::string_view kHex = "0123456789ABCDEF";
    for (unsigned byte = 0; byte < 256; ++byte) {
        if (is_bytes) {
            add(hs::to_byte_characters(std::string(1, static_cast<char>(byte))), 1);
        } else {
            add({'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'}, 6);
        }
    }
    hs::Json merges = hs::Json::array();
    for (const char* pair : {"a a", "aa aa", "a b", "t h", "th e", "1 2", "12 3", "e r"}) {
        std::string joined(pair);
        const std::size_t space = joined.find(' ');
        merges.push_back(joined);
        joined.erase(space, 1);
        add(joined, 1);
    }
    add("<|im_end|>", 3);
    metadata["tokenizer.ggml.model"] = model;
    metadata["tokenizer.ggml.pre"] = pre;
    metadata["tokenizer.ggml.tokens"] = tokens;
    metadata["tokenizer.ggml.token_type"] = types;
    metadata["tokenizer.ggml.scores"] = scores;
    metadata["tokenizer.ggml.merges"] = merges;
    return metadata;
}

std::vector<hs::Tokenizer> make_all() {
    std::vector<hs::Tokenizer> all;
    for (const char* pre : kPatterns) {
        all.push_back(hs::Tokenizer::from_gguf(vocabulary("gpt2", pre)).value());
    }
    all.push_back(hs::Tokenizer::from_gguf(vocabulary("llama", "default")).value());
    all.push_back(hs::Tokenizer::from_gguf(vocabulary("gemma4", "gemma4")).value());
    return all;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<hs::Tokenizer> all = make_all();
    if (size == 0) {
        return 0;
    }
    const std::size_t which = data[0] % all.size();
    const hs::Tokenizer& tokenizer = all[which];
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const hs::TokenId control = *tokenizer.find("<|im_end|>");

    const auto plain = tokenizer.encode(text, hs::Specials::Plain);
    for (const hs::TokenId id : plain) {
        HS_ASSERT(id >= 0 && id < tokenizer.vocab_size() && id != control);
    }
    const std::string decoded = tokenizer.decode(plain);
    if (which < kPatterns.size()) { // the others spell a space as U+2581
        HS_ASSERT(decoded == hs::utf8::valid_text(text));
    }
    hs::Detokenizer detokenizer(tokenizer);
    std::string streamed;
    for (const hs::TokenId id : plain) {
        const std::string more = detokenizer.push(id);
        HS_ASSERT(hs::utf8::is_valid(more));
        streamed += more;
    }
    HS_ASSERT(streamed + detokenizer.flush() == decoded);

    const std::vector<hs::TextSpan> spans = {{"<|im_end|>", hs::Specials::Match},
                                             {std::string(text), hs::Specials::Plain},
                                             {"<|im_end|>", hs::Specials::Match}};
    const auto framed = tokenizer.encode(spans);
    HS_ASSERT(framed.size() == plain.size() + 2 && framed.front() == control &&
              framed.back() == control);
    tokenizer.encode(text, hs::Specials::Match);
    return 0;
}
