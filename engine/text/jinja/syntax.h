#pragma once
// The template language as a tree. Plain values, made by parser.cpp, walked by evaluate.cpp; the
// depth of a tree is bounded where it is made, so that walks over it need no check of their own.

#include "engine/text/jinja/value.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hs::jinja {

enum class Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

// One argument of a call. Spread::List is "*value", Spread::Dict is "**value".
enum class Spread { None, List, Dict };
struct Argument {
    std::string name; // empty for a positional one
    ExpressionPtr value;
    Spread spread = Spread::None;
};

struct Expression {
    enum class Kind {
        Constant,    // constant
        Name,        // name
        List,        // parts
        Tuple,       // parts
        Dict,        // parts: key, value, key, value ...
        Attribute,   // parts[0] . name
        Item,        // parts[0] [ parts[1] ]
        Slice,       // parts[0] [ parts[1] : parts[2] : parts[3] ], each of the three may be null
        Call,        // parts[0] ( arguments )
        Filter,      // parts[0] | name ( arguments ); parts[0] is null in a filter block
        Test,        // parts[0] is name ( arguments )
        Not,         // parts[0]
        And,         // parts[0], parts[1]
        Or,          // parts[0], parts[1]
        Negative,    // parts[0]
        Positive,    // parts[0]
        Binary,      // parts[0] operators[0] parts[1]
        Concatenate, // parts
        Compare,     // parts[0] operators[0] parts[1] operators[1] parts[2] ...
        Conditional  // parts[0] if parts[1] else parts[2]; parts[2] may be null
    };

    Kind kind = Kind::Constant;
    int line = 0;
    int depth = 1; // of the tree below, itself included
    std::string name;
    Value constant;
    std::vector<ExpressionPtr> parts;
    std::vector<Operator> operators;
    std::vector<Argument> arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
    std::string name;
    ExpressionPtr fallback; // may be null
};

struct Statement {
    enum class Kind {
        Text,        // text
        Output,      // expression
        If,          // branches; body of the else branch in otherwise
        For,         // target in expression if condition: body, else otherwise
        Set,         // target = expression
        SetBlock,    // target = body, through expression (a chain of filters) if there is one
        Macro,       // name(parameters): body
        CallBlock,   // expression is the call, parameters and body the caller
        FilterBlock, // expression is the chain of filters
        With,        // target i = values i, seen in body
        Scope,       // body: a generation block
        Break,
        Continue
    };

    Kind kind = Kind::Text;
    int line = 0;
    Text text;
    std::string name;
    ExpressionPtr target; // Name, Tuple of Names, or Attribute of a Name
    ExpressionPtr expression;
    ExpressionPtr condition;
    std::vector<std::pair<ExpressionPtr, Body>> branches;
    std::vector<std::pair<ExpressionPtr, ExpressionPtr>> bindings;
    std::vector<Parameter> parameters;
    Body body;
    Body otherwise;
};

} // namespace hs::jinja
