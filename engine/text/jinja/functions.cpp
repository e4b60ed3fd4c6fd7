#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>
#include <mutex>

namespace hs::jinja {

namespace {

// The longest range a template may ask for, as in the reference's sandbox.
constexpr std::int64_t kLongestRange = 100'000;

Result<Value> range(Evaluator& evaluator, const Arguments& arguments) {
    const auto bound = TRY(arguments.bind("range", {"start", "stop", "step"}));
    std::int64_t numbers[3] = {0, 0, 1};
    for (std::size_t i = 0; i < 3; ++i) {
        if (bound[i]) {
            const auto whole = bound[i]->whole();
            if (!whole) {
                return template_error(
                    fmt::format("range needs integers, found a {}", kind_name(*bound[i])));
            }
            numbers[i] = *whole;
        }
    }
    if (!bound[0]) {
        return template_error("range needs an end");
    }
    const std::int64_t begin = bound[1] ? numbers[0] : 0;
    const std::int64_t end = bound[1] ? numbers[1] : numbers[0];
    const std::int64_t step = numbers[2];
    if (step == 0) {
        return template_error("range: the step is 0");
    }
    TRY(evaluator.heap().grow(1));
    List* list = evaluator.heap().list();
    std::int64_t at = begin;
    while (step > 0 ? at < end : at > end) {
        if (static_cast<std::int64_t>(list->items.size()) >= kLongestRange) {
            return template_error(fmt::format("a range has more than {} elements", kLongestRange));
        }
        list->items.push_back(Value::integer(at));
        if (__builtin_add_overflow(at, step, &at)) {
            break;
        }
    }
    TRY(evaluator.heap().grow(list->items.size()));
    TRY(evaluator.spend(list->items.size() / 8));
    return Value(list);
}

// What dict() and namespace() take: one mapping or list of pairs, and named values.
Result<void> fill(Evaluator& evaluator, Dict& dict, const Arguments& arguments) {
    if (arguments.positional.size() > 1) {
        return template_error("dict and namespace take one value at most");
    }
    if (!arguments.positional.empty()) {
        const Value& from = arguments.positional[0];
        if (from.dict()) {
            TRY(evaluator.heap().grow(from.dict()->entries.size()));
            TRY(evaluator.spend(from.dict()->entries.size()));
            for (const auto& [key, value] : from.dict()->entries) {
                dict.set(key, value);
            }
        } else {
            for (const Value& pair : TRY(evaluator.items_of(from))) {
                const std::vector<Value> two = TRY(evaluator.items_of(pair));
                TRY(evaluator.heap().grow(1));
                TRY(evaluator.spend(1));
                if (two.size() != 2 || !hashable(two[0])) {
                    return template_error("dict needs pairs of a key and a value");
                }
                dict.set(two[0], two[1]);
            }
        }
    }
    for (const auto& [name, value] : arguments.named) {
        TRY(evaluator.heap().grow(1));
        dict.set(TRY(evaluator.string(name)), value);
    }
    return {};
}

Result<Value> make_dict(Evaluator& evaluator, const Arguments& arguments) {
    Dict* dict = evaluator.heap().dict();
    TRY(fill(evaluator, *dict, arguments));
    return Value(dict);
}

Result<Value> make_namespace(Evaluator& evaluator, const Arguments& arguments) {
    Namespace* names = evaluator.heap().name_space();
    TRY(fill(evaluator, names->names, arguments));
    return Value(names);
}

Result<Value> raise_exception(Evaluator& evaluator, const Arguments& arguments) {
    const auto bound = TRY(arguments.bind("raise_exception", {"message"}));
    Text text;
    if (bound[0]) {
        text = TRY(evaluator.text_of(*bound[0]));
    }
    return Error{ErrorCode::InvalidArgument, text.bytes(), {}};
}

std::tm local_time(std::time_t time) {
    static std::mutex mutex; // std::localtime answers from one place for all threads
    const std::lock_guard lock(mutex);
    const std::tm* parts = std::localtime(&time);
    return parts ? *parts : std::tm{};
}

// Python's strftime in the C locale: the names are English wherever the program runs.
Result<std::string> format_time(std::string_view format, const std::tm& time) {
    static constexpr std::array<std::string_view, 7> kDays = {
        "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static constexpr std::array<std::string_view, 12> kMonths = {
        "January", "February", "March",     "April",   "May",      "June",
        "July",    "August",   "September", "October", "November", "December"};
    const auto day = kDays[static_cast<std::size_t>(std::clamp(time.tm_wday, 0, 6))];
    const auto month = kMonths[static_cast<std::size_t>(std::clamp(time.tm_mon, 0, 11))];
    const int hour = time.tm_hour % 12 == 0 ? 12 : time.tm_hour % 12;
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%' || i + 1 >= format.size()) {
            out.push_back(format[i]);
            continue;
        }
        ++i;
        const bool bare = format[i] == '-' && i + 1 < format.size(); // no leading zeros
        i += bare ? 1 : 0;
        const auto number = [&](int value, int width) {
            out += fmt::format("{:0{}d}", value, bare ? 1 : width);
        };
        switch (format[i]) {
        case 'Y':
            number(time.tm_year + 1900, 4);
            break;
        case 'y':
            number((time.tm_year + 1900) % 100, 2);
            break;
        case 'm':
            number(time.tm_mon + 1, 2);
            break;
        case 'd':
            number(time.tm_mday, 2);
            break;
        case 'e':
            out += fmt::format("{:{}d}", time.tm_mday, bare ? 1 : 2);
            break;
        case 'j':
            number(time.tm_yday + 1, 3);
            break;
        case 'H':
            number(time.tm_hour, 2);
            break;
        case 'I':
            number(hour, 2);
            break;
        case 'M':
            number(time.tm_min, 2);
            break;
        case 'S':
            number(time.tm_sec, 2);
            break;
        case 'f':
            out += "000000";
            break;
        case 'p':
            out += time.tm_hour < 12 ? "AM" : "PM";
            break;
        case 'A':
            out += day;
            break;
        case 'a':
            out += day.substr(0, 3);
            break;
        case 'B':
            out += month;
            break;
        case 'b':
        case 'h':
            out += month.substr(0, 3);
            break;
        case 'F':
            out += TRY(format_time("%Y-%m-%d", time));
            break;
        case 'T':
        case 'X':
            out += TRY(format_time("%H:%M:%S", time));
            break;
        case 'D':
        case 'x':
            out += TRY(format_time("%m/%d/%y", time));
            break;
        case 'R':
            out += TRY(format_time("%H:%M", time));
            break;
        case 'c':
            out += TRY(format_time("%a %b %e %H:%M:%S %Y", time));
            break;
        case 'u':
            number(time.tm_wday == 0 ? 7 : time.tm_wday, 1);
            break;
        case 'w':
            number(time.tm_wday, 1);
            break;
        case 'z':
        case 'Z':
            break; // Python's local time here knows no zone
        case 'n':
            out += '\n';
            break;
        case 't':
            out += '\t';
            break;
        case '%':
            out += '%';
            break;
        default:
            return Error{ErrorCode::Unsupported,
                         fmt::format("strftime_now: '%{}' is not supported", format[i]),
                         {}};
        }
    }
    return out;
}

