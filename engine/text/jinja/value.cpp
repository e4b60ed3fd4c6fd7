#include "engine/text/jinja/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace hs::jinja {

namespace {

// Deeper values than this come from lists put into themselves, or from attacks.
constexpr int kMaxDepth = 100;
// Bytes one element of a list or dict is counted as.
constexpr std::size_t kElementBytes = 64;

// A text that gives its bytes back to the account when the last value lets go of it.
struct Metered {
    Text text;
    std::shared_ptr<std::size_t> account;
    std::size_t bytes;

    Metered(Text t, std::shared_ptr<std::size_t> a, std::size_t b)
        : text(std::move(t))
        , account(std::move(a))
        , bytes(b) {
        *account += bytes;
    }
    Metered(const Metered&) = delete;
    Metered& operator=(const Metered&) = delete;
    ~Metered() { *account -= bytes; }
};

void append_quoted(const Text& text, Text& out, Origin quotes) {
    const bool has_single = text.bytes().find('\'') != std::string::npos;
    const bool has_double = text.bytes().find('"') != std::string::npos;
    const char quote = has_single && !has_double ? '"' : '\'';
    out.append(std::string_view(&quote, 1), quotes);
    Characters characters(text);
    while (characters.next()) {
        const char32_t code = characters.code;
        if (code == static_cast<unsigned char>(quote) || code == '\\') {
            out.append("\\", characters.origin);
            out.append(characters.bytes, characters.origin);
        } else if (code == '\n') {
            out.append("\\n", characters.origin);
        } else if (code == '\r') {
            out.append("\\r", characters.origin);
        } else if (code == '\t') {
            out.append("\\t", characters.origin);
        } else if (is_printable(code)) {
            out.append(characters.bytes, characters.origin);
        } else {
            const auto value = static_cast<std::uint32_t>(code);
            out.append(value < 0x100     ? fmt::format("\\x{:02x}", value)
                       : value < 0x10000 ? fmt::format("\\u{:04x}", value)
                                         : fmt::format("\\U{:08x}", value),
                       characters.origin);
        }
    }
    out.append(std::string_view(&quote, 1), quotes);
}

void append_json_string(const Text& text, bool ascii, Text& out, Origin quotes) {
    out.append("\"", quotes);
    Characters characters(text);
    while (characters.next()) {
        const auto code = static_cast<std::uint32_t>(characters.code);
        const auto put = [&](std::string_view bytes) { out.append(bytes, characters.origin); };
        if (code == '"') {
            put("\\\"");
        } else if (code == '\\') {
            put("\\\\");
        } else if (code == '\n') {
            put("\\n");
        } else if (code == '\r') {
            put("\\r");
        } else if (code == '\t') {
            put("\\t");
        } else if (code == '\f') {
            put("\\f");
        } else if (code == '\b') {
            put("\\b");
        } else if (code < 0x20 || (ascii && code > 0x7e && code < 0x10000)) {
            put(fmt::format("\\u{:04x}", code));
        } else if (ascii && code >= 0x10000) {
            put(fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff)));
        } else {
            put(characters.bytes);
        }
    }
    out.append("\"", quotes);
}

Error nested_too_deeply() {
    return template_error("a value is nested too deeply or contains itself");
}

// The key as json.dumps writes it.
Result<Text> json_key(const Value& key) {
    if (key.is_string()) {
        return key.text();
    }
    if (key.is_boolean()) {
        return Text(key.as_boolean() ? "true" : "false", Origin::Template);
    }
    if (key.is_integer()) {
        return Text(std::to_string(*key.whole()), Origin::Template);
    }
    if (key.is_real()) {
        return Text(print_real(key.as_real()), Origin::Template);
    }
    if (key.is_none()) {
        return Text("null", Origin::Template);
    }
    return template_error(fmt::format("tojson: a key is a {}", kind_name(key)));
}

void json_line(const JsonStyle& style, int depth, Text& out, Origin origin) {
    if (style.indent) {
        out.append("\n", origin);
        for (int i = 0; i < depth; ++i) {
            out.append(*style.indent, origin);
        }
    }
}

} // namespace

