// Softmax attention of the CPU backend: caches, dense and sparse reading.

#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <utility>

namespace hs {

namespace {

cpu::Format cache_format(DType dtype) {
    HS_ASSERT(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16);
    return *weight_format(dtype);
}

} // namespace

void CpuBackend::append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                           std::int64_t first_position, std::int64_t ring) {
    const auto format = cache_format(cache_dtype);
    HS_ASSERT(rows.stride[2] == 1);
    const std::int64_t head_bytes = rows.extent[2] * cpu::block_bytes(format);
    for_rows(rows.extent[0], rows.extent[1] * rows.extent[2], [&](std::int64_t t) {
        const std::int64_t position = first_position + t;
        const std::int64_t slot = ring > 0 ? position % ring : position;
        for (std::int64_t h = 0; h < rows.extent[1]; ++h) {
            cpu::store_cache(&rows(t, h, 0), format,
                             cache + (slot * rows.extent[1] + h) * head_bytes, rows.extent[2]);
        }
    });
}

void CpuBackend::attention(const AttentionOp& op) {
    op.check();
    cpu::Attention kernel{.q = op.q.data,
                          .q_token_stride = op.q.stride[0],
                          .q_head_stride = op.q.stride[1],
                          .tokens = op.q.extent[0],
                          .query_heads = op.q.extent[1],
                          .kv_heads = op.kv_heads,
                          .head_dim = op.head_dim,
                          .value_dim = op.value_head_dim,
                          .cache = cache_format(op.cache_dtype),
                          .keys = op.keys,
                          .values = op.values,
                          .value_stride = values_in_keys(op) ? op.head_dim : op.value_head_dim,
                          .length = op.length,
                          .ring = op.ring,
                          .scale = op.scale,
                          .window = op.window,
                          .sinks = op.sinks,
                          .out = op.out.data,
                          .out_token_stride = op.out.stride[0],
                          .out_head_stride = op.out.stride[1]};
    const std::int64_t group = kernel.query_heads / kernel.kv_heads;
    for (std::int64_t head = 0; head < group; head += cpu::kMostRows) {
        kernel.group_first = head;
        kernel.group_count = std::min(cpu::kMostRows, group - head);
        if (op.chosen != nullptr) {
            attend_chosen(kernel, op);
        } else {
            attend_all(kernel);
        }
    }
}

// Few rows: every thread takes its part of the keys, and of a tile of keys all heads in turn,
// so that the cache is read from front to back.
void CpuBackend::attend_few(const cpu::Attention& kernel, std::int64_t first_key) {
    constexpr std::int64_t kLeastKeys = 32; // of a part: merging costs about 10 keys
    constexpr std::int64_t kTileKeys = 64;
    const std::int64_t keys = kernel.length - first_key;
    const std::int64_t parts = std::clamp<std::int64_t>(keys / kLeastKeys, 1, 4 * m_pool.threads());
    const std::int64_t part_keys = (keys + parts - 1) / parts;
    const std::int64_t floats = cpu::attention_part_floats(kernel);
    float* memory = m_work.floats(parts * kernel.kv_heads * floats);
    // Keys are shared out, not heads: one head's entries lie KBs apart and fall on few sets of
    // the caches.
    m_pool.for_range(parts, 1, [&](std::int64_t part, std::int64_t last_part, int) {
        for (; part < last_part; ++part) {
            const std::int64_t begin = first_key + part * part_keys;
            const std::int64_t end = std::min(begin + part_keys, kernel.length);
            // Also with no keys at all, which rounding up can leave to the last part.
            for (std::int64_t tile = begin; tile == begin || tile < end; tile += kTileKeys) {
                for (std::int64_t h = 0; h < kernel.kv_heads; ++h) {
                    cpu::attend(kernel, h, 0, kernel.tokens, tile, std::min(tile + kTileKeys, end),
                                memory + (part * kernel.kv_heads + h) * floats, tile == begin,
                                nullptr);
                }
            }
        }
    });
    for (std::int64_t h = 0; h < kernel.kv_heads; ++h) {
        cpu::merge_attention(kernel, h, 0, kernel.tokens, memory + h * floats,
                             kernel.kv_heads * floats, parts);
    }
}

