// The core's promises: results, JSON's limits, memory that grows in place, forks that cover all.

#include "engine/core/json.h"
#include "engine/core/log.h"
#include "engine/core/memory.h"
#include "engine/core/tensor_view.h"
#include "engine/core/thread_pool.h"

#include <QtTest>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

using namespace hs;

namespace {

Result<int> half(int n) {
    if (n % 2 != 0) {
        return Error{ErrorCode::InvalidArgument,
                     "expected an even number, found " + std::to_string(n), "Give an even number"};
    }
    return n / 2;
}

Result<std::string> quarter(int n) {
    const int first = TRY(half(n));
    const int second = TRY(half(first).with_context("second half"));
    return std::to_string(second);
}

} // namespace

class CoreTest : public QObject {
    Q_OBJECT

private slots:
    void TryPassesValuesAndReturnsErrorsWithContext() {
        QCOMPARE(quarter(12).value(), std::string("3"));
        const Result<std::string> failed = quarter(6);
        QVERIFY(!failed.ok());
        QCOMPARE(failed.error().code, ErrorCode::InvalidArgument);
        QCOMPARE(failed.error().text(), std::string("second half: expected an even number, found "
                                                    "3. Give an even number"));
    }

    void RowBytesFollowTheBlocks() {
        QCOMPARE(row_bytes(DType::Q4_K, 512), std::int64_t{288});
        QCOMPARE(row_bytes(DType::Q8_0, 64), std::int64_t{68});
        QCOMPARE(row_bytes(DType::BF16, 3), std::int64_t{6});
        QCOMPARE(std::string(to_string(DType::MXFP4)), std::string("MXFP4"));
    }

    void ViewsStrideAndSlice() {
        float values[24];
        for (int i = 0; i < 24; ++i) {
            values[i] = static_cast<float>(i);
        }
        const View<float, 3> view(values, {2, 3, 4});
        QVERIFY(view.contiguous());
        QCOMPARE(view(1, 2, 3), 23.0f);
        const View<float, 3> second = view.slice(1, 1);
        QCOMPARE(second(0, 0, 0), 12.0f);
        const View<const float, 2> columns(values, {3, 2}, {4, 1});
        QVERIFY(!columns.contiguous());
        QCOMPARE(columns(2, 1), 9.0f);
    }

