// Token mixers of the CUDA backend.

#include "engine/backend/cuda/cuda_backend.h"
#include "kernels/cuda/abi_mixers.h"

#include <algorithm>
#include <array>
#include <numbers>

namespace hs {

namespace {

constexpr std::int64_t kFloat = sizeof(float);

cuda::CacheFormat cache_format(DType dtype) {
    HS_ASSERT(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16);
    return dtype == DType::F32   ? cuda::CacheFormat::F32
           : dtype == DType::F16 ? cuda::CacheFormat::F16
                                 : cuda::CacheFormat::BF16;
}
std::int64_t ceil_div(std::int64_t n, std::int64_t by) {
    return (n + by - 1) / by;
}

// Floats of a row of shared memory that is read by quads: an odd number of quads.
std::int64_t quad_stride(std::int64_t dims) {
    return 4 * (ceil_div(dims, 4) | 1);
}

// Kernels of which there is one per cache format.
using ByFormat = std::array<const char*, 3>;
constexpr ByFormat kPlain{"hs_attend_plain_f32", "hs_attend_plain_f16", "hs_attend_plain_bf16"};
const char* of_format(const ByFormat& names, cuda::CacheFormat format) {
    return names[static_cast<std::size_t>(format)];
}

// Kernels of linear mixers by how many quads of key rows a lane holds: 2, 4, 8 or 16.
using ByQuads = std::array<const char*, 4>;
std::size_t quads_index(std::int64_t key_dim) {
    HS_ASSERT(key_dim >= 1 && key_dim <= cuda::kMostKeyDim);
    std::size_t i = 0;
    while ((std::int64_t{32} << i) < key_dim) {
        ++i;
    }
    return i;
}

} // namespace

namespace {

// Which kernel reads a cache, and what a block of it takes.
struct AttentionPlan {
    const char* kernel = nullptr;
    int threads = 0;
    std::int64_t shared_bytes = 0;
    std::int64_t rows = 0;       // of a block
    std::int64_t blocks = 0;     // of a processor
    std::int64_t least_keys = 0; // of a part
    std::int32_t tile_keys = 0;  // of the plain kernel
};

// The most shared memory of a block.
std::int64_t most_shared(int capability) {
    constexpr std::int64_t kKiB = 1024;
    switch (capability) {
    case 80:
    case 87:
        return 163 * kKiB;
    case 90:
    case 100:
    case 103:
        return 227 * kKiB;
    default:
        return 99 * kKiB;
    }
}

// Kernels on the tensor cores, by the widest head they take.
struct AttendSize {
    std::int64_t dim, value_dim;
    std::int64_t rows, keys;            // of a block, of a tile
    std::int64_t blocks;                // of a processor
    std::array<const char*, 2> kernels; // F16, BF16
};
constexpr AttendSize kFew[] = {
    {64, 64, 16, 64, 3, {"hs_attend_few_f16_64", "hs_attend_few_bf16_64"}},
    {128, 128, 16, 64, 3, {"hs_attend_few_f16_128", "hs_attend_few_bf16_128"}},
    {192, 128, 16, 32, 3, {"hs_attend_few_f16_192", "hs_attend_few_bf16_192"}},
    {256, 256, 16, 32, 2, {"hs_attend_few_f16_256", "hs_attend_few_bf16_256"}},
    {576, 512, 16, 32, 2, {"hs_attend_few_f16_576", "hs_attend_few_bf16_576"}},
    {576, 512, 32, 32, 1, {"hs_attend_few_f16_576_2", "hs_attend_few_bf16_576_2"}},
};
constexpr AttendSize kMany[] = {
    {64, 64, 64, 64, 3, {"hs_attend_many_f16_64", "hs_attend_many_bf16_64"}},
    {128, 128, 64, 32, 3, {"hs_attend_many_f16_128", "hs_attend_many_bf16_128"}},
    {192, 128, 64, 32, 2, {"hs_attend_many_f16_192", "hs_attend_many_bf16_192"}},
    {256, 256, 128, 32, 1, {"hs_attend_many_f16_256", "hs_attend_many_bf16_256"}},
};

// As the kernels lay it out; rows of 16-bit values are padded by eight.
std::int64_t few_shared(const AttendSize& size, bool in_keys) {
    const std::int64_t tiles = size.rows / 16;
    const bool held = size.dim <= 256 && tiles == 1;
    const std::int64_t stage = size.keys * (size.dim + 8 + (in_keys ? 0 : size.value_dim + 8));
    const std::int64_t queries = held ? 0 : 2 * size.rows * (size.dim + 8);
    const std::int64_t key_warps = cuda::kFewThreads / 32 / tiles;
    return 2 * (2 * stage + queries + 2 * size.rows * (size.keys + 8)) +
           (key_warps + 1) * size.rows * kFloat;
}
std::int64_t many_shared(const AttendSize& size) {
    return 2 *
           (2 * size.rows * (size.dim + 8) + 2 * size.keys * (size.dim + 8 + size.value_dim + 8));
}

AttentionPlan plan_attention(const cuda::AttentionParams& p, int capability) {
    const bool in_keys = p.values == p.keys;
    const std::int64_t group = p.query_heads / p.kv_heads;
    const std::int64_t rows = p.chosen != nullptr ? group : p.tokens * group;
    const auto aligned = [](const void* cache) {
        return reinterpret_cast<std::uintptr_t>(cache) % 16 == 0;
    };
    const bool by_16_bytes = p.format != cuda::CacheFormat::F32 && p.head_dim % 8 == 0 &&
                             p.value_stride % 8 == 0 && aligned(p.keys) && aligned(p.values);
    const auto fits = [&](const AttendSize& size) {
        return p.head_dim <= size.dim && p.value_dim <= size.value_dim;
    };
    const auto of_format = [&](const AttendSize& size) {
        return size.kernels[p.format == cuda::CacheFormat::F16 ? 0 : 1];
    };
    const bool wide = p.head_dim > 256 || p.value_dim > 256;
    constexpr std::int64_t kManyFrom = 33; // rows
    if (by_16_bytes && !in_keys && p.chosen == nullptr && rows >= kManyFrom) {
        for (const AttendSize& size : kMany) {
            const std::int64_t shared = many_shared(size);
            if (fits(size) && shared <= most_shared(capability)) {
                return {.kernel = of_format(size),
                        .threads = static_cast<int>(2 * size.rows),
                        .shared_bytes = shared,
                        .rows = size.rows,
                        .blocks = size.blocks,
                        .least_keys = 512};
            }
        }
    }
    if (by_16_bytes) {
        AttentionPlan plan;
        for (const AttendSize& size :
             kFew) { // the narrowest; of the widest, the one with more rows
            const std::int64_t shared = few_shared(size, in_keys);
            const bool wanted =
                plan.kernel == nullptr || (size.rows > plan.rows && rows > plan.rows && wide);
            if (fits(size) && shared <= most_shared(capability) && wanted) {
                plan = {.kernel = of_format(size),
                        .threads = cuda::kFewThreads,
                        .shared_bytes = shared,
                        .rows = size.rows,
                        .blocks = size.blocks,
                        .least_keys = size.keys};
            }
        }
        if (plan.kernel != nullptr) {
            return plan;
        }
    }
    const std::int64_t stride = quad_stride(p.head_dim);
    AttentionPlan plan{.kernel = hs::of_format(kPlain, p.format),
                       .threads = cuda::kAttendThreads,
                       .rows = cuda::kAttendRows,
                       .blocks = 2,
                       .least_keys = 128,
                       .tile_keys = 32};
    const auto shared = [&] {
        return ((cuda::kAttendRows + plan.tile_keys) * stride +
                (in_keys ? 0 : plan.tile_keys * p.value_dim) + plan.tile_keys * cuda::kAttendRows +
                cuda::kAttendRows) *
               kFloat;
    };
    while (shared() > most_shared(capability)) {
        plan.tile_keys /= 2;
    }
    plan.shared_bytes = shared();
    return plan;
}

} // namespace

void CudaBackend::append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                            std::int64_t first_position, std::int64_t ring) {
    HS_ASSERT(rows.stride[2] == 1);
    const cuda::AppendKvParams params{.rows = rows.data,
                                      .token_stride = rows.stride[0],
                                      .head_stride = rows.stride[1],
                                      .heads = narrow(rows.extent[1]),
                                      .dim = narrow(rows.extent[2]),
                                      .cache = cache,
                                      .format = cache_format(cache_dtype),
                                      .first_position = first_position,
                                      .ring = ring};
    launch("hs_append_kv", {ceil_div(rows.extent[1] * rows.extent[2], 256), rows.extent[0]}, 256, 0,
           params);
}

