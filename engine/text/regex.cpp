#include "engine/text/regex.h"

#include "engine/core/log.h"
#include "engine/text/utf8.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <pcre2.h>

namespace hs {

namespace {

constexpr std::size_t kMostPattern = 32 * 1024;

// Unicode's White_Space. PCRE2's own \s also holds U+180E, Oniguruma's and Rust's do not.
constexpr std::string_view kSpace = R"(\x{9}-\x{d} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a})"
                                    R"(\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// PCRE2 10.42's \w lacks marks and connectors.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

// Since PCRE2 10.40 a bare script name means its extensions too: \p{Han} would hold 、 and 。.
constexpr std::array<std::string_view, 30> kScripts = {
    "Arabic",   "Armenian", "Bengali",   "Bopomofo",  "Cyrillic", "Devanagari",
    "Ethiopic", "Georgian", "Greek",     "Gujarati",  "Gurmukhi", "Han",
    "Hangul",   "Hebrew",   "Hiragana",  "Kannada",   "Katakana", "Khmer",
    "Lao",      "Latin",    "Malayalam", "Mongolian", "Myanmar",  "Oriya",
    "Sinhala",  "Tamil",    "Telugu",    "Thai",      "Tibetan",  "Common"};

// The two intersected classes in use, as one class each: general categories partition Unicode.
struct Intersection {
    std::string_view published;
    std::string_view same;
};
constexpr std::array<Intersection, 2> kIntersections = {{
    {R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])",
     R"([^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{Han}])"},
    {R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])",
     R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{Han}])"},
}};

Error unsupported(std::string_view construct, std::string_view pattern) {
    return Error{ErrorCode::Unsupported,
                 "regular expression uses " + std::string(construct) + ": " +
                     std::string(pattern.substr(0, 200)),
                 ""};
}

// One pass over a pattern, copying what means the same and replacing what does not.
class Rewriter {
public:
    explicit Rewriter(std::string_view pattern)
        : m_in(pattern) {}

    Result<std::string> rewrite() {
        while (m_at < m_in.size()) {
            const char c = m_in[m_at];
            if (c == '\\') {
                TRY(escape());
            } else if (m_in_class) {
                TRY(inside_class(c));
            } else {
                outside_class(c);
            }
        }
        return std::move(m_out);
    }

private:
    void outside_class(char c) {
        if (c == '[') {
            m_atom = m_out.size();
            m_in_class = true;
            copy(1);
            if (m_at < m_in.size() && m_in[m_at] == '^') {
                copy(1);
            }
            if (m_at < m_in.size() && m_in[m_at] == ']') { // first in a class: a literal
                m_out += "\\]";
                ++m_at;
            }
        } else if (c == '(') {
            m_groups.push_back(m_out.size());
            copy(1);
        } else if (c == ')') {
            m_atom = m_out.size();
            if (!m_groups.empty()) {
                m_atom = m_groups.back();
                m_groups.pop_back();
            }
            copy(1);
        } else if (c == '{' && counted_then_plus()) {
            return;
        } else if (c == '{' || c == '?' || c == '*' || c == '+' || c == '|') {
            copy(1);
        } else {
            m_atom = m_out.size();
            copy(character());
        }
    }

    // x{1,3}+ is possessive in PCRE2; in Ruby's syntax it is (x{1,3})+.
    bool counted_then_plus() {
        const std::size_t close = m_in.find('}', m_at);
        if (close == std::string_view::npos || close + 1 >= m_in.size() || m_in[close + 1] != '+') {
            return false;
        }
        const std::string_view count = m_in.substr(m_at + 1, close - m_at - 1);
        if (count.empty() || count.find_first_not_of("0123456789,") != std::string_view::npos) {
            return false;
        }
        m_out.insert(m_atom, "(?:");
        m_out += m_in.substr(m_at, close + 1 - m_at);
        m_out += ")+";
        m_at = close + 2;
        return true;
    }

    Result<void> inside_class(char c) {
        const std::string_view rest = m_in.substr(m_at);
        if (c == ']') {
            m_in_class = false;
            copy(1);
        } else if (rest.substr(0, 2) == "&&") {
            return unsupported("the class intersection &&", m_in);
        } else if (rest.substr(0, 2) == "[:") {
            const std::size_t close = rest.find(":]");
            if (close == std::string_view::npos) {
                return unsupported("an unclosed [: in a class", m_in);
            }
            copy(close + 2);
        } else if (c == '[') {
            return unsupported("a class inside a class", m_in);
        } else {
            copy(character());
        }
        return {};
    }

