#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fmt/format.h>

namespace hs::jinja {

namespace {

// Widths and precisions above this are refused: no template needs them.
constexpr int kWidest = 1000;

// The part of a field after its name: "[[fill]align][sign][#][0][width][.precision][type]".
Result<void> check_specification(std::string_view specification) {
    int number = 0;
    for (const char c : specification) {
        number = c >= '0' && c <= '9' ? number * 10 + (c - '0') : 0;
        if (number > kWidest) {
            return template_error(fmt::format("a field is wider than {}", kWidest));
        }
        if (c == '{' || c == '}' || static_cast<unsigned char>(c) >= 0x80) {
            return Error{ErrorCode::Unsupported, "this form of a format field", {}};
        }
    }
    return {};
}

// One value as the library formats it; its grammar is Python's as far as it goes.
Result<Text> format_value(Evaluator& evaluator, const Value& value,
                          const std::string& specification) {
    if (specification.empty()) {
        return evaluator.text_of(value);
    }
    TRY(check_specification(specification));
    const std::string form = "{:" + specification + "}";
    try {
        if (value.whole() && specification.find_last_of("eEfFgG%") == std::string::npos) {
            return Text(fmt::format(fmt::runtime(form), *value.whole()), Origin::Template);
        }
        if (value.is_number()) {
            return Text(fmt::format(fmt::runtime(form), value.number()), Origin::Template);
        }
        const Text text = TRY(evaluator.text_of(value));
        return Text(fmt::format(fmt::runtime(form), text.bytes()),
                    text.has_input() ? Origin::Input : Origin::Template);
    } catch (const fmt::format_error& error) {
        return template_error(fmt::format("format '{}': {}", specification, error.what()));
    }
}

Result<Text> converted(Evaluator& evaluator, const Value& value, bool repr) {
    Text text;
    if (repr) {
        TRY(print_repr(value, text, evaluator.heap()));
    } else {
        TRY(print(value, text, evaluator.heap()));
    }
    return text;
}

// Markup escapes what is put into it.
void append_part(Text& out, const Text& part) {
    out.append(out.markup && !part.markup ? escape(part) : part);
}

} // namespace

Result<Value> format_percent(Evaluator& evaluator, const Text& format, const Value& values) {
    std::vector<Value> items{values};
    if (values.list() && values.list()->tuple) {
        items = TRY(evaluator.items_of(values));
    }
    const std::string& bytes = format.bytes();
    Text out;
    out.markup = format.markup;
    std::size_t used = 0;
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t percent = std::min(bytes.find('%', at), bytes.size());
        out.append(format, at, percent);
        if (percent + 1 >= bytes.size()) {
            if (percent < bytes.size()) {
                return template_error("a format ends with '%'");
            }
            break;
        }
        std::size_t end = percent + 1;
        while (end < bytes.size() &&
               std::string_view("-+ #0123456789.").find(bytes[end]) != std::string_view::npos) {
            ++end;
        }
        if (end >= bytes.size()) {
            return template_error("a format field has no end");
        }
        const char kind = bytes[end];
        std::string specification = bytes.substr(percent + 1, end - percent - 1);
        at = end + 1;
        if (kind == '%') {
            out.append(format, end, end + 1);
            continue;
        }
        if (used >= items.size()) {
            return template_error("a format has more fields than there are values");
        }
        const Value& value = items[used++];
        TRY(evaluator.spend(1));
        const bool left = specification.find('-') != std::string::npos;
        specification.erase(std::remove(specification.begin(), specification.end(), '-'),
                            specification.end());
        if (left) {
            specification.erase(0, specification.find_first_not_of('0'));
        }
        const std::string align = specification.empty() ? "" : left ? "<" : "";
        if (kind == 's' || kind == 'r') {
            const Text text = TRY(converted(evaluator, value, kind == 'r'));
            if (specification.empty()) {
                append_part(out, text);
            } else {
                const Value string = TRY(evaluator.heap().string(text));
                append_part(
                    out, TRY(format_value(evaluator, string, (left ? "<" : ">") + specification)));
            }
        } else if ((kind == 'd' || kind == 'i' || kind == 'u' || kind == 'x' || kind == 'X' ||
                    kind == 'o') &&
                   value.is_number()) {
            const double real = value.number();
            if (!value.whole() && !(real > -9.2e18 && real < 9.2e18)) {
                return template_error("a number is too large for its format");
            }
            const Value whole = Value::integer(
                value.whole().value_or(static_cast<std::int64_t>(value.whole() ? 0.0 : real)));
            const char type = kind == 'i' || kind == 'u' ? 'd' : kind;
            append_part(out, TRY(format_value(evaluator, whole, align + specification + type)));
        } else if (std::string_view("eEfFgG").find(kind) != std::string_view::npos &&
                   value.is_number()) {
            append_part(out, TRY(format_value(evaluator, Value::real(value.number()),
                                              align + specification + kind)));
        } else {
            return template_error(
                fmt::format("the format '%{}' does not go with a {}", kind, kind_name(value)));
        }
        TRY(evaluator.heap().check_length(out.size()));
    }
    if (used < items.size() && !values.dict()) {
        return template_error("a format has fewer fields than there are values");
    }
    return evaluator.heap().string(std::move(out));
}

Result<Value> format_braces(Evaluator& evaluator, const Text& format, const Arguments& arguments) {
    const std::string& bytes = format.bytes();
    Text out;
    out.markup = format.markup;
    std::size_t next = 0;
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
        out.append(format, at, brace);
        if (brace >= bytes.size()) {
            break;
        }
        if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
            out.append(format, brace, brace + 1);
            at = brace + 2;
            continue;
        }
        const std::size_t close = bytes.find('}', brace);
        if (bytes[brace] == '}' || close == std::string::npos) {
            return template_error("a format has a single brace");
        }
        std::string name = bytes.substr(brace + 1, close - brace - 1);
        std::string specification;
        if (const std::size_t colon = name.find(':'); colon != std::string::npos) {
            specification = name.substr(colon + 1);
            name.resize(colon);
        }
        bool repr = false;
        if (const std::size_t mark = name.find('!'); mark != std::string::npos) {
            repr = name.substr(mark) == "!r";
            name.resize(mark);
        }
        std::size_t index = next;
        const Value* value = nullptr;
        if (name.empty()) {
            ++next;
        } else if (std::isdigit(static_cast<unsigned char>(name[0]))) {
            const auto read = std::from_chars(name.data(), name.data() + name.size(), index);
            if (read.ec != std::errc() || read.ptr != name.data() + name.size()) {
                return Error{ErrorCode::Unsupported, "this form of a format field", {}};
            }
        } else {
            index = arguments.positional.size();
            for (const auto& [known, named] : arguments.named) {
                value = known == name ? &named : value;
            }
        }
        if (index < arguments.positional.size()) {
            value = &arguments.positional[index];
        }
        if (!value) {
            return template_error(fmt::format("a format has no value for '{}'", name));
        }
        TRY(evaluator.spend(1));
        Value shown = *value;
        if (repr) {
            Text text = TRY(converted(evaluator, shown, true));
            shown = TRY(evaluator.heap().string(std::move(text)));
        }
        append_part(out, TRY(format_value(evaluator, shown, specification)));
        TRY(evaluator.heap().check_length(out.size()));
        at = close + 1;
    }
    return evaluator.heap().string(std::move(out));
}

} // namespace hs::jinja
