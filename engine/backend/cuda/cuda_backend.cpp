// Device, memory and kernels of the CUDA backend.

#include "engine/backend/cuda/cuda_backend.h"

#include "engine/backend/cpu/format.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

namespace hs {

namespace {

constexpr std::int64_t kAlign = 256; // of everything that shares an allocation
constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kChunkBytes = 64 * kMiB;
constexpr std::int64_t kStagingBytes = 32 * kMiB;
constexpr std::int64_t kScratchBytes = 16 * kMiB;
constexpr std::size_t kPinnedBytes = std::size_t{1} << 20;

std::int64_t round_up(std::int64_t bytes, std::int64_t step) {
    return (bytes + step - 1) / step * step;
}

CUdeviceptr address(const void* pointer) {
    return reinterpret_cast<CUdeviceptr>(pointer);
}

std::byte* pointer(CUdeviceptr address) {
    // The driver says addresses as integers. NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<std::byte*>(address);
}

Error out_of_memory(const CudaContext& context, std::int64_t bytes) {
    std::size_t free_bytes = 0;
    std::size_t total = 0;
    context.driver->cuMemGetInfo(&free_bytes, &total);
    const auto gib = [](auto n) { return static_cast<double>(n) / (1024.0 * 1024.0 * 1024.0); };
    return {ErrorCode::OutOfMemory,
            fmt::format("{}: {:.2f} GiB of memory were asked for, {:.2f} of {:.2f} GiB are free",
                        context.name, gib(bytes), gib(free_bytes), gib(total)),
            "Close what else uses the card, take a shorter context or a more strongly quantised "
            "model, or use the CPU (--device cpu)"};
}

class CudaBuffer final : public Buffer {
public:
    CudaBuffer(std::shared_ptr<CudaContext> context, CUdeviceptr memory, std::int64_t bytes)
        : m_context(std::move(context))
        , m_memory(memory)
        , m_bytes(bytes) {}
    ~CudaBuffer() override { m_context->free(m_memory); }

    std::byte* data() override { return pointer(m_memory); }
    std::int64_t bytes() const override { return m_bytes; }

private:
    std::shared_ptr<CudaContext> m_context;
    CUdeviceptr m_memory;
    std::int64_t m_bytes;
};

// Addresses are reserved once; memory is mapped behind them piece by piece.
class CudaGrowingBuffer final : public GrowingBuffer {
public:
    CudaGrowingBuffer(std::shared_ptr<CudaContext> context, CUdeviceptr first,
                      std::int64_t reserved)
        : m_context(std::move(context))
        , m_first(first)
        , m_reserved(reserved) {}
    ~CudaGrowingBuffer() override {
        shrink(0);
        m_context->use();
        m_context->driver->cuMemAddressFree(m_first, static_cast<std::size_t>(m_reserved));
    }

    std::byte* data() override { return pointer(m_first); }
    std::int64_t bytes() const override { return m_bytes; }

    Result<void> grow(std::int64_t bytes) override {
        if (bytes <= m_bytes) {
            return {};
        }
        HS_ASSERT(bytes <= m_reserved);
        const Driver& d = *m_context->driver;
        m_context->use();
        const std::int64_t more = round_up(bytes - m_bytes, m_context->granularity);
        const CUmemAllocationProp kind = properties(*m_context);
        CUmemGenericAllocationHandle handle = 0;
        if (const CUresult r = d.cuMemCreate(&handle, static_cast<std::size_t>(more), &kind, 0);
            r == CUDA_ERROR_OUT_OF_MEMORY) {
            return out_of_memory(*m_context, more);
        } else if (r != CUDA_SUCCESS) {
            return driver_error(d, "cuMemCreate", r);
        }
        const CUdeviceptr at = m_first + static_cast<CUdeviceptr>(m_bytes);
        CUmemAccessDesc access = {};
        access.location = kind.location;
        access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        CUresult r = d.cuMemMap(at, static_cast<std::size_t>(more), 0, handle, 0);
        if (r == CUDA_SUCCESS) {
            r = d.cuMemSetAccess(at, static_cast<std::size_t>(more), &access, 1);
            if (r != CUDA_SUCCESS) {
                d.cuMemUnmap(at, static_cast<std::size_t>(more));
            }
        }
        if (r != CUDA_SUCCESS) {
            d.cuMemRelease(handle);
            return driver_error(d, "cuMemMap", r);
        }
        m_pieces.push_back({handle, more});
        m_bytes += more;
        return {};
    }

