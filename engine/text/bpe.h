#pragma once
// One piece of text to ids by merging neighbours: by rank (byte-level and character BPE) or by the
// score of the joined text (SentencePiece). O(n log n) in the piece's length.

#include "engine/text/vocabulary.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Buffers that one thread reuses from piece to piece.
struct BpeScratch {
    struct Symbol {
        TokenId id = -1;
        std::uint32_t begin = 0;  // SentencePiece: where the symbol lies in the piece
        std::uint32_t length = 0; // 0 once merged away
        std::int32_t previous = -1;
        std::int32_t next = -1;
    };
    struct Candidate {
        double key = 0; // what is merged first has the smallest
        std::int32_t left = 0;
        std::uint32_t check = 0; // the id, or the length, that the merge was found for
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::vector<TokenId> ids;
    std::string text;
};

struct BpeOptions {
    bool bytes = false;         // symbols are bytes (byte-level), not characters
    bool by_score = false;      // SentencePiece: the joined text's score decides
    bool ignore_merges = false; // a piece that is a token is that token
    bool byte_fallback = false; // unknown characters become <0xHH>
    bool fuse_unknown = false;
    bool whole_line_breaks = false; // a run of newlines that is a token is that token
    TokenId unknown = -1;
};

class Bpe {
public:
    // Of pieces over 1 GiB the caller makes several.
    static constexpr std::size_t kLongestPiece = std::size_t{1} << 30;

    Bpe();
    // After the vocabulary is complete. blocked: ids that text must never become (control tokens).
    void begin(const Vocabulary& vocabulary, const BpeOptions& options,
               const std::vector<bool>& blocked, std::size_t merges);
    void add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank);
    // by_score: one per id. NaN is the caller's to reject.
    void set_scores(std::vector<float> scores) { m_scores = std::move(scores); }

    void encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                std::vector<TokenId>& out) const;
    const BpeOptions& options() const { return m_options; }

private:
    TokenId find(const Vocabulary& vocabulary, std::string_view text) const;
    void first_symbols(const Vocabulary& vocabulary, std::string_view piece,
                       std::vector<TokenId>& ids) const;
    void merge_few(std::vector<TokenId>& ids) const;
    void merge_many(BpeScratch& scratch) const;
    void merge_by_score(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                        std::vector<TokenId>& out) const;
    void append_unknown(std::string_view character, std::vector<TokenId>& out) const;

    BpeOptions m_options;
    PairMap m_merges; // (left, right) to rank << 32 | joined
    std::vector<float> m_scores;
    std::vector<bool> m_blocked;
    std::array<TokenId, 256> m_symbol_of_byte; // bytes: their token; characters: ASCII alone
    std::array<TokenId, 256> m_fallback;       // <0xHH>
};

} // namespace hs