    Result<void> escape() {
        if (!m_in_class) {
            m_atom = m_out.size();
        }
        if (m_at + 1 >= m_in.size()) {
            return Error{ErrorCode::Corrupt, "regular expression ends in a backslash", ""};
        }
        const char c = m_in[m_at + 1];
        const auto put_class = [&](std::string_view members, bool negated) {
            if (m_in_class) {
                m_out += members;
            } else {
                m_out += negated ? "[^" : "[";
                m_out += members;
                m_out += ']';
            }
            m_at += 2;
        };
        if (c == 's') {
            put_class(kSpace, false);
        } else if (c == 'S') {
            put_class(m_in_class ? kNotSpace : kSpace, true);
        } else if (c == 'w') {
            put_class(kWord, false);
        } else if (c == 'W') {
            if (m_in_class) {
                return unsupported("\\W in a class", m_in);
            }
            put_class(kWord, true);
        } else if (c == 'h') {
            put_class("0-9a-fA-F", false);
        } else if (c == 'H' || c == 'C' || c == 'Q' || c == 'E' || c == 'g') {
            return unsupported(std::string("\\") + c, m_in);
        } else if (c == 'p' || c == 'P') {
            property();
        } else if ((c == 'x' || c == 'o') && m_in.substr(m_at + 2, 1) == "{") {
            const std::size_t close = m_in.find('}', m_at);
            copy((close == std::string_view::npos ? m_in.size() : close + 1) - m_at);
        } else if (c == 'u') {
            const std::string_view digits = m_in.substr(m_at + 2, 4);
            if (digits.size() != 4 ||
                digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
                return unsupported("\\u without four digits", m_in);
            }
            m_out += "\\x{" + std::string(digits) + "}";
            m_at += 6;
        } else {
            m_out += '\\';
            ++m_at;
            copy(character());
        }
        return {};
    }

    void property() {
        m_out += m_in.substr(m_at, 2);
        m_at += 2;
        const std::size_t close = m_in.find('}', m_at);
        if (m_at < m_in.size() && m_in[m_at] == '{' && close != std::string_view::npos) {
            std::string_view name = m_in.substr(m_at + 1, close - m_at - 1);
            m_out += '{';
            if (!name.empty() && name.front() == '^') {
                m_out += '^';
                name.remove_prefix(1);
            }
            if (std::find(kScripts.begin(), kScripts.end(), name) != kScripts.end()) {
                m_out += "sc:";
            }
            m_out += name;
            m_out += '}';
            m_at = close + 1;
        }
    }

    std::size_t character() const {
        return static_cast<std::size_t>(utf8::first(m_in.substr(m_at)).bytes);
    }
    void copy(std::size_t bytes) {
        m_out += m_in.substr(m_at, bytes);
        m_at += bytes;
    }

    std::string_view m_in;
    std::string m_out;
    std::size_t m_at = 0;
    std::size_t m_atom = 0; // where in m_out the last repeatable thing begins
    std::vector<std::size_t> m_groups;
    bool m_in_class = false;
};

struct FreeCode {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeCompileContext {
    void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

} // namespace

struct Regex::Compiled {
    std::unique_ptr<pcre2_code, FreeCode> code;
    bool jit = false;
};

struct RegexRun::Buffers {
    pcre2_match_data* match = nullptr;
    pcre2_match_context* context = nullptr;
    pcre2_jit_stack* stack = nullptr;

    Buffers() = default;
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    ~Buffers() {
        pcre2_match_data_free(match);
        pcre2_match_context_free(context);
        pcre2_jit_stack_free(stack);
    }
};

// A legitimate pattern takes some 20 ns a byte; what takes a hundred times that is an attack.
RegexRun::RegexRun(std::size_t text_bytes)
    : m_deadline(std::chrono::steady_clock::now() + std::chrono::seconds(2) +
                 std::chrono::microseconds(2 * std::min<std::size_t>(text_bytes, 1u << 30))) {}

RegexRun::~RegexRun() = default;

RegexRun::Buffers& RegexRun::buffers() {
    if (m_buffers == nullptr) {
        m_buffers = std::make_unique<Buffers>();
        m_buffers->match = pcre2_match_data_create(1, nullptr);
        m_buffers->context = pcre2_match_context_create(nullptr);
        // 32 KiB, the default, overflows on runs of some thousand letters.
        m_buffers->stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, nullptr);
        if (m_buffers->context != nullptr) {
            pcre2_set_heap_limit(m_buffers->context, 64 * 1024); // KiB, for the interpreter
            if (m_buffers->stack != nullptr) {
                pcre2_jit_stack_assign(m_buffers->context, nullptr, m_buffers->stack);
            }
        }
    }
    return *m_buffers;
}

