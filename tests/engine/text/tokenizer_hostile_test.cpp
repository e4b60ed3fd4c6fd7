// Tokenizer files and texts made to harm: an error or a result, soon, and never more.

#include "engine/text/normalize.h"
#include "engine/text/pre_tokenize.h"
#include "engine/text/regex.h"
#include "engine/text/utf8.h"
#include "tests/engine/text/tokenizer_files.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

using namespace hs;
using namespace hs::test;

namespace {

// How much longer things may take under checks that themselves take most of the time.
#ifdef HS_SANITIZE
constexpr int kSlower = 10;
#else
constexpr int kSlower = 1;
#endif

std::vector<std::string> pieces(const std::string& pattern, const std::string& text) {
    auto regex = Regex::compile(pattern);
    if (!regex.ok()) {
        return {"<" + regex.error().text() + ">"};
    }
    RegexRun run(text.size());
    std::vector<Range> matches;
    regex->matches(text, run, matches);
    std::vector<Range> cut;
    apply_split(matches, {0, text.size()}, SplitBehavior::Isolated, false, cut);
    std::vector<std::string> found;
    for (const Range& range : cut) {
        found.push_back(text.substr(range.begin, range.size()));
    }
    return found;
}

// JSON with ' for ": moc loses its way in raw strings (and in digit separators).
Json quoted(std::string text) {
    std::replace(text.begin(), text.end(), '\'', '"');
    return Json::parse(text);
}

Json small_file() {
    return quoted("{'added_tokens': [], 'normalizer': null, 'pre_tokenizer': null,"
                  "'post_processor': null, 'decoder': null, 'model': {'type': 'BPE',"
                  "'vocab': {'a': 0, 'b': 1, 'ab': 2}, 'merges': [['a', 'b']]}}");
}

} // namespace

class TokenizerHostileTest : public QObject {
    Q_OBJECT

private slots:
    void RefusesFilesThatLie_data() {
        QTest::addColumn<std::string>("patch"); // merged into small_file()
        const std::pair<const char*, const char*> rows[] = {
            {"huge id", "{'model': {'vocab': {'c': 2000000000}}}"},
            {"id over 64 bits", "{'model': {'vocab': {'c': 99999999999999999999}}}"},
            {"negative id", "{'model': {'vocab': {'c': -1}}}"},
            {"id twice", "{'model': {'vocab': {'c': 0}}}"},
            {"fractional id", "{'model': {'vocab': {'c': 0.5}}}"},
            {"string id", "{'model': {'vocab': {'c': 'x'}}}"},
            {"object id", "{'model': {'vocab': {'c': {}}}}"},
            {"merge of an absent token", "{'model': {'merges': [['a', 'z']]}}"},
            {"merge into an absent token", "{'model': {'merges': [['b', 'a']]}}"},
            {"merge of one", "{'model': {'merges': [['a']]}}"},
            {"merge of three", "{'model': {'merges': [['a', 'b', 'ab']]}}"},
            {"merge without space", "{'model': {'merges': ['ab']}}"},
            {"merge of numbers", "{'model': {'merges': [[1, 2]]}}"},
            {"merge that is a number", "{'model': {'merges': [7]}}"},
            {"added id out of range", "{'added_tokens': [{'id': 4000000000, 'content': 'x'}]}"},
            {"added id far off", "{'added_tokens': [{'id': 9000000, 'content': 'x'}]}"},
            {"added without content", "{'added_tokens': [{'id': 3}]}"},
            {"added tokens no list", "{'added_tokens': 3}"},
            {"model no object", "{'model': 3}"},
            {"model of another type", "{'model': {'type': 3}}"},
            {"pattern does not compile", "{'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': "
                                         "'[a'}, 'behavior': 'Isolated'}}"},
            {"pattern of no kind",
             "{'pre_tokenizer': {'type': 'Split', 'pattern': {}, 'behavior': 'Isolated'}}"},
            {"behaviour unknown",
             "{'pre_tokenizer': {'type': 'Split', 'pattern': {'String': 'x'}, 'behavior': 'Odd'}}"},
            {"prefix id out of range",
             "{'post_processor': {'type': 'TemplateProcessing',"
             "'single': [{'SpecialToken': {'id': 'x'}}], 'special_tokens': {'x': {'ids': [77]}}}}"},
            {"sequence without parts", "{'normalizer': {'type': 'Sequence'}}"},
            {"component without type", "{'decoder': {}}"},
        };
        for (const auto& [name, patch] : rows) {
            QTest::newRow(name) << std::string(patch);
        }
    }
    void RefusesFilesThatLie() {
        QFETCH(std::string, patch);
        Json file = small_file();
        QVERIFY(Tokenizer::from_tokenizer_json(file, nullptr).ok());
        file.merge_patch(quoted(patch));
        const auto from_tree = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(!from_tree.ok());
        QVERIFY(!from_tree.error().what.empty());
        const auto from_text = Tokenizer::from_tokenizer_text(file.dump(), nullptr);
        QVERIFY(!from_text.ok());
    }

