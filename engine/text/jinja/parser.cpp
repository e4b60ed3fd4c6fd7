#include "engine/text/jinja/parser.h"

#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <limits>

namespace hs::jinja {

namespace {

// Trees deeper than this are refused, so that walking them fits any thread's stack.
constexpr int kMaxDepth = 120;

using Kind = Expression::Kind;

class Parser {
public:
    explicit Parser(std::vector<Token> tokens)
        : m_tokens(std::move(tokens)) {}

    Result<Body> run() {
        Body body;
        TRY(statements(body, {}));
        return body;
    }

private:
    // Depth of the parser's own recursion.
    class Level {
    public:
        explicit Level(int& depth)
            : m_depth(depth) {
            ++m_depth;
        }
        ~Level() { --m_depth; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;

    private:
        int& m_depth;
    };

    const Token& peek(std::size_t ahead = 0) const {
        return m_tokens[std::min(m_at + ahead, m_tokens.size() - 1)];
    }
    bool at_operator(std::string_view op) const {
        return peek().kind == Token::Kind::Operator && peek().text == op;
    }
    bool at_name(std::string_view name) const {
        return peek().kind == Token::Kind::Name && peek().text == name;
    }
    bool skip_name(std::string_view name) {
        if (!at_name(name)) {
            return false;
        }
        ++m_at;
        return true;
    }

    Error failed(const std::string& what) const {
        return {ErrorCode::Corrupt, fmt::format("template line {}: {}", peek().line, what), {}};
    }
    Error unsupported(const std::string& what) const {
        return {ErrorCode::Unsupported,
                fmt::format("template line {}: {} is not supported", peek().line, what),
                {}};
    }
    std::string found() const {
        switch (peek().kind) {
        case Token::Kind::Text:
            return "text";
        case Token::Kind::BlockBegin:
            return "the begin of a block";
        case Token::Kind::BlockEnd:
            return "the end of the block";
        case Token::Kind::OutputBegin:
            return "the begin of an output";
        case Token::Kind::OutputEnd:
            return "the end of the output";
        case Token::Kind::End:
            return "the end of the template";
        default:
            return "'" + peek().text + "'";
        }
    }

    Result<void> expect_operator(std::string_view op) {
        if (!at_operator(op)) {
            return failed(fmt::format("expected '{}', found {}", op, found()));
        }
        ++m_at;
        return {};
    }
    Result<void> expect(Token::Kind kind, const char* what) {
        if (peek().kind != kind) {
            return failed(fmt::format("expected {}, found {}", what, found()));
        }
        ++m_at;
        return {};
    }
    Result<std::string> expect_name() {
        if (peek().kind != Token::Kind::Name) {
            return failed(fmt::format("expected a name, found {}", found()));
        }
        return m_tokens[m_at++].text;
    }

    ExpressionPtr make(Kind kind) const {
        auto node = std::make_unique<Expression>();
        node->kind = kind;
        node->line = peek().line;
        return node;
    }

    // Measures the tree below a node that is complete.
    Result<ExpressionPtr> done(ExpressionPtr node) const {
        int depth = 0;
        for (const ExpressionPtr& part : node->parts) {
            depth = std::max(depth, part ? part->depth : 0);
        }
        for (const Argument& argument : node->arguments) {
            depth = std::max(depth, argument.value->depth);
        }
        node->depth = depth + 1;
        if (node->depth > kMaxDepth) {
            return failed("an expression is nested too deeply");
        }
        return node;
    }

    // ---- statements

