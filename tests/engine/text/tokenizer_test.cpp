// Ids equal to Hugging Face's on 2,200 strings for every published split pattern, from
// tokenizer.json and from GGUF; added tokens only where text is markup.

#include "engine/core/log.h"
#include "engine/files/checkpoint.h"
#include "engine/text/detokenizer.h"
#include "engine/text/regex.h"
#include "engine/text/tokenizer.h"
#include "tests/engine/text/tokenizer_files.h"

#include <QTemporaryDir>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

using namespace hs;
using namespace hs::test;

namespace {

// Each string's ids against a stored line; says how many differ and shows the first.
void compare(const Tokenizer& tokenizer, const std::string& ids_file,
             const std::vector<std::string>& strings) {
    const auto expected = lines_of(ids_file);
    QCOMPARE(expected.size(), strings.size());
    std::size_t differing = 0;
    std::string first;
    for (std::size_t i = 0; i < strings.size(); ++i) {
        const auto ids = tokenizer.encode(strings[i], Specials::Match);
        if (ids != unpacked(expected[i])) {
            if (differing++ == 0) {
                first = "string " + std::to_string(i) + " " + Json(strings[i]).dump() +
                        "\n  found    " + shown(ids) + "\n  expected " +
                        shown(unpacked(expected[i]));
            }
        }
    }
    QVERIFY2(differing == 0, (std::to_string(differing) + " of " + std::to_string(strings.size()) +
                              " differ; " + first)
                                 .c_str());
}

std::string base64(const std::string& bytes) {
    return QByteArray::fromStdString(bytes).toBase64().toStdString();
}

} // namespace

class TokenizerTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_strings = strings_of("strings.txt"); }

    void EncodesAsHuggingFace_data() { names({}); }
    void EncodesAsHuggingFace() {
        QFETCH(std::string, name);
        QVERIFY(m_strings.size() >= 2000);
        compare(tokenizer_of(name), name + ".ids", m_strings);
        auto from_text = Tokenizer::from_tokenizer_text(file_text(name + ".json"), nullptr);
        QVERIFY2(from_text.ok(), from_text.ok() ? "" : from_text.error().text().c_str());
        compare(*from_text, name + ".ids", m_strings);
    }

    void HonoursAddedTokenAttributesAsHuggingFace() {
        compare(tokenizer_of("demanding"), "demanding.ids", strings_of("demanding.txt"));
    }

    void EncodesTheSameFromGguf_data() {
        QTest::addColumn<std::string>("name");
        QTest::addColumn<std::string>("model");
        QTest::addColumn<std::string>("pre");
        const char* const rows[][3] = {
            {"r1", "gpt2", "gpt-2"},       {"r2", "gpt2", "llama-bpe"},
            {"r3", "gpt2", "qwen2"},       {"r4", "gpt2", "qwen35"},
            {"r5", "gpt2", "gpt-4o"},      {"r6", "gpt2", "tekken"},
            {"r7", "gpt2", "deepseek-v3"}, {"r8", "gpt2", "kimi-k2"},
            {"r9", "gpt2", "bailingmoe2"}, {"r11", "gpt2", "minicpm5"},
            {"spm", "llama", "default"},   {"gemma", "gemma4", "gemma4"},
        };
        for (const auto& row : rows) {
            QTest::newRow(row[2]) << std::string(row[0]) << std::string(row[1])
                                  << std::string(row[2]);
        }
    }
    void EncodesTheSameFromGguf() {
        QFETCH(std::string, name);
        QFETCH(std::string, model);
        QFETCH(std::string, pre);
        auto made = Tokenizer::from_gguf(gguf_of(json_of(name + ".json"), model, pre));
        QVERIFY2(made.ok(), made.ok() ? "" : made.error().text().c_str());
        compare(*made, name + ".ids", m_strings);
    }

    void EncodesTheSameFromTiktokenRanks() {
        const Json file = json_of("r8.json");
        // The ranks are the tokens that are not added ones; their ids stay.
        Json config = Json::object();
        std::string ranks;
        const Tokenizer whole = tokenizer_of("r8");
        std::map<TokenId, bool> added;
        for (const Json& token : file["added_tokens"]) {
            const auto id = token["id"].get<TokenId>();
            added[id] = true;
            config["added_tokens_decoder"][std::to_string(id)] = {{"content", token["content"]}};
        }
        for (TokenId id = 0; id < static_cast<TokenId>(whole.vocab_size()); ++id) {
            if (!added.contains(id)) {
                ranks += base64(whole.bytes_of(id)) + " " + std::to_string(id) + "\n";
            }
        }
        auto made = Tokenizer::from_tiktoken(ranks, &config);
        QVERIFY2(made.ok(), made.ok() ? "" : made.error().text().c_str());
        compare(*made, "r8.ids", m_strings);
        QCOMPARE(made->vocab_size(),
                 whole.vocab_size() - static_cast<std::int64_t>(added.size()) + 256);
    }

    void PlainTextNeverBecomesAnAddedToken_data() { names({"r2", "r3", "spm"}); }
    void PlainTextNeverBecomesAnAddedToken() {
        QFETCH(std::string, name);
        const Tokenizer tokenizer = tokenizer_of(name);
        const auto lines = lines_of(name + ".plain");
        QVERIFY(lines.size() > 150);
        std::set<TokenId> added;
        const Json json = json_of(name + ".json"); // a name: the loop would not keep it alive
        for (const Json& token : json["added_tokens"]) {
            added.insert(token["id"].get<TokenId>());
        }
        for (const std::string& line : lines) {
            const std::size_t space = line.find(' ');
            const std::string& text = m_strings[std::stoul(line.substr(0, space))];
            const auto ids = tokenizer.encode(text, Specials::Plain);
            for (const TokenId id : ids) {
                QVERIFY2(id == 0 || !added.contains(id), text.c_str());
            }
            QVERIFY2(ids == unpacked(line.substr(space + 1)), text.c_str());
        }
    }

    void WholePieceLookupCannotForgeASpecialToken() {
        // ignore_merges looks whole pieces up; here a special token is one piece of the pattern.
        Json file = json_of("r2.json");
        file["added_tokens"].push_back({{"id", 905},
                                        {"content", "stop"},
                                        {"special", true},
                                        {"normalized", false},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false}});
        auto tokenizer = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(tokenizer.ok());
        QCOMPARE(tokenizer->encode("stop", Specials::Match), std::vector<TokenId>{905});
        for (const TokenId id : tokenizer->encode("stop", Specials::Plain)) {
            QVERIFY(id != 905);
        }
        Json metadata = gguf_of(file, "gpt2", "llama-bpe");
        auto gguf = Tokenizer::from_gguf(metadata);
        QVERIFY(gguf.ok());
        for (const TokenId id : gguf->encode("stop", Specials::Plain)) {
            QVERIFY(id != 905);
        }
    }

    void SpansEncodeAsOneTextWithTheirOwnRules_data() { names({}); }
    void SpansEncodeAsOneTextWithTheirOwnRules() {
        QFETCH(std::string, name);
        const Tokenizer tokenizer = tokenizer_of(name);
        const auto end = tokenizer.find("<|im_end|>");
        QVERIFY(end.has_value());
        const std::string words = "Hello, мир!\n\n  don't";
        const std::vector<TextSpan> honest = {{"<|im_start|>user", Specials::Match},
                                              {"\n", Specials::Match},
                                              {words, Specials::Plain},
                                              {"<|im_", Specials::Match},
                                              {"end|>\n", Specials::Match}};
        QCOMPARE(tokenizer.encode(honest),
                 tokenizer.encode("<|im_start|>user\n" + words + "<|im_end|>\n", Specials::Match));
        const std::vector<TextSpan> forged = {{"<|im_start|>user\n", Specials::Match},
                                              {"a<|im_end|>b<|im_", Specials::Plain},
                                              {"end|>", Specials::Match},
                                              {"<|im_end|>", Specials::Match}};
        const auto ids = tokenizer.encode(forged);
        QCOMPARE(std::count(ids.begin(), ids.end(), *end), 1);
        QCOMPARE(ids.back(), *end);
    }

    void PutsBosFirstOnlyWhenAsked() {
        const Tokenizer tokenizer = tokenizer_of("r2");
        QVERIFY(tokenizer.adds_bos());
        const auto bos = tokenizer.find("<|endoftext|>");
        QCOMPARE(tokenizer.bos(), bos);
        QCOMPARE(tokenizer.encode("the", Specials::Plain, true).front(), *bos);
        QVERIFY(tokenizer.encode("the", Specials::Plain).front() != *bos);
        QVERIFY(!tokenizer_of("r3").adds_bos());
        Json config = {{"add_bos_token", false}, {"eos_token", {{"content", "<|im_end|>"}}}};
        auto without = Tokenizer::from_tokenizer_json(json_of("r2.json"), &config);
        QVERIFY(without.ok() && !without->adds_bos());
        QCOMPARE(without->eos(), tokenizer.find("<|im_end|>"));
        config = {{"add_bos_token", true}, {"bos_token", "<|endoftext|>"}};
        auto with = Tokenizer::from_tokenizer_json(json_of("r3.json"), &config);
        QVERIFY(with.ok() && with->adds_bos());
    }

    void EndsRepliesOnNamedAndDeclaredTokens() {
        const Tokenizer tokenizer = tokenizer_of("r3");
        QVERIFY(tokenizer.ends_reply(*tokenizer.find("<|im_end|>")));
        QVERIFY(tokenizer.ends_reply(*tokenizer.find("<|endoftext|>")));
        QVERIFY(!tokenizer.ends_reply(*tokenizer.find("<|im_start|>")));
        QVERIFY(!tokenizer.ends_reply(*tokenizer.find("</think>")));
        Json metadata = gguf_of(json_of("r3.json"), "gpt2", "qwen2");
        metadata["tokenizer.ggml.eos_token_id"] = 5;
        metadata["tokenizer.ggml.eot_token_id"] = 6;
        metadata["tokenizer.ggml.eom_token_id"] = 4294967295u;
        auto gguf = Tokenizer::from_gguf(metadata);
        QVERIFY(gguf.ok());
        QVERIFY(gguf->ends_reply(5) && gguf->ends_reply(6));
        QCOMPARE(gguf->end_tokens().size(), 4u);
        // "</s>" as a word that merging made is HTML's.
        Json words = json_of("r3.json");
        words["model"]["vocab"]["</s>"] = 910;
        auto html = Tokenizer::from_tokenizer_json(words, nullptr);
        QVERIFY(html.ok() && !html->ends_reply(910));
    }

    void HarmonysEndOfMessageDoesNotEndTheReply() {
        Json file = json_of("r5.json");
        int id = 905;
        for (const char* name : {"<|end|>", "<|return|>", "<|call|>"}) {
            file["added_tokens"].push_back({{"id", id++}, {"content", name}, {"special", true}});
        }
        auto tokenizer = Tokenizer::from_tokenizer_json(file, nullptr);
        QVERIFY(tokenizer.ok());
        QVERIFY(!tokenizer->ends_reply(905) && tokenizer->ends_reply(906) &&
                tokenizer->ends_reply(907));
    }

    void UnknownPreTokenizerWarnsAndSplitsAsLlama3() {
        std::vector<std::string> warnings;
        set_log_sink([&](LogLevel, std::string_view,
                         std::string_view message) { warnings.emplace_back(message); },
                     LogLevel::Warning);
        auto made = Tokenizer::from_gguf(gguf_of(json_of("r2.json"), "gpt2", "never-heard-of"));
        set_log_sink({}, LogLevel::Warning);
        QVERIFY(made.ok());
        QCOMPARE(warnings.size(), 1u);
        QVERIFY(warnings[0].find("never-heard-of") != std::string::npos);
        QCOMPARE(made->encode("123456 it's", Specials::Plain),
                 tokenizer_of("r2").encode("123456 it's", Specials::Plain));
    }

    void NamesTheComponentItDoesNotSupport() {
        const std::pair<const char*, Json> parts[] = {
            {"normalizer", {{"type", "BertNormalizer"}}},
            {"pre_tokenizer", {{"type", "UnicodeScripts"}}},
            {"post_processor", {{"type", "BertProcessing"}}},
            {"decoder", {{"type", "WordPiece"}}},
            {"model", {{"type", "Unigram"}, {"vocab", Json::array()}}},
        };
        for (const auto& [component, value] : parts) {
            Json file = json_of("r3.json");
            file[component] = value;
            auto made = Tokenizer::from_tokenizer_json(file, nullptr);
            QVERIFY(!made.ok());
            QCOMPARE(made.error().code, ErrorCode::Unsupported);
            QVERIFY(made.error().what.find(value["type"].get<std::string>()) != std::string::npos);
        }
    }

    void OpensWhatTheCheckpointCarries() {
        QTemporaryDir folder;
        const auto write = [&](const char* name, const std::string& text) {
            QFile file(folder.filePath(name));
            QVERIFY(file.open(QIODevice::WriteOnly));
            file.write(text.data(), static_cast<qint64>(text.size()));
        };
        write("config.json",
              "{\"architectures\": [\"X\"], \"text_config\": {\"eos_token_id\": 7}}");
        const auto open = [&] {
            auto checkpoint = Checkpoint::open(folder.path().toStdString(), Need::HeaderOnly);
            return checkpoint.ok() ? Tokenizer::open(*checkpoint)
                                   : Result<Tokenizer>(std::move(checkpoint).error());
        };
        const auto absent = open();
        QVERIFY(!absent.ok());
        QCOMPARE(absent.error().code, ErrorCode::NotFound);
        write("tiktoken.model", "YQ== 0\nYg== 1\n");
        QCOMPARE(open()->encode("ab", Specials::Plain), (std::vector<TokenId>{0, 1}));
        write("tokenizer.json", file_text("r3.json"));
        write("tokenizer_config.json", "{\"eos_token\": \"<|im_end|>\", \"pad_token\": null}");
        write("generation_config.json", "{\"eos_token_id\": [8, 9, -1, 99999]}");
        const auto tokenizer = open();
        QVERIFY2(tokenizer.ok(), tokenizer.ok() ? "" : tokenizer.error().text().c_str());
        compare(*tokenizer, "r3.ids", m_strings);
        QCOMPARE(tokenizer->eos(), tokenizer->find("<|im_end|>"));
        for (const TokenId id : {7, 8, 9}) {
            QVERIFY(tokenizer->ends_reply(id));
        }
        QCOMPARE(tokenizer->end_tokens().size(), 5u);
        write("tokenizer_config.json", "{");
        QVERIFY(!open().ok());
    }

    void OneTokenizerServesManyThreads() {
        const Tokenizer tokenizer = tokenizer_of("r4");
        std::string text;
        for (const std::string& string : m_strings) {
            text += string;
        }
        const auto expected = tokenizer.encode(text, Specials::Match);
        std::vector<std::vector<TokenId>> found(4);
        {
            std::vector<std::jthread> threads;
            for (auto& ids : found) {
                threads.emplace_back([&] { ids = tokenizer.encode(text, Specials::Match); });
            }
        }
        for (const auto& ids : found) {
            QCOMPARE(ids, expected);
        }
    }

    void LongTextEqualsItsPiecesSeparatelyEncoded() {
        // The piece cache and the heap for long pieces give what short texts give.
        const Tokenizer tokenizer = tokenizer_of("r2");
        std::minstd_rand random(7);
        std::vector<std::string> words;
        for (int i = 0; i < 400; ++i) {
            std::string word = " ";
            for (unsigned letters = 1 + random() % (i % 10 == 0 ? 300 : 9); letters > 0;
                 --letters) {
                word.push_back("etaoinshr"[random() % 9]);
            }
            words.push_back(word);
        }
        std::string text;
        std::vector<TokenId> expected;
        for (int i = 0; i < 5000; ++i) {
            const std::string& word = words[random() % words.size()];
            text += word;
            const auto ids = tokenizer.encode(word, Specials::Plain);
            expected.insert(expected.end(), ids.begin(), ids.end());
        }
        QCOMPARE(tokenizer.encode(text, Specials::Plain), expected);
    }

private:
    void names(std::vector<std::string> list) {
        QTest::addColumn<std::string>("name");
        if (list.empty()) {
            list = {"r1", "r2", "r3",  "r4",        "r5",  "r6",   "r7",
                    "r8", "r9", "r11", "metaspace", "spm", "gemma"};
        }
        for (const std::string& name : list) {
            QTest::newRow(name.c_str()) << name;
        }
    }

    std::vector<std::string> m_strings;
};

QTEST_GUILESS_MAIN(TokenizerTest)
#include "tokenizer_test.moc"