    void RefusesTextThatIsNoTokenizer() {
        for (const std::string text :
             {"", "[", "3", "[]", "{", "{\"model\":", "{\"a\":1,\"a\":2}", "\xFF",
              "{\"model\":{\"vocab\":{\"a\":0",
              "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}"}) {
            QVERIFY2(!Tokenizer::from_tokenizer_text(text, nullptr).ok(), text.c_str());
        }
        QVERIFY(!Tokenizer::from_tokenizer_text(std::string(1 << 20, '['), nullptr).ok());
        QVERIFY(!Tokenizer::from_tokenizer_json(Json(), nullptr).ok());
    }

    void RefusesGgufThatLies() {
        const Json good = gguf_of(json_of("r1.json"), "gpt2", "gpt-2");
        QVERIFY(Tokenizer::from_gguf(good).ok());
        const std::vector<std::function<void(Json&)>> lies = {
            [](Json& m) { m.erase("tokenizer.ggml.tokens"); },
            [](Json& m) { m["tokenizer.ggml.tokens"] = Json::array(); },
            [](Json& m) { m["tokenizer.ggml.tokens"] = 7; },
            [](Json& m) { m["tokenizer.ggml.tokens"][3] = 7; },
            [](Json& m) {
                m["tokenizer.ggml.token_type"] = Json::array({1, 2});
            },
            [](Json& m) { m["tokenizer.ggml.token_type"][0] = "x"; },
            [](Json& m) { m["tokenizer.ggml.merges"] = 1; },
            [](Json& m) { m["tokenizer.ggml.merges"][0] = 1; },
            [](Json& m) { m["tokenizer.ggml.merges"][0] = ""; },
            [](Json& m) { m["tokenizer.ggml.merges"][0] = " "; },
            [](Json& m) { m["tokenizer.ggml.merges"][0] = "ab"; },
            [](Json& m) { m["tokenizer.ggml.model"] = "rwkv"; },
            [](Json& m) { m["tokenizer.ggml.model"] = 1; },
            [](Json& m) { m["tokenizer.ggml.model"] = "llama"; }, // no scores
            [](Json& m) { m["tokenizer.ggml.pre"] = 1; },
        };
        for (std::size_t i = 0; i < lies.size(); ++i) {
            Json metadata = good;
            lies[i](metadata);
            QVERIFY2(!Tokenizer::from_gguf(metadata).ok(), std::to_string(i).c_str());
        }
        Json scores = gguf_of(json_of("spm.json"), "llama", "default");
        scores["tokenizer.ggml.scores"][4] = std::nan("");
        QVERIFY(!Tokenizer::from_gguf(scores).ok());
        // A merge of absent tokens is left out; ids out of range are no ids.
        Json metadata = good;
        metadata["tokenizer.ggml.merges"][0] = "zzzzzz yyyyyy";
        metadata["tokenizer.ggml.bos_token_id"] = -5;
        metadata["tokenizer.ggml.eos_token_id"] = 1 << 30;
        metadata["tokenizer.ggml.add_bos_token"] = true;
        const auto lenient = Tokenizer::from_gguf(metadata);
        QVERIFY(lenient.ok());
        QVERIFY(!lenient->bos().has_value() && !lenient->eos().has_value() && !lenient->adds_bos());
    }

    void RefusesTiktokenThatLies() {
        for (const std::string text : {"YQ==", "YQ== ", "YQ== x", "YQ== -1", "YQ== 99999999999",
                                       "!!! 0", " 0", "YQ== 0\nYg== 0", "YQ== 9000000"}) {
            QVERIFY2(!Tokenizer::from_tiktoken(text, nullptr).ok(), text.c_str());
        }
        const Json config = quoted("{'added_tokens_decoder': {'x': {'content': 'y'}}}");
        QVERIFY(!Tokenizer::from_tiktoken("YQ== 0", &config).ok());
        QVERIFY(Tokenizer::from_tiktoken("YQ== 0\r\nYg== 1\n", nullptr).ok());
    }

