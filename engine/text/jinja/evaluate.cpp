#include "engine/text/jinja/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>

namespace hs::jinja {

namespace {

// What the walk may take of its thread's stack; threads have 1 MiB or more where we run.
constexpr std::ptrdiff_t kStackBytes = 640 << 10;
// How much all values together may take, as a multiple of the longest allowed output.
constexpr std::size_t kHeapOutputs = 8;
// How many steps are taken between two looks at the clock.
constexpr std::size_t kClockSteps = 512;

const char* stack_position() {
    return static_cast<const char*>(__builtin_frame_address(0));
}

const char* symbol(Operator op) {
    static constexpr const char* kSymbols[] = {
        "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
    return kSymbols[static_cast<std::size_t>(op)];
}

Error wrong_operands(Operator op, const Value& a, const Value& b) {
    return template_error(
        fmt::format("'{}' does not go with a {} and a {}", symbol(op), kind_name(a), kind_name(b)));
}

Error overflow() {
    return {ErrorCode::Unsupported, "an integer grew beyond 64 bits", {}};
}

// First index, count of steps and step of a Python slice over `size` elements.
struct SliceRange {
    std::int64_t begin;
    std::int64_t count;
    std::int64_t step;
};

SliceRange slice_range(std::int64_t size, std::optional<std::int64_t> begin,
                       std::optional<std::int64_t> end, std::int64_t step) {
    // Bounds saturate, so that no sum below can wrap.
    const auto clamp = [size, step](std::int64_t at) {
        at = std::clamp(at, -size - 1, size);
        at += at < 0 ? size : 0;
        return std::clamp(at, step < 0 ? std::int64_t{-1} : 0, step < 0 ? size - 1 : size);
    };
    const std::int64_t first = begin ? clamp(*begin) : step < 0 ? size - 1 : 0;
    const std::int64_t last = end ? clamp(*end) : step < 0 ? -1 : size;
    const std::int64_t distance = step < 0 ? first - last : last - first;
    if (distance <= 0) {
        return {first, 0, step};
    }
    const auto width =
        step < 0 ? 0 - static_cast<std::uint64_t>(step) : static_cast<std::uint64_t>(step);
    return {first,
            static_cast<std::int64_t>((static_cast<std::uint64_t>(distance) - 1) / width) + 1,
            step};
}

} // namespace

Value* Scope::find(std::string_view name) {
    for (auto& [known, value] : names) {
        if (known == name) {
            return &value;
        }
    }
    return nullptr;
}

void Scope::set(std::string_view name, Value value) {
    if (Value* known = find(name)) {
        *known = std::move(value);
    } else {
        names.emplace_back(name, std::move(value));
    }
}

// Scopes are taken from a list of used ones unless a macro may still look into them.
class Evaluator::Nested {
public:
    Nested(Evaluator& evaluator, Scope* parent)
        : m_owner(evaluator)
        , m_outer(evaluator.m_scope) {
        if (m_owner.m_free.empty()) {
            m_owner.m_free.push_back(&m_owner.m_scopes.emplace_back());
        }
        m_scope = m_owner.m_free.back();
        m_owner.m_free.pop_back();
        m_scope->parent = parent;
        m_owner.m_scope = m_scope;
    }
    ~Nested() {
        m_owner.m_scope = m_outer;
        if (!m_scope->captured) {
            m_scope->names.clear();
            m_owner.m_free.push_back(m_scope);
        }
    }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

