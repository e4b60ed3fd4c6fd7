#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>

namespace hs::jinja {

namespace {

using Bound = std::vector<std::optional<Value>>;

bool flag(const std::optional<Value>& value, bool otherwise) {
    return value ? truth(*value) : otherwise;
}

// Length as len() says; empty for values that have none.
std::optional<std::size_t> length_of(const Value& value) {
    return value.is_undefined() ? std::optional<std::size_t>(0)
           : value.is_string()  ? std::optional(count_characters(value.text().bytes()))
           : value.list()       ? std::optional(value.list()->items.size())
           : value.dict()       ? std::optional(value.dict()->entries.size())
           : value.loop()       ? std::optional(value.loop()->items.size())
                                : std::nullopt;
}

Result<Value> list_of(Evaluator& evaluator, std::vector<Value> items) {
    TRY(evaluator.heap().grow(items.size() + 1));
    List* list = evaluator.heap().list();
    list->items = std::move(items);
    return Value(list);
}

Result<Value> pair_of(Evaluator& evaluator, const Value& first, const Value& second) {
    TRY(evaluator.heap().grow(3));
    List* pair = evaluator.heap().list(true);
    pair->items = {first, second};
    return Value(pair);
}

// "a.b.0" looked up one part after the other.
Result<Value> path_of(Evaluator& evaluator, Value value, const Value& path) {
    if (path.whole()) {
        return evaluator.item(value, path);
    }
    if (!path.is_string()) {
        return template_error("an attribute is named by a string or an integer");
    }
    std::string_view rest = path.text().bytes();
    for (;;) {
        const std::size_t dot = rest.find('.');
        const std::string_view part = rest.substr(0, dot);
        std::int64_t index = 0;
        const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
        const bool number = !part.empty() && part[0] != '-' && read.ec == std::errc() &&
                            read.ptr == part.data() + part.size();
        Value key = Value::integer(index);
        if (!number) {
            key = TRY(evaluator.string(part));
        }
        TRY(evaluator.spend(1));
        value = TRY(evaluator.item(value, key));
        if (dot == std::string_view::npos) {
            return value;
        }
        rest.remove_prefix(dot + 1);
    }
}

Result<Value> lower_key(Evaluator& evaluator, const Value& value, bool case_sensitive) {
    if (case_sensitive || !value.is_string()) {
        return value;
    }
    TRY(evaluator.spend_bytes(value.text().size()));
    return evaluator.heap().string(change_case(value.text(), Letters::Lower));
}

struct Keyed {
    Value key;
    Value item;
};

// Each item with the key it is compared by: itself or an attribute, in lower case if asked.
Result<std::vector<Keyed>> keyed_items(Evaluator& evaluator, const Value& value,
                                       const std::optional<Value>& attribute, bool case_sensitive) {
    std::vector<Keyed> keyed;
    for (const Value& item : TRY(evaluator.items_of(value))) {
        TRY(evaluator.spend(1));
        Value key = item;
        if (attribute && !attribute->is_none()) {
            key = TRY(path_of(evaluator, item, *attribute));
        }
        keyed.push_back({TRY(lower_key(evaluator, key, case_sensitive)), item});
    }
    return keyed;
}

// Whether a comes before b, each comparison counted; after the first error everything is equal.
class Before {
public:
    explicit Before(Evaluator& evaluator)
        : m_evaluator(evaluator) {}

    bool operator()(const Value& a, const Value& b) {
        if (failed) {
            return false;
        }
        if (Result<void> spent = m_evaluator.spend(1); !spent) {
            failed = spent.error();
            return false;
        }
        const Result<bool> less = m_evaluator.compare(Operator::Less, a, b);
        if (!less) {
            failed = less.error();
        }
        return less && *less;
    }

    std::optional<Error> failed;

private:
    Evaluator& m_evaluator;
};

Result<void> sort_keyed(Evaluator& evaluator, std::vector<Keyed>& keyed, bool reverse) {
    Before before(evaluator);
    std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
        return reverse ? before(b.key, a.key) : before(a.key, b.key);
    });
    return before.failed ? Result<void>(*before.failed) : Result<void>();
}

Result<std::int64_t> integer_of(const std::optional<Value>& value, std::int64_t otherwise,
                                std::string_view what) {
    if (!value || value->is_none()) {
        return otherwise;
    }
    const auto whole = value->whole();
    if (!whole) {
        return template_error(
            fmt::format("{} needs an integer, found a {}", what, kind_name(*value)));
    }
    return *whole;
}

