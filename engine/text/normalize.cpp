#include "engine/text/normalize.h"

#include "engine/text/utf8.h"

#include <algorithm>
#include <array>
#include <utf8proc.h>

namespace hs {

namespace {

using Kind = Normalizer::Kind;

// Below these a form changes nothing: the first combining mark, the first decomposition.
char32_t first_that_changes(Kind form) {
    return form == Kind::Nfc ? 0x300 : 0xA0;
}

std::size_t unchanged_prefix(Kind form, std::string_view text) {
    const char32_t limit = first_that_changes(form);
    std::size_t at = 0;
    std::size_t last = 0; // the character before a mark may compose with it
    while (at < text.size()) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            last = at++;
            continue;
        }
        const utf8::Character character = utf8::first(text.substr(at));
        if (character.code >= limit) {
            return last;
        }
        last = at;
        at += static_cast<std::size_t>(character.bytes);
    }
    return at;
}

int combining_class(std::int32_t code) {
    return utf8proc_get_property(code)->combining_class;
}

std::string lowercase(std::string_view text) {
    std::string lower;
    lower.reserve(text.size());
    while (!text.empty()) {
        const utf8::Character character = utf8::first(text);
        if (character.code == 0x130) { // the one character whose lower case is two
            lower += "i\xCC\x87";
        } else {
            utf8::append(lower, static_cast<char32_t>(utf8proc_tolower(
                                    static_cast<utf8proc_int32_t>(character.code))));
        }
        text.remove_prefix(static_cast<std::size_t>(character.bytes));
    }
    return lower;
}

std::string replace(const Regex& pattern, std::string_view content, std::string_view text,
                    RegexRun& run) {
    std::vector<Range> matches;
    pattern.matches(text, run, matches);
    std::string replaced;
    replaced.reserve(text.size());
    std::size_t from = 0;
    for (const Range& match : matches) {
        replaced += text.substr(from, match.begin - from);
        replaced += content;
        from = match.end;
    }
    replaced += text.substr(from);
    return replaced;
}

// codes: a buffer.
void append_normal_form(Kind form, std::string_view text, std::vector<utf8proc_int32_t>& codes,
                        std::string& result) {
    codes.clear();
    const bool compat = form == Kind::Nfkc || form == Kind::Nfkd;
    const bool compose = form == Kind::Nfc || form == Kind::Nfkc;
    const auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
    while (!text.empty()) {
        const utf8::Character character = utf8::first(text);
        std::array<utf8proc_int32_t, 32> parts{}; // 18 is Unicode's longest, for U+FDFA
        int boundary = 0;
        const utf8proc_ssize_t count = utf8proc_decompose_char(
            static_cast<utf8proc_int32_t>(character.code), parts.data(),
            static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
        if (count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size())) {
            codes.insert(codes.end(), parts.begin(), parts.begin() + count);
        } else {
            codes.push_back(static_cast<utf8proc_int32_t>(character.code));
        }
        text.remove_prefix(static_cast<std::size_t>(character.bytes));
    }
    for (auto begin = codes.begin(); begin != codes.end();) {
        if (combining_class(*begin) == 0) {
            ++begin;
            continue;
        }
        const auto end = std::find_if(begin, codes.end(),
                                      [](std::int32_t code) { return combining_class(code) == 0; });
        if (end - begin > 1) {
            std::stable_sort(begin, end, [](std::int32_t a, std::int32_t b) {
                return combining_class(a) < combining_class(b);
            });
        }
        begin = end;
    }
    if (compose) {
        const utf8proc_ssize_t count = utf8proc_normalize_utf32(
            codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
            static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
        if (count >= 0) {
            codes.resize(static_cast<std::size_t>(count));
        }
    }
    for (const utf8proc_int32_t code : codes) {
        utf8::append(result, static_cast<char32_t>(code));
    }
}

} // namespace

// utf8proc_map would do, but it sorts marks by insertion: a megabyte of them takes hours.
std::string normal_form(Kind form, std::string_view text) {
    std::string result;
    result.reserve(text.size());
    std::vector<utf8proc_int32_t> codes;
    while (!text.empty()) {
        const std::size_t unchanged = unchanged_prefix(form, text);
        result += text.substr(0, unchanged);
        text.remove_prefix(unchanged);
        // Nothing composes with an ASCII character after it: what comes before one stands alone.
        std::size_t end = text.empty() ? 0 : 1;
        while (end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) {
            ++end;
        }
        append_normal_form(form, text.substr(0, end), codes, result);
        text.remove_prefix(end);
    }
    return result;
}

std::string normalize(const std::vector<Normalizer>& steps, std::string text, RegexRun& run) {
    for (const Normalizer& step : steps) {
        switch (step.kind) {
        case Kind::Nfc:
        case Kind::Nfd:
        case Kind::Nfkc:
        case Kind::Nfkd:
            text = normal_form(step.kind, text);
            break;
        case Kind::Replace:
            if (step.pattern.has_value()) {
                text = replace(*step.pattern, step.content, text, run);
            }
            break;
        case Kind::Prepend:
            if (!text.empty()) {
                text.insert(0, step.content);
            }
            break;
        case Kind::Strip: {
            const std::size_t left = step.left ? utf8::white_space_at_start(text) : 0;
            text.erase(0, left);
            text.resize(text.size() - (step.right ? utf8::white_space_at_end(text) : 0));
            break;
        }
        case Kind::Lowercase:
            text = lowercase(text);
            break;
        }
    }
    return text;
}

} // namespace hs
