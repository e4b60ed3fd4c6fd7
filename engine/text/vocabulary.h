#pragma once
// Token texts by id and ids by text, in one arena with one flat hash table; and the flat map from
// pairs of ids that merging reads. Both are built once and then only read.

#include "engine/text/tokenizer.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

class Vocabulary {
public:
    static constexpr TokenId kMostTokens = 1 << 24;

    // Room for ids below `ids` and `bytes` of text. Errors: Corrupt when over the limits.
    Result<void> reserve(std::int64_t ids, std::size_t bytes);
    // Errors: Corrupt when the id is out of the reserved range or taken.
    Result<void> add(TokenId id, std::string_view text);
    // Gives the id another text, or makes an id that had none. The old text still finds the id.
    Result<void> put(TokenId id, std::string_view text);

    std::int64_t size() const { return static_cast<std::int64_t>(m_texts.size()); }
    bool has(TokenId id) const {
        return id >= 0 && id < size() && m_texts[static_cast<std::size_t>(id)].length != kNone;
    }
    std::string_view text(TokenId id) const; // empty for an id without text
    // The id of a text, or -1. Of equal texts, the id added last.
    TokenId find(std::string_view text) const;
    std::size_t longest() const { return m_longest; }

private:
    static constexpr std::uint32_t kNone = 0xFFFFFFFF;
    struct Text {
        std::uint32_t offset = 0;
        std::uint32_t length = kNone;
    };
    struct Slot {
        std::uint32_t tag = 0; // upper hash bits; spares most comparisons of text
        TokenId id = -1;
        Text text;
    };
    Result<void> insert(TokenId id, std::string_view text);
    void rehash(std::size_t slots);

    std::string m_arena;
    std::vector<Text> m_texts;
    std::vector<Slot> m_slots; // a power of two, at most half full
    std::size_t m_used = 0;
    std::size_t m_longest = 0;
};

// (left, right) to 64 bits, open addressing.
class PairMap {
public:
    static constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

    void reserve(std::size_t pairs);
    // Replaces what was there.
    void put(std::uint32_t left, std::uint32_t right, std::uint64_t value);
    std::uint64_t find(std::uint32_t left, std::uint32_t right) const; // kAbsent when not there
    std::size_t size() const { return m_used; }

private:
    struct Slot {
        std::uint64_t key = kAbsent;
        std::uint64_t value = kAbsent;
    };
    std::size_t place(std::uint64_t key) const;

    std::vector<Slot> m_slots;
    std::size_t m_used = 0;
    std::uint64_t m_seed = 0;
    int m_shift = 64;
};

// A hash that a file cannot aim at: seeded once per process.
std::uint64_t hash_text(std::string_view text);

} // namespace hs
