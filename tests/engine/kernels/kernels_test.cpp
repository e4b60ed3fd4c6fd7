// Kernels alone: dequantisation against the stored blocks of an independent implementation,
// products against float64, on every instruction set of the machine.

#include "kernels/cpu/kernels.h"

#include <QtTest>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <random>

using namespace hs::cpu;

namespace {

const std::map<std::string, Format> kNames = {
    {"F32", Format::F32},        {"F16", Format::F16},    {"BF16", Format::BF16},
    {"F8_E4M3", Format::F8E4M3}, {"Q4_0", Format::Q4_0},  {"Q4_1", Format::Q4_1},
    {"Q5_0", Format::Q5_0},      {"Q5_1", Format::Q5_1},  {"Q8_0", Format::Q8_0},
    {"Q2_K", Format::Q2_K},      {"Q3_K", Format::Q3_K},  {"Q4_K", Format::Q4_K},
    {"Q5_K", Format::Q5_K},      {"Q6_K", Format::Q6_K},  {"IQ4_NL", Format::IQ4_NL},
    {"IQ4_XS", Format::IQ4_XS},  {"MXFP4", Format::MXFP4}};

struct Blocks {
    std::string name;
    Format format = Format::F32;
    std::vector<std::byte> bytes;
    std::vector<float> values;
};

// The file of tests/reference/make_quant_blocks.py.
std::vector<Blocks> stored_blocks() {
    std::ifstream file(HS_TEST_DATA "/data/quant_blocks.bin", std::ios::binary);
    std::vector<Blocks> all;
    char name[16];
    while (file.read(name, sizeof(name))) {
        std::uint32_t count = 0;
        std::uint32_t bytes = 0;
        std::uint32_t elems = 0;
        file.read(reinterpret_cast<char*>(&count), 4);
        file.read(reinterpret_cast<char*>(&bytes), 4);
        file.read(reinterpret_cast<char*>(&elems), 4);
        Blocks blocks;
        blocks.name = std::string(name, strnlen(name, sizeof(name)));
        blocks.format = kNames.at(blocks.name);
        blocks.bytes.resize(std::size_t{count} * bytes);
        blocks.values.resize(std::size_t{count} * elems);
        file.read(reinterpret_cast<char*>(blocks.bytes.data()),
                  static_cast<std::streamsize>(blocks.bytes.size()));
        file.read(reinterpret_cast<char*>(blocks.values.data()),
                  static_cast<std::streamsize>(4 * blocks.values.size()));
        all.push_back(std::move(blocks));
    }
    return all;
}

std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

struct Aligned {
    explicit Aligned(std::int64_t bytes)
        : memory(at(bytes) + 64) {}
    std::byte* data() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
        return memory.data() + ((64 - address % 64) % 64);
    }
    std::vector<std::byte> memory;
};

// A row-major matrix of stored blocks in random order, one byte off any alignment.
struct Weights {
    Weights(const Blocks& from, std::int64_t rows, std::int64_t cols, std::mt19937& random) {
        const std::int64_t elems = block_elems(from.format);
        const auto size = at(block_bytes(from.format));
        const std::size_t stored = from.bytes.size() / size;
        bytes.resize(1);
        for (std::int64_t i = 0; i < rows * cols / elems; ++i) {
            // Large scales would let one block decide the sum; the first block's are subnormal.
            const std::size_t block = random() % stored;
            bytes.insert(bytes.end(), from.bytes.begin() + std::ptrdiff_t(block * size),
                         from.bytes.begin() + std::ptrdiff_t((block + 1) * size));
        }
        matrix.format = from.format;
        matrix.rows = rows;
        matrix.cols = cols;
        matrix.data = bytes.data() + 1;
        matrix.row_stride = cols / elems * block_bytes(from.format);
        plain.resize(at(rows * cols));
        for (std::int64_t r = 0; r < rows; ++r) {
            dequantise_row(matrix, r, plain.data() + r * cols);
        }
    }
    std::vector<std::byte> bytes;
    std::vector<float> plain;
    Matrix matrix;
};

} // namespace