void CpuBackend::attend_all(const cpu::Attention& kernel) {
    const std::int64_t first_key =
        kernel.window > 0
            ? std::max<std::int64_t>(0, kernel.length - kernel.tokens + 1 - kernel.window)
            : 0;
    if (kernel.tokens * kernel.group_count <= cpu::kFewRows) {
        attend_few(kernel, first_key);
        return;
    }
    // Blocks of tokens and KV heads are independent; where they are fewer than what keeps the
    // threads busy, the keys of each are cut into parts as well.
    constexpr std::int64_t kLeastKeys = 256; // of a part
    const std::int64_t tokens = cpu::attention_block_tokens(kernel);
    const std::int64_t blocks = (kernel.tokens + tokens - 1) / tokens;
    const std::int64_t keys = kernel.length - first_key;
    const std::int64_t whole = blocks * kernel.kv_heads;
    const std::int64_t parts = std::clamp<std::int64_t>(
        std::min((4 * m_pool.threads() + whole - 1) / whole, keys / kLeastKeys), 1, 64);
    const std::int64_t part_keys = (keys + parts - 1) / parts;
    const std::int64_t floats = cpu::attention_part_floats(kernel);
    const std::int64_t items = whole * parts;
    const std::int64_t scratch = cpu::attention_scratch_floats(kernel) + floats;
    reserve_worker_scratch(scratch * static_cast<std::int64_t>(sizeof(float)));
    float* memory = parts > 1 ? m_work.floats(items * floats) : nullptr;
    const auto block_of = [&](std::int64_t item) {
        // The last tokens first: they see the most keys.
        const std::int64_t block = blocks - 1 - item / parts / kernel.kv_heads;
        return std::pair{block * tokens, std::min((block + 1) * tokens, kernel.tokens)};
    };
    m_pool.for_range(items, 1, [&](std::int64_t item, std::int64_t last_item, int worker) {
        for (; item < last_item; ++item) {
            const std::int64_t kv_head = item / parts % kernel.kv_heads;
            const std::int64_t begin = first_key + item % parts * part_keys;
            const auto [first, last] = block_of(item);
            float* part = parts > 1 ? memory + item * floats : worker_floats(worker);
            cpu::attend(kernel, kv_head, first, last, begin,
                        std::min(begin + part_keys, kernel.length), part, true,
                        worker_floats(worker) + floats);
            if (parts == 1) {
                cpu::merge_attention(kernel, kv_head, first, last, part, floats, 1);
            }
        }
    });
    for (std::int64_t item = 0; parts > 1 && item < items; item += parts) {
        const auto [first, last] = block_of(item);
        cpu::merge_attention(kernel, item / parts % kernel.kv_heads, first, last,
                             memory + item * floats, floats, parts);
    }
}

