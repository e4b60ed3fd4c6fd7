#pragma once
// The op set on kernels/cpu: cuts the work into ranges for the thread pool, and holds the memory.
// Every op is done when it returns. Included by engine/backend/cpu alone.

#include "engine/backend/backend.h"
#include "engine/backend/cpu/format.h"
#include "engine/core/thread_pool.h"
#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace hs {

// --- memory of the ops' own ----------------------------------------------------------------------

constexpr std::int64_t kAlign = 64;

struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlign}); }
};
using Block = std::unique_ptr<std::byte[], Free>;

inline Block make_block(std::int64_t bytes) {
    return Block(static_cast<std::byte*>(
        ::operator new[](static_cast<std::size_t>(bytes), std::align_val_t{kAlign})));
}

// Memory that only grows and is not kept from one use to the next.
class Workspace {
public:
    std::byte* bytes(std::int64_t count) {
        if (count > m_bytes) {
            m_block.reset(); // not both at once
            m_block = make_block(count);
            m_bytes = count;
        }
        return m_block.get();
    }
    float* floats(std::int64_t count) {
        return reinterpret_cast<float*>(bytes(count * static_cast<std::int64_t>(sizeof(float))));
    }

private:
    Block m_block;
    std::int64_t m_bytes = 0;
};
inline cpu::Glu glu_of(const GluSpec& spec) {
    return {.kind = static_cast<cpu::Glu::Kind>(spec.kind), // the same four, in the same order
            .alpha = static_cast<float>(spec.alpha),
            .limit = static_cast<float>(spec.limit),
            .beta = static_cast<float>(spec.beta),
            .linear_beta = static_cast<float>(spec.linear_beta)};
}
// A weight as the kernels take it.
cpu::Matrix matrix_of(const Weight& weight);
// Tokens [first, first + count).
cpu::Activations slice(cpu::Activations a, std::int64_t first, std::int64_t count);

// One product of a fork.
struct Job {
    cpu::Matrix matrix;
    cpu::Activations activations;
    float* out = nullptr;
    std::int64_t out_stride = 0;
    const float* bias = nullptr;

    std::int64_t tiles() const { return (matrix.rows + cpu::kRowTile - 1) / cpu::kRowTile; }
};
class CpuBackend final : public Backend {
public:
    explicit CpuBackend(int threads)
        : m_pool(threads)
        , m_worker_scratch(static_cast<std::size_t>(m_pool.threads())) {}

    DeviceInfo device() const override;
    std::int64_t pass_tokens() const override { return 512; }

    // --- memory ---
    Result<std::unique_ptr<Buffer>> allocate(std::int64_t bytes) override;
    Result<std::unique_ptr<GrowingBuffer>> reserve(std::int64_t most_bytes) override;
    Result<Weight> place(const Weight& host, std::vector<std::unique_ptr<Buffer>>& held) override;
    void copy_in(std::byte* to, std::span<const std::byte> from) override;
    void copy_out(std::span<std::byte> to, const std::byte* from) override;
    void copy(std::byte* to, const std::byte* from, std::int64_t bytes) override;
    View<float, 2> scratch(std::int64_t rows, std::int64_t cols) override;
    void reset_scratch() override;

    // --- pointwise: pointwise_ops.cpp ---
    void embed(const Weight& table, std::span<const std::int32_t> ids, View<float, 2> out) override;
    void rms_norm(View<const float, 2> x, std::span<const float> weight, float eps,
                  View<float, 2> out) override;
    void layer_norm(View<const float, 2> x, std::span<const float> weight,
                    std::span<const float> bias, float eps, View<float, 2> out) override;
    void add(View<float, 2> x, View<const float, 2> y) override;
    void blend(View<float, 2> x, float x_scale, View<const float, 2> y, float y_scale) override;
    void scale(View<float, 2> x, float factor) override;
    void copy_columns(View<const float, 3> from, View<float, 3> to) override;
    void softcap(View<float, 2> x, float cap) override;
    void mix_streams(std::span<const View<const float, 2>> streams, std::span<const float> query,
                     float eps, View<float, 2> out) override;
    void glu(const GluSpec& spec, View<const float, 2> gate, View<const float, 2> up,
             View<float, 2> out) override;
    void sigmoid_gate(View<float, 3> x, View<const float, 3> gate) override;
    void sigmoid_scale_rows(View<float, 2> x, View<const float, 2> gate) override;
    void rope(View<float, 3> x, const RopeTable& table, std::int64_t first_position) override;