class KernelsTest : public QObject {
    Q_OBJECT

private slots:
    void cleanup() { use_instruction_set(""); }

    void DequantisingEqualsThePublishedFormulas() {
        const std::vector<Blocks> all = stored_blocks();
        QCOMPARE(all.size(), std::size_t{14});
        for (const Blocks& blocks : all) {
            std::vector<float> got(blocks.values.size());
            dequantise(blocks.format, blocks.bytes.data(), got.data(),
                       static_cast<std::int64_t>(got.size()));
            for (std::size_t i = 0; i < got.size(); ++i) {
                const bool zeros = got[i] == 0 && blocks.values[i] == 0;
                const bool same = std::bit_cast<std::uint32_t>(got[i]) ==
                                  std::bit_cast<std::uint32_t>(blocks.values[i]);
                QVERIFY2(zeros || same, (blocks.name + " " + std::to_string(i)).c_str());
            }
        }
    }

    void EveryHalfIsReadAndWrittenExactly() {
        for (int bits = 0; bits < 65536; ++bits) {
            const auto h = static_cast<std::uint16_t>(bits);
            const int exponent = h >> 10 & 31;
            const int mantissa = h & 1023;
            if (exponent == 31) {
                QCOMPARE(std::isnan(from_f16(h)), mantissa != 0);
                continue;
            }
            const double value =
                std::ldexp(exponent == 0 ? mantissa : 1024 + mantissa, std::max(exponent, 1) - 25);
            QCOMPARE(from_f16(h), static_cast<float>((h & 0x8000) != 0 ? -value : value));
            QCOMPARE(to_f16(from_f16(h)), h);
        }
    }

    // Halfway between two neighbours goes to the even one, a hair more or less to the nearer.
    void RoundingToHalvesIsToNearestEven() {
        for (int bits = 0; bits < 0x7BFF; ++bits) {
            const auto low = static_cast<std::uint16_t>(bits);
            const auto high = static_cast<std::uint16_t>(bits + 1);
            const float middle = (from_f16(low) + from_f16(high)) / 2;
            QCOMPARE(to_f16(middle), bits % 2 == 0 ? low : high);
            QCOMPARE(to_f16(std::nextafter(middle, 0.0f)), low);
            QCOMPARE(to_f16(std::nextafter(middle, 1e9f)), high);
            QCOMPARE(to_f16(-middle), (bits % 2 == 0 ? low : high) | 0x8000);
        }
        QCOMPARE(to_f16(65520.0f), 0x7C00);
        QCOMPARE(to_f16(65519.0f), 0x7BFF);
        for (std::uint32_t bits : {0x3F800000u, 0x3F808000u, 0x3F818000u, 0x3F808001u, 0x3F817FFFu,
                                   0x00008000u, 0x7F7FFFFFu}) {
            const std::uint32_t low = bits >> 16;
            const std::uint32_t rest = bits & 0xFFFF;
            const bool up = rest > 0x8000 || (rest == 0x8000 && low % 2 == 1);
            QCOMPARE(to_bf16(std::bit_cast<float>(bits)), low + (up ? 1 : 0));
        }
    }

