#include "engine/core/memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#ifdef _WIN32
// clang-format off
#include <windows.h>
#include <psapi.h> // needs the one above
// clang-format on
#else
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace hs {

namespace {

std::string shown(const std::filesystem::path& path) {
    const auto text = path.u8string();
    return {text.begin(), text.end()};
}

std::size_t round_up(std::size_t bytes, std::size_t step) {
    return (bytes + step - 1) / step * step;
}

} // namespace

#ifdef _WIN32

namespace {

std::string last_error() {
    return std::system_category().message(static_cast<int>(GetLastError()));
}

} // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
    const HANDLE file = CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        const bool absent =
            GetLastError() == ERROR_FILE_NOT_FOUND || GetLastError() == ERROR_PATH_NOT_FOUND;
        return Error{absent ? ErrorCode::NotFound : ErrorCode::Io,
                     shown(path) + ": cannot be opened: " + last_error(), ""};
    }
    LARGE_INTEGER size{};
    if (GetFileSizeEx(file, &size) == 0) {
        Error error{ErrorCode::Io, shown(path) + ": has no size: " + last_error(), ""};
        CloseHandle(file);
        return error;
    }
    MappedFile mapped;
    mapped.m_path = path;
    mapped.m_size = static_cast<std::size_t>(size.QuadPart);
    if (mapped.m_size > 0) {
        const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
        if (mapping != nullptr) {
            mapped.m_data =
                static_cast<const std::byte*>(MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0));
        }
        if (mapped.m_data == nullptr) {
            Error error{ErrorCode::Io, shown(path) + ": cannot be mapped: " + last_error(), ""};
            if (mapping != nullptr) {
                CloseHandle(mapping);
            }
            CloseHandle(file);
            return error;
        }
        CloseHandle(mapping); // the view keeps it
    }
    CloseHandle(file);
    return mapped;
}

void MappedFile::forget(std::span<const std::byte>) const {}
void MappedFile::will_need() const {}

MappedFile::~MappedFile() {
    if (m_data != nullptr) {
        UnmapViewOfFile(m_data);
    }
}

std::size_t GrowingMemory::page_bytes() {
    SYSTEM_INFO system{};
    GetSystemInfo(&system);
    return system.dwPageSize;
}

// Windows gives large pages to those alone who may lock memory.
bool GrowingMemory::has_huge_pages() {
    return false;
}

Result<GrowingMemory> GrowingMemory::reserve(std::size_t bytes, Pages) {
    GrowingMemory memory;
    memory.m_reserved = round_up(std::max<std::size_t>(bytes, 1), page_bytes());
    memory.m_data = static_cast<std::byte*>(
        VirtualAlloc(nullptr, memory.m_reserved, MEM_RESERVE, PAGE_NOACCESS));
    if (memory.m_data == nullptr) {
        return Error{ErrorCode::OutOfMemory,
                     "an address range of " + std::to_string(bytes) +
                         " bytes cannot be reserved: " + last_error(),
                     "Use a shorter context"};
    }
    return memory;
}

Result<void> GrowingMemory::commit(std::size_t bytes) {
    if (bytes <= m_committed) {
        return {};
    }
    HS_ASSERT(bytes <= m_reserved);
    const std::size_t wanted = round_up(bytes, page_bytes());
    if (VirtualAlloc(m_data + m_committed, wanted - m_committed, MEM_COMMIT, PAGE_READWRITE) ==
        nullptr) {
        return Error{ErrorCode::OutOfMemory,
                     std::to_string(wanted - m_committed) +
                         " more bytes cannot be committed: " + last_error(),
                     "Use a shorter context or close other programs"};
    }
    m_committed = wanted;
    return {};
}

void GrowingMemory::shrink(std::size_t bytes) {
    const std::size_t kept = round_up(bytes, page_bytes());
    if (kept < m_committed) {
        VirtualFree(m_data + kept, m_committed - kept, MEM_DECOMMIT);
        m_committed = kept;
    }
}

GrowingMemory::~GrowingMemory() {
    if (m_data != nullptr) {
        VirtualFree(m_data, 0, MEM_RELEASE);
    }
}

ProcessMemory process_memory() {
    PROCESS_MEMORY_COUNTERS counters{};
    GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters);
    return {static_cast<std::int64_t>(counters.WorkingSetSize),
            static_cast<std::int64_t>(counters.PeakWorkingSetSize)};
}

MachineMemory machine_memory() {
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof status;
    GlobalMemoryStatusEx(&status);
    return {static_cast<std::int64_t>(status.ullTotalPhys),
            static_cast<std::int64_t>(status.ullAvailPhys)};
}

#else

namespace {

std::string last_error() {
    return std::generic_category().message(errno);
}

// The number behind a name at the beginning of a line; none when it is not there.
std::optional<std::int64_t> number_behind(const char* name, const char* file) {
    std::FILE* stream = std::fopen(file, "r");
    if (stream == nullptr) {
        return {};
    }
    std::optional<std::int64_t> found;
    char line[256];
    const std::size_t length = std::strlen(name);
    while (!found && std::fgets(line, sizeof line, stream) != nullptr) {
        long long number = 0;
        if (std::strncmp(line, name, length) == 0 &&
            std::sscanf(line + length, "%lld", &number) == 1) {
            found = number;
        }
    }
    std::fclose(stream);
    return found;
}

// /proc counts in kibibytes.
std::int64_t proc_bytes(const char* file, const char* name) {
    return 1024 * number_behind(name, file).value_or(0);
}

} // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return Error{errno == ENOENT ? ErrorCode::NotFound : ErrorCode::Io,
                     shown(path) + ": cannot be opened: " + last_error(), ""};
    }
    struct stat status {};
    if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
        ::close(file);
        return Error{ErrorCode::Io, shown(path) + ": is not a regular file", ""};
    }
    MappedFile mapped;
    mapped.m_path = path;
    mapped.m_size = static_cast<std::size_t>(status.st_size);
    if (mapped.m_size > 0) {
        void* data = ::mmap(nullptr, mapped.m_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            Error error{ErrorCode::Io, shown(path) + ": cannot be mapped: " + last_error(), ""};
            ::close(file);
            return error;
        }
        mapped.m_data = static_cast<const std::byte*>(data);
    }
    ::close(file);
    return mapped;
}