// ---- filters; each gets the value before the bar

Result<Value> filter_abs(Evaluator&, const Value& value, const Arguments&) {
    if (const auto whole = value.whole()) {
        if (*whole == std::numeric_limits<std::int64_t>::min()) {
            return Error{ErrorCode::Unsupported, "an integer grew beyond 64 bits", {}};
        }
        return Value::integer(std::abs(*whole));
    }
    if (value.is_real()) {
        return Value::real(std::fabs(value.as_real()));
    }
    return template_error(fmt::format("abs needs a number, found a {}", kind_name(value)));
}

Result<Value> filter_attr(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("attr", {"name"}));
    if (!bound[0] || !bound[0]->is_string()) {
        return template_error("attr needs a name");
    }
    return evaluator.attribute(value, bound[0]->text().bytes(), nullptr);
}

Result<Value> filter_capitalize(Evaluator& evaluator, const Value& value, const Arguments&) {
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    return evaluator.heap().string(change_case(text, Letters::Capitalized));
}

Result<Value> filter_default(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("default", {"default_value", "boolean"}));
    if (value.is_undefined() || (flag(bound[1], false) && !truth(value))) {
        return bound[0] ? Result<Value>(*bound[0]) : evaluator.string("");
    }
    return value;
}

Result<Value> filter_dictsort(Evaluator& evaluator, const Value& value,
                              const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("dictsort", {"case_sensitive", "by", "reverse"}));
    if (!value.dict()) {
        return template_error(
            fmt::format("dictsort needs a mapping, found a {}", kind_name(value)));
    }
    const bool by_value = bound[1] && bound[1]->is_string() && bound[1]->text().bytes() == "value";
    std::vector<Keyed> keyed;
    for (const auto& [key, item] : value.dict()->entries) {
        keyed.push_back({TRY(lower_key(evaluator, by_value ? item : key, flag(bound[0], false))),
                         TRY(pair_of(evaluator, key, item))});
    }
    TRY(sort_keyed(evaluator, keyed, flag(bound[2], false)));
    std::vector<Value> items;
    for (Keyed& entry : keyed) {
        items.push_back(std::move(entry.item));
    }
    return list_of(evaluator, std::move(items));
}

Result<Value> filter_escape(Evaluator& evaluator, const Value& value, const Arguments&) {
    Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    return evaluator.heap().string(text.markup ? std::move(text) : escape(text));
}

// The element at one end; nothing when there is none.
Result<Value> end_of(Evaluator& evaluator, const Value& value, std::int64_t at) {
    if (value.is_string() || value.list()) {
        return evaluator.item(value, Value::integer(at));
    }
    const std::vector<Value> items = TRY(evaluator.items_of(value));
    return items.empty() ? Value(Undefined{}) : at == 0 ? items.front() : items.back();
}

Result<Value> filter_first(Evaluator& evaluator, const Value& value, const Arguments&) {
    return end_of(evaluator, value, 0);
}

Result<Value> filter_last(Evaluator& evaluator, const Value& value, const Arguments&) {
    return end_of(evaluator, value, -1);
}

// Python's float() of a string; empty when it is none.
std::optional<double> parse_real(std::string_view text) {
    while (!text.empty() && is_space(static_cast<unsigned char>(text.front()))) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) {
        text.remove_suffix(1);
    }
    if (!text.empty() && text.front() == '+') {
        text.remove_prefix(1);
        if (!text.empty() && text.front() == '-') {
            return std::nullopt;
        }
    }
    double value = 0.0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
    while (!text.empty() && is_space(static_cast<unsigned char>(text.front()))) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) {
        text.remove_suffix(1);
    }
    if (!text.empty() && text.front() == '+') {
        text.remove_prefix(1);
        if (!text.empty() && text.front() == '-') {
            return std::nullopt;
        }
    }
    std::int64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

std::optional<std::int64_t> to_integer(double value) {
    // The bounds are powers of two, so that comparing them as floats is exact.
    if (!(value > -9.3e18 && value < 9.2e18)) {
        return std::nullopt;
    }
    return static_cast<std::int64_t>(std::max(value, -9223372036854775808.0));
}