    void ActivationsAreRoundedToNearestWithOneScalePer32() {
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        for (const std::string& set : instruction_sets()) {
            use_instruction_set(set);
            if (!wants_int8(Format::Q8_0)) {
                continue;
            }
            const std::int64_t tokens = 3;
            const std::int64_t cols = 32 * 37;
            std::vector<float> x(at(tokens * cols));
            for (float& v : x) {
                v = normal(random);
            }
            std::fill_n(x.begin() + 64, 32, 0.0f); // a block of nothing
            Aligned memory(int8_bytes(tokens, cols));
            Activations a{.x = x.data(), .stride = cols, .tokens = tokens, .cols = cols};
            place_int8(a, memory.data());
            quantise_activations(a, 0, tokens);
            QCOMPARE(a.padded, 1280);
            for (std::int64_t i = 0; i < tokens * a.padded; ++i) {
                const std::int64_t k = i % a.padded;
                if (k >= cols) {
                    QCOMPARE(a.q[i], 0);
                    QCOMPARE(a.scale[i / 32], 0.0f);
                    continue;
                }
                const float scale = a.scale[i / 32];
                QVERIFY(a.q[i] >= -127);
                // Half a step, and the rounding of scale and product.
                QVERIFY(std::fabs(x[at(i / a.padded * cols + k)] -
                                  scale * static_cast<float>(a.q[i])) <= scale * 0.50002f);
            }
            for (std::int64_t i = 0; i < tokens * a.padded / 16; ++i) {
                int sum = 0;
                for (int k = 0; k < 16; ++k) {
                    sum += a.q[16 * i + k];
                }
                QCOMPARE(a.isum16[i], sum);
                QCOMPARE(a.sum16[i], a.scale[i / 2] * static_cast<float>(sum));
                QCOMPARE(a.split16[i / 16 * 16 + i % 2 * 8 + i % 16 / 2], sum);
                QVERIFY(a.multiple[i / 2] >= 0 && a.multiple[i / 2] <= 256);
                QCOMPARE(double{a.scale[i / 2]}, double{a.unit[i / 16]} * a.multiple[i / 2]);
                QCOMPARE(a.sum32[i / 2],
                         a.scale[i / 2] *
                             static_cast<float>(a.isum16[i / 2 * 2] + a.isum16[i / 2 * 2 + 1]));
            }
        }
    }

    // Largest levels, largest scales, largest activations, all of one sign: the sums over 256 come
    // as near to 2^31 as they can.
    void IntegerSumsHoldTheLargestBlocks() {
        struct Largest {
            Format format;
            std::size_t factors; // where the halves are
            std::byte scale;
        };
        for (const std::string& set : instruction_sets()) {
            use_instruction_set(set);
            for (const Largest& largest : {Largest{Format::Q4_K, 0, std::byte{0xFF}},
                                           {Format::Q5_K, 0, std::byte{0xFF}},
                                           {Format::Q6_K, 208, std::byte{0x80}},
                                           {Format::Q6_K, 208, std::byte{0x7F}}}) {
                const std::int64_t cols = 512;
                const std::int64_t bytes = block_bytes(largest.format);
                std::vector<std::byte> block(at(2 * bytes), std::byte{0xFF});
                for (std::int64_t i = 0; i < 2; ++i) {
                    std::byte* b = block.data() + i * bytes;
                    if (largest.factors > 0) {
                        std::fill_n(b + 192, 16, largest.scale);
                        std::memcpy(b + largest.factors, "\0\x3C", 2); // 1.0
                    } else {
                        std::memcpy(b, "\0\x3C\0\0", 4); // 1.0, and no minimum
                    }
                }
                std::vector<float> plain(at(cols));
                dequantise(largest.format, block.data(), plain.data(), cols);
                const Matrix matrix{.format = largest.format,
                                    .rows = 1,
                                    .cols = cols,
                                    .data = block.data(),
                                    .row_stride = 2 * bytes};
                for (const float sign : {1.0f, -1.0f}) {
                    const std::vector<float> x(at(cols), sign);
                    Activations a{.x = x.data(), .stride = cols, .tokens = 1, .cols = cols};
                    Aligned memory(int8_bytes(1, cols));
                    if (wants_int8(largest.format)) {
                        place_int8(a, memory.data());
                        quantise_activations(a, 0, 1);
                    }
                    Aligned scratch(matmul_scratch_bytes(matrix, 1));
                    float got = NAN;
                    matmul(matrix, 0, 1, a, &got, 1, nullptr, scratch.data());
                    double want = 0;
                    for (const float w : plain) {
                        want += double{w} * sign;
                    }
                    // x itself is held to 15 bits: 127 steps of a unit rounded up.
                    QVERIFY2(std::fabs(got - want) <= 1e-4 * std::fabs(want),
                             qPrintable(QString("%1, %2: %3, expected %4")
                                            .arg(QString::fromStdString(set))
                                            .arg(int(largest.format))
                                            .arg(got)
                                            .arg(want)));
                }
            }
        }
    }

