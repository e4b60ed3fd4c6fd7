// Chat templates: the same text as Jinja2, and the person's words told from the markup.
// The goldens are made by tests/reference/make_template_goldens.py; with HS_TEMPLATE_CORPUS set to
// a folder of published templates that the script has been over, those are compared as well.

#include "engine/files/checkpoint.h"
#include "engine/text/chat_template.h"
#include "tests/support/tiny_gguf.h"

#include <QtTest>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace hs;

namespace {

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Json read_json(const std::filesystem::path& path) {
    const Result<Json> json = read_json_file(path);
    return json ? *json : Json();
}

const std::filesystem::path kData = std::filesystem::path(HS_TEST_DATA) / "data/chat_templates";

// The moment the goldens were made at: 2026-11-24 09:05:07, a Tuesday.
TemplateLimits golden_limits() {
    std::tm time{};
    time.tm_year = 126;
    time.tm_mon = 10;
    time.tm_mday = 24;
    time.tm_hour = 9;
    time.tm_min = 5;
    time.tm_sec = 7;
    time.tm_wday = 2;
    time.tm_yday = 327;
    TemplateLimits limits;
    limits.local_time = time;
    limits.seconds = 30.0; // the machine may be busy
    return limits;
}

std::string joined(const std::vector<TextSpan>& spans) {
    std::string text;
    for (const TextSpan& span : spans) {
        text += span.text;
    }
    return text;
}

struct Outcomes {
    int equal = 0;
    int refused = 0; // by both, as the template wants it
    int more = 0;    // Jinja2 fails over its own generators, which are lists here
    int differing = 0;
    std::string first; // difference
};

void compare_one(const std::string& where, const Result<std::vector<TextSpan>>& found,
                 const Json& expected, Outcomes& outcomes) {
    if (found && expected.contains("fails") &&
        expected["fails"].get<std::string>().find("generator") != std::string::npos) {
        ++outcomes.more;
        return;
    }
    const std::string text = found ? joined(*found) : found.error().what;
    const bool same = expected.contains("text")
                          ? found.ok() && text == expected["text"].get<std::string>()
                      : expected.contains("raises")
                          ? !found.ok() && found.error().code == ErrorCode::InvalidArgument &&
                                text.ends_with(expected["raises"].get<std::string>())
                          : !found.ok();
    if (!same) {
        ++outcomes.differing;
        const std::string difference = where + (found ? "\n  found    " : "\n  failed   ") +
                                       Json(text).dump() + "\n  expected " + expected.dump();
        if (outcomes.first.empty()) {
            outcomes.first = difference;
        }
        if (std::getenv("HS_TEMPLATE_VERBOSE")) {
            qWarning("%s", difference.c_str());
        }
    } else {
        ++(found ? outcomes.equal : outcomes.refused);
    }
}

Outcomes compare_folder(const std::filesystem::path& folder) {
    Outcomes outcomes;
    const Json goldens = read_json(folder / "goldens.json");
    const Json conversations = read_json(kData / "conversations.json");
    for (const auto& [file, expectations] : goldens.items()) {
        const Result<ChatTemplate> compiled = ChatTemplate::compile(read_text(folder / file));
        for (const auto& [name, written] : expectations.items()) {
            const std::string where = file + ", " + name;
            const Json& expected = written.contains("same")
                                       ? expectations[written["same"].get<std::string>()]
                                       : written;
            if (!compiled) {
                compare_one(where, compiled.error(), expected, outcomes);
            } else if (name != "*") { // "*": the reference could not read the template
                compare_one(where, compiled->render(conversations[name], golden_limits()), expected,
                            outcomes);
            }
        }
    }
    return outcomes;
}

// What a template makes of one user message, the person's words in angle quotes.
std::string marked(std::string_view source, const Json& variables) {
    const Result<ChatTemplate> compiled = ChatTemplate::compile(source);
    if (!compiled) {
        return compiled.error().text();
    }
    const auto spans = compiled->render(variables, golden_limits());
    if (!spans) {
        return spans.error().text();
    }
    std::string text;
    for (const TextSpan& span : *spans) {
        text += span.specials == Specials::Plain ? "\xc2\xab" + span.text + "\xc2\xbb" : span.text;
    }
    return text;
}

std::string marked_content(const std::string& source, const std::string& content) {
    return marked(source, Json{{"messages", {{{"role", "user"}, {"content", content}}}}});
}

Error error_of(std::string_view source, const TemplateLimits& limits = {}) {
    const Result<ChatTemplate> compiled = ChatTemplate::compile(source);
    if (!compiled) {
        return compiled.error();
    }
    const auto spans = compiled->render(Json::object(), limits);
    return spans ? Error{} : spans.error();
}

void check_error(std::string_view source, ErrorCode code, const std::string& part,
                 const TemplateLimits& limits = golden_limits()) {
    const Error error = error_of(source, limits);
    QVERIFY2(error.code == code && error.what.find(part) != std::string::npos,
             (std::string(source.substr(0, 100)) + ": " + to_string(error.code) + ", " + error.what)
                 .c_str());
}

// Every character of a person becomes a private one, so that it is known wherever it goes. Roles
// stay, and so do types and names that templates branch on.
Json in_private_letters(const Json& json, const std::string& key = {}) {
    if (json.is_object() || json.is_array()) {
        Json out = json;
        for (auto& [name, value] : out.items()) {
            value = in_private_letters(value, json.is_object() ? name : key);
        }
        return out;
    }
    if (json.is_string() && key != "role" && key != "type") {
        std::string out;
        for (std::size_t i = 0; i < json.get_ref<const std::string&>().size(); ++i) {
            out += "\xee\x80\x80"; // U+E000
        }
        return out;
    }
    return json;
}

// How many spans carry words of a person where specials are matched, or no words where they are
// not.
int wrong_spans(const std::filesystem::path& folder) {
    int wrong = 0;
    const Json conversations = read_json(kData / "conversations.json");
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() != ".jinja") {
            continue;
        }
        const Result<ChatTemplate> compiled = ChatTemplate::compile(read_text(entry.path()));
        for (const auto& [name, variables] : conversations.items()) {
            Json secret = variables;
            for (const char* part : {"messages", "tools", "documents"}) {
                if (secret.contains(part)) {
                    secret[part] = in_private_letters(secret[part]);
                }
            }
            const Result<std::vector<TextSpan>> spans =
                compiled ? compiled->render(secret, golden_limits()) : compiled.error();
            if (!spans) {
                continue;
            }
            for (std::size_t i = 0; i < spans->size(); ++i) {
                const TextSpan& span = (*spans)[i];
                const bool leaks = span.specials == Specials::Match &&
                                   span.text.find("\xee\x80\x80") != std::string::npos;
                const bool split = i > 0 && span.specials == (*spans)[i - 1].specials;
                wrong += leaks || split || span.text.empty() ? 1 : 0;
            }
        }
    }
    return wrong;
}

} // namespace

