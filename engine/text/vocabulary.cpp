#include "engine/text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace hs {

namespace {

constexpr std::size_t kMostBytes = std::size_t{512} << 20;

std::uint64_t seed() {
    static const std::uint64_t value = [] {
        std::random_device device;
        return (std::uint64_t{device()} << 32) | device();
    }();
    return value;
}

// Multiplies to 128 bits and folds: every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kOdd1 = 0x9E3779B97F4A7C15;
constexpr std::uint64_t kOdd2 = 0xD1B54A32D192ED03;

} // namespace

std::uint64_t hash_text(std::string_view text) {
    static const std::uint64_t start = seed();
    std::uint64_t hash = start ^ (text.size() * kOdd1);
    while (text.size() >= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data(), 8);
        hash = mix(hash ^ word, kOdd1);
        text.remove_prefix(8);
    }
    std::uint64_t rest = 0;
    for (const char c : text) { // at most 7; a memcpy of a varying size is a call
        rest = (rest << 8) | static_cast<unsigned char>(c);
    }
    return mix(hash ^ rest, kOdd2 ^ start);
}

Result<void> Vocabulary::reserve(std::int64_t ids, std::size_t bytes) {
    if (ids < 0 || ids > kMostTokens || bytes > kMostBytes) {
        return Error{ErrorCode::Corrupt,
                     "vocabulary of " + std::to_string(ids) + " ids and " + std::to_string(bytes) +
                         " bytes is over the limit of " + std::to_string(kMostTokens) +
                         " ids and " + std::to_string(kMostBytes) + " bytes",
                     ""};
    }
    if (static_cast<std::size_t>(ids) > m_texts.size()) {
        m_texts.resize(static_cast<std::size_t>(ids));
    }
    m_arena.reserve(bytes);
    rehash(std::bit_ceil(std::max<std::size_t>(16, 2 * static_cast<std::size_t>(ids))));
    return {};
}

Result<void> Vocabulary::add(TokenId id, std::string_view text) {
    if (has(id)) {
        return Error{ErrorCode::Corrupt,
                     "token id " + std::to_string(id) + " is given to two texts", ""};
    }
    return insert(id, text);
}

Result<void> Vocabulary::put(TokenId id, std::string_view text) {
    return insert(id, text);
}

Result<void> Vocabulary::insert(TokenId id, std::string_view text) {
    if (id < 0 || id >= size()) {
        return Error{ErrorCode::Corrupt,
                     "token id " + std::to_string(id) + " is outside the vocabulary of " +
                         std::to_string(size()),
                     ""};
    }
    if (text.size() > kMostBytes - m_arena.size()) {
        return Error{ErrorCode::Corrupt,
                     "token texts are over the limit of " + std::to_string(kMostBytes) + " bytes",
                     ""};
    }
    if (m_used * 2 >= m_slots.size()) {
        rehash(std::max<std::size_t>(16, m_slots.size() * 2));
    }
    const Text stored{static_cast<std::uint32_t>(m_arena.size()),
                      static_cast<std::uint32_t>(text.size())};
    m_arena += text;
    m_texts[static_cast<std::size_t>(id)] = stored;
    m_longest = std::max(m_longest, text.size());
    const std::uint64_t hash = hash_text(text);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = m_slots.size() - 1;
    std::size_t at = hash & mask;
    while (m_slots[at].id >= 0) {
        Slot& slot = m_slots[at];
        if (slot.tag == tag &&
            std::string_view(m_arena).substr(slot.text.offset, slot.text.length) == text) {
            slot.id = id;
            return {};
        }
        at = (at + 1) & mask;
    }
    m_slots[at] = {tag, id, stored};
    ++m_used;
    return {};
}

void Vocabulary::rehash(std::size_t slots) {
    if (slots <= m_slots.size()) {
        return;
    }
    std::vector<Slot> old(slots);
    old.swap(m_slots);
    const std::size_t mask = slots - 1;
    for (const Slot& slot : old) {
        if (slot.id >= 0) {
            std::size_t at =
                hash_text(std::string_view(m_arena).substr(slot.text.offset, slot.text.length)) &
                mask;
            while (m_slots[at].id >= 0) {
                at = (at + 1) & mask;
            }
            m_slots[at] = slot;
        }
    }
}

std::string_view Vocabulary::text(TokenId id) const {
    if (!has(id)) {
        return {};
    }
    const Text text = m_texts[static_cast<std::size_t>(id)];
    return std::string_view(m_arena).substr(text.offset, text.length);
}

TokenId Vocabulary::find(std::string_view text) const {
    if (m_slots.empty()) {
        return -1;
    }
    const std::uint64_t hash = hash_text(text);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = m_slots.size() - 1;
    for (std::size_t at = hash & mask; m_slots[at].id >= 0; at = (at + 1) & mask) {
        const Slot& slot = m_slots[at];
        if (slot.tag == tag && slot.text.length == text.size() &&
            std::memcmp(m_arena.data() + slot.text.offset, text.data(), text.size()) == 0) {
            return slot.id;
        }
    }
    return -1;
}

void PairMap::reserve(std::size_t pairs) {
    const std::size_t slots = std::bit_ceil(std::max<std::size_t>(16, pairs * 2));
    if (slots <= m_slots.size()) {
        return;
    }
    std::vector<Slot> old(slots);
    old.swap(m_slots);
    m_seed = seed();
    m_shift = 64 - std::countr_zero(slots);
    for (const Slot& slot : old) {
        if (slot.key != kAbsent) {
            m_slots[place(slot.key)] = slot;
        }
    }
}

std::size_t PairMap::place(std::uint64_t key) const {
    const std::size_t mask = m_slots.size() - 1;
    std::size_t at = mix(key ^ m_seed, kOdd1) >> m_shift;
    while (m_slots[at].key != key && m_slots[at].key != kAbsent) {
        at = (at + 1) & mask;
    }
    return at;
}

void PairMap::put(std::uint32_t left, std::uint32_t right, std::uint64_t value) {
    if (m_used * 2 >= m_slots.size()) {
        reserve(std::max<std::size_t>(8, m_slots.size()));
    }
    const std::uint64_t key = (std::uint64_t{left} << 32) | right;
    Slot& slot = m_slots[place(key)];
    m_used += slot.key == kAbsent ? 1 : 0;
    slot = {key, value};
}

std::uint64_t PairMap::find(std::uint32_t left, std::uint32_t right) const {
    if (m_slots.empty()) {
        return kAbsent;
    }
    return m_slots[place((std::uint64_t{left} << 32) | right)].value;
}

} // namespace hs