    // Up to the block that begins with one of the names in `ends`; stands at that name after.
    Result<void> statements(Body& body, const std::vector<std::string_view>& ends) {
        const Level level(m_depth);
        if (m_depth > kMaxDepth) {
            return failed("blocks are nested too deeply");
        }
        for (;;) {
            const Token& token = peek();
            switch (token.kind) {
            case Token::Kind::End:
                if (!ends.empty()) {
                    return failed(
                        fmt::format("expected '{}', found the end of the template", ends.back()));
                }
                return {};
            case Token::Kind::Text: {
                auto text = std::make_unique<Statement>();
                text->kind = Statement::Kind::Text;
                text->line = token.line;
                text->text = Text(token.text, Origin::Template);
                body.push_back(std::move(text));
                ++m_at;
                break;
            }
            case Token::Kind::OutputBegin: {
                auto output = std::make_unique<Statement>();
                output->kind = Statement::Kind::Output;
                output->line = token.line;
                ++m_at;
                output->expression = TRY(tuple(true));
                TRY(expect(Token::Kind::OutputEnd, "the end of the output"));
                body.push_back(std::move(output));
                break;
            }
            case Token::Kind::BlockBegin: {
                ++m_at;
                const Token& name = peek();
                if (name.kind == Token::Kind::Name &&
                    std::find(ends.begin(), ends.end(), name.text) != ends.end()) {
                    return {};
                }
                body.push_back(TRY(block()));
                break;
            }
            default:
                return failed(fmt::format("unexpected {}", found()));
            }
        }
    }

    // The body of a block up to "{% end %}", the end tag included.
    Result<void> body_until(Body& body, std::string_view end) {
        TRY(expect(Token::Kind::BlockEnd, "the end of the block"));
        TRY(statements(body, {end}));
        ++m_at;
        return {};
    }

    // The body of something that is called: no loop around it can be left from inside.
    Result<void> closed_body(Statement& node, std::string_view end) {
        const std::size_t loops = std::exchange(m_loops, 0);
        TRY(body_until(node.body, end));
        m_loops = loops;
        return {};
    }

    Result<std::unique_ptr<Statement>> block() {
        const std::string keyword = TRY(expect_name());
        auto node = std::make_unique<Statement>();
        node->line = peek().line;
        if (keyword == "if") {
            TRY(if_block(*node));
        } else if (keyword == "for") {
            TRY(for_block(*node));
        } else if (keyword == "set") {
            TRY(set_block(*node));
        } else if (keyword == "macro") {
            node->kind = Statement::Kind::Macro;
            node->name = TRY(expect_name());
            TRY(expect_operator("("));
            TRY(parameters(*node));
            TRY(closed_body(*node, "endmacro"));
        } else if (keyword == "call") {
            node->kind = Statement::Kind::CallBlock;
            if (at_operator("(")) {
                ++m_at;
                TRY(parameters(*node));
            }
            node->expression = TRY(expression(true));
            if (node->expression->kind != Kind::Call) {
                return failed("a call block needs a call");
            }
            TRY(closed_body(*node, "endcall"));
        } else if (keyword == "filter") {
            node->kind = Statement::Kind::FilterBlock;
            node->expression = TRY(filter(nullptr));
            while (at_operator("|")) {
                ++m_at;
                node->expression = TRY(filter(std::move(node->expression)));
            }
            TRY(body_until(node->body, "endfilter"));
        } else if (keyword == "with") {
            TRY(with_block(*node));
        } else if (keyword == "generation") {
            node->kind = Statement::Kind::Scope;
            TRY(closed_body(*node, "endgeneration"));
        } else if (keyword == "break" || keyword == "continue") {
            if (m_loops == 0) {
                return failed(fmt::format("'{}' outside of a loop", keyword));
            }
            node->kind = keyword == "break" ? Statement::Kind::Break : Statement::Kind::Continue;
        } else {
            --m_at;
            static constexpr std::string_view kOthers[] = {
                "include", "import", "from", "extends", "block", "autoescape", "do", "trans"};
            return std::find(std::begin(kOthers), std::end(kOthers), keyword) != std::end(kOthers)
                       ? unsupported(fmt::format("the statement '{}'", keyword))
                       : failed(fmt::format("unexpected statement '{}'", keyword));
        }
        TRY(expect(Token::Kind::BlockEnd, "the end of the block"));
        return node;
    }

