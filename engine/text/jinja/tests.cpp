#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs::jinja {

namespace {

Result<Value> only_argument(std::string_view name, const Arguments& arguments) {
    if (arguments.positional.size() != 1 || !arguments.named.empty()) {
        return template_error(fmt::format("the test '{}' needs one argument", name));
    }
    return arguments.positional[0];
}

bool is_iterable(const Value& value) {
    return value.is_undefined() || value.is_string() || value.list() || value.dict() ||
           value.loop();
}

// str.islower and str.isupper: at least one letter, and none of the other case.
bool has_case(const Text& text, bool upper_case) {
    bool any = false;
    Characters characters(text);
    while (characters.next()) {
        if (upper_case ? is_lower(characters.code) : is_upper(characters.code)) {
            return false;
        }
        any = any || (upper_case ? is_upper(characters.code) : is_lower(characters.code));
    }
    return any;
}

Result<std::int64_t> remainder(const Value& value, std::int64_t divisor) {
    const auto whole = value.whole();
    if (!whole) {
        return template_error(fmt::format("a {} is neither odd nor even", kind_name(value)));
    }
    if (divisor == 0) {
        return template_error("division by zero");
    }
    return divisor == -1 ? 0 : *whole % divisor;
}

struct Simple {
    std::string_view name;
    bool (*holds)(const Value&);
};
constexpr Simple kSimple[] = {
    {"defined", [](const Value& v) { return !v.is_undefined(); }},
    {"undefined", [](const Value& v) { return v.is_undefined(); }},
    {"none", [](const Value& v) { return v.is_none(); }},
    {"boolean", [](const Value& v) { return v.is_boolean(); }},
    {"true", [](const Value& v) { return v.is_boolean() && v.as_boolean(); }},
    {"false", [](const Value& v) { return v.is_boolean() && !v.as_boolean(); }},
    {"integer", [](const Value& v) { return v.is_integer(); }},
    {"float", [](const Value& v) { return v.is_real(); }},
    {"number", [](const Value& v) { return v.is_number(); }},
    {"string", [](const Value& v) { return v.is_string(); }},
    {"mapping", [](const Value& v) { return v.dict() != nullptr; }},
    {"iterable", is_iterable},
    {"sequence", [](const Value& v) { return is_iterable(v) && !v.loop(); }},
    {"callable", [](const Value& v) { return v.function() || v.is_undefined(); }},
    {"escaped", [](const Value& v) { return v.is_string() && v.text().markup; }},
};

struct Ordering {
    std::string_view name;
    Operator op;
};
constexpr Ordering kOrderings[] = {
    {"eq", Operator::Equal},        {"equalto", Operator::Equal},
    {"==", Operator::Equal},        {"ne", Operator::NotEqual},
    {"!=", Operator::NotEqual},     {"lt", Operator::Less},
    {"lessthan", Operator::Less},   {"<", Operator::Less},
    {"le", Operator::LessEqual},    {"<=", Operator::LessEqual},
    {"gt", Operator::Greater},      {"greaterthan", Operator::Greater},
    {">", Operator::Greater},       {"ge", Operator::GreaterEqual},
    {">=", Operator::GreaterEqual}, {"in", Operator::In},
};

} // namespace

Result<bool> apply_test(Evaluator& evaluator, std::string_view name, const Value& value,
                        const Arguments& arguments) {
    const auto* simple = std::find_if(std::begin(kSimple), std::end(kSimple),
                                      [name](const Simple& row) { return row.name == name; });
    if (simple != std::end(kSimple)) {
        return simple->holds(value);
    }
    const auto* ordering = std::find_if(std::begin(kOrderings), std::end(kOrderings),
                                        [name](const Ordering& row) { return row.name == name; });
    if (ordering != std::end(kOrderings)) {
        const Value other = TRY(only_argument(name, arguments));
        return evaluator.compare(ordering->op, value, other);
    }
    if (name == "odd" || name == "even") {
        const std::int64_t rest = TRY(remainder(value, 2));
        return (rest != 0) == (name == "odd");
    }
    if (name == "divisibleby") {
        const Value divisor = TRY(only_argument(name, arguments));
        return TRY(remainder(value, divisor.whole().value_or(0))) == 0;
    }
    if (name == "lower" || name == "upper") {
        const Text text = TRY(evaluator.text_of(value));
        TRY(evaluator.spend_bytes(text.size()));
        return has_case(text, name == "upper");
    }
    if (name == "sameas") {
        const Value other = TRY(only_argument(name, arguments));
        return value.is_boolean() == other.is_boolean() && value.list() == other.list() &&
               value.dict() == other.dict() && equal(value, other);
    }
    return Error{ErrorCode::Unsupported, fmt::format("the test '{}' is not supported", name), {}};
}

} // namespace hs::jinja
