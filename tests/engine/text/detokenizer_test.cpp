// Text as it comes equals text decoded at once, wherever it is cut; stop strings never show.

#include "engine/text/detokenizer.h"
#include "engine/text/utf8.h"
#include "tests/engine/text/tokenizer_files.h"

#include <random>

using namespace hs;
using namespace hs::test;

namespace {

const std::vector<std::string> kNames = {"r1", "r2", "r3",  "r4",        "r5",  "r6",   "r7",
                                         "r8", "r9", "r11", "metaspace", "spm", "gemma"};

// All the text of a stream; every push must already be valid UTF-8.
std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                     std::vector<std::string> stops = {}) {
    Detokenizer detokenizer(tokenizer, std::move(stops));
    std::string text;
    for (const TokenId id : ids) {
        const std::string more = detokenizer.push(id);
        if (!utf8::is_valid(more)) {
            return "<not UTF-8>";
        }
        text += more;
    }
    return text + detokenizer.flush();
}

// A byte-level tokenizer of bytes alone: one token per byte, id = byte.
Tokenizer bytes_alone() {
    const Json file = json_of("r1.json");
    Json vocab = Json::object();
    const Tokenizer whole = tokenizer_of("r1");
    for (const auto& [text, id] : file["model"]["vocab"].items()) {
        const std::string bytes = whole.bytes_of(id.get<TokenId>());
        if (bytes.size() == 1) {
            vocab[text] = static_cast<unsigned char>(bytes[0]);
        }
    }
    Json made = file;
    made["model"]["vocab"] = vocab;
    made["model"]["merges"] = Json::array();
    made["added_tokens"] = Json::array();
    auto tokenizer = Tokenizer::from_tokenizer_json(made, nullptr);
    return std::move(tokenizer).value();
}

std::vector<TokenId> as_ids(const std::string& bytes) {
    std::vector<TokenId> ids;
    for (const char c : bytes) {
        ids.push_back(static_cast<unsigned char>(c));
    }
    return ids;
}

} // namespace

class DetokenizerTest : public QObject {
    Q_OBJECT

private slots:
    void DecodesAsHuggingFace_data() { names(); }
    void DecodesAsHuggingFace() {
        QFETCH(std::string, name);
        const Tokenizer tokenizer = tokenizer_of(name);
        const auto lines = lines_of(name + ".decoded");
        QVERIFY(lines.size() > 180);
        for (const std::string& line : lines) {
            const Json row = Json::parse(line);
            const auto ids = unpacked(row[0].get<std::string>());
            const std::string expected = row[1].get<std::string>();
            const std::string found = tokenizer.decode(ids, true);
            QVERIFY2(found == expected, ("ids " + shown(ids) + ": found " + Json(found).dump() +
                                         ", expected " + Json(expected).dump())
                                            .c_str());
            QVERIFY2(streamed(tokenizer, ids) == expected, shown(ids).c_str());
        }
    }

    void StreamEqualsDecodeForEveryString_data() { names(); }
    void StreamEqualsDecodeForEveryString() {
        QFETCH(std::string, name);
        const Tokenizer tokenizer = tokenizer_of(name);
        const auto strings = strings_of("strings.txt");
        const bool keeps_text =
            name != "r3" && name != "r4" && name != "spm" && name != "metaspace" && name != "gemma";
        for (const std::string& string : strings) {
            const auto ids = tokenizer.encode(string, Specials::Plain);
            const std::string decoded = tokenizer.decode(ids);
            QVERIFY2(streamed(tokenizer, ids) == tokenizer.decode(ids, true), string.c_str());
            if (keeps_text) {
                QVERIFY2(decoded == string, string.c_str());
            }
            // As a GGUF of the same vocabulary has it.
            QCOMPARE(decoded.empty(), ids.empty() || decoded.empty());
        }
    }

    void GgufDecodesAsTokenizerJson_data() {
        QTest::addColumn<std::string>("name");
        QTest::addColumn<std::string>("model");
        QTest::newRow("r1") << std::string("r1") << std::string("gpt2");
        QTest::newRow("spm") << std::string("spm") << std::string("llama");
        QTest::newRow("gemma") << std::string("gemma") << std::string("gemma4");
    }
    void GgufDecodesAsTokenizerJson() {
        QFETCH(std::string, name);
        QFETCH(std::string, model);
        auto gguf = Tokenizer::from_gguf(gguf_of(json_of(name + ".json"), model, "gpt-2"));
        QVERIFY(gguf.ok());
        for (const std::string& line : lines_of(name + ".decoded")) {
            const Json row = Json::parse(line);
            const auto ids = unpacked(row[0].get<std::string>());
            QCOMPARE(gguf->decode(ids, true), row[1].get<std::string>());
            QCOMPARE(streamed(*gguf, ids), row[1].get<std::string>());
        }
    }

