#include "engine/text/jinja/text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utf8proc.h>

namespace hs::jinja {

namespace {

// Upper-case mappings of more than one character, from Unicode's SpecialCasing.txt; utf8proc knows
// only the simple ones.
struct LongUpper {
    char32_t code;
    std::array<char32_t, 3> upper; // padded with 0
};
constexpr LongUpper kLongUpper[] = {
    {0xdf, {0x53, 0x53, 0}},         {0x149, {0x2bc, 0x4e, 0}},
    {0x1f0, {0x4a, 0x30c, 0}},       {0x390, {0x399, 0x308, 0x301}},
    {0x3b0, {0x3a5, 0x308, 0x301}},  {0x587, {0x535, 0x552, 0}},
    {0x1e96, {0x48, 0x331, 0}},      {0x1e97, {0x54, 0x308, 0}},
    {0x1e98, {0x57, 0x30a, 0}},      {0x1e99, {0x59, 0x30a, 0}},
    {0x1e9a, {0x41, 0x2be, 0}},      {0x1f50, {0x3a5, 0x313, 0}},
    {0x1f52, {0x3a5, 0x313, 0x300}}, {0x1f54, {0x3a5, 0x313, 0x301}},
    {0x1f56, {0x3a5, 0x313, 0x342}}, {0x1f80, {0x1f08, 0x399, 0}},
    {0x1f81, {0x1f09, 0x399, 0}},    {0x1f82, {0x1f0a, 0x399, 0}},
    {0x1f83, {0x1f0b, 0x399, 0}},    {0x1f84, {0x1f0c, 0x399, 0}},
    {0x1f85, {0x1f0d, 0x399, 0}},    {0x1f86, {0x1f0e, 0x399, 0}},
    {0x1f87, {0x1f0f, 0x399, 0}},    {0x1f88, {0x1f08, 0x399, 0}},
    {0x1f89, {0x1f09, 0x399, 0}},    {0x1f8a, {0x1f0a, 0x399, 0}},
    {0x1f8b, {0x1f0b, 0x399, 0}},    {0x1f8c, {0x1f0c, 0x399, 0}},
    {0x1f8d, {0x1f0d, 0x399, 0}},    {0x1f8e, {0x1f0e, 0x399, 0}},
    {0x1f8f, {0x1f0f, 0x399, 0}},    {0x1f90, {0x1f28, 0x399, 0}},
    {0x1f91, {0x1f29, 0x399, 0}},    {0x1f92, {0x1f2a, 0x399, 0}},
    {0x1f93, {0x1f2b, 0x399, 0}},    {0x1f94, {0x1f2c, 0x399, 0}},
    {0x1f95, {0x1f2d, 0x399, 0}},    {0x1f96, {0x1f2e, 0x399, 0}},
    {0x1f97, {0x1f2f, 0x399, 0}},    {0x1f98, {0x1f28, 0x399, 0}},
    {0x1f99, {0x1f29, 0x399, 0}},    {0x1f9a, {0x1f2a, 0x399, 0}},
    {0x1f9b, {0x1f2b, 0x399, 0}},    {0x1f9c, {0x1f2c, 0x399, 0}},
    {0x1f9d, {0x1f2d, 0x399, 0}},    {0x1f9e, {0x1f2e, 0x399, 0}},
    {0x1f9f, {0x1f2f, 0x399, 0}},    {0x1fa0, {0x1f68, 0x399, 0}},
    {0x1fa1, {0x1f69, 0x399, 0}},    {0x1fa2, {0x1f6a, 0x399, 0}},
    {0x1fa3, {0x1f6b, 0x399, 0}},    {0x1fa4, {0x1f6c, 0x399, 0}},
    {0x1fa5, {0x1f6d, 0x399, 0}},    {0x1fa6, {0x1f6e, 0x399, 0}},
    {0x1fa7, {0x1f6f, 0x399, 0}},    {0x1fa8, {0x1f68, 0x399, 0}},
    {0x1fa9, {0x1f69, 0x399, 0}},    {0x1faa, {0x1f6a, 0x399, 0}},
    {0x1fab, {0x1f6b, 0x399, 0}},    {0x1fac, {0x1f6c, 0x399, 0}},
    {0x1fad, {0x1f6d, 0x399, 0}},    {0x1fae, {0x1f6e, 0x399, 0}},
    {0x1faf, {0x1f6f, 0x399, 0}},    {0x1fb2, {0x1fba, 0x399, 0}},
    {0x1fb3, {0x391, 0x399, 0}},     {0x1fb4, {0x386, 0x399, 0}},
    {0x1fb6, {0x391, 0x342, 0}},     {0x1fb7, {0x391, 0x342, 0x399}},
    {0x1fbc, {0x391, 0x399, 0}},     {0x1fc2, {0x1fca, 0x399, 0}},
    {0x1fc3, {0x397, 0x399, 0}},     {0x1fc4, {0x389, 0x399, 0}},
    {0x1fc6, {0x397, 0x342, 0}},     {0x1fc7, {0x397, 0x342, 0x399}},
    {0x1fcc, {0x397, 0x399, 0}},     {0x1fd2, {0x399, 0x308, 0x300}},
    {0x1fd3, {0x399, 0x308, 0x301}}, {0x1fd6, {0x399, 0x342, 0}},
    {0x1fd7, {0x399, 0x308, 0x342}}, {0x1fe2, {0x3a5, 0x308, 0x300}},
    {0x1fe3, {0x3a5, 0x308, 0x301}}, {0x1fe4, {0x3a1, 0x313, 0}},
    {0x1fe6, {0x3a5, 0x342, 0}},     {0x1fe7, {0x3a5, 0x308, 0x342}},
    {0x1ff2, {0x1ffa, 0x399, 0}},    {0x1ff3, {0x3a9, 0x399, 0}},
    {0x1ff4, {0x38f, 0x399, 0}},     {0x1ff6, {0x3a9, 0x342, 0}},
    {0x1ff7, {0x3a9, 0x342, 0x399}}, {0x1ffc, {0x3a9, 0x399, 0}},
    {0xfb00, {0x46, 0x46, 0}},       {0xfb01, {0x46, 0x49, 0}},
    {0xfb02, {0x46, 0x4c, 0}},       {0xfb03, {0x46, 0x46, 0x49}},
    {0xfb04, {0x46, 0x46, 0x4c}},    {0xfb05, {0x53, 0x54, 0}},
    {0xfb06, {0x53, 0x54, 0}},       {0xfb13, {0x544, 0x546, 0}},
    {0xfb14, {0x544, 0x535, 0}},     {0xfb15, {0x544, 0x53b, 0}},
    {0xfb16, {0x54e, 0x546, 0}},     {0xfb17, {0x544, 0x53d, 0}},
};

utf8proc_category_t category(char32_t code) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

// Whether the character takes part in deciding a final sigma's form.
bool is_cased(char32_t code) {
    const utf8proc_category_t kind = category(code);
    return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
           kind == UTF8PROC_CATEGORY_LT;
}

bool is_case_ignorable(char32_t code) {
    const utf8proc_category_t kind = category(code);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
           kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
           kind == UTF8PROC_CATEGORY_SK || code == '\'' || code == '.' || code == ':' ||
           code == 0xb7 || code == 0x2019;
}

// A capital sigma at the end of a word becomes the final form.
bool sigma_is_final(std::string_view text, std::size_t at, bool cased_before) {
    if (!cased_before) {
        return false;
    }
    std::size_t next = at + 2; // U+03A3 takes two bytes
    while (next < text.size()) {
        const Decoded character = decode(text, next);
        if (is_cased(character.code)) {
            return false;
        }
        if (!is_case_ignorable(character.code)) {
            return true;
        }
        next += character.bytes;
    }
    return true;
}

std::string upper_of(char32_t code) {
    std::string out;
    const auto* row =
        std::lower_bound(std::begin(kLongUpper), std::end(kLongUpper), code,
                         [](const LongUpper& entry, char32_t key) { return entry.code < key; });
    if (row != std::end(kLongUpper) && row->code == code) {
        for (const char32_t part : row->upper) {
            if (part != 0) {
                append_utf8(out, part);
            }
        }
    } else {
        append_utf8(out,
                    static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
    }
    return out;
}

std::string title_of(char32_t code) {
    if (code == 0xdf) { // sharp s
        return "Ss";
    }
    if (code >= 0xfb00 && code <= 0xfb06) { // Latin ligatures: only the first letter rises
        static constexpr const char* kLigatures[] = {"Ff", "Fi", "Fl", "Ffi", "Ffl", "St", "St"};
        return kLigatures[code - 0xfb00];
    }
    std::string out;
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
    return out;
}

std::size_t sequence_length(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// Bytes of the well-formed character at a position, 0 when there is none.
std::size_t well_formed(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(at);
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    const std::size_t length = sequence_length(lead);
    if (text.size() - at < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) {
            return 0;
        }
    }
    const unsigned char second = byte(at + 1);
    const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    const bool surrogate = lead == 0xed && second >= 0xa0;
    const bool too_high = lead == 0xf4 && second >= 0x90;
    return overlong || surrogate || too_high ? 0 : length;
}

} // namespace

bool Text::has_input() const {
    return std::any_of(m_runs.begin(), m_runs.end(),
                       [](const Run& run) { return run.origin == Origin::Input; });
}

void Text::append(std::string_view bytes, Origin origin) {
    if (bytes.empty()) {
        return;
    }
    m_bytes.append(bytes);
    if (!m_runs.empty() && m_runs.back().origin == origin) {
        m_runs.back().end = m_bytes.size();
    } else {
        m_runs.push_back({m_bytes.size(), origin});
    }
}

void Text::append(const Text& other, std::size_t begin, std::size_t end) {
    auto run = std::upper_bound(other.m_runs.begin(), other.m_runs.end(), begin,
                                [](std::size_t at, const Run& r) { return at < r.end; });
    while (begin < end && run != other.m_runs.end()) {
        const std::size_t stop = std::min(end, run->end);
        append(std::string_view(other.m_bytes).substr(begin, stop - begin), run->origin);
        begin = stop;
        ++run;
    }
}

Text Text::slice(std::size_t begin, std::size_t end) const {
    Text part;
    part.append(*this, begin, end);
    part.markup = markup;
    return part;
}

bool Characters::next() {
    m_at += bytes.size();
    if (m_at >= m_text.size()) {
        bytes = {};
        m_at = m_text.size();
        return false;
    }
    const Decoded character = decode(m_text.bytes(), m_at);
    while (m_text.runs()[m_run].end <= m_at) {
        ++m_run;
    }
    code = character.code;
    bytes = std::string_view(m_text.bytes()).substr(m_at, character.bytes);
    begin = m_at;
    origin = m_text.runs()[m_run].origin;
    return true;
}

Decoded decode(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    const unsigned lead = byte(0);
    const std::size_t length =
        std::min(sequence_length(static_cast<unsigned char>(lead)), text.size() - at);
    switch (length) {
    case 2:
        return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
    case 3:
        return {(lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
    case 4:
        return {(lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 |
                    (byte(3) & 0x3f),
                4};
    default:
        return {lead, 1};
    }
}

void append_utf8(std::string& out, char32_t code) {
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        code = 0xfffd;
    }
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xc0 | code >> 6);
        put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        put(0xe0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    } else {
        put(0xf0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3f));
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    }
}

bool is_valid_utf8(std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t length = well_formed(bytes, at);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

std::string valid_utf8(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t length = well_formed(bytes, at);
        if (length == 0) {
            out += "\xef\xbf\xbd";
            ++at;
        } else {
            out.append(bytes.substr(at, length));
            at += length;
        }
    }
    return out;
}

std::size_t count_characters(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
        return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
    }));
}