    void JsonRefusesDepthSizeAndRepeatedKeys() {
        QVERIFY(parse_json("{\"a\": [1, 2.5, \"x\"]}").ok());
        const std::string deep(100'000, '[');
        QCOMPARE(parse_json(deep).error().code, ErrorCode::Corrupt);
        QCOMPARE(parse_json("{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}").error().code,
                 ErrorCode::Corrupt);
        QVERIFY(parse_json("[{\"c\": 1}, {\"c\": 2}]").ok());
        QVERIFY(!parse_json("[1, 2", {}).ok());
        QVERIFY(!parse_json("[1, 2]", {.bytes = 4}).ok());
        // Brackets inside texts are no depth.
        QVERIFY(parse_json("\"" + std::string(1000, '[') + "\"").ok());
    }

    void JsonKeepsOrderAndFindsKeysInLargeObjects() {
        std::string text = "{";
        for (int i = 999; i >= 0; --i) {
            text += "\"key" + std::to_string(i) + "\":" + std::to_string(i) + (i > 0 ? "," : "}");
        }
        Json object = parse_json(text).value();
        QCOMPARE(object.begin().key(), std::string("key999"));
        QCOMPARE(json_int(object, "key123").value(), std::int64_t{123});
        object.erase("key500");
        QVERIFY(!object.contains("key500"));
        QCOMPARE(json_int(object, "key499").value(), std::int64_t{499});
        Json copy = object;
        copy["key500"] = "back";
        QVERIFY(!object.contains("key500"));
        QCOMPARE(std::prev(copy.end()).key(), std::string("key500"));
        QVERIFY(parse_json(copy.dump()).value() == copy);
    }

    void JsonLookUpsNameTheKey() {
        const Json object = parse_json("{\"n\": 4096, \"f\": 1e6, \"s\": \"x\", \"z\": null, "
                                       "\"big\": 18446744073709551615}")
                                .value();
        QCOMPARE(json_int(object, "n").value(), std::int64_t{4096});
        QCOMPARE(json_int(object, "f").value(), std::int64_t{1'000'000});
        QCOMPARE(json_int(object, "z", 7).value(), std::int64_t{7});
        QCOMPARE(json_int(object, "big").error().code, ErrorCode::Corrupt);
        QCOMPARE(json_int(object, "s").error().code, ErrorCode::Corrupt);
        QCOMPARE(json_bool(object, "none").error().code, ErrorCode::NotFound);
        QVERIFY(json_string(object, "n").error().what.find("\"n\"") != std::string::npos);
    }

    void GrownMemoryStaysWhereItIsAndComesZeroed() {
        auto memory = GrowingMemory::reserve(std::size_t{1} << 30).value();
        std::byte* const start = memory.data();
        QVERIFY(memory.commit(10).ok());
        start[9] = std::byte{7};
        QVERIFY(memory.commit(1 << 20).ok());
        QCOMPARE(memory.data(), start);
        QCOMPARE(start[9], std::byte{7});
        QCOMPARE(memory.committed() % GrowingMemory::page_bytes(), std::size_t{0});
        start[(1 << 20) - 1] = std::byte{9};
        memory.shrink(100);
        QCOMPARE(memory.committed(), GrowingMemory::page_bytes());
        QVERIFY(memory.commit(1 << 20).ok());
        QCOMPARE(start[(1 << 20) - 1], std::byte{0});
        QCOMPARE(start[9], std::byte{7});
    }

    void MappedFilesReadNonAsciiNamesAndRefuseFolders() {
        const QTemporaryDir folder;
        const std::filesystem::path path =
            std::filesystem::path(folder.path().toStdU16String()) / u8"Größe 模型.bin";
        std::ofstream(path, std::ios::binary) << "hybrid";
        const auto mapped = MappedFile::open(path).value();
        QCOMPARE(mapped.bytes().size(), std::size_t{6});
        QCOMPARE(std::memcmp(mapped.bytes().data(), "hybrid", 6), 0);
        QCOMPARE(MappedFile::open(path.parent_path() / "absent").error().code, ErrorCode::NotFound);
        QVERIFY(!MappedFile::open(path.parent_path()).ok());
    }

    void ForksReachEveryWorkerAndEveryPiece() {
        for (const int threads : {1, 2, 5}) {
            ThreadPool pool(threads);
            QCOMPARE(pool.threads(), threads);
            for (int round = 0; round < 200; ++round) {
                std::atomic<int> seen{0};
                pool.run([&](int worker) { seen.fetch_add(1 << (4 * worker)); });
                int expected = 0;
                for (int worker = 0; worker < threads; ++worker) {
                    expected += 1 << (4 * worker);
                }
                QCOMPARE(seen.load(), expected);
                std::vector<std::atomic<int>> hits(1001);
                pool.for_range(1001, 17, [&](std::int64_t first, std::int64_t last, int) {
                    for (std::int64_t i = first; i < last; ++i) {
                        hits[static_cast<std::size_t>(i)].fetch_add(1);
                    }
                });
                QVERIFY(std::all_of(hits.begin(), hits.end(), [](auto& n) { return n == 1; }));
            }
            // Workers that went to sleep come back.
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            std::atomic<int> seen{0};
            pool.run([&](int) { seen.fetch_add(1); });
            QCOMPARE(seen.load(), threads);
        }
    }

    void EqualLogLinesBecomeOneAndACount() {
        std::vector<std::string> lines;
        set_log_sink(
            [&](LogLevel, std::string_view category, std::string_view message) {
                lines.push_back(std::string(category) + "|" + std::string(message));
            },
            LogLevel::Info);
        for (int i = 0; i < 1000; ++i) {
            HS_LOG(Warning, "files", "tensor {} is odd", 7);
        }
        HS_LOG(Debug, "files", "not shown");
        HS_LOG(Info, "files", "done");
        set_log_sink({}, LogLevel::Warning);
        const std::vector<std::string> expected = {
            "files|tensor 7 is odd", "files|the line before came 999 more times", "files|done"};
        QCOMPARE(lines, expected);
    }

    void ProcessMemoryIsMeasured() {
        const ProcessMemory before = process_memory();
        QVERIFY(before.resident_bytes > 0);
        std::vector<char> block(64 << 20, 1);
        const ProcessMemory with = process_memory();
        QVERIFY(with.resident_bytes - before.resident_bytes > (60 << 20));
        QVERIFY(with.peak_resident_bytes >= with.resident_bytes - (1 << 20));
        QVERIFY(machine_memory().total_bytes > machine_memory().available_bytes / 2);
    }
};

QTEST_GUILESS_MAIN(CoreTest)
#include "core_test.moc"
