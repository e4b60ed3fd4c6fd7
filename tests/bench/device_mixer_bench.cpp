// How long the token mixers' ops take on a device, at the shapes of issue tracker and papers:
// attention in decode and prefill, latent and sparse attention, gated delta, KDA, lightning.
//
//   device_mixer_bench [--device cuda] [--only WORD] [--repeats N]
//
// A time is the median over repeats of a row of calls between two waits, divided by their number.
// Calls of a row go round over several sets of caches and states, so that what one call reads is
// not in the second-level cache from the call before.

#include "engine/backend/devices.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

using namespace hs;

namespace {

using Clock = std::chrono::steady_clock;

class Bench {
public:
    Bench(Backend& backend, std::string only, int repeats)
        : m_backend(backend)
        , m_only(std::move(only))
        , m_repeats(repeats) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        for (float& x : m_some) {
            x = normal(random);
        }
    }

    void run() {
        std::printf("%-52s %10s %10s %10s\n", "", "us", "GB/s", "TFLOP/s");
        decode("decode 16/2 hd 256", 16, 2, 256, 256);
        decode("decode 32/8 hd 128", 32, 8, 128, 128);
        decode("decode latent 32 heads 576/512", 32, 1, 576, 512);
        decode("decode latent 128 heads 576/512", 128, 1, 576, 512);
        prefill("prefill 32/8 hd 128", 32, 8, 128);
        prefill("prefill 16/2 hd 256", 16, 2, 256);
        latent_prefill();
        for (std::int64_t tokens : {1, 4, 16, 64, 2048, 8192}) {
            delta(tokens);
        }
        for (std::int64_t tokens : {1, 64, 8192}) {
            kda(tokens);
        }
        for (std::int64_t tokens : {1, 64, 8192}) {
            lightning(tokens);
        }
        choice(1, 131072);
        choice(512, 32768);
    }

private:
    float* floats(std::int64_t n) {
        auto buffer = m_backend.allocate(std::max<std::int64_t>(n, 16) * 4);
        if (!buffer.ok()) {
            std::fprintf(stderr, "no memory for %lld floats\n", static_cast<long long>(n));
            std::exit(1);
        }
        float* const data = reinterpret_cast<float*>((*buffer)->data());
        const std::int64_t first = std::min(n, static_cast<std::int64_t>(m_some.size()));
        m_backend.copy_in((*buffer)->data(),
                          std::as_bytes(std::span(m_some).first(static_cast<std::size_t>(first))));
        for (std::int64_t done = first; done < n; done *= 2) { // the rest from the device itself
            m_backend.copy((*buffer)->data() + done * 4, (*buffer)->data(),
                           std::min(done, n - done) * 4);
        }
        m_buffers.push_back(std::move(*buffer));
        return data;
    }
    const float* constant(std::int64_t n, float value) {
        float* const data = floats(n);
        const std::vector<float> values(static_cast<std::size_t>(n), value);
        m_backend.copy_in(reinterpret_cast<std::byte*>(data), std::as_bytes(std::span(values)));
        return data;
    }
    // Values of BF16 near one.
    std::byte* cache(std::int64_t values) {
        const std::int64_t words = values / 2;
        auto* const to = reinterpret_cast<std::byte*>(floats(words));
        const float* const from = floats(values);
        constexpr std::int64_t kWidth = 1024;
        for (std::int64_t row = 0; row < values / kWidth; row += 32768) {
            const std::int64_t rows = std::min<std::int64_t>(32768, values / kWidth - row);
            m_backend.append_kv({from + row * kWidth, {rows, 1, kWidth}}, DType::BF16, to, row, 0);
        }
        return to;
    }

    void time(const std::string& name, double bytes, double flops, int calls,
              const std::function<void(int)>& call) {
        for (int i = 0; i < 2; ++i) {
            call(i);
        }
        wait();
        std::vector<double> times;
        for (int r = 0; r < m_repeats; ++r) {
            const auto begin = Clock::now();
            for (int i = 0; i < calls; ++i) {
                call(i);
            }
            wait();
            times.push_back(std::chrono::duration<double>(Clock::now() - begin).count() / calls);
        }
        std::sort(times.begin(), times.end());
        const double seconds = times[times.size() / 2];
        std::printf("%-52s %10.1f %10.0f %10.1f\n", name.c_str(), seconds * 1e6,
                    bytes / seconds / 1e9, flops / seconds / 1e12);
        std::fflush(stdout);
        m_buffers.clear();
    }
    void wait() {
        if (const auto done = m_backend.finish(); !done.ok()) {
            std::fprintf(stderr, "the device failed\n");
            std::exit(1);
        }
    }
    bool wanted(const std::string& name) const { return name.find(m_only) != std::string::npos; }

