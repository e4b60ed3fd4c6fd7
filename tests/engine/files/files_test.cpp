// Correct checkpoints: against files that the formats' own Python packages wrote
// (tests/reference/make_container_files.py), and the shapes that checkpoints come in.

#include "engine/core/paths.h"
#include "engine/files/checkpoint.h"
#include "engine/files/gguf.h"
#include "tests/support/allocation_meter.h"
#include "tests/support/tiny_gguf.h"

#include <QCryptographicHash>
#include <QtTest>

#include <cmath>
#include <cstring>
#include <limits>

using namespace hs;
using namespace hs::test;

namespace {

const std::filesystem::path kContainers = std::filesystem::path(HS_TEST_DATA) / "data/containers";

std::string sha256(std::span<const std::byte> bytes) {
    const QByteArray view = QByteArray::fromRawData(reinterpret_cast<const char*>(bytes.data()),
                                                    static_cast<qsizetype>(bytes.size()));
    return QCryptographicHash::hash(view, QCryptographicHash::Sha256).toHex().toStdString();
}

std::vector<float> ramp(std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) {
        values[i] = static_cast<float>(i) * 0.5F;
    }
    return values;
}

// What open says, as text when it fails.
Checkpoint opened(const std::filesystem::path& path, Need need = Need::Tensors) {
    Result<Checkpoint> checkpoint = Checkpoint::open(path, need);
    if (!checkpoint.ok()) {
        qWarning("%s", checkpoint.error().text().c_str());
    }
    return checkpoint.ok() ? std::move(checkpoint).value() : Checkpoint();
}

void write_folder(const std::filesystem::path& folder) {
    write_file(folder / "config.json", R"({"architectures":["Qwen3ForCausalLM"]})");
    SafetensorsWriter().tensor("a", {2, 2}, ramp(4)).write(folder / "model.safetensors");
}

GgufWriter model(GgufWriter::Overrides overrides = {}) {
    GgufWriter writer(std::move(overrides));
    writer.set("general.architecture", "qwen3");
    return writer;
}

} // namespace

class FilesTest : public QObject {
    Q_OBJECT

private slots:
    void ReadsWhatThePythonPackagesWrote() {
        const Result<Json> expected = read_json_file(kContainers / "expected.json");
        QVERIFY(expected.ok());
        for (const Json& item : (*expected)["cases"]) {
            const auto name = item["open"].get<std::string>();
            const Checkpoint checkpoint = opened(kContainers / name);
            QCOMPARE(checkpoint.architecture(), item["architecture"].get<std::string>());
            QCOMPARE(checkpoint.files().size(), item["files"].size());
            std::int64_t file_bytes = 0;
            for (std::size_t i = 0; i < checkpoint.files().size(); ++i) {
                QCOMPARE(checkpoint.files()[i], kContainers / item["files"][i].get<std::string>());
                file_bytes +=
                    static_cast<std::int64_t>(std::filesystem::file_size(checkpoint.files()[i]));
            }
            QCOMPARE(checkpoint.file_bytes(), file_bytes);
            for (const auto& [key, value] : item["metadata"].items()) {
                const Json* found = json_member(checkpoint.metadata(), key);
                QVERIFY2(found != nullptr && *found == value, key.c_str());
            }
            QCOMPARE(checkpoint.tensors().size(), item["tensors"].size());
            for (const Json& tensor : item["tensors"]) {
                const auto tensor_name = tensor["name"].get<std::string>();
                const TensorInfo* found = checkpoint.find(tensor_name);
                QVERIFY2(found != nullptr, tensor_name.c_str());
                QCOMPARE(found->name, tensor_name);
                QCOMPARE(std::string(to_string(found->dtype)), tensor["dtype"].get<std::string>());
                QCOMPARE(found->shape, tensor["shape"].get<std::vector<std::int64_t>>());
                QCOMPARE(found->bytes, tensor["bytes"].get<std::int64_t>());
                QCOMPARE(static_cast<std::int64_t>(found->data.size()), found->bytes);
                QCOMPARE(sha256(found->data), tensor["sha256"].get<std::string>());
            }
        }
    }

