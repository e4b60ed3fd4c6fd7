#pragma once
// UTF-8 read one character at a time, and the few character classes tokenizers ask about. An
// ill-formed stretch counts by "maximal subparts", as Unicode recommends and Rust and Python do.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hs::utf8 {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD"; // U+FFFD

// What stands at the start of a text.
struct Character {
    char32_t code = 0;
    int bytes = 0; // at least 1 unless the text is empty; of an ill-formed stretch, its length
    bool valid = false;
    bool incomplete = false; // ill-formed only because the text ends here
};

Character first(std::string_view text);
bool is_valid(std::string_view text);
// The text with U+FFFD for every maximal ill-formed subpart.
std::string valid_text(std::string_view text);
void append(std::string& text, char32_t code);

// How an ill-formed stretch is shown: one U+FFFD for all of it, or one for each byte.
enum class IllFormed { PerStretch, PerByte };
enum class More { MayCome, Ended };
// Takes from the front of `bytes` what is certain, as valid text. Without an end, up to 3 bytes
// that may still become a character stay.
std::string take_text(std::string& bytes, IllFormed shown, More more);

// Unicode's White_Space, which is what \s means in the tokenizers' own regex engines.
bool is_white_space(char32_t code);
// \w: letters, marks, decimal digits, connectors and joiners.
bool is_word(char32_t code);

// Bytes of white space at the end and at the start of a valid text.
std::size_t white_space_at_end(std::string_view text);
std::size_t white_space_at_start(std::string_view text);
bool ends_with_word(std::string_view text);
bool starts_with_word(std::string_view text);

} // namespace hs::utf8