    Result<void> if_block(Statement& node) {
        node.kind = Statement::Kind::If;
        for (;;) {
            ExpressionPtr condition = TRY(tuple(false));
            TRY(expect(Token::Kind::BlockEnd, "the end of the block"));
            Body body;
            TRY(statements(body, {"elif", "else", "endif"}));
            node.branches.emplace_back(std::move(condition), std::move(body));
            if (skip_name("elif")) {
                continue;
            }
            if (skip_name("else")) {
                return body_until(node.otherwise, "endif");
            }
            ++m_at; // endif
            return {};
        }
    }

    Result<void> for_block(Statement& node) {
        node.kind = Statement::Kind::For;
        node.target = TRY(target());
        if (!skip_name("in")) {
            return failed(fmt::format("expected 'in', found {}", found()));
        }
        node.expression = TRY(tuple(false));
        if (skip_name("if")) {
            node.condition = TRY(expression(true));
        }
        if (at_name("recursive")) {
            return unsupported("a recursive loop");
        }
        TRY(expect(Token::Kind::BlockEnd, "the end of the block"));
        ++m_loops;
        TRY(statements(node.body, {"else", "endfor"}));
        --m_loops;
        if (skip_name("else")) {
            return body_until(node.otherwise, "endfor");
        }
        ++m_at; // endfor
        return {};
    }

    Result<void> set_block(Statement& node) {
        node.target = TRY(target());
        if (at_operator("=")) {
            ++m_at;
            node.kind = Statement::Kind::Set;
            node.expression = TRY(tuple(true));
            return {};
        }
        node.kind = Statement::Kind::SetBlock;
        while (at_operator("|")) {
            ++m_at;
            node.expression = TRY(filter(std::move(node.expression)));
        }
        return body_until(node.body, "endset");
    }

    Result<void> with_block(Statement& node) {
        node.kind = Statement::Kind::With;
        while (peek().kind != Token::Kind::BlockEnd) {
            ExpressionPtr name = TRY(target());
            TRY(expect_operator("="));
            ExpressionPtr value = TRY(expression(true));
            node.bindings.emplace_back(std::move(name), std::move(value));
            if (!at_operator(",")) {
                break;
            }
            ++m_at;
        }
        return body_until(node.body, "endwith");
    }

    // After the opening bracket, up to and with the closing one.
    Result<void> parameters(Statement& node) {
        while (!at_operator(")")) {
            Parameter parameter;
            parameter.name = TRY(expect_name());
            if (at_operator("=")) {
                ++m_at;
                parameter.fallback = TRY(expression(true));
            } else if (!node.parameters.empty() && node.parameters.back().fallback) {
                return failed("a parameter without a default follows one with a default");
            }
            node.parameters.push_back(std::move(parameter));
            if (!at_operator(",")) {
                break;
            }
            ++m_at;
        }
        return expect_operator(")");
    }

    // What can be assigned to: a name, names, or an attribute of a namespace.
    Result<ExpressionPtr> target() {
        ExpressionPtr node = TRY(one_target());
        if (!at_operator(",")) {
            return node;
        }
        ExpressionPtr all = make(Kind::Tuple);
        all->parts.push_back(std::move(node));
        while (at_operator(",")) {
            ++m_at;
            if (peek().kind != Token::Kind::Name && !at_operator("(")) {
                break;
            }
            if (at_name("in")) {
                break;
            }
            all->parts.push_back(TRY(one_target()));
        }
        return done(std::move(all));
    }

    Result<ExpressionPtr> one_target() {
        const Level level(m_depth);
        if (m_depth > kMaxDepth) {
            return failed("an expression is nested too deeply");
        }
        if (at_operator("(")) {
            ++m_at;
            ExpressionPtr inner = TRY(target());
            TRY(expect_operator(")"));
            return inner;
        }
        ExpressionPtr node = make(Kind::Name);
        node->name = TRY(expect_name());
        if (is_constant_name(node->name)) {
            return failed(fmt::format("cannot assign to '{}'", node->name));
        }
        if (at_operator(".")) {
            ++m_at;
            ExpressionPtr attribute = make(Kind::Attribute);
            attribute->name = TRY(expect_name());
            attribute->parts.push_back(std::move(node));
            return done(std::move(attribute));
        }
        return node;
    }