void CudaBackend::attention(const AttentionOp& op) {
    const std::int64_t tokens = op.q.extent[0];
    const std::int64_t query_heads = op.q.extent[1];
    op.check();
    HS_ASSERT(op.head_dim <= cuda::kMostHeadDim && op.value_head_dim <= cuda::kMostValueDim);
    const std::int64_t group = query_heads / op.kv_heads;
    const bool in_keys = values_in_keys(op);

    cuda::AttentionParams params{
        .q = op.q.data,
        .q_token_stride = op.q.stride[0],
        .q_head_stride = op.q.stride[1],
        .tokens = narrow(tokens),
        .query_heads = narrow(query_heads),
        .kv_heads = narrow(op.kv_heads),
        .head_dim = narrow(op.head_dim),
        .value_dim = narrow(op.value_head_dim),
        .format = cache_format(op.cache_dtype),
        .keys = op.keys,
        .values = op.values,
        .value_stride = narrow(in_keys ? op.head_dim : op.value_head_dim),
        .scale = op.scale * std::numbers::log2e_v<float>,
        .length = op.length,
        .ring = op.ring,
        .window = op.window,
        .sinks = op.sinks,
        .chosen = op.chosen,
        .chosen_most = op.chosen_most,
        .out = op.out.data,
        .out_token_stride = op.out.stride[0],
        .out_head_stride = op.out.stride[1],
        .first_key = 0,
        .part_keys = 0,
        .parts = 1,
        .tile_keys = 0,
        .partial = nullptr,
    };
    if (op.window > 0) {
        params.first_key = std::max<std::int64_t>(0, op.length - tokens + 1 - op.window);
    }
    const AttentionPlan plan = plan_attention(params, m_context->capability);
    const std::int64_t tiles = op.chosen != nullptr ? tokens * ceil_div(group, plan.rows)
                                                    : ceil_div(tokens * group, plan.rows);
    const std::int64_t keys = op.chosen != nullptr ? op.chosen_most : op.length - params.first_key;
    // Blocks for all processors, of at least some tiles of keys each.
    const std::int64_t wanted = ceil_div(m_context->processors * plan.blocks, tiles * op.kv_heads);
    const std::int64_t parts = std::clamp<std::int64_t>(wanted, 1, ceil_div(keys, plan.least_keys));
    constexpr std::int64_t kStep = 16; // keys of one product
    params.part_keys = ceil_div(ceil_div(keys, parts), kStep) * kStep;
    params.parts = narrow(ceil_div(keys, params.part_keys));
    params.tile_keys = plan.tile_keys;
    if (params.parts > 1) {
        params.partial = work_floats(tokens * query_heads * params.parts * (op.value_head_dim + 2));
        if (params.partial == nullptr) {
            return;
        }
    }
    launch(plan.kernel, {tiles, params.parts, op.kv_heads}, plan.threads, plan.shared_bytes,
           params);
    if (params.parts > 1) {
        launch("hs_attend_merge", {query_heads, tokens, ceil_div(op.value_head_dim, 64)},
               cuda::kMergeThreads,
               (params.parts + 2 * cuda::kMergeThreads / 32 + cuda::kMergeThreads) * kFloat,
               params);
    }
}

