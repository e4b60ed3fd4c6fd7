#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace hs::jinja {

namespace {

// Names of Python's methods; the ones without a row in the tables below are refused when called.
constexpr std::string_view kStringNames[] = {
    "capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
    "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
    "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
    "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
    "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
    "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
    "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
    "swapcase",     "title",       "translate", "upper",      "zfill"};
constexpr std::string_view kListNames[] = {"append", "clear",   "copy",   "count",
                                           "extend", "index",   "insert", "pop",
                                           "remove", "reverse", "sort"};
constexpr std::string_view kTupleNames[] = {"count", "index"};
constexpr std::string_view kDictNames[] = {"clear",      "copy",   "fromkeys", "get",
                                           "items",      "keys",   "pop",      "popitem",
                                           "setdefault", "update", "values"};
constexpr std::string_view kLoopNames[] = {"changed", "cycle"};

template <std::size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

using Bound = std::vector<std::optional<Value>>;

Result<const Text*> string_argument(std::string_view method, const std::optional<Value>& value) {
    if (!value || !value->is_string()) {
        return template_error(fmt::format("{} needs a string, found {}", method,
                                          value ? kind_name(*value) : "nothing"));
    }
    return &value->text();
}

Result<std::int64_t> count_argument(std::string_view method, const std::optional<Value>& value,
                                    std::int64_t otherwise) {
    if (!value) {
        return otherwise;
    }
    const auto whole = value->whole();
    if (!whole) {
        return template_error(
            fmt::format("{} needs an integer, found a {}", method, kind_name(*value)));
    }
    return *whole;
}

Result<Value> new_list(Evaluator& evaluator, std::vector<Value> items, bool tuple = false) {
    TRY(evaluator.heap().grow(items.size() + 1));
    List* list = evaluator.heap().list(tuple);
    list->items = std::move(items);
    return Value(list);
}

// ---- strings

Result<Value> stripped(Evaluator& evaluator, const Text& text, const Arguments& arguments,
                       Side side) {
    const Bound bound = TRY(arguments.bind("strip", {"chars"}));
    TRY(evaluator.spend_bytes(text.size()));
    if (!bound[0] || bound[0]->is_none()) {
        return evaluator.heap().string(strip(text, nullptr, side));
    }
    const Text* characters = TRY(string_argument("strip", bound[0]));
    TRY(evaluator.spend_bytes(text.size() * std::min<std::size_t>(characters->size(), 64)));
    return evaluator.heap().string(strip(text, characters, side));
}

// Bounds of the pieces between runs of white space.
std::vector<std::pair<std::size_t, std::size_t>> words(const Text& text) {
    std::vector<std::pair<std::size_t, std::size_t>> found;
    bool inside = false;
    Characters characters(text);
    while (characters.next()) {
        const bool space = is_space(characters.code);
        if (!space && !inside) {
            found.emplace_back(characters.begin, 0);
        }
        if (!space) {
            found.back().second = characters.begin + characters.bytes.size();
        }
        inside = !space;
    }
    return found;
}

std::vector<std::pair<std::size_t, std::size_t>> pieces(const Text& text, const Text& between) {
    std::vector<std::pair<std::size_t, std::size_t>> found;
    std::size_t begin = 0;
    for (std::size_t at = jinja::find(text.bytes(), between.bytes()); at != std::string::npos;
         at = jinja::find(text.bytes(), between.bytes(), begin)) {
        found.emplace_back(begin, at);
        begin = at + between.size();
    }
    found.emplace_back(begin, text.size());
    return found;
}

Result<Value> split(Evaluator& evaluator, const Text& text, const Arguments& arguments,
                    bool from_right) {
    const Bound bound = TRY(arguments.bind("split", {"sep", "maxsplit"}));
    const std::int64_t most = TRY(count_argument("split", bound[1], -1));
    TRY(evaluator.spend_bytes(text.size() * 2));
    const bool by_space = !bound[0] || bound[0]->is_none();
    std::vector<std::pair<std::size_t, std::size_t>> bounds;
    if (by_space) {
        bounds = words(text);
    } else {
        const Text* between = TRY(string_argument("split", bound[0]));
        if (between->empty()) {
            return template_error("split needs a separator that is not empty");
        }
        bounds = pieces(text, *between);
    }
    // More pieces than allowed: the surplus stays together on one side.
    if (most >= 0 && bounds.size() > static_cast<std::uint64_t>(most) + 1) {
        const auto kept = static_cast<std::ptrdiff_t>(most);
        if (from_right) {
            const auto last = bounds.end() - kept - 1;
            last->first = bounds.front().first;
            bounds.erase(bounds.begin(), last);
        } else {
            const auto last = bounds.begin() + kept;
            last->second = bounds.back().second;
            bounds.erase(last + 1, bounds.end());
        }
        // Python leaves white space at the far end alone when it stops early.
        if (by_space && !from_right) {
            bounds.back().second = text.size();
        } else if (by_space) {
            bounds.front().first = 0;
        }
    }
    std::vector<Value> parts;
    for (const auto& [begin, end] : bounds) {
        parts.push_back(TRY(evaluator.heap().string(text.slice(begin, end))));
    }
    TRY(evaluator.spend(parts.size() / 8));
    return new_list(evaluator, std::move(parts));
}

Result<Value> partition(Evaluator& evaluator, const Text& text, const Arguments& arguments,
                        bool from_right) {
    const Bound bound = TRY(arguments.bind("partition", {"sep"}));
    const Text* between = TRY(string_argument("partition", bound[0]));
    if (between->empty()) {
        return template_error("partition needs a separator that is not empty");
    }
    TRY(evaluator.spend_bytes(text.size() * std::min<std::size_t>(between->size(), 64)));
    const std::size_t at = from_right ? text.bytes().rfind(between->bytes())
                                      : jinja::find(text.bytes(), between->bytes());
    const bool found = at != std::string::npos;
    const std::size_t first = found ? at : from_right ? 0 : text.size();
    const std::size_t second = found ? at + between->size() : first;
    Heap& heap = evaluator.heap();
    std::vector<Value> parts;
    parts.push_back(TRY(heap.string(text.slice(0, first))));
    parts.push_back(TRY(heap.string(text.slice(first, second))));
    parts.push_back(TRY(heap.string(text.slice(second, text.size()))));
    return new_list(evaluator, std::move(parts), true);
}

Result<Value> affix(Evaluator& evaluator, const Text& text, const Arguments& arguments,
                    bool at_end) {
    const char* const what = at_end ? "endswith" : "startswith";
    const Bound bound = TRY(arguments.bind(what, {"prefix", "start", "end"}));
    if (!bound[0]) {
        return template_error(fmt::format("{} needs a string", what));
    }
    std::string_view whole = text.bytes();
    if (bound[1] || bound[2]) {
        TRY(evaluator.spend_bytes(text.size()));
        const auto size = static_cast<std::int64_t>(count_characters(whole));
        const auto place = [size](std::int64_t at) {
            at = std::clamp(at, -size, size);
            return static_cast<std::size_t>(at < 0 ? at + size : at);
        };
        const std::size_t begin = place(TRY(count_argument(what, bound[1], 0)));
        const std::size_t end = place(TRY(count_argument(what, bound[2], size)));
        if (begin > end) {
            return Value::boolean(false);
        }
        const std::size_t from = byte_offset(whole, begin);
        whole = whole.substr(from, byte_offset(whole.substr(from), end - begin));
    }
    std::vector<Value> candidates{*bound[0]};
    if (bound[0]->list() && bound[0]->list()->tuple) {
        candidates = TRY(evaluator.items_of(*bound[0]));
    }
    for (const Value& candidate : candidates) {
        const Text* part = TRY(string_argument(what, candidate));
        TRY(evaluator.spend(1 + part->size() / 1024));
        if (part->size() <= whole.size() &&
            whole.substr(at_end ? whole.size() - part->size() : 0, part->size()) == part->bytes()) {
            return Value::boolean(true);
        }
    }
    return Value::boolean(false);
}

// find, rfind, index, rindex: the character where another string is.
Result<Value> position(Evaluator& evaluator, const Text& text, std::string_view name,
                       const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind(name, {"sub"}));
    const Text* part = TRY(string_argument(name, bound[0]));
    TRY(evaluator.spend_bytes(text.size() * (1 + std::min<std::size_t>(part->size(), 64))));
    const bool last = name[0] == 'r';
    if (last && part->size() > 4096) {
        return Error{ErrorCode::Unsupported, "rfind of a string above 4096 bytes", {}};
    }
    const std::size_t at =
        last ? text.bytes().rfind(part->bytes()) : jinja::find(text.bytes(), part->bytes());
    if (at == std::string::npos) {
        return name == "index" || name == "rindex"
                   ? Result<Value>(template_error(fmt::format("{}: the string is not there", name)))
                   : Result<Value>(Value::integer(-1));
    }
    return Value::integer(
        static_cast<std::int64_t>(count_characters(std::string_view(text.bytes()).substr(0, at))));
}

