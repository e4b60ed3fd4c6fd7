#include "engine/files/checkpoint.h"
#include "engine/text/tokenizer_data.h"

namespace hs {

namespace {

// eos_token_id of config.json or generation_config.json: a number or a list of them.
void collect_ids(const Json& config, std::vector<TokenId>& ids) {
    const Json* found = json_member(config, "eos_token_id");
    const auto take = [&](const Json& id) {
        if (id.is_number_integer()) {
            const auto value = id.get<std::int64_t>();
            if (value >= 0 && value < Vocabulary::kMostTokens && ids.size() < 64) {
                ids.push_back(static_cast<TokenId>(value));
            }
        }
    };
    if (found != nullptr && found->is_array()) {
        for (const Json& id : *found) {
            take(id);
        }
    } else if (found != nullptr) {
        take(*found);
    }
    if (const Json* text = json_member(config, "text_config"); text != nullptr) {
        collect_ids(*text, ids);
    }
}

// Nothing when the folder has no such file.
Result<std::optional<Json>> side_json(const Checkpoint& checkpoint, std::string_view name) {
    Result<std::string> text = checkpoint.read_side_file(name);
    if (!text.ok()) {
        if (text.error().code == ErrorCode::NotFound) {
            return std::optional<Json>();
        }
        return std::move(text).error();
    }
    return std::optional(TRY(parse_json(*text).with_context(name)));
}

} // namespace

Result<Tokenizer> Tokenizer::open(const Checkpoint& checkpoint) {
    if (checkpoint.container() == Container::Gguf) {
        return Tokenizer(Data{TRY(parts_of_gguf(checkpoint.metadata()))});
    }
    const std::optional<Json> config = TRY(side_json(checkpoint, "tokenizer_config.json"));
    const std::optional<Json> generation = TRY(side_json(checkpoint, "generation_config.json"));
    const Json* const config_or_none = config.has_value() ? &*config : nullptr;
    TokenizerParts parts;
    if (Result<std::string> file = checkpoint.read_side_file("tokenizer.json"); file.ok()) {
        parts = TRY(parts_of_tokenizer_text(*file, config_or_none));
    } else if (file.error().code != ErrorCode::NotFound) {
        return std::move(file).error();
    } else if (Result<std::string> ranks = checkpoint.read_side_file("tiktoken.model");
               ranks.ok()) {
        parts = TRY(parts_of_tiktoken(*ranks, config_or_none));
    } else {
        return Error{ErrorCode::NotFound,
                     "the checkpoint has neither tokenizer.json nor tiktoken.model",
                     "Fetch the model's tokenizer files into its folder."};
    }
    std::vector<TokenId> ends;
    collect_ids(checkpoint.metadata(), ends);
    if (generation.has_value()) {
        collect_ids(*generation, ends);
    }
    settle_end_tokens(parts, std::move(ends));
    return Tokenizer(Data{std::move(parts)});
}

} // namespace hs
