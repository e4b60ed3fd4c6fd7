#include "engine/text/utf8.h"

#include <utf8proc.h>

namespace hs::utf8 {

namespace {

// The last character of a valid text that is not empty.
Character last(std::string_view text) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) {
        --begin;
    }
    return first(text.substr(begin));
}

} // namespace

Character first(std::string_view text) {
    if (text.empty()) {
        return {};
    }
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) {
        return {lead, 1, true, false};
    }
    // Table 3-7 of the Unicode standard: how many bytes follow, and what the second may be.
    int length = 0;
    unsigned low = 0x80;
    unsigned high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    } else {
        return {0, 1, false, false};
    }
    char32_t code = lead & (0xFFu >> (length + 1));
    for (int i = 1; i < length; ++i) {
        if (static_cast<std::size_t>(i) == text.size()) {
            return {0, i, false, true};
        }
        const unsigned next = byte(static_cast<std::size_t>(i));
        if (next < low || next > high) {
            return {0, i, false, false};
        }
        code = (code << 6) | (next & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    return {code, length, true, false};
}

bool is_valid(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const Character character = first(text.substr(at));
        if (!character.valid) {
            return false;
        }
        at += static_cast<std::size_t>(character.bytes);
    }
    return true;
}

std::string valid_text(std::string_view text) {
    std::string valid;
    valid.reserve(text.size());
    while (!text.empty()) {
        const Character character = first(text);
        const auto bytes = static_cast<std::size_t>(character.bytes);
        valid += character.valid ? text.substr(0, bytes) : kReplacement;
        text.remove_prefix(bytes);
    }
    return valid;
}

std::string take_text(std::string& bytes, IllFormed shown, More more) {
    std::string text;
    text.reserve(bytes.size());
    std::string_view rest = bytes;
    while (!rest.empty()) {
        const Character character = first(rest);
        if (character.incomplete && more == More::MayCome) {
            break;
        }
        const auto length = static_cast<std::size_t>(character.bytes);
        if (character.valid) {
            text += rest.substr(0, length);
        } else {
            for (std::size_t i = 0; i < (shown == IllFormed::PerByte ? length : 1); ++i) {
                text += kReplacement;
            }
        }
        rest.remove_prefix(length);
    }
    bytes.erase(0, bytes.size() - rest.size());
    return text;
}

void append(std::string& text, char32_t code) {
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xC0 | (code >> 6));
        put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        put(0xE0 | (code >> 12));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    } else {
        put(0xF0 | (code >> 18));
        put(0x80 | ((code >> 12) & 0x3F));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    }
}

bool is_white_space(char32_t code) {
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_word(char32_t code) {
    if (code < 0x80) {
        return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
               (code >= '0' && code <= '9') || code == '_';
    }
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: // Circled letters are alphabetic symbols; the joiners belong to words by definition.
        return (code >= 0x24B6 && code <= 0x24E9) || code == 0x200C || code == 0x200D;
    }
}

std::size_t white_space_at_end(std::string_view text) {
    const std::size_t size = text.size();
    while (!text.empty()) {
        const Character character = last(text);
        if (!is_white_space(character.code)) {
            break;
        }
        text.remove_suffix(static_cast<std::size_t>(character.bytes));
    }
    return size - text.size();
}

std::size_t white_space_at_start(std::string_view text) {
    const std::size_t size = text.size();
    while (!text.empty()) {
        const Character character = first(text);
        if (!is_white_space(character.code)) {
            break;
        }
        text.remove_prefix(static_cast<std::size_t>(character.bytes));
    }
    return size - text.size();
}

bool ends_with_word(std::string_view text) {
    return !text.empty() && is_word(last(text).code);
}

bool starts_with_word(std::string_view text) {
    return !text.empty() && is_word(first(text).code);
}

} // namespace hs::utf8