void CudaBackend::choose_keys(const ChooseKeysOp& op) {
    const std::int64_t tokens = op.q.extent[0];
    op.check();
    // As many tokens at once as have their scores in 64 MiB.
    constexpr std::int64_t kScores = std::int64_t{1} << 24;
    const std::int64_t block = std::clamp<std::int64_t>(kScores / op.length, 1, tokens);
    cuda::ChooseKeysParams params{.q = op.q.data,
                                  .q_token_stride = op.q.stride[0],
                                  .q_head_stride = op.q.stride[1],
                                  .weights = op.weights.data,
                                  .weights_stride = op.weights.stride[0],
                                  .tokens = narrow(tokens),
                                  .heads = narrow(op.q.extent[1]),
                                  .head_dim = narrow(op.q.extent[2]),
                                  .format = cache_format(op.cache_dtype),
                                  .keys = op.keys,
                                  .length = op.length,
                                  .most = op.most,
                                  .first_token = 0,
                                  .scores = work_floats(block * op.length),
                                  .score_stride = op.length,
                                  .chosen = op.chosen};
    if (params.scores == nullptr) {
        return;
    }
    constexpr ByFormat kScoresOf{"hs_index_scores_f32", "hs_index_scores_f16",
                                 "hs_index_scores_bf16"};
    const std::int64_t shared =
        ((cuda::kIndexKeys + cuda::kIndexHeads) * quad_stride(op.q.extent[2]) +
         cuda::kIndexThreads) *
        kFloat;
    constexpr std::int64_t kChooseShared = (2048 + cuda::kChooseThreads / 32 + 2) * kFloat;
    for (std::int64_t first = 0; first < tokens; first += block) {
        const std::int64_t count = std::min(block, tokens - first);
        params.first_token = first;
        launch(of_format(kScoresOf, params.format),
               {ceil_div(op.length - tokens + first + count, cuda::kIndexKeys), count},
               cuda::kIndexThreads, shared, params);
        launch("hs_choose_best", {count}, cuda::kChooseThreads, kChooseShared, params);
    }
}