    // The product of the weights' values with the rounded activations: nothing but float32 sums
    // between kernel and float64.
    void ProductsOfRoundedActivationsAreExactToFloat32_data() {
        QTest::addColumn<QString>("set");
        QTest::addColumn<QString>("format");
        for (const std::string& set : instruction_sets()) {
            for (const Blocks& blocks : stored_blocks()) {
                QTest::newRow((set + " " + blocks.name).c_str())
                    << QString::fromStdString(set) << QString::fromStdString(blocks.name);
            }
        }
    }
    void ProductsOfRoundedActivationsAreExactToFloat32() {
        QFETCH(QString, set);
        QFETCH(QString, format);
        use_instruction_set(set.toStdString());
        std::mt19937 random(9);
        std::normal_distribution<float> normal;
        const std::vector<Blocks> all = stored_blocks();
        const Blocks& blocks = *std::find_if(all.begin(), all.end(), [&](const Blocks& b) {
            return b.name == format.toStdString();
        });
        for (std::int64_t tokens = 1; tokens <= 70; tokens += tokens < 20 ? 1 : 7) {
            const std::int64_t elems = std::max<std::int64_t>(1, block_elems(blocks.format));
            const std::int64_t cols =
                elems == 1 ? 131 + tokens : elems * (1 + static_cast<std::int64_t>(random() % 5));
            const std::int64_t rows = 1 + static_cast<std::int64_t>(random() % 70);
            const Weights w(blocks, rows, cols, random);
            std::vector<float> x(at(tokens * (cols + 5)));
            for (float& v : x) {
                v = normal(random);
            }
            Activations a{.x = x.data(), .stride = cols + 5, .tokens = tokens, .cols = cols};
            Aligned memory(int8_bytes(tokens, cols));
            const bool int8 = wants_int8(blocks.format);
            if (int8) {
                place_int8(a, memory.data());
                quantise_activations(a, 0, tokens);
            }
            Aligned scratch(matmul_scratch_bytes(w.matrix, tokens));
            std::vector<float> out(at(tokens * (rows + 1)), NAN);
            // In two ranges, the first ending on a tile.
            const std::int64_t cut = std::min<std::int64_t>(rows, random() % 3 * kRowTile);
            matmul(w.matrix, 0, cut, a, out.data(), rows + 1, nullptr, scratch.data());
            matmul(w.matrix, cut, rows, a, out.data(), rows + 1, nullptr, scratch.data());
            for (std::int64_t t = 0; t < tokens; ++t) {
                QVERIFY(std::isnan(out[at(t * (rows + 1) + rows)]));
                for (std::int64_t r = 0; r < rows; ++r) {
                    double want = 0;
                    double most = 0; // of what is summed: |x| times the largest |w| of the block
                    for (std::int64_t block = 0; block < cols; block += elems) {
                        double sum = 0;
                        double largest = 0;
                        for (std::int64_t k = block; k < block + elems; ++k) {
                            const double value = int8 ? double{a.scale[(t * a.padded + k) / 32]} *
                                                            a.q[t * a.padded + k]
                                                      : double{x[at(t * a.stride + k)]};
                            want += value * w.plain[at(r * cols + k)];
                            sum += std::fabs(value);
                            largest =
                                std::max(largest, std::fabs(double{w.plain[at(r * cols + k)]}));
                        }
                        most += sum * largest;
                    }
                    const double got = out[at(t * (rows + 1) + r)];
                    QVERIFY2(std::fabs(got - want) <= 4e-6 * most + 1e-35,
                             qPrintable(QString("token %1 of %2, row %3 of %4, %5 columns: %6, "
                                                "expected %7")
                                            .arg(t)
                                            .arg(tokens)
                                            .arg(r)
                                            .arg(rows)
                                            .arg(cols)
                                            .arg(got)
                                            .arg(want)));
                }
            }
        }
    }
};

QTEST_GUILESS_MAIN(KernelsTest)
#include "kernels_test.moc"
