#include "engine/text/jinja/lexer.h"

#include "engine/text/jinja/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <fmt/format.h>

namespace hs::jinja {

namespace {

bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

bool is_decimal(char c) {
    return c >= '0' && c <= '9';
}

// CRLF and CR become LF; one newline at the end goes.
std::string plain_newlines(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            out.push_back('\n');
            if (i + 1 < source.size() && source[i + 1] == '\n') {
                ++i;
            }
        } else {
            out.push_back(source[i]);
        }
    }
    if (!out.empty() && out.back() == '\n') {
        out.pop_back();
    }
    return out;
}

// The byte after the white space that begins at a position.
std::size_t skip_space(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        const Decoded character = decode(text, at);
        if (!is_space(character.code)) {
            break;
        }
        at += character.bytes;
    }
    return at;
}

// The end of the text without the white space it ends with.
std::size_t trim_end(std::string_view text) {
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Decoded character = decode(text, at);
        at += character.bytes;
        if (!is_space(character.code)) {
            end = at;
        }
    }
    return end;
}

class Lexer {
public:
    explicit Lexer(std::string_view source)
        : m_source(plain_newlines(source)) {}

    Result<std::vector<Token>> run() {
        while (m_at < m_source.size()) {
            TRY(text_and_tag());
        }
        push(Token::Kind::End, {});
        return std::move(m_tokens);
    }

private:
    // Template text up to the next tag, then the tag.
    Result<void> text_and_tag() {
        const std::string_view source = m_source;
        std::size_t open = m_at;
        for (;;) {
            open = source.find('{', open);
            if (open == std::string_view::npos || open + 1 >= source.size()) {
                push_text(source.substr(m_at));
                m_at = source.size();
                return {};
            }
            const char next = source[open + 1];
            if (next == '%' || next == '{' || next == '#') {
                break;
            }
            ++open;
        }
        const char kind = source[open + 1];
        std::size_t inside = open + 2;
        const char sign = inside < source.size() ? source[inside] : '\0';
        const bool has_sign = sign == '-' || sign == '+';
        push_text(before_tag(source.substr(m_at, open - m_at), has_sign ? sign : '\0', kind));
        count_lines(m_at, open);
        m_at = inside + (has_sign ? 1 : 0);
        if (kind == '#') {
            return comment();
        }
        if (kind == '%') {
            const std::size_t after_raw = raw_tag(m_at, "raw");
            if (after_raw != 0) {
                return raw(after_raw);
            }
        }
        return tag(kind == '%');
    }

    // What is left of the text before a tag: "-" takes all white space, lstrip_blocks the white
    // space between the line's start and a block or comment.
    std::string_view before_tag(std::string_view text, char sign, char kind) const {
        if (sign == '-') {
            return text.substr(0, trim_end(text));
        }
        if (sign == '+' || kind == '{') {
            return text;
        }
        const std::size_t newline = text.rfind('\n');
        const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
        if ((line > 0 || m_line_start) && skip_space(text, line) == text.size()) {
            return text.substr(0, line);
        }
        return text;
    }

    // Moves past the end of a block or comment: "-" takes white space, trim_blocks one newline.
    void after_block(std::size_t end, char sign) {
        std::size_t next = end;
        if (sign == '-') {
            next = skip_space(m_source, end);
        } else if (sign != '+' && end < m_source.size() && m_source[end] == '\n') {
            next = end + 1;
        }
        count_lines(end, next);
        m_line_start = next > end && m_source[next - 1] == '\n';
        m_at = next;
    }

    Result<void> comment() {
        const std::size_t close = m_source.find("#}", m_at);
        if (close == std::string::npos) {
            return failed("a comment has no end");
        }
        const char before = close > m_at ? m_source[close - 1] : '\0';
        count_lines(m_at, close);
        after_block(close + 2, before == '-' || before == '+' ? before : '\0');
        return {};
    }

    // The byte after "raw -%}" or the like when that is what stands at a position, else 0.
    std::size_t raw_tag(std::size_t at, std::string_view word) const {
        at = skip_space(m_source, at);
        if (m_source.compare(at, word.size(), word) != 0) {
            return 0;
        }
        at = skip_space(m_source, at + word.size());
        if (m_source.compare(at, 2, "%}") == 0) {
            return at + 2;
        }
        if (m_source.compare(at, 3, "-%}") == 0 || m_source.compare(at, 3, "+%}") == 0) {
            return at + 3;
        }
        return 0;
    }