    void GgufTypesHaveTheSizesOfTheEngine() {
        std::size_t computable = 0;
        for (const GgufType& type : gguf_types()) {
            if (type.computable) {
                ++computable;
                QCOMPARE(type.block_elems, info(type.dtype).block_elems);
                QCOMPARE(type.block_bytes, info(type.dtype).block_bytes);
                QCOMPARE(type.name, std::string_view(to_string(type.dtype)));
                QCOMPARE(gguf_type_id(type.dtype), type.id);
            }
        }
        QCOMPARE(computable, std::size_t{21});
    }

    void VersionTwoReadsLikeThree() {
        const TemporaryFolder folder;
        model({.version = 2}).tensor("a", {2, 3}, ramp(6)).write(folder / "v2.gguf");
        const Checkpoint checkpoint = opened(folder / "v2.gguf");
        QCOMPARE(checkpoint.container(), Container::Gguf);
        const TensorInfo* tensor = checkpoint.find("a");
        QVERIFY(tensor != nullptr);
        QCOMPARE(tensor->describe(), std::string("(2, 3) F32"));
        QCOMPARE(tensor->elements(), std::int64_t{6});
        QVERIFY(std::memcmp(tensor->data.data(), ramp(6).data(), 24) == 0);
        QVERIFY(checkpoint.find("b") == nullptr);
    }

    void PaddingAfterTheLastTensorMayBeMissing() {
        const TemporaryFolder folder;
        const Bytes bytes = model().tensor("a", {1}, ramp(1)).bytes();
        QVERIFY(bytes.size() % 32 != 0);
        write_file(folder / "a.gguf", bytes);
        QVERIFY(opened(folder / "a.gguf").find("a") != nullptr);
    }

    void TensorsMayLieInAnyOrderAndLeaveGaps() {
        const TemporaryFolder folder;
        const Bytes data = bytes_of(ramp(64));
        model()
            .declare({"late", {8}, 0, 128}, data)
            .declare({"early", {8}, 0, 0})
            .write(folder / "a.gguf");
        const Checkpoint checkpoint = opened(folder / "a.gguf");
        QVERIFY(checkpoint.find("late") != nullptr);
        QCOMPARE(checkpoint.find("late")->data.data() - checkpoint.find("early")->data.data(),
                 std::ptrdiff_t{128});
    }

    void BoolsOtherThanZeroAndOneAreTrue() {
        const TemporaryFolder folder;
        model()
            .set_raw("test.flag", 7, {std::byte{2}})
            .tensor("a", {1}, ramp(1))
            .write(folder / "a.gguf");
        const Result<bool> flag = json_bool(opened(folder / "a.gguf").metadata(), "test.flag");
        QVERIFY(flag.ok() && *flag);
    }

    void StringsThatAreNotUtf8StayAsTheyAre() {
        const TemporaryFolder folder;
        model()
            .set("test.token", "\xFF\xFE")
            .set("test.scale", std::numeric_limits<float>::quiet_NaN())
            .tensor("a", {1}, ramp(1))
            .write(folder / "a.gguf");
        const Checkpoint checkpoint = opened(folder / "a.gguf");
        QCOMPARE(*json_string(checkpoint.metadata(), "test.token"), std::string("\xFF\xFE"));
        QVERIFY(std::isnan(checkpoint.metadata()["test.scale"].get<double>()));
        // A look-up that expects another type says so, whatever the bytes are.
        QCOMPARE(json_int(checkpoint.metadata(), "test.token").error().code, ErrorCode::Corrupt);
    }