    // Pieces go whole.
    void shrink(std::int64_t bytes) override {
        const Driver& d = *m_context->driver;
        bool waited = false;
        while (!m_pieces.empty() && m_bytes - m_pieces.back().bytes >= bytes) {
            if (!waited) {
                m_context->use();
                m_context->wait(); // what was begun may read it
                waited = true;
            }
            const Piece piece = m_pieces.back();
            m_bytes -= piece.bytes;
            d.cuMemUnmap(m_first + static_cast<CUdeviceptr>(m_bytes),
                         static_cast<std::size_t>(piece.bytes));
            d.cuMemRelease(piece.handle);
            m_pieces.pop_back();
        }
    }

    static CUmemAllocationProp properties(const CudaContext& context) {
        CUmemAllocationProp kind = {};
        kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
        kind.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
        kind.location.id = context.ordinal;
        return kind;
    }

private:
    struct Piece {
        CUmemGenericAllocationHandle handle;
        std::int64_t bytes;
    };

    std::shared_ptr<CudaContext> m_context;
    CUdeviceptr m_first;
    std::int64_t m_reserved;
    std::int64_t m_bytes = 0;
    std::vector<Piece> m_pieces;
};

} // namespace

// --- the device ----------------------------------------------------------------------------------

Result<std::shared_ptr<CudaContext>> CudaContext::open(int ordinal) {
    const Driver* const d = TRY(hs::driver());
    std::shared_ptr<CudaContext> made(new CudaContext(d));
    made->ordinal = ordinal;
    int count = 0;
    HS_CU_TRY(*d, cuDeviceGetCount, &count);
    if (ordinal >= count) {
        return Error{ErrorCode::Device,
                     fmt::format("expected CUDA device {}, found {} devices", ordinal, count),
                     "Use the CPU (--device cpu)"};
    }
    HS_CU_TRY(*d, cuDeviceGet, &made->device, ordinal);
    char name[128] = {};
    HS_CU_TRY(*d, cuDeviceGetName, name, static_cast<int>(sizeof(name)), made->device);
    made->name = name;
    int major = 0;
    int minor = 0;
    HS_CU_TRY(*d, cuDeviceGetAttribute, &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
              made->device);
    HS_CU_TRY(*d, cuDeviceGetAttribute, &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
              made->device);
    made->capability = 10 * major + minor;
    HS_CU_TRY(*d, cuDeviceGetAttribute, &made->processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
              made->device);
    HS_CU_TRY(*d, cuDevicePrimaryCtxRetain, &made->context, made->device);
    made->use();
    HS_CU_TRY(*d, cuStreamCreate, &made->stream, CU_STREAM_NON_BLOCKING);
    made->steps = std::make_unique<StepRecorder>(*d, made->stream);
    std::size_t granularity = 0;
    const CUmemAllocationProp kind = CudaGrowingBuffer::properties(*made);
    HS_CU_TRY(*d, cuMemGetAllocationGranularity, &granularity, &kind,
              CU_MEM_ALLOC_GRANULARITY_MINIMUM);
    made->granularity = static_cast<std::int64_t>(granularity);
    return made;
}

CudaContext::~CudaContext() {
    if (context != nullptr) {
        use();
        steps.reset();
        if (stream != nullptr) {
            driver->cuStreamDestroy(stream);
        }
        driver->cuDevicePrimaryCtxRelease(device);
    }
}

void CudaContext::use() const {
    driver->cuCtxSetCurrent(context);
}

CUresult CudaContext::flush() {
    const CUresult result = steps->flush();
    if (m_failed == CUDA_SUCCESS) {
        m_failed = result;
    }
    return m_failed;
}

CUresult CudaContext::wait() {
    const CUresult flushed = flush();
    const CUresult waited = driver->cuStreamSynchronize(stream);
    return flushed != CUDA_SUCCESS ? flushed : waited;
}

void CudaContext::free(CUdeviceptr memory) {
    if (memory != 0) {
        use();
        wait();
        driver->cuMemFree(memory);
    }
}

// --- the backend ---------------------------------------------------------------------------------

// One allocation that several matrices lie in; freed with the last of them.
struct CudaBackend::Chunk {
    std::shared_ptr<CudaContext> context;
    CUdeviceptr memory = 0;
    std::int64_t bytes = 0;