std::optional<std::int64_t> Value::whole() const {
    if (is_boolean()) {
        return as_boolean() ? 1 : 0;
    }
    if (is_integer()) {
        return std::get<std::int64_t>(m_state);
    }
    return std::nullopt;
}

double Value::number() const {
    const std::optional<std::int64_t> integer = whole();
    return integer ? static_cast<double>(*integer) : as_real();
}

std::size_t Dict::position(std::string_view key) const {
    if (entries.size() > kIndexFrom) {
        const auto found = m_index.find(key);
        return found == m_index.end() ? entries.size() : found->second;
    }
    std::size_t i = 0;
    while (i < entries.size() &&
           !(entries[i].first.is_string() && entries[i].first.text().bytes() == key)) {
        ++i;
    }
    return i;
}

std::size_t Dict::position(const Value& key) const {
    if (key.is_string()) {
        return position(std::string_view(key.text().bytes()));
    }
    std::size_t i = 0;
    while (i < entries.size() && !equal(entries[i].first, key)) {
        ++i;
    }
    return i;
}

const Value* Dict::find(const Value& key) const {
    const std::size_t at = position(key);
    return at < entries.size() ? &entries[at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
    const std::size_t at = position(key);
    return at < entries.size() ? &entries[at].second : nullptr;
}

void Dict::reindex() {
    m_index.clear();
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].first.is_string()) {
            m_index.emplace(entries[i].first.text().bytes(), i);
        }
    }
}

void Dict::set(const Value& key, Value value) {
    const std::size_t at = position(key);
    if (at < entries.size()) {
        entries[at].second = std::move(value);
        return;
    }
    entries.emplace_back(key, std::move(value));
    if (entries.size() == kIndexFrom + 1) {
        reindex();
    } else if (entries.size() > kIndexFrom && key.is_string()) {
        m_index.emplace(entries.back().first.text().bytes(), at);
    }
}

bool Dict::erase(const Value& key) {
    const std::size_t at = position(key);
    if (at >= entries.size()) {
        return false;
    }
    m_index.clear(); // its keys point into the entries
    entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(at));
    if (entries.size() > kIndexFrom) {
        reindex();
    }
    return true;
}

void Dict::clear() {
    m_index.clear();
    entries.clear();
}

Result<void> Heap::check_length(std::size_t bytes) const {
    if (bytes > m_string_bytes) {
        return template_error(fmt::format("a string grew beyond {} bytes", m_string_bytes));
    }
    return {};
}

Result<Value> Heap::string(Text text) {
    TRY(check_length(text.size()));
    const std::size_t bytes =
        text.size() + text.runs().size() * sizeof(Text::Run) + sizeof(Metered);
    if (bytes > m_total_bytes || *m_live > m_total_bytes - bytes) {
        return template_error(fmt::format("the values grew beyond {} bytes", m_total_bytes));
    }
    const auto held = std::make_shared<const Metered>(std::move(text), m_live, bytes);
    return Value(TextPtr(held, &held->text));
}

Result<Value> Heap::string(std::string_view bytes, Origin origin) {
    TRY(check_length(bytes.size()));
    return string(Text(bytes, origin));
}

Result<void> Heap::grow(std::size_t elements) {
    if (elements > m_total_bytes / kElementBytes ||
        *m_live > m_total_bytes - elements * kElementBytes) {
        return template_error(fmt::format("the values grew beyond {} bytes", m_total_bytes));
    }
    *m_live += elements * kElementBytes;
    return {};
}

List* Heap::list(bool tuple) {
    m_lists.emplace_back().tuple = tuple;
    return &m_lists.back();
}

Dict* Heap::dict() {
    return &m_dicts.emplace_back();
}

Namespace* Heap::name_space() {
    return &m_namespaces.emplace_back();
}

Function* Heap::function(Function function) {
    return &m_functions.emplace_back(std::move(function));
}

Loop* Heap::loop() {
    return &m_loops.emplace_back();
}