    void AnyPartOpensTheWholeSplit() {
        for (int part = 1; part <= 3; ++part) {
            const auto name = "split-0000" + std::to_string(part) + "-of-00003.gguf";
            const Checkpoint checkpoint = opened(kContainers / name);
            QCOMPARE(checkpoint.tensors().size(), std::size_t{5});
            QCOMPARE(checkpoint.files().size(), std::size_t{3});
            QCOMPARE(checkpoint.path(), kContainers / name);
            QCOMPARE(checkpoint.find("blk.4.weight")->file, 2);
            QCOMPARE(*json_int(checkpoint.metadata(), "llama.block_count"), std::int64_t{5});
        }
    }

    void FirstPartOfASplitMayHoldMetadataAlone() {
        const TemporaryFolder folder;
        const auto part = [](std::uint16_t number) {
            GgufWriter writer;
            writer.set("split.no", number)
                .set("split.count", std::uint16_t{2})
                .set("split.tensors.count", std::int32_t{1});
            return writer;
        };
        part(0).set("general.architecture", "qwen3").write(folder / "m-00001-of-00002.gguf");
        part(1).tensor("a", {2}, ramp(2)).write(folder / "m-00002-of-00002.gguf");
        const Checkpoint checkpoint = opened(folder / "m-00002-of-00002.gguf");
        QCOMPARE(checkpoint.architecture(), std::string("qwen3"));
        QCOMPARE(checkpoint.find("a")->file, 1);
    }

    void HeaderOnlyNeedsNoTensorData() {
        const TemporaryFolder folder;
        Bytes bytes = model()
                          .tensor("a", {2, 2}, ramp(4))
                          .declare({"big", {256, 1 << 20}, 16, 32}) // IQ2_XXS, 66 MiB
                          .bytes();
        bytes.resize(bytes.size() - 24);
        write_file(folder / "a.gguf", bytes);
        const Checkpoint checkpoint = opened(folder / "a.gguf", Need::HeaderOnly);
        QCOMPARE(checkpoint.tensors().size(), std::size_t{2});
        QVERIFY(checkpoint.find("a")->data.empty());
        QCOMPARE(checkpoint.find("big")->foreign_type, std::string_view("IQ2_XXS"));
        QCOMPARE(checkpoint.find("big")->bytes, std::int64_t{66} << 20);
        QCOMPARE(checkpoint.find("big")->describe(), std::string("(1048576, 256) IQ2_XXS"));
        checkpoint.forget(*checkpoint.find("a"), checkpoint.find("a")->data); // nothing, harmless
    }

    void HeaderOnlyTakesTheFirstPartOfASplit() {
        const TemporaryFolder folder;
        std::filesystem::copy(kContainers / "split-00001-of-00003.gguf", folder.path());
        const Checkpoint checkpoint =
            opened(folder / "split-00001-of-00003.gguf", Need::HeaderOnly);
        QCOMPARE(checkpoint.architecture(), std::string("llama"));
        QCOMPARE(checkpoint.tensors().size(), std::size_t{2});
    }

    void HeaderOnlyFolderNeedsItsConfigAlone() {
        const TemporaryFolder folder;
        write_file(folder / "config.json", R"({"model_type":"qwen3_5","hidden_size":64})");
        write_file(folder / "other.json", R"({"architectures":["KimiLinearForCausalLM"]})");
        for (const char* name : {"", "config.json"}) {
            const Checkpoint checkpoint = opened(folder / name, Need::HeaderOnly);
            QCOMPARE(checkpoint.container(), Container::Safetensors);
            QCOMPARE(checkpoint.architecture(), std::string("qwen3_5"));
            QCOMPARE(*json_int(checkpoint.metadata(), "hidden_size"), std::int64_t{64});
            QVERIFY(checkpoint.tensors().empty());
        }
        QCOMPARE(opened(folder / "other.json", Need::HeaderOnly).architecture(),
                 std::string("KimiLinearForCausalLM"));
    }