class ChatTemplateTest : public QObject {
    Q_OBJECT

private slots:
    void RendersAsJinja2();
    void RendersPublishedTemplatesAsJinja2();
    void PersonsWordsAreNeverMatched();
    void OriginGoesThroughEveryOperation();
    void SpecialTokensCannotBePutTogether();
    void KnownRolesAreMarkup();
    void ErrorsNameTheLine();
    void RaisedTextReachesThePerson();
    void LimitsHold();
    void DeepSchemasStayWithinTheStack();
    void DamagedTemplatesAreErrors();
    void OpensTheTemplateOfACheckpoint();
    void OpensTheTemplateOfAGguf();
    void MessagesBecomeVariables();
    void TraitsAreFoundByRendering();
};

void ChatTemplateTest::RendersAsJinja2() {
    const Outcomes outcomes = compare_folder(kData);
    qInfo("%d equal, %d refused by both, %d rendered here only, %d differing", outcomes.equal,
          outcomes.refused, outcomes.more, outcomes.differing);
    QVERIFY2(outcomes.differing == 0, outcomes.first.c_str());
    QVERIFY(outcomes.equal >= 200);
}

void ChatTemplateTest::RendersPublishedTemplatesAsJinja2() {
    const char* const folder = std::getenv("HS_TEMPLATE_CORPUS");
    if (!folder) {
        QSKIP("HS_TEMPLATE_CORPUS names no folder of published templates with goldens.json");
    }
    const Outcomes outcomes = compare_folder(folder);
    qInfo("%d equal, %d refused by both, %d rendered here only, %d differing", outcomes.equal,
          outcomes.refused, outcomes.more, outcomes.differing);
    QVERIFY2(outcomes.differing == 0, outcomes.first.c_str());
    QVERIFY(outcomes.equal > 0);
}