Result<Value> count_of(Evaluator& evaluator, const Text& text, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("count", {"sub"}));
    const Text* part = TRY(string_argument("count", bound[0]));
    TRY(evaluator.spend_bytes(text.size() * 2));
    if (part->empty()) {
        return Value::integer(static_cast<std::int64_t>(count_characters(text.bytes())) + 1);
    }
    return Value::integer(static_cast<std::int64_t>(pieces(text, *part).size()) - 1);
}

Result<Value> join(Evaluator& evaluator, const Text& between, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("join", {"iterable"}));
    if (!bound[0]) {
        return template_error("join needs something to go through");
    }
    Text out;
    out.markup = between.markup;
    bool first = true;
    for (const Value& item : TRY(evaluator.items_of(*bound[0]))) {
        TRY(evaluator.spend(1));
        const Text* part = TRY(string_argument("join", item));
        TRY(evaluator.heap().check_length(out.size() + part->size() + between.size()));
        if (!first) {
            out.append(between);
        }
        out.append(out.markup && !part->markup ? escape(*part) : *part);
        first = false;
    }
    return evaluator.heap().string(std::move(out));
}

Result<Value> padded(Evaluator& evaluator, const Text& text, std::string_view name,
                     const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind(name, {"width", "fillchar"}));
    const std::int64_t width = TRY(count_argument(name, bound[0], 0));
    const auto size = static_cast<std::int64_t>(count_characters(text.bytes()));
    if (width <= size) {
        return evaluator.heap().string(text);
    }
    TRY(evaluator.heap().check_length(static_cast<std::size_t>(width)));
    Text fill(name == "zfill" ? "0" : " ", Origin::Template);
    if (bound[1]) {
        fill = *TRY(string_argument(name, bound[1]));
        if (count_characters(fill.bytes()) != 1) {
            return template_error(fmt::format("{} fills with one character", name));
        }
    }
    const std::int64_t missing = width - size;
    TRY(evaluator.heap().check_length(text.size() + static_cast<std::size_t>(missing) * 4));
    TRY(evaluator.spend(static_cast<std::size_t>(missing) / 64));
    const std::int64_t left = name == "ljust"    ? 0
                              : name == "center" ? missing / 2 + (missing & width & 1)
                                                 : missing;
    const bool sign =
        name == "zfill" && !text.empty() && (text.bytes()[0] == '-' || text.bytes()[0] == '+');
    Text out;
    out.append(text, 0, sign ? 1 : 0);
    for (std::int64_t i = 0; i < missing; ++i) {
        if (i == left) {
            out.append(text, sign ? 1 : 0, text.size());
        }
        out.append(fill);
    }
    if (left >= missing) {
        out.append(text, sign ? 1 : 0, text.size());
    }
    return evaluator.heap().string(std::move(out));
}

