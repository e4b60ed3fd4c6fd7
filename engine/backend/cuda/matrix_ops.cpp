// Matrix products of the CUDA backend, and how weights are laid.

#include "engine/backend/cpu/format.h"
#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <array>

namespace hs {

namespace {

// More tokens go to the tensor cores.
constexpr std::int64_t kMostGemvTokens = 8;

bool aligned(const float* data, std::int64_t stride, std::int64_t other_stride) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 4 == 0 &&
           other_stride % 4 == 0;
}

// Rows of a split input.
std::int64_t split_cols(std::int64_t cols) {
    return (cols + cuda::kSplitCols - 1) / cuda::kSplitCols * cuda::kSplitCols;
}

} // namespace

std::array<std::string, cuda::kFormats> CudaBackend::kernels_by_format(const std::string& prefix,
                                                                       const std::string& suffix) {
    std::array<std::string, cuda::kFormats> names;
    for (std::size_t i = 0; i < names.size(); ++i) {
        names[i] = prefix + cuda::kFormatNames[i] + suffix;
    }
    return names;
}

cuda::Format CudaBackend::format_of(const Weight& weight) {
    const auto format = weight_format(weight.dtype);
    HS_ASSERT(format.has_value());
    return *format;
}

cuda::Matrix CudaBackend::matrix_of(const Weight& weight) {
    return {.data = reinterpret_cast<const unsigned char*>(weight.data),
            .row_stride = weight.row_stride_bytes,
            .scales = weight.scales,
            .scale_rows = narrow(std::max<std::int64_t>(1, weight.scale_block_rows)),
            .scale_cols = narrow(std::max<std::int64_t>(1, weight.scale_block_cols)),
            .scale_stride = weight.scale_stride,
            .rows = narrow(weight.rows),
            .cols = narrow(weight.cols)};
}

void CudaBackend::lay_rows(cuda::Format format, const std::byte* from, std::int64_t from_stride,
                           std::byte* to, std::int64_t to_stride, std::int64_t rows,
                           std::int64_t cols) {
    static const auto kernels = kernels_by_format("hs_lay_");
    const cuda::RowLayout layout = cuda::layout_of(format);
    const std::int64_t pieces = layout.low_bits == 0 ? cols * layout.file_bytes : cols / 32;
    const cuda::LayParams params{reinterpret_cast<const unsigned char*>(from),
                                 reinterpret_cast<unsigned char*>(to),
                                 from_stride,
                                 to_stride,
                                 narrow(cols),
                                 narrow(pieces)};
    launch(kernels[static_cast<std::size_t>(format)].c_str(),
           {rows, (pieces + cuda::kPointThreads - 1) / cuda::kPointThreads}, cuda::kPointThreads, 0,
           params);
}

void CudaBackend::matmul(View<const float, 2> x, std::span<const Product> products) {
    HS_ASSERT(x.stride[1] == 1 && x.extent[0] >= 1);
    for (const Product& product : products) {
        HS_ASSERT(product.weight.cols == x.extent[1]);
        HS_ASSERT(product.out.extent[0] == x.extent[0] && product.out.stride[1] == 1);
        HS_ASSERT(product.out.extent[1] == product.weight.rows);
    }
    Input input{x.data, x.stride[0], 0, x.extent[0], x.extent[1], 1, 0, {}};
    if (x.extent[0] > kMostGemvTokens) {
        gemm(input, products, 0);
        return;
    }
    if (std::any_of(products.begin(), products.end(), [](const Product& product) {
            return cuda::takes_int8(format_of(product.weight));
        })) {
        quantise(input);
    }
    // What has one format goes together.
    std::array<bool, cuda::kFormats> done = {};
    std::vector<Product> group;
    for (const Product& first : products) {
        const auto format = static_cast<std::size_t>(format_of(first.weight));
        if (done[format]) {
            continue;
        }
        done[format] = true;
        group.clear();
        for (const Product& product : products) {
            if (product.weight.dtype == first.weight.dtype) {
                group.push_back(product);
            }
        }
        const std::span<const Product> all(group);
        for (std::size_t at = 0; at < all.size(); at += cuda::kMostProducts) {
            gemv(input,
                 all.subspan(at, std::min<std::size_t>(cuda::kMostProducts, all.size() - at)), 0);
        }
    }
}