    void BytesThatAreNotUtf8CountAsReplacementCharacters() {
        const Tokenizer tokenizer = tokenizer_of("r2");
        QCOMPARE(tokenizer.encode("a\xFF\xE2\x82z", Specials::Match),
                 tokenizer.encode("a\uFFFD\uFFFDz", Specials::Match));
        QCOMPARE(tokenizer.encode(std::vector<TextSpan>{{"\xE2\x82", Specials::Plain},
                                                        {"\xAC", Specials::Plain}}),
                 tokenizer.encode("\uFFFD\uFFFD", Specials::Plain));
        std::minstd_rand random(1);
        for (int turn = 0; turn < 2000; ++turn) {
            std::string bytes;
            for (unsigned i = 0; i < random() % 30; ++i) {
                bytes.push_back(static_cast<char>(random()));
            }
            QCOMPARE(tokenizer.decode(tokenizer.encode(bytes, Specials::Plain)),
                     utf8::valid_text(bytes));
        }
    }

    void LongRunsTakeTimeLinearInTheirLength_data() {
        QTest::addColumn<std::string>("name");
        for (const char* name :
             {"r1", "r2", "r4", "r5", "r7", "r8", "r9", "spm", "gemma", "metaspace"}) {
            QTest::newRow(name) << std::string(name);
        }
    }
    void LongRunsTakeTimeLinearInTheirLength() {
        QFETCH(std::string, name);
        const Tokenizer tokenizer = tokenizer_of(name);
        const std::string units[] = {"a",  "A",      " ",       "\n",           "1",
                                     "!",  "\u6F22", "e\u0301", "\u0301\u0323", "aA",
                                     "ab", "'",      "\t\r\n"};
        QElapsedTimer timer;
        timer.start();
        for (const std::string& unit : units) {
            std::string text;
            while (text.size() < 1000000) {
                text += unit;
            }
            const auto ids = tokenizer.encode(text, Specials::Plain);
            QVERIFY(!ids.empty());
        }
        // 13 MB; some 0.2 s each where the machine is idle. Quadratic would be hours.
        QVERIFY2(timer.elapsed() < 60000 * kSlower, std::to_string(timer.elapsed()).c_str());
    }

    void AMegabyteOfMarksIsNormalizedInTime() {
        std::string text = "a";
        for (int i = 0; i < 250000; ++i) {
            text += i % 2 == 0 ? "\u0301" : "\u0323";
        }
        QElapsedTimer timer;
        timer.start();
        const std::string normal = normal_form(Normalizer::Kind::Nfc, text);
        QVERIFY(timer.elapsed() < 5000 * kSlower);
        QCOMPARE(normal.substr(0, 3),
                 std::string("\u1EA1")); // a with dot below, the lower class first
    }

    void CatastrophicPatternsAreGivenUp_data() {
        QTest::addColumn<std::string>("pattern");
        for (const char* pattern :
             {"(a+)+b", "(a*)*b", "(?:x+x+)+y|.", "(a|aa)+$|a", "(.*.*.*.*)*b",
              "^(([a-z])+.)+[A-Z]([a-z])+$", "(?=(a+))a*b", "(?:a?){60}a{60}"}) {
            QTest::newRow(pattern) << std::string(pattern);
        }
    }
    void CatastrophicPatternsAreGivenUp() {
        QFETCH(std::string, pattern);
        Json file = json_of("r3.json");
        file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
        auto tokenizer = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(tokenizer.ok());
        QElapsedTimer timer;
        timer.start();
        for (const char letter : {'a', 'x'}) {
            const std::string text(200000, letter);
            QCOMPARE(tokenizer->decode(tokenizer->encode(text, Specials::Plain)), text);
        }
        QVERIFY2(timer.elapsed() < 30000 * kSlower, std::to_string(timer.elapsed()).c_str());
    }

    void ManySpecialTokensDoNotMultiplyTheBudget() {
        Json file = json_of("r3.json");
        file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(?:x+x+)+y|.";
        auto tokenizer = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(tokenizer.ok());
        std::string text;
        for (int i = 0; i < 5000; ++i) {
            text += "<|im_end|>" + std::string(24, 'x');
        }
        QElapsedTimer timer;
        timer.start();
        QVERIFY(!tokenizer->encode(text, Specials::Match).empty());
        QVERIFY2(timer.elapsed() < 15000 * kSlower, std::to_string(timer.elapsed()).c_str());
    }

