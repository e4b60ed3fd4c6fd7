#pragma once
// Walks a template's tree. Every step, byte and second is counted against limits, and so is the
// stack that the walk itself takes.

#include "engine/text/chat_template.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/syntax.h"

#include <chrono>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hs::jinja {

// The names that one body sees, and the body around it.
struct Scope {
    Scope* parent = nullptr;
    std::vector<std::pair<std::string_view, Value>> names;
    bool captured = false; // a macro was written here and may look into it later

    Value* find(std::string_view name);
    void set(std::string_view name, Value value);
};

class Evaluator {
public:
    explicit Evaluator(const TemplateLimits& limits);

    // The variables are set first, by name; then the template is run once.
    Heap& heap() { return m_heap; }
    void set_variable(std::string_view name, Value value);
    // Errors: InvalidArgument when the template raises, Corrupt, Unsupported; all with the line.
    Result<Text> run(const Body& body);

    // For the built-ins.
    Result<void> spend(std::size_t steps);
    Result<void> spend_bytes(std::size_t bytes) { return spend(bytes / 1024); }
    Result<std::vector<Value>> items_of(const Value& value);
    Result<Value> item(const Value& base, const Value& key);
    Result<Value> attribute(const Value& base, std::string_view name, const std::string* missing);
    Result<Value> add(const Value& a, const Value& b);
    Result<bool> contains(const Value& container, const Value& value);
    Result<bool> compare(Operator op, const Value& a, const Value& b);
    Result<Value> string(std::string_view bytes) { return m_heap.string(bytes, Origin::Template); }
    // The value as str() prints it.
    Result<Text> text_of(const Value& value);
    const TemplateLimits& limits() const { return m_limits; }

private:
    enum class Flow { Next, Break, Continue };
    class Nested; // a scope for the time of a block

    Result<Flow> execute(const Body& body);
    Result<Flow> execute(const Statement& node);
    Result<Flow> execute_if(const Statement& node);
    Result<Flow> execute_for(const Statement& node);
    Result<Flow> execute_with(const Statement& node);
    Result<void> execute_call_block(const Statement& node);
    Result<Value> capture(const Body& body);
    Result<void> assign(const Expression& target, const Value& value);
    Result<Function*> make_macro(const Statement& node);

    Result<Value> evaluate(const Expression& node);
    Result<Value> evaluate_name(const Expression& node);
    Result<Value> evaluate_list(const Expression& node);
    Result<Value> evaluate_dict(const Expression& node);
    Result<Value> evaluate_slice(const Expression& node);
    Result<Value> evaluate_call(const Expression& node);
    Result<Value> evaluate_filter(const Expression& node, const Value& input);
    Result<Value> evaluate_filter_chain(const Expression& node, const Value& input);
    Result<Value> evaluate_test(const Expression& node);
    Result<Value> evaluate_sign(const Expression& node);
    Result<Value> evaluate_concatenation(const Expression& node);
    Result<Value> evaluate_comparison(const Expression& node);
    Result<Value> evaluate_binary(const Expression& node);
    Result<Value> evaluate_part(const Expression& node, std::size_t part);
    Result<Value> arithmetic(Operator op, const Value& a, const Value& b);
    Result<Value> integer_arithmetic(Operator op, std::int64_t a, std::int64_t b);
    Result<Value> repeat(const Value& value, std::int64_t times);
    Result<Arguments> evaluate_arguments(const Expression& node);
    Result<Value> call(const Value& callee, const Arguments& arguments);
    Result<Value> call_macro(const Function& function, const Arguments& arguments);
    Result<void> enter(int line);

    Error undefined_error(const Value& value, std::string_view use) const;

    TemplateLimits m_limits;
    Heap m_heap;
    std::deque<Scope> m_scopes;
    std::vector<Scope*> m_free;
    Scope m_variables;
    Scope* m_scope = nullptr;
    Text* m_output = nullptr;
    std::size_t m_steps = 0;
    std::size_t m_next_clock = 0;
    std::chrono::steady_clock::time_point m_begin;
    const char* m_stack = nullptr;
    int m_line = 1;
    int m_calls = 0;
};

} // namespace hs::jinja