bool all_characters(const Text& text, bool (*holds)(char32_t)) {
    Characters characters(text);
    while (characters.next()) {
        if (!holds(characters.code)) {
            return false;
        }
    }
    return !text.empty();
}

Result<Value> call_string(Evaluator& evaluator, const Text& text, std::string_view name,
                          const Arguments& arguments) {
    Heap& heap = evaluator.heap();
    if (name == "split" || name == "rsplit") {
        return split(evaluator, text, arguments, name == "rsplit");
    }
    if (name == "strip" || name == "lstrip" || name == "rstrip") {
        return stripped(evaluator, text, arguments,
                        name == "strip"    ? Side::Both
                        : name == "lstrip" ? Side::Left
                                           : Side::Right);
    }
    if (name == "startswith" || name == "endswith") {
        return affix(evaluator, text, arguments, name == "endswith");
    }
    if (name == "replace") {
        const Bound bound = TRY(arguments.bind("replace", {"old", "new", "count"}));
        const Text* old = TRY(string_argument("replace", bound[0]));
        const Text* with = TRY(string_argument("replace", bound[1]));
        return replace(evaluator, text, *old, *with, TRY(count_argument("replace", bound[2], -1)));
    }
    if (name == "format") {
        return format_braces(evaluator, text, arguments);
    }
    if (name == "join") {
        return join(evaluator, text, arguments);
    }
    if (name == "partition" || name == "rpartition") {
        return partition(evaluator, text, arguments, name == "rpartition");
    }
    if (name == "find" || name == "rfind" || name == "index" || name == "rindex") {
        return position(evaluator, text, name, arguments);
    }
    if (name == "count") {
        return count_of(evaluator, text, arguments);
    }
    if (name == "ljust" || name == "rjust" || name == "center" || name == "zfill") {
        return padded(evaluator, text, name, arguments);
    }
    if (name == "removeprefix" || name == "removesuffix") {
        const Bound bound = TRY(arguments.bind(name, {"affix"}));
        const std::string& part = TRY(string_argument(name, bound[0]))->bytes();
        const std::string_view whole = text.bytes();
        const bool prefix = name == "removeprefix";
        if (part.size() > whole.size() ||
            whole.substr(prefix ? 0 : whole.size() - part.size(), part.size()) != part) {
            return heap.string(text);
        }
        return heap.string(prefix ? text.slice(part.size(), text.size())
                                  : text.slice(0, text.size() - part.size()));
    }
    TRY(evaluator.spend_bytes(text.size()));
    if (name == "splitlines") {
        const Bound bound = TRY(arguments.bind(name, {"keepends"}));
        std::vector<Value> lines;
        for (const auto& [begin, end] : line_bounds(text, bound[0] && truth(*bound[0]))) {
            lines.push_back(TRY(heap.string(text.slice(begin, end))));
        }
        return new_list(evaluator, std::move(lines));
    }
    TRY(arguments.bind(name, {}));
    if (name == "upper") {
        return heap.string(change_case(text, Letters::Upper));
    }
    if (name == "lower" || name == "casefold") {
        return heap.string(change_case(text, Letters::Lower));
    }
    if (name == "title") {
        return heap.string(change_case(text, Letters::Title));
    }
    if (name == "capitalize") {
        return heap.string(change_case(text, Letters::Capitalized));
    }
    if (name == "isdigit" || name == "isdecimal" || name == "isnumeric") {
        return Value::boolean(all_characters(text, is_digit));
    }
    if (name == "isalpha") {
        return Value::boolean(all_characters(text, is_alphabetic));
    }
    if (name == "isalnum") {
        return Value::boolean(
            all_characters(text, [](char32_t code) { return code != '_' && is_word(code); }));
    }
    if (name == "isspace") {
        return Value::boolean(all_characters(text, is_space));
    }
    if (name == "islower" || name == "isupper") {
        const Value value = TRY(heap.string(text));
        return Value::boolean(TRY(apply_test(evaluator, name.substr(2), value, {})));
    }
    return Error{ErrorCode::Unsupported,
                 fmt::format("the method '{}' of strings is not supported", name),
                 {}};
}

