#pragma once
// Parameters of the token mixers' kernels, by value: read by nvcc and by the host's compiler.
// Pointers are device memory, strides count elements, innermost dimensions lie together.

#include <cstdint>

namespace hs::cuda {

enum class CacheFormat : std::int32_t { F32, F16, BF16 };

// hs_append_kv. Grid (columns / 256, tokens).
struct AppendKvParams {
    const float* rows; // (tokens, heads, dim)
    std::int64_t token_stride, head_stride;
    std::int32_t heads, dim;
    void* cache; // (slots, heads, dim)
    CacheFormat format;
    std::int64_t first_position;
    std::int64_t ring; // > 0: position p lies in slot p mod ring
};

// Softmax attention. A row is one query head of one token; rows of one KV head are numbered token
// by token. Keys are cut into parts, which hs_attend_merge joins.
constexpr std::int32_t kAttendRows = 16;  // of a block of hs_attend_plain
constexpr std::int32_t kFewThreads = 128; // of hs_attend_few
constexpr std::int32_t kAttendThreads = 256;
constexpr std::int32_t kMergeThreads = 256;
constexpr std::int32_t kMostHeadDim = 576;
constexpr std::int32_t kMostValueDim = 512;
struct AttentionParams {
    const float* q; // (tokens, query_heads, head_dim)
    std::int64_t q_token_stride, q_head_stride;
    std::int32_t tokens, query_heads, kv_heads, head_dim, value_dim;
    CacheFormat format;
    const void* keys;   // (slots, kv_heads, head_dim)
    const void* values; // (slots, kv_heads, value_stride); == keys: their beginnings
    std::int32_t value_stride;
    float scale; // of the logits, times log2(e): powers of two are taken
    std::int64_t length, ring, window;
    const float* sinks;         // (query_heads) or null
    const std::int32_t* chosen; // (tokens, chosen_most) or null
    std::int64_t chosen_most;
    float* out; // (tokens, query_heads, value_dim)
    std::int64_t out_token_stride, out_head_stride;

    std::int64_t first_key; // no row sees an earlier one
    std::int64_t part_keys;
    std::int32_t parts;
    std::int32_t tile_keys; // of hs_attend_plain
    // (kv_heads, rows, parts, value_dim + 2): largest logit, sum, weighted values; null: one part.
    float* partial;
};

// hs_index_scores: scores(t, s) of tokens [first_token, first_token + gridDim.y) into
// (gridDim.y, score_stride). hs_choose_best then takes the best of each.
constexpr std::int32_t kIndexKeys = 64;  // of a block
constexpr std::int32_t kIndexHeads = 32; // whose queries lie in shared memory at a time
constexpr std::int32_t kIndexThreads = 256;
constexpr std::int32_t kChooseThreads = 1024;
struct ChooseKeysParams {
    const float* q; // (tokens, heads, head_dim)
    std::int64_t q_token_stride, q_head_stride;
    const float* weights; // (tokens, heads)
    std::int64_t weights_stride;
    std::int32_t tokens, heads, head_dim;
    CacheFormat format;
    const void* keys; // (length, head_dim)
    std::int64_t length, most;
    std::int64_t first_token;
    float* scores;
    std::int64_t score_stride;
    std::int32_t* chosen; // (tokens, most)
};

// The gated delta mixer and Kimi delta attention (hs_delta_*, hs_kda_*): the same but for the
// decay, one per head or one per key channel.
constexpr std::int32_t kStepColumns = 128; // value columns of a block in decode
constexpr std::int32_t kStepThreads = 512;
constexpr std::int32_t kDeltaColumns = 32; // and token by token
constexpr std::int32_t kDeltaThreads = 128;
constexpr std::int32_t kDeltaTokens = 8; // that lie in shared memory at a time
constexpr std::int32_t kMostKeyDim = 256;
constexpr std::int32_t kMostDeltaHeads = 1024;
constexpr std::int32_t kRowThreads = 256; // kernels with one warp per row
struct DeltaParams {
    std::int32_t tokens, key_heads, value_heads, key_dim, value_dim, taps;
    bool tiled_heads; // key head of value head h: h mod key_heads, else h / (ratio)
    float beta_scale;
    float decay_bound; // KDA; < 0: log decay bound * sigmoid(-rate x), else rate * softplus(x)
    // Queries, keys and values before the convolution, (tokens, heads * dim) each.
    const float* in[3];
    std::int64_t in_stride[3];
    const float* conv_weight; // (channels, taps): q heads | k heads | v heads; the last is now
    float* conv_state;        // (channels, taps - 1)
    const float* decay; // before the softplus: (tokens, value_heads), KDA (tokens, heads * key_dim)
    std::int64_t decay_stride;
    const float* b; // (tokens, value_heads)
    std::int64_t b_stride;
    const float* gate; // (tokens, value_heads * value_dim), of the output
    std::int64_t gate_stride;
    const float* decay_rate;  // (value_heads)
    const float* dt_bias;     // (value_heads), KDA (heads * key_dim)
    const float* norm_weight; // (value_dim)
    float norm_eps;
    float* state; // (value_heads, key_dim, value_dim)
    float* out;   // (tokens, value_heads * value_dim)
    std::int64_t out_stride;
    float* decay_out; // (tokens, value_heads) or null
    float* beta_out;  // (tokens, value_heads) or null
    // Between the kernels of a call of several tokens.
    float* rows =
        nullptr; // (tokens, channels) after convolution and SiLU, q and k of their lengths
    float* keep =
        nullptr; // what a step keeps: (tokens, value_heads), KDA (tokens, heads * key_dim)
    float* beta = nullptr; // (tokens, value_heads)

