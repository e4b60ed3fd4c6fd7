#include "engine/text/tokenizer.h"

#include "engine/text/byte_alphabet.h"
#include "engine/text/split_patterns.h"
#include "engine/text/tokenizer_data.h"
#include "engine/text/utf8.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace hs {

namespace {

// Pieces already merged in this call. Words repeat: most pieces of a real text are found here. It
// belongs to one call, so a shared tokenizer needs no lock and keeps no text.
class PieceCache {
public:
    explicit PieceCache(std::size_t text_bytes) {
        if (text_bytes >= kWorthwhile) {
            std::size_t slots = 1024;
            while (slots < kMostSlots && slots * 16 < text_bytes) {
                slots *= 2;
            }
            m_slots.resize(slots);
        }
    }

    bool takes(std::string_view piece) const {
        return !m_slots.empty() && piece.size() >= 2 && piece.size() < kLongest;
    }

    // Appends the ids of a known piece.
    bool find(std::string_view piece, std::uint64_t hash, std::vector<TokenId>& out) const {
        const Slot& slot = m_slots[hash & (m_slots.size() - 1)];
        if (slot.hash != hash || slot.bytes != piece.size() ||
            std::string_view(m_texts).substr(slot.text, slot.bytes) != piece) {
            return false;
        }
        const auto ids = m_ids.begin() + static_cast<std::ptrdiff_t>(slot.ids);
        out.insert(out.end(), ids, ids + static_cast<std::ptrdiff_t>(slot.count));
        return true;
    }

    void keep(std::string_view piece, std::uint64_t hash, std::span<const TokenId> ids) {
        if (m_texts.size() > kMostText) { // replaced pieces leave their text behind
            m_texts.clear();
            m_ids.clear();
            std::fill(m_slots.begin(), m_slots.end(), Slot{});
        }
        m_slots[hash & (m_slots.size() - 1)] = {hash, m_texts.size(), m_ids.size(), piece.size(),
                                                ids.size()};
        m_texts += piece;
        m_ids.insert(m_ids.end(), ids.begin(), ids.end());
    }

private:
    static constexpr std::size_t kWorthwhile = 2048;
    static constexpr std::size_t kMostSlots = 16384;
    static constexpr std::size_t kLongest = 256;
    static constexpr std::size_t kMostText = std::size_t{2} << 20;

    struct Slot {
        std::uint64_t hash = 0;
        std::size_t text = 0;
        std::size_t ids = 0;
        std::size_t bytes = 0;
        std::size_t count = 0;
    };
    std::vector<Slot> m_slots;
    std::string m_texts;
    std::vector<TokenId> m_ids;
};

// One text on its way to ids, in Hugging Face's order: added tokens cut from the raw text, the rest
// normalized, added tokens cut from that, the rest split, and every piece merged.
class Encoding {
public:
    Encoding(const TokenizerParts& parts, std::string_view text, std::vector<Range> markup,
             std::vector<TokenId>& out)
        : m_parts(parts)
        , m_text(text)
        , m_markup(std::move(markup))
        , m_run(text.size())
        , m_cache(text.size())
        , m_out(out) {}

    void encode() {
        std::size_t from = 0;
        if (!m_parts.raw.empty() && !m_markup.empty()) {
            for (const AddedTokens::Match& match : m_parts.raw.matches(m_text, m_markup)) {
                between_raw({from, match.range.begin});
                m_out.push_back(match.id);
                from = match.range.end;
            }
        }
        between_raw({from, m_text.size()});
    }

private:
    void between_raw(Range range) {
        if (range.size() == 0) {
            return;
        }
        const bool starts_text = range.begin == 0;
        if (m_parts.normalized.empty()) {
            pieces(normal(range), starts_text);
            return;
        }
        // Normalizing moves characters, so markup and words are normalized apart where both stand
        // in one stretch. Rare: current models normalize no added token.
        std::string pending;
        std::size_t at = range.begin;
        while (at < range.end) {
            const auto [end, is_markup] = same_origin(at, range.end);
            std::string part = normal({at, end});
            at = end;
            if (!is_markup) {
                pending += part;
                continue;
            }
            std::size_t from = 0;
            for (const auto& match : m_parts.normalized.matches(part, {{0, part.size()}})) {
                pending += std::string_view(part).substr(from, match.range.begin - from);
                pieces(std::move(pending), starts_text && m_out.empty());
                pending.clear();
                m_out.push_back(match.id);
                from = match.range.end;
            }
            pending += std::string_view(part).substr(from);
        }
        pieces(std::move(pending), starts_text && m_out.empty());
    }

