#pragma once
// A string that remembers which of its bytes a person wrote, and the Unicode questions the template
// language asks of strings. All texts are valid UTF-8; what comes from outside goes through
// valid_utf8 first.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hs::jinja {

enum class Origin : unsigned char { Template, Input };

class Text {
public:
    struct Run {
        std::size_t end; // one past the run's last byte
        Origin origin;
    };

    Text() = default;
    Text(std::string_view bytes, Origin origin) { append(bytes, origin); }

    const std::string& bytes() const { return m_bytes; }
    std::size_t size() const { return m_bytes.size(); }
    bool empty() const { return m_bytes.empty(); }
    // Adjacent runs differ in origin; together they cover all bytes.
    const std::vector<Run>& runs() const { return m_runs; }
    bool has_input() const;

    void append(std::string_view bytes, Origin origin);
    void append(const Text& other) { append(other, 0, other.size()); }
    void append(const Text& other, std::size_t begin, std::size_t end);
    Text slice(std::size_t begin, std::size_t end) const;

    // True for what the filters "safe" and "escape" made: joining it to other text with "+" escapes
    // the other text.
    bool markup = false;

private:
    std::string m_bytes;
    std::vector<Run> m_runs;
};

// Walks a text character by character.
class Characters {
public:
    explicit Characters(const Text& text)
        : m_text(text) {}
    // False at the end; otherwise code, bytes, begin and origin say what was found.
    bool next();

    char32_t code = 0;
    std::string_view bytes;
    std::size_t begin = 0;
    Origin origin = Origin::Template;

private:
    const Text& m_text;
    std::size_t m_at = 0;
    std::size_t m_run = 0;
};

// The character at a position of valid UTF-8, and how many bytes it takes.
struct Decoded {
    char32_t code;
    std::size_t bytes;
};
Decoded decode(std::string_view text, std::size_t at);
void append_utf8(std::string& out, char32_t code);
// The text with every byte that is no part of a character replaced by U+FFFD.
std::string valid_utf8(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

std::size_t count_characters(std::string_view text);
// Byte offset of the character with that index; the text's size when there are fewer.
std::size_t byte_offset(std::string_view text, std::size_t character);

// As Python's str.isspace, isprintable, isalnum/isalpha say.
bool is_space(char32_t code);
bool is_printable(char32_t code);
bool is_alphabetic(char32_t code);
bool is_digit(char32_t code);
bool is_word(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);

// Full case mappings, one character becoming several where Unicode says so. Title: words begin
// after anything that has no case, as for str.title; TitleOfParts: after white space, hyphens and
// opening brackets only, as for the filter "title"; Capitalized: the text's first letter alone.
enum class Letters { Upper, Lower, Title, TitleOfParts, Capitalized };
Text change_case(const Text& text, Letters how);

// Position of needle at or after `from`, npos when absent. Linear also for hostile input.
std::size_t find(std::string_view text, std::string_view needle, std::size_t from = 0);

} // namespace hs::jinja