    Chunk(std::shared_ptr<CudaContext> where, CUdeviceptr first, std::int64_t size)
        : context(std::move(where))
        , memory(first)
        , bytes(size) {}
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;
    ~Chunk() { context->free(memory); }
};

Result<std::unique_ptr<Backend>> CudaBackend::open(int ordinal) {
    std::shared_ptr<CudaContext> context = TRY(CudaContext::open(ordinal));
    std::unique_ptr<CudaBackend> backend(new CudaBackend(std::move(context)));
    TRY(backend->load_kernels());
    return std::unique_ptr<Backend>(std::move(backend));
}

void CudaBackend::release() {
    m_context->use();
    m_context->wait();
    m_context->steps->clear();
    for (const Workspace& block : m_blocks) {
        m_context->free(block.memory);
    }
    m_context->free(m_work.memory);
    m_context->free(m_staging.memory);
    if (m_pinned != nullptr) {
        m_driver.cuMemFreeHost(m_pinned);
    }
    for (const CUmodule module : m_modules) {
        m_driver.cuModuleUnload(module);
    }
}

Result<void> CudaBackend::load_kernels() {
    for (const cuda::Fatbin& fatbin : cuda::fatbins()) {
        CUmodule module = nullptr;
        const CUresult r = m_driver.cuModuleLoadDataEx(&module, fatbin.data, 0, nullptr, nullptr);
        if (r == CUDA_ERROR_NO_BINARY_FOR_GPU) {
            return Error{ErrorCode::Device,
                         fmt::format("{}: this program has kernels for {}, and the card is {}",
                                     m_context->name, cuda::fatbin_targets(),
                                     m_context->capability),
                         "Take a release, which has kernels for every card from 80 on, or use the "
                         "CPU (--device cpu)"};
        }
        if (r != CUDA_SUCCESS) {
            return driver_error(m_driver, "cuModuleLoadDataEx", r).with_context(fatbin.name);
        }
        m_modules.push_back(module);
    }
    return {};
}

DeviceInfo CudaBackend::device() const {
    m_context->use();
    std::size_t free_bytes = 0;
    std::size_t total = 0;
    m_driver.cuMemGetInfo(&free_bytes, &total);
    DeviceInfo info;
    info.kind = "cuda";
    info.name = fmt::format("{}, compute capability {}.{}", m_context->name,
                            m_context->capability / 10, m_context->capability % 10);
    info.total_bytes = static_cast<std::int64_t>(total);
    info.free_bytes = static_cast<std::int64_t>(free_bytes);
    return info;
}

// --- errors --------------------------------------------------------------------------------------

void CudaBackend::fail(Error error) {
    if (!m_error) {
        m_error = std::move(error);
    }
}

bool CudaBackend::check(CUresult result, const char* call) {
    if (result != CUDA_SUCCESS) {
        fail(driver_error(m_driver, call, result));
    }
    return !m_error;
}

Result<void> CudaBackend::finish() {
    m_context->use();
    check(m_context->wait(), "waiting for the device");
    if (!m_error) {
        return {};
    }
    Error error = *m_error;
    if (error.code == ErrorCode::OutOfMemory) {
        m_error.reset(); // the device is well
    } else if (error.remedy.empty()) {
        error.remedy = "Open the model again, or use the CPU (--device cpu)";
    }
    return error;
}

// --- kernels -------------------------------------------------------------------------------------

CudaBackend::Kernel* CudaBackend::find_kernel(const char* name) {
    if (const auto it = m_kernels.find(name); it != m_kernels.end()) {
        return &it->second;
    }
    Kernel found;
    for (const CUmodule module : m_modules) {
        if (m_driver.cuModuleGetFunction(&found.function, module, name) == CUDA_SUCCESS) {
            return &(m_kernels[name] = found);
        }
    }
    fail({ErrorCode::Device, std::string("no kernel ") + name, ""});
    return nullptr;
}

void CudaBackend::launch_raw(const char* kernel, Grid grid, int threads, std::int64_t shared_bytes,
                             const void* params, std::size_t params_bytes) {
    if (m_error || grid.x == 0 || grid.y == 0 || grid.z == 0) {
        return;
    }
    HS_ASSERT(grid.x > 0 && grid.x < (std::int64_t{1} << 31));
    HS_ASSERT(grid.y > 0 && grid.y < 65536 && grid.z > 0 && grid.z < 65536);
    m_context->use();
    Kernel* const found = find_kernel(kernel);
    if (found == nullptr) {
        return;
    }
    constexpr std::int64_t kGiven = 48 * 1024; // without asking
    if (shared_bytes > kGiven && shared_bytes > found->shared_bytes) {
        if (!check(m_driver.cuFuncSetAttribute(found->function,
                                               CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                               static_cast<int>(shared_bytes)),
                   kernel)) {
            return;
        }
        found->shared_bytes = shared_bytes;
    }
    const StepRecorder::Launch launch{found->function,
                                      {static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                                       static_cast<unsigned>(grid.z)},
                                      static_cast<unsigned>(threads),
                                      static_cast<unsigned>(shared_bytes)};
    if (m_context->steps->recording()) {
        m_context->steps->add(launch, params, params_bytes);
        return;
    }
    void* arguments[] = {const_cast<void*>(params)};
    check(m_driver.cuLaunchKernel(launch.function, launch.grid[0], launch.grid[1], launch.grid[2],
                                  launch.threads, 1, 1, launch.shared_bytes, m_context->stream,
                                  arguments, nullptr),
          kernel);
}

// --- memory --------------------------------------------------------------------------------------

Result<CUdeviceptr> CudaBackend::allocate_raw(std::int64_t bytes) {
    m_context->use();
    CUdeviceptr memory = 0;
    const CUresult r = m_driver.cuMemAlloc(
        &memory, static_cast<std::size_t>(std::max<std::int64_t>(kAlign, bytes)));
    if (r == CUDA_ERROR_OUT_OF_MEMORY) {
        return out_of_memory(*m_context, bytes);
    }
    if (r != CUDA_SUCCESS) {
        return driver_error(m_driver, "cuMemAlloc", r);
    }
    return memory;
}

Result<std::unique_ptr<Buffer>> CudaBackend::allocate(std::int64_t bytes) {
    HS_ASSERT(bytes >= 0);
    auto buffer = std::make_unique<CudaBuffer>(m_context, TRY(allocate_raw(bytes)), bytes);
    if (bytes > 0 && check(m_context->flush(), "a step")) {
        HS_CU_TRY(m_driver, cuMemsetD8Async, address(buffer->data()), 0,
                  static_cast<std::size_t>(bytes), m_context->stream);
    }
    return std::unique_ptr<Buffer>(std::move(buffer));
}

Result<std::unique_ptr<GrowingBuffer>> CudaBackend::reserve(std::int64_t most_bytes) {
    HS_ASSERT(most_bytes >= 0);
    m_context->use();
    // A piece may reach beyond by less than one granule.
    const std::int64_t bytes =
        round_up(std::max<std::int64_t>(1, most_bytes), m_context->granularity);
    CUdeviceptr first = 0;
    HS_CU_TRY(m_driver, cuMemAddressReserve, &first, static_cast<std::size_t>(bytes), 0, 0, 0);
    return std::unique_ptr<GrowingBuffer>(
        std::make_unique<CudaGrowingBuffer>(m_context, first, bytes));
}

void CudaBackend::copy_in(std::byte* to, std::span<const std::byte> from) {
    if (from.empty() || m_error) {
        return;
    }
    m_context->use();
    if (check(m_context->flush(), "a step")) {
        check(m_driver.cuMemcpyHtoDAsync(address(to), from.data(), from.size(), m_context->stream),
              "cuMemcpyHtoDAsync");
    }
}

// Through memory that the device reaches by itself: several times as fast.
void CudaBackend::copy_out(std::span<std::byte> to, const std::byte* from) {
    m_context->use();
    if (m_pinned == nullptr) {
        void* memory = nullptr;
        check(m_driver.cuMemAllocHost(&memory, kPinnedBytes), "cuMemAllocHost");
        m_pinned = static_cast<std::byte*>(memory);
    }
    check(m_context->flush(), "a step");
    for (std::size_t at = 0; at < to.size(); at += kPinnedBytes) {
        const std::size_t bytes = std::min(kPinnedBytes, to.size() - at);
        if (m_error ||
            !check(
                m_driver.cuMemcpyDtoHAsync(m_pinned, address(from + at), bytes, m_context->stream),
                "cuMemcpyDtoHAsync") ||
            !check(m_driver.cuStreamSynchronize(m_context->stream), "waiting for the device")) {
            std::memset(to.data() + at, 0, bytes);
        } else {
            std::memcpy(to.data() + at, m_pinned, bytes);
        }
    }
}

void CudaBackend::copy(std::byte* to, const std::byte* from, std::int64_t bytes) {
    // A kernel, so that it can be part of a step.
    const cuda::CopyParams params{from, to, bytes};
    const std::int64_t block = std::int64_t{16} * cuda::kPointThreads;
    launch("hs_copy", {(bytes + block - 1) / block}, cuda::kPointThreads, 0, params);
}

View<float, 2> CudaBackend::scratch(std::int64_t rows, std::int64_t cols) {
    HS_ASSERT(rows >= 0 && cols >= 0);
    const std::int64_t bytes =
        round_up(rows * cols * static_cast<std::int64_t>(sizeof(float)), kAlign);
    if (m_blocks.empty() || m_block_used + bytes > m_blocks.back().bytes) {
        const std::int64_t size = std::max(bytes, kScratchBytes);
        const auto memory = allocate_raw(size);
        if (!memory.ok()) {
            fail(memory.error());
            return {nullptr, {rows, cols}};
        }
        m_blocks.push_back({*memory, size});
        m_block_used = 0;
    }
    auto* const data = reinterpret_cast<float*>(pointer(m_blocks.back().memory) + m_block_used);
    m_block_used += bytes;
    return {data, {rows, cols}};
}

// What was begun reads its scratch before anything begun later writes it. Several blocks become
// one, so that the next pass of the same size finds all in one piece.
void CudaBackend::reset_scratch() {
    if (m_blocks.size() > 1) {
        std::int64_t size = 0;
        for (const Workspace& block : m_blocks) {
            size += block.bytes;
            m_context->free(block.memory);
        }
        m_blocks.clear();
        if (const auto memory = allocate_raw(size); memory.ok()) {
            m_blocks.push_back({*memory, size});
        } else {
            fail(memory.error());
        }
    }
    m_block_used = 0;
}

std::byte* CudaBackend::work(std::int64_t bytes) {
    if (bytes > m_work.bytes) {
        m_context->free(m_work.memory); // not both at once
        m_work = {};
        const std::int64_t size = round_up(bytes + bytes / 4, kMiB);
        const auto memory = allocate_raw(size);
        if (!memory.ok()) {
            fail(memory.error());
            return nullptr;
        }
        m_work = {*memory, size};
    }
    return pointer(m_work.memory);
}

namespace {

// Part of a chunk.
class ChunkBuffer final : public Buffer {
public:
    ChunkBuffer(std::shared_ptr<void> chunk, CUdeviceptr first, std::int64_t bytes)
        : m_chunk(std::move(chunk))
        , m_first(first)
        , m_bytes(bytes) {}