    void AddedTokensThatNearlyMatchTakeBoundedTime() {
        Json file = json_of("r3.json");
        file["added_tokens"].push_back({{"id", 905},
                                        {"content", std::string(511, 'a') + "b"},
                                        {"special", true},
                                        {"normalized", false}});
        auto tokenizer = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(tokenizer.ok());
        QElapsedTimer timer;
        timer.start();
        QVERIFY(!tokenizer->encode(std::string(300000, 'a'), Specials::Match).empty());
        QVERIFY(timer.elapsed() < 10000 * kSlower);
        file["added_tokens"].push_back(
            {{"id", 906}, {"content", std::string(513, 'a')}, {"special", true}});
        QVERIFY(!Tokenizer::from_tokenizer_json(file, nullptr).ok());
    }

    void PatternsMeanWhatOnigurumaMeans() {
        using List = std::vector<std::string>;
        // \s without U+180E; in a class too.
        QCOMPARE(pieces("\\s+", "a \u180E\u2003b"), (List{"a", " ", "\u180E", "\u2003", "b"}));
        QCOMPARE(pieces("[\\s]+", "a\u180Eb"), (List{"a\u180Eb"}));
        QCOMPARE(pieces("[^\\S\\n]+", "a \n b"), (List{"a", " ", "\n", " ", "b"}));
        // Scripts without their extensions; the two intersections.
        QCOMPARE(pieces("\\p{Han}+", "漢、字"), (List{"漢", "、", "字"}));
        QCOMPARE(pieces("[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+", "Aあ漢b"),
                 (List{"Aあ", "漢b"}));
        // The long s folds to s.
        QCOMPARE(pieces("(?i:'s)", "it'\u017F"), (List{"it", "'\u017F"}));
        // {1,3}+ repeats; ^ and $ are at lines.
        QCOMPARE(pieces("\\d{1,3}+", "12345x"), (List{"12345", "x"}));
        QCOMPARE(pieces("\\x{61}{1,2}+", "aaa"), (List{"aaa"}));
        QCOMPARE(pieces("\\u0061", "ba"), (List{"b", "a"}));
        QCOMPARE(pieces("^a", "a\na"), (List{"a", "\n", "a"}));
        QCOMPARE(pieces("\\h", "gf"), (List{"g", "f"}));
        QCOMPARE(pieces("[]a]+", "x]a"), (List{"x", "]a"}));
        // Empty matches cut, and end.
        QCOMPARE(pieces("x*", "abx"), (List{"a", "b", "x"}));
        for (const char* refused : {"[a&&b]", "[a[bc]]", "\\Qa\\E", "\\C", "a\\", "[\\W]", "(",
                                    "[a", "a{2", "\\p{Nonsense}"}) {
            const auto regex = Regex::compile(refused);
            QVERIFY2(!regex.ok() || std::string_view(refused) == "a{2", refused);
        }
        QVERIFY(!Regex::compile(std::string(100000, 'a')).ok());
        QVERIFY(!Regex::compile(std::string(300, '(') + std::string(300, ')')).ok());
    }

    void SplitBehavioursAreHuggingFaces() {
        // "the-final--countdown", split at "-": the example of the tokenizers' documentation.
        const std::string text = "the-final--countdown";
        auto regex = Regex::literal("-");
        QVERIFY(regex.ok());
        RegexRun run(text.size());
        std::vector<Range> matches;
        regex->matches(text, run, matches);
        const auto cut = [&](SplitBehavior behavior, bool invert = false) {
            std::vector<Range> ranges;
            apply_split(matches, {0, text.size()}, behavior, invert, ranges);
            std::string joined;
            for (const Range& range : ranges) {
                joined += text.substr(range.begin, range.size()) + "|";
            }
            return joined;
        };
        QCOMPARE(cut(SplitBehavior::Removed), std::string("the|final|countdown|"));
        QCOMPARE(cut(SplitBehavior::Isolated), std::string("the|-|final|-|-|countdown|"));
        QCOMPARE(cut(SplitBehavior::MergedWithPrevious), std::string("the-|final-|-|countdown|"));
        QCOMPARE(cut(SplitBehavior::MergedWithNext), std::string("the|-final|-|-countdown|"));
        QCOMPARE(cut(SplitBehavior::Contiguous), std::string("the|-|final|--|countdown|"));
        QCOMPARE(cut(SplitBehavior::Removed, true), std::string("-|-|-|"));
    }
};

QTEST_GUILESS_MAIN(TokenizerHostileTest)
#include "tokenizer_hostile_test.moc"
