// Chat templates: the same text as Jinja2, and the person's words told from the markup.
// The goldens are made by tests/reference/make_template_goldens.py; with HS_TEMPLATE_CORPUS set to
// a folder of published templates that the script has been over, those are compared as well.

#include "engine/files/checkpoint.h"
#include "engine/text/chat_template.h"

#include <QtTest>

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

} // namespace

class ChatTemplateTest : public QObject {
    Q_OBJECT

private slots:
    void RendersAsJinja2();
    void RendersPublishedTemplatesAsJinja2();
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

QTEST_GUILESS_MAIN(ChatTemplateTest)
#include "chat_template_test.moc"
