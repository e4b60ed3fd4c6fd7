#pragma once
// The values of the template language: what Python's values do in templates, with the origin of
// every string kept. Lists, dicts and namespaces have reference semantics and live as long as one
// rendering; a Heap owns them and counts the bytes.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/text/jinja/text.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace hs::jinja {

struct List;
struct Dict;
struct Namespace;
struct Function;
struct Loop;
struct Statement;
struct Scope;

// A name or key that was not there; prints as nothing, and most uses of it are errors.
struct Undefined {
    const std::string* name = nullptr; // of the template's tree, for the error message
};
struct None {};

using TextPtr = std::shared_ptr<const Text>;

class Value {
public:
    Value() = default;
    Value(Undefined value)
        : m_state(value) {}
    Value(None value)
        : m_state(value) {}
    Value(TextPtr value)
        : m_state(std::move(value)) {}
    Value(List* value)
        : m_state(value) {}
    Value(Dict* value)
        : m_state(value) {}
    Value(Namespace* value)
        : m_state(value) {}
    Value(Function* value)
        : m_state(value) {}
    Value(Loop* value)
        : m_state(value) {}
    static Value boolean(bool value) { return Value(State(value)); }
    static Value integer(std::int64_t value) { return Value(State(value)); }
    static Value real(double value) { return Value(State(value)); }

    bool is_undefined() const { return holds<Undefined>(); }
    bool is_none() const { return holds<None>(); }
    bool is_boolean() const { return holds<bool>(); }
    bool is_integer() const { return holds<std::int64_t>(); } // not for booleans
    bool is_real() const { return holds<double>(); }
    bool is_number() const { return is_boolean() || is_integer() || is_real(); }
    bool is_string() const { return holds<TextPtr>(); }

    bool as_boolean() const { return std::get<bool>(m_state); }
    double as_real() const { return std::get<double>(m_state); }
    const Text& text() const { return *std::get<TextPtr>(m_state); }
    const TextPtr& text_ptr() const { return std::get<TextPtr>(m_state); }
    const std::string* missing_name() const { return std::get<Undefined>(m_state).name; }

    // The object, or nullptr when the value is of another kind.
    List* list() const { return pointer<List>(); }
    Dict* dict() const { return pointer<Dict>(); }
    Namespace* name_space() const { return pointer<Namespace>(); }
    Function* function() const { return pointer<Function>(); }
    Loop* loop() const { return pointer<Loop>(); }

    // Integers and booleans as an integer, as Python counts them; empty for others.
    std::optional<std::int64_t> whole() const;
    // Any number; the caller has asked is_number.
    double number() const;

private:
    using State = std::variant<Undefined, None, bool, std::int64_t, double, TextPtr, List*, Dict*,
                               Namespace*, Function*, Loop*>;
    explicit Value(State state)
        : m_state(std::move(state)) {}
    template <class T>
    bool holds() const {
        return std::holds_alternative<T>(m_state);
    }
    template <class T>
    T* pointer() const {
        T* const* held = std::get_if<T*>(&m_state);
        return held ? *held : nullptr;
    }
    State m_state;
};

struct List {
    std::vector<Value> items;
    bool tuple = false;
    Origin origin = Origin::Template; // Input when it came from a variable: then so does its print
};

// Keeps the order of insertion.
struct Dict {
    std::vector<std::pair<Value, Value>> entries;
    Origin origin = Origin::Template;

    const Value* find(const Value& key) const;
    const Value* find(std::string_view key) const;
    void set(const Value& key, Value value);
    bool erase(const Value& key);
    void clear();

private:
    static constexpr std::size_t kIndexFrom = 8; // below, looking through is faster
    std::size_t position(const Value& key) const;
    std::size_t position(std::string_view key) const;
    void reindex();
    std::unordered_map<std::string_view, std::size_t> m_index; // of string keys
};

struct Namespace {
    Dict names;
};

// What can be called. The evaluator knows what the kinds do.
struct Function {
    enum class Kind { Global, Method, Macro };
    Kind kind = Kind::Global;
    std::string name;
    Value self;                       // of a method
    const Statement* macro = nullptr; // a macro, or the block of a call
    Scope* scope = nullptr;           // where the macro was written
};

// The variable "loop".
struct Loop {
    std::vector<Value> items;
    std::size_t index = 0;
    bool seen = false; // whether changed() was asked, and with what
    std::vector<Value> last_seen;
};

// Owns what one rendering makes, and fails rather than grow beyond a limit.
class Heap {
public:
    Heap(std::size_t string_bytes, std::size_t total_bytes)
        : m_string_bytes(string_bytes)
        , m_total_bytes(total_bytes)
        , m_live(std::make_shared<std::size_t>(0)) {}

    // Errors: Corrupt when the text or all texts together are too long.
    Result<Value> string(Text text);
    Result<Value> string(std::string_view bytes, Origin origin);
    Result<void> check_length(std::size_t bytes) const;
    List* list(bool tuple = false);
    Dict* dict();
    Namespace* name_space();
    Function* function(Function function);
    Loop* loop();
    // To be called with the number of elements added to a list or dict.
    Result<void> grow(std::size_t elements);

    std::size_t string_bytes() const { return m_string_bytes; }

private:
    std::size_t m_string_bytes;
    std::size_t m_total_bytes;
    std::shared_ptr<std::size_t> m_live; // bytes of texts that are alive, and of all elements
    std::deque<List> m_lists;
    std::deque<Dict> m_dicts;
    std::deque<Namespace> m_namespaces;
    std::deque<Function> m_functions;
    std::deque<Loop> m_loops;
};

// A failed operation, as the person who wrote the template would want to read it.
Error template_error(std::string what);

// "string", "mapping", "integer" ... for messages.
const char* kind_name(const Value& value);

bool truth(const Value& value);
// Python's ==. Nested deeper than a fixed limit counts as different.
bool equal(const Value& a, const Value& b);
// Negative, zero or positive. Errors: Corrupt when the kinds have no order.
Result<int> order(const Value& a, const Value& b, int depth = 0);
// What can be a key of a dict.
bool hashable(const Value& value);

// Python's str() and repr(), appended. Errors: Corrupt when too long or nested too deeply.
Result<void> print(const Value& value, Text& out, const Heap& heap);
Result<void> print_repr(const Value& value, Text& out, const Heap& heap, int depth = 0);
std::string print_real(double value);

// json.dumps with Python's defaults.
struct JsonStyle {
    bool ascii = false;
    bool sort_keys = false;
    std::optional<std::string> indent;
    std::optional<std::string> item_separator;
    std::optional<std::string> key_separator;
};
Result<void> print_json(const Value& value, const JsonStyle& style, Text& out, const Heap& heap,
                        int depth = 0);

// Errors: InvalidArgument when nested too deeply.
Result<Value> from_json(const Json& json, Origin origin, Heap& heap, int depth = 0);

} // namespace hs::jinja