    static bool is_constant_name(std::string_view name) {
        return name == "true" || name == "True" || name == "false" || name == "False" ||
               name == "none" || name == "None";
    }

    // ---- expressions, loosest binding first

    // One expression, or several with commas between them. conditional: "a if b" is taken too.
    Result<ExpressionPtr> tuple(bool conditional) {
        ExpressionPtr first = TRY(expression(conditional));
        if (!at_operator(",")) {
            return first;
        }
        ExpressionPtr node = make(Kind::Tuple);
        node->parts.push_back(std::move(first));
        while (at_operator(",")) {
            ++m_at;
            const Token::Kind next = peek().kind;
            if (next == Token::Kind::BlockEnd || next == Token::Kind::OutputEnd ||
                at_operator(")") || at_operator("]") || at_operator("=")) {
                break;
            }
            node->parts.push_back(TRY(expression(conditional)));
        }
        return done(std::move(node));
    }

    Result<ExpressionPtr> expression(bool conditional) {
        const Level level(m_depth);
        if (m_depth > kMaxDepth) {
            return failed("an expression is nested too deeply");
        }
        ExpressionPtr node = TRY(binary(0));
        while (conditional && skip_name("if")) {
            ExpressionPtr choice = make(Kind::Conditional);
            choice->parts.push_back(std::move(node));
            choice->parts.push_back(TRY(binary(0)));
            choice->parts.push_back(skip_name("else") ? TRY(expression(true)) : nullptr);
            node = TRY(done(std::move(choice)));
        }
        return node;
    }

    // Levels of binding: or, and, not, comparison, + -, ~, * / // %, **.
    Result<ExpressionPtr> binary(int level) {
        switch (level) {
        case 0:
            return logical(Kind::Or, "or", level);
        case 1:
            return logical(Kind::And, "and", level);
        case 2:
            return negation();
        case 3:
            return comparison();
        case 5:
            return concatenation();
        case 8:
            return unary(true);
        default:
            return arithmetic(level);
        }
    }

    Result<ExpressionPtr> logical(Kind kind, std::string_view name, int level) {
        ExpressionPtr node = TRY(binary(level + 1));
        while (skip_name(name)) {
            ExpressionPtr both = make(kind);
            both->parts.push_back(std::move(node));
            both->parts.push_back(TRY(binary(level + 1)));
            node = TRY(done(std::move(both)));
        }
        return node;
    }

    Result<ExpressionPtr> negation() {
        std::vector<ExpressionPtr> nots;
        while (at_name("not")) {
            nots.push_back(make(Kind::Not));
            ++m_at;
        }
        ExpressionPtr node = TRY(comparison());
        while (!nots.empty()) {
            nots.back()->parts.push_back(std::move(node));
            node = TRY(done(std::move(nots.back())));
            nots.pop_back();
        }
        return node;
    }