Error template_error(std::string what) {
    return {ErrorCode::Corrupt, std::move(what), {}};
}

const char* kind_name(const Value& value) {
    return value.is_undefined() ? "undefined value"
           : value.is_none()    ? "none"
           : value.is_boolean() ? "boolean"
           : value.is_integer() ? "integer"
           : value.is_real()    ? "float"
           : value.is_string()  ? "string"
           : value.list()       ? (value.list()->tuple ? "tuple" : "list")
           : value.dict()       ? "mapping"
           : value.name_space() ? "namespace"
           : value.function()   ? "function"
                                : "loop";
}

bool truth(const Value& value) {
    if (value.is_string()) {
        return !value.text().empty();
    }
    if (const auto integer = value.whole()) {
        return *integer != 0;
    }
    if (value.is_real()) {
        return value.as_real() != 0.0;
    }
    if (const List* list = value.list()) {
        return !list->items.empty();
    }
    if (const Dict* dict = value.dict()) {
        return !dict->entries.empty();
    }
    return !value.is_undefined() && !value.is_none();
}

namespace {

// Lists that hold the same lists many times can be compared in exponentially many ways, so that
// the number of comparisons is bounded as well as their depth.
bool equal_within(const Value& a, const Value& b, int depth, int& budget) {
    if (depth > kMaxDepth || --budget < 0) {
        return false;
    }
    if (a.is_string() || b.is_string()) {
        return a.is_string() && b.is_string() && a.text().bytes() == b.text().bytes();
    }
    if (a.is_number() || b.is_number()) {
        if (!a.is_number() || !b.is_number()) {
            return false;
        }
        const auto left = a.whole();
        const auto right = b.whole();
        return left && right ? *left == *right : a.number() == b.number();
    }
    if (a.list() && b.list()) {
        const List& left = *a.list();
        const List& right = *b.list();
        return &left == &right ||
               (left.tuple == right.tuple &&
                std::equal(left.items.begin(), left.items.end(), right.items.begin(),
                           right.items.end(), [&](const Value& x, const Value& y) {
                               return equal_within(x, y, depth + 1, budget);
                           }));
    }
    if (a.dict() && b.dict()) {
        const Dict& left = *a.dict();
        const Dict& right = *b.dict();
        return &left == &right ||
               (left.entries.size() == right.entries.size() &&
                std::all_of(left.entries.begin(), left.entries.end(), [&](const auto& entry) {
                    const Value* other = right.find(entry.first);
                    return other && equal_within(entry.second, *other, depth + 1, budget);
                }));
    }
    return (a.is_undefined() && b.is_undefined()) || (a.is_none() && b.is_none()) ||
           (a.name_space() && a.name_space() == b.name_space()) ||
           (a.function() && a.function() == b.function()) || (a.loop() && a.loop() == b.loop());
}

} // namespace

bool equal(const Value& a, const Value& b) {
    int budget = 100'000;
    return equal_within(a, b, 0, budget);
}

Result<int> order(const Value& a, const Value& b, int depth) {
    if (a.is_string() && b.is_string()) {
        // Bytes of UTF-8 sort as code points do.
        return a.text().bytes().compare(b.text().bytes());
    }
    if (a.is_number() && b.is_number()) {
        const auto left = a.whole();
        const auto right = b.whole();
        if (left && right) {
            return *left < *right ? -1 : *left > *right ? 1 : 0;
        }
        return a.number() < b.number() ? -1 : a.number() > b.number() ? 1 : 0;
    }
    if (a.list() && b.list() && a.list()->tuple == b.list()->tuple && depth < kMaxDepth) {
        const std::vector<Value>& left = a.list()->items;
        const std::vector<Value>& right = b.list()->items;
        for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
            if (!equal(left[i], right[i])) {
                return order(left[i], right[i], depth + 1);
            }
        }
        return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
    }
    return template_error(fmt::format("cannot order a {} and a {}", kind_name(a), kind_name(b)));
}