    // Chunks [first_chunk, first_chunk + chunks) of a call of many tokens, and what is made of them
    // before the state passes over them (device/mixers_chunks.cuh).
    std::int32_t first_chunk = 0, chunks = 0;
    unsigned short* planes =
        nullptr; // (chunks, key_heads, kDeltaPlanes or kKdaPlanes, 32, 128) bf16
    unsigned short* matrices = nullptr; // (chunks, value_heads, 4, 32, 32) bf16
    float* factors = nullptr;           // (chunks, value_heads, kChunkFactors)
    float* values = nullptr;            // (chunks, 32, value_heads * value_dim)
    std::int32_t stages = 2;            // of shared memory
};
// Key heads have 128 channels there, values a multiple of 64.
constexpr std::int32_t kChunk = 32; // tokens
constexpr std::int32_t kChunkDim = 128;
constexpr std::int32_t kChunkColumns = 64; // value columns of a block
constexpr std::int32_t kChunkThreads = 128;
constexpr std::int32_t kDeltaPlanes = 4; // of q and k, two terms each
constexpr std::int32_t kKdaPlanes = 6;   // of faded q, faded k, and k as it fades until the end
constexpr std::int32_t kChunkFactors = 224;
// Shared memory: of hs_*_chunk_prepare in floats, with the value heads that share a key head; of a
// stage of hs_*_chunks in 16-bit values.
constexpr std::int64_t chunk_prepare_floats(bool channels, std::int64_t sharing) {
    const std::int64_t rows = (channels ? 3 : 2) * kChunk * (kChunkDim + 4);
    return rows + 2 * kChunk * (kChunk + 4) + (sharing < 8 ? sharing : 8) * kChunk * (kChunk + 4);
}
template <bool kChannels>
constexpr std::int64_t
    kStageHalves = (kChannels ? kKdaPlanes : kDeltaPlanes) * kChunk*(kChunkDim + 8) +
                   4 * kChunk*(kChunk + 8) + 2 * kChunk*(kChunkColumns + 4) + 2 * kChunkFactors;

// Lightning attention.
constexpr std::int32_t kLightningColumns = 32;
constexpr std::int32_t kLightningThreads = 128;
constexpr std::int32_t kLightningTokens = 8;
constexpr std::int32_t kMostLightningHeads = 1024;
// Floats of shared memory of hs_lightning_chunks: of a stage, and of the rest.
constexpr std::int64_t kLightningStage =
    2 * kChunk * (kChunkDim + 4) + kChunk * (kChunkColumns + 4);
constexpr std::int64_t kLightningRest =
    2 * kChunk * (kChunkDim + 8) + kChunk * (kChunk + 8) + kChunk + 4;
struct LightningRows {
    const float* data; // (tokens, heads, head_dim)
    std::int64_t token_stride, head_stride;
};
struct LightningParams {
    std::int32_t tokens, heads, head_dim, norm_groups;
    bool silu; // on q, k and v
    float scale;
    LightningRows q, k, v;
    const float* gate; // (tokens, heads * head_dim)
    std::int64_t gate_stride;
    const float* decay_rates; // (heads)
    const float* norm_weight; // (heads * head_dim)
    float norm_eps;
    float* state; // (heads, head_dim, head_dim)
    float* out;   // (tokens, heads * head_dim)
    std::int64_t out_stride;
    std::int32_t stages; // of shared memory of hs_lightning_chunks
};

} // namespace hs::cuda
