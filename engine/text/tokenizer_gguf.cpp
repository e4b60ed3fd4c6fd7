#include "engine/core/log.h"
#include "engine/text/split_patterns.h"
#include "engine/text/tokenizer_data.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace hs {

namespace {

using namespace std::string_literals;

// tokenizer.ggml.token_type
enum Type : std::int64_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
};

Error corrupt(std::string what) {
    return Error{ErrorCode::Corrupt, "tokenizer.ggml." + std::move(what), ""};
}

const Json* key(const Json& metadata, std::string_view name) {
    return json_member(metadata, "tokenizer.ggml." + std::string(name));
}

// An array of the metadata as long as the vocabulary, or nullptr when absent.
Result<const Json*> array(const Json& metadata, std::string_view name, std::size_t count) {
    const Json* found = key(metadata, name);
    if (found != nullptr && (!found->is_array() || found->size() != count)) {
        return corrupt(std::string(name) + ": expected " + std::to_string(count) +
                       " entries, found " +
                       (found->is_array() ? std::to_string(found->size()) : "no array"s));
    }
    return found;
}

// An id of the vocabulary under a key; nothing when absent or out of range, as some converters
// write -1 or 4294967295 for "none".
std::optional<TokenId> token(const Json& metadata, std::string_view name,
                             const TokenizerParts& parts) {
    const Json* found = key(metadata, name);
    if (found == nullptr || !found->is_number_integer()) {
        return std::nullopt;
    }
    const auto id = found->get<std::int64_t>();
    if (id < 0 || id >= parts.vocabulary.size()) {
        return std::nullopt;
    }
    return static_cast<TokenId>(id);
}

Result<bool> flag(const Json& metadata, std::string_view name, bool absent) {
    return json_bool(metadata, "tokenizer.ggml." + std::string(name), absent);
}

Result<std::vector<std::int64_t>> types_of(const Json& metadata, std::size_t count) {
    std::vector<std::int64_t> types(count, kNormal);
    const Json* list = TRY(array(metadata, "token_type", count));
    for (std::size_t i = 0; list != nullptr && i < count; ++i) {
        const Json& type = (*list)[i];
        if (!type.is_number_integer()) {
            return corrupt("token_type: entry " + std::to_string(i) + " is not an integer");
        }
        types[i] = type.get<std::int64_t>();
    }
    return types;
}

Result<void> add_vocabulary(const Json& metadata, const Json& tokens, TokenizerParts& parts,
                            std::vector<std::int64_t>& types) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (!tokens[i].is_string()) {
            return corrupt("tokens: entry " + std::to_string(i) + " is not a string");
        }
        bytes += tokens[i].get_ref<const std::string&>().size();
    }
    TRY(parts.vocabulary.reserve(static_cast<std::int64_t>(tokens.size()), bytes)
            .with_context("tokenizer.ggml.tokens"));
    types = TRY(types_of(metadata, tokens.size()));
    parts.special.assign(tokens.size(), false);
    parts.added.assign(tokens.size(), false);
    // Backwards, so that of equal texts (padding, mostly) the first id is the one found.
    for (std::size_t i = tokens.size(); i-- > 0;) {
        TRY(parts.vocabulary.add(static_cast<TokenId>(i), tokens[i].get_ref<const std::string&>())
                .with_context("tokenizer.ggml.tokens"));
        parts.special[i] = types[i] == kUnknown || types[i] == kControl;
        parts.added[i] = parts.special[i] || types[i] == kUserDefined;
    }
    // Older converters left these normal; no model means them as words.
    for (const std::string_view name : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>",
                                        "<|end|>", "<|end_of_text|>", "<|role_end|>"}) {
        if (const TokenId id = parts.vocabulary.find(name); id >= 0) {
            parts.special[static_cast<std::size_t>(id)] = true;
            parts.added[static_cast<std::size_t>(id)] = true;
        }
    }
    return {};
}