    // How far the text from `at` on is all markup, or all not.
    std::pair<std::size_t, bool> same_origin(std::size_t at, std::size_t end) const {
        const auto next = std::find_if(m_markup.begin(), m_markup.end(),
                                       [&](const Range& range) { return range.end > at; });
        if (next == m_markup.end() || next->begin >= end) {
            return {end, false};
        }
        return next->begin > at ? std::pair{next->begin, false}
                                : std::pair{std::min(next->end, end), true};
    }

    std::string normal(Range range) {
        return normalize(m_parts.normalizers, std::string(m_text.substr(range.begin, range.size())),
                         m_run);
    }

    void pieces(std::string text, bool starts_text) {
        if (text.empty()) {
            return;
        }
        Pieces cut;
        cut.ranges.push_back({0, text.size()});
        cut.text = std::move(text);
        cut.starts_text = starts_text;
        pre_tokenize(m_parts.pre_tokenizers, cut, m_run);
        for (const Range& range : cut.ranges) {
            merge(std::string_view(cut.text).substr(range.begin, range.size()));
        }
    }

    void merge(std::string_view piece) {
        if (!m_cache.takes(piece)) {
            while (piece.size() > Bpe::kLongestPiece) {
                std::size_t bytes = Bpe::kLongestPiece;
                while ((static_cast<unsigned char>(piece[bytes]) & 0xC0) == 0x80) {
                    --bytes;
                }
                m_parts.model.encode(m_parts.vocabulary, piece.substr(0, bytes), m_scratch, m_out);
                piece.remove_prefix(bytes);
            }
            m_parts.model.encode(m_parts.vocabulary, piece, m_scratch, m_out);
            return;
        }
        const std::uint64_t hash = hash_text(piece);
        if (!m_cache.find(piece, hash, m_out)) {
            const std::size_t before = m_out.size();
            m_parts.model.encode(m_parts.vocabulary, piece, m_scratch, m_out);
            m_cache.keep(piece, hash, std::span(m_out).subspan(before));
        }
    }

    const TokenizerParts& m_parts;
    std::string_view m_text;
    std::vector<Range> m_markup; // where added tokens may be matched; ascending, apart
    RegexRun m_run;
    PieceCache m_cache;
    BpeScratch m_scratch;
    std::vector<TokenId>& m_out;
};

// `<0x0A>` as a byte, or -1.
int byte_token(std::string_view text) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                      : -1;
    };
    if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') {
        return -1;
    }
    const int high = digit(text[3]);
    const int low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); !from.empty() && at != std::string::npos;
         at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
    }
}

// Takes `unit` from the front at most `most` times; says how often it did.
std::int64_t strip_front(std::string& text, std::string_view unit, std::int64_t most) {
    std::int64_t times = 0;
    std::size_t at = 0;
    while (!unit.empty() && times < most && std::string_view(text).substr(at).starts_with(unit)) {
        at += unit.size();
        ++times;
    }
    text.erase(0, at);
    return times;
}

void strip_back(std::string& text, std::string_view unit, std::int64_t most) {
    for (std::int64_t i = 0; !unit.empty() && i < most && text.ends_with(unit); ++i) {
        text.resize(text.size() - unit.size());
    }
}