Result<Value> filter_int(Evaluator&, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("int", {"default", "base"}));
    const Value otherwise = bound[0].value_or(Value::integer(0));
    const std::int64_t base = TRY(integer_of(bound[1], 10, "int"));
    if (value.is_undefined()) {
        return template_error("an undefined value is no integer");
    }
    std::optional<std::int64_t> whole = value.whole();
    if (value.is_real()) {
        whole = to_integer(value.as_real());
    } else if (value.is_string()) {
        if (base < 2 || base > 36) {
            return template_error("int needs a base from 2 to 36");
        }
        const std::string& text = value.text().bytes();
        whole = parse_integer(text, static_cast<int>(base));
        if (!whole) {
            const std::optional<double> real = parse_real(text);
            whole = real ? to_integer(*real) : std::nullopt;
        }
    }
    return whole ? Value::integer(*whole) : otherwise;
}

Result<Value> filter_float(Evaluator&, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("float", {"default"}));
    if (value.is_undefined()) {
        return template_error("an undefined value is no number");
    }
    if (value.is_number()) {
        return Value::real(value.number());
    }
    const std::optional<double> real =
        value.is_string() ? parse_real(value.text().bytes()) : std::nullopt;
    return real ? Value::real(*real) : bound[0].value_or(Value::real(0.0));
}

Result<Value> filter_format(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Text format = TRY(evaluator.text_of(value));
    TRY(evaluator.heap().grow(arguments.positional.size() + 1));
    List* values = evaluator.heap().list(true);
    values->items = arguments.positional;
    return format_percent(evaluator, format, Value(values));
}

Result<Value> filter_from_json(Evaluator& evaluator, const Value& value, const Arguments&) {
    if (!value.is_string()) {
        return template_error(
            fmt::format("from_json needs a string, found a {}", kind_name(value)));
    }
    const Text& text = value.text();
    TRY(evaluator.spend_bytes(text.size() * 16));
    const Json json = TRY(parse_json(text.bytes()));
    return from_json(json, text.has_input() ? Origin::Input : Origin::Template, evaluator.heap());
}

Result<Value> filter_indent(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("indent", {"width", "first", "blank"}));
    Text indention(std::string(4, ' '), Origin::Template);
    if (bound[0] && bound[0]->is_string()) {
        indention = bound[0]->text();
    } else if (bound[0]) {
        const std::int64_t width = TRY(integer_of(bound[0], 4, "indent"));
        TRY(evaluator.heap().check_length(
            static_cast<std::size_t>(std::max<std::int64_t>(width, 0))));
        indention =
            Text(std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' '),
                 Origin::Template);
    }
    Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    text.append("\n", Origin::Template); // so that a last newline opens a last, empty line
    Text out;
    out.markup = text.markup;
    bool first_line = true;
    for (const auto& [begin, end] : line_bounds(text, false)) {
        if (!first_line) {
            out.append("\n", Origin::Template);
        }
        const bool shift =
            first_line ? flag(bound[1], false) : begin < end || flag(bound[2], false);
        if (shift) {
            out.append(indention);
        }
        out.append(text, begin, end);
        first_line = false;
        TRY(evaluator.heap().check_length(out.size()));
    }
    return evaluator.heap().string(std::move(out));
}

Result<Value> filter_items(Evaluator& evaluator, const Value& value, const Arguments&) {
    if (value.is_undefined()) {
        return list_of(evaluator, {});
    }
    if (!value.dict()) {
        return template_error(fmt::format("items needs a mapping, found a {}", kind_name(value)));
    }
    return call_method(evaluator, value, "items", {});
}

Result<Value> filter_join(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("join", {"d", "attribute"}));
    Text between;
    if (bound[0]) {
        between = TRY(evaluator.text_of(*bound[0]));
    }
    Text out;
    bool first = true;
    for (const Value& item : TRY(evaluator.items_of(value))) {
        TRY(evaluator.spend(1));
        if (!first) {
            out.append(between);
        }
        first = false;
        Value part = item;
        if (bound[1] && !bound[1]->is_none()) {
            part = TRY(path_of(evaluator, item, *bound[1]));
        }
        TRY(print(part, out, evaluator.heap()));
    }
    return evaluator.heap().string(std::move(out));
}