Result<void> add_merges(const Json& metadata, TokenizerParts& parts) {
    const Json* merges = key(metadata, "merges");
    if (merges == nullptr || !merges->is_array()) {
        return corrupt("merges: expected an array of strings");
    }
    std::size_t skipped = 0;
    std::string joined;
    for (std::size_t rank = 0; rank < merges->size(); ++rank) {
        if (!(*merges)[rank].is_string()) {
            return corrupt("merges: entry " + std::to_string(rank) + " is not a string");
        }
        const std::string_view line = (*merges)[rank].get_ref<const std::string&>();
        const std::size_t space = line.find(' ', 1); // a piece may itself begin with a space
        if (space == std::string_view::npos || space + 1 == line.size()) {
            return corrupt("merges: entry " + std::to_string(rank) + " is not two tokens");
        }
        const std::string_view left = line.substr(0, space);
        const std::string_view right = line.substr(space + 1);
        joined.assign(left);
        joined += right;
        const TokenId left_id = parts.vocabulary.find(left);
        const TokenId right_id = parts.vocabulary.find(right);
        const TokenId joined_id = parts.vocabulary.find(joined);
        if (left_id < 0 || right_id < 0 || joined_id < 0) {
            ++skipped;
        } else if (!parts.is(parts.special, joined_id)) {
            parts.model.add_merge(left_id, right_id, joined_id, static_cast<std::uint32_t>(rank));
        }
    }
    if (skipped > 0) {
        HS_LOG(Warning, "text", "{} of {} merges name tokens that the vocabulary lacks", skipped,
               merges->size());
    }
    return {};
}

void blocked_for_text(const std::vector<std::int64_t>& types, std::vector<bool>& blocked) {
    for (std::size_t i = 0; i < types.size(); ++i) {
        blocked[i] = blocked[i] || types[i] == kUnused;
    }
}

Result<PreTokenizerName> pre_tokenizer_of(const Json& metadata) {
    const std::string name = TRY(json_string(metadata, "tokenizer.ggml.pre", "default"));
    if (name == "default") {
        HS_LOG(Warning, "text",
               "the GGUF names no pre-tokenizer; splitting as llama.cpp does by default, which may "
               "not be how the model was trained");
        return default_pre_tokenizer();
    }
    if (auto known = find_pre_tokenizer(name); known.has_value()) {
        return *std::move(known);
    }
    HS_LOG(Warning, "text",
           "the GGUF names the pre-tokenizer \"{}\", which is not known here; splitting as Llama 3 "
           "does, so that some words may be tokenized otherwise than in training",
           name.substr(0, 60));
    PreTokenizerName fallback = *find_pre_tokenizer("llama-bpe");
    fallback.ignore_merges = false;
    fallback.add_bos = false;
    return fallback;
}

// model "gpt2": byte-level BPE.
Result<bool> set_up_byte_level(const Json& metadata, const std::vector<bool>& blocked,
                               TokenizerParts& parts) {
    const PreTokenizerName pre = TRY(pre_tokenizer_of(metadata));
    parts.decoder.bytes = true;
    TRY(add_stages(pre.patterns, parts));
    if (pre.nfc) {
        parts.normalizers.push_back({});
    }
    BpeOptions options;
    options.bytes = true;
    options.ignore_merges = pre.ignore_merges;
    parts.model.begin(parts.vocabulary, options, blocked,
                      key(metadata, "merges") == nullptr ? 0 : key(metadata, "merges")->size());
    TRY(add_merges(metadata, parts));
    return pre.add_bos;
}

// Spaces as "▁", bytes as <0xHH>: what "llama" and "gemma4" share.
Result<void> set_up_raw_text(TokenizerParts& parts, bool prefix_space) {
    if (prefix_space) {
        Normalizer prefix;
        prefix.kind = Normalizer::Kind::Prepend;
        prefix.content = "▁";
        parts.normalizers.push_back(std::move(prefix));
        parts.decoder.strip_text = " ";
        parts.decoder.strip_text_count = 1;
    }
    Normalizer spaces;
    spaces.kind = Normalizer::Kind::Replace;
    spaces.pattern = TRY(Regex::literal(" "));
    spaces.content = "▁";
    parts.normalizers.push_back(std::move(spaces));
    parts.decoder.steps = {{DecoderStep::Kind::Replace, "▁", " ", 0, 0},
                           {DecoderStep::Kind::ByteFallback, "", "", 0, 0}};
    return {};
}