Result<std::string> to_pcre2(std::string_view pattern) {
    if (pattern.size() > kMostPattern) {
        return Error{ErrorCode::Corrupt,
                     "regular expression of " + std::to_string(pattern.size()) +
                         " bytes is over the limit of " + std::to_string(kMostPattern),
                     ""};
    }
    if (!utf8::is_valid(pattern)) {
        return Error{ErrorCode::Corrupt, "regular expression is not UTF-8", ""};
    }
    std::string text(pattern);
    for (const Intersection& intersection : kIntersections) {
        for (std::size_t at = text.find(intersection.published); at != std::string::npos;
             at = text.find(intersection.published, at)) {
            text.replace(at, intersection.published.size(), intersection.same);
        }
    }
    return Rewriter(text).rewrite();
}

Regex::Regex(std::unique_ptr<const Compiled> compiled)
    : m_compiled(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
    const std::string rewritten = TRY(to_pcre2(pattern));
    const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
        pcre2_compile_context_create(nullptr));
    if (context != nullptr) {
        pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context.get(), 100);
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    auto compiled = std::make_unique<Compiled>();
    // Multi-line: ^ and $ match at line breaks in Ruby's syntax.
    compiled->code.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                      &offset, context.get()));
    if (compiled->code == nullptr) {
        std::array<PCRE2_UCHAR, 256> message{};
        pcre2_get_error_message(code, message.data(), message.size());
        return Error{ErrorCode::Corrupt,
                     std::string("regular expression does not compile: ") +
                         reinterpret_cast<const char*>(message.data()) + " at byte " +
                         std::to_string(offset) + " of " + rewritten.substr(0, 400),
                     ""};
    }
    compiled->jit = pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE) == 0;
    return Regex(std::move(compiled));
}

Result<Regex> Regex::literal(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || (static_cast<unsigned char>(c) & 0x80) != 0 ||
                           static_cast<unsigned char>(c) <= 0x20;
        if (!plain) {
            pattern += '\\';
        }
        pattern += c;
    }
    return compile(pattern);
}

void Regex::matches(std::string_view text, RegexRun& run, std::vector<Range>& out) const {
    const auto gave_up = [&] {
        return std::find(run.m_given_up.begin(), run.m_given_up.end(), m_compiled.get()) !=
               run.m_given_up.end();
    };
    RegexRun::Buffers& buffers = run.buffers();
    if (buffers.match == nullptr || buffers.context == nullptr || gave_up()) {
        return;
    }
    // Backtracking steps of one match: what a long run of one class needs, and no more.
    pcre2_set_match_limit(
        buffers.context,
        static_cast<std::uint32_t>(std::min<std::size_t>(
            1'000'000 + 64 * std::min<std::size_t>(text.size(), 1u << 24), 1'000'000'000)));
    const auto give_up = [&](const char* why) {
        run.m_given_up.push_back(m_compiled.get());
        HS_LOG(Warning, "text", "a split pattern {}; the rest of this text is tokenized without it",
               why);
    };
    const auto search = [&](std::size_t from, std::uint32_t options) {
        return pcre2_match(m_compiled->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                           text.size(), from, PCRE2_NO_UTF_CHECK | options, buffers.match,
                           buffers.context);
    };
    const PCRE2_SIZE* const found = pcre2_get_ovector_pointer(buffers.match);
    std::size_t at = 0;
    std::size_t last_end = 0;
    bool any = false;
    while (at <= text.size()) {
        if (++run.m_turns % 16 == 0 && std::chrono::steady_clock::now() > run.m_deadline) {
            return give_up("took too long");
        }
        int rc = search(at, 0);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
            rc = search(at, PCRE2_NO_JIT);
        }
        if (rc == PCRE2_ERROR_NOMATCH) {
            return;
        }
        if (rc < 0) {
            return give_up("ran over its limit");
        }
        const Range match{found[0], found[1]};
        if (match.begin < last_end || match.end < match.begin || match.end > text.size()) {
            return give_up("matched out of order"); // \K can do this
        }
        if (match.size() == 0 && any && match.end == last_end) {
            if (at >= text.size()) {
                return;
            }
            at += static_cast<std::size_t>(utf8::first(text.substr(at)).bytes);
            continue;
        }
        out.push_back(match);
        any = true;
        last_end = match.end;
        at = match.end;
    }
}

} // namespace hs