bool hashable(const Value& value) {
    if (const List* list = value.list()) {
        return list->tuple && std::all_of(list->items.begin(), list->items.end(),
                                          [](const Value& v) { return !v.list() && hashable(v); });
    }
    return !value.dict() && !value.name_space();
}

std::string print_real(double value) {
    if (std::isnan(value)) {
        return "nan";
    }
    if (std::isinf(value)) {
        return value < 0 ? "-inf" : "inf";
    }
    // The shortest digits that read back as the same number, then Python's choice of notation.
    std::array<char, 40> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::scientific);
    const std::string_view form(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
    const std::size_t e = form.find('e');
    std::string digits;
    for (const char c : form.substr(0, e)) {
        if (c >= '0' && c <= '9') {
            digits.push_back(c);
        }
    }
    std::string_view power = form.substr(e + 1);
    const bool small = power.front() == '-';
    power.remove_prefix(1);
    int exponent = 0;
    for (const char c : power) {
        exponent = exponent * 10 + (c - '0');
    }
    exponent = small ? -exponent : exponent;
    const std::string sign = std::signbit(value) ? "-" : "";
    if (exponent < -4 || exponent >= 16) {
        return sign + digits.substr(0, 1) + (digits.size() > 1 ? "." + digits.substr(1) : "") +
               fmt::format("e{}{:02d}", small ? '-' : '+', std::abs(exponent));
    }
    if (exponent < 0) {
        return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    }
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() <= whole) {
        return sign + digits + std::string(whole - digits.size(), '0') + ".0";
    }
    return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

Result<void> print(const Value& value, Text& out, const Heap& heap) {
    if (value.is_undefined()) {
        return {};
    }
    if (value.is_string()) {
        TRY(heap.check_length(out.size() + value.text().size()));
        out.append(value.text());
        return {};
    }
    return print_repr(value, out, heap);
}

Result<void> print_repr(const Value& value, Text& out, const Heap& heap, int depth) {
    if (depth > kMaxDepth) {
        return nested_too_deeply();
    }
    TRY(heap.check_length(out.size()));
    const auto put = [&](std::string_view bytes, Origin origin = Origin::Template) {
        out.append(bytes, origin);
    };
    if (value.is_undefined()) {
        put("Undefined");
    } else if (value.is_none()) {
        put("None");
    } else if (value.is_boolean()) {
        put(value.as_boolean() ? "True" : "False");
    } else if (value.is_integer()) {
        put(std::to_string(*value.whole()));
    } else if (value.is_real()) {
        put(print_real(value.as_real()));
    } else if (value.is_string()) {
        append_quoted(value.text(), out,
                      value.text().has_input() ? Origin::Input : Origin::Template);
    } else if (const List* list = value.list()) {
        put(list->tuple ? "(" : "[", list->origin);
        for (std::size_t i = 0; i < list->items.size(); ++i) {
            if (i > 0) {
                put(", ", list->origin);
            }
            TRY(print_repr(list->items[i], out, heap, depth + 1));
        }
        put(!list->tuple ? "]" : list->items.size() == 1 ? ",)" : ")", list->origin);
    } else if (value.dict() || value.name_space()) {
        const Dict& dict = value.dict() ? *value.dict() : value.name_space()->names;
        put(value.dict() ? "{" : "<Namespace {", dict.origin);
        for (std::size_t i = 0; i < dict.entries.size(); ++i) {
            if (i > 0) {
                put(", ", dict.origin);
            }
            TRY(print_repr(dict.entries[i].first, out, heap, depth + 1));
            put(": ", dict.origin);
            TRY(print_repr(dict.entries[i].second, out, heap, depth + 1));
        }
        put(value.dict() ? "}" : "}>", dict.origin);
    } else if (const Function* function = value.function()) {
        put("<function ");
        put(function->name);
        put(">");
    } else {
        put(fmt::format("<LoopContext {}/{}>", value.loop()->index + 1,
                        value.loop()->items.size()));
    }
    return heap.check_length(out.size());
}