    void decode(const std::string& what, std::int64_t heads, std::int64_t kv_heads,
                std::int64_t dim, std::int64_t value_dim) {
        for (std::int64_t length : {1024, 32768, 131072}) {
            const std::string name = what + ", kv " + std::to_string(length);
            if (!wanted(name)) {
                continue;
            }
            const bool latent = dim != value_dim;
            const std::int64_t sets = std::clamp<std::int64_t>(262144 / length, 2, 32);
            std::vector<AttentionOp> ops;
            const float* const q = floats(heads * dim);
            float* const out = floats(heads * value_dim);
            for (std::int64_t i = 0; i < sets; ++i) {
                AttentionOp op;
                op.q = {q, {1, heads, dim}};
                op.cache_dtype = DType::BF16;
                op.keys = cache(length * kv_heads * dim);
                op.values = latent ? op.keys : cache(length * kv_heads * value_dim);
                op.length = length;
                op.kv_heads = kv_heads;
                op.head_dim = dim;
                op.value_head_dim = value_dim;
                op.scale = 1.0f / std::sqrt(static_cast<float>(dim));
                op.out = {out, {1, heads, value_dim}};
                ops.push_back(op);
            }
            const double bytes =
                2.0 * static_cast<double>(length * kv_heads * (latent ? dim : dim + value_dim));
            time(
                name, bytes, 2.0 * static_cast<double>(length * heads * (dim + value_dim)), 64,
                [&](int i) { m_backend.attention(ops[static_cast<std::size_t>(i) % ops.size()]); });
        }
    }
    void prefill(const std::string& what, std::int64_t heads, std::int64_t kv_heads,
                 std::int64_t dim) {
        for (std::int64_t tokens : {512, 8192}) {
            const std::string name = what + ", T " + std::to_string(tokens);
            if (!wanted(name)) {
                continue;
            }
            AttentionOp op;
            op.q = {floats(tokens * heads * dim), {tokens, heads, dim}};
            op.cache_dtype = DType::BF16;
            op.keys = cache(tokens * kv_heads * dim);
            op.values = cache(tokens * kv_heads * dim);
            op.length = tokens;
            op.kv_heads = kv_heads;
            op.head_dim = dim;
            op.value_head_dim = dim;
            op.scale = 1.0f / std::sqrt(static_cast<float>(dim));
            op.out = {floats(tokens * heads * dim), {tokens, heads, dim}};
            time(name, 0, 2.0 * static_cast<double>(tokens * tokens * heads * dim), 4,
                 [&](int) { m_backend.attention(op); });
        }
    }
    void latent_prefill() {
        const std::string name = "prefill latent 32 heads, 256 tokens at 8192";
        if (!wanted(name)) {
            return;
        }
        AttentionOp op;
        op.q = {floats(256 * 32 * 576), {256, 32, 576}};
        op.cache_dtype = DType::BF16;
        op.keys = op.values = cache(8192 * 576);
        op.length = 8192;
        op.kv_heads = 1;
        op.head_dim = 576;
        op.value_head_dim = 512;
        op.scale = 0.07f;
        op.out = {floats(256 * 32 * 512), {256, 32, 512}};
        time(name, 0, 2.0 * 256 * 8064 * 32 * (576 + 512), 8,
             [&](int) { m_backend.attention(op); });
    }

