#pragma once
// Text to ids and back: byte-level BPE and SentencePiece-style BPE, from tokenizer.json, from GGUF
// metadata and from tiktoken's rank files. Added tokens, special or not, are matched only where the
// caller says that text is markup.

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
    // The same from the file's text, without a tree of its vocabulary in memory.
    static Result<Tokenizer> from_tokenizer_text(std::string_view tokenizer_json,
                                                 const Json* tokenizer_config);
    static Result<Tokenizer> from_gguf(const Json& metadata);
    // tiktoken.model as Kimi publishes it; special tokens from the config's added_tokens_decoder.
    static Result<Tokenizer> from_tiktoken(std::string_view ranks, const Json* tokenizer_config);
    // Whichever the checkpoint carries. NotFound when it has none.
    static Result<Tokenizer> open(const Checkpoint& checkpoint);

    Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    // add_bos: put the BOS token first if the tokenizer says that texts begin with one.
    // Never fails: bytes that are not UTF-8 count as U+FFFD, one per maximal ill-formed stretch (as
    // Python's and Rust's lossy decoding would hand them to Hugging Face's tokenizers), and a split
    // pattern that runs over its time is left out for the rest of the text, with a warning.
    std::vector<TokenId> encode(std::string_view text, Specials specials,
                                bool add_bos = false) const;
    // The spans as one text, so that the ids are those of the text as a whole; an added token is
    // matched only where all of it lies in spans of Specials::Match.
    std::vector<TokenId> encode(std::span<const TextSpan> spans) const;

    // The bytes one token stands for; empty for an id out of range. May end inside a character.
    std::string bytes_of(TokenId id) const;
    // The same for the next token of a text: some decoders take spaces away where a text begins.
    // A fresh start per text.
    struct TextStart {
        std::int64_t tokens = 0;
        std::int64_t stripped = 0;
        bool over = false;
    };
    std::string bytes_of(TokenId id, TextStart& start) const;
    // Valid UTF-8. Bytes that are no character become U+FFFD: one per stretch, or one per byte
    // where the vocabulary has byte tokens (shows_each_byte).
    std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;
    bool shows_each_byte() const;

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
    explicit Tokenizer(Data data);
    std::unique_ptr<const Data> m_data;
};

} // namespace hs