    Result<void> raw(std::size_t after) {
        count_lines(m_at, after);
        std::size_t begin = after;
        if (m_source[after - 3] == '-') {
            begin = skip_space(m_source, after);
            count_lines(after, begin);
        }
        m_line_start = begin > 0 && m_source[begin - 1] == '\n';
        for (std::size_t open = m_source.find("{%", begin); open != std::string::npos;
             open = m_source.find("{%", open + 2)) {
            const std::size_t inside = open + 2;
            const char sign = inside < m_source.size() ? m_source[inside] : '\0';
            const bool has_sign = sign == '-' || sign == '+';
            const std::size_t end = raw_tag(inside + (has_sign ? 1 : 0), "endraw");
            if (end != 0) {
                const std::string_view text =
                    std::string_view(m_source).substr(begin, open - begin);
                push_text(before_tag(text, has_sign ? sign : '\0', '%'));
                count_lines(begin, end);
                const char last = m_source[end - 3];
                after_block(end, last == '-' || last == '+' ? last : '\0');
                return {};
            }
        }
        return failed("a raw block has no end");
    }

    // The inside of {% %} or {{ }}.
    Result<void> tag(bool block) {
        push(block ? Token::Kind::BlockBegin : Token::Kind::OutputBegin, {});
        const std::string_view close = block ? "%}" : "}}";
        std::string brackets;
        for (;;) {
            const std::size_t next = skip_space(m_source, m_at);
            count_lines(m_at, next);
            m_at = next;
            if (m_at >= m_source.size()) {
                return failed(block ? "a block has no end" : "an output has no end");
            }
            const std::string_view rest = std::string_view(m_source).substr(m_at);
            if (brackets.empty()) {
                const char sign = rest[0] == '-' || (block && rest[0] == '+') ? rest[0] : '\0';
                const std::size_t skip = sign == '\0' ? 0 : 1;
                if (rest.substr(skip, 2) == close) {
                    push(block ? Token::Kind::BlockEnd : Token::Kind::OutputEnd, {});
                    const std::size_t end = m_at + skip + 2;
                    if (block || sign == '-') {
                        after_block(end, sign);
                    } else {
                        m_at = end;
                        m_line_start = false;
                    }
                    return {};
                }
            }
            TRY(token(rest, brackets));
        }
    }

    Result<void> token(std::string_view rest, std::string& brackets) {
        const char first = rest[0];
        if (is_decimal(first)) {
            return number(rest);
        }
        if (is_name_start(first)) {
            std::size_t length = 1;
            while (length < rest.size() &&
                   (is_name_start(rest[length]) || is_decimal(rest[length]))) {
                ++length;
            }
            return take(Token::Kind::Name, rest.substr(0, length));
        }
        if (first == '\'' || first == '"') {
            return string(rest);
        }
        static constexpr std::array<std::string_view, 24> kOperators = {
            "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~",
            "[",  "]",  "(",  ")",  "{",  "}",  ">", "<", "=", ".", ":", "|"};
        for (const std::string_view op : kOperators) {
            if (rest.substr(0, op.size()) == op) {
                TRY(balance(op, brackets));
                return take(Token::Kind::Operator, op);
            }
        }
        if (first == ',' || first == ';') {
            return take(Token::Kind::Operator, rest.substr(0, 1));
        }
        return failed(fmt::format("unexpected character '{}'", first));
    }

    Result<void> balance(std::string_view op, std::string& brackets) {
        if (op == "(" || op == "[" || op == "{") {
            brackets.push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
        } else if (op == ")" || op == "]" || op == "}") {
            if (brackets.empty() || brackets.back() != op[0]) {
                return failed(fmt::format("unexpected '{}'", op));
            }
            brackets.pop_back();
        }
        return {};
    }

    // Digits with single underscores between them.
    static std::size_t digits(std::string_view text, std::size_t at) {
        const std::size_t begin = at;
        while (at < text.size() &&
               (is_decimal(text[at]) || (text[at] == '_' && at > begin && at + 1 < text.size() &&
                                         is_decimal(text[at + 1])))) {
            ++at;
        }
        return at;
    }