    Result<ExpressionPtr> comparison() {
        ExpressionPtr node = TRY(binary(4));
        ExpressionPtr chain;
        for (;;) {
            Operator op{};
            std::size_t length = 1;
            if (peek().kind == Token::Kind::Operator) {
                static constexpr std::pair<std::string_view, Operator> kOperators[] = {
                    {"==", Operator::Equal},  {"!=", Operator::NotEqual},
                    {"<", Operator::Less},    {"<=", Operator::LessEqual},
                    {">", Operator::Greater}, {">=", Operator::GreaterEqual}};
                const auto* row =
                    std::find_if(std::begin(kOperators), std::end(kOperators),
                                 [&](const auto& entry) { return entry.first == peek().text; });
                if (row == std::end(kOperators)) {
                    break;
                }
                op = row->second;
            } else if (at_name("in")) {
                op = Operator::In;
            } else if (at_name("not") && peek(1).kind == Token::Kind::Name &&
                       peek(1).text == "in") {
                op = Operator::NotIn;
                length = 2;
            } else {
                break;
            }
            if (!chain) {
                chain = make(Kind::Compare);
                chain->parts.push_back(std::move(node));
            }
            m_at += length;
            chain->operators.push_back(op);
            chain->parts.push_back(TRY(binary(4)));
        }
        return chain ? done(std::move(chain)) : Result<ExpressionPtr>(std::move(node));
    }

    Result<ExpressionPtr> concatenation() {
        ExpressionPtr node = TRY(binary(6));
        if (!at_operator("~")) {
            return node;
        }
        ExpressionPtr all = make(Kind::Concatenate);
        all->parts.push_back(std::move(node));
        while (at_operator("~")) {
            ++m_at;
            all->parts.push_back(TRY(binary(6)));
        }
        return done(std::move(all));
    }

    Result<ExpressionPtr> arithmetic(int level) {
        struct Row {
            int level;
            std::string_view text;
            Operator op;
        };
        static constexpr Row kRows[] = {
            {4, "+", Operator::Add},          {4, "-", Operator::Subtract},
            {6, "*", Operator::Multiply},     {6, "/", Operator::Divide},
            {6, "//", Operator::FloorDivide}, {6, "%", Operator::Modulo},
            {7, "**", Operator::Power}};
        ExpressionPtr node = TRY(binary(level + 1));
        for (;;) {
            const auto* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) {
                return r.level == level && at_operator(r.text);
            });
            if (row == std::end(kRows)) {
                return node;
            }
            ExpressionPtr both = make(Kind::Binary);
            ++m_at;
            both->operators.push_back(row->op);
            both->parts.push_back(std::move(node));
            both->parts.push_back(TRY(binary(level + 1)));
            node = TRY(done(std::move(both)));
        }
    }

    Result<ExpressionPtr> unary(bool with_filters) {
        const Level level(m_depth);
        if (m_depth > kMaxDepth) {
            return failed("an expression is nested too deeply");
        }
        ExpressionPtr node;
        if (at_operator("-") || at_operator("+")) {
            node = make(at_operator("-") ? Kind::Negative : Kind::Positive);
            ++m_at;
            node->parts.push_back(TRY(unary(false)));
            node = TRY(done(std::move(node)));
        } else {
            node = TRY(primary());
        }
        node = TRY(postfix(std::move(node)));
        return with_filters ? filters_and_tests(std::move(node))
                            : Result<ExpressionPtr>(std::move(node));
    }

    Result<ExpressionPtr> primary() {
        const Token& token = peek();
        switch (token.kind) {
        case Token::Kind::Name:
            return name_or_constant();
        case Token::Kind::String: {
            ExpressionPtr node = make(Kind::Constant);
            std::string text;
            while (peek().kind == Token::Kind::String) {
                text += m_tokens[m_at++].text;
            }
            node->constant = Value(std::make_shared<const Text>(text, Origin::Template));
            return node;
        }
        case Token::Kind::Integer:
            return integer();
        case Token::Kind::Real: {
            ExpressionPtr node = make(Kind::Constant);
            std::string digits = token.text;
            digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
            double value = 0.0;
            const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
            if (read.ec == std::errc::result_out_of_range) {
                return failed("a number is out of range");
            }
            node->constant = Value::real(value);
            ++m_at;
            return node;
        }
        case Token::Kind::Operator:
            if (token.text == "(") {
                ++m_at;
                if (at_operator(")")) {
                    ExpressionPtr empty = make(Kind::Tuple);
                    ++m_at;
                    return empty;
                }
                ExpressionPtr inner = TRY(tuple(true));
                TRY(expect_operator(")"));
                return inner;
            }
            if (token.text == "[") {
                return list();
            }
            if (token.text == "{") {
                return dict();
            }
            [[fallthrough]];
        default:
            return failed(fmt::format("expected an expression, found {}", found()));
        }
    }

