#include "engine/text/bpe.h"

#include "engine/text/byte_alphabet.h"
#include "engine/text/utf8.h"

#include <algorithm>

namespace hs {

namespace {

// Up to here rescanning an array of ranks beats keeping a heap.
constexpr std::size_t kFew = 48;

using Candidate = BpeScratch::Candidate;

// For std::push_heap, whose front is the greatest: smallest key first, then leftmost.
bool later(const Candidate& a, const Candidate& b) {
    return a.key != b.key ? a.key > b.key : a.left > b.left;
}

std::string fallback_name(unsigned byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
}

} // namespace

Bpe::Bpe() {
    m_symbol_of_byte.fill(-1);
    m_fallback.fill(-1);
}

void Bpe::begin(const Vocabulary& vocabulary, const BpeOptions& options,
                const std::vector<bool>& blocked, std::size_t merges) {
    m_options = options;
    m_blocked = blocked;
    m_merges.reserve(merges);
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::string text;
        if (options.bytes) {
            append_byte_character(text, static_cast<unsigned char>(byte));
        } else if (byte < 0x80) {
            text.push_back(static_cast<char>(byte));
        }
        m_symbol_of_byte[byte] = text.empty() ? -1 : find(vocabulary, text);
        // Byte tokens may be flagged as control-like in files; they are what bytes become.
        m_fallback[byte] = options.byte_fallback ? vocabulary.find(fallback_name(byte)) : -1;
    }
}

void Bpe::add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank) {
    m_merges.put(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right),
                 (std::uint64_t{rank} << 32) | static_cast<std::uint32_t>(joined));
}

TokenId Bpe::find(const Vocabulary& vocabulary, std::string_view text) const {
    const TokenId id = vocabulary.find(text);
    return id >= 0 && static_cast<std::size_t>(id) < m_blocked.size() &&
                   m_blocked[static_cast<std::size_t>(id)]
               ? -1
               : id;
}

void Bpe::encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                 std::vector<TokenId>& out) const {
    if (m_options.by_score) {
        merge_by_score(vocabulary, piece, scratch, out);
        return;
    }
    const bool is_breaks = m_options.whole_line_breaks && !m_options.bytes &&
                           piece.size() <= vocabulary.longest() &&
                           piece.find_first_not_of('\n') == std::string_view::npos;
    if (m_options.ignore_merges || is_breaks) {
        std::string_view text = piece;
        if (m_options.bytes) {
            scratch.text.clear();
            for (const char byte : piece.substr(0, vocabulary.longest() + 1)) {
                append_byte_character(scratch.text, static_cast<unsigned char>(byte));
            }
            text = scratch.text;
        }
        const TokenId whole = text.size() <= vocabulary.longest() ? find(vocabulary, text) : -1;
        if (whole >= 0) {
            out.push_back(whole);
            return;
        }
    }
    scratch.ids.clear();
    first_symbols(vocabulary, piece, scratch.ids);
    if (scratch.ids.size() <= kFew) {
        merge_few(scratch.ids);
        out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
        return;
    }
    merge_many(scratch);
    for (const BpeScratch::Symbol& symbol : scratch.symbols) {
        if (symbol.length > 0) {
            out.push_back(symbol.id);
        }
    }
}