// ---- lists

std::optional<std::size_t> place_of(const List& list, std::int64_t at) {
    const auto size = static_cast<std::int64_t>(list.items.size());
    const std::int64_t place = at < 0 ? at + size : at;
    return place >= 0 && place < size ? std::optional(static_cast<std::size_t>(place))
                                      : std::nullopt;
}

Result<Value> call_list(Evaluator& evaluator, List& list, std::string_view name,
                        const Arguments& arguments) {
    TRY(evaluator.spend(list.items.size() / 64));
    if (name == "append") {
        const Bound bound = TRY(arguments.bind(name, {"object"}));
        if (!bound[0]) {
            return template_error("append needs a value");
        }
        TRY(evaluator.heap().grow(1));
        list.items.push_back(*bound[0]);
        return Value(None{});
    }
    if (name == "extend") {
        const Bound bound = TRY(arguments.bind(name, {"iterable"}));
        std::vector<Value> items = TRY(evaluator.items_of(bound[0].value_or(Value())));
        TRY(evaluator.heap().grow(items.size()));
        list.items.insert(list.items.end(), items.begin(), items.end());
        return Value(None{});
    }
    if (name == "insert") {
        const Bound bound = TRY(arguments.bind(name, {"index", "object"}));
        if (!bound[1]) {
            return template_error("insert needs an index and a value");
        }
        const auto size = static_cast<std::int64_t>(list.items.size());
        const std::int64_t at = std::clamp(TRY(count_argument(name, bound[0], 0)), -size, size);
        TRY(evaluator.heap().grow(1));
        list.items.insert(list.items.begin() + (at < 0 ? at + size : at), *bound[1]);
        return Value(None{});
    }
    if (name == "pop") {
        const Bound bound = TRY(arguments.bind(name, {"index"}));
        const auto place = place_of(list, TRY(count_argument(name, bound[0], -1)));
        if (!place) {
            return template_error("pop: the list has no such element");
        }
        Value value = list.items[*place];
        list.items.erase(list.items.begin() + static_cast<std::ptrdiff_t>(*place));
        return value;
    }
    if (name == "index" || name == "count" || name == "remove") {
        const Bound bound = TRY(arguments.bind(name, {"value"}));
        const Value wanted = bound[0].value_or(Value());
        std::int64_t count = 0;
        for (std::size_t i = 0; i < list.items.size(); ++i) {
            TRY(evaluator.spend(1));
            if (!equal(list.items[i], wanted)) {
                continue;
            }
            if (name == "index") {
                return Value::integer(static_cast<std::int64_t>(i));
            }
            if (name == "remove") {
                list.items.erase(list.items.begin() + static_cast<std::ptrdiff_t>(i));
                return Value(None{});
            }
            ++count;
        }
        return name == "count"
                   ? Result<Value>(Value::integer(count))
                   : Result<Value>(template_error(fmt::format("{}: the value is not there", name)));
    }
    if (name == "sort") {
        const Bound bound = TRY(arguments.bind(name, {"reverse"}));
        Arguments options;
        options.named.emplace_back("case_sensitive", Value::boolean(true));
        options.named.emplace_back("reverse", bound[0].value_or(Value::boolean(false)));
        const Value sorted = TRY(apply_filter(evaluator, "sort", Value(&list), options));
        list.items = sorted.list()->items;
        return Value(None{});
    }
    TRY(arguments.bind(name, {}));
    if (name == "copy") {
        return new_list(evaluator, list.items);
    }
    if (name == "reverse") {
        std::reverse(list.items.begin(), list.items.end());
    } else {
        list.items.clear();
    }
    return Value(None{});
}

