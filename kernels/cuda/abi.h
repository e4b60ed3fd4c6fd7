#pragma once
// What host and device agree on: parameters of kernels, one struct per entry point, passed by
// value, and how weights lie in the device's memory. Plain values; the host includes this and
// abi_mixers.h alone of kernels/cuda.
//
// Entry points are  extern "C" __global__ void hs_NAME(const __grid_constant__ NameParams p).

#include "kernels/format.h"

#include <cstddef>
#include <cstdint>
#include <span>

#ifdef __CUDACC__
#define HS_SHARED __host__ __device__
#else
#define HS_SHARED
#endif

namespace hs::cuda {

// Device code in this program, one per .cu; made by the build.
struct Fatbin {
    const char* name;
    const unsigned char* data;
};
std::span<const Fatbin> fatbins();
const char* fatbin_targets(); // "90a"

// --- weights -------------------------------------------------------------------------------------

using kernels::Format;
using kernels::kFormats;
// As kernels are named: hs_gemv_Q4_K.
constexpr const char* kFormatNames[kFormats] = {"F32",  "F16",  "BF16",   "F8E4M3", "Q4_0", "Q4_1",
                                                "Q5_0", "Q5_1", "Q8_0",   "Q2_K",   "Q3_K", "Q4_K",
                                                "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"};

// Block formats are laid anew when they are placed, so that what a thread reads lies together: in
// each row first the low bits of all quants, then their high bits, then the factors of small
// groups, then those of blocks.
struct RowLayout {
    int block;      // elements of a block of the file
    int file_bytes; // of one
    int low_bits;   // of a quant: 8, 4 or 2; 0: a plain format, which lies as it does in the file
    int high_bits;  // the others
    int group;      // elements that share factors; 0: those of a block
    int group_bytes;
    int block_bytes; // factors of a block
};
HS_SHARED constexpr RowLayout layout_of(Format format) {
    switch (format) {
    case Format::F32:
        return {1, 4, 0, 0, 0, 0, 0};
    case Format::F16:
    case Format::BF16:
        return {1, 2, 0, 0, 0, 0, 0};
    case Format::F8E4M3:
        return {1, 1, 0, 0, 0, 0, 0};
    case Format::Q4_0:
    case Format::IQ4_NL:
        return {32, 18, 4, 0, 0, 0, 2};
    case Format::Q4_1:
        return {32, 20, 4, 0, 0, 0, 4};
    case Format::Q5_0:
        return {32, 22, 4, 1, 0, 0, 2};
    case Format::Q5_1:
        return {32, 24, 4, 1, 0, 0, 4};
    case Format::Q8_0:
        return {32, 34, 8, 0, 0, 0, 2};
    case Format::Q2_K:
        return {256, 84, 2, 0, 16, 1, 4};
    case Format::Q3_K:
        return {256, 110, 2, 1, 16, 1, 2};
    case Format::Q4_K:
        return {256, 144, 4, 0, 32, 2, 4};
    case Format::Q5_K:
        return {256, 176, 4, 1, 32, 2, 4};
    case Format::Q6_K:
        return {256, 210, 4, 2, 16, 1, 2};
    case Format::IQ4_XS:
        return {256, 136, 4, 0, 32, 1, 2};
    case Format::MXFP4:
        return {32, 17, 4, 0, 0, 0, 1};
    }
    return {};
}
HS_SHARED constexpr std::int64_t high_offset(const RowLayout& l, std::int64_t cols) {
    return cols * l.low_bits / 8;
}
HS_SHARED constexpr std::int64_t group_offset(const RowLayout& l, std::int64_t cols) {
    return high_offset(l, cols) + cols * l.high_bits / 8;
}
HS_SHARED constexpr std::int64_t block_offset(const RowLayout& l, std::int64_t cols) {
    return group_offset(l, cols) + (l.group > 0 ? cols / l.group * l.group_bytes : 0);
}
// A row as it lies on the device, a multiple of 16.
constexpr std::int64_t placed_row_bytes(Format format, std::int64_t cols) {
    const RowLayout l = layout_of(format);
    const std::int64_t bytes = l.low_bits == 0
                                   ? cols * l.file_bytes
                                   : block_offset(l, cols) + cols / l.block * l.block_bytes;
    return (bytes + 15) / 16 * 16;
}

// (rows, cols) on the device; rows lie 16-byte aligned.
struct Matrix {
    const unsigned char* data;
    std::int64_t row_stride; // bytes
    // F8E4M3: one factor per scale_rows x scale_cols; null: one.
    const float* scales;
    int scale_rows, scale_cols;
    std::int64_t scale_stride;
    int rows, cols;
};

// --- pointwise -----------------------------------------------------------------------------------
// Grids are (rows, columns / kPointThreads) unless said otherwise; strides in floats, from row to
// row.

constexpr int kPointThreads = 256;

// hs_copy: grid (bytes / 16 / kPointThreads); nothing overlaps.
struct CopyParams {
    const void* from;
    void* to;
    std::int64_t bytes;
};
// x = x_scale * x + y_scale * y: hs_blend; with both 1, hs_add.
struct BlendParams {
    float* x;
    const float* y;
    std::int64_t x_stride, y_stride;
    int cols;
    float x_scale, y_scale;
};
// hs_scale: x *= value; hs_softcap: value * tanh(x / value)
struct ScaleParams {
    float* x;
    std::int64_t stride;
    int cols;
    float value;
};
// hs_scale_rows: x *= sigmoid(gate of the row)
struct ScaleRowsParams {
    float* x;
    const float* gate;
    std::int64_t x_stride, gate_stride;
    int cols;
};
// (rows, heads, width): hs_copy_columns: to = from; hs_sigmoid_gate: to *= sigmoid(from).
struct HeadsParams {
    const float* from;
    float* to;
    std::int64_t from_stride, from_head, to_stride, to_head;
    int heads, width;
};
struct Glu {
    int kind; // GluSpec::Kind: silu, gelu by tanh, clamped, situ
    float alpha, limit, beta, linear_beta;
};
struct GluParams {
    const float* gate;
    const float* up;
    float* out;
    std::int64_t gate_stride, up_stride, out_stride;
    int cols;
    Glu glu;
};
// hs_rms_norm: grid (rows * pieces); every `width` of a row are normed alone.
// hs_layer_norm: grid (rows).
struct NormParams {
    const float* x;
    const float* weight; // (width)
    const float* bias;   // (width), of layer_norm
    float* out;
    std::int64_t x_stride, out_stride;
    int width, pieces;
    float eps;
};
// hs_norm_row: grid (rows), kNormRowThreads threads. Of a decode step: what comes before a product
// in one kernel. x += y, unless y is null; out = x / rms(x) * weight; and out in eight bits, unless
// int8.q is null. All begins at multiples of 16 bytes; width is a multiple of 4, or 32 for int8.
constexpr int kNormRowThreads = 512;
constexpr int kMostNormRow = 8 * 4 * kNormRowThreads;
struct Int8Out { // see Int8Rows
    signed char* q;
    float* scales;
};
struct NormRowParams {
    float* x;
    const float* y;
    const float* weight;
    float* out;
    std::int64_t x_stride, y_stride, out_stride;
    Int8Out int8;
    int width;
    float eps;
};
// hs_glu_int8: grid (rows, cols / kQuantiseCols), 256 threads: out = glu(gate, up), and in eight
// bits.
struct GluInt8Params {
    GluParams glu;
    Int8Out int8;
};
// Grid (rows).
constexpr int kMostStreams = 200;
struct MixStreamsParams {
    const float* stream[kMostStreams];
    std::int64_t stride[kMostStreams];
    const float* query; // (width)
    float* out;
    std::int64_t out_stride;
    int count, width;
    float eps;
};
// Grid (tokens, heads / kRopeHeads); pairs [first_pair, first_pair + pairs) of `all_pairs`.
constexpr int kRopePairs = 256;
constexpr int kRopeHeads = 8;
struct RopeParams {
    float inverse_frequency[kRopePairs];
    float* x;
    std::int64_t token_stride, head_stride;
    std::int64_t first_position;
    int heads, first_pair, pairs, all_pairs;
    int interleaved;
    float magnitude;
};
// hs_embed_FORMAT: grid (ids, cols / 8 / kPointThreads)
constexpr int kEmbedIds = 512;
struct EmbedParams {
    std::int32_t ids[kEmbedIds];
    Matrix table;
    float* out;
    std::int64_t out_stride;
};

// --- matrices ------------------------------------------------------------------------------------

// hs_lay_FORMAT: rows of a file to rows of a Matrix. Grid (rows, pieces / kPointThreads), a piece
// being 32 elements, or a byte of a plain format.
struct LayParams {
    const unsigned char* from;
    unsigned char* to;
    std::int64_t from_stride, to_stride;
    int cols, pieces;
};

// Whether products of few tokens with a format take x in eight bits: block formats, but for MXFP4,
// whose weights are exact in what x would lose.
HS_SHARED constexpr bool takes_int8(Format format) {
    return layout_of(format).low_bits > 0 && format != Format::MXFP4;
}
// x in eight bits, one factor for every 32 columns: q (tokens * heads, cols), in [-127, 127], and
// scales (tokens * heads, cols / 32).
struct Int8Rows {
    const signed char* q;
    const float* scales;
};
// hs_quantise: grid (rows, cols / 1024), 256 threads: eight for 32 columns.
constexpr int kQuantiseCols = 1024;
struct QuantiseParams {
    const float* x; // row r: token r / heads, head r % heads
    std::int64_t x_stride, x_head_stride;
    int heads, cols;
    Int8Out to;
};

// hs_gemv_FORMAT_T, T in 1, 2, 4, 8 at least `tokens`: products of few tokens that share their
// input. Grid (blocks of all products, heads), kGemvThreads threads. `split` warps share
// kGemvRows rows, each taking a part of the columns; a block has kGemvRows * 8 / split rows.
constexpr int kGemvThreads = 256;
constexpr int kGemvRows = 4;
constexpr int kMostProducts = 8;
struct GemvParams {
    const float* x; // (tokens, cols); with heads (tokens, heads, cols)
    std::int64_t x_stride, x_head_stride;
    Int8Rows int8; // of formats that take it
    int tokens, cols, heads;
    int aligned; // rows of x begin at multiples of 16 bytes
    int split;
    int head_rows; // with heads: rows of one; else 0
    int count;
    struct {
        Matrix weight;
        float* out;
        const float* bias; // (rows) or null
        std::int64_t out_stride, out_head_stride;
        int first_block;
    } product[kMostProducts];
};

// A matrix of one expert.
struct ExpertMatrix {
    Matrix matrix;
    const float* bias; // or null
    int format;
};
// Rows of one expert that a block of hs_gemm takes: slots [first, first + count) of `order`.
struct ExpertTile {
    int expert, first, count;
};

// Terms of bf16 that add up to a weight: quants have lost more than the first leaves out, and what
// bf16 and MXFP4 hold is exact. And those of x: one where weights are quants, else all of its bits.
HS_SHARED constexpr int weight_terms(Format format) {
    return format == Format::F32 ? 3 : format == Format::F16 || format == Format::F8E4M3 ? 2 : 1;
}
HS_SHARED constexpr int input_terms(Format format) {
    return takes_int8(format) ? 1 : 3;
}
// hs_split: x in terms of bf16. Grid (rows, padded / 8 / kPointThreads).
struct SplitParams {
    const float* x; // row r: token r / heads, head r % heads
    std::int64_t x_stride, x_head_stride;
    int heads, cols;
    int terms;
    void* to;           // (terms, rows, padded) bf16, zeros behind a row's end
    std::int64_t plane; // rows * padded
    int padded;
};
constexpr int kSplitCols = 64; // rows of x are padded to a multiple

// hs_gemm_FORMAT, and hs_gemm128_FORMAT for weights of one term: products of many tokens. Grid
// (tokens / kGemmTokens or kManyTokens, rows / kGemmRows, heads), or for experts (tiles, rows /
// kGemmRows); kGemmThreads threads, gemm_shared_bytes of shared memory.
constexpr int kGemmThreads = 256;
constexpr int kGemmTokens = 64;
constexpr int kManyTokens = 128;
constexpr int kGemmRows = 128;
// Columns at a time, and values from row to row in shared memory, so that eight rows side by side
// share no banks.
HS_SHARED constexpr int gemm_depth(Format format) {
    return input_terms(format) == 1 ? 64 : 32;
}
HS_SHARED constexpr int gemm_pitch(Format format) {
    return gemm_depth(format) + 8;
}
// Two stages of both factors.
HS_SHARED constexpr int gemm_shared_bytes(Format format, int tokens) {
    return 2 * (input_terms(format) * tokens + weight_terms(format) * kGemmRows) *
           gemm_pitch(format) * 2;
}
struct GemmParams {
    const void* x;      // what hs_split wrote: row t * heads + head
    std::int64_t plane; // values from term to term
    int padded, heads;  // of its rows
    int tokens, cols;
    int head_rows; // with heads: rows of one; else 0
    Matrix weight;
    const float* bias;
    float* out;
    std::int64_t out_stride, out_head_stride;
    // Experts, or null. Pair p = order[slot] reads row p / pairs_per_row of x and writes row p of
    // out.
    const ExpertMatrix* experts;
    const ExpertTile* tiles;
    const int* tile_count;
    const int* order;
    int pairs_per_row;
    int format; // experts of other formats are left to their kernels
};

// --- mixtures ------------------------------------------------------------------------------------

// hs_route: grid (tokens), 32 threads, 2 * experts + groups floats of shared memory.
struct RouteParams {
    const float* scores;
    std::int64_t stride;
    int experts, top_k;
    int score; // MoeSpec::Score: softmax, sigmoid, softmax of the chosen
    int normalise;
    int groups, groups_kept, group_best;
    float weight_scale;
    const float* choice_bias; // or null
    std::int32_t* chosen;     // (tokens, top_k)
    float* weights;           // (tokens, top_k)
    std::int32_t* chosen_out; // likewise, or null
};
// hs_sort_pairs: one block of kSortThreads, 2 * experts + 1 ints of shared memory. Pairs of a token
// and an expert in the order of experts, and the tiles of hs_gemm.
constexpr int kSortThreads = 1024;
struct SortPairsParams {
    const std::int32_t* chosen; // (pairs)
    int pairs, experts;
    int* order;        // (pairs)
    ExpertTile* tiles; // at most pairs / kGemmTokens + experts
    int* tile_count;
};
// hs_expert_up_FORMAT: one row of `out` per pair: a matrix times the pair's token, or with `up`
// what glu makes of two. Grid (rows / kExpertRows / 8, pairs), 256 threads.
constexpr int kExpertRows = 2;
struct ExpertUpParams {
    const float* x; // (tokens, cols)
    std::int64_t x_stride;
    Int8Rows int8; // of formats that take it
    int aligned, top_k, rows, cols;
    const std::int32_t* chosen;
    const ExpertMatrix* gate; // by expert
    const ExpertMatrix* up;   // or null: gate's products alone
    float* out;               // (pairs, rows)
    Glu glu;
    int format;
};
// hs_expert_down_FORMAT: the weighted sum over a token's experts. Grid (rows / kDownRows, tokens),
// 256 threads: a warp for an expert.
constexpr int kDownRows = 4;
struct ExpertDownParams {
    const float* x; // (pairs, cols)
    Int8Rows int8;  // of formats that take it
    int top_k, rows, cols, aligned;
    const std::int32_t* chosen;
    const float* weights;
    const ExpertMatrix* down;
    float* out;
    std::int64_t out_stride;
    int format;
    int add; // to what is there: not the first kernel of several formats
};
// hs_join_pairs: grid (tokens, cols / kPointThreads)
struct JoinPairsParams {
    const float* pairs;   // (tokens * top_k, cols)
    const float* weights; // (tokens, top_k)
    float* out;
    std::int64_t out_stride;
    int top_k, cols;
};

} // namespace hs::cuda