    void HoldsBackOnlyWhatMayBecomeACharacter() {
        const Tokenizer tokenizer = bytes_alone();
        Detokenizer detokenizer(tokenizer);
        QCOMPARE(detokenizer.push(0xF0), std::string());
        QCOMPARE(detokenizer.push(0x9F), std::string());
        QCOMPARE(detokenizer.push(0x98), std::string());
        QCOMPARE(detokenizer.push(0x80), std::string("\U0001F600"));
        QCOMPARE(detokenizer.push(0xFF), std::string("\uFFFD")); // never begins one
        QCOMPARE(detokenizer.push(0xE2), std::string());
        QCOMPARE(detokenizer.push('a'), std::string("\uFFFD"
                                                    "a")); // broken off
        QCOMPARE(detokenizer.push(0xE2), std::string());
        QCOMPARE(detokenizer.push(0x82), std::string());
        QCOMPARE(detokenizer.flush(), std::string("\uFFFD"));
        QCOMPARE(detokenizer.flush(), std::string());
    }

    void AnyBytesStreamAsDecoded() {
        const Tokenizer tokenizer = bytes_alone();
        std::minstd_rand random(3);
        const std::string pool("a\x80\xBF\xC2\xC0\xE2\x82\xAC\xED\xA0\xF0\x9F\x98\xF4\x90\xFF", 16);
        for (int turn = 0; turn < 5000; ++turn) {
            std::string bytes;
            for (unsigned i = 0; i < random() % 12; ++i) {
                bytes += pool[random() % pool.size()];
            }
            const std::string decoded = tokenizer.decode(as_ids(bytes));
            QVERIFY(utf8::is_valid(decoded));
            QCOMPARE(streamed(tokenizer, as_ids(bytes)), decoded);
            QCOMPARE(decoded, QString::fromStdString(decoded).toStdString());
            QCOMPARE(utf8::valid_text(bytes), decoded);
        }
    }

    void StopStringsNeverShowAndEndTheText() {
        const Tokenizer tokenizer = bytes_alone();
        QCOMPARE(streamed(tokenizer, as_ids("one\nUser: two"), {"\nUser:"}), std::string("one"));
        QCOMPARE(streamed(tokenizer, as_ids("a<end and <end> b"), {"<end>"}),
                 std::string("a<end and "));
        // Half a stop string at the end is text.
        QCOMPARE(streamed(tokenizer, as_ids("a<en"), {"<end>"}), std::string("a<en"));
        // The first to be complete counts; of two that end together, the longer.
        QCOMPARE(streamed(tokenizer, as_ids("xabcd"), {"bc", "abcd"}), std::string("xa"));
        QCOMPARE(streamed(tokenizer, as_ids("xabcd"), {"cd", "abcd"}), std::string("x"));
        // A stop string that begins again inside itself.
        QCOMPARE(streamed(tokenizer, as_ids("ababac!"), {"abac"}), std::string("ab"));
        QCOMPARE(streamed(tokenizer, as_ids("text"), {""}), std::string("text"));
    }

    void HoldsBackTheBeginningOfAStopString() {
        const Tokenizer tokenizer = bytes_alone();
        Detokenizer detokenizer(tokenizer, {"</think>"});
        QCOMPARE(detokenizer.push('a'), std::string("a"));
        QCOMPARE(detokenizer.push('<'), std::string());
        QCOMPARE(detokenizer.push('/'), std::string());
        QCOMPARE(detokenizer.push('<'), std::string("</"));
        QVERIFY(!detokenizer.stopped());
        for (const char c : std::string("/think")) {
            QCOMPARE(detokenizer.push(c), std::string());
        }
        QCOMPARE(detokenizer.push('>'), std::string());
        QVERIFY(detokenizer.stopped());
        QCOMPARE(detokenizer.push('a'), std::string());
        QCOMPARE(detokenizer.flush(), std::string());
    }

    void RandomStopsEqualASearchInTheWholeText() {
        const Tokenizer tokenizer = bytes_alone();
        std::minstd_rand random(5);
        for (int turn = 0; turn < 3000; ++turn) {
            const auto letters = [&](unsigned most) {
                std::string text;
                for (unsigned i = 1 + random() % most; i > 0; --i) {
                    text.push_back("ab\n"[random() % 3]);
                }
                return text;
            };
            const std::string text = letters(20);
            const std::vector<std::string> stops = {letters(4), letters(5)};
            // The earliest end, then the longest.
            std::size_t end = std::string::npos;
            std::size_t begin = text.size();
            for (const std::string& stop : stops) {
                const std::size_t at = text.find(stop);
                if (at == std::string::npos) {
                    continue;
                }
                if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
                    end = at + stop.size();
                    begin = at;
                }
            }
            QCOMPARE(streamed(tokenizer, as_ids(text), stops), text.substr(0, begin));
        }
    }

    void IdsOutOfRangeGiveNothing() {
        const Tokenizer tokenizer = tokenizer_of("r1");
        QCOMPARE(tokenizer.decode(std::vector<TokenId>{-1, 1 << 30, 2147483647}), std::string());
        QVERIFY(!tokenizer.is_special(-1) && !tokenizer.ends_reply(-1));
        QCOMPARE(Tokenizer().decode(std::vector<TokenId>{0}), std::string());
        QVERIFY(Tokenizer().encode("text", Specials::Match).empty());
    }

private:
    void names() {
        QTest::addColumn<std::string>("name");
        for (const std::string& name : kNames) {
            QTest::newRow(name.c_str()) << name;
        }
    }
};

QTEST_GUILESS_MAIN(DetokenizerTest)
#include "detokenizer_test.moc"