// model "llama": SentencePiece's BPE, merged by score.
Result<void> set_up_scores(const Json& metadata, const std::vector<bool>& blocked,
                           TokenizerParts& parts) {
    const auto count = static_cast<std::size_t>(parts.vocabulary.size());
    const Json* list = TRY(array(metadata, "scores", count));
    if (list == nullptr) {
        return corrupt("scores: missing, which the model \"llama\" merges by");
    }
    std::vector<float> scores(count);
    for (std::size_t i = 0; i < count; ++i) {
        if (!(*list)[i].is_number() || !std::isfinite((*list)[i].get<float>())) {
            return corrupt("scores: entry " + std::to_string(i) + " is not a number");
        }
        scores[i] = (*list)[i].get<float>();
    }
    const bool prefix_space = TRY(flag(metadata, "add_space_prefix", true));
    TRY(set_up_raw_text(parts, prefix_space));
    BpeOptions options;
    options.by_score = true;
    options.byte_fallback = true;
    options.unknown = token(metadata, "unknown_token_id", parts).value_or(-1);
    parts.model.begin(parts.vocabulary, options, blocked, 0);
    parts.model.set_scores(std::move(scores));
    return {};
}

// model "gemma4": ranked merges over raw characters.
Result<void> set_up_characters(const Json& metadata, const std::vector<bool>& blocked,
                               TokenizerParts& parts) {
    const bool prefix_space = TRY(flag(metadata, "add_space_prefix", false));
    TRY(set_up_raw_text(parts, prefix_space));
    // A whole document would be one piece otherwise. A run of newlines is one token if there is
    // one.
    TRY(add_stages({R"([^\n]+|[\n]+)"}, parts));
    BpeOptions options;
    options.byte_fallback = true;
    options.fuse_unknown = true;
    options.unknown = token(metadata, "unknown_token_id", parts).value_or(-1);
    options.whole_line_breaks = true;
    parts.model.begin(parts.vocabulary, options, blocked, 0);
    return add_merges(metadata, parts);
}

} // namespace

Result<TokenizerParts> parts_of_gguf(const Json& metadata) {
    const Json* tokens = key(metadata, "tokens");
    if (tokens == nullptr) {
        // Rare, but whole: the model's own file inside the GGUF.
        const Json* file = json_member(metadata, "tokenizer.huggingface.json");
        if (file != nullptr && file->is_string()) {
            return parts_of_tokenizer_text(file->get_ref<const std::string&>(), nullptr);
        }
        return Error{ErrorCode::NotFound,
                     "the GGUF carries no tokenizer: tokenizer.ggml.tokens is missing",
                     "Use a file that holds the model and its vocabulary."};
    }
    if (!tokens->is_array() || tokens->empty()) {
        return corrupt("tokens: expected an array of strings");
    }
    TokenizerParts parts;
    std::vector<std::int64_t> types;
    TRY(add_vocabulary(metadata, *tokens, parts, types));
    std::vector<bool> blocked = parts.special;
    blocked_for_text(types, blocked);

    const std::string model = TRY(json_string(metadata, "tokenizer.ggml.model"));
    bool adds_bos = false;
    if (model == "gpt2") {
        adds_bos = TRY(set_up_byte_level(metadata, blocked, parts));
    } else if (model == "llama") {
        TRY(set_up_scores(metadata, blocked, parts));
        adds_bos = true;
    } else if (model == "gemma4") {
        TRY(set_up_characters(metadata, blocked, parts));
        adds_bos = true;
    } else {
        return Error{ErrorCode::Unsupported,
                     "tokenizer.ggml.model \"" + model.substr(0, 60) + "\" is not supported",
                     "Supported are gpt2, llama and gemma4."};
    }
    for (std::size_t i = 0; i < tokens->size(); ++i) {
        if (parts.added[i]) {
            AddedToken added;
            added.id = static_cast<TokenId>(i);
            added.content = (*tokens)[i].get_ref<const std::string&>();
            added.special = parts.special[i];
            TRY(parts.raw.add(added).with_context("tokenizer.ggml.tokens"));
        }
    }
    parts.bos = token(metadata, "bos_token_id", parts);
    parts.eos = token(metadata, "eos_token_id", parts);
    parts.pad = token(metadata, "padding_token_id", parts);
    if (TRY(flag(metadata, "add_bos_token", adds_bos)) && parts.bos.has_value()) {
        parts.prefix = {*parts.bos};
    }
    std::vector<TokenId> ends;
    for (const char* name : {"eot_token_id", "eom_token_id"}) {
        if (const auto id = token(metadata, name, parts); id.has_value()) {
            ends.push_back(*id);
        }
    }
    settle_end_tokens(parts, std::move(ends));
    return parts;
}

} // namespace hs