    Result<ExpressionPtr> name_or_constant() {
        ExpressionPtr node = make(Kind::Constant);
        const std::string& name = peek().text;
        if (name == "true" || name == "True") {
            node->constant = Value::boolean(true);
        } else if (name == "false" || name == "False") {
            node->constant = Value::boolean(false);
        } else if (name == "none" || name == "None") {
            node->constant = Value(None{});
        } else {
            static constexpr std::string_view kKeywords[] = {"if", "else", "elif", "and",
                                                             "or", "not",  "in",   "is"};
            if (std::find(std::begin(kKeywords), std::end(kKeywords), name) !=
                std::end(kKeywords)) {
                return failed(fmt::format("expected an expression, found {}", found()));
            }
            node->kind = Kind::Name;
            node->name = name;
        }
        ++m_at;
        return node;
    }

    Result<ExpressionPtr> integer() {
        ExpressionPtr node = make(Kind::Constant);
        std::string digits = peek().text;
        digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
        int base = 10;
        if (digits.size() > 2 && digits[0] == '0' && (digits[1] < '0' || digits[1] > '9')) {
            const char kind = static_cast<char>(digits[1] | 0x20);
            base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
            digits.erase(0, 2);
        }
        std::int64_t value = 0;
        const char* const end = digits.data() + digits.size();
        const auto read = std::from_chars(digits.data(), end, value, base);
        if (read.ec != std::errc() || read.ptr != end) {
            return failed(fmt::format("'{}' is no integer of 64 bits", peek().text));
        }
        node->constant = Value::integer(value);
        ++m_at;
        return node;
    }

    Result<ExpressionPtr> list() {
        ExpressionPtr node = make(Kind::List);
        ++m_at;
        while (!at_operator("]")) {
            node->parts.push_back(TRY(expression(true)));
            if (!at_operator(",")) {
                break;
            }
            ++m_at;
        }
        TRY(expect_operator("]"));
        return done(std::move(node));
    }

    Result<ExpressionPtr> dict() {
        ExpressionPtr node = make(Kind::Dict);
        ++m_at;
        while (!at_operator("}")) {
            node->parts.push_back(TRY(expression(true)));
            TRY(expect_operator(":"));
            node->parts.push_back(TRY(expression(true)));
            if (!at_operator(",")) {
                break;
            }
            ++m_at;
        }
        TRY(expect_operator("}"));
        return done(std::move(node));
    }

    Result<ExpressionPtr> postfix(ExpressionPtr node) {
        for (;;) {
            if (at_operator(".")) {
                node = TRY(attribute(std::move(node)));
            } else if (at_operator("[")) {
                node = TRY(subscript(std::move(node)));
            } else if (at_operator("(")) {
                node = TRY(call(std::move(node)));
            } else {
                return node;
            }
        }
    }

    Result<ExpressionPtr> attribute(ExpressionPtr base) {
        ++m_at;
        ExpressionPtr node = make(Kind::Attribute);
        if (peek().kind == Token::Kind::Integer) {
            node->kind = Kind::Item;
            node->parts.push_back(std::move(base));
            node->parts.push_back(TRY(integer()));
        } else {
            node->name = TRY(expect_name());
            node->parts.push_back(std::move(base));
        }
        return done(std::move(node));
    }