// What a decay per head and one per key channel call theirs.
struct CudaBackend::DeltaKernels {
    ByQuads step, scan;
    const char* prepare;
    const char* finish;
    const char* chunk_prepare;
    const char* chunks;
    bool channels; // a decay per key channel
};

void CudaBackend::gated_delta(const GatedDeltaOp& op) {
    static constexpr DeltaKernels kDelta{
        {"hs_delta_step_2", "hs_delta_step_4", "hs_delta_step_8", "hs_delta_step_16"},
        {"hs_delta_scan_2", "hs_delta_scan_4", "hs_delta_scan_8", "hs_delta_scan_16"},
        "hs_delta_prepare",
        "hs_delta_finish",
        "hs_delta_chunk_prepare",
        "hs_delta_chunks",
        false};
    const GatedDeltaSpec& spec = op.spec;
    const std::int64_t tokens = op.qkv.extent[0];
    op.check();
    const std::int64_t keys = spec.key_heads * spec.key_dim;
    const std::int64_t stride = op.qkv.stride[0];
    delta_rule(kDelta, {.tokens = narrow(tokens),
                        .key_heads = narrow(spec.key_heads),
                        .value_heads = narrow(spec.value_heads),
                        .key_dim = narrow(spec.key_dim),
                        .value_dim = narrow(spec.value_dim),
                        .taps = narrow(spec.conv_kernel),
                        .tiled_heads = spec.head_map == HeadMap::Tiled,
                        .beta_scale = static_cast<float>(spec.beta_scale),
                        .decay_bound = 0.0f,
                        .in = {op.qkv.data, op.qkv.data + keys, op.qkv.data + 2 * keys},
                        .in_stride = {stride, stride, stride},
                        .conv_weight = op.conv_weight,
                        .conv_state = op.conv_state,
                        .decay = op.a.data,
                        .decay_stride = op.a.stride[0],
                        .b = op.b.data,
                        .b_stride = op.b.stride[0],
                        .gate = op.z.data,
                        .gate_stride = op.z.stride[0],
                        .decay_rate = op.decay_rate,
                        .dt_bias = op.dt_bias,
                        .norm_weight = op.norm_weight,
                        .norm_eps = op.norm_eps,
                        .state = op.state,
                        .out = op.out.data,
                        .out_stride = op.out.stride[0],
                        .decay_out = op.decay_out,
                        .beta_out = op.beta_out});
}

