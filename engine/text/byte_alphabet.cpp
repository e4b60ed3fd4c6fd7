#include "engine/text/byte_alphabet.h"

#include "engine/text/utf8.h"

#include <array>
#include <cstddef>

namespace hs {

namespace {

constexpr bool is_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The other 68 bytes take U+0100, U+0101, ... in their order.
constexpr std::array<char32_t, 256> kCharacterOf = [] {
    std::array<char32_t, 256> table{};
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
        table[byte] = is_itself(byte) ? byte : next++;
    }
    return table;
}();

constexpr char32_t kEnd = 0x100 + 68;

constexpr std::array<int, kEnd> kByteOf = [] {
    std::array<int, kEnd> table{};
    table.fill(-1);
    for (unsigned byte = 0; byte < 256; ++byte) {
        table[kCharacterOf[byte]] = static_cast<int>(byte);
    }
    return table;
}();

} // namespace

void append_byte_character(std::string& out, unsigned char byte) {
    utf8::append(out, kCharacterOf[byte]);
}

std::string to_byte_characters(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char byte : bytes) {
        append_byte_character(text, static_cast<unsigned char>(byte));
    }
    return text;
}

std::optional<std::string> from_byte_characters(std::string_view text) {
    std::string bytes;
    bytes.reserve(text.size());
    while (!text.empty()) {
        const utf8::Character character = utf8::first(text);
        if (!character.valid || character.code >= kEnd || kByteOf[character.code] < 0) {
            return std::nullopt;
        }
        bytes.push_back(static_cast<char>(kByteOf[character.code]));
        text.remove_prefix(static_cast<std::size_t>(character.bytes));
    }
    return bytes;
}

} // namespace hs
