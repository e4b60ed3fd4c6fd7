// The CPU backend against the float64 references, on every instruction set of the machine, and
// what opening a device promises.

#include "engine/backend/devices.h"
#include "engine/lab/selftest.h"
#include "kernels/cpu/kernels.h"

#include <QtTest>

#include <cmath>

using namespace hs;

class BackendTest : public QObject {
    Q_OBJECT

private slots:
    void EveryOpAgreesWithItsReference_data() {
        QTest::addColumn<QString>("set");
        QTest::addColumn<int>("threads");
        QTest::addColumn<quint64>("seed");
        quint64 seed = 1;
        for (const std::string& set : cpu::instruction_sets()) {
            for (int threads : {1, 2, 3}) {
                QTest::newRow((set + ", threads: " + std::to_string(threads)).c_str())
                    << QString::fromStdString(set) << threads << seed++;
            }
        }
    }
    void EveryOpAgreesWithItsReference() {
        QFETCH(QString, set);
        QFETCH(int, threads);
        QFETCH(quint64, seed);
        cpu::use_instruction_set(set.toStdString());
        const auto backend = make_cpu_backend(threads);
        const auto rows = selftest(*backend, {.seed = seed});
        cpu::use_instruction_set("");
        QVERIFY(rows.ok());
        QVERIFY(rows->size() > 150);
        std::vector<SelftestRow> failed;
        std::copy_if(rows->begin(), rows->end(), std::back_inserter(failed),
                     [](const SelftestRow& r) { return !r.passed; });
        QVERIFY2(failed.empty(), selftest_table(failed).c_str());
    }

    void EveryOpOnAGpuAgreesWithItsReference() {
        const auto backend = open_backend({.device = "cuda"});
        if (!backend.ok()) {
            QSKIP(backend.error().what.c_str());
        }
        const auto rows = selftest(**backend, {});
        QVERIFY(rows.ok());
        QVERIFY(rows->size() > 150);
        std::vector<SelftestRow> failed;
        std::copy_if(rows->begin(), rows->end(), std::back_inserter(failed),
                     [](const SelftestRow& r) { return !r.passed; });
        QVERIFY2(failed.empty(), selftest_table(failed).c_str());
    }

    void AnAbsentDeviceSaysWhatToDo() {
        for (const DeviceReport& report : list_devices()) {
            QVERIFY(report.usable || !report.reason.empty());
        }
        const auto unknown = open_backend({.device = "gpu"});
        QVERIFY(!unknown.ok());
        QCOMPARE(unknown.error().code, ErrorCode::InvalidArgument);
        const auto cuda = open_backend({.device = "cuda"});
        if (!cuda.ok()) {
            QCOMPARE(cuda.error().code, ErrorCode::Device);
            QVERIFY(!cuda.error().remedy.empty());
        }
        QVERIFY(!open_backend({.device = "cpu", .threads = -1}).ok());
        const auto any = open_backend({});
        QVERIFY(any.ok());
        QVERIFY(!(*any)->device().name.empty());
    }

    void ATypeWithoutProductsIsRefusedWhenPlaced() {
        const auto backend = make_cpu_backend(1);
        const std::byte data[64] = {};
        std::vector<std::unique_ptr<Buffer>> held;
        const auto placed =
            backend->place({.dtype = DType::I32, .rows = 1, .cols = 16, .data = data}, held);
        QVERIFY(!placed.ok());
        QCOMPARE(placed.error().code, ErrorCode::Unsupported);
        const auto odd =
            backend->place({.dtype = DType::Q8_0, .rows = 1, .cols = 33, .data = data}, held);
        QVERIFY(!odd.ok());
        QCOMPARE(odd.error().code, ErrorCode::Corrupt);
    }

