#pragma once
// Text to ids and back: byte-level BPE and SentencePiece-style BPE, from tokenizer.json and from
// GGUF metadata. Special tokens are matched only where the caller says that text is markup.

#include "engine/core/json.h"
#include "engine/core/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

class Checkpoint;
using TokenId = std::int32_t;

// Whether added tokens ("<|im_end|>") are matched in a text. Plain is for what a person typed.
enum class Specials { Match, Plain };

// A run of text with its origin: a template's own markup, or a person's words.
struct TextSpan {
    std::string text;
    Specials specials = Specials::Match;
};

class Tokenizer {
public:
    // Errors: Unsupported (component and type named), Corrupt.
    static Result<Tokenizer> from_tokenizer_json(const Json& tokenizer_json,
                                                 const Json* tokenizer_config);
    static Result<Tokenizer> from_gguf(const Json& metadata);
    // Whichever the checkpoint carries. NotFound when it has none.
    static Result<Tokenizer> open(const Checkpoint& checkpoint);

    Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    // add_bos: put the BOS token first if the tokenizer says that texts begin with one.
    std::vector<TokenId> encode(std::string_view text, Specials specials,
                                bool add_bos = false) const;
    std::vector<TokenId> encode(std::span<const TextSpan> spans) const;

    // The bytes one token stands for; empty for an id out of range. May end inside a character.
    std::string bytes_of(TokenId id) const;
    std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

    std::int64_t vocab_size() const;
    std::optional<TokenId>
    find(std::string_view token) const; // exact token text, specials included
    bool is_special(TokenId id) const;

    std::optional<TokenId> bos() const;
    std::optional<TokenId> eos() const;
    std::optional<TokenId> pad() const;
    bool adds_bos() const;
    // Every id that ends a reply (formats.md, text-and-services.md section 4.7).
    const std::vector<TokenId>& end_tokens() const;
    bool ends_reply(TokenId id) const;

private:
    struct Data;
    std::unique_ptr<const Data> m_data;
};

} // namespace hs