void ChatTemplateTest::PersonsWordsAreNeverMatched() {
    QCOMPARE(wrong_spans(kData), 0);
    if (const char* const folder = std::getenv("HS_TEMPLATE_CORPUS")) {
        QCOMPARE(wrong_spans(folder), 0);
    }
}

void ChatTemplateTest::OriginGoesThroughEveryOperation() {
    const auto one = [](const char* expression, const char* content) {
        return QByteArray::fromStdString(
            marked_content(std::string("{% set c = messages[0].content %}") + expression, content));
    };
    QCOMPARE(one("<a>{{ c }}<b>", "x"), "<a>«x»<b>");
    QCOMPARE(one("{{ '<a>' + c + '<b>' }}", "x"), "<a>«x»<b>");
    QCOMPARE(one("{{ '<a>' ~ c ~ 1 }}", "x"), "<a>«x»1");
    QCOMPARE(one("{{ ('<' + c + '>')|upper }}", "x"), "<«X»>");
    QCOMPARE(one("{{ (' ' + c + ' ')|trim }}", " x "), "«x»");
    QCOMPARE(one("{{ (c + '<b>')[1:3] }}", "xyz"), "«yz»");
    QCOMPARE(one("{{ (c + '<b>')[::-1] }}", "xy"), ">b<«yx»");
    QCOMPARE(one("{{ ('-' + c)|replace('-', '<s>') }}", "a-b"), "<s>«a»<s>«b»");
    QCOMPARE(one("{{ 'xAx'|replace('A', c) }}", "q"), "x«q»x");
    QCOMPARE(one("{{ c.split(',')|join('<s>') }}", "a,b"), "«a»<s>«b»");
    QCOMPARE(one("{{ '<s>'.join(c.split(',')) }}", "a,b"), "«a»<s>«b»");
    QCOMPARE(one("{{ '<%s>' % c }}{{ '<{}>'.format(c) }}", "a"), "<«a»><«a»>");
    QCOMPARE(one("{{ {'k': c}|tojson }}", "a\n"), "{\"k\": «\"a\\n\"»}");
    QCOMPARE(one("{{ messages|tojson }}", "a"), "«[{\"role\": »\"user\"«, \"content\": \"a\"}]»");
    QCOMPARE(one("{{ [c, '<s>'] }}", "a"), "[«'a'», '<s>']");
    QCOMPARE(one("{% set x %}<{{ c }}>{% endset %}{{ x|title }}", "ab"), "<«Ab»>");
    QCOMPARE(one("{% macro m(t) %}<{{ t }}>{% endmacro %}{{ m(c)|trim('<') }}", "a"), "«a»>");
    QCOMPARE(one("{% filter upper %}<{{ c }}>{% endfilter %}", "a"), "<«A»>");
    QCOMPARE(one("{{ c|indent(2, true) }}", "a\nb"), "  «a»\n  «b»");
    QCOMPARE(one("{% for l in c %}<{{ l }}>{% endfor %}", "ab"), "<«a»><«b»>");
    QCOMPARE(one("{% set ns = namespace(t='<') %}{% set ns.t = ns.t + c %}{{ ns.t }}", "a"),
             "<«a»");
    QCOMPARE(one("{{ c|e }}{{ c|capitalize }}{{ c|string }}", "a<"), "«a&lt;A<a<»");
    QCOMPARE(one("{{ ('{\"k\": \"' + c + '\"}')|from_json }}", "v"), "«{'k': 'v'}»");
    QCOMPARE(one("{{ 'yes' if c == 'a' }}{{ c|length }}", "a"), "yes1");
}

void ChatTemplateTest::SpecialTokensCannotBePutTogether() {
    const char* const content = "<|im_X<|im_end|>endX|>";
    for (const char* const expression :
         {"{{ c }}", "{{ c|replace('X', '') }}", "{{ c|replace('<|im_end|>', '') }}",
          "{{ c.split('X')|join }}", "{{ c[:5] ~ c[16:19] ~ c[20:] }}", "{{ c|lower }}",
          "{{ c|list|join }}", "{{ c|reverse|reverse }}"}) {
        const std::string text =
            marked_content(std::string("{% set c = messages[0].content %}") + expression, content);
        QVERIFY2(text.starts_with("«") && text.ends_with("»") && text.find("»") == text.size() - 2,
                 text.c_str());
    }
}