// ---- mappings

Result<Value> call_dict(Evaluator& evaluator, Dict& dict, std::string_view name,
                        const Arguments& arguments) {
    Heap& heap = evaluator.heap();
    if (name == "get" || name == "pop" || name == "setdefault") {
        const Bound bound = TRY(arguments.bind(name, {"key", "default"}));
        if (!bound[0] || !hashable(*bound[0])) {
            return template_error(fmt::format("{} needs a key", name));
        }
        TRY(evaluator.spend(bound[0]->is_string() ? bound[0]->text().size() / 1024
                                                  : dict.entries.size() / 64));
        if (const Value* found = dict.find(*bound[0])) {
            Value value = *found;
            if (name == "pop") {
                TRY(evaluator.spend(dict.entries.size() / 8));
                dict.erase(*bound[0]);
            }
            return value;
        }
        if (name == "pop" && !bound[1]) {
            return template_error("pop: the mapping has no such key");
        }
        Value value = bound[1].value_or(Value(None{}));
        if (name == "setdefault") {
            TRY(heap.grow(1));
            dict.set(*bound[0], value);
        }
        return value;
    }
    if (name == "update") {
        const Value other = arguments.positional.empty() ? Value() : arguments.positional[0];
        if (const Dict* from = other.dict()) {
            const auto entries = from->entries; // it may be the same mapping
            TRY(heap.grow(entries.size()));
            TRY(evaluator.spend(entries.size()));
            for (const auto& [key, value] : entries) {
                dict.set(key, value);
            }
        } else if (!arguments.positional.empty()) {
            return template_error(
                fmt::format("update needs a mapping, found a {}", kind_name(other)));
        }
        for (const auto& [key, value] : arguments.named) {
            TRY(heap.grow(1));
            dict.set(TRY(evaluator.string(key)), value);
        }
        return Value(None{});
    }
    TRY(arguments.bind(name, {}));
    TRY(evaluator.spend(dict.entries.size() / 8));
    if (name == "copy") {
        TRY(heap.grow(dict.entries.size() + 1));
        Dict* copy = heap.dict();
        copy->origin = dict.origin;
        for (const auto& [key, value] : dict.entries) {
            copy->set(key, value);
        }
        return Value(copy);
    }
    if (name == "clear") {
        dict.clear();
        return Value(None{});
    }
    std::vector<Value> items;
    for (const auto& [key, value] : dict.entries) {
        if (name == "items") {
            items.push_back(TRY(new_list(evaluator, {key, value}, true)));
        } else if (name == "keys" || name == "values") {
            items.push_back(name == "keys" ? key : value);
        }
    }
    if (name == "popitem" && !dict.entries.empty()) {
        const auto last = dict.entries.back();
        dict.erase(last.first);
        return new_list(evaluator, {last.first, last.second}, true);
    }
    if (name == "popitem" || name == "fromkeys") {
        return Error{
            ErrorCode::Unsupported, fmt::format("the method '{}' cannot be used here", name), {}};
    }
    return new_list(evaluator, std::move(items));
}

