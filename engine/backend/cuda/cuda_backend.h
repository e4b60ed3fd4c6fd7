#pragma once
// The op set on kernels/cuda: one stream, on which every op is only begun when it returns. Errors
// of the device are kept and answered by finish(); after one, nothing more is begun. Included by
// engine/backend/cuda alone.

#include "engine/backend/backend.h"
#include "engine/backend/cuda/driver.h"
#include "engine/backend/cuda/step_recorder.h"
#include "kernels/cuda/abi.h"
#include "kernels/cuda/abi_mixers.h"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace hs {

// A device's primary context, retained as long as anything of ours lives on it: buffers may outlive
// the backend that made them.
class CudaContext {
public:
    static Result<std::shared_ptr<CudaContext>> open(int ordinal);
    ~CudaContext();
    CudaContext(const CudaContext&) = delete;
    CudaContext& operator=(const CudaContext&) = delete;

    // Every entry from outside: calls may come from any thread.
    void use() const;
    // Begins what the recorder keeps; with wait(), also waits for all that was begun. The first
    // failure stays.
    CUresult flush();
    CUresult wait();
    // Waits, then gives memory back.
    void free(CUdeviceptr memory);

    const Driver* driver = nullptr;
    CUdevice device = 0;
    CUcontext context = nullptr;
    CUstream stream = nullptr;
    std::string name;
    int capability = 0; // 90 for 9.0
    int processors = 0; // SMs
    int ordinal = 0;
    std::int64_t granularity = 0; // bytes, of memory that is mapped
    std::unique_ptr<StepRecorder> steps;

private:
    explicit CudaContext(const Driver* found)
        : driver(found) {}

    CUresult m_failed = CUDA_SUCCESS;
};

struct Grid {
    std::int64_t x = 1, y = 1, z = 1;
};

// Extents as kernels take them.
inline std::int32_t narrow(std::int64_t value) {
    HS_ASSERT(value >= 0 && value <= INT32_MAX);
    return static_cast<std::int32_t>(value);
}

class CudaBackend final : public Backend {
public:
    static Result<std::unique_ptr<Backend>> open(int ordinal);
    ~CudaBackend() override; // moe_ops.cpp, which knows what a table is

    DeviceInfo device() const override;
    std::int64_t pass_tokens() const override { return 2048; }

    // --- memory: cuda_backend.cpp ---
    Result<std::unique_ptr<Buffer>> allocate(std::int64_t bytes) override;
    Result<std::unique_ptr<GrowingBuffer>> reserve(std::int64_t most_bytes) override;
    Result<Weight> place(const Weight& host, std::vector<std::unique_ptr<Buffer>>& held) override;
    void copy_in(std::byte* to, std::span<const std::byte> from) override;
    void copy_out(std::span<std::byte> to, const std::byte* from) override;
    void copy(std::byte* to, const std::byte* from, std::int64_t bytes) override;
    View<float, 2> scratch(std::int64_t rows, std::int64_t cols) override;
    void reset_scratch() override;
    Result<void> finish() override;

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

    // --- matrices: matrix_ops.cpp ---
    void matmul(View<const float, 2> x, std::span<const Product> products) override;
    void matmul_heads(View<const float, 3> x, const Weight& weight, View<float, 3> out) override;

    // --- token mixers: mixer_ops.cpp ---
    void append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                   std::int64_t first_position, std::int64_t ring) override;
    void attention(const AttentionOp& op) override;
    void choose_keys(const ChooseKeysOp& op) override;
    void gated_delta(const GatedDeltaOp& op) override;
    void kda(const KdaOp& op) override;
    void lightning(const LightningOp& op) override;

    // --- channel mixers: moe_ops.cpp ---
    void moe(const MoeOp& op) override;