Result<Value> strftime_now(Evaluator& evaluator, const Arguments& arguments) {
    const auto bound = TRY(arguments.bind("strftime_now", {"format"}));
    if (!bound[0] || !bound[0]->is_string()) {
        return template_error("strftime_now needs a format");
    }
    const Text& format = bound[0]->text();
    TRY(evaluator.spend(format.size() / 8));
    const std::tm time = evaluator.limits().local_time.value_or(local_time(std::time(nullptr)));
    return evaluator.heap().string(TRY(format_time(format.bytes(), time)),
                                   format.has_input() ? Origin::Input : Origin::Template);
}

using FunctionPointer = Result<Value> (*)(Evaluator&, const Arguments&);
constexpr std::pair<std::string_view, FunctionPointer> kFunctions[] = {
    {"dict", make_dict}, {"namespace", make_namespace},  {"raise_exception", raise_exception},
    {"range", range},    {"strftime_now", strftime_now},
};

} // namespace

bool is_function(std::string_view name) {
    return std::any_of(std::begin(kFunctions), std::end(kFunctions),
                       [name](const auto& row) { return row.first == name; });
}

Result<Value> call_function(Evaluator& evaluator, std::string_view name,
                            const Arguments& arguments) {
    const auto* row = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                   [name](const auto& entry) { return entry.first == name; });
    if (row == std::end(kFunctions)) {
        return Error{ErrorCode::Unsupported, fmt::format("no function '{}'", name), {}};
    }
    TRY(evaluator.heap().grow(2));
    return row->second(evaluator, arguments);
}

} // namespace hs::jinja
