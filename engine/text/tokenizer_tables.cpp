#include "engine/text/tokenizer_tables.h"

#include "engine/text/vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace hs {

namespace {

using Tables = TokenizerTables;

constexpr std::size_t kMostText = std::size_t{64} << 20;
constexpr std::size_t kMostDepth = 32;

Error corrupt(std::string what) {
    return Error{ErrorCode::Corrupt, std::move(what), ""};
}

// Reads the file's text in one pass. model.vocab and model.merges go straight into the tables: as a
// tree they would be most of the time and ten times the memory.
class Reader : public nlohmann::json_sax<Json> {
public:
    explicit Reader(Tables& tables)
        : m_tables(tables) {}

    const std::string& failure() const { return m_failure; }

    bool null() override { return value(Json(nullptr)); }
    bool boolean(bool val) override { return value(Json(val)); }
    bool number_integer(number_integer_t val) override { return number(val, Json(val)); }
    bool number_unsigned(number_unsigned_t val) override {
        return number(static_cast<std::int64_t>(std::min<number_unsigned_t>(
                          val, std::numeric_limits<std::int64_t>::max())),
                      Json(val));
    }
    bool number_float(number_float_t val, const string_t&) override {
        return m_mode == Mode::Tree ? value(Json(val)) : fail("a fraction among ids");
    }
    bool binary(binary_t&) override { return fail("binary data"); }

    bool string(string_t& val) override {
        switch (m_mode) {
        case Mode::Tree:
            return value(Json(std::move(val)));
        case Mode::Vocabulary:
            return fail("a string as the id of \"" + m_key + "\"");
        case Mode::Merges:
            return m_tables.keep_merge(val) || fail("merge \"" + val + "\" is not two tokens");
        case Mode::Pair:
            if (m_pair.size() == 2) {
                return fail("a merge of more than two tokens");
            }
            m_pair.push_back(m_tables.keep(val));
            return true;
        }
        return false;
    }

    bool start_object(std::size_t) override {
        if (m_mode != Mode::Tree) {
            return fail("an object in the vocabulary or the merges");
        }
        if (in_model() && m_key == "vocab") {
            m_mode = Mode::Vocabulary;
            return true;
        }
        return open(Json::object());
    }
    bool key(string_t& val) override {
        m_key = std::move(val);
        return true;
    }
    bool end_object() override {
        if (m_mode == Mode::Vocabulary) {
            m_mode = Mode::Tree;
            return true;
        }
        return close();
    }
    bool start_array(std::size_t) override {
        if (m_mode == Mode::Merges) {
            m_mode = Mode::Pair;
            m_pair.clear();
            return true;
        }
        if (m_mode != Mode::Tree) {
            return fail("an array in the vocabulary");
        }
        if (in_model() && m_key == "merges") {
            m_mode = Mode::Merges;
            return true;
        }
        return open(Json::array());
    }
    bool end_array() override {
        if (m_mode == Mode::Pair) {
            m_mode = Mode::Merges;
            if (m_pair.size() != 2) {
                return fail("a merge of " + std::to_string(m_pair.size()) + " tokens");
            }
            m_tables.merges.push_back({m_pair[0], m_pair[1]});
            return true;
        }
        if (m_mode == Mode::Merges) {
            m_mode = Mode::Tree;
            return true;
        }
        return close();
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) override {
        return fail("not JSON at byte " + std::to_string(position) + ": " + error.what());
    }

private:
    enum class Mode { Tree, Vocabulary, Merges, Pair };

    // A container of the tree while it is open; moved into its parent when it closes.
    struct Open {
        std::string key; // under which it lies in its parent
        Json made;
    };

    bool in_model() const { return m_open.size() == 2 && m_open.back().key == "model"; }