    void delta(std::int64_t tokens) {
        const std::string name = "gated delta 16/32 heads, T " + std::to_string(tokens);
        if (!wanted(name)) {
            return;
        }
        GatedDeltaOp op;
        op.spec.key_heads = 16;
        op.spec.value_heads = 32;
        op.spec.key_dim = op.spec.value_dim = 128;
        const std::int64_t channels = op.spec.conv_channels();
        op.qkv = {floats(tokens * channels), {tokens, channels}};
        op.z = {floats(tokens * 4096), {tokens, 4096}};
        op.b = {floats(tokens * 32), {tokens, 32}};
        op.a = {floats(tokens * 32), {tokens, 32}};
        op.conv_weight = floats(channels * 4);
        op.decay_rate = constant(32, -0.01f);
        op.dt_bias = floats(32);
        op.norm_weight = floats(128);
        op.out = {floats(tokens * 4096), {tokens, 4096}};
        std::vector<GatedDeltaOp> ops;
        for (int i = 0; i < (tokens < 64 ? 32 : 1); ++i) {
            op.conv_state = floats(channels * 3);
            op.state = floats(32 * 128 * 128);
            ops.push_back(op);
        }
        const double state = 2.0 * 4 * 32 * 128 * 128;
        const double rows = 4.0 * static_cast<double>(tokens * (channels + 2 * 4096));
        time(name, state + rows, static_cast<double>(tokens) * 32 * (6.0 * 128 * 128),
             tokens < 64 ? 64 : 4,
             [&](int i) { m_backend.gated_delta(ops[static_cast<std::size_t>(i) % ops.size()]); });
    }
    void kda(std::int64_t tokens) {
        const std::string name = "kda 32 heads, T " + std::to_string(tokens);
        if (!wanted(name)) {
            return;
        }
        KdaOp op;
        op.spec.heads = 32;
        op.spec.head_dim = 128;
        const std::int64_t width = op.spec.channels();
        for (View<const float, 2>* const view : {&op.q, &op.k, &op.v, &op.decay, &op.gate}) {
            *view = {floats(tokens * width), {tokens, width}};
        }
        op.b = {floats(tokens * 32), {tokens, 32}};
        op.conv_weight = floats(3 * width * 4);
        op.decay_rate = constant(32, -0.01f);
        op.dt_bias = floats(width);
        op.norm_weight = floats(128);
        op.out = {floats(tokens * width), {tokens, width}};
        std::vector<KdaOp> ops;
        for (int i = 0; i < (tokens < 64 ? 32 : 1); ++i) {
            op.conv_state = floats(3 * width * 3);
            op.state = floats(width * 128);
            ops.push_back(op);
        }
        time(name, 2.0 * 4 * 32 * 128 * 128 + 4.0 * static_cast<double>(tokens * width * 6),
             static_cast<double>(tokens) * 32 * (6.0 * 128 * 128), tokens < 64 ? 64 : 4,
             [&](int i) { m_backend.kda(ops[static_cast<std::size_t>(i) % ops.size()]); });
    }
    void lightning(std::int64_t tokens) {
        const std::string name = "lightning 64 heads, T " + std::to_string(tokens);
        if (!wanted(name)) {
            return;
        }
        LightningOp op;
        op.spec.heads = 64;
        op.spec.head_dim = 128;
        op.spec.silu = true;
        const std::int64_t width = 64 * 128;
        for (View<const float, 3>* const view : {&op.q, &op.k, &op.v}) {
            *view = {floats(tokens * width), {tokens, 64, 128}};
        }
        op.gate = {floats(tokens * width), {tokens, width}};
        op.decay_rates = constant(64, 0.1f);
        op.norm_weight = floats(width);
        op.out = {floats(tokens * width), {tokens, width}};
        std::vector<LightningOp> ops;
        for (int i = 0; i < (tokens < 64 ? 32 : 1); ++i) {
            op.state = floats(width * 128);
            ops.push_back(op);
        }
        time(name, 2.0 * 4 * 64 * 128 * 128 + 4.0 * static_cast<double>(tokens * width * 5),
             static_cast<double>(tokens) * 64 * (4.0 * 128 * 128), tokens < 64 ? 64 : 4,
             [&](int i) { m_backend.lightning(ops[static_cast<std::size_t>(i) % ops.size()]); });
    }

    void choice(std::int64_t tokens, std::int64_t length) {
        const std::string name =
            "choice of 2048, T " + std::to_string(tokens) + " of " + std::to_string(length);
        if (!wanted(name)) {
            return;
        }
        ChooseKeysOp op;
        op.q = {floats(tokens * 64 * 128), {tokens, 64, 128}};
        op.weights = {floats(tokens * 64), {tokens, 64}};
        op.cache_dtype = DType::BF16;
        op.keys = cache(length * 128);
        op.length = length;
        op.most = 2048;
        op.chosen = reinterpret_cast<std::int32_t*>(floats(tokens * 2048));
        time(name, 2.0 * static_cast<double>(length * 128),
             2.0 * static_cast<double>(tokens * length) * 64 * 128, tokens == 1 ? 32 : 2,
             [&](int) { m_backend.choose_keys(op); });
    }

    Backend& m_backend;
    std::string m_only;
    int m_repeats;
    std::vector<float> m_some = std::vector<float>(std::size_t{1} << 18);
    std::vector<std::unique_ptr<Buffer>> m_buffers;
};

} // namespace

int main(int argc, char** argv) {
    std::string device = "cuda";
    std::string only;
    int repeats = 20;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--device") == 0) {
            device = argv[i + 1];
        } else if (std::strcmp(argv[i], "--only") == 0) {
            only = argv[i + 1];
        } else if (std::strcmp(argv[i], "--repeats") == 0) {
            repeats = std::max(1, std::atoi(argv[i + 1]));
        } else {
            std::fprintf(stderr, "usage: device_mixer_bench [--device D] [--only WORD] "
                                 "[--repeats N]\n");
            return 2;
        }
    }
    auto backend = open_backend({.device = device});
    if (!backend.ok()) {
        std::fprintf(stderr, "%s\n", backend.error().what.c_str());
        return 1;
    }
    std::printf("%s\n", (*backend)->device().name.c_str());
    Bench(**backend, only, repeats).run();
    return 0;
}
