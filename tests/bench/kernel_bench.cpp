// How fast the ops of the CPU backend are, against what the memory gives: products in decode
// (one token, weights from memory) and prefill, attention, latent and sparse attention, gated
// delta.
//
//   kernel_bench [--threads N] [--set NAME] [--only WHAT]

#include "engine/backend/backend.h"
#include "engine/core/thread_pool.h"
#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace hs;

namespace {

using Clock = std::chrono::steady_clock;

// Seconds of one run, the fastest tenth of many: other programs only ever make a run slower.
double fast_run(int runs, const std::function<void(int run)>& body) {
    std::vector<double> seconds;
    for (int i = 0; i < runs; ++i) {
        const auto begin = Clock::now();
        body(i);
        seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[static_cast<std::size_t>(runs / 10)];
}

std::vector<std::byte> random_bytes(std::size_t n) {
    std::vector<std::byte> bytes(n + 4096);
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
        // Every half in it is a small number.
        const std::uint64_t word = random() & 0x2FFF2FFF2FFF2FFFULL;
        std::memcpy(&bytes[i], &word, 8);
    }
    return bytes;
}

// What plain summing reads from memory, all threads at once, in bytes per second.
double read_bandwidth(ThreadPool& pool, const std::vector<std::byte>& memory) {
    constexpr std::int64_t kPiece = 4 << 20;
    std::vector<std::uint64_t> sums(8192);
    const auto pieces = static_cast<std::int64_t>(memory.size()) / kPiece;
    const double seconds = fast_run(static_cast<int>(pieces), [&](int piece) {
        const auto* base =
            reinterpret_cast<const std::uint64_t*>(memory.data()) + piece * (kPiece / 8);
        pool.for_range(kPiece / 8, kPiece / 64 / pool.threads(),
                       [&](std::int64_t first, std::int64_t last, int worker) {
                           const std::uint64_t* p = base + first;
                           std::uint64_t s[8] = {};
                           for (std::int64_t i = 0; i + 8 <= last - first; i += 8) {
                               __builtin_prefetch(p + i + 512);
                               for (std::int64_t j = 0; j < 8; ++j) {
                                   s[j] += p[i + j];
                               }
                           }
                           for (std::int64_t j = 0; j < 8; ++j) {
                               sums[static_cast<std::size_t>(worker * 8 + j)] += s[j];
                           }
                       });
    });
    return static_cast<double>(kPiece) / seconds;
}

constexpr DType kTypes[] = {DType::Q8_0,  DType::Q4_K,  DType::Q6_K, DType::Q5_K,   DType::Q4_0,
                            DType::Q4_1,  DType::Q5_0,  DType::Q5_1, DType::IQ4_NL, DType::IQ4_XS,
                            DType::MXFP4, DType::Q2_K,  DType::Q3_K, DType::BF16,   DType::F16,
                            DType::F32,   DType::F8E4M3};

void products(Backend& backend, const std::vector<std::byte>& memory, double bandwidth,
              const std::string& only) {
    const std::int64_t cols = 2048;
    std::printf("\n%-8s %10s %8s %10s | GMAC/s of 512 x 2048 with T tokens\n", "format", "decode",
                "of read", "in cache");
    std::printf("%-8s %10s %8s %10s %8s %8s %8s %8s %8s\n", "", "GB/s", "%", "GB/s", "T=2", "T=4",
                "T=16", "T=64", "T=256");
    const std::vector<float> x(static_cast<std::size_t>(cols) * 256, 0.5f);
    std::vector<float> out(512 * 4096);
    for (DType dtype : kTypes) {
        if (!only.empty() && only != to_string(dtype)) {
            continue;
        }
        const std::int64_t row = row_bytes(dtype, cols);
        const std::int64_t rows = static_cast<std::int64_t>(memory.size() - 4096) / row;
        std::vector<std::byte> sane; // MXFP4 with exponents as a model has them
        const std::byte* data = memory.data() + 1;
        if (dtype == DType::MXFP4) {
            sane = memory;
            for (std::size_t i = 1; i < sane.size(); i += 17) {
                sane[i] = std::byte{120};
            }
            data = sane.data() + 1;
        }
        Weight weight{
            .dtype = dtype, .rows = rows, .cols = cols, .data = data, .row_stride_bytes = row};
        // As in a model: matrices of some MB, one after another.
        const std::int64_t piece = (std::int64_t{4} << 20) / row / 16 * 16;
        const double decode = fast_run(static_cast<int>(rows / piece), [&](int i) {
            backend.matmul({x.data(), {1, cols}}, weight.slice_rows(i * piece, piece),
                           {out.data(), {1, piece}});
        });
        const double read = static_cast<double>(piece * row) / decode;
        const Weight small = weight.slice_rows(0, 128);
        const double cached = fast_run(50, [&](int) {
            backend.matmul({x.data(), {1, cols}}, small, {out.data(), {1, 128}});
        });
        std::printf("%-8s %10.1f %8.0f %10.1f", to_string(dtype), read / 1e9,
                    100 * read / bandwidth, static_cast<double>(128 * row) / cached / 1e9);
        for (std::int64_t tokens : {2, 4, 16, 64, 256}) {
            const Weight w = weight.slice_rows(0, 512);
            const double seconds = fast_run(static_cast<int>(1 + 1024 / tokens), [&](int) {
                backend.matmul({x.data(), {tokens, cols}}, w, {out.data(), {tokens, 512}});
            });
            std::printf(" %8.1f", static_cast<double>(tokens * 512 * cols) / seconds / 1e9);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
}

void attention(Backend& backend) {
    std::printf("\nattention, 16 query heads, 8 KV heads of 128, f16 cache\n");
    for (auto [tokens, length] : {std::pair<std::int64_t, std::int64_t>{1, 512},
                                  {1, 4096},
                                  {1, 32768},
                                  {256, 256},
                                  {256, 4096}}) {
        const std::vector<std::uint16_t> cache(static_cast<std::size_t>(length) * 1024, 0x2C00);
        const std::vector<std::uint16_t> values = cache;
        const std::vector<float> q(static_cast<std::size_t>(tokens) * 2048, 0.1f);
        std::vector<float> out(q.size());
        AttentionOp op;
        op.q = {q.data(), {tokens, 16, 128}};
        op.cache_dtype = DType::F16;
        op.keys = reinterpret_cast<const std::byte*>(cache.data());
        op.values = reinterpret_cast<const std::byte*>(values.data());
        op.length = length;
        op.kv_heads = 8;
        op.head_dim = op.value_head_dim = 128;
        op.scale = 0.09f;
        op.out = {out.data(), {tokens, 16, 128}};
        const double seconds = fast_run(tokens == 1 ? 50 : 5, [&](int) { backend.attention(op); });
        const double products = 2.0 * 16 * 128 * static_cast<double>(tokens) *
                                (static_cast<double>(length) - static_cast<double>(tokens) / 2);
        std::printf("  T %4lld, context %6lld: %9.3f ms, %6.1f GB/s of cache, %6.1f GMAC/s\n",
                    static_cast<long long>(tokens), static_cast<long long>(length), seconds * 1e3,
                    static_cast<double>(length) * 4096 / seconds / 1e9, products / seconds / 1e9);
    }
}

// Latent attention as DeepSeek has it (rank 512, 64 dimensions with position), decode and prefill,
// and what the expanded form would take of the same prefill: keys and values of all heads, made
// anew for the chunk.
void latent(Backend& backend) {
    for (const std::int64_t heads : {16, 128}) {
        std::printf("\nlatent attention, %lld heads, rank 512 + 64, f16 cache\n",
                    static_cast<long long>(heads));
        for (auto [tokens, length] : {std::pair<std::int64_t, std::int64_t>{1, 1024},
                                      {1, 4096},
                                      {1, 16384},
                                      {1, 32768},
                                      {128, 1024},
                                      {128, 4096},
                                      {128, 16384}}) {
            if (heads > 16 && tokens > 1 && length > 4096) {
                continue;
            }
            const std::vector<std::uint16_t> cache(static_cast<std::size_t>(length) * 576, 0x2C00);
            const std::vector<float> q(static_cast<std::size_t>(tokens * heads) * 576, 0.1f);
            std::vector<float> out(static_cast<std::size_t>(tokens * heads) * 512);
            AttentionOp op;
            op.q = {q.data(), {tokens, heads, 576}};
            op.cache_dtype = DType::F16;
            op.keys = op.values = reinterpret_cast<const std::byte*>(cache.data());
            op.length = length;
            op.kv_heads = 1;
            op.head_dim = 576;
            op.value_head_dim = 512;
            op.scale = 0.07f;
            op.out = {out.data(), {tokens, heads, 512}};
            const double absorbed =
                fast_run(tokens == 1 ? 20 : 3, [&](int) { backend.attention(op); });
            const double pairs = static_cast<double>(tokens * heads) *
                                 (static_cast<double>(length) - static_cast<double>(tokens) / 2);
            std::printf("  T %4lld, context %6lld: %9.3f ms, %6.1f GB/s of cache, %6.1f GMAC/s",
                        static_cast<long long>(tokens), static_cast<long long>(length),
                        absorbed * 1e3, static_cast<double>(length) * 1152 / absorbed / 1e9,
                        pairs * 1088 / absorbed / 1e9);
            if (tokens > 1 && heads == 16) {
                const std::vector<float> rows(static_cast<std::size_t>(length) * 512, 0.1f);
                const std::vector<std::uint16_t> matrix(std::size_t{16} * 256 * 512, 0x3D00);
                const Weight kv_b{.dtype = DType::BF16,
                                  .rows = 16 * 256,
                                  .cols = 512,
                                  .data = reinterpret_cast<const std::byte*>(matrix.data()),
                                  .row_stride_bytes = 1024};
                std::vector<float> kv(static_cast<std::size_t>(length) * 16 * 256);
                std::vector<float> keys(static_cast<std::size_t>(length) * 16 * 192, 0.1f);
                const double expansion = fast_run(3, [&](int) {
                    backend.matmul({rows.data(), {length, 512}}, kv_b,
                                   {kv.data(), {length, 16 * 256}});
                });
                op.q = {q.data(), {tokens, 16, 192}};
                op.cache_dtype = DType::F32;
                op.keys = reinterpret_cast<const std::byte*>(keys.data());
                op.values = reinterpret_cast<const std::byte*>(kv.data());
                op.kv_heads = 16;
                op.head_dim = 192;
                op.value_head_dim = 128;
                op.out = {out.data(), {tokens, 16, 128}};
                const double expanded = fast_run(3, [&](int) { backend.attention(op); });
                std::printf("; expanded %.3f + %.3f ms to expand", expanded * 1e3, expansion * 1e3);
            }
            std::printf("\n");
            std::fflush(stdout);
        }
    }
}

// Choosing 2048 positions by 64 heads of 128, and reading them.
void sparse(Backend& backend) {
    std::printf("\nsparse attention: indexer of 64 heads of 128, 2048 positions, 16 heads\n");
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (auto [tokens, length] : {std::pair<std::int64_t, std::int64_t>{1, 4096},
                                  {1, 16384},
                                  {1, 32768},
                                  {128, 4096},
                                  {128, 16384}}) {
        std::vector<float> index_keys(static_cast<std::size_t>(length) * 128);
        std::vector<float> index_q(static_cast<std::size_t>(tokens) * 64 * 128);
        std::vector<float> weights(static_cast<std::size_t>(tokens) * 64);
        for (std::vector<float>* values : {&index_keys, &index_q, &weights}) {
            for (float& v : *values) {
                v = normal(random);
            }
        }
        std::vector<std::byte> cache(index_keys.size() * 2);
        backend.append_kv({index_keys.data(), {length, 1, 128}}, DType::F16, cache.data(), 0, 0);
        std::vector<std::int32_t> chosen(static_cast<std::size_t>(tokens) * 2048);
        ChooseKeysOp choice;
        choice.q = {index_q.data(), {tokens, 64, 128}};
        choice.weights = {weights.data(), {tokens, 64}};
        choice.cache_dtype = DType::F16;
        choice.keys = cache.data();
        choice.length = length;
        choice.most = 2048;
        choice.chosen = chosen.data();
        const double choosing =
            fast_run(tokens == 1 ? 20 : 3, [&](int) { backend.choose_keys(choice); });

        const std::vector<std::uint16_t> rows(static_cast<std::size_t>(length) * 576, 0x2C00);
        const std::vector<float> q(static_cast<std::size_t>(tokens) * 16 * 576, 0.1f);
        std::vector<float> out(static_cast<std::size_t>(tokens) * 16 * 512);
        AttentionOp op;
        op.q = {q.data(), {tokens, 16, 576}};
        op.cache_dtype = DType::F16;
        op.keys = op.values = reinterpret_cast<const std::byte*>(rows.data());
        op.length = length;
        op.kv_heads = 1;
        op.head_dim = 576;
        op.value_head_dim = 512;
        op.scale = 0.07f;
        op.chosen = chosen.data();
        op.chosen_most = 2048;
        op.out = {out.data(), {tokens, 16, 512}};
        const double reading = fast_run(tokens == 1 ? 20 : 3, [&](int) { backend.attention(op); });
        const double scores = static_cast<double>(tokens * 64 * 128) *
                              (static_cast<double>(length) - static_cast<double>(tokens) / 2);
        std::printf("  T %4lld, context %6lld: choosing %9.3f ms, %6.1f GMAC/s; reading %9.3f ms, "
                    "%6.1f GMAC/s\n",
                    static_cast<long long>(tokens), static_cast<long long>(length), choosing * 1e3,
                    scores / choosing / 1e9, reading * 1e3,
                    static_cast<double>(tokens * 16 * 2048) * 1088 / reading / 1e9);
        std::fflush(stdout);
    }
}

void gated_delta(Backend& backend) {
    std::printf("\ngated delta, 16 heads of 128 x 128\n");
    GatedDeltaSpec spec;
    spec.key_heads = spec.value_heads = 16;
    spec.key_dim = spec.value_dim = 128;
    for (std::int64_t tokens : {1, 16, 64, 256}) {
        std::mt19937 random(2);
        std::normal_distribution<float> normal;
        const auto fill = [&](std::int64_t n) {
            std::vector<float> v(static_cast<std::size_t>(n));
            for (float& value : v) {
                value = normal(random);
            }
            return v;
        };
        const std::int64_t channels = spec.conv_channels();
        const auto qkv = fill(tokens * channels);
        const auto z = fill(tokens * 2048);
        const auto ab = fill(tokens * 16);
        const auto conv = fill(channels * 4);
        const std::vector<float> rate(16, -0.5f);
        const std::vector<float> ones(2048, 1.0f);
        std::vector<float> conv_state(static_cast<std::size_t>(channels) * 3);
        std::vector<float> state(16 * 128 * 128);
        std::vector<float> out(static_cast<std::size_t>(tokens) * 2048);
        GatedDeltaOp op;
        op.spec = spec;
        op.qkv = {qkv.data(), {tokens, channels}};
        op.z = {z.data(), {tokens, 2048}};
        op.b = op.a = {ab.data(), {tokens, 16}};
        op.conv_weight = conv.data();
        op.decay_rate = rate.data();
        op.dt_bias = op.norm_weight = ones.data();
        op.conv_state = conv_state.data();
        op.state = state.data();
        op.out = {out.data(), {tokens, 2048}};
        const double seconds = fast_run(20, [&](int) { backend.gated_delta(op); });
        std::printf("  T %4lld: %8.3f ms, %7.2f us per token\n", static_cast<long long>(tokens),
                    seconds * 1e3, seconds * 1e6 / static_cast<double>(tokens));
    }
}

void kda(Backend& backend) {
    std::printf("\nKimi delta attention, 32 heads of 128 x 128, decay unbounded and bounded\n");
    for (const double bound : {0.0, -5.0}) {
        for (const std::int64_t tokens : {1, 16, 64, 256}) {
            KdaSpec spec;
            spec.heads = 32;
            spec.head_dim = 128;
            spec.decay_bound = bound;
            std::mt19937 random(2);
            std::normal_distribution<float> normal;
            const auto fill = [&](std::int64_t n) {
                std::vector<float> v(static_cast<std::size_t>(n));
                for (float& value : v) {
                    value = normal(random);
                }
                return v;
            };
            const std::int64_t width = spec.channels();
            const auto rows = fill(tokens * width);
            const auto b = fill(tokens * spec.heads);
            const auto conv = fill(3 * width * 4);
            const std::vector<float> rate(32, -0.5f);
            const std::vector<float> ones(static_cast<std::size_t>(width), 1.0f);
            std::vector<float> conv_state(static_cast<std::size_t>(3 * width) * 3);
            std::vector<float> state(static_cast<std::size_t>(width) * 128);
            std::vector<float> out(static_cast<std::size_t>(tokens * width));
            KdaOp op;
            op.spec = spec;
            op.q = op.k = op.v = op.decay = op.gate = {rows.data(), {tokens, width}};
            op.b = {b.data(), {tokens, spec.heads}};
            op.conv_weight = conv.data();
            op.decay_rate = rate.data();
            op.dt_bias = op.norm_weight = ones.data();
            op.conv_state = conv_state.data();
            op.state = state.data();
            op.out = {out.data(), {tokens, width}};
            const double seconds = fast_run(20, [&](int) { backend.kda(op); });
            std::printf("  %s, T %4lld: %8.3f ms, %7.2f us per token\n",
                        bound < 0 ? "bounded" : "softplus", static_cast<long long>(tokens),
                        seconds * 1e3, seconds * 1e6 / static_cast<double>(tokens));
        }
    }
}

void small_ops(Backend& backend) {
    std::vector<float> x(4096, 0.5f);
    std::vector<float> w(1024, 1.0f);
    const double norm = fast_run(50, [&](int) {
        for (int i = 0; i < 100; ++i) {
            backend.rms_norm({x.data(), {1, 1024}}, w, 1e-6f, {x.data(), {1, 1024}});
        }
    });
    const double gate = fast_run(50, [&](int) {
        for (int i = 0; i < 100; ++i) {
            backend.glu({}, {x.data(), {1, 3072}}, {x.data(), {1, 3072}}, {x.data(), {1, 3072}});
        }
    });
    const std::vector<std::byte> memory = random_bytes(64 * 34);
    const Weight tiny{.dtype = DType::Q8_0,
                      .rows = 64,
                      .cols = 32,
                      .data = memory.data(),
                      .row_stride_bytes = 34};
    const double fork = fast_run(50, [&](int) {
        for (int i = 0; i < 100; ++i) {
            backend.matmul({x.data(), {1, 32}}, tiny, {x.data(), {1, 64}});
        }
    });
    std::printf("\nrms_norm of 1024: %.2f us; swiglu of 3072: %.2f us; a product of nearly nothing "
                "(one fork): %.2f us\n",
                norm * 1e4, gate * 1e4, fork * 1e4);
}

} // namespace

int main(int argc, char** argv) {
    int threads = 0;
    std::string only; // a weight format, "attention", "latent", "sparse" or "delta"
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        if (arg == "--threads" && i + 1 < argc) {
            threads = std::atoi(argv[++i]);
        } else if (arg == "--set" && i + 1 < argc) {
            cpu::use_instruction_set(argv[++i]);
        } else if (arg == "--only" && i + 1 < argc) {
            only = argv[++i];
        } else {
            std::fprintf(stderr, "kernel_bench [--threads N] [--set NAME] [--only WHAT]\n");
            return 2;
        }
    }
    const auto backend = make_cpu_backend(threads);
    const std::vector<std::byte> memory = random_bytes(std::size_t{256} << 20);
    double bandwidth = 0;
    {
        ThreadPool pool(threads);
        bandwidth = read_bandwidth(pool, memory);
    }
    std::printf("%s\nread bandwidth: %.1f GB/s\n", backend->device().name.c_str(), bandwidth / 1e9);
    const bool one_op =
        only == "attention" || only == "latent" || only == "sparse" || only == "delta";
    if (!one_op) {
        products(*backend, memory, bandwidth, only);
    }
    if (only.empty()) {
        small_ops(*backend);
    }
    if (only.empty() || only == "attention") {
        attention(*backend);
    }
    if (only.empty() || only == "latent") {
        latent(*backend);
    }
    if (only.empty() || only == "sparse") {
        sparse(*backend);
    }
    if (only.empty() || only == "delta") {
        gated_delta(*backend);
        kda(*backend);
    }
    return 0;
}