void CudaBackend::matmul_heads(View<const float, 3> x, const Weight& weight, View<float, 3> out) {
    const std::int64_t tokens = x.extent[0];
    const std::int64_t heads = x.extent[1];
    const std::int64_t rows = out.extent[2];
    HS_ASSERT(x.stride[2] == 1 && out.stride[2] == 1 && tokens >= 1);
    HS_ASSERT(out.extent[0] == tokens && out.extent[1] == heads);
    HS_ASSERT(weight.cols == x.extent[2] && weight.rows == heads * rows);
    Input input{x.data, x.stride[0], x.stride[1], tokens, weight.cols, heads, rows, {}};
    const Product product{weight, View<float, 2>(out.data, {tokens, rows}, {out.stride[0], 1}),
                          nullptr};
    if (tokens > kMostGemvTokens) {
        gemm(input, {&product, 1}, out.stride[1]);
    } else {
        if (cuda::takes_int8(format_of(weight))) {
            quantise(input);
        }
        gemv(input, {&product, 1}, out.stride[1]);
    }
}

void CudaBackend::quantise(Input& x) {
    const std::int64_t rows = x.tokens * x.heads;
    const std::int64_t scales_at = (rows * x.cols + 255) / 256 * 256;
    std::byte* const memory = work(scales_at + rows * (x.cols / 32) * 4);
    if (memory != nullptr) {
        x.int8 = quantise_rows(x.data, x.stride, x.head_stride, rows, x.heads, x.cols, memory,
                               memory + scales_at);
    }
}

cuda::Int8Rows CudaBackend::quantise_rows(const float* x, std::int64_t stride,
                                          std::int64_t head_stride, std::int64_t rows,
                                          std::int64_t heads, std::int64_t cols, std::byte* q,
                                          std::byte* scales) {
    const cuda::Int8Out to{reinterpret_cast<signed char*>(q), reinterpret_cast<float*>(scales)};
    if (heads > 1 || !quantise_with_last(x, stride, rows, cols, to)) {
        const cuda::QuantiseParams params{x, stride, head_stride, narrow(heads), narrow(cols), to};
        launch("hs_quantise", {rows, (cols + cuda::kQuantiseCols - 1) / cuda::kQuantiseCols}, 256,
               0, params);
    }
    return {to.q, to.scales};
}

void CudaBackend::gemv(const Input& x, std::span<const Product> products,
                       std::int64_t out_head_stride) {
    static const std::array kernels{
        kernels_by_format("hs_gemv_", "_1"), kernels_by_format("hs_gemv_", "_2"),
        kernels_by_format("hs_gemv_", "_4"), kernels_by_format("hs_gemv_", "_8")};
    constexpr std::int64_t kBlockRows = cuda::kGemvRows * (cuda::kGemvThreads / 32);
    const auto rows_of = [&](const Product& product) {
        return x.head_rows > 0 ? x.head_rows : product.weight.rows;
    };
    const auto blocks = [&](std::int64_t split) {
        std::int64_t all = 0;
        for (const Product& product : products) {
            all += (rows_of(product) * split + kBlockRows - 1) / kBlockRows;
        }
        return all * x.heads;
    };
    // Enough blocks for all processors, as long as every thread has columns to read.
    const cuda::Format format = format_of(products.front().weight);
    const std::int64_t warp_cols = cuda::takes_int8(format) ? 1024 : 256;
    std::int64_t split = 1;
    while (split < 8 && blocks(split) < 4 * m_context->processors && warp_cols * split < x.cols) {
        split *= 2;
    }
    cuda::GemvParams params = {};
    params.x = x.data;
    params.x_stride = x.stride;
    params.x_head_stride = x.head_stride;
    params.int8 = x.int8;
    params.tokens = narrow(x.tokens);
    params.cols = narrow(x.cols);
    params.heads = narrow(x.heads);
    params.aligned = aligned(x.data, x.stride, x.head_stride) ? 1 : 0;
    params.split = narrow(split);
    params.head_rows = narrow(x.head_rows);
    params.count = static_cast<int>(products.size());
    std::int64_t block = 0;
    for (std::size_t i = 0; i < products.size(); ++i) {
        const Product& product = products[i];
        auto& to = params.product[i];
        to.weight = matrix_of(product.weight);
        to.out = product.out.data;
        to.bias = product.bias;
        to.out_stride = product.out.stride[0];
        to.out_head_stride = out_head_stride;
        to.first_block = narrow(block);
        block += (rows_of(product) * split + kBlockRows - 1) / kBlockRows;
    }
    const std::size_t size = x.tokens == 1 ? 0 : x.tokens == 2 ? 1 : x.tokens <= 4 ? 2 : 3;
    launch(kernels[size][static_cast<std::size_t>(format)].c_str(), {block, x.heads},
           cuda::kGemvThreads, 0, params);
}