Result<Value> filter_length(Evaluator& evaluator, const Value& value, const Arguments&) {
    if (value.is_string()) {
        TRY(evaluator.spend_bytes(value.text().size()));
    }
    const std::optional<std::size_t> length = length_of(value);
    if (!length) {
        return template_error(fmt::format("a {} has no length", kind_name(value)));
    }
    return Value::integer(static_cast<std::int64_t>(*length));
}

Result<Value> filter_list(Evaluator& evaluator, const Value& value, const Arguments&) {
    std::vector<Value> items = TRY(evaluator.items_of(value));
    Value copy = TRY(list_of(evaluator, std::move(items)));
    if (value.list() || value.dict()) {
        copy.list()->origin = value.list() ? value.list()->origin : value.dict()->origin;
    }
    return copy;
}

Result<Value> filter_lower(Evaluator& evaluator, const Value& value, const Arguments&) {
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    return evaluator.heap().string(change_case(text, Letters::Lower));
}

Result<Value> filter_upper(Evaluator& evaluator, const Value& value, const Arguments&) {
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    return evaluator.heap().string(change_case(text, Letters::Upper));
}

// map, select and reject make nothing of none, 0 or an empty string.
Result<std::vector<Value>> items_unless_false(Evaluator& evaluator, const Value& value) {
    return truth(value) ? evaluator.items_of(value) : std::vector<Value>();
}

// The rest of a call after its first `used` positional arguments: for filters that take another
// filter or a test by name.
Arguments rest_of(const Arguments& arguments, std::size_t used) {
    Arguments rest;
    rest.named = arguments.named;
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(used),
                           arguments.positional.end());
    return rest;
}

Result<Value> filter_map(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    std::vector<Value> mapped;
    const std::vector<Value> items = TRY(items_unless_false(evaluator, value));
    if (arguments.positional.empty()) {
        const Bound bound = TRY(arguments.bind("map", {"attribute", "default"}));
        if (!bound[0]) {
            return template_error("map needs a filter or an attribute");
        }
        for (const Value& item : items) {
            Value found = TRY(path_of(evaluator, item, *bound[0]));
            mapped.push_back(found.is_undefined() && bound[1] ? *bound[1] : std::move(found));
        }
    } else {
        const Value& name = arguments.positional[0];
        if (!name.is_string()) {
            return template_error("map needs the name of a filter");
        }
        const Arguments rest = rest_of(arguments, 1);
        for (const Value& item : items) {
            TRY(evaluator.spend(1));
            mapped.push_back(TRY(apply_filter(evaluator, name.text().bytes(), item, rest)));
        }
    }
    return list_of(evaluator, std::move(mapped));
}

Result<Value> extreme(Evaluator& evaluator, const Value& value, const Arguments& arguments,
                      bool largest) {
    const Bound bound =
        TRY(arguments.bind(largest ? "max" : "min", {"case_sensitive", "attribute"}));
    const std::vector<Keyed> keyed =
        TRY(keyed_items(evaluator, value, bound[1], flag(bound[0], false)));
    if (keyed.empty()) {
        return Value(Undefined{});
    }
    Before before(evaluator);
    const Keyed* best = &keyed.front();
    for (const Keyed& entry : keyed) {
        if (largest ? before(best->key, entry.key) : before(entry.key, best->key)) {
            best = &entry;
        }
    }
    return before.failed ? Result<Value>(*before.failed) : Result<Value>(best->item);
}

Result<Value> filter_max(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    return extreme(evaluator, value, arguments, true);
}

Result<Value> filter_min(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    return extreme(evaluator, value, arguments, false);
}

// select, reject, selectattr, rejectattr: whether an item (or its attribute) passes a test, by
// default that of truth.
Result<Value> chosen(Evaluator& evaluator, const Value& value, const Arguments& arguments,
                     bool by_attribute, bool keep) {
    const std::size_t used = by_attribute ? 1 : 0;
    if (arguments.positional.size() < used) {
        return template_error("selectattr and rejectattr need an attribute");
    }
    std::string test;
    Arguments rest;
    if (arguments.positional.size() > used) {
        if (!arguments.positional[used].is_string()) {
            return template_error("a test is named by a string");
        }
        test = arguments.positional[used].text().bytes();
        rest = rest_of(arguments, used + 1);
    }
    std::vector<Value> kept;
    for (const Value& item : TRY(items_unless_false(evaluator, value))) {
        TRY(evaluator.spend(1));
        Value subject = item;
        if (by_attribute) {
            subject = TRY(path_of(evaluator, item, arguments.positional[0]));
        }
        bool passes = truth(subject);
        if (!test.empty()) {
            passes = TRY(apply_test(evaluator, test, subject, rest));
        }
        if (passes == keep) {
            kept.push_back(item);
        }
    }
    return list_of(evaluator, std::move(kept));
}