Result<Value> call_loop(Evaluator& evaluator, Loop& loop, std::string_view name,
                        const Arguments& arguments) {
    TRY(evaluator.spend(arguments.positional.size()));
    if (name == "cycle") {
        if (arguments.positional.empty()) {
            return template_error("cycle needs values");
        }
        return arguments.positional[loop.index % arguments.positional.size()];
    }
    const bool same =
        loop.seen && std::equal(loop.last_seen.begin(), loop.last_seen.end(),
                                arguments.positional.begin(), arguments.positional.end(), equal);
    loop.seen = true;
    loop.last_seen = arguments.positional;
    return Value::boolean(!same);
}

bool in_set(const Text* characters, char32_t code) {
    if (!characters) {
        return is_space(code);
    }
    Characters each(*characters);
    while (each.next()) {
        if (each.code == code) {
            return true;
        }
    }
    return false;
}

bool ends_line(char32_t code) {
    return (code >= 10 && code <= 13) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

} // namespace

Text strip(const Text& text, const Text* characters, Side side) {
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (side != Side::Right && begin < end) {
        const Decoded character = decode(text.bytes(), begin);
        if (!in_set(characters, character.code)) {
            break;
        }
        begin += character.bytes;
    }
    while (side != Side::Left && end > begin) {
        std::size_t last = end - 1;
        while (last > begin && (static_cast<unsigned char>(text.bytes()[last]) & 0xc0) == 0x80) {
            --last;
        }
        if (!in_set(characters, decode(text.bytes(), last).code)) {
            break;
        }
        end = last;
    }
    return text.slice(begin, end);
}

