#pragma once
// GPT-2's map between bytes and printable characters: byte-level vocabularies are written in it.

#include <optional>
#include <string>
#include <string_view>

namespace hs {

// The character of a byte, as UTF-8 appended to `out`.
void append_byte_character(std::string& out, unsigned char byte);
std::string to_byte_characters(std::string_view bytes);
// Nothing when a character is outside the alphabet.
std::optional<std::string> from_byte_characters(std::string_view text);

} // namespace hs
