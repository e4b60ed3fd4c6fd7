#include "engine/text/pre_tokenize.h"

#include <algorithm>
#include <string_view>

namespace hs {

namespace {

void split(const Regex& pattern, SplitBehavior behavior, bool invert, Pieces& pieces,
           RegexRun& run) {
    std::vector<Range> cut;
    cut.reserve(pieces.ranges.size() + pieces.text.size() / 4);
    std::vector<Range> matches;
    for (const Range& range : pieces.ranges) {
        matches.clear();
        pattern.matches(std::string_view(pieces.text).substr(range.begin, range.size()), run,
                        matches);
        for (Range& match : matches) {
            match.begin += range.begin;
            match.end += range.begin;
        }
        apply_split(matches, range, behavior, invert, cut);
    }
    pieces.ranges = std::move(cut);
}

// Rewrites every piece and lays them out anew.
template <class Rewrite>
void rewrite(Pieces& pieces, Rewrite rewrite_piece) {
    Pieces made;
    made.text.reserve(pieces.text.size());
    made.ranges.reserve(pieces.ranges.size());
    made.starts_text = pieces.starts_text;
    bool is_first = pieces.starts_text;
    for (const Range& range : pieces.ranges) {
        const std::size_t begin = made.text.size();
        rewrite_piece(std::string_view(pieces.text).substr(range.begin, range.size()), is_first,
                      made.text);
        made.ranges.push_back({begin, made.text.size()});
        is_first = false;
    }
    pieces = std::move(made);
}

void metaspace(const PreTokenizer& step, Pieces& pieces, RegexRun& run) {
    rewrite(pieces, [&](std::string_view piece, bool is_first, std::string& out) {
        const bool prepends = step.prepend == PrependScheme::Always ||
                              (step.prepend == PrependScheme::First && is_first);
        if (prepends && !piece.starts_with(' ') && !piece.starts_with(step.replacement)) {
            out += step.replacement;
        }
        for (const char c : piece) {
            if (c == ' ') {
                out += step.replacement;
            } else {
                out += c;
            }
        }
    });
    if (step.split && step.pattern.has_value()) {
        split(*step.pattern, SplitBehavior::MergedWithNext, false, pieces, run);
    }
}

} // namespace

void apply_split(const std::vector<Range>& matches, Range whole, SplitBehavior behavior,
                 bool invert, std::vector<Range>& out) {
    struct Part {
        Range range;
        bool is_match = false;
    };
    std::vector<Part> parts;
    const auto emit = [&](Range range) {
        if (range.size() > 0) {
            out.push_back(range);
        }
    };
    std::size_t from = whole.begin;
    const bool direct = behavior == SplitBehavior::Isolated; // most of all splits: no parts needed
    const auto part = [&](Range range, bool is_match) {
        if (direct) {
            emit(range);
        } else {
            parts.push_back({range, is_match != invert});
        }
    };
    for (const Range& match : matches) {
        if (from != match.begin) {
            part({from, match.begin}, false);
        }
        part(match, true);
        from = match.end;
    }
    if (from != whole.end) {
        part({from, whole.end}, false);
    }
    if (direct) {
        return;
    }
    std::vector<Range> joined;
    bool previous = false;
    const auto fold = [&](const Part& next, bool joins) {
        if (joins && !joined.empty()) {
            joined.back() = {std::min(joined.back().begin, next.range.begin),
                             std::max(joined.back().end, next.range.end)};
        } else {
            joined.push_back(next.range);
        }
        previous = next.is_match;
    };
    switch (behavior) {
    case SplitBehavior::Isolated:
        break;
    case SplitBehavior::Removed:
        for (const Part& next : parts) {
            if (!next.is_match) {
                joined.push_back(next.range);
            }
        }
        break;
    case SplitBehavior::Contiguous:
        for (const Part& next : parts) {
            fold(next, next.is_match == previous);
        }
        break;
    case SplitBehavior::MergedWithPrevious:
        for (const Part& next : parts) {
            fold(next, next.is_match && !previous);
        }
        break;
    case SplitBehavior::MergedWithNext:
        for (auto next = parts.rbegin(); next != parts.rend(); ++next) {
            fold(*next, next->is_match && !previous);
        }
        std::reverse(joined.begin(), joined.end());
        break;
    }
    for (const Range& range : joined) {
        emit(range);
    }
}

void pre_tokenize(const std::vector<PreTokenizer>& steps, Pieces& pieces, RegexRun& run) {
    for (const PreTokenizer& step : steps) {
        switch (step.kind) {
        case PreTokenizer::Kind::Split:
            if (step.pattern.has_value()) {
                split(*step.pattern, step.behavior, step.invert, pieces, run);
            }
            break;
        case PreTokenizer::Kind::Metaspace:
            metaspace(step, pieces, run);
            break;
        case PreTokenizer::Kind::PrefixSpace:
            rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
                if (!piece.starts_with(' ')) {
                    out += ' ';
                }
                out += piece;
            });
            break;
        }
    }
}

} // namespace hs