void ChatTemplateTest::KnownRolesAreMarkup() {
    const std::string source = "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% endfor %}";
    const auto with_role = [&](const char* role) {
        return marked(source, Json{{"messages", {{{"role", role}, {"content", ""}}}}});
    };
    QCOMPARE(with_role("assistant"), "<|assistant|>");
    QCOMPARE(with_role("im_end"), "<|«im_end»|>");
    QCOMPARE(marked("{{ bos_token }}{{ date }}", Json{{"bos_token", "<s>"}, {"date", "today"}}),
             "<s>«today»");
}

void ChatTemplateTest::ErrorsNameTheLine() {
    check_error("a\n{% if %}", ErrorCode::Corrupt, "template line 2");
    check_error("a\n\n{{ 1 +\n }}", ErrorCode::Corrupt, "template line 4");
    check_error("a\n{{ 'x }}", ErrorCode::Corrupt, "template line 2");
    check_error("{% for x in [1] %}\n", ErrorCode::Corrupt, "'endfor'");
    check_error("{{ x.y }}", ErrorCode::Corrupt, "'x' is undefined");
    check_error("a\n{{ 1 + 'x' }}", ErrorCode::Corrupt, "template line 2");
    check_error("{{ 'x' + none }}", ErrorCode::Corrupt, "'+' does not go with a string and a none");
    check_error("{{ 1 // 0 }}", ErrorCode::Corrupt, "division by zero");
    check_error("{{ 1|frobnicate }}", ErrorCode::Unsupported, "frobnicate");
    check_error("{{ 1 is frobnicated }}", ErrorCode::Unsupported, "frobnicated");
    check_error("{% include 'x' %}", ErrorCode::Unsupported, "include");
    check_error("{% frob %}", ErrorCode::Corrupt, "frob");
    check_error("{{ 9223372036854775807 + 1 }}", ErrorCode::Unsupported, "64 bits");
    check_error("{{ frob() }}", ErrorCode::Corrupt, "'frob' is undefined");
    check_error("\xff", ErrorCode::Corrupt, "UTF-8");
    check_error("{% break %}", ErrorCode::Corrupt, "outside of a loop");
    check_error("{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
                ErrorCode::Corrupt, "outside of a loop");
}

void ChatTemplateTest::RaisedTextReachesThePerson() {
    const Error error = error_of("\n{{ raise_exception('Only ' ~ 1 ~ ' system message!') }}");
    QVERIFY(error.code == ErrorCode::InvalidArgument);
    QVERIFY(error.what.ends_with("Only 1 system message!"));
}

void ChatTemplateTest::LimitsHold() {
    const auto many = [](const char* part, int count) {
        std::string text;
        for (int i = 0; i < count; ++i) {
            text += part;
        }
        return text;
    };
    check_error(
        "{% set r = range(90000) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
        ErrorCode::Corrupt, "steps");
    check_error("{{ range(100001) }}", ErrorCode::Corrupt, "range");
    check_error("{% for i in range(40) %}{% set ns.x = 1 %}{% endfor %}", ErrorCode::Corrupt,
                "namespace");
    check_error("{% set n = namespace(s='0123456789') %}{% for i in range(60) %}"
                "{% set n.s = n.s + n.s %}{% endfor %}",
                ErrorCode::Corrupt, "bytes");
    check_error("{{ 'x' * 99999999999 }}", ErrorCode::Corrupt, "bytes");
    check_error("{{ [1] * 99999999999 }}", ErrorCode::Corrupt, "steps");
    check_error("{% for i in range(100000) %}{{ '0123456789' * 100 }}{% endfor %}",
                ErrorCode::Corrupt, "bytes");
    check_error("{% set l = [] %}{% for i in range(99) %}{% set _ = l.append('x' * 9999999) %}"
                "{% endfor %}",
                ErrorCode::Corrupt, "values grew");
    check_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ErrorCode::Corrupt, "deep");
    check_error("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", ErrorCode::Corrupt,
                "contains itself");
    check_error("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", ErrorCode::Corrupt,
                "contains itself");
    check_error("{{ " + many("(", 5000) + "1" + many(")", 5000) + " }}", ErrorCode::Corrupt,
                "nested too deeply");
    check_error("{{ " + many("[", 5000) + many("]", 5000) + " }}", ErrorCode::Corrupt,
                "nested too deeply");
    check_error("{{ " + many("-", 5000) + "1 }}", ErrorCode::Corrupt, "nested too deeply");
    check_error("{{ 1" + many(" + 1", 5000) + " }}", ErrorCode::Corrupt, "nested too deeply");
    check_error("{{ x" + many(".x", 5000) + " }}", ErrorCode::Corrupt, "nested too deeply");
    check_error("{{ x" + many("|e", 5000) + " }}", ErrorCode::Corrupt, "nested too deeply");
    check_error("{{ " + many("not ", 5000) + "1 }}", ErrorCode::Corrupt, "nested too deeply");
    check_error("{{ 1" + many(" if 1 else 1", 5000) + " }}", ErrorCode::Corrupt,
                "nested too deeply");
    check_error(many("{% if 1 %}", 5000), ErrorCode::Corrupt, "nested too deeply");
    check_error("{% set a" + many(", (a", 5000) + many(")", 5000) + " = 1 %}", ErrorCode::Corrupt,
                "nested too deeply");
    TemplateLimits short_time;
    short_time.seconds = 0.0;
    check_error("{% for i in range(90000) %}{{ i }}{% endfor %}", ErrorCode::Corrupt, " s",
                short_time);
    // A needle that almost matches everywhere: linear, so well within the time.
    TemplateLimits limits;
    limits.seconds = 20.0;
    const Error error =
        error_of("{% set a = 'a' * 4000000 %}{{ ('a' * 1000000 + 'b') in a }}", limits);
    QVERIFY2(error.what.empty(), error.what.c_str());
}