private:
    // Device memory of the ops' own that only grows and is not kept from one op to the next.
    class Workspace {
    public:
        CUdeviceptr memory = 0;
        std::int64_t bytes = 0;
    };

    explicit CudaBackend(std::shared_ptr<CudaContext> context);
    Result<void> load_kernels();
    void release();

    // Begins a kernel; Params is its one parameter. An empty grid begins nothing. shared_bytes is
    // dynamic shared memory.
    template <class Params>
    void launch(const char* kernel, Grid grid, int threads, std::int64_t shared_bytes,
                const Params& params) {
        launch_raw(kernel, grid, threads, shared_bytes, &params, sizeof(params));
    }
    void launch_raw(const char* kernel, Grid grid, int threads, std::int64_t shared_bytes,
                    const void* params, std::size_t params_bytes);
    struct Kernel {
        CUfunction function = nullptr;
        std::int64_t shared_bytes = 0; // that it was told of
    };
    Kernel* find_kernel(const char* name);

    // Gated delta and Kimi delta attention: mixer_ops.cpp.
    struct DeltaKernels;
    void delta_rule(const DeltaKernels& kernels, cuda::DeltaParams params);
    void delta_chunks(const DeltaKernels& kernels, cuda::DeltaParams params);

    // Memory for the op at hand: room for several areas is asked for at once. Null after an error.
    std::byte* work(std::int64_t bytes);
    float* work_floats(std::int64_t count) {
        return reinterpret_cast<float*>(work(count * static_cast<std::int64_t>(sizeof(float))));
    }
    // Keeps the first error for finish(). False when there is one.
    bool check(CUresult result, const char* call);
    void fail(Error error);
    // Errors: OutOfMemory with what is needed and free, Device.
    Result<CUdeviceptr> allocate_raw(std::int64_t bytes);
    // What the kernels take.
    static cuda::Matrix matrix_of(const Weight& weight);
    static cuda::Format format_of(const Weight& weight);
    static cuda::Glu glu_of(const GluSpec& spec);
    // "hs_gemm_Q4_K" for every format.
    static std::array<std::string, cuda::kFormats>
    kernels_by_format(const std::string& prefix, const std::string& suffix = {});

    // --- matrix_ops.cpp ---
    struct Input { // (tokens, cols), or (tokens, heads, cols)
        const float* data;
        std::int64_t stride, head_stride;
        std::int64_t tokens, cols;
        std::int64_t heads;     // 1: none
        std::int64_t head_rows; // of one head's matrix; 0: none
        cuda::Int8Rows int8;    // once quantise() was asked for them
    };
    void quantise(Input& x);
    // Row r is token r / heads, head r % heads.
    cuda::Int8Rows quantise_rows(const float* x, std::int64_t stride, std::int64_t head_stride,
                                 std::int64_t rows, std::int64_t heads, std::int64_t cols,
                                 std::byte* q, std::byte* scales);
    // Of one format, at most kMostProducts.
    void gemv(const Input& x, std::span<const Product> products, std::int64_t out_head_stride);
    void gemm(const Input& x, std::span<const Product> products, std::int64_t out_head_stride);
    void launch_gemm(cuda::Format format, bool many, Grid grid, const cuda::GemmParams& params);
    // x in terms of bf16, as hs_gemm reads it; row r as in quantise_rows().
    struct Split {
        const void* x;
        std::int64_t plane;
        int padded;
    };
    static std::int64_t split_bytes(std::int64_t rows, std::int64_t cols, int terms);
    Split split_rows(const float* x, std::int64_t stride, std::int64_t head_stride,
                     std::int64_t rows, std::int64_t heads, std::int64_t cols, int terms,
                     std::byte* memory);

    Result<std::byte*> room_in_chunk(std::int64_t bytes,
                                     std::vector<std::unique_ptr<Buffer>>& held);
    // Rows of a file in device memory as kernels want them (abi.h): matrix_ops.cpp.
    void lay_rows(cuda::Format format, const std::byte* from, std::int64_t from_stride,
                  std::byte* to, std::int64_t to_stride, std::int64_t rows, std::int64_t cols);

    std::shared_ptr<CudaContext> m_context;
    const Driver& m_driver;
    std::vector<CUmodule> m_modules;
    std::unordered_map<std::string_view, Kernel> m_kernels; // names are literals
    std::vector<Workspace> m_blocks;                        // scratch()
    std::int64_t m_block_used = 0;                          // of the last one
    Workspace m_work;
    Workspace m_staging;           // of weights on their way in
    std::byte* m_pinned = nullptr; // of values on their way out, in host memory
    // Weights share large allocations: a model may have tens of thousands of small matrices.
    struct Chunk;
    std::shared_ptr<Chunk> m_chunk;
    std::int64_t m_chunk_used = 0;
    std::optional<Error> m_error;
    // In a decode step, the op before the one at hand, as far as another kernel could do its work
    // too: it was the last that was recorded when the recorder held `kernels`.
    struct Last {
        std::size_t kernels = 0;
        std::int64_t rows = 0;
        std::variant<std::monostate, cuda::BlendParams, cuda::NormRowParams, cuda::GluParams> op;
    };
    Last m_last;
    template <class Params>
    const Params* last_op(std::int64_t rows) const;
    void note(std::int64_t rows, decltype(Last::op) op);
    void launch_norm_row(const cuda::NormRowParams& params, std::int64_t rows);
    // x in eight bits as part of the kernel that made it. False when that was another.
    bool quantise_with_last(const float* x, std::int64_t stride, std::int64_t rows,
                            std::int64_t cols, const cuda::Int8Out& to);
    // Of a mixture, where its experts lie, on the device; by where the caller keeps them.
    struct ExpertTable;
    Result<const ExpertTable*> experts_of(const MoeOp& op);
    std::map<const void*, std::unique_ptr<ExpertTable>> m_experts;
    std::int64_t m_places = 0; // calls of place(): what a table names can have changed only by one
};

} // namespace hs