std::size_t byte_offset(std::string_view text, std::size_t character) {
    std::size_t at = 0;
    while (character > 0 && at < text.size()) {
        at += decode(text, at).bytes;
        --character;
    }
    return at;
}

bool is_space(char32_t code) {
    if (code < 0x80) {
        return (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x20);
    }
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_printable(char32_t code) {
    if (code < 0x7f) {
        return code >= 0x20;
    }
    switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool is_alphabetic(char32_t code) {
    switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return false;
    }
}

bool is_digit(char32_t code) {
    return category(code) == UTF8PROC_CATEGORY_ND;
}

bool is_word(char32_t code) {
    const utf8proc_category_t kind = category(code);
    return code == '_' || is_alphabetic(code) || kind == UTF8PROC_CATEGORY_ND ||
           kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_upper(char32_t code) {
    return category(code) == UTF8PROC_CATEGORY_LU;
}

bool is_lower(char32_t code) {
    return category(code) == UTF8PROC_CATEGORY_LL;
}

Text change_case(const Text& text, Letters how) {
    Text out;
    out.markup = text.markup;
    Characters characters(text);
    bool cased_before = false; // for the final sigma
    bool begins = true;        // a word, or the whole text
    std::string changed;
    while (characters.next()) {
        const char32_t code = characters.code;
        changed.clear();
        if (how == Letters::Upper || (how == Letters::TitleOfParts && begins)) {
            changed = upper_of(code);
        } else if (how != Letters::Lower && begins) {
            changed = title_of(code);
        } else if (code == 0x3a3) {
            append_utf8(changed, sigma_is_final(text.bytes(), characters.begin, cased_before)
                                     ? U'\u03c2'
                                     : U'\u03c3');
        } else if (code == 0x130) {
            changed = "i\xcc\x87";
        } else {
            append_utf8(changed, static_cast<char32_t>(
                                     utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
        }
        out.append(changed, characters.origin);
        if (!is_case_ignorable(code)) {
            cased_before = is_cased(code) && !(how == Letters::TitleOfParts && begins);
        }
        if (how == Letters::TitleOfParts) {
            begins = is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' ||
                     code == '<';
        } else {
            begins = how == Letters::Title && !is_cased(code);
        }
    }
    return out;
}

std::size_t find(std::string_view text, std::string_view needle, std::size_t from) {
    // The library's search is quadratic at worst; for short needles that is still linear.
    constexpr std::size_t kShort = 64;
    if (from > text.size()) {
        return std::string_view::npos;
    }
    if (needle.size() <= kShort) {
        return text.find(needle, from);
    }
    if (needle.size() > text.size() - from) {
        return std::string_view::npos;
    }
    // Knuth, Morris and Pratt: length of the longest border of each prefix.
    std::vector<std::uint32_t> border(needle.size());
    for (std::size_t i = 1, k = 0; i < needle.size(); ++i) {
        while (k > 0 && needle[i] != needle[k]) {
            k = border[k - 1];
        }
        k += needle[i] == needle[k] ? 1 : 0;
        border[i] = static_cast<std::uint32_t>(k);
    }
    for (std::size_t i = from, k = 0; i < text.size(); ++i) {
        while (k > 0 && text[i] != needle[k]) {
            k = border[k - 1];
        }
        k += text[i] == needle[k] ? 1 : 0;
        if (k == needle.size()) {
            return i + 1 - k;
        }
    }
    return std::string_view::npos;
}

} // namespace hs::jinja