    Result<ExpressionPtr> subscript(ExpressionPtr base) {
        ExpressionPtr node = make(Kind::Item);
        ++m_at;
        node->parts.push_back(std::move(base));
        ExpressionPtr first;
        if (!at_operator(":")) {
            first = TRY(tuple(true));
        }
        if (!at_operator(":")) {
            node->parts.push_back(std::move(first));
            TRY(expect_operator("]"));
            return done(std::move(node));
        }
        node->kind = Kind::Slice;
        node->parts.push_back(std::move(first));
        for (int i = 0; i < 2; ++i) {
            ExpressionPtr bound;
            if (at_operator(":")) {
                ++m_at;
                if (!at_operator(":") && !at_operator("]")) {
                    bound = TRY(expression(true));
                }
            }
            node->parts.push_back(std::move(bound));
        }
        TRY(expect_operator("]"));
        return done(std::move(node));
    }

    Result<ExpressionPtr> call(ExpressionPtr base) {
        ExpressionPtr node = make(Kind::Call);
        node->parts.push_back(std::move(base));
        TRY(arguments(*node));
        return done(std::move(node));
    }

    // From the opening bracket on.
    Result<void> arguments(Expression& node) {
        ++m_at;
        bool named = false;
        while (!at_operator(")")) {
            Argument argument;
            if (at_operator("*") || at_operator("**")) {
                argument.spread = at_operator("*") ? Spread::List : Spread::Dict;
                ++m_at;
            } else if (peek().kind == Token::Kind::Name && peek(1).kind == Token::Kind::Operator &&
                       peek(1).text == "=") {
                argument.name = peek().text;
                m_at += 2;
                named = true;
            } else if (named) {
                return failed("a positional argument follows a named one");
            }
            argument.value = TRY(expression(true));
            node.arguments.push_back(std::move(argument));
            if (!at_operator(",")) {
                break;
            }
            ++m_at;
        }
        return expect_operator(")");
    }

    Result<ExpressionPtr> filters_and_tests(ExpressionPtr node) {
        for (;;) {
            if (at_operator("|")) {
                ++m_at;
                node = TRY(filter(std::move(node)));
            } else if (at_name("is")) {
                node = TRY(test(std::move(node)));
            } else if (at_operator("(")) {
                node = TRY(call(std::move(node)));
            } else {
                return node;
            }
        }
    }

    // The name of a filter and its arguments; base is null at the begin of a filter block.
    Result<ExpressionPtr> filter(ExpressionPtr base) {
        ExpressionPtr node = make(Kind::Filter);
        node->name = TRY(expect_name());
        node->parts.push_back(std::move(base));
        if (at_operator("(")) {
            TRY(arguments(*node));
        }
        return done(std::move(node));
    }

    Result<ExpressionPtr> test(ExpressionPtr base) {
        ++m_at; // is
        ExpressionPtr negated;
        if (at_name("not")) {
            negated = make(Kind::Not);
            ++m_at;
        }
        ExpressionPtr node = make(Kind::Test);
        node->name = TRY(expect_name());
        node->parts.push_back(std::move(base));
        const Token& next = peek();
        const bool names_a_value = next.kind == Token::Kind::Name && next.text != "else" &&
                                   next.text != "or" && next.text != "and" && next.text != "is" &&
                                   next.text != "if" && next.text != "in" && next.text != "not" &&
                                   next.text != "recursive";
        if (at_operator("(")) {
            TRY(arguments(*node));
        } else if (names_a_value || next.kind == Token::Kind::String ||
                   next.kind == Token::Kind::Integer || next.kind == Token::Kind::Real ||
                   at_operator("[") || at_operator("{")) {
            Argument argument;
            ExpressionPtr value = TRY(primary());
            argument.value = TRY(postfix(std::move(value)));
            node->arguments.push_back(std::move(argument));
        }
        node = TRY(done(std::move(node)));
        if (!negated) {
            return node;
        }
        negated->parts.push_back(std::move(node));
        return done(std::move(negated));
    }

    std::vector<Token> m_tokens;
    std::size_t m_at = 0;
    int m_depth = 0;
    std::size_t m_loops = 0;
};

} // namespace

Result<Body> parse(std::string_view source) {
    return Parser(TRY(tokenize(source))).run();
}

} // namespace hs::jinja