Result<Value> filter_select(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    return chosen(evaluator, value, arguments, false, true);
}
Result<Value> filter_reject(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    return chosen(evaluator, value, arguments, false, false);
}
Result<Value> filter_selectattr(Evaluator& evaluator, const Value& value,
                                const Arguments& arguments) {
    return chosen(evaluator, value, arguments, true, true);
}
Result<Value> filter_rejectattr(Evaluator& evaluator, const Value& value,
                                const Arguments& arguments) {
    return chosen(evaluator, value, arguments, true, false);
}

Result<Value> filter_replace(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("replace", {"old", "new", "count"}));
    if (!bound[0] || !bound[1]) {
        return template_error("replace needs an old and a new string");
    }
    Text text = TRY(evaluator.text_of(value));
    text.markup = false;
    const Text old = TRY(evaluator.text_of(*bound[0]));
    const Text with = TRY(evaluator.text_of(*bound[1]));
    return replace(evaluator, text, old, with, TRY(integer_of(bound[2], -1, "replace")));
}

Result<Value> filter_reverse(Evaluator& evaluator, const Value& value, const Arguments&) {
    std::vector<Value> items = TRY(evaluator.items_of(value));
    std::reverse(items.begin(), items.end());
    if (!value.is_string()) {
        return list_of(evaluator, std::move(items));
    }
    Text text;
    for (const Value& item : items) {
        text.append(item.text());
    }
    return evaluator.heap().string(std::move(text));
}

Result<Value> filter_round(Evaluator&, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("round", {"precision", "method"}));
    const std::int64_t precision = TRY(integer_of(bound[0], 0, "round"));
    if (!value.is_number() || precision < -300 || precision > 300) {
        return template_error("round needs a number and a precision between -300 and 300");
    }
    const std::string method =
        bound[1] && bound[1]->is_string() ? bound[1]->text().bytes() : "common";
    if (method == "ceil" || method == "floor") {
        const double scale = std::pow(10.0, static_cast<double>(precision));
        const double scaled = value.number() * scale;
        return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
    }
    if (method != "common") {
        return template_error("round knows the methods common, ceil and floor");
    }
    if (value.whole() && precision >= 0) {
        return Value::integer(*value.whole());
    }
    const double real = value.number();
    if (precision < 0) {
        const double scale = std::pow(10.0, static_cast<double>(-precision));
        return Value::real(std::nearbyint(real / scale) * scale);
    }
    if (!std::isfinite(real)) {
        return Value::real(real);
    }
    // Rounded in decimal, as Python does it.
    return Value::real(
        parse_real(fmt::format("{:.{}f}", real, static_cast<int>(precision))).value_or(real));
}

Result<Value> filter_safe(Evaluator& evaluator, const Value& value, const Arguments&) {
    Text text = TRY(evaluator.text_of(value));
    text.markup = true;
    return evaluator.heap().string(std::move(text));
}

Result<Value> filter_sort(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("sort", {"reverse", "case_sensitive", "attribute"}));
    std::vector<Keyed> keyed = TRY(keyed_items(evaluator, value, bound[2], flag(bound[1], false)));
    TRY(sort_keyed(evaluator, keyed, flag(bound[0], false)));
    std::vector<Value> items;
    for (Keyed& entry : keyed) {
        items.push_back(std::move(entry.item));
    }
    return list_of(evaluator, std::move(items));
}

Result<Value> filter_string(Evaluator& evaluator, const Value& value, const Arguments&) {
    if (value.is_string()) {
        return value;
    }
    return evaluator.heap().string(TRY(evaluator.text_of(value)));
}

Result<Value> filter_sum(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("sum", {"attribute", "start"}));
    Value sum = bound[1].value_or(Value::integer(0));
    for (const Keyed& entry : TRY(keyed_items(evaluator, value, bound[0], true))) {
        sum = TRY(evaluator.add(sum, entry.key));
    }
    return sum;
}

Result<Value> filter_title(Evaluator& evaluator, const Value& value, const Arguments&) {
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    return evaluator.heap().string(change_case(text, Letters::TitleOfParts));
}

