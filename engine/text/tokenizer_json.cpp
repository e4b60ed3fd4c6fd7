#include "engine/text/split_patterns.h"
#include "engine/text/tokenizer_data.h"
#include "engine/text/tokenizer_tables.h"

#include <algorithm>
#include <array>
#include <utility>

namespace hs {

namespace {

Error corrupt(std::string what) {
    return Error{ErrorCode::Corrupt, std::move(what), ""};
}

Error unsupported(std::string_view component, std::string_view type) {
    return Error{ErrorCode::Unsupported,
                 "tokenizer.json: " + std::string(component) + " of type \"" +
                     std::string(type.substr(0, 80)) + "\" is not supported",
                 "Use a GGUF file of this model, if there is one."};
}

Result<std::string> type_of(const Json& component, std::string_view what) {
    return json_string(component, "type").with_context("tokenizer.json: " + std::string(what));
}

// {"String": "x"} or {"Regex": "x"}. An empty string matches nothing.
Result<std::optional<Regex>> pattern_of(const Json& component) {
    const Json* pattern = json_member(component, "pattern");
    if (pattern == nullptr) {
        return corrupt("tokenizer.json: a component lacks its pattern");
    }
    if (const Json* text = json_member(*pattern, "String"); text != nullptr && text->is_string()) {
        const auto& literal = text->get_ref<const std::string&>();
        if (literal.empty()) {
            return std::optional<Regex>();
        }
        return std::optional(TRY(Regex::literal(literal)));
    }
    if (const Json* text = json_member(*pattern, "Regex"); text != nullptr && text->is_string()) {
        return std::optional(TRY(Regex::compile(text->get_ref<const std::string&>())));
    }
    return corrupt("tokenizer.json: expected a pattern {\"String\": ...} or {\"Regex\": ...}");
}

// Calls `add` for a component, or for each part of a Sequence.
template <class Add>
Result<void> for_each_part(const Json* component, std::string_view what, std::string_view parts_key,
                           int depth, Add add) {
    if (component == nullptr || component->is_null()) {
        return {};
    }
    const std::string type = TRY(type_of(*component, what));
    if (type != "Sequence") {
        return add(*component, type);
    }
    const Json* parts = json_member(*component, parts_key);
    if (parts == nullptr || !parts->is_array() || parts->size() > 64 || depth > 8) {
        return corrupt("tokenizer.json: " + std::string(what) + ": a Sequence lacks its list \"" +
                       std::string(parts_key) + "\", or it is too long or too deep");
    }
    for (const Json& part : *parts) {
        TRY(for_each_part(&part, what, parts_key, depth + 1, add));
    }
    return {};
}

Result<void> add_normalizer(const Json& json, const std::string& type, TokenizerParts& parts) {
    using Kind = Normalizer::Kind;
    constexpr std::array<std::pair<std::string_view, Kind>, 5> kSimple = {
        {{"NFC", Kind::Nfc},
         {"NFD", Kind::Nfd},
         {"NFKC", Kind::Nfkc},
         {"NFKD", Kind::Nfkd},
         {"Lowercase", Kind::Lowercase}}};
    Normalizer step;
    const auto simple = std::find_if(kSimple.begin(), kSimple.end(),
                                     [&](const auto& row) { return row.first == type; });
    if (simple != kSimple.end()) {
        step.kind = simple->second;
    } else if (type == "Replace") {
        step.kind = Kind::Replace;
        step.pattern = TRY(pattern_of(json));
        step.content = TRY(json_string(json, "content"));
    } else if (type == "Prepend") {
        step.kind = Kind::Prepend;
        step.content = TRY(json_string(json, "prepend"));
    } else if (type == "Strip") {
        step.kind = Kind::Strip;
        step.left = TRY(json_bool(json, "strip_left", true));
        step.right = TRY(json_bool(json, "strip_right", true));
    } else {
        return unsupported("normalizer", type);
    }
    parts.normalizers.push_back(std::move(step));
    return {};
}

Result<SplitBehavior> behavior_of(const Json& json) {
    const std::string name = TRY(json_string(json, "behavior", "Isolated"));
    constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {
        {{"Isolated", SplitBehavior::Isolated},
         {"Removed", SplitBehavior::Removed},
         {"MergedWithPrevious", SplitBehavior::MergedWithPrevious},
         {"MergedWithNext", SplitBehavior::MergedWithNext},
         {"Contiguous", SplitBehavior::Contiguous}}};
    for (const auto& [known, behavior] : kBehaviors) {
        if (known == name) {
            return behavior;
        }
    }
    return unsupported("split behaviour", name);
}

Result<void> add_metaspace(const Json& json, TokenizerParts& parts) {
    PreTokenizer step;
    step.kind = PreTokenizer::Kind::Metaspace;
    step.replacement = TRY(json_string(json, "replacement", "▁"));
    if (step.replacement.empty() || step.replacement.size() > 4) {
        return corrupt("tokenizer.json: Metaspace: the replacement is not one character");
    }
    const bool legacy = TRY(json_bool(json, "add_prefix_space", true));
    const std::string scheme =
        TRY(json_string(json, "prepend_scheme", legacy ? "always" : "never"));
    step.prepend = scheme == "first"    ? PrependScheme::First
                   : scheme == "always" ? PrependScheme::Always
                                        : PrependScheme::Never;
    if (step.prepend == PrependScheme::Never && scheme != "never") {
        return unsupported("Metaspace's prepend_scheme", scheme);
    }
    step.split = TRY(json_bool(json, "split", true));
    step.pattern = TRY(Regex::literal(step.replacement));
    parts.pre_tokenizers.push_back(std::move(step));
    return {};
}

// bytes: set by ByteLevel, which must come last: what follows it would see the byte alphabet.
Result<void> add_pre_tokenizer(const Json& json, const std::string& type, TokenizerParts& parts,
                               bool& bytes) {
    if (bytes) {
        return unsupported("pre-tokenizer after ByteLevel", type);
    }
    PreTokenizer step;
    if (type == "Split") {
        step.pattern = TRY(pattern_of(json));
        step.behavior = TRY(behavior_of(json));
        step.invert = TRY(json_bool(json, "invert", false));
    } else if (type == "ByteLevel") {
        bytes = true;
        if (TRY(json_bool(json, "add_prefix_space", true))) {
            step.kind = PreTokenizer::Kind::PrefixSpace;
            parts.pre_tokenizers.push_back(std::move(step));
        }
        if (TRY(json_bool(json, "use_regex", true))) {
            TRY(add_stages(gpt2_patterns(), parts));
        }
        return {};
    } else if (type == "Metaspace") {
        return add_metaspace(json, parts);
    } else if (type == "Digits") {
        step.pattern = TRY(Regex::compile(R"(\p{N})"));
        step.behavior = TRY(json_bool(json, "individual_digits", false))
                            ? SplitBehavior::Isolated
                            : SplitBehavior::Contiguous;
    } else if (type == "Punctuation") {
        step.pattern = TRY(Regex::compile(R"([\p{P}$+<=>^`|~])"));
        step.behavior = TRY(behavior_of(json));
    } else if (type == "Whitespace") {
        step.pattern = TRY(Regex::compile(R"(\w+|[^\s\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+)"));
        step.behavior = SplitBehavior::Removed;
        step.invert = true;
    } else {
        return unsupported("pre-tokenizer", type);
    }
    parts.pre_tokenizers.push_back(std::move(step));
    return {};
}

// The special tokens a template puts before the text; what it puts after one is for training.
Result<void> add_post_processor(const Json& json, const std::string& type, TokenizerParts& parts) {
    if (type == "ByteLevel") {
        return {};
    }
    if (type != "TemplateProcessing") {
        return unsupported("post-processor", type);
    }
    const Json* single = json_member(json, "single");
    const Json* tokens = json_member(json, "special_tokens");
    if (single == nullptr || !single->is_array()) {
        return corrupt("tokenizer.json: TemplateProcessing lacks \"single\"");
    }
    for (const Json& item : *single) {
        const Json* special = json_member(item, "SpecialToken");
        if (special == nullptr) {
            break; // the text itself
        }
        const std::string name = TRY(json_string(*special, "id"));
        const Json* entry = tokens == nullptr ? nullptr : json_member(*tokens, name);
        const Json* ids = entry == nullptr ? nullptr : json_member(*entry, "ids");
        if (ids == nullptr || !ids->is_array() || ids->size() > 16) {
            return corrupt("tokenizer.json: TemplateProcessing names \"" + name +
                           "\" without its ids");
        }
        for (const Json& id : *ids) {
            if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
                id.get<std::int64_t>() >= Vocabulary::kMostTokens || parts.prefix.size() >= 16) {
                return corrupt("tokenizer.json: TemplateProcessing has an id out of range");
            }
            parts.prefix.push_back(id.get<TokenId>());
        }
    }
    return {};
}

// fused: set by Fuse, after which the text is one: only what is taken from its start can follow.
Result<void> add_decoder(const Json& json, const std::string& type, Decoder& decoder, bool& fused) {
    DecoderStep step;
    if (type == "ByteLevel") {
        decoder.bytes = true;
        return {};
    }
    if (type == "Fuse") {
        fused = true;
        return {};
    }
    if (type == "Strip") {
        step.kind = DecoderStep::Kind::Strip;
        step.from = TRY(json_string(json, "content"));
        step.start = TRY(json_int(json, "start", 0));
        step.stop = TRY(json_int(json, "stop", 0));
        if (step.start < 0 || step.stop < 0) {
            return corrupt("tokenizer.json: Strip has a negative count");
        }
        if (fused) {
            if (step.stop != 0 || !decoder.strip_text.empty()) {
                return unsupported("decoder after Fuse", type);
            }
            decoder.strip_text = step.start > 0 ? step.from : "";
            decoder.strip_text_count = step.start;
            return {};
        }
    } else if (fused) {
        return unsupported("decoder after Fuse", type);
    } else if (type == "Replace") {
        const Json* pattern = json_member(json, "pattern");
        if (pattern == nullptr || json_member(*pattern, "String") == nullptr) {
            return unsupported("decoder Replace", "Regex");
        }
        step.from = TRY(json_string(*pattern, "String"));
        step.to = TRY(json_string(json, "content"));
    } else if (type == "ByteFallback") {
        step.kind = DecoderStep::Kind::ByteFallback;
    } else if (type == "Metaspace") {
        step.from = TRY(json_string(json, "replacement", "▁"));
        step.to = " ";
        const bool legacy = TRY(json_bool(json, "add_prefix_space", true));
        if (TRY(json_string(json, "prepend_scheme", legacy ? "always" : "never")) != "never") {
            decoder.strip_first = step.from;
        }
    } else {
        return unsupported("decoder", type);
    }
    decoder.steps.push_back(std::move(step));
    return {};
}

Result<std::vector<AddedToken>> added_tokens_of(const Json& root) {
    std::vector<AddedToken> tokens;
    const Json* list = json_member(root, "added_tokens");
    if (list == nullptr) {
        return tokens;
    }
    if (!list->is_array()) {
        return corrupt("tokenizer.json: added_tokens is not a list");
    }
    for (const Json& item : *list) {
        AddedToken token;
        const std::int64_t id = TRY(json_int(item, "id").with_context("added_tokens"));
        if (id < 0 || id >= Vocabulary::kMostTokens) {
            return corrupt("tokenizer.json: added token id " + std::to_string(id) +
                           " is out of range");
        }
        token.id = static_cast<TokenId>(id);
        token.content = TRY(json_string(item, "content").with_context("added_tokens"));
        token.special = TRY(json_bool(item, "special", false));
        token.normalized = TRY(json_bool(item, "normalized", !token.special));
        token.single_word = TRY(json_bool(item, "single_word", false));
        token.left_strip = TRY(json_bool(item, "lstrip", false));
        token.right_strip = TRY(json_bool(item, "rstrip", false));
        tokens.push_back(std::move(token));
    }
    return tokens;
}

// Ids may have gaps, but a file of a few bytes may not ask for a table of millions.
Result<std::int64_t> id_count(const TokenizerTables& tables, const std::vector<AddedToken>& added) {
    std::int64_t most = -1;
    for (const TokenizerTables::Entry& entry : tables.vocabulary) {
        if (entry.id < 0) {
            return corrupt("tokenizer.json: the id of \"" + std::string(tables.view(entry.text)) +
                           "\" is negative");
        }
        most = std::max(most, entry.id);
    }
    for (const AddedToken& token : added) {
        most = std::max<std::int64_t>(most, token.id);
    }
    const auto entries = static_cast<std::int64_t>(tables.vocabulary.size() + added.size());
    if (most >= Vocabulary::kMostTokens || most >= 2 * entries + 65536) {
        return corrupt("tokenizer.json: id " + std::to_string(most) + " for " +
                       std::to_string(entries) + " tokens");
    }
    return most + 1;
}

Result<void> add_vocabulary(const TokenizerTables& tables, const std::vector<AddedToken>& added,
                            TokenizerParts& parts) {
    const std::int64_t count = TRY(id_count(tables, added));
    std::size_t bytes = 0;
    for (const TokenizerTables::Entry& entry : tables.vocabulary) {
        bytes += entry.text.length;
    }
    TRY(parts.vocabulary.reserve(count, bytes));
    parts.special.assign(static_cast<std::size_t>(count), false);
    parts.added.assign(static_cast<std::size_t>(count), false);
    for (const TokenizerTables::Entry& entry : tables.vocabulary) {
        const std::string_view text = tables.view(entry.text);
        if (parts.vocabulary.find(text) >= 0) {
            return corrupt("tokenizer.json: the token \"" + std::string(text.substr(0, 100)) +
                           "\" twice");
        }
        TRY(parts.vocabulary.add(static_cast<TokenId>(entry.id), text)
                .with_context("tokenizer.json"));
    }
    for (const AddedToken& token : added) {
        const auto at = static_cast<std::size_t>(token.id);
        if (parts.vocabulary.text(token.id) != token.content || !parts.vocabulary.has(token.id)) {
            TRY(parts.vocabulary.put(token.id, token.content).with_context("tokenizer.json"));
        }
        parts.special[at] = parts.special[at] || token.special;
        parts.added[at] = true;
    }
    return {};
}

Result<void> add_model(const TokenizerTables& tables, bool bytes, TokenizerParts& parts) {
    const Json* model = json_member(tables.rest, "model");
    if (model == nullptr || !model->is_object()) {
        return corrupt("tokenizer.json: model is missing");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        if (!TRY(json_string(*model, key, "")).empty()) {
            return unsupported("BPE", key);
        }
    }
    if (TRY(json_number(*model, "dropout", 0.0)) != 0.0) {
        return unsupported("BPE", "dropout");
    }
    BpeOptions options;
    options.bytes = bytes;
    options.ignore_merges = TRY(json_bool(*model, "ignore_merges", false));
    options.byte_fallback = !bytes && TRY(json_bool(*model, "byte_fallback", false));
    options.fuse_unknown = TRY(json_bool(*model, "fuse_unk", false));
    const std::string unknown = TRY(json_string(*model, "unk_token", ""));
    options.unknown = unknown.empty() ? -1 : parts.vocabulary.find(unknown);
    // Words alone never become a special token, however the merges or a whole piece would have it.
    parts.model.begin(parts.vocabulary, options, parts.special, tables.merges.size());
    std::string joined;
    for (std::size_t rank = 0; rank < tables.merges.size(); ++rank) {
        const std::string_view left = tables.view(tables.merges[rank].left);
        const std::string_view right = tables.view(tables.merges[rank].right);
        joined.assign(left);
        joined += right;
        const TokenId left_id = parts.vocabulary.find(left);
        const TokenId right_id = parts.vocabulary.find(right);
        const TokenId joined_id = parts.vocabulary.find(joined);
        if (left_id < 0 || right_id < 0 || joined_id < 0) {
            const std::string_view absent = left_id < 0 ? left : right_id < 0 ? right : joined;
            return corrupt("tokenizer.json: merge " + std::to_string(rank) +
                           " names a token that is not in the vocabulary: \"" +
                           std::string(absent.substr(0, 100)) + "\"");
        }
        if (!parts.is(parts.special, joined_id)) {
            parts.model.add_merge(left_id, right_id, joined_id, static_cast<std::uint32_t>(rank));
        }
    }
    return {};
}

Result<void> add_added_tokens(std::vector<AddedToken> added, TokenizerParts& parts) {
    RegexRun run(0);
    for (AddedToken& token : added) {
        if (token.normalized) {
            token.content = normalize(parts.normalizers, token.content, run);
            TRY(parts.normalized.add(token).with_context("tokenizer.json"));
        } else {
            TRY(parts.raw.add(token).with_context("tokenizer.json"));
        }
    }
    return {};
}

// "bos_token": "<s>" or {"content": "<s>", ...}.
std::optional<TokenId> named_token(const Json& config, std::string_view key,
                                   const Vocabulary& vocabulary) {
    const Json* member = json_member(config, key);
    if (member != nullptr && member->is_object()) {
        member = json_member(*member, "content");
    }
    if (member == nullptr || !member->is_string()) {
        return std::nullopt;
    }
    const TokenId id = vocabulary.find(member->get_ref<const std::string&>());
    return id < 0 ? std::nullopt : std::optional(id);
}

Result<TokenizerParts> parts_of(const TokenizerTables& tables, const Json* config) {
    TokenizerParts parts;
    const Json& root = tables.rest;
    const Json* model = json_member(root, "model");
    const std::string type =
        model == nullptr ? "" : TRY(json_string(*model, "type", "BPE").with_context("model"));
    if (type != "BPE") {
        return unsupported("model", type);
    }
    std::vector<AddedToken> added = TRY(added_tokens_of(root));
    TRY(add_vocabulary(tables, added, parts));
    TRY(for_each_part(json_member(root, "normalizer"), "normalizer", "normalizers", 0,
                      [&](const Json& json, const std::string& kind) {
                          return add_normalizer(json, kind, parts);
                      }));
    bool bytes = false;
    TRY(for_each_part(json_member(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", 0,
                      [&](const Json& json, const std::string& kind) {
                          return add_pre_tokenizer(json, kind, parts, bytes);
                      }));
    TRY(for_each_part(json_member(root, "post_processor"), "post_processor", "processors", 0,
                      [&](const Json& json, const std::string& kind) {
                          return add_post_processor(json, kind, parts);
                      }));
    bool fused = false;
    TRY(for_each_part(json_member(root, "decoder"), "decoder", "decoders", 0,
                      [&](const Json& json, const std::string& kind) {
                          return add_decoder(json, kind, parts.decoder, fused);
                      }));
    TRY(add_model(tables, bytes, parts));
    TRY(add_added_tokens(std::move(added), parts));
    for (const TokenId id : parts.prefix) {
        if (!parts.vocabulary.has(id)) {
            return corrupt("tokenizer.json: the post-processor puts id " + std::to_string(id) +
                           " first, which is no token");
        }
    }
    if (!parts.prefix.empty()) {
        parts.bos = parts.prefix.front();
    }
    if (config != nullptr) {
        TRY(apply_tokenizer_config(*config, parts));
    }
    settle_end_tokens(parts, {});
    return parts;
}

} // namespace

Result<void> apply_tokenizer_config(const Json& config, TokenizerParts& parts) {
    const auto bos = named_token(config, "bos_token", parts.vocabulary);
    parts.bos = bos.has_value() ? bos : parts.bos;
    parts.eos = named_token(config, "eos_token", parts.vocabulary);
    parts.pad = named_token(config, "pad_token", parts.vocabulary);
    // Where the key is given it decides, whatever the post-processor says.
    if (json_member(config, "add_bos_token") != nullptr) {
        const bool adds = TRY(json_bool(config, "add_bos_token").with_context("tokenizer_config"));
        if (!adds) {
            parts.prefix.clear();
        } else if (parts.prefix.empty() && parts.bos.has_value()) {
            parts.prefix = {*parts.bos};
        }
    }
    return {};
}

Result<TokenizerParts> parts_of_tokenizer_json(const Json& json, const Json* tokenizer_config) {
    return parts_of(TRY(tokenizer_tables(json)), tokenizer_config);
}

Result<TokenizerParts> parts_of_tokenizer_text(std::string_view text,
                                               const Json* tokenizer_config) {
    return parts_of(TRY(tokenizer_tables_of_text(text)), tokenizer_config);
}

} // namespace hs