// Every token reads its own positions, and they are shared out among the threads where the tokens
// alone would not keep them busy.
void CpuBackend::attend_chosen(const cpu::Attention& kernel, const AttentionOp& op) {
    constexpr std::int64_t kLeastKeys = 64; // of a part
    const std::int64_t whole = kernel.tokens * kernel.kv_heads;
    const std::int64_t parts = std::clamp<std::int64_t>(
        std::min((2 * m_pool.threads() + whole - 1) / whole, op.chosen_most / kLeastKeys), 1, 64);
    cpu::Attention one = kernel;
    one.tokens = 1;
    const std::int64_t floats = cpu::attention_part_floats(one);
    reserve_worker_scratch((cpu::attention_scratch_floats(one) + floats) *
                           static_cast<std::int64_t>(sizeof(float)));
    float* const memory = parts > 1 ? m_work.floats(whole * parts * floats) : nullptr;
    const auto of_token = [&](std::int64_t t) {
        cpu::Attention token = one;
        token.q += t * kernel.q_token_stride;
        token.out += t * kernel.out_token_stride;
        token.slots = op.chosen + t * op.chosen_most;
        token.length = std::find(token.slots, token.slots + op.chosen_most, -1) - token.slots;
        return token;
    };
    m_pool.for_range(whole * parts, 1, [&](std::int64_t item, std::int64_t last, int worker) {
        for (; item < last; ++item) {
            const std::int64_t kv_head = item / parts % kernel.kv_heads;
            const cpu::Attention token = of_token(item / parts / kernel.kv_heads);
            const std::int64_t part_keys = (token.length + parts - 1) / parts;
            const std::int64_t begin = std::min(item % parts * part_keys, token.length);
            float* const part = parts > 1 ? memory + item * floats : worker_floats(worker);
            cpu::attend(token, kv_head, 0, 1, begin, std::min(begin + part_keys, token.length),
                        part, true, worker_floats(worker) + floats);
            if (parts == 1) {
                cpu::merge_attention(token, kv_head, 0, 1, part, floats, 1);
            }
        }
    });
    for (std::int64_t item = 0; parts > 1 && item < whole * parts; item += parts) {
        cpu::merge_attention(of_token(item / parts / kernel.kv_heads),
                             item / parts % kernel.kv_heads, 0, 1, memory + item * floats, floats,
                             parts);
    }
}

void CpuBackend::choose_keys(const ChooseKeysOp& op) {
    const std::int64_t tokens = op.q.extent[0];
    op.check();
    const cpu::Indexer kernel{.q = op.q.data,
                              .q_token_stride = op.q.stride[0],
                              .q_head_stride = op.q.stride[1],
                              .weights = op.weights.data,
                              .weights_stride = op.weights.stride[0],
                              .heads = op.q.extent[1],
                              .head_dim = op.q.extent[2],
                              .cache = cache_format(op.cache_dtype),
                              .keys = op.keys};
    reserve_worker_scratch(cpu::index_scratch_floats(kernel) *
                           static_cast<std::int64_t>(sizeof(float)));
    const auto seen = [&](std::int64_t t) { return op.length - tokens + t + 1; };
    const std::int64_t tiles = (op.length + cpu::kIndexKeys - 1) / cpu::kIndexKeys;
    // As many tokens at once as have their scores in 16 MB: a tile of keys is converted once for
    // all of them.
    constexpr std::int64_t kScores = std::int64_t{1} << 22;
    const std::int64_t stride = tiles * cpu::kIndexKeys;
    const std::int64_t block = std::clamp<std::int64_t>(kScores / stride, 1, tokens);
    float* const scores = m_work.floats(block * stride);
    for (std::int64_t first = 0; first < tokens; first += block) {
        const std::int64_t end = std::min(first + block, tokens);
        // Tokens that see no more than they may choose need no scores.
        const std::int64_t from =
            std::clamp<std::int64_t>(op.most - (op.length - tokens), first, end);
        const std::int64_t seen_tiles = (seen(end - 1) + cpu::kIndexKeys - 1) / cpu::kIndexKeys;
        const auto score = [&](std::int64_t tile, std::int64_t last, int worker) {
            for (; tile < last; ++tile) {
                const std::int64_t first_key = tile * cpu::kIndexKeys;
                const std::int64_t begin =
                    std::clamp<std::int64_t>(first_key - (op.length - tokens), from, end);
                cpu::index_scores(kernel, begin, end, first_key,
                                  std::min(first_key + cpu::kIndexKeys, op.length),
                                  scores + (begin - first) * stride, stride, worker_floats(worker));
            }
        };
        if (from < end) {
            m_pool.for_range(seen_tiles, 1, score);
        }
        for_rows(end - first, 8 * op.length, [&](std::int64_t row) {
            const std::int64_t t = first + row;
            cpu::choose_best(scores + row * stride, seen(t), op.most, op.chosen + t * op.most);
        });
    }
}

} // namespace hs
