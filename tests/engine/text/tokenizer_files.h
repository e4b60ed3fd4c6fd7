#pragma once
// The tokenizers that tests/reference/make_tokenizers.py wrote, and the same as GGUF metadata.

#include "engine/core/json.h"
#include "engine/text/tokenizer.h"

#include <QtTest>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace hs::test {

inline std::string tokenizer_path(const std::string& name) {
    return std::string(HS_TEST_DATA "/data/tokenizers/") + name;
}

inline std::string file_text(const std::string& name) {
    std::ifstream stream(tokenizer_path(name), std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
}

inline std::vector<std::string> lines_of(const std::string& name) {
    std::istringstream stream(file_text(name));
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

inline std::vector<std::string> strings_of(const std::string& name) {
    std::vector<std::string> strings;
    for (const std::string& line : lines_of(name)) {
        strings.push_back(Json::parse(line).get<std::string>());
    }
    return strings;
}

inline std::vector<TokenId> unpacked(const std::string& packed) {
    static const std::string kAlphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i + 1 < packed.size(); i += 2) {
        ids.push_back(
            static_cast<TokenId>(kAlphabet.find(packed[i]) * 64 + kAlphabet.find(packed[i + 1])));
    }
    return ids;
}

inline Json json_of(const std::string& name) {
    return Json::parse(file_text(name));
}

inline Tokenizer tokenizer_of(const std::string& name) {
    auto made = Tokenizer::from_tokenizer_json(json_of(name + ".json"), nullptr);
    if (!made.ok()) {
        qFatal("%s: %s", name.c_str(), made.error().text().c_str());
    }
    return std::move(made).value();
}

// What a converter writes for a tokenizer.json: tokens by id, their types, merges as lines.
inline Json gguf_of(const Json& file, const std::string& model, const std::string& pre) {
    std::map<std::int64_t, std::string> by_id;
    std::map<std::int64_t, int> types;
    for (const auto& [text, id] : file["model"]["vocab"].items()) {
        by_id[id.get<std::int64_t>()] = text;
        types[id.get<std::int64_t>()] = text.size() == 6 && text.rfind("<0x", 0) == 0 ? 6 : 1;
    }
    for (const Json& added : file["added_tokens"]) {
        const auto id = added["id"].get<std::int64_t>();
        by_id[id] = added["content"].get<std::string>();
        types[id] = added["special"].get<bool>() ? 3 : 4;
    }
    Json metadata = Json::object();
    metadata["tokenizer.ggml.model"] = model;
    metadata["tokenizer.ggml.pre"] = pre;
    Json tokens = Json::array();
    Json token_types = Json::array();
    Json scores = Json::array();
    for (const auto& [id, text] : by_id) {
        if (text == "<unk>") {
            metadata["tokenizer.ggml.unknown_token_id"] = id;
            types[id] = 2;
        }
        tokens.push_back(text);
        token_types.push_back(types[id]);
        scores.push_back(-static_cast<double>(id));
    }
    metadata["tokenizer.ggml.tokens"] = tokens;
    metadata["tokenizer.ggml.token_type"] = token_types;
    if (model == "llama") {
        metadata["tokenizer.ggml.scores"] = scores;
    } else {
        Json merges = Json::array();
        for (const Json& merge : file["model"]["merges"]) {
            merges.push_back(merge.is_string()
                                 ? merge.get<std::string>()
                                 : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
        }
        metadata["tokenizer.ggml.merges"] = merges;
    }
    return metadata;
}

inline std::string shown(const std::vector<TokenId>& ids) {
    std::string text;
    for (const TokenId id : ids) {
        text += std::to_string(id) + " ";
    }
    return text;
}

} // namespace hs::test