// As Hugging Face's merge_word: the fallback comes before merging, character by character; an
// unknown waits for the next known character, so that a run of them can be one token.
void Bpe::first_symbols(const Vocabulary& vocabulary, std::string_view piece,
                        std::vector<TokenId>& ids) const {
    bool unknown_waits = false;
    const auto put = [&](TokenId id) {
        if (unknown_waits) {
            ids.push_back(m_options.unknown);
            unknown_waits = false;
        }
        ids.push_back(id);
    };
    while (!piece.empty()) {
        const auto lead = static_cast<unsigned char>(piece.front());
        const std::size_t bytes =
            m_options.bytes ? 1 : static_cast<std::size_t>(utf8::first(piece).bytes);
        const std::string_view character = piece.substr(0, bytes);
        piece.remove_prefix(bytes);
        const TokenId id =
            m_options.bytes || lead < 0x80 ? m_symbol_of_byte[lead] : find(vocabulary, character);
        if (id >= 0) {
            put(id);
            continue;
        }
        const bool falls_back =
            m_options.byte_fallback && std::all_of(character.begin(), character.end(), [&](char c) {
                return m_fallback[static_cast<unsigned char>(c)] >= 0;
            });
        if (falls_back) {
            for (const char c : character) {
                ids.push_back(m_fallback[static_cast<unsigned char>(c)]);
            }
        } else if (m_options.unknown >= 0) {
            if (unknown_waits && !m_options.fuse_unknown) {
                ids.push_back(m_options.unknown);
            }
            unknown_waits = true;
        }
    }
    if (unknown_waits) {
        ids.push_back(m_options.unknown);
    }
}

void Bpe::merge_few(std::vector<TokenId>& ids) const {
    std::array<std::uint64_t, kFew> ranks; // of the pair that begins here; rank << 32 | joined
    const auto rank_at = [&](std::size_t i) {
        return m_merges.find(static_cast<std::uint32_t>(ids[i]),
                             static_cast<std::uint32_t>(ids[i + 1]));
    };
    std::size_t count = ids.size();
    for (std::size_t i = 0; i + 1 < count; ++i) {
        ranks[i] = rank_at(i);
    }
    while (count > 1) {
        std::size_t best = 0;
        for (std::size_t i = 1; i + 1 < count; ++i) { // < keeps the leftmost
            if ((ranks[i] >> 32) < (ranks[best] >> 32)) {
                best = i;
            }
        }
        if (ranks[best] == PairMap::kAbsent) {
            break;
        }
        ids[best] = static_cast<TokenId>(ranks[best] & 0xFFFFFFFF);
        for (std::size_t i = best + 1; i + 1 < count; ++i) {
            ids[i] = ids[i + 1];
            ranks[i] = i + 2 < count ? ranks[i + 1] : PairMap::kAbsent;
        }
        --count;
        if (best + 1 < count) {
            ranks[best] = rank_at(best);
        }
        if (best > 0) {
            ranks[best - 1] = rank_at(best - 1);
        }
    }
    ids.resize(count);
}

void Bpe::merge_many(BpeScratch& scratch) const {
    std::vector<BpeScratch::Symbol>& symbols = scratch.symbols;
    std::vector<Candidate>& heap = scratch.heap;
    const auto count = static_cast<std::int32_t>(scratch.ids.size());
    symbols.resize(scratch.ids.size());
    heap.clear();
    const auto at = [&](std::int32_t i) -> BpeScratch::Symbol& {
        return symbols[static_cast<std::size_t>(i)];
    };
    const auto pair_at = [&](std::int32_t left) {
        return m_merges.find(static_cast<std::uint32_t>(at(left).id),
                             static_cast<std::uint32_t>(at(at(left).next).id));
    };
    const auto candidate = [&](std::int32_t left, std::uint64_t pair) {
        return Candidate{static_cast<double>(pair >> 32), left,
                         static_cast<std::uint32_t>(pair & 0xFFFFFFFF)};
    };
    for (std::int32_t i = 0; i < count; ++i) {
        at(i) = {scratch.ids[static_cast<std::size_t>(i)], 0, 1, i - 1, i + 1 < count ? i + 1 : -1};
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) {
        if (const std::uint64_t pair = pair_at(i); pair != PairMap::kAbsent) {
            heap.push_back(candidate(i, pair));
        }
    }
    std::make_heap(heap.begin(), heap.end(), later);
    const auto push = [&](std::int32_t left) {
        if (const std::uint64_t pair = pair_at(left); pair != PairMap::kAbsent) {
            heap.push_back(candidate(left, pair));
            std::push_heap(heap.begin(), heap.end(), later);
        }
    };
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), later);
        const Candidate top = heap.back();
        heap.pop_back();
        BpeScratch::Symbol& left = at(top.left);
        if (left.length == 0 || left.next < 0) {
            continue;
        }
        const std::uint64_t pair = pair_at(top.left);
        if (pair == PairMap::kAbsent || (pair & 0xFFFFFFFF) != top.check) {
            continue; // found for symbols that have since merged with others
        }
        BpeScratch::Symbol& right = at(left.next);
        left.id = static_cast<TokenId>(top.check);
        left.next = right.next;
        right.length = 0;
        if (left.next >= 0) {
            at(left.next).previous = top.left;
            push(top.left);
        }
        if (left.previous >= 0) {
            push(left.previous);
        }
    }
}