    std::byte* data() override { return pointer(m_first); }
    std::int64_t bytes() const override { return m_bytes; }

private:
    std::shared_ptr<void> m_chunk;
    CUdeviceptr m_first;
    std::int64_t m_bytes;
};

} // namespace

Result<std::byte*> CudaBackend::room_in_chunk(std::int64_t bytes,
                                              std::vector<std::unique_ptr<Buffer>>& held) {
    bytes = round_up(bytes, kAlign);
    if (m_chunk == nullptr || m_chunk_used + bytes > m_chunk->bytes) {
        // Large matrices lie alone, and leave the chunk to small ones.
        const bool alone = bytes >= kChunkBytes / 4;
        const std::int64_t size = alone ? bytes : kChunkBytes;
        const auto chunk = std::make_shared<Chunk>(m_context, TRY(allocate_raw(size)), size);
        if (alone) {
            held.push_back(std::make_unique<ChunkBuffer>(chunk, chunk->memory, bytes));
            return pointer(chunk->memory);
        }
        m_chunk = chunk;
        m_chunk_used = 0;
    }
    const CUdeviceptr first = m_chunk->memory + static_cast<CUdeviceptr>(m_chunk_used);
    m_chunk_used += bytes;
    held.push_back(std::make_unique<ChunkBuffer>(m_chunk, first, bytes));
    return pointer(first);
}

Result<Weight> CudaBackend::place(const Weight& host, std::vector<std::unique_ptr<Buffer>>& held) {
    const cuda::Format format = TRY(placeable_format(host));
    ++m_places;
    m_context->use();
    if (!check(m_context->flush(), "a step")) { // of a pass that broke off
        return Error(*m_error);
    }
    Weight placed = host;
    placed.row_stride_bytes = cuda::placed_row_bytes(format, host.cols);
    std::byte* const to = TRY(room_in_chunk(placed.bytes(), held));
    placed.data = to;
    m_context->use();
    if (m_staging.memory == 0) {
        m_staging = {TRY(allocate_raw(kStagingBytes)), kStagingBytes};
    }
    // Rows come in as they lie in the file, and are laid anew by the device.
    const std::int64_t most = kStagingBytes / host.row_stride_bytes;
    if (most == 0) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("expected rows of at most {} bytes, found {}", kStagingBytes,
                                 host.row_stride_bytes),
                     ""};
    }
    for (std::int64_t first = 0; first < host.rows; first += most) {
        const std::int64_t rows = std::min(most, host.rows - first);
        HS_CU_TRY(m_driver, cuMemcpyHtoDAsync, m_staging.memory,
                  host.data + first * host.row_stride_bytes,
                  static_cast<std::size_t>(rows * host.row_stride_bytes), m_context->stream);
        lay_rows(format, pointer(m_staging.memory), host.row_stride_bytes,
                 to + first * placed.row_stride_bytes, placed.row_stride_bytes, rows, host.cols);
    }
    if (host.scales != nullptr) {
        const std::int64_t down = (host.rows + host.scale_block_rows - 1) / host.scale_block_rows;
        const std::int64_t bytes =
            down * host.scale_stride * static_cast<std::int64_t>(sizeof(float));
        std::byte* const factors = TRY(room_in_chunk(bytes, held));
        HS_CU_TRY(m_driver, cuMemcpyHtoDAsync, address(factors), host.scales,
                  static_cast<std::size_t>(bytes), m_context->stream);
        placed.scales = reinterpret_cast<const float*>(factors);
    }
    if (m_error) {
        return Error(*m_error);
    }
    return placed;
}

} // namespace hs