    void AWeightFileOrConfigStandsForItsFolder() {
        const char* names[] = {"config.json", "model.safetensors.index.json",
                               "model-00002-of-00002.safetensors"};
        for (const char* name : names) {
            const Checkpoint checkpoint = opened(kContainers / "sharded" / name);
            QCOMPARE(checkpoint.tensors().size(), std::size_t{4});
            QCOMPARE(checkpoint.architecture(), std::string("Qwen3NextForCausalLM"));
        }
    }

    void AnyOtherSafetensorsFileOpensAlone() {
        const TemporaryFolder folder;
        write_folder(folder.path());
        SafetensorsWriter()
            .metadata("format", "pt")
            .tensor("logits", {1, 4}, ramp(4))
            .write(folder / "expected.safetensors");
        const Checkpoint checkpoint = opened(folder / "expected.safetensors");
        QCOMPARE(checkpoint.tensors().size(), std::size_t{1});
        QVERIFY(checkpoint.find("logits") != nullptr);
        QVERIFY(checkpoint.architecture().empty());
        QVERIFY(checkpoint.metadata().is_object() && checkpoint.metadata().empty());
    }

    void SafetensorsMayLieUnaligned() {
        const TemporaryFolder folder;
        const Bytes data = bytes_of(ramp(3));
        // A header of 63 bytes: the data begins at byte 71.
        std::string header = R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})";
        header.resize(63, ' ');
        write_file(folder / "a.safetensors", SafetensorsWriter::container(header, data));
        const Checkpoint checkpoint = opened(folder / "a.safetensors");
        const std::span<const std::byte> found = checkpoint.find("a")->data;
        QVERIFY(reinterpret_cast<std::uintptr_t>(found.data()) % 4 != 0);
        QVERIFY(std::memcmp(found.data(), data.data(), 12) == 0);
    }

    void SideFilesAreReadFromTheFolder() {
        const TemporaryFolder folder;
        write_folder(folder.path());
        write_file(folder / "chat_template.jinja", "{{ messages }}");
        for (const char* name : {"", "config.json", "model.safetensors"}) {
            const Checkpoint checkpoint = opened(folder / name);
            QCOMPARE(*checkpoint.read_side_file("chat_template.jinja"),
                     std::string("{{ messages }}"));
            QCOMPARE(checkpoint.read_side_file("tokenizer.json").error().code, ErrorCode::NotFound);
        }
        QCOMPARE(opened(kContainers / "single.gguf").read_side_file("a").error().code,
                 ErrorCode::NotFound);
    }

    void NamesMayHoldAnyScript() {
        const TemporaryFolder folder;
        const std::filesystem::path models = folder / path_from_utf8("модели 模型 é🎻");
        std::filesystem::create_directory(models);
        const std::filesystem::path gguf = models / path_from_utf8("größe-日本.gguf");
        model().tensor("ä.weight", {2}, ramp(2)).write(gguf);
        QVERIFY(opened(gguf).find("ä.weight") != nullptr);

        write_file(models / "config.json", R"({"model_type":"qwen3"})");
        write_file(models / "model.safetensors.index.json",
                   R"({"metadata":{},"weight_map":{"a":"часть.safetensors"}})");
        SafetensorsWriter()
            .tensor("a", {2}, ramp(2))
            .write(models / path_from_utf8("часть.safetensors"));
        write_file(models / path_from_utf8("说明.txt"), "hello");
        const Checkpoint checkpoint = opened(models);
        QVERIFY(checkpoint.find("a") != nullptr);
        QCOMPARE(*checkpoint.read_side_file("说明.txt"), std::string("hello"));

        const auto part = [](std::uint16_t number) {
            GgufWriter writer = model();
            writer.set("split.no", number).set("split.count", std::uint16_t{2});
            return writer;
        };
        part(0).tensor("a", {2}, ramp(2)).write(models / path_from_utf8("ф-00001-of-00002.gguf"));
        part(1).tensor("b", {2}, ramp(2)).write(models / path_from_utf8("ф-00002-of-00002.gguf"));
        QCOMPARE(opened(models / path_from_utf8("ф-00002-of-00002.gguf")).tensors().size(),
                 std::size_t{2});

        const Result<Checkpoint> missing =
            Checkpoint::open(models / path_from_utf8("нет.gguf"), Need::Tensors);
        QCOMPARE(missing.error().code, ErrorCode::NotFound);
        QVERIFY(missing.error().what.find("нет.gguf") != std::string::npos);
    }

    void LinksAreFollowed() {
        const TemporaryFolder folder;
        std::error_code error;
        // As download caches lay files out: names are links to hashes elsewhere.
        std::filesystem::create_directories(folder / "blobs");
        std::filesystem::create_directories(folder / "snapshot");
        int blob = 0;
        const auto link = [&](const std::filesystem::path& from, const char* name) {
            const auto target = folder / "blobs" / std::to_string(blob++);
            std::filesystem::copy(from, target);
            std::filesystem::create_symlink(target, folder / "snapshot" / name, error);
        };
        for (const char* name :
             {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
              "model-00002-of-00002.safetensors"}) {
            link(kContainers / "sharded" / name, name);
        }
        for (const char* name : {"split-00001-of-00003.gguf", "split-00002-of-00003.gguf",
                                 "split-00003-of-00003.gguf"}) {
            link(kContainers / name, name);
        }
        if (error) {
            QSKIP("this system makes no symbolic links here");
        }
        QCOMPARE(opened(folder / "snapshot").tensors().size(), std::size_t{4});
        QCOMPARE(opened(folder / "snapshot/split-00003-of-00003.gguf").tensors().size(),
                 std::size_t{5});
        // A hash without extension, and a link of another name to a part.
        QCOMPARE(Checkpoint::open(folder / "blobs/4", Need::HeaderOnly).error().code,
                 ErrorCode::Corrupt);
        std::filesystem::create_symlink(kContainers / "split-00001-of-00003.gguf", folder / "model",
                                        error);
        QCOMPARE(opened(folder / "model").tensors().size(), std::size_t{5});
    }

    void LargeVocabulariesOpenWithinHalfASecond() {
        const TemporaryFolder folder;
        std::vector<std::string> tokens;
        std::vector<std::string> merges;
        for (int i = 0; i < 250'000; ++i) {
            tokens.push_back("token" + std::to_string(i * 7919));
        }
        for (int i = 0; i < 500'000; ++i) {
            merges.push_back("left" + std::to_string(i) + " right" + std::to_string(i));
        }
        model()
            .set("tokenizer.ggml.tokens", tokens)
            .set("tokenizer.ggml.merges", merges)
            .set("tokenizer.ggml.token_type", std::vector<std::int32_t>(250'000, 1))
            .tensor("a", {1}, ramp(1))
            .write(folder / "a.gguf");
        qint64 best_ms = std::numeric_limits<qint64>::max();
        std::size_t memory = 0;
        for (int run = 0; run < 3; ++run) {
            reset_allocations();
            QElapsedTimer timer;
            timer.start();
            const Checkpoint checkpoint = opened(folder / "a.gguf");
            best_ms = std::min(best_ms, timer.elapsed());
            memory = total_allocated();
            QCOMPARE(checkpoint.metadata()["tokenizer.ggml.merges"].size(), std::size_t{500'000});
            QCOMPARE(checkpoint.metadata()["tokenizer.ggml.tokens"][249'999].get<std::string>(),
                     tokens.back());
        }
        qInfo("250,000 tokens and 500,000 merges: %lld ms, %lld MiB allocated",
              static_cast<long long>(best_ms), static_cast<long long>(memory >> 20U));
#ifndef HS_SANITIZE // its checks take most of the time
        QVERIFY(best_ms < 500);
#endif
        QVERIFY(memory < std::size_t{160} << 20U); // the file has 30 MB
    }
};

QTEST_GUILESS_MAIN(FilesTest)
#include "files_test.moc"
