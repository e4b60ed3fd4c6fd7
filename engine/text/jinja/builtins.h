#pragma once
// What templates can use by name: filters, tests, methods of values, functions. Each kind is a
// table in its own file; a row there is all that a new one needs.

#include "engine/core/result.h"
#include "engine/text/jinja/value.h"

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hs::jinja {

class Evaluator;

// The arguments of a call, evaluated.
struct Arguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;

    // One slot per parameter, empty where the call says nothing. Errors: Corrupt, naming `what`,
    // for an unknown name or too many arguments.
    Result<std::vector<std::optional<Value>>>
    bind(std::string_view what, std::initializer_list<std::string_view> parameters) const;
};

// Errors: Unsupported for an unknown name, Corrupt for wrong arguments or values.
Result<Value> apply_filter(Evaluator& evaluator, std::string_view name, const Value& value,
                           const Arguments& arguments);
Result<bool> apply_test(Evaluator& evaluator, std::string_view name, const Value& value,
                        const Arguments& arguments);

// True for names that Python's types of strings, lists and dicts have as methods, also for the few
// which are not supported: they hide dict keys of the same name.
bool has_method(const Value& value, std::string_view name);
Result<Value> call_method(Evaluator& evaluator, const Value& self, std::string_view name,
                          const Arguments& arguments);

bool is_function(std::string_view name);
// Errors: InvalidArgument from raise_exception, with its text.
Result<Value> call_function(Evaluator& evaluator, std::string_view name,
                            const Arguments& arguments);

// Python's "%" of a string, and str.format.
Result<Value> format_percent(Evaluator& evaluator, const Text& format, const Value& values);
Result<Value> format_braces(Evaluator& evaluator, const Text& format, const Arguments& arguments);

// Pieces shared by filters and methods of the same name.
enum class Side { Left, Right, Both };
Text strip(const Text& text, const Text* characters, Side side);
Result<Value> replace(Evaluator& evaluator, const Text& text, const Text& old, const Text& with,
                      std::int64_t count);
std::vector<std::pair<std::size_t, std::size_t>> line_bounds(const Text& text, bool keep_ends);
Text escape(const Text& text);

} // namespace hs::jinja