void MappedFile::forget(std::span<const std::byte> part) const {
    if (part.empty()) {
        return;
    }
    // Only whole pages inside the part: its neighbours may still be in use.
    const std::size_t page = GrowingMemory::page_bytes();
    const auto first = static_cast<std::size_t>(part.data() - m_data);
    const std::size_t begin = round_up(first, page);
    const std::size_t end = (first + part.size()) / page * page;
    if (begin < end) {
        ::madvise(const_cast<std::byte*>(m_data) + begin, end - begin, MADV_DONTNEED);
    }
}

void MappedFile::will_need() const {
    if (m_data != nullptr) {
        ::madvise(const_cast<std::byte*>(m_data), m_size, MADV_WILLNEED);
    }
}

MappedFile::~MappedFile() {
    if (m_data != nullptr) {
        ::munmap(const_cast<std::byte*>(m_data), m_size);
    }
}

std::size_t GrowingMemory::page_bytes() {
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return page;
}

bool GrowingMemory::has_huge_pages() {
    static const bool has = [] { // "always [madvise] never"
        char line[64] = "";
        std::FILE* stream = std::fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
        if (stream != nullptr) {
            const char* const read = std::fgets(line, sizeof line, stream);
            std::fclose(stream);
            return read != nullptr && std::strstr(line, "[never]") == nullptr;
        }
        return false;
    }();
    return has;
}

Result<GrowingMemory> GrowingMemory::reserve(std::size_t bytes, Pages pages) {
    GrowingMemory memory;
    memory.m_reserved = round_up(std::max<std::size_t>(bytes, 1), page_bytes());
    void* data = ::mmap(nullptr, memory.m_reserved, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
        return Error{ErrorCode::OutOfMemory,
                     "an address range of " + std::to_string(bytes) +
                         " bytes cannot be reserved: " + last_error(),
                     "Use a shorter context"};
    }
    memory.m_data = static_cast<std::byte*>(data);
    if (pages == Pages::Huge) {
        ::madvise(data, memory.m_reserved, MADV_HUGEPAGE); // as far as there are some
    }
    return memory;
}

Result<void> GrowingMemory::commit(std::size_t bytes) {
    if (bytes <= m_committed) {
        return {};
    }
    HS_ASSERT(bytes <= m_reserved);
    const std::size_t wanted = round_up(bytes, page_bytes());
    if (::mprotect(m_data + m_committed, wanted - m_committed, PROT_READ | PROT_WRITE) != 0) {
        return Error{ErrorCode::OutOfMemory,
                     std::to_string(wanted - m_committed) +
                         " more bytes cannot be committed: " + last_error(),
                     "Use a shorter context or close other programs"};
    }
    m_committed = wanted;
    return {};
}

void GrowingMemory::shrink(std::size_t bytes) {
    const std::size_t kept = round_up(bytes, page_bytes());
    if (kept < m_committed) {
        // A fresh mapping in place: the pages go back, and come zeroed when committed again.
        void* const fresh = ::mmap(m_data + kept, m_committed - kept, PROT_NONE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        if (fresh != MAP_FAILED) { // else they stay, which costs memory and nothing more
            m_committed = kept;
        }
    }
}

GrowingMemory::~GrowingMemory() {
    if (m_data != nullptr) {
        ::munmap(m_data, m_reserved);
    }
}

ProcessMemory process_memory() {
    return {proc_bytes("/proc/self/status", "VmRSS:"), proc_bytes("/proc/self/status", "VmHWM:")};
}

MachineMemory machine_memory() {
    MachineMemory memory{proc_bytes("/proc/meminfo", "MemTotal:"),
                         proc_bytes("/proc/meminfo", "MemAvailable:")};
    // A container may be held to less. Pages of files do not count: they go when memory is short.
    if (const auto limit = number_behind("", "/sys/fs/cgroup/memory.max")) {
        const auto held = number_behind("anon", "/sys/fs/cgroup/memory.stat").value_or(0);
        memory.total_bytes = std::min(memory.total_bytes, *limit);
        memory.available_bytes =
            std::min(memory.available_bytes, std::max<std::int64_t>(0, *limit - held));
    }
    return memory;
}

#endif

MappedFile::MappedFile(MappedFile&& other) noexcept
    : m_data(std::exchange(other.m_data, nullptr))
    , m_size(std::exchange(other.m_size, 0))
    , m_path(std::move(other.m_path)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(m_data, other.m_data);
    std::swap(m_size, other.m_size);
    std::swap(m_path, other.m_path);
    return *this;
}

GrowingMemory::GrowingMemory(GrowingMemory&& other) noexcept
    : m_data(std::exchange(other.m_data, nullptr))
    , m_reserved(std::exchange(other.m_reserved, 0))
    , m_committed(std::exchange(other.m_committed, 0)) {}

GrowingMemory& GrowingMemory::operator=(GrowingMemory&& other) noexcept {
    std::swap(m_data, other.m_data);
    std::swap(m_reserved, other.m_reserved);
    std::swap(m_committed, other.m_committed);
    return *this;
}

} // namespace hs
