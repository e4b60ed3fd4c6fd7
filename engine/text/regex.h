#pragma once
// PCRE2 behind limits: patterns come from files, so a match may neither run for ever nor read past
// its text. A pattern that runs over its budget is given up for the rest of the call and says so.

#include "engine/core/result.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;

    std::size_t size() const { return end - begin; }
    friend bool operator==(const Range&, const Range&) = default;
};

// What one encode call shares between its matches: buffers of the library, and the time it has.
// Belongs to one thread.
class RegexRun {
public:
    // text_bytes: of the whole call; the budget grows with it.
    explicit RegexRun(std::size_t text_bytes);
    ~RegexRun();
    RegexRun(const RegexRun&) = delete;
    RegexRun& operator=(const RegexRun&) = delete;

private:
    friend class Regex;
    struct Buffers;
    Buffers& buffers();

    std::unique_ptr<Buffers> m_buffers; // made at the first match
    std::chrono::steady_clock::time_point m_deadline;
    unsigned m_turns = 0; // matches so far; the clock is read now and then
    std::vector<const void*> m_given_up;
};

class Regex {
public:
    // pattern: in the tokenizers' dialect (Oniguruma's Ruby syntax, Unicode classes), rewritten
    // here to mean the same in PCRE2 (text-and-services.md section 4.5).
    // Errors: Unsupported with the construct, Corrupt with the library's message and offset.
    static Result<Regex> compile(std::string_view pattern);
    // Matches exactly this text, which is not empty.
    static Result<Regex> literal(std::string_view text);

    Regex(Regex&&) noexcept;
    Regex& operator=(Regex&&) noexcept;
    ~Regex();

    // Appends all matches in a valid UTF-8 text, from left to right and apart. An empty match is
    // kept unless it touches the match before it. Stops early when the budget is spent.
    void matches(std::string_view text, RegexRun& run, std::vector<Range>& out) const;

private:
    struct Compiled;
    explicit Regex(std::unique_ptr<const Compiled> compiled);
    std::unique_ptr<const Compiled> m_compiled;
};

// The rewriting alone, for its tests.
Result<std::string> to_pcre2(std::string_view pattern);

} // namespace hs