    // --- matrices: cpu_backend.cpp ---
    void matmul(View<const float, 2> x, std::span<const Product> products) override;
    void matmul_heads(View<const float, 3> x, const Weight& weight, View<float, 3> out) override;

    // --- token mixers: softmax_ops.cpp, linear_ops.cpp ---
    void append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                   std::int64_t first_position, std::int64_t ring) override;
    void attention(const AttentionOp& op) override;
    void choose_keys(const ChooseKeysOp& op) override;
    void gated_delta(const GatedDeltaOp& op) override;
    void kda(const KdaOp& op) override;
    void lightning(const LightningOp& op) override;

    // --- channel mixers: moe_ops.cpp ---
    void moe(const MoeOp& op) override;

    Result<void> finish() override { return {}; }

private:
    struct ScratchBlock {
        Block memory;
        std::int64_t size = 0;
        std::int64_t used = 0;
    };

    static bool wants_int8(const Weight& weight) {
        const auto format = weight_format(weight.dtype);
        return format && cpu::wants_int8(*format);
    }
    static bool any_int8(std::span<const Weight> a, std::span<const Weight> b) {
        return std::any_of(a.begin(), a.end(), wants_int8) ||
               std::any_of(b.begin(), b.end(), wants_int8);
    }

    // body(row) for every row; forks only where it is worth it: a fork costs a few microseconds,
    // about ten thousand elements of pointwise work.
    template <class Body>
    void for_rows(std::int64_t rows, std::int64_t elements_per_row, Body body) {
        constexpr std::int64_t kWorthAFork = 16384;
        if (rows == 1 || rows * elements_per_row < kWorthAFork) {
            for (std::int64_t row = 0; row < rows; ++row) {
                body(row);
            }
            return;
        }
        const std::int64_t grain = std::max<std::int64_t>(
            1, std::min(rows / m_pool.threads(),
                        kWorthAFork / std::max<std::int64_t>(1, elements_per_row)));
        m_pool.for_range(rows, grain, [&](std::int64_t first, std::int64_t last, int) {
            for (std::int64_t row = first; row < last; ++row) {
                body(row);
            }
        });
    }
    void attend_few(const cpu::Attention& kernel, std::int64_t first_key);
    void attend_all(const cpu::Attention& kernel);
    void attend_chosen(const cpu::Attention& kernel, const AttentionOp& op);

    void reserve_worker_scratch(std::int64_t bytes) {
        for (Workspace& scratch : m_worker_scratch) {
            scratch.bytes(bytes);
        }
    }
    std::byte* worker_bytes(int worker) {
        return m_worker_scratch[static_cast<std::size_t>(worker)].bytes(0);
    }
    float* worker_floats(int worker) { return reinterpret_cast<float*>(worker_bytes(worker)); }
    // The input of products, in int8 too where one of them wants it.
    cpu::Activations prepare(const float* x, std::int64_t stride, std::int64_t tokens,
                             std::int64_t cols, bool int8);
    // All of m_jobs in one fork, cut into tiles of rows that free threads take.
    void run_jobs();
    void route_all(const MoeOp& op);

    Workspace m_int8; // activations of the current product
    Workspace m_work; // of the current op: angles, convolved channels, router scores
    Workspace m_expert_in, m_expert_hidden;
    std::vector<ScratchBlock> m_blocks; // scratch()
    std::vector<Job> m_jobs;
    std::vector<std::int32_t> m_chosen;
    std::vector<float> m_weights;
    std::vector<std::int64_t> m_first, m_next, m_place;
    ThreadPool m_pool;
    std::vector<Workspace> m_worker_scratch;
};

} // namespace hs