void CudaBackend::kda(const KdaOp& op) {
    static constexpr DeltaKernels kKda{
        {"hs_kda_step_2", "hs_kda_step_4", "hs_kda_step_8", "hs_kda_step_16"},
        {"hs_kda_scan_2", "hs_kda_scan_4", "hs_kda_scan_8", "hs_kda_scan_16"},
        "hs_kda_prepare",
        "hs_kda_finish",
        "hs_kda_chunk_prepare",
        "hs_kda_chunks",
        true};
    const KdaSpec& spec = op.spec;
    const std::int64_t tokens = op.q.extent[0];
    op.check();
    delta_rule(kKda, {.tokens = narrow(tokens),
                      .key_heads = narrow(spec.heads),
                      .value_heads = narrow(spec.heads),
                      .key_dim = narrow(spec.head_dim),
                      .value_dim = narrow(spec.head_dim),
                      .taps = narrow(spec.conv_kernel),
                      .tiled_heads = false,
                      .beta_scale = 1.0f,
                      .decay_bound = static_cast<float>(spec.decay_bound),
                      .in = {op.q.data, op.k.data, op.v.data},
                      .in_stride = {op.q.stride[0], op.k.stride[0], op.v.stride[0]},
                      .conv_weight = op.conv_weight,
                      .conv_state = op.conv_state,
                      .decay = op.decay.data,
                      .decay_stride = op.decay.stride[0],
                      .b = op.b.data,
                      .b_stride = op.b.stride[0],
                      .gate = op.gate.data,
                      .gate_stride = op.gate.stride[0],
                      .decay_rate = op.decay_rate,
                      .dt_bias = op.dt_bias,
                      .norm_weight = op.norm_weight,
                      .norm_eps = op.norm_eps,
                      .state = op.state,
                      .out = op.out.data,
                      .out_stride = op.out.stride[0],
                      .decay_out = op.decay_out,
                      .beta_out = op.beta_out});
}

namespace {

constexpr std::int64_t kChunkedFrom = 48; // tokens; below, one after another is as fast

} // namespace

void CudaBackend::delta_rule(const DeltaKernels& kernels, cuda::DeltaParams params) {
    const std::int64_t tokens = params.tokens;
    const std::int64_t heads = params.value_heads;
    const std::int64_t key_rows = params.key_heads * std::int64_t{params.key_dim};
    const std::int64_t channels = 2 * key_rows + heads * params.value_dim;
    HS_ASSERT(params.taps >= 1 && heads <= cuda::kMostDeltaHeads);
    const std::size_t size = quads_index(params.key_dim);
    const std::int64_t padded = std::int64_t{32} << size; // key rows
    const std::int64_t vectors = (kernels.channels ? 3 : 2) * padded;
    if (tokens == 1) {
        launch(kernels.step[size], {ceil_div(params.value_dim, cuda::kStepColumns), heads},
               cuda::kStepThreads, (vectors + 2 * cuda::kStepColumns + 1) * kFloat, params);
        return;
    }
    const std::int64_t row_blocks = ceil_div(tokens, cuda::kRowThreads / 32);
    const Grid finish{heads + ceil_div(channels, cuda::kRowThreads), row_blocks};
    if (tokens >= kChunkedFrom && params.key_dim == cuda::kChunkDim &&
        params.value_dim % cuda::kChunkColumns == 0) {
        delta_chunks(kernels, params);
        launch(kernels.finish, finish, cuda::kRowThreads, 0, params);
        return;
    }
    const std::int64_t keeps = heads * (kernels.channels ? params.key_dim : 1);
    params.rows = work_floats(tokens * (channels + keeps + heads));
    if (params.rows == nullptr) {
        return;
    }
    params.keep = params.rows + tokens * channels;
    params.beta = params.keep + tokens * keeps;
    launch(kernels.prepare,
           {2 * params.key_heads + heads + (kernels.channels ? heads : 1), row_blocks},
           cuda::kRowThreads, 0, params);
    launch(kernels.scan[size], {ceil_div(params.value_dim, cuda::kDeltaColumns), heads},
           cuda::kDeltaThreads,
           2 * cuda::kDeltaTokens * (vectors + cuda::kDeltaColumns + 4) * kFloat, params);
    launch(kernels.finish, finish, cuda::kRowThreads, 0, params);
}