Result<void> print_json(const Value& value, const JsonStyle& style, Text& out, const Heap& heap,
                        int depth) {
    if (depth > kMaxDepth) {
        return nested_too_deeply();
    }
    TRY(heap.check_length(out.size()));
    const std::string comma = style.item_separator.value_or(style.indent ? "," : ", ");
    const std::string colon = style.key_separator.value_or(": ");
    const auto put = [&](std::string_view bytes, Origin origin = Origin::Template) {
        out.append(bytes, origin);
    };
    if (value.is_none()) {
        put("null");
    } else if (value.is_boolean()) {
        put(value.as_boolean() ? "true" : "false");
    } else if (value.is_integer()) {
        put(std::to_string(*value.whole()));
    } else if (value.is_real()) {
        const double real = value.as_real();
        put(std::isnan(real)   ? "NaN"
            : std::isinf(real) ? (real < 0 ? "-Infinity" : "Infinity")
                               : print_real(real));
    } else if (value.is_string()) {
        append_json_string(value.text(), style.ascii, out,
                           value.text().has_input() ? Origin::Input : Origin::Template);
    } else if (const List* list = value.list()) {
        put("[", list->origin);
        for (std::size_t i = 0; i < list->items.size(); ++i) {
            if (i > 0) {
                put(comma, list->origin);
            }
            json_line(style, depth + 1, out, list->origin);
            TRY(print_json(list->items[i], style, out, heap, depth + 1));
        }
        if (!list->items.empty()) {
            json_line(style, depth, out, list->origin);
        }
        put("]", list->origin);
    } else if (const Dict* dict = value.dict()) {
        std::vector<const std::pair<Value, Value>*> entries;
        for (const auto& entry : dict->entries) {
            entries.push_back(&entry);
        }
        if (style.sort_keys) {
            std::optional<Error> failed;
            std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
                const Result<int> sign = order(a->first, b->first);
                if (!sign && !failed) {
                    failed = sign.error();
                }
                return sign && *sign < 0;
            });
            if (failed) {
                return *failed;
            }
        }
        put("{", dict->origin);
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (i > 0) {
                put(comma, dict->origin);
            }
            json_line(style, depth + 1, out, dict->origin);
            append_json_string(TRY(json_key(entries[i]->first)), style.ascii, out, dict->origin);
            put(colon, dict->origin);
            TRY(print_json(entries[i]->second, style, out, heap, depth + 1));
        }
        if (!entries.empty()) {
            json_line(style, depth, out, dict->origin);
        }
        put("}", dict->origin);
    } else {
        return template_error(fmt::format("tojson: a {} has no JSON form", kind_name(value)));
    }
    return heap.check_length(out.size());
}

Result<Value> from_json(const Json& json, Origin origin, Heap& heap, int depth) {
    if (depth > kMaxDepth) {
        return Error{ErrorCode::InvalidArgument, "the variables are nested too deeply", {}};
    }
    switch (json.type()) {
    case Json::value_t::boolean:
        return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
        return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
        const auto number = json.get<std::uint64_t>();
        if (number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            return Value::integer(static_cast<std::int64_t>(number));
        }
        return Value::real(static_cast<double>(number));
    }
    case Json::value_t::number_float:
        return Value::real(json.get<double>());
    case Json::value_t::string:
        return heap.string(valid_utf8(json.get_ref<const std::string&>()), origin);
    case Json::value_t::array: {
        List* list = heap.list();
        list->origin = origin;
        TRY(heap.grow(json.size()));
        list->items.reserve(json.size());
        for (const Json& item : json) {
            list->items.push_back(TRY(from_json(item, origin, heap, depth + 1)));
        }
        return Value(list);
    }
    case Json::value_t::object: {
        Dict* dict = heap.dict();
        dict->origin = origin;
        TRY(heap.grow(json.size()));
        for (const auto& [key, item] : json.items()) {
            const Value name = TRY(heap.string(valid_utf8(key), origin));
            dict->set(name, TRY(from_json(item, origin, heap, depth + 1)));
        }
        return Value(dict);
    }
    default:
        return Value(None{});
    }
}

} // namespace hs::jinja