// Products of one input with weights that want it in as many terms: split once for all.
void CudaBackend::gemm(const Input& x, std::span<const Product> products,
                       std::int64_t out_head_stride) {
    for (const int terms : {1, 3}) {
        std::optional<Split> split;
        for (const Product& product : products) {
            const cuda::Format format = format_of(product.weight);
            if (cuda::input_terms(format) != terms) {
                continue;
            }
            if (!split) {
                split =
                    split_rows(x.data, x.stride, x.head_stride, x.tokens * x.heads, x.heads, x.cols,
                               terms, work(split_bytes(x.tokens * x.heads, x.cols, terms)));
            }
            cuda::GemmParams params = {};
            params.x = split->x;
            params.plane = split->plane;
            params.padded = split->padded;
            params.heads = narrow(x.heads);
            params.tokens = narrow(x.tokens);
            params.cols = narrow(x.cols);
            params.head_rows = narrow(x.head_rows);
            params.weight = matrix_of(product.weight);
            params.bias = product.bias;
            params.out = product.out.data;
            params.out_stride = product.out.stride[0];
            params.out_head_stride = out_head_stride;
            const std::int64_t rows = x.head_rows > 0 ? x.head_rows : product.weight.rows;
            // Large tiles read less, as long as there are enough of them.
            const std::int64_t across = (rows + cuda::kGemmRows - 1) / cuda::kGemmRows * x.heads;
            const std::int64_t down = (x.tokens + cuda::kManyTokens - 1) / cuda::kManyTokens;
            const bool many =
                cuda::weight_terms(format) == 1 && across * down >= 2 * m_context->processors;
            const std::int64_t tile = many ? cuda::kManyTokens : cuda::kGemmTokens;
            launch_gemm(format, many, {(x.tokens + tile - 1) / tile, across / x.heads, x.heads},
                        params);
        }
    }
}

void CudaBackend::launch_gemm(cuda::Format format, bool many, Grid grid,
                              const cuda::GemmParams& params) {
    static const auto kernels = kernels_by_format("hs_gemm_");
    static const auto many_kernels = kernels_by_format("hs_gemm128_");
    const auto& names = many ? many_kernels : kernels;
    launch(names[static_cast<std::size_t>(format)].c_str(), grid, cuda::kGemmThreads,
           cuda::gemm_shared_bytes(format, many ? cuda::kManyTokens : cuda::kGemmTokens), params);
}

std::int64_t CudaBackend::split_bytes(std::int64_t rows, std::int64_t cols, int terms) {
    return (rows * split_cols(cols) * terms * 2 + 255) / 256 * 256;
}

CudaBackend::Split CudaBackend::split_rows(const float* x, std::int64_t stride,
                                           std::int64_t head_stride, std::int64_t rows,
                                           std::int64_t heads, std::int64_t cols, int terms,
                                           std::byte* memory) {
    const std::int64_t padded = split_cols(cols);
    const Split split{memory, rows * padded, narrow(padded)};
    if (memory != nullptr) {
        const cuda::SplitParams params{x,     stride, head_stride, narrow(heads), narrow(cols),
                                       terms, memory, split.plane, split.padded};
        launch("hs_split", {rows, (padded / 8 + cuda::kPointThreads - 1) / cuda::kPointThreads},
               cuda::kPointThreads, 0, params);
    }
    return split;
}

} // namespace hs