    Scope& scope() { return *m_scope; }

private:
    Evaluator& m_owner;
    Scope* m_outer;
    Scope* m_scope;
};

Evaluator::Evaluator(const TemplateLimits& limits)
    : m_limits(limits)
    , m_heap(limits.output_bytes,
             limits.output_bytes > std::numeric_limits<std::size_t>::max() / kHeapOutputs
                 ? std::numeric_limits<std::size_t>::max()
                 : limits.output_bytes * kHeapOutputs)
    , m_begin(std::chrono::steady_clock::now()) {}

void Evaluator::set_variable(std::string_view name, Value value) {
    m_variables.set(name, std::move(value));
}

Result<Text> Evaluator::run(const Body& body) {
    m_stack = stack_position();
    Text output;
    m_output = &output;
    const Nested root(*this, &m_variables);
    Result<Flow> flow = execute(body);
    if (!flow) {
        return std::move(flow).error().with_context(fmt::format("template line {}", m_line));
    }
    return output;
}

Result<void> Evaluator::spend(std::size_t steps) {
    if (steps > m_limits.steps || m_steps > m_limits.steps - steps) {
        return template_error(fmt::format("did not end within {} steps", m_limits.steps));
    }
    m_steps += steps;
    if (m_steps >= m_next_clock) {
        m_next_clock = m_steps + kClockSteps;
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - m_begin;
        if (taken.count() > m_limits.seconds) {
            return template_error(fmt::format("did not end within {} s", m_limits.seconds));
        }
    }
    return {};
}

Result<void> Evaluator::enter(int line) {
    m_line = line;
    if (std::abs(m_stack - stack_position()) > kStackBytes) {
        return template_error("calls are nested too deeply");
    }
    return spend(1);
}

Error Evaluator::undefined_error(const Value& value, std::string_view use) const {
    const std::string* name = value.missing_name();
    return template_error(name ? fmt::format("'{}' is undefined, so {}", *name, use)
                               : fmt::format("a value is undefined, so {}", use));
}

// ---- statements

Result<Evaluator::Flow> Evaluator::execute(const Body& body) {
    for (const auto& statement : body) {
        const Flow flow = TRY(execute(*statement));
        if (flow != Flow::Next) {
            return flow;
        }
    }
    return Flow::Next;
}

Result<Evaluator::Flow> Evaluator::execute(const Statement& node) {
    TRY(enter(node.line));
    switch (node.kind) {
    case Statement::Kind::Text:
        TRY(m_heap.check_length(m_output->size() + node.text.size()));
        m_output->append(node.text);
        return Flow::Next;
    case Statement::Kind::Output: {
        const Value value = TRY(evaluate(*node.expression));
        TRY(print(value, *m_output, m_heap));
        return Flow::Next;
    }
    case Statement::Kind::If:
        return execute_if(node);
    case Statement::Kind::For:
        return execute_for(node);
    case Statement::Kind::Set: {
        const Value value = TRY(evaluate(*node.expression));
        TRY(assign(*node.target, value));
        return Flow::Next;
    }
    case Statement::Kind::SetBlock: {
        Value value = TRY(capture(node.body));
        if (node.expression) {
            value = TRY(evaluate_filter_chain(*node.expression, value));
        }
        TRY(assign(*node.target, value));
        return Flow::Next;
    }
    case Statement::Kind::Macro: {
        Function* macro = TRY(make_macro(node));
        m_scope->set(node.name, Value(macro));
        return Flow::Next;
    }
    case Statement::Kind::CallBlock:
        TRY(execute_call_block(node));
        return Flow::Next;
    case Statement::Kind::FilterBlock: {
        const Value inner = TRY(capture(node.body));
        const Value value = TRY(evaluate_filter_chain(*node.expression, inner));
        TRY(print(value, *m_output, m_heap));
        return Flow::Next;
    }
    case Statement::Kind::With:
        return execute_with(node);
    case Statement::Kind::Scope: {
        const Nested nested(*this, m_scope);
        return execute(node.body);
    }
    case Statement::Kind::Break:
        return Flow::Break;
    case Statement::Kind::Continue:
        return Flow::Continue;
    }
    return Flow::Next;
}

Result<Evaluator::Flow> Evaluator::execute_if(const Statement& node) {
    for (const auto& [condition, body] : node.branches) {
        const Value value = TRY(evaluate(*condition));
        if (truth(value)) {
            return execute(body);
        }
    }
    return execute(node.otherwise);
}

Result<Evaluator::Flow> Evaluator::execute_for(const Statement& node) {
    const Value iterable = TRY(evaluate(*node.expression));
    std::vector<Value> items = TRY(items_of(iterable));
    if (node.condition) {
        std::vector<Value> kept;
        for (Value& item : items) {
            Nested nested(*this, m_scope);
            TRY(assign(*node.target, item));
            const Value condition = TRY(evaluate(*node.condition));
            if (truth(condition)) {
                kept.push_back(std::move(item));
            }
        }
        items = std::move(kept);
    }
    if (items.empty()) {
        const Nested nested(*this, m_scope);
        return execute(node.otherwise);
    }
    Loop* loop = m_heap.loop();
    loop->items = std::move(items);
    Result<Flow> flow = Flow::Next;
    while (flow && *flow != Flow::Break && loop->index < loop->items.size()) {
        Nested nested(*this, m_scope);
        nested.scope().set("loop", Value(loop));
        if (Result<void> assigned = assign(*node.target, loop->items[loop->index]); !assigned) {
            return std::move(assigned).error();
        }
        flow = execute(node.body);
        ++loop->index;
    }
    loop->items.clear(); // the loop may outlive its end in a namespace, its items need not
    loop->items.shrink_to_fit();
    if (!flow) {
        return flow;
    }
    return Flow::Next;
}

Result<Evaluator::Flow> Evaluator::execute_with(const Statement& node) {
    std::vector<Value> values;
    for (const auto& binding : node.bindings) {
        values.push_back(TRY(evaluate(*binding.second)));
    }
    const Nested nested(*this, m_scope);
    for (std::size_t i = 0; i < values.size(); ++i) {
        TRY(assign(*node.bindings[i].first, values[i]));
    }
    return execute(node.body);
}

Result<void> Evaluator::execute_call_block(const Statement& node) {
    const Expression& written = *node.expression;
    const Value callee = TRY(evaluate(*written.parts[0]));
    Arguments arguments = TRY(evaluate_arguments(written));
    Function* caller = TRY(make_macro(node));
    caller->name = "caller";
    arguments.named.emplace_back("caller", Value(caller));
    const Value value = TRY(call(callee, arguments));
    return print(value, *m_output, m_heap);
}

Result<Value> Evaluator::capture(const Body& body) {
    Text text;
    Text* const outer = std::exchange(m_output, &text);
    const Nested nested(*this, m_scope);
    Result<Flow> flow = execute(body);
    m_output = outer;
    if (!flow) {
        return std::move(flow).error();
    }
    return m_heap.string(std::move(text));
}

Result<void> Evaluator::assign(const Expression& target, const Value& value) {
    if (target.kind == Expression::Kind::Name) {
        m_scope->set(target.name, value);
        return {};
    }
    if (target.kind == Expression::Kind::Attribute) {
        const Value base = TRY(evaluate_name(*target.parts[0]));
        if (!base.name_space()) {
            return template_error(fmt::format("cannot set '{}' of a {}, only of a namespace",
                                              target.name, kind_name(base)));
        }
        const Value key = TRY(string(target.name));
        TRY(m_heap.grow(1));
        base.name_space()->names.set(key, value);
        return {};
    }
    const std::vector<Value> items = TRY(items_of(value));
    if (items.size() != target.parts.size()) {
        return template_error(fmt::format("cannot unpack {} values into {} names", items.size(),
                                          target.parts.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
        TRY(assign(*target.parts[i], items[i]));
    }
    return {};
}

Result<Function*> Evaluator::make_macro(const Statement& node) {
    TRY(m_heap.grow(8)); // the macro, and the scope that it keeps
    for (Scope* scope = m_scope; scope && !scope->captured; scope = scope->parent) {
        scope->captured = true;
    }
    return m_heap.function({.kind = Function::Kind::Macro,
                            .name = node.name,
                            .self = {},
                            .macro = &node,
                            .scope = m_scope});
}

// ---- expressions

Result<Value> Evaluator::evaluate_part(const Expression& node, std::size_t part) {
    return evaluate(*node.parts[part]);
}

Result<Value> Evaluator::evaluate(const Expression& node) {
    TRY(enter(node.line));
    switch (node.kind) {
    case Expression::Kind::Constant:
        return node.constant;
    case Expression::Kind::Name:
        return evaluate_name(node);
    case Expression::Kind::List:
    case Expression::Kind::Tuple:
        return evaluate_list(node);
    case Expression::Kind::Dict:
        return evaluate_dict(node);
    case Expression::Kind::Attribute: {
        const Value base = TRY(evaluate_part(node, 0));
        m_line = node.line;
        return attribute(base, node.name, &node.name);
    }
    case Expression::Kind::Item: {
        const Value base = TRY(evaluate_part(node, 0));
        const Value key = TRY(evaluate_part(node, 1));
        m_line = node.line;
        return item(base, key);
    }
    case Expression::Kind::Slice:
        return evaluate_slice(node);
    case Expression::Kind::Call:
        return evaluate_call(node);
    case Expression::Kind::Filter: {
        const Value input = TRY(evaluate_part(node, 0));
        return evaluate_filter(node, input);
    }
    case Expression::Kind::Test:
        return evaluate_test(node);
    case Expression::Kind::Not: {
        const Value value = TRY(evaluate_part(node, 0));
        return Value::boolean(!truth(value));
    }
    case Expression::Kind::And:
    case Expression::Kind::Or: {
        Value left = TRY(evaluate_part(node, 0));
        if (truth(left) == (node.kind == Expression::Kind::Or)) {
            return left;
        }
        return evaluate_part(node, 1);
    }
    case Expression::Kind::Negative:
    case Expression::Kind::Positive:
        return evaluate_sign(node);
    case Expression::Kind::Binary:
        return evaluate_binary(node);
    case Expression::Kind::Concatenate:
        return evaluate_concatenation(node);
    case Expression::Kind::Compare:
        return evaluate_comparison(node);
    case Expression::Kind::Conditional: {
        const Value condition = TRY(evaluate_part(node, 1));
        if (truth(condition)) {
            return evaluate_part(node, 0);
        }
        return node.parts[2] ? evaluate_part(node, 2) : Result<Value>(Value(Undefined{}));
    }
    }
    return Value();
}

Result<Value> Evaluator::evaluate_name(const Expression& node) {
    for (Scope* scope = m_scope; scope; scope = scope->parent) {
        if (const Value* value = scope->find(node.name)) {
            return *value;
        }
    }
    if (is_function(node.name)) {
        TRY(m_heap.grow(2));
        return Value(m_heap.function({.kind = Function::Kind::Global,
                                      .name = node.name,
                                      .self = {},
                                      .macro = nullptr,
                                      .scope = nullptr}));
    }
    return Value(Undefined{&node.name});
}

Result<Value> Evaluator::evaluate_list(const Expression& node) {
    TRY(m_heap.grow(node.parts.size() + 1));
    List* list = m_heap.list(node.kind == Expression::Kind::Tuple);
    list->items.reserve(node.parts.size());
    for (const ExpressionPtr& part : node.parts) {
        list->items.push_back(TRY(evaluate(*part)));
    }
    return Value(list);
}

Result<Value> Evaluator::evaluate_dict(const Expression& node) {
    TRY(m_heap.grow(node.parts.size() + 1));
    Dict* dict = m_heap.dict();
    for (std::size_t i = 0; i + 1 < node.parts.size(); i += 2) {
        const Value key = TRY(evaluate_part(node, i));
        if (!hashable(key)) {
            return template_error(fmt::format("a {} cannot be a key", kind_name(key)));
        }
        dict->set(key, TRY(evaluate_part(node, i + 1)));
    }
    return Value(dict);
}

Result<Value> Evaluator::attribute(const Value& base, std::string_view name,
                                   const std::string* missing) {
    if (base.is_undefined()) {
        return undefined_error(base, fmt::format("it has no '{}'", name));
    }
    if (Loop* loop = base.loop()) {
        const auto size = static_cast<std::int64_t>(loop->items.size());
        const auto index = static_cast<std::int64_t>(loop->index);
        const auto neighbour = [&](std::int64_t at) {
            return at >= 0 && at < size ? loop->items[static_cast<std::size_t>(at)]
                                        : Value(Undefined{missing});
        };
        return name == "index"          ? Value::integer(index + 1)
               : name == "index0"       ? Value::integer(index)
               : name == "revindex"     ? Value::integer(size - index)
               : name == "revindex0"    ? Value::integer(size - index - 1)
               : name == "first"        ? Value::boolean(index == 0)
               : name == "last"         ? Value::boolean(index + 1 == size)
               : name == "length"       ? Value::integer(size)
               : name == "depth"        ? Value::integer(1) // counts only recursive loops
               : name == "depth0"       ? Value::integer(0)
               : name == "previtem"     ? neighbour(index - 1)
               : name == "nextitem"     ? neighbour(index + 1)
               : has_method(base, name) ? Value(m_heap.function({.kind = Function::Kind::Method,
                                                                 .name = std::string(name),
                                                                 .self = base,
                                                                 .macro = nullptr,
                                                                 .scope = nullptr}))
                                        : Value(Undefined{missing});
    }
    if (has_method(base, name)) {
        TRY(m_heap.grow(2));
        return Value(m_heap.function({.kind = Function::Kind::Method,
                                      .name = std::string(name),
                                      .self = base,
                                      .macro = nullptr,
                                      .scope = nullptr}));
    }
    const Dict* dict = base.dict()         ? base.dict()
                       : base.name_space() ? &base.name_space()->names
                                           : nullptr;
    const Value* value = dict ? dict->find(name) : nullptr;
    if (value) {
        return *value;
    }
    if (base.function() && name == "name") {
        return string(base.function()->name);
    }
    return Value(Undefined{missing});
}

Result<Value> Evaluator::item(const Value& base, const Value& key) {
    if (base.is_undefined()) {
        return undefined_error(base, "it has no elements");
    }
    if (key.is_string()) {
        TRY(spend_bytes(key.text().size()));
    }
    if (const Dict* dict = base.dict()) {
        if (!key.is_string()) {
            TRY(spend(dict->entries.size() / 64));
        }
        const Value* value = hashable(key) ? dict->find(key) : nullptr;
        if (value) {
            return *value;
        }
    }
    if (const auto written = key.whole()) {
        if (const List* list = base.list()) {
            const auto size = static_cast<std::int64_t>(list->items.size());
            const std::int64_t at = *written < 0 ? *written + size : *written;
            if (at >= 0 && at < size) {
                return list->items[static_cast<std::size_t>(at)];
            }
        } else if (base.is_string()) {
            const Text& text = base.text();
            TRY(spend_bytes(text.size()));
            const auto size = static_cast<std::int64_t>(count_characters(text.bytes()));
            const std::int64_t at = *written < 0 ? *written + size : *written;
            if (at >= 0 && at < size) {
                const std::size_t begin = byte_offset(text.bytes(), static_cast<std::size_t>(at));
                return m_heap.string(text.slice(begin, begin + decode(text.bytes(), begin).bytes));
            }
        }
        return Value(Undefined{});
    }
    if (key.is_string()) {
        return attribute(base, key.text().bytes(), nullptr);
    }
    return Value(Undefined{});
}

Result<Value> Evaluator::evaluate_slice(const Expression& node) {
    const Value base = TRY(evaluate_part(node, 0));
    std::optional<std::int64_t> bounds[3];
    for (std::size_t i = 0; i < 3; ++i) {
        if (node.parts[i + 1]) {
            const Value bound = TRY(evaluate_part(node, i + 1));
            bounds[i] = bound.whole();
            if (!bounds[i] && !bound.is_none()) {
                return template_error(
                    fmt::format("a slice needs integers, found a {}", kind_name(bound)));
            }
        }
    }
    m_line = node.line;
    const std::int64_t step = bounds[2].value_or(1);
    if (step == 0) {
        return template_error("a slice's step is 0");
    }
    if (const List* list = base.list()) {
        const SliceRange range =
            slice_range(static_cast<std::int64_t>(list->items.size()), bounds[0], bounds[1], step);
        TRY(m_heap.grow(static_cast<std::size_t>(range.count) + 1));
        TRY(spend(static_cast<std::size_t>(range.count) / 64));
        List* part = m_heap.list(list->tuple);
        part->origin = list->origin;
        for (std::int64_t i = 0; i < range.count; ++i) {
            part->items.push_back(
                list->items[static_cast<std::size_t>(range.begin + i * range.step)]);
        }
        return Value(part);
    }
    if (!base.is_string()) {
        return base.is_undefined()
                   ? undefined_error(base, "it cannot be sliced")
                   : template_error(fmt::format("a {} cannot be sliced", kind_name(base)));
    }
    const Text& text = base.text();
    TRY(spend_bytes(text.size()));
    const SliceRange range = slice_range(static_cast<std::int64_t>(count_characters(text.bytes())),
                                         bounds[0], bounds[1], step);
    if (step == 1) {
        const std::size_t begin = byte_offset(text.bytes(), static_cast<std::size_t>(range.begin));
        const std::size_t length = byte_offset(std::string_view(text.bytes()).substr(begin),
                                               static_cast<std::size_t>(range.count));
        return m_heap.string(text.slice(begin, begin + length));
    }
    std::vector<std::size_t> starts;
    for (std::size_t at = 0; at < text.size(); at += decode(text.bytes(), at).bytes) {
        starts.push_back(at);
    }
    TRY(spend(starts.size() / 64));
    Text part;
    part.markup = text.markup;
    for (std::int64_t i = 0; i < range.count; ++i) {
        const std::size_t at = starts[static_cast<std::size_t>(range.begin + i * range.step)];
        part.append(text, at, at + decode(text.bytes(), at).bytes);
    }
    return m_heap.string(std::move(part));
}

Result<Arguments> Evaluator::evaluate_arguments(const Expression& node) {
    Arguments arguments;
    for (const Argument& argument : node.arguments) {
        const Value value = TRY(evaluate(*argument.value));
        if (argument.spread == Spread::List) {
            for (Value& item : TRY(items_of(value))) {
                arguments.positional.push_back(std::move(item));
            }
        } else if (argument.spread == Spread::Dict) {
            if (!value.dict()) {
                return template_error(
                    fmt::format("'**' needs a mapping, found a {}", kind_name(value)));
            }
            TRY(spend(value.dict()->entries.size()));
            for (const auto& [key, item] : value.dict()->entries) {
                if (!key.is_string()) {
                    return template_error("'**' needs a mapping with string keys");
                }
                arguments.named.emplace_back(key.text().bytes(), item);
            }
        } else if (argument.name.empty()) {
            arguments.positional.push_back(value);
        } else {
            arguments.named.emplace_back(argument.name, value);
        }
    }
    return arguments;
}

Result<Value> Evaluator::evaluate_call(const Expression& node) {
    const Expression& written = *node.parts[0];
    if (written.kind == Expression::Kind::Attribute) {
        // A method is called without making a value of it.
        const Value base = TRY(evaluate(*written.parts[0]));
        if (has_method(base, written.name)) {
            const Arguments arguments = TRY(evaluate_arguments(node));
            m_line = node.line;
            return call_method(*this, base, written.name, arguments);
        }
        m_line = node.line;
        const Value callee = TRY(attribute(base, written.name, &written.name));
        const Arguments arguments = TRY(evaluate_arguments(node));
        m_line = node.line;
        return call(callee, arguments);
    }
    const Value callee = TRY(evaluate(written));
    const Arguments arguments = TRY(evaluate_arguments(node));
    m_line = node.line;
    return call(callee, arguments);
}

Result<Value> Evaluator::call(const Value& callee, const Arguments& arguments) {
    if (callee.is_undefined()) {
        return undefined_error(callee, "it cannot be called");
    }
    const Function* function = callee.function();
    if (!function) {
        return template_error(fmt::format("a {} cannot be called", kind_name(callee)));
    }
    switch (function->kind) {
    case Function::Kind::Global:
        return call_function(*this, function->name, arguments);
    case Function::Kind::Method:
        return call_method(*this, function->self, function->name, arguments);
    case Function::Kind::Macro:
        return call_macro(*function, arguments);
    }
    return Value();
}

Result<Value> Evaluator::call_macro(const Function& function, const Arguments& arguments) {
    const Statement& macro = *function.macro;
    if (m_calls >= m_limits.depth) {
        return template_error(fmt::format("macros call each other {} deep", m_limits.depth));
    }
    if (arguments.positional.size() > macro.parameters.size()) {
        return template_error(fmt::format("macro '{}' takes {} arguments, found {}", function.name,
                                          macro.parameters.size(), arguments.positional.size()));
    }
    const int line = m_line;
    Text text;
    Text* const outer = std::exchange(m_output, &text);
    ++m_calls;
    Result<Flow> flow = [&]() -> Result<Flow> {
        Nested nested(*this, function.scope);
        for (const auto& [name, value] : arguments.named) {
            const auto known =
                std::find_if(macro.parameters.begin(), macro.parameters.end(),
                             [&key = name](const Parameter& p) { return p.name == key; });
            if (known != macro.parameters.end()) {
                if (static_cast<std::size_t>(known - macro.parameters.begin()) <
                    arguments.positional.size()) {
                    return template_error(
                        fmt::format("macro '{}' got '{}' twice", function.name, name));
                }
                nested.scope().set(known->name, value);
            } else if (name == "caller") {
                nested.scope().set("caller", value);
            } else {
                return template_error(
                    fmt::format("macro '{}' has no parameter '{}'", function.name, name));
            }
        }
        for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
            const Parameter& parameter = macro.parameters[i];
            if (i < arguments.positional.size()) {
                nested.scope().set(parameter.name, arguments.positional[i]);
            } else if (!nested.scope().find(parameter.name)) {
                Value value(Undefined{&parameter.name});
                if (parameter.fallback) {
                    value = TRY(evaluate(*parameter.fallback));
                }
                nested.scope().set(parameter.name, std::move(value));
            }
        }
        return execute(macro.body);
    }();
    --m_calls;
    m_output = outer;
    if (!flow) {
        return std::move(flow).error();
    }
    m_line = line;
    return m_heap.string(std::move(text));
}

Result<Value> Evaluator::evaluate_filter(const Expression& node, const Value& input) {
    const Arguments arguments = TRY(evaluate_arguments(node));
    m_line = node.line;
    return apply_filter(*this, node.name, input, arguments);
}

// Filters over what a block printed: the innermost has no operand of its own.
Result<Value> Evaluator::evaluate_filter_chain(const Expression& node, const Value& input) {
    if (!node.parts[0]) {
        return evaluate_filter(node, input);
    }
    const Value inner = TRY(evaluate_filter_chain(*node.parts[0], input));
    return evaluate_filter(node, inner);
}

Result<Value> Evaluator::evaluate_test(const Expression& node) {
    const Value value = TRY(evaluate_part(node, 0));
    const Arguments arguments = TRY(evaluate_arguments(node));
    m_line = node.line;
    return Value::boolean(TRY(apply_test(*this, node.name, value, arguments)));
}

Result<Value> Evaluator::evaluate_sign(const Expression& node) {
    const Value value = TRY(evaluate_part(node, 0));
    m_line = node.line;
    const bool negative = node.kind == Expression::Kind::Negative;
    if (const auto whole = value.whole()) {
        if (negative && *whole == std::numeric_limits<std::int64_t>::min()) {
            return overflow();
        }
        return Value::integer(negative ? -*whole : *whole);
    }
    if (value.is_real()) {
        return Value::real(negative ? -value.as_real() : value.as_real());
    }
    return template_error(fmt::format("a {} has no sign", kind_name(value)));
}

Result<Value> Evaluator::evaluate_concatenation(const Expression& node) {
    Text text;
    for (const ExpressionPtr& part : node.parts) {
        const Value value = TRY(evaluate(*part));
        TRY(print(value, text, m_heap));
    }
    TRY(spend_bytes(text.size()));
    return m_heap.string(std::move(text));
}

Result<Value> Evaluator::evaluate_comparison(const Expression& node) {
    Value left = TRY(evaluate_part(node, 0));
    for (std::size_t i = 0; i < node.operators.size(); ++i) {
        Value right = TRY(evaluate_part(node, i + 1));
        m_line = node.line;
        if (!TRY(compare(node.operators[i], left, right))) {
            return Value::boolean(false);
        }
        left = std::move(right);
    }
    return Value::boolean(true);
}

Result<bool> Evaluator::compare(Operator op, const Value& a, const Value& b) {
    if (a.is_string() && b.is_string()) {
        TRY(spend_bytes(std::min(a.text().size(), b.text().size())));
    }
    switch (op) {
    case Operator::Equal:
        return equal(a, b);
    case Operator::NotEqual:
        return !equal(a, b);
    case Operator::In:
        return contains(b, a);
    case Operator::NotIn:
        return !TRY(contains(b, a));
    default:
        break;
    }
    if (a.is_undefined() || b.is_undefined()) {
        return undefined_error(a.is_undefined() ? a : b, "it has no order");
    }
    // Not-a-number is neither smaller nor larger.
    if (a.is_number() && b.is_number() && (std::isnan(a.number()) || std::isnan(b.number()))) {
        return false;
    }
    const int sign = TRY(order(a, b));
    return op == Operator::Less        ? sign < 0
           : op == Operator::LessEqual ? sign <= 0
           : op == Operator::Greater   ? sign > 0
                                       : sign >= 0;
}

Result<bool> Evaluator::contains(const Value& container, const Value& value) {
    if (container.is_undefined()) {
        return false;
    }
    if (container.is_string()) {
        if (!value.is_string()) {
            return template_error(
                fmt::format("'in' needs a string on its left, found a {}", kind_name(value)));
        }
        TRY(spend_bytes(container.text().size()));
        return jinja::find(container.text().bytes(), value.text().bytes()) != std::string::npos;
    }
    if (const List* list = container.list()) {
        for (const Value& item : list->items) {
            TRY(spend(1));
            if (equal(item, value)) {
                return true;
            }
        }
        return false;
    }
    if (const Dict* dict = container.dict()) {
        if (!hashable(value)) {
            return template_error(fmt::format("a {} cannot be a key", kind_name(value)));
        }
        TRY(spend(value.is_string() ? value.text().size() / 1024 : dict->entries.size()));
        return dict->find(value) != nullptr;
    }
    return template_error(fmt::format("'in' does not go with a {}", kind_name(container)));
}

Result<Value> Evaluator::evaluate_binary(const Expression& node) {
    const Value left = TRY(evaluate_part(node, 0));
    const Value right = TRY(evaluate_part(node, 1));
    m_line = node.line;
    return node.operators[0] == Operator::Add ? add(left, right)
                                              : arithmetic(node.operators[0], left, right);
}

Result<Value> Evaluator::add(const Value& a, const Value& b) {
    if (a.is_string() && b.is_string()) {
        TRY(m_heap.check_length(a.text().size() + b.text().size()));
        TRY(spend_bytes(a.text().size() + b.text().size()));
        const bool markup = a.text().markup || b.text().markup;
        Text text = markup && !a.text().markup ? escape(a.text()) : a.text();
        text.append(markup && !b.text().markup ? escape(b.text()) : b.text());
        text.markup = markup;
        return m_heap.string(std::move(text));
    }
    if (a.list() && b.list() && a.list()->tuple == b.list()->tuple) {
        const std::size_t size = a.list()->items.size() + b.list()->items.size();
        TRY(m_heap.grow(size + 1));
        TRY(spend(size / 64));
        List* sum = m_heap.list(a.list()->tuple);
        sum->items = a.list()->items;
        sum->items.insert(sum->items.end(), b.list()->items.begin(), b.list()->items.end());
        return Value(sum);
    }
    return arithmetic(Operator::Add, a, b);
}

Result<Value> Evaluator::repeat(const Value& value, std::int64_t times) {
    const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
    if (value.is_string()) {
        const Text& text = value.text();
        if (!text.empty() && count > m_heap.string_bytes() / text.size()) {
            return m_heap.check_length(std::numeric_limits<std::size_t>::max()).error();
        }
        TRY(spend_bytes(text.size() * count));
        Text all;
        if (count > 0) {
            all = text;
        }
        const std::size_t size = text.size() * count;
        while (all.size() < size) { // each step doubles what is there
            const Text so_far = all;
            all.append(so_far, 0, std::min(so_far.size(), size - so_far.size()));
        }
        all.markup = text.markup;
        return m_heap.string(std::move(all));
    }
    const List& list = *value.list();
    if (!list.items.empty() && count > m_limits.steps / list.items.size()) {
        return spend(std::numeric_limits<std::size_t>::max()).error();
    }
    TRY(m_heap.grow(list.items.size() * count + 1));
    TRY(spend(list.items.size() * count / 64));
    List* all = m_heap.list(list.tuple);
    for (std::size_t i = 0; i < count && !list.items.empty(); ++i) {
        all->items.insert(all->items.end(), list.items.begin(), list.items.end());
    }
    return Value(all);
}

Result<Value> Evaluator::arithmetic(Operator op, const Value& a, const Value& b) {
    if (a.is_undefined() || b.is_undefined()) {
        return undefined_error(a.is_undefined() ? a : b,
                               fmt::format("'{}' does not go with it", symbol(op)));
    }
    const auto left = a.whole();
    const auto right = b.whole();
    if (op == Operator::Modulo && a.is_string()) {
        return format_percent(*this, a.text(), b);
    }
    if (op == Operator::Multiply && right && (a.is_string() || a.list())) {
        return repeat(a, *right);
    }
    if (op == Operator::Multiply && left && (b.is_string() || b.list())) {
        return repeat(b, *left);
    }
    if (!a.is_number() || !b.is_number()) {
        return wrong_operands(op, a, b);
    }
    const bool division =
        op == Operator::Divide || op == Operator::FloorDivide || op == Operator::Modulo;
    if (division && b.number() == 0.0) {
        return template_error("division by zero");
    }
    if (left && right && op != Operator::Divide && !(op == Operator::Power && *right < 0)) {
        return integer_arithmetic(op, *left, *right);
    }
    const double x = a.number();
    const double y = b.number();
    switch (op) {
    case Operator::Add:
        return Value::real(x + y);
    case Operator::Subtract:
        return Value::real(x - y);
    case Operator::Multiply:
        return Value::real(x * y);
    case Operator::Divide:
        return Value::real(x / y);
    case Operator::FloorDivide:
        return Value::real(std::floor(x / y));
    case Operator::Modulo: {
        const double rest = std::fmod(x, y);
        return Value::real(rest != 0.0 && (rest < 0.0) != (y < 0.0) ? rest + y : rest);
    }
    case Operator::Power:
        if (x == 0.0 && y < 0.0) {
            return template_error("0 to a negative power");
        }
        return Value::real(std::pow(x, y));
    default:
        return wrong_operands(op, a, b);
    }
}

Result<Value> Evaluator::integer_arithmetic(Operator op, std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    bool wraps = false;
    switch (op) {
    case Operator::Add:
        wraps = __builtin_add_overflow(a, b, &result);
        break;
    case Operator::Subtract:
        wraps = __builtin_sub_overflow(a, b, &result);
        break;
    case Operator::Multiply:
        wraps = __builtin_mul_overflow(a, b, &result);
        break;
    case Operator::Power:
        result = 1;
        for (std::int64_t i = 0; i < b && !wraps && a != 1 && !(a == 0 && i > 0); ++i) {
            TRY(spend(1));
            wraps = __builtin_mul_overflow(result, a, &result);
        }
        break;
    default:
        if (b == -1) { // the one quotient that can wrap
            wraps = a == std::numeric_limits<std::int64_t>::min() && op == Operator::FloorDivide;
            result = op == Operator::FloorDivide && !wraps ? -a : 0;
            break;
        }
        result = op == Operator::FloorDivide ? a / b : a % b;
        if (a % b != 0 && (a < 0) != (b < 0)) {
            result += op == Operator::FloorDivide ? -1 : b;
        }
        break;
    }
    return wraps ? Result<Value>(overflow()) : Result<Value>(Value::integer(result));
}

Result<Text> Evaluator::text_of(const Value& value) {
    if (value.is_string()) {
        return value.text();
    }
    Text text;
    TRY(print(value, text, m_heap));
    return text;
}

Result<std::vector<Value>> Evaluator::items_of(const Value& value) {
    std::vector<Value> items;
    if (value.is_undefined()) {
        return items;
    }
    if (const List* list = value.list()) {
        TRY(spend(list->items.size() / 8));
        items = list->items;
    } else if (const Dict* dict = value.dict()) {
        TRY(spend(dict->entries.size() / 8));
        for (const auto& entry : dict->entries) {
            items.push_back(entry.first);
        }
    } else if (value.is_string()) {
        const Text& text = value.text();
        TRY(spend(text.size()));
        Characters characters(text);
        while (characters.next()) {
            items.push_back(TRY(m_heap.string(characters.bytes, characters.origin)));
        }
    } else {
        return template_error(fmt::format("a {} cannot be gone through", kind_name(value)));
    }
    return items;
}

} // namespace hs::jinja
