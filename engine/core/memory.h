#pragma once
// Memory that is not a plain allocation: read-only file mappings and address ranges that are
// reserved once and committed as they grow, so that what lies in them never moves.

#include "engine/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace hs {

// A file mapped read-only. Moves, does not copy; unmapped when it goes.
class MappedFile {
public:
    static Result<MappedFile> open(const std::filesystem::path& path);

    MappedFile() = default;
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    std::span<const std::byte> bytes() const { return {m_data, m_size}; }
    const std::filesystem::path& path() const { return m_path; }

    // Tells the system that these bytes will not be read again soon. Errors are harmless.
    void forget(std::span<const std::byte> part) const;
    // Asks the system to read ahead.
    void will_need() const;

private:
    const std::byte* m_data = nullptr;
    std::size_t m_size = 0;
    std::filesystem::path m_path;
};

// An address range that holds `reserved` bytes of address space, of which the first `committed`
// are backed by zeroed memory. Growing never moves what is there.
class GrowingMemory {
public:
    // Huge asks the system for pages of 2 MiB, which are read a third faster than those of a mapped
    // file: for what is large and committed at once. Small pages come where there are no others.
    enum class Pages : std::uint8_t { Plain, Huge };
    static bool has_huge_pages();
    static Result<GrowingMemory> reserve(std::size_t bytes, Pages pages = Pages::Plain);

    GrowingMemory() = default;
    GrowingMemory(GrowingMemory&& other) noexcept;
    GrowingMemory& operator=(GrowingMemory&& other) noexcept;
    ~GrowingMemory();

    // Commits whole pages until at least `bytes` are usable. Errors: OutOfMemory.
    Result<void> commit(std::size_t bytes);
    // Gives the pages behind the first `bytes` back.
    void shrink(std::size_t bytes);

    std::byte* data() const { return m_data; }
    std::size_t committed() const { return m_committed; }
    std::size_t reserved() const { return m_reserved; }
    static std::size_t page_bytes();

private:
    std::byte* m_data = nullptr;
    std::size_t m_reserved = 0;
    std::size_t m_committed = 0;
};

struct ProcessMemory {
    std::int64_t resident_bytes = 0;      // what the process holds now, mapped files included
    std::int64_t peak_resident_bytes = 0; // the most it ever held
};
ProcessMemory process_memory();

// Memory of the machine, in bytes.
struct MachineMemory {
    std::int64_t total_bytes = 0;
    std::int64_t available_bytes = 0;
};
MachineMemory machine_memory();

} // namespace hs
