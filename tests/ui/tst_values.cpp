// What the window's parts do with plain values: units, settings, Markdown in pieces, the item
// models of chat and library.

#include "app/bridge/engine_host.h"
#include "tests/support/fake_engine.h"
#include "ui/chat/chat_model.h"
#include "ui/chat/markdown_blocks.h"
#include "ui/chat/message_body.h"
#include "ui/library/library_model.h"
#include "ui/settings/settings.h"
#include "ui/settings/settings_dialog.h"
#include "ui/shared/error_bar.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QAbstractItemModelTester>
#include <QAccessible>
#include <QClipboard>
#include <QComboBox>
#include <QElapsedTimer>
#include <QFile>
#include <QRandomGenerator>
#include <QSignalSpy>
#include <QSpinBox>
#include <QTemporaryDir>
#include <QtTest>

using namespace hs;

namespace {

const char* const kDocument = R"(# A heading

A paragraph with **bold** words
over two lines.

1. first
2. second

   more of the second

3. third

```python
def f(x):
    return "```"

```
Right after the code.

| a | b |
|---|---|
| 1 | 2 |

- one
- two
~~~
plain

code
~~~
The end)";

MessageRow message(std::int64_t id, std::int64_t parent, const char* role, const char* text) {
    MessageRow row;
    row.id = id;
    row.parent = parent;
    row.session = 1;
    row.role = role;
    row.content = text;
    return row;
}

double luminance(const QColor& colour) {
    const auto linear = [](double c) {
        return c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
    };
    return 0.2126 * linear(colour.redF()) + 0.7152 * linear(colour.greenF()) +
           0.0722 * linear(colour.blueF());
}

double contrast(const QColor& a, const QColor& b) {
    const double x = luminance(a);
    const double y = luminance(b);
    return (std::max(x, y) + 0.05) / (std::min(x, y) + 0.05);
}

} // namespace

class ValuesTest : public QObject {
    Q_OBJECT

private slots:
    void BundledModelsAreNamedByRatioAndMixer() {
        const auto label = [](const char* name) { return bundled_label(QString::fromUtf8(name)); };
        QCOMPARE(label("hybridscope-ratio-full"), QStringLiteral("Full attention"));
        QCOMPARE(label("hybridscope-ratio-1-3"), QStringLiteral("Ratio 1:3"));
        QCOMPARE(label("hybridscope-ratio-1-3-kda"), QStringLiteral("Ratio 1:3, KDA"));
        QCOMPARE(label("hybridscope-ratio-none"), QStringLiteral("No full attention"));
    }

    void EachQuantityIsPrintedInOneWay() {
        const QString thin(QChar(0x202F));
        QCOMPARE(bytes_text(640), QStringLiteral("640%1B").arg(thin));
        QCOMPARE(bytes_text(1536), QStringLiteral("1.5%1KiB").arg(thin));
        QCOMPARE(bytes_text(std::int64_t{5} << 30), QStringLiteral("5%1GiB").arg(thin));
        QCOMPARE(count_text(8192), QStringLiteral("8192"));
        QCOMPARE(count_text(32768), QStringLiteral("32") + thin + QStringLiteral("768"));
        QCOMPARE(tokens_text(4096), QStringLiteral("4k"));
        QCOMPARE(tokens_text(1 << 20), QStringLiteral("1M"));
        QCOMPARE(tokens_text(313), QStringLiteral("313"));
        QCOMPARE(short_count_text(8'912'000), QStringLiteral("8.91%1M").arg(thin));
        QCOMPARE(duration_text(84), QStringLiteral("84%1ms").arg(thin));
        QCOMPARE(duration_text(1240), QStringLiteral("1.24%1s").arg(thin));
        QCOMPARE(rate_text(0), QStringLiteral("–"));
        QCOMPARE(ratio_text(0.38), QStringLiteral("0.38×"));
        QCOMPARE(signed_percent_text(-0.62), QStringLiteral("−62%1%").arg(thin));
    }

    void MarkdownInPiecesIsTheSameAsInOne() {
        const QString whole = QString::fromUtf8(kDocument);
        MarkdownBlocks once;
        once.append(whole);
        once.finish();
        QVERIFY(once.blocks().size() >= 7);
        QRandomGenerator random(7);
        for (int trial = 0; trial < 200; ++trial) {
            MarkdownBlocks pieces;
            for (qsizetype at = 0; at < whole.size();) {
                const qsizetype size = random.bounded(1, 12);
                pieces.append(QStringView(whole).mid(at, size));
                at += size;
            }
            pieces.finish();
            QCOMPARE(pieces.blocks().size(), once.blocks().size());
            for (std::size_t i = 0; i < once.blocks().size(); ++i) {
                QCOMPARE(pieces.blocks()[i].text, once.blocks()[i].text);
                QVERIFY(pieces.blocks()[i] == once.blocks()[i]);
            }
        }
    }

    void AFinishedBlockIsNotTouchedAgain() {
        MarkdownBlocks blocks;
        blocks.append(u"First paragraph.\n\nSecond");
        blocks.take_first_changed();
        blocks.append(u" paragraph");
        QCOMPARE(blocks.take_first_changed(), std::size_t{1});
        blocks.append(u".\n\n```\ncode\n");
        blocks.take_first_changed();
        blocks.append(u"more\n");
        QCOMPARE(blocks.take_first_changed(), std::size_t{2});
        QVERIFY(blocks.blocks()[0].closed);
        QVERIFY(blocks.blocks()[1].closed);
        QVERIFY(!blocks.blocks()[2].closed);
        QCOMPARE(blocks.blocks()[2].text, QStringLiteral("code\nmore\n"));
    }

    void AStreamedMessageCostsTheSameWhateverCameBefore() {
        MessageBody body(MessageBody::Format::Markdown);
        body.resize(700, 400);
        QElapsedTimer clock;
        double longest_ms = 0;
        for (int paragraph = 0; paragraph < 150; ++paragraph) {
            for (int word = 0; word < 12; ++word) {
                clock.start();
                body.append(QStringLiteral("some **words** here "));
                longest_ms = std::max(longest_ms, static_cast<double>(clock.nsecsElapsed()) / 1e6);
            }
            body.append(QStringLiteral("\n\n"));
        }
        QVERIFY(body.text().size() > 30000);
        QVERIFY2(longest_ms < 50, qPrintable(QString::number(longest_ms)));
    }

    void TextIsSelectedAcrossBlocks() {
        MessageBody body(MessageBody::Format::Markdown);
        body.resize(500, 400);
        body.set_text(QStringLiteral("First **bold**.\n\n```\ncode\n```\n\nLast."));
        body.select_all();
        QCOMPARE(body.selected_text(), QStringLiteral("First bold.\n\ncode\n\nLast."));
        QCOMPARE(body.code_blocks(), QStringList{QStringLiteral("code\n")});
    }

    void TheConversationIsASoundItemModel() {
        ChatModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        model.add(message(1, 0, "user", "question"));
        model.add(message(2, 1, "assistant", ""));
        model.grow(2, "an", "", 0);
        model.grow(2, " answer", "a thought", 2);
        QCOMPARE(model.index(1).data().toString(), QStringLiteral("an answer"));
        QCOMPARE(model.index(1).data(ChatModel::ThinkingTokensRole).toInt(), 2);
        GenerateResult result;
        result.text = "an answer.";
        result.timings.generated_tokens = 3;
        model.finish(2, result, {});
        QCOMPARE(model.index(1).data().toString(), QStringLiteral("an answer."));
        QVERIFY(!model.index(1).data(ChatModel::FiguresRole).toString().isEmpty());
    }

    void AnEditAndARegenerationAreSiblings() {
        ChatModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        model.add(message(1, 0, "user", "a"));
        model.add(message(2, 1, "assistant", "A"));
        model.add(message(3, 2, "user", "b"));
        model.add(message(4, 3, "assistant", "B"));
        model.add(message(5, 1, "assistant", "A again")); // a regeneration of the first answer
        QCOMPARE(model.rowCount(), 2);
        QCOMPARE(model.siblings(1), (std::vector<std::int64_t>{2, 5}));
        QCOMPARE(model.index(1).data(ChatModel::SiblingRole).toInt(), 1);
        model.choose(2);
        QCOMPARE(model.rowCount(), 4);
        QCOMPARE(model.last_id(), std::int64_t{4});
        model.add(message(6, 0, "user", "a edited"));
        QCOMPARE(model.rowCount(), 1);
        QCOMPARE(model.siblings(0), (std::vector<std::int64_t>{1, 6}));
        model.choose(1);
        QCOMPARE(model.rowCount(), 2); // its latest answer, the regeneration
        QCOMPARE(model.last_id(), std::int64_t{5});
    }

    void TheModelIsToldTheBranchAndTheSystemPromptOnly() {
        ChatModel model;
        model.add(message(1, 0, "system", "old"));
        model.add(message(2, 1, "user", "a"));
        model.add(message(3, 2, "assistant", "A"));
        model.add(message(4, 3, "assistant", "")); // failed before its first word
        model.add(message(5, 4, "user", "b"));
        const auto said = model.conversation(5, QStringLiteral("new"));
        QCOMPARE(said.size(), std::size_t{4});
        QCOMPARE(said[0].role, std::string("system"));
        QCOMPARE(said[0].content, std::string("new"));
        QCOMPARE(said[3].content, std::string("b"));
        QCOMPARE(model.conversation(2, {}).size(), std::size_t{1});
    }

    void SettingsStayInTheirRange() {
        QTemporaryDir folder;
        const QString path = folder.filePath(QStringLiteral("settings.ini"));
        {
            QFile file(path);
            QVERIFY(file.open(QIODevice::WriteOnly));
            file.write("[look]\ntheme=purple\ntext_percent=9000\n[sampling]\ntop_k=many\n");
        }
        WindowSettings settings(path);
        QCOMPARE(settings.text("look/theme"), QStringLiteral("system"));
        QCOMPARE(settings.integer("look/text_percent"), 200);
        QCOMPARE(settings.integer("sampling/top_k"), 40);
        QSignalSpy changed(&settings, &WindowSettings::changed);
        settings.set("sampling/top_k", 7);
        settings.set("sampling/top_k", 7);
        QCOMPARE(changed.size(), 1);
        QCOMPARE(WindowSettings(path).integer("look/text_percent"), 200);
    }

    void TheDialogEditsACopyAndAppliesItWhole() {
        QTemporaryDir folder;
        WindowSettings settings(folder.filePath(QStringLiteral("settings.ini")));
        SettingsDialog dialog(settings, QStringLiteral("/tmp/sessions.db"));
        auto* const threads = dialog.findChild<QSpinBox*>(QStringLiteral("engine/threads"));
        QVERIFY(threads);
        threads->setValue(3);
        QCOMPARE(settings.integer("engine/threads"), 0);
        dialog.accept();
        QCOMPARE(settings.integer("engine/threads"), 3);
    }

    void TheLibraryIsASoundItemModelAndSaysWhatItCannotRead() {
        QTemporaryDir folder;
        for (const char* const name : {"good.gguf", "broken.gguf", "notes.txt",
                                       "split-00001-of-00002.gguf", "split-00002-of-00002.gguf"}) {
            QFile file(folder.filePath(QLatin1String(name)));
            QVERIFY(file.open(QIODevice::WriteOnly));
        }
        QDir(folder.path()).mkpath(QStringLiteral("own er/ünder"));
        QFile config(folder.filePath(QStringLiteral("own er/ünder/config.json")));
        QVERIFY(config.open(QIODevice::WriteOnly));
        test::FakeEngine fake;
        EngineHost host(
            std::filesystem::path(folder.filePath(QStringLiteral("s.db")).toStdU16String()),
            fake.functions());
        LibraryModel model(host);
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        QSignalSpy reset(&model, &QAbstractItemModel::modelReset);
        model.refresh({folder.path()});
        QVERIFY(reset.wait());
        const auto found = [&](const char* name) {
            for (int row = 0; row < model.rowCount(); ++row) {
                if (model.entry(row).label == QString::fromUtf8(name)) {
                    return row;
                }
            }
            return -1;
        };
        QVERIFY(found("good.gguf") >= 0);
        QVERIFY(found("split-00001-of-00002.gguf") >= 0);
        QVERIFY(found("ünder") >= 0);
        QCOMPARE(found("split-00002-of-00002.gguf"), -1);
        QCOMPARE(found("notes.txt"), -1);
        QTRY_VERIFY(model.entry(found("good.gguf")).summary.has_value());
        QTRY_VERIFY(!model.entry(found("broken.gguf")).trouble.isEmpty());
        QCOMPARE(model.index(found("good.gguf"))
                     .data(LibraryModel::KindsRole)
                     .value<QList<int>>()
                     .size(),
                 8);
    }

    void TheLayerStripFillsIsWalkedByKeysAndIsReadAloud() {
        LayerStrip strip;
        strip.resize(700, 120);
        strip.set_spec(test::FakeEngine::spec());
        strip.set_state({100,
                         4096,
                         {{3, StateKind::KvCache, 204800, 102400},
                          {0, StateKind::RecurrentState, 65536, 65536},
                          {0, StateKind::ConvState, 6144, 6144}},
                         0});
        QCOMPARE(strip.layers(), 8);
        QCOMPARE(strip.layer_bytes(3), std::int64_t{102400});
        QCOMPARE(strip.total_bytes(), std::int64_t{102400 + 65536 + 6144});
        QVERIFY(strip.describe(0).contains(QLatin1String("gated delta")));
        QVERIFY(strip.describe(3).contains(QLatin1String("KV cache")));
        strip.show();
        QSignalSpy chosen(&strip, &LayerStrip::layer_chosen);
        QTest::keyClick(&strip, Qt::Key_Home);
        QTest::keyClick(&strip, Qt::Key_Right);
        QCOMPARE(strip.current_layer(), 1);
        QTest::keyClick(&strip, Qt::Key_End);
        QCOMPARE(strip.current_layer(), 7);
        QCOMPARE(chosen.size(), 3);
        QAccessibleInterface* const accessible = QAccessible::queryAccessibleInterface(&strip);
        QCOMPARE(accessible->childCount(), 8);
        QVERIFY(accessible->child(3)
                    ->text(QAccessible::Name)
                    .contains(QLatin1String("full attention")));
        QVERIFY(!accessible->child(3)->text(QAccessible::Description).isEmpty());
    }

    void NinetyFourLayersStandInEvenRows() {
        std::vector<MixerKind> kinds(94, MixerKind::GatedDelta);
        LayerStrip strip;
        strip.set_kinds(kinds);
        const int wide = strip.heightForWidth(2400);
        const int narrow = strip.heightForWidth(900);
        QVERIFY(narrow > wide);
        strip.resize(900, narrow);
        const QRect last = strip.cell_rect(93);
        QVERIFY(strip.rect().contains(last));
    }

    void TextAndKindsAreReadableInBothThemes() {
        for (const Theme theme : {Theme::Light, Theme::Dark}) {
            apply_theme(*qApp, theme, 1.0);
            const Colours& c = colours(qApp->palette());
            for (const QColor& background : {c.window, c.base, c.raised}) {
                QVERIFY(contrast(c.text, background) >= 7.0);
                QVERIFY(contrast(c.muted, background) >= 4.5);
                QVERIFY(contrast(c.accent, background) >= 4.5);
            }
            QVERIFY(contrast(c.on_accent, c.accent) >= 4.5);
            QVERIFY(contrast(c.danger, c.danger_soft) >= 4.5);
            QVERIFY(contrast(c.strong_border, c.base) >= 3.0);
            for (const MixerKind kind :
                 {MixerKind::FullAttention, MixerKind::SlidingWindow, MixerKind::GatedDelta}) {
                QVERIFY(contrast(kind_style(kind, qApp->palette()).colour, c.base) >= 3.0);
            }
        }
        apply_theme(*qApp, Theme::Light, 1.0);
    }

    void TroubleWaitsItsTurnAndCanBeCopied() {
        ErrorBar bar;
        bar.show_trouble(QStringLiteral("first"), QStringLiteral("do this"));
        bar.show_trouble(QStringLiteral("second"), {});
        bar.show_trouble(QStringLiteral("first"), QStringLiteral("do this"));
        QVERIFY(bar.text().startsWith(QLatin1String("first")));
        bar.dismiss();
        QCOMPARE(bar.text(), QStringLiteral("second"));
        bar.dismiss();
        QVERIFY(bar.isHidden());
    }
};

QTEST_MAIN(ValuesTest)
#include "tst_values.moc"