// Some chunks at a time, so that what is made of them stays within some hundred MB, much of it in
// the second-level cache.
void CudaBackend::delta_chunks(const DeltaKernels& kernels, cuda::DeltaParams params) {
    constexpr std::int64_t kMostChunks = 128;
    const std::int64_t all = ceil_div(params.tokens, cuda::kChunk);
    const std::int64_t most = std::min(all, kMostChunks);
    const std::int64_t heads = params.value_heads;
    const std::int64_t plane = cuda::kChunk * cuda::kChunkDim / 2; // floats
    const std::int64_t planes =
        params.key_heads * (kernels.channels ? cuda::kKdaPlanes : cuda::kDeltaPlanes) * plane;
    const std::int64_t matrices = heads * 4 * cuda::kChunk * cuda::kChunk / 2;
    const std::int64_t factors = heads * cuda::kChunkFactors;
    const std::int64_t values = cuda::kChunk * heads * params.value_dim;
    float* const memory = work_floats(most * (planes + matrices + factors + values));
    if (memory == nullptr) {
        return;
    }
    params.planes = reinterpret_cast<unsigned short*>(memory);
    params.matrices = reinterpret_cast<unsigned short*>(memory + most * planes);
    params.factors = memory + most * (planes + matrices);
    params.values = params.factors + most * factors;
    const std::int64_t stage =
        2 * (kernels.channels ? cuda::kStageHalves<true> : cuda::kStageHalves<false>); // bytes
    params.stages = 2 * stage <= most_shared(m_context->capability) ? 2 : 1;
    for (std::int64_t first = 0; first < all; first += most) {
        params.first_chunk = narrow(first);
        params.chunks = narrow(std::min(most, all - first));
        launch(kernels.chunk_prepare, {params.chunks, params.key_heads}, cuda::kRowThreads,
               cuda::chunk_prepare_floats(kernels.channels, heads / params.key_heads) * kFloat,
               params);
        launch(kernels.chunks, {params.value_dim / cuda::kChunkColumns, heads}, cuda::kChunkThreads,
               params.stages * stage, params);
    }
}

void CudaBackend::lightning(const LightningOp& op) {
    const LightningSpec& spec = op.spec;
    const std::int64_t tokens = op.out.extent[0];
    const auto rows = [&](const View<const float, 3>& heads) {
        return cuda::LightningRows{heads.data, heads.stride[0], heads.stride[1]};
    };
    op.check();
    cuda::LightningParams params{.tokens = narrow(tokens),
                                 .heads = narrow(spec.heads),
                                 .head_dim = narrow(spec.head_dim),
                                 .norm_groups = narrow(spec.norm_groups),
                                 .silu = spec.silu,
                                 .scale = static_cast<float>(spec.scale),
                                 .q = rows(op.q),
                                 .k = rows(op.k),
                                 .v = rows(op.v),
                                 .gate = op.gate.data,
                                 .gate_stride = op.gate.stride[0],
                                 .decay_rates = op.decay_rates,
                                 .norm_weight = op.norm_weight,
                                 .norm_eps = op.norm_eps,
                                 .state = op.state,
                                 .out = op.out.data,
                                 .out_stride = op.out.stride[0],
                                 .stages = 2};
    HS_ASSERT(spec.heads <= cuda::kMostLightningHeads);
    const auto by_16_bytes = [](const cuda::LightningRows& heads) {
        return reinterpret_cast<std::uintptr_t>(heads.data) % 16 == 0 &&
               heads.token_stride % 4 == 0 && heads.head_stride % 4 == 0;
    };
    const Grid finish{spec.norm_groups, tokens};
    constexpr std::int64_t kFinishShared = cuda::kRowThreads / 32 * kFloat;
    if (tokens >= kChunkedFrom && spec.head_dim == cuda::kChunkDim && by_16_bytes(params.q) &&
        by_16_bytes(params.k) && by_16_bytes(params.v)) {
        const auto shared = [&] {
            return (params.stages * cuda::kLightningStage + cuda::kLightningRest) * kFloat;
        };
        if (shared() > most_shared(m_context->capability)) {
            params.stages = 1;
        }
        launch("hs_lightning_chunks", {spec.head_dim / cuda::kChunkColumns, spec.heads},
               cuda::kChunkThreads, shared(), params);
        launch("hs_lightning_finish", finish, cuda::kRowThreads, kFinishShared, params);
        return;
    }
    constexpr ByQuads kScan{"hs_lightning_scan_2", "hs_lightning_scan_4", "hs_lightning_scan_8",
                            "hs_lightning_scan_16"};
    const std::size_t size = quads_index(spec.head_dim);
    const std::int64_t padded = std::int64_t{32} << size;
    launch(kScan[size], {ceil_div(spec.head_dim, cuda::kLightningColumns), spec.heads},
           cuda::kLightningThreads,
           cuda::kLightningTokens * (2 * padded + cuda::kLightningColumns) * kFloat, params);
    if (tokens > 1) {
        launch("hs_lightning_finish", finish, cuda::kRowThreads, kFinishShared, params);
    }
}

} // namespace hs