void Bpe::append_unknown(std::string_view character, std::vector<TokenId>& out) const {
    for (const char c : character) {
        const TokenId byte = m_fallback[static_cast<unsigned char>(c)];
        if (byte >= 0) {
            out.push_back(byte);
        } else if (m_options.unknown >= 0) {
            out.push_back(m_options.unknown);
        }
    }
}

// SentencePiece's own rule: of all neighbours whose joined text is a token, the one of the highest
// score; ties go to the left.
void Bpe::merge_by_score(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                         std::vector<TokenId>& out) const {
    std::vector<BpeScratch::Symbol>& symbols = scratch.symbols;
    std::vector<Candidate>& heap = scratch.heap;
    symbols.clear();
    heap.clear();
    for (std::size_t begin = 0; begin < piece.size();) {
        const auto bytes = static_cast<std::size_t>(utf8::first(piece.substr(begin)).bytes);
        const auto index = static_cast<std::int32_t>(symbols.size());
        const bool is_last = begin + bytes >= piece.size();
        symbols.push_back({-1, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(bytes),
                           index - 1, is_last ? -1 : index + 1});
        begin += bytes;
    }
    const auto at = [&](std::int32_t i) -> BpeScratch::Symbol& {
        return symbols[static_cast<std::size_t>(i)];
    };
    const auto consider = [&](std::int32_t left) {
        const std::int32_t right = left < 0 ? -1 : at(left).next;
        if (right < 0) {
            return false;
        }
        const std::size_t length = std::size_t{at(left).length} + at(right).length;
        if (length > vocabulary.longest()) {
            return false;
        }
        const TokenId id = find(vocabulary, piece.substr(at(left).begin, length));
        if (id < 0 || static_cast<std::size_t>(id) >= m_scores.size()) {
            return false;
        }
        heap.push_back({-static_cast<double>(m_scores[static_cast<std::size_t>(id)]), left,
                        static_cast<std::uint32_t>(length)});
        return true;
    };
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) {
        consider(i);
    }
    std::make_heap(heap.begin(), heap.end(), later);
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), later);
        const Candidate top = heap.back();
        heap.pop_back();
        BpeScratch::Symbol& left = at(top.left);
        if (left.length == 0 || left.next < 0) {
            continue;
        }
        BpeScratch::Symbol& right = at(left.next);
        if (left.length + right.length != top.check) {
            continue;
        }
        left.length += right.length;
        right.length = 0;
        left.next = right.next;
        if (left.next >= 0) {
            at(left.next).previous = top.left;
        }
        for (const std::int32_t start : {top.left, left.previous}) {
            if (consider(start)) {
                std::push_heap(heap.begin(), heap.end(), later);
            }
        }
    }
    for (const BpeScratch::Symbol& symbol : symbols) {
        if (symbol.length > 0) {
            const std::string_view text = piece.substr(symbol.begin, symbol.length);
            const TokenId id = find(vocabulary, text);
            if (id >= 0) {
                out.push_back(id);
            } else {
                append_unknown(text, out);
            }
        }
    }
}

} // namespace hs
