#include "engine/text/byte_alphabet.h"
#include "engine/text/split_patterns.h"
#include "engine/text/tokenizer_data.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace hs {

namespace {

constexpr std::size_t kMostText = std::size_t{64} << 20;
constexpr std::size_t kLongestToken = 512; // its cuts are all looked up: quadratic in this
constexpr TokenId kReserved = 256;         // ids after the ranks, named or not

Error corrupt(std::size_t line, const std::string& what) {
    return Error{ErrorCode::Corrupt, "tiktoken.model, line " + std::to_string(line) + ": " + what,
                 ""};
}

std::optional<std::string> from_base64(std::string_view text) {
    while (text.ends_with('=')) {
        text.remove_suffix(1);
    }
    std::string bytes;
    std::uint32_t bits = 0;
    int count = 0;
    for (const char c : text) {
        const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                          : c >= 'a' && c <= 'z' ? c - 'a' + 26
                          : c >= '0' && c <= '9' ? c - '0' + 52
                          : c == '+'             ? 62
                          : c == '/'             ? 63
                                                 : -1;
        if (value < 0) {
            return std::nullopt;
        }
        bits = (bits << 6) | static_cast<std::uint32_t>(value);
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes.push_back(static_cast<char>((bits >> count) & 0xFF));
        }
    }
    return bytes;
}

struct Ranked {
    std::string text; // in the byte alphabet
    TokenId rank = -1;
};

Result<std::vector<Ranked>> ranked_tokens(std::string_view file) {
    std::vector<Ranked> tokens;
    for (std::size_t line = 1; !file.empty(); ++line) {
        const std::size_t end = std::min(file.find('\n'), file.size());
        std::string_view row = file.substr(0, end);
        file.remove_prefix(std::min(end + 1, file.size()));
        if (row.ends_with('\r')) {
            row.remove_suffix(1);
        }
        if (row.empty()) {
            continue;
        }
        const std::size_t space = row.find(' ');
        const auto bytes = from_base64(row.substr(0, space));
        std::int64_t rank = -1;
        if (space != std::string_view::npos) {
            const char* last = row.data() + row.size();
            const auto read = std::from_chars(row.data() + space + 1, last, rank);
            rank = read.ptr == last ? rank : -1;
        }
        if (!bytes.has_value() || bytes->empty() || bytes->size() > kLongestToken || rank < 0 ||
            rank >= Vocabulary::kMostTokens) {
            return corrupt(line, "expected a token in base64, a space and its rank");
        }
        tokens.push_back({to_byte_characters(*bytes), static_cast<TokenId>(rank)});
    }
    return tokens;
}

// Special tokens of tokenizer_config.json's added_tokens_decoder: id to text.
Result<std::map<TokenId, std::string>> special_tokens(const Json* config) {
    std::map<TokenId, std::string> specials;
    const Json* list = config == nullptr ? nullptr : json_member(*config, "added_tokens_decoder");
    if (list == nullptr || !list->is_object()) {
        return specials;
    }
    for (const auto& [name, token] : list->items()) {
        TokenId id = -1;
        const char* last = name.data() + name.size();
        const auto read = std::from_chars(name.data(), last, id);
        if (read.ec != std::errc() || read.ptr != last || id < 0 || id >= Vocabulary::kMostTokens) {
            return Error{ErrorCode::Corrupt,
                         "tokenizer_config.json: added_tokens_decoder: \"" + name.substr(0, 40) +
                             "\" is no token id",
                         ""};
        }
        specials[id] = TRY(json_string(token, "content").with_context("added_tokens_decoder"));
    }
    return specials;
}

} // namespace

Result<TokenizerParts> parts_of_tiktoken(std::string_view ranks, const Json* tokenizer_config) {
    if (ranks.size() > kMostText) {
        return Error{ErrorCode::Corrupt, "tiktoken.model is over the limit of 64 MiB", ""};
    }
    const std::vector<Ranked> tokens = TRY(ranked_tokens(ranks));
    std::map<TokenId, std::string> specials = TRY(special_tokens(tokenizer_config));
    TokenId base = 0; // the first id after the ranks
    std::size_t bytes = 0;
    for (const Ranked& token : tokens) {
        base = std::max(base, token.rank + 1);
        bytes += token.text.size();
    }
    const std::int64_t count = std::max<std::int64_t>(
        base + kReserved, specials.empty() ? 0 : std::int64_t{specials.rbegin()->first} + 1);
    if (static_cast<std::size_t>(count) > 2 * (tokens.size() + specials.size()) + 65536) {
        return Error{ErrorCode::Corrupt,
                     "tiktoken.model: " + std::to_string(tokens.size()) +
                         " tokens with ids up to " + std::to_string(count),
                     ""};
    }
    TokenizerParts parts;
    TRY(parts.vocabulary.reserve(count, bytes));
    parts.special.assign(static_cast<std::size_t>(count), false);
    parts.added.assign(static_cast<std::size_t>(count), false);
    for (const Ranked& token : tokens) {
        TRY(parts.vocabulary.add(token.rank, token.text).with_context("tiktoken.model"));
    }
    for (TokenId id = base; id < base + kReserved; ++id) {
        specials.try_emplace(id, "<|reserved_token_" + std::to_string(id) + "|>");
    }
    for (const auto& [id, content] : specials) {
        TRY(parts.vocabulary.put(id, content).with_context("added_tokens_decoder"));
        parts.special[static_cast<std::size_t>(id)] = true;
        parts.added[static_cast<std::size_t>(id)] = true;
        AddedToken added;
        added.id = id;
        added.content = content;
        added.special = true;
        TRY(parts.raw.add(added).with_context("added_tokens_decoder"));
    }
    BpeOptions options;
    options.bytes = true;
    options.ignore_merges = true; // tiktoken looks a whole piece up first
    parts.model.begin(parts.vocabulary, options, parts.special, tokens.size() * 2);
    // tiktoken merges the neighbours whose joined bytes have the lowest rank, whichever two parts
    // they come in: every cut of a token into two tokens is a merge.
    for (const Ranked& token : tokens) {
        const std::string_view text = token.text;
        for (std::size_t cut = 1; cut < text.size(); ++cut) {
            const bool inside = (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80;
            const TokenId left = inside ? -1 : parts.vocabulary.find(text.substr(0, cut));
            const TokenId right = left < 0 ? -1 : parts.vocabulary.find(text.substr(cut));
            if (right >= 0) {
                parts.model.add_merge(left, right, token.rank,
                                      static_cast<std::uint32_t>(token.rank));
            }
        }
    }
    parts.decoder.bytes = true;
    TRY(add_stages(kimi_patterns(), parts));
    if (tokenizer_config != nullptr) {
        TRY(apply_tokenizer_config(*tokenizer_config, parts));
    }
    settle_end_tokens(parts, {});
    return parts;
}

} // namespace hs