// A token's text as its bytes.
std::string decoded(const Decoder& decoder, std::string text) {
    for (const DecoderStep& step : decoder.steps) {
        switch (step.kind) {
        case DecoderStep::Kind::Replace:
            replace_all(text, step.from, step.to);
            break;
        case DecoderStep::Kind::ByteFallback:
            if (const int byte = byte_token(text); byte >= 0) {
                return {static_cast<char>(byte)};
            }
            break;
        case DecoderStep::Kind::Strip:
            strip_front(text, step.from, step.start);
            strip_back(text, step.from, step.stop);
            break;
        }
    }
    return text;
}

// What ends a reply by name (text-and-services.md section 4.7).
constexpr std::array<std::string_view, 19> kEndNames = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>",    "<|eom_id|>",
    "<|end|>",    "<|return|>",    "<|call|>",      "<end_of_turn>",
    "<turn|>",    "<eos>",         "</s>",          "<|end_of_text|>",
    "<EOT>",      "[EOT]",         "[EOS]",         "<｜end▁of▁sentence｜>",
    "[e~[",       "<|role_end|>",  "<|end_of_msg|>"};

} // namespace

void settle_end_tokens(TokenizerParts& parts, std::vector<TokenId> more) {
    std::vector<TokenId>& ends = parts.end_tokens;
    std::copy_if(more.begin(), more.end(), std::back_inserter(ends),
                 [&](TokenId id) { return parts.vocabulary.has(id); });
    if (parts.eos.has_value()) {
        ends.push_back(*parts.eos);
    }
    // Harmony closes every message with <|end|>, the reply with one of these two.
    const bool is_harmony =
        parts.vocabulary.find("<|return|>") >= 0 && parts.vocabulary.find("<|call|>") >= 0;
    for (const std::string_view name : kEndNames) {
        const TokenId id = parts.vocabulary.find(name);
        // "</s>" is also how HTML ends struck-out text: a name alone does not make a token markup.
        if (id >= 0 && (parts.is(parts.added, id) || parts.is(parts.special, id)) &&
            !(is_harmony && name == "<|end|>")) {
            ends.push_back(id);
        }
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

Result<void> add_stages(const std::vector<std::string_view>& patterns, TokenizerParts& parts) {
    for (const std::string_view pattern : patterns) {
        PreTokenizer stage;
        stage.pattern = TRY(Regex::compile(pattern));
        parts.pre_tokenizers.push_back(std::move(stage));
    }
    return {};
}

Tokenizer::Tokenizer()
    : m_data(std::make_unique<const Data>()) {}
Tokenizer::Tokenizer(Data data)
    : m_data(std::make_unique<const Data>(std::move(data))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_tokenizer_json(const Json& tokenizer_json,
                                                 const Json* tokenizer_config) {
    return Tokenizer(Data{TRY(parts_of_tokenizer_json(tokenizer_json, tokenizer_config))});
}

Result<Tokenizer> Tokenizer::from_tokenizer_text(std::string_view tokenizer_json,
                                                 const Json* tokenizer_config) {
    return Tokenizer(Data{TRY(parts_of_tokenizer_text(tokenizer_json, tokenizer_config))});
}

Result<Tokenizer> Tokenizer::from_gguf(const Json& metadata) {
    return Tokenizer(Data{TRY(parts_of_gguf(metadata))});
}

Result<Tokenizer> Tokenizer::from_tiktoken(std::string_view ranks, const Json* tokenizer_config) {
    return Tokenizer(Data{TRY(parts_of_tiktoken(ranks, tokenizer_config))});
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials,
                                       bool add_bos) const {
    const std::string valid = utf8::is_valid(text) ? std::string() : utf8::valid_text(text);
    const std::string_view checked = valid.empty() ? text : valid;
    std::vector<TokenId> ids;
    if (add_bos) {
        ids = m_data->prefix;
    }
    std::vector<TokenId> body;
    std::vector<Range> markup;
    if (specials == Specials::Match && !checked.empty()) {
        markup.push_back({0, checked.size()});
    }
    Encoding(*m_data, checked, std::move(markup), body).encode();
    if (ids.empty()) {
        return body;
    }
    ids.insert(ids.end(), body.begin(), body.end());
    return ids;
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSpan> spans) const {
    std::string text;
    std::vector<Range> markup;
    for (const TextSpan& span : spans) {
        const std::size_t begin = text.size();
        text += utf8::valid_text(span.text);
        if (span.specials == Specials::Match && text.size() > begin) {
            if (!markup.empty() && markup.back().end == begin) {
                markup.back().end = text.size();
            } else {
                markup.push_back({begin, text.size()});
            }
        }
    }
    std::vector<TokenId> ids;
    Encoding(*m_data, text, std::move(markup), ids).encode();
    return ids;
}

std::string Tokenizer::bytes_of(TokenId id) const {
    std::string text(m_data->vocabulary.text(id));
    if (m_data->decoder.bytes && !m_data->is(m_data->added, id)) {
        std::optional<std::string> bytes = from_byte_characters(text);
        text = bytes.has_value() ? *std::move(bytes) : std::move(text);
    }
    return decoded(m_data->decoder, std::move(text));
}

std::string Tokenizer::bytes_of(TokenId id, TextStart& start) const {
    const Decoder& decoder = m_data->decoder;
    const bool is_first = start.tokens++ == 0;
    if (start.over || (decoder.strip_first.empty() && decoder.strip_text.empty())) {
        return bytes_of(id);
    }
    std::string bytes;
    if (is_first && !decoder.strip_first.empty()) {
        std::string text(m_data->vocabulary.text(id));
        replace_all(text, decoder.strip_first, "");
        bytes = decoded(decoder, std::move(text));
    } else {
        bytes = bytes_of(id);
    }
    if (!decoder.strip_text.empty() && !bytes.empty()) {
        start.stripped +=
            strip_front(bytes, decoder.strip_text, decoder.strip_text_count - start.stripped);
        start.over = !bytes.empty() || start.stripped >= decoder.strip_text_count;
    } else if (decoder.strip_text.empty()) {
        start.over = true;
    }
    return bytes;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
    std::string bytes;
    TextStart start;
    for (const TokenId id : ids) {
        if (!(skip_special && is_special(id))) {
            bytes += bytes_of(id, start);
        }
    }
    return utf8::take_text(
        bytes, shows_each_byte() ? utf8::IllFormed::PerByte : utf8::IllFormed::PerStretch,
        utf8::More::Ended);
}

bool Tokenizer::shows_each_byte() const {
    const auto& steps = m_data->decoder.steps;
    return std::any_of(steps.begin(), steps.end(), [](const DecoderStep& step) {
        return step.kind == DecoderStep::Kind::ByteFallback;
    });
}

std::int64_t Tokenizer::vocab_size() const {
    return m_data->vocabulary.size();
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
    const TokenId id = m_data->vocabulary.find(token);
    return id < 0 ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_special(TokenId id) const {
    return m_data->is(m_data->special, id);
}
std::optional<TokenId> Tokenizer::bos() const {
    return m_data->bos;
}
std::optional<TokenId> Tokenizer::eos() const {
    return m_data->eos;
}
std::optional<TokenId> Tokenizer::pad() const {
    return m_data->pad;
}
bool Tokenizer::adds_bos() const {
    return !m_data->prefix.empty();
}
const std::vector<TokenId>& Tokenizer::end_tokens() const {
    return m_data->end_tokens;
}

bool Tokenizer::ends_reply(TokenId id) const {
    return std::binary_search(m_data->end_tokens.begin(), m_data->end_tokens.end(), id);
}

} // namespace hs