    void DequantisingChecksSizes() {
        std::vector<std::byte> bytes(34);
        std::vector<float> out(32);
        QVERIFY(dequantise(DType::Q8_0, bytes, out).ok());
        out.resize(64);
        QVERIFY(!dequantise(DType::Q8_0, bytes, out).ok());
        out.resize(31);
        QVERIFY(!dequantise(DType::Q8_0, bytes, out).ok());
        QVERIFY(!dequantise(DType::I8, bytes, out).ok());
    }

    void AGrowingBufferKeepsItsPlaceAndContent() {
        const auto backend = make_cpu_backend(1);
        auto buffer = backend->reserve(64 << 20);
        QVERIFY(buffer.ok());
        QVERIFY((*buffer)->grow(100).ok());
        std::byte* const data = (*buffer)->data();
        data[99] = std::byte{7};
        QVERIFY((*buffer)->grow(32 << 20).ok());
        QVERIFY((*buffer)->bytes() >= 32 << 20);
        QCOMPARE((*buffer)->data(), data);
        QCOMPARE(data[99], std::byte{7});
        QCOMPARE(data[(32 << 20) - 1], std::byte{0});
        (*buffer)->shrink(100);
        QVERIFY((*buffer)->bytes() < 1 << 20);
        QCOMPARE(data[99], std::byte{7});
    }

    void ScratchStaysWhereItIsUntilReset() {
        const auto backend = make_cpu_backend(1);
        for (int pass = 0; pass < 3; ++pass) {
            std::vector<View<float, 2>> views;
            for (std::int64_t i = 1; i < 40; ++i) {
                views.push_back(backend->scratch(i, 9001));
                std::fill_n(views.back().data, views.back().size(), static_cast<float>(i));
            }
            for (std::int64_t i = 1; i < 40; ++i) {
                const auto& view = views[static_cast<std::size_t>(i - 1)];
                QCOMPARE(view(0, 0), static_cast<float>(i));
                QCOMPARE(view(i - 1, 9000), static_cast<float>(i));
            }
            backend->reset_scratch();
        }
    }

    // Constants from softmax.md section 1.3.
    void StretchedFrequenciesFollowTheirFormulas() {
        RopeSpec spec;
        spec.dims = 64;
        spec.theta = 150000;
        spec.scaling.kind = RopeScaling::Kind::Yarn;
        spec.scaling.factor = 32;
        spec.scaling.original_context = 4096;
        spec.scaling.truncate = false;
        spec.scaling.attention_factor = 1.3465736;
        const RopeTable yarn = make_rope_table(spec);
        QCOMPARE(yarn.inverse_frequency.size(), std::size_t{32});
        QCOMPARE(yarn.magnitude, 1.3465736f);
        for (std::size_t i = 0; i < 32; ++i) {
            const double plain = std::pow(150000.0, -static_cast<double>(i) / 32);
            const double ramp =
                std::clamp((static_cast<double>(i) - 8.0928) / (17.3980 - 8.0928), 0.0, 1.0);
            const double want = plain * (ramp / 32 + 1 - ramp);
            // The corner points are known to 5e-5, the ramp to 1e-5, the least value is 1/32.
            QVERIFY(std::fabs(yarn.inverse_frequency[i] / want - 1) < 4e-4);
        }
        spec.theta = 500000;
        spec.dims = 128;
        spec.scaling = {};
        spec.scaling.kind = RopeScaling::Kind::Llama3;
        spec.scaling.factor = 8;
        spec.scaling.original_context = 8192;
        const RopeTable llama = make_rope_table(spec);
        for (std::size_t i = 0; i < 64; ++i) {
            const double plain = std::pow(500000.0, -static_cast<double>(i) / 64);
            const double turns = 8192 * plain / (2 * M_PI);
            const double smooth = std::clamp((turns - 1) / 3, 0.0, 1.0);
            const double want = plain * ((1 - smooth) / 8 + smooth);
            QVERIFY(std::fabs(llama.inverse_frequency[i] / want - 1) < 1e-6);
        }
    }
};

QTEST_GUILESS_MAIN(BackendTest)
#include "backend_test.moc"