    Result<void> number(std::string_view rest) {
        if (rest[0] == '0' && rest.size() > 2 &&
            std::string_view("xXoObB").find(rest[1]) != std::string_view::npos) {
            std::size_t end = 2;
            while (end < rest.size() &&
                   (std::isxdigit(static_cast<unsigned char>(rest[end])) || rest[end] == '_')) {
                ++end;
            }
            return take(Token::Kind::Integer, rest.substr(0, end));
        }
        const std::size_t whole = digits(rest, 0);
        std::size_t end = whole;
        const bool after_dot = !m_tokens.empty() && m_tokens.back().kind == Token::Kind::Operator &&
                               m_tokens.back().text == "." && m_source[m_at - 1] == '.';
        if (!after_dot) {
            if (end + 1 < rest.size() && rest[end] == '.' && is_decimal(rest[end + 1])) {
                end = digits(rest, end + 1);
            }
            if (end < rest.size() && (rest[end] == 'e' || rest[end] == 'E')) {
                std::size_t power = end + 1;
                if (power < rest.size() && (rest[power] == '+' || rest[power] == '-')) {
                    ++power;
                }
                if (power < rest.size() && is_decimal(rest[power])) {
                    end = digits(rest, power);
                }
            }
        }
        return take(end > whole ? Token::Kind::Real : Token::Kind::Integer, rest.substr(0, end));
    }

    Result<void> string(std::string_view rest) {
        std::size_t end = 1;
        while (end < rest.size() && rest[end] != rest[0]) {
            end += rest[end] == '\\' ? 2 : 1;
        }
        if (end >= rest.size()) {
            return failed("a string has no end");
        }
        std::string value = TRY(unescape(rest.substr(1, end - 1)));
        push(Token::Kind::String, std::move(value));
        count_lines(m_at, m_at + end + 1);
        m_at += end + 1;
        return {};
    }

    Result<std::string> unescape(std::string_view text) const {
        std::string out;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '\\' || i + 1 >= text.size()) {
                out.push_back(text[i]);
                continue;
            }
            const char kind = text[++i];
            static constexpr std::string_view kFrom = "\\'\"abfnrtv";
            static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
            const std::size_t simple = kFrom.find(kind);
            const std::size_t wide = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
            if (simple != std::string_view::npos) {
                out.push_back(kTo[simple]);
            } else if (wide > 0) {
                std::uint32_t code = TRY(hex(text.substr(i + 1), wide));
                i += wide;
                // Two halves of a surrogate pair are one character.
                if (code >= 0xd800 && code < 0xdc00 && text.substr(i + 1, 2) == "\\u") {
                    const Result<std::uint32_t> low = hex(text.substr(i + 3), 4);
                    if (low && *low >= 0xdc00 && *low < 0xe000) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (*low - 0xdc00);
                        i += 6;
                    }
                }
                append_utf8(out, code);
            } else if (kind >= '0' && kind <= '7') {
                std::uint32_t code = 0;
                std::size_t length = 0;
                while (length < 3 && i + length < text.size() && text[i + length] >= '0' &&
                       text[i + length] <= '7') {
                    code = code * 8 + static_cast<std::uint32_t>(text[i + length] - '0');
                    ++length;
                }
                i += length - 1;
                append_utf8(out, code);
            } else if (kind == 'N') {
                return failed("characters by name are not supported");
            } else if (kind != '\n') { // a newline after the backslash is no character at all
                out.push_back('\\');
                out.push_back(kind);
            }
        }
        return out;
    }

    Result<std::uint32_t> hex(std::string_view text, std::size_t length) const {
        if (text.size() < length) {
            return failed("an escape is too short");
        }
        std::uint32_t code = 0;
        for (const char c : text.substr(0, length)) {
            const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
            if (!is_decimal(c) && !(lower >= 'a' && lower <= 'f')) {
                return failed("an escape has a wrong digit");
            }
            code =
                code * 16 + static_cast<std::uint32_t>(is_decimal(c) ? c - '0' : lower - 'a' + 10);
        }
        return code;
    }

    Result<void> take(Token::Kind kind, std::string_view text) {
        push(kind, std::string(text));
        m_at += text.size();
        return {};
    }

    void push(Token::Kind kind, std::string text) {
        m_tokens.push_back({kind, std::move(text), m_line});
    }

    void push_text(std::string_view text) {
        if (!text.empty()) {
            push(Token::Kind::Text, std::string(text));
        }
    }

    void count_lines(std::size_t begin, std::size_t end) {
        m_line +=
            static_cast<int>(std::count(m_source.begin() + static_cast<std::ptrdiff_t>(begin),
                                        m_source.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    }

    Error failed(const std::string& what) const {
        return {ErrorCode::Corrupt, fmt::format("template line {}: {}", m_line, what), {}};
    }

    std::string m_source;
    std::size_t m_at = 0;
    int m_line = 1;
    bool m_line_start = true;
    std::vector<Token> m_tokens;
};

} // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
    return Lexer(source).run();
}

} // namespace hs::jinja