    bool number(std::int64_t integer, Json json) {
        if (m_mode == Mode::Tree) {
            return value(std::move(json));
        }
        if (m_mode != Mode::Vocabulary) {
            return fail("a number among the merges");
        }
        if (m_tables.vocabulary.size() >= static_cast<std::size_t>(Vocabulary::kMostTokens)) {
            return fail("more than " + std::to_string(Vocabulary::kMostTokens) + " tokens");
        }
        m_tables.vocabulary.push_back({m_tables.keep(m_key), integer});
        return true;
    }

    bool open(Json empty) {
        if (m_open.size() >= kMostDepth) {
            return fail("nested deeper than " + std::to_string(kMostDepth));
        }
        m_open.push_back({m_key, std::move(empty)});
        return true;
    }

    bool close() {
        Open closed = std::move(m_open.back());
        m_open.pop_back();
        if (m_open.empty()) {
            m_tables.rest = std::move(closed.made);
            return true;
        }
        m_key = std::move(closed.key);
        return value(std::move(closed.made));
    }

    bool value(Json json) {
        if (m_mode != Mode::Tree) {
            return fail("a value of another type in the vocabulary or the merges");
        }
        if (m_open.empty()) {
            return fail("expected an object");
        }
        Open& parent = m_open.back();
        if (parent.made.is_array()) {
            parent.made.push_back(std::move(json));
            return true;
        }
        if (parent.made.contains(m_key)) {
            return fail("the key \"" + m_key + "\" twice");
        }
        parent.made[m_key] = std::move(json);
        return true;
    }

    bool fail(std::string what) {
        if (m_failure.empty()) {
            m_failure = "tokenizer.json: " + what.substr(0, 300);
        }
        return false;
    }

    Tables& m_tables;
    Mode m_mode = Mode::Tree;
    std::string m_key;
    std::vector<Open> m_open;
    std::vector<Tables::Text> m_pair;
    std::string m_failure;
};

} // namespace

Result<TokenizerTables> tokenizer_tables(const Json& json) {
    Tables tables;
    if (!json.is_object()) {
        return corrupt("tokenizer.json: expected an object");
    }
    for (const auto& [key, value] : json.items()) {
        if (key != "model" || !value.is_object()) {
            tables.rest[key] = value;
            continue;
        }
        Json model = Json::object();
        for (const auto& [name, member] : value.items()) {
            if (name == "vocab" && member.is_object()) {
                for (const auto& [text, id] : member.items()) {
                    if (!id.is_number_integer()) {
                        return corrupt("tokenizer.json: the id of \"" + text +
                                       "\" is not an integer");
                    }
                    tables.vocabulary.push_back({tables.keep(text), id.get<std::int64_t>()});
                }
            } else if (name == "merges" && member.is_array()) {
                for (const Json& merge : member) {
                    const bool is_pair = merge.is_array() && merge.size() == 2 &&
                                         merge[0].is_string() && merge[1].is_string();
                    if (is_pair) {
                        const auto left = tables.keep(merge[0].get_ref<const std::string&>());
                        tables.merges.push_back(
                            {left, tables.keep(merge[1].get_ref<const std::string&>())});
                    } else if (!merge.is_string() ||
                               !tables.keep_merge(merge.get_ref<const std::string&>())) {
                        return corrupt("tokenizer.json: merge " +
                                       std::to_string(tables.merges.size()) + " is not two tokens");
                    }
                }
            } else {
                model[name] = member;
            }
        }
        tables.rest[key] = std::move(model);
    }
    return tables;
}

Result<TokenizerTables> tokenizer_tables_of_text(std::string_view text) {
    if (text.size() > kMostText) {
        return corrupt("tokenizer.json of " + std::to_string(text.size()) +
                       " bytes is over the limit of " + std::to_string(kMostText));
    }
    Tables tables;
    tables.arena.reserve(text.size() / 2);
    Reader reader(tables);
    if (!Json::sax_parse(text, &reader)) {
        return corrupt(reader.failure().empty() ? "tokenizer.json: not JSON" : reader.failure());
    }
    return tables;
}

} // namespace hs