Result<Value> replace(Evaluator& evaluator, const Text& text, const Text& old, const Text& with,
                      std::int64_t count) {
    TRY(evaluator.spend_bytes(text.size() * 2));
    const auto most =
        count < 0 ? std::numeric_limits<std::uint64_t>::max() : static_cast<std::uint64_t>(count);
    const Text replacement = text.markup && !with.markup ? escape(with) : with;
    Text out;
    out.markup = text.markup;
    std::uint64_t done = 0;
    std::size_t begin = 0;
    if (old.empty()) { // before every character, and at the end
        Characters characters(text);
        while (done < most && characters.next()) {
            out.append(replacement);
            out.append(characters.bytes, characters.origin);
            begin = characters.begin + characters.bytes.size();
            ++done;
            TRY(evaluator.heap().check_length(out.size()));
            TRY(evaluator.spend(1));
        }
        if (done < most) {
            out.append(replacement);
        }
    } else {
        for (std::size_t at = jinja::find(text.bytes(), old.bytes());
             done < most && at != std::string::npos;
             at = jinja::find(text.bytes(), old.bytes(), begin)) {
            out.append(text, begin, at);
            out.append(replacement);
            begin = at + old.size();
            ++done;
            TRY(evaluator.heap().check_length(out.size()));
            TRY(evaluator.spend_bytes(256 + old.size()));
        }
    }
    out.append(text, begin, text.size());
    return evaluator.heap().string(std::move(out));
}

std::vector<std::pair<std::size_t, std::size_t>> line_bounds(const Text& text, bool keep_ends) {
    std::vector<std::pair<std::size_t, std::size_t>> lines;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Decoded character = decode(text.bytes(), at);
        std::size_t next = at + character.bytes;
        if (ends_line(character.code)) {
            if (character.code == '\r' && next < text.size() && text.bytes()[next] == '\n') {
                ++next;
            }
            lines.emplace_back(begin, keep_ends ? next : at);
            begin = next;
        }
        at = next;
    }
    if (begin < text.size()) {
        lines.emplace_back(begin, text.size());
    }
    return lines;
}

Text escape(const Text& text) {
    Text out;
    out.markup = true;
    Characters characters(text);
    while (characters.next()) {
        const std::string_view entity = characters.code == '&'    ? "&amp;"
                                        : characters.code == '<'  ? "&lt;"
                                        : characters.code == '>'  ? "&gt;"
                                        : characters.code == '\'' ? "&#39;"
                                        : characters.code == '"'  ? "&#34;"
                                                                  : characters.bytes;
        out.append(entity, characters.origin);
    }
    return out;
}

bool has_method(const Value& value, std::string_view name) {
    return value.is_string() ? among(kStringNames, name)
           : value.list()
               ? (value.list()->tuple ? among(kTupleNames, name) : among(kListNames, name))
           : value.dict() ? among(kDictNames, name)
           : value.loop() ? among(kLoopNames, name)
                          : false;
}

Result<Value> call_method(Evaluator& evaluator, const Value& self, std::string_view name,
                          const Arguments& arguments) {
    if (self.is_string()) {
        const TextPtr keep = self.text_ptr();
        return call_string(evaluator, *keep, name, arguments);
    }
    if (self.list()) {
        return call_list(evaluator, *self.list(), name, arguments);
    }
    if (self.dict()) {
        return call_dict(evaluator, *self.dict(), name, arguments);
    }
    if (self.loop()) {
        return call_loop(evaluator, *self.loop(), name, arguments);
    }
    return template_error(fmt::format("a {} has no method '{}'", kind_name(self), name));
}

} // namespace hs::jinja