Result<Value> filter_tojson(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound =
        TRY(arguments.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}));
    JsonStyle style;
    style.ascii = flag(bound[0], false);
    style.sort_keys = flag(bound[3], false);
    if (bound[1] && bound[1]->is_string()) {
        style.indent = bound[1]->text().bytes();
    } else if (bound[1] && !bound[1]->is_none()) {
        const std::int64_t width = TRY(integer_of(bound[1], 0, "tojson"));
        if (width > 1000) {
            return template_error("tojson: the indent is above 1000");
        }
        style.indent = std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
    }
    if (bound[2] && !bound[2]->is_none()) {
        const std::vector<Value> pair = TRY(evaluator.items_of(*bound[2]));
        if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
            return template_error("tojson: separators are two strings");
        }
        style.item_separator = pair[0].text().bytes();
        style.key_separator = pair[1].text().bytes();
    }
    Text text;
    TRY(print_json(value, style, text, evaluator.heap()));
    TRY(evaluator.spend_bytes(text.size() * 4));
    return evaluator.heap().string(std::move(text));
}

Result<Value> filter_trim(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("trim", {"chars"}));
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    if (!bound[0] || bound[0]->is_none()) {
        return evaluator.heap().string(strip(text, nullptr, Side::Both));
    }
    const Text characters = TRY(evaluator.text_of(*bound[0]));
    TRY(evaluator.spend_bytes(text.size() * std::min<std::size_t>(characters.size(), 64)));
    return evaluator.heap().string(strip(text, &characters, Side::Both));
}

Result<Value> filter_unique(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
    const Bound bound = TRY(arguments.bind("unique", {"case_sensitive", "attribute"}));
    Dict seen;
    std::vector<Value> kept;
    for (Keyed& entry : TRY(keyed_items(evaluator, value, bound[1], flag(bound[0], false)))) {
        if (!hashable(entry.key)) {
            return template_error(
                fmt::format("unique: a {} cannot be a key", kind_name(entry.key)));
        }
        TRY(evaluator.spend(entry.key.is_string() ? 1 : seen.entries.size() + 1));
        if (!seen.find(entry.key)) {
            seen.set(entry.key, Value(None{}));
            kept.push_back(std::move(entry.item));
        }
    }
    return list_of(evaluator, std::move(kept));
}

Result<Value> filter_wordcount(Evaluator& evaluator, const Value& value, const Arguments&) {
    const Text text = TRY(evaluator.text_of(value));
    TRY(evaluator.spend_bytes(text.size()));
    std::int64_t words = 0;
    bool inside = false;
    Characters characters(text);
    while (characters.next()) {
        const bool word = is_word(characters.code);
        words += word && !inside ? 1 : 0;
        inside = word;
    }
    return Value::integer(words);
}

using Filter = Result<Value> (*)(Evaluator&, const Value&, const Arguments&);
constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"capitalize", filter_capitalize},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"format", filter_format},
    {"from_json", filter_from_json},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_lower},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", filter_upper},
    {"wordcount", filter_wordcount},
};

} // namespace

Result<std::vector<std::optional<Value>>>
Arguments::bind(std::string_view what, std::initializer_list<std::string_view> parameters) const {
    std::vector<std::optional<Value>> bound(parameters.size());
    if (positional.size() > parameters.size()) {
        return template_error(fmt::format("{} takes at most {} arguments, found {}", what,
                                          parameters.size(), positional.size()));
    }
    std::copy(positional.begin(), positional.end(), bound.begin());
    for (const auto& [name, value] : named) {
        const auto* const known = std::find(parameters.begin(), parameters.end(), name);
        if (known == parameters.end()) {
            return template_error(fmt::format("{} has no argument '{}'", what, name));
        }
        bound[static_cast<std::size_t>(known - parameters.begin())] = value;
    }
    return bound;
}

Result<Value> apply_filter(Evaluator& evaluator, std::string_view name, const Value& value,
                           const Arguments& arguments) {
    const auto* row = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [name](const auto& entry) { return entry.first == name; });
    if (row == std::end(kFilters)) {
        return Error{
            ErrorCode::Unsupported, fmt::format("the filter '{}' is not supported", name), {}};
    }
    return row->second(evaluator, value, arguments);
}

} // namespace hs::jinja