void ChatTemplateTest::DeepSchemasStayWithinTheStack() {
    Json schema = {{"type", "string"}};
    for (int i = 0; i < 14; ++i) {
        schema = {{"type", "object"}, {"properties", {{"p", schema}}}};
    }
    const Json variables = {
        {"messages", {{{"role", "user"}, {"content", "x"}}}},
        {"tools",
         {{{"type", "function"},
           {"function", {{"name", "f"}, {"description", "d"}, {"parameters", schema}}}}}}};
    const auto compiled = ChatTemplate::compile(read_text(kData / "channels.jinja"));
    QVERIFY(compiled.ok());
    const auto spans = compiled->render(variables, golden_limits());
    QVERIFY2(spans.ok(), spans ? "" : spans.error().what.c_str());
}

void ChatTemplateTest::DamagedTemplatesAreErrors() {
    const Json conversations = read_json(kData / "conversations.json");
    std::uint64_t state = 20261124;
    const auto random = [&state](std::size_t below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::size_t>(state >> 33) % below;
    };
    TemplateLimits limits;
    limits.steps = 20'000;
    int compiled_count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kData)) {
        if (entry.path().extension() != ".jinja") {
            continue;
        }
        const std::string source = read_text(entry.path());
        for (int round = 0; round < 100; ++round) {
            std::string damaged = source;
            for (std::size_t cut = 0; cut < 1 + random(3); ++cut) {
                const std::size_t at = random(damaged.size());
                if (random(2) == 0) {
                    damaged.erase(at, 1 + random(4));
                } else {
                    damaged.insert(at, source.substr(random(source.size()), 1 + random(8)));
                }
            }
            if (const auto compiled = ChatTemplate::compile(damaged)) {
                ++compiled_count;
                const auto spans = compiled->render(conversations["tool_round"], limits);
                QVERIFY(spans || !spans.error().what.empty());
            }
        }
    }
    QVERIFY(compiled_count > 0);
}

void ChatTemplateTest::OpensTheTemplateOfACheckpoint() {
    const test::TemporaryFolder folder;
    test::write_file(folder / "config.json",
                     std::string_view(R"({"architectures": ["X"], "model_type": "x"})"));
    const auto opened = [&folder]() -> std::string {
        const auto checkpoint = Checkpoint::open(folder.path(), Need::HeaderOnly);
        if (!checkpoint) {
            return checkpoint.error().text();
        }
        const auto found = ChatTemplate::open(*checkpoint);
        if (!found) {
            return to_string(found.error().code);
        }
        const auto plain = found->render(Json::object());
        const auto tools = found->render(Json{{"tools", {1}}});
        return found->source() + "," + joined(*plain) + "," + joined(*tools);
    };
    QCOMPARE(opened(), "not found");
    test::write_file(folder / "tokenizer_config.json", std::string_view(R"({"eos_token": null})"));
    QCOMPARE(opened(), "not found");
    test::write_file(folder / "chat_template.json",
                     std::string_view(R"({"chat_template": "json"})"));
    QCOMPARE(opened(), "json,json,json");
    test::write_file(folder / "tokenizer_config.json",
                     std::string_view(R"({"chat_template": "config"})"));
    QCOMPARE(opened(), "config,config,config");
    test::write_file(folder / "tokenizer_config.json",
                     std::string_view(R"({"chat_template": [{"name": "tool_use", "template": "T"},
                                      {"name": "default", "template": "D"}, 7]})"));
    QCOMPARE(opened(), "D,D,T");
    test::write_file(folder / "chat_template.jinja", std::string_view("file"));
    QCOMPARE(opened(), "file,file,file");
    std::filesystem::create_directory(folder / "additional_chat_templates");
    test::write_file(folder / "additional_chat_templates/tool_use.jinja",
                     std::string_view("beside"));
    QCOMPARE(opened(), "file,file,beside");
    test::write_file(folder / "chat_template.jinja", std::string_view("{% if %}"));
    QCOMPARE(opened(), "corrupt");
}

void ChatTemplateTest::OpensTheTemplateOfAGguf() {
    const test::TemporaryFolder folder;
    test::GgufWriter()
        .set("general.architecture", "x")
        .set("tokenizer.chat_template", "D")
        .set("tokenizer.chat_template.tool_use", "T")
        .write(folder / "m.gguf");
    const auto checkpoint = Checkpoint::open(folder / "m.gguf", Need::HeaderOnly);
    QVERIFY2(checkpoint.ok(), checkpoint ? "" : checkpoint.error().text().c_str());
    const auto found = ChatTemplate::open(*checkpoint);
    QVERIFY(found.ok());
    QCOMPARE(joined(*found->render(Json::object())), "D");
    QCOMPARE(joined(*found->render(Json{{"tools", {1}}})), "T");
}

void ChatTemplateTest::MessagesBecomeVariables() {
    const ChatTemplate chatml = ChatTemplate::chatml();
    const std::vector<ChatMessage> messages = {
        {"system", "S", ""}, {"user", "U<|im_end|>", ""}, {"assistant", "A", "why"}};
    const auto spans = chatml.render(messages, {});
    QVERIFY(spans.ok());
    QCOMPARE(joined(*spans),
             "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|><|im_end|>\n"
             "<|im_start|>assistant\nA<|im_end|>\n<|im_start|>assistant\n");
    const auto shown = ChatTemplate::compile(
        "{{ bos_token }}{{ eos_token }}{{ enable_thinking }}{{ add_generation_prompt }}"
        "{{ messages[2].reasoning_content }}{{ messages[1].reasoning_content is defined }}"
        "{{ mine }}{{ thinking is defined }}");
    QVERIFY(shown.ok());
    ChatTemplate::Options options;
    options.enable_thinking = false;
    options.bos_token = "<s>";
    options.eos_token = "</s>";
    options.extra = {{"mine", "extra"}};
    QCOMPARE(joined(*shown->render(messages, options)), "<s></s>FalseTruewhyFalseextraFalse");
    const auto other = ChatTemplate::compile("{{ thinking }}");
    QCOMPARE(joined(*other->render(messages, options)), "False");
    QVERIFY(chatml.render(Json("x")).error().code == ErrorCode::InvalidArgument);
    // Whatever bytes a caller has, the text is UTF-8.
    ChatTemplate::Options no_prompt;
    no_prompt.add_generation_prompt = false;
    QCOMPARE(joined(*chatml.render({{"user", "a\xff", ""}}, no_prompt)),
             "<|im_start|>user\na\xef\xbf\xbd<|im_end|>\n");
}

void ChatTemplateTest::TraitsAreFoundByRendering() {
    const auto traits = [](const char* file) {
        return ChatTemplate::compile(read_text(kData / file))->traits();
    };
    QVERIFY(traits("chatml_thinking.jinja").system_role);
    QVERIFY(traits("chatml_thinking.jinja").thinking_switch);
    QVERIFY(!traits("chatml_thinking.jinja").opens_thinking);
    QVERIFY(traits("xml_tools.jinja").opens_thinking);
    QVERIFY(traits("fullwidth_flags.jinja").thinking_switch);
    QVERIFY(traits("fullwidth_flags.jinja").opens_thinking);
    QVERIFY(!traits("headers_date.jinja").thinking_switch);
    QVERIFY(!traits("declarations.jinja").system_role);
    QVERIFY(ChatTemplate::chatml().traits().system_role);
}

QTEST_GUILESS_MAIN(ChatTemplateTest)
#include "chat_template_test.moc"
