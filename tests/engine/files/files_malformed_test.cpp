// Wrong checkpoints: each kind of damage is an error that names the file, the place, what was
// expected and what was found; and a thousand mutated headers of either container are errors or
// valid files, never a crash and never a large allocation.

#include "engine/core/paths.h"
#include "engine/files/checkpoint.h"
#include "engine/files/gguf.h"
#include "engine/files/safetensors.h"
#include "tests/support/allocation_meter.h"
#include "tests/support/tiny_gguf.h"

#include <QtTest>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

using namespace hs;
using namespace hs::test;

namespace {

const std::filesystem::path kContainers = std::filesystem::path(HS_TEST_DATA) / "data/containers";
constexpr auto kCorrupt = ErrorCode::Corrupt;
constexpr auto kUnsupported = ErrorCode::Unsupported;
constexpr auto kNotFound = ErrorCode::NotFound;

struct Wrong {
    const char* name;
    Bytes bytes;
    ErrorCode code;
    std::vector<std::string> says; // parts of the message
};

std::vector<float> values(std::size_t count) {
    return std::vector<float>(count, 0.5F);
}

Bytes text_bytes(std::string_view text) {
    return ByteWriter().raw(text).bytes();
}

Bytes read_file(const std::filesystem::path& path) {
    const MappedFile file = std::move(MappedFile::open(path)).value();
    return {file.bytes().begin(), file.bytes().end()};
}

GgufWriter model(GgufWriter::Overrides overrides = {}) {
    GgufWriter writer(std::move(overrides));
    writer.set("general.architecture", "qwen3");
    return writer;
}

// A correct file with one tensor, to be bent.
GgufWriter good() {
    return model().tensor("blk.0.attn_q.weight", {4, 8}, values(32));
}

Bytes with_declaration(GgufWriter::Declaration declaration, const Bytes& data = Bytes(4096)) {
    return model().declare(std::move(declaration), data).bytes();
}

Bytes cut(Bytes bytes, std::size_t left) {
    bytes.resize(left);
    return bytes;
}

Bytes alignment(std::uint32_t value) {
    return good().set("general.alignment", value).bytes();
}

// A key and an array value given by element type, count and bytes.
Bytes with_array(std::uint32_t type, std::uint64_t count, std::string_view data) {
    return good()
        .set_raw("test.array", 9, ByteWriter().number(type).number(count).raw(data).bytes())
        .bytes();
}

std::vector<Wrong> wrong_ggufs() {
    constexpr std::uint64_t kHuge = std::uint64_t{1} << 62U;
    const std::string long_name(64, 'n');
    Bytes big_endian = good().bytes();
    std::reverse(big_endian.begin() + 4, big_endian.begin() + 8);
    const Bytes whole = good().bytes();
    return {
        {"empty", {}, kCorrupt, {"found nothing", "magic"}},
        {"other magic", text_bytes("ABCDEFGH"), kCorrupt, {"41 42 43 44", "47 47 55 46"}},
        {"header alone", text_bytes("GGUF\3\0\0\0"), kCorrupt, {"incomplete"}},
        {"pickle", text_bytes("\x80\x02}q\x01."), kUnsupported, {"pickled"}},
        {"zip of pickles", text_bytes("PK\x03\x04 archive/data.pkl"), kUnsupported, {"pickled"}},
        {"older format", text_bytes("tjgg    "), kUnsupported, {"older than GGUF"}},
        {"pointer", text_bytes("version https://git-lfs..."), kCorrupt, {"pointer"}},
        {"web page", text_bytes("<!DOCTYPE html><html>"), kCorrupt, {"web page"}},
        {"zeros", Bytes(4096), kCorrupt, {"zeros"}},
        {"version 1", model({.version = 1}).bytes(), kUnsupported, {"version 1"}},
        {"version 4", model({.version = 4}).bytes(), kUnsupported, {"version 4"}},
        {"version 0", model({.version = 0}).bytes(), kUnsupported, {"version 0"}},
        {"big endian", big_endian, kUnsupported, {"big-endian"}},
        {"tensor count", model({.tensor_count = kHuge}).bytes(), kCorrupt, {"tensor count"}},
        {"tensor count negative",
         model({.tensor_count = ~0ULL}).bytes(),
         kCorrupt,
         {"tensor count at byte 8", "found 18446744073709551615"}},
        {"key count", model({.key_count = kHuge}).bytes(), kCorrupt, {"key count at byte 16"}},
        {"key comes twice",
         good().set("general.architecture", "llama").bytes(),
         kCorrupt,
         {"general.architecture", "twice"}},
        {"key empty", good().set("", std::uint32_t{1}).bytes(), kCorrupt, {"empty"}},
        {"key not text", good().set("a\x01", std::uint32_t{1}).bytes(), kCorrupt, {"a\\x01"}},
        {"key too long",
         good().set(std::string(65'536, 'k'), std::uint32_t{1}).bytes(),
         kCorrupt,
         {"at most 65535", "found 65536"}},
        {"value type",
         good().set_raw("k", 13, Bytes(64)).bytes(),
         kCorrupt,
         {"'k'", "expected 0 to 12, found 13"}},
        {"string longer than file",
         good().set_raw("k", 8, ByteWriter().number(std::uint64_t{1'000'000}).bytes()).bytes(),
         kCorrupt,
         {"'k'", "needs 1000000 bytes"}},
        {"string over the limit",
         good().set_raw("k", 8, ByteWriter().number(kHuge).bytes()).bytes(),
         kCorrupt,
         {"'k'", "at most 67108864"}},
        {"array of arrays",
         with_array(9, 1, std::string(64, '\0')),
         kCorrupt,
         {"test.array", "array of arrays"}},
        {"array element type", with_array(13, 1, ""), kCorrupt, {"found 13"}},
        {"array longer than file",
         with_array(10, kHuge, ""),
         kCorrupt,
         {"test.array", "4611686018427387904 elements of type u64"}},
        {"array count wraps", with_array(10, kHuge * 2 + 1, ""), kCorrupt, {"elements"}},
        {"array of bytes wraps", with_array(0, ~0ULL, ""), kCorrupt, {"elements"}},
        {"array of strings ends",
         with_array(8, 2, std::string(8, '\0') + std::string(8, '\x7F')),
         kCorrupt,
         {"array element"}},
        {"alignment 0", alignment(0), kCorrupt, {"general.alignment", "found 0"}},
        {"alignment 4", alignment(4), kCorrupt, {"found 4"}},
        {"alignment 48", alignment(48), kCorrupt, {"power of two", "found 48"}},
        {"alignment 2^31", alignment(1U << 31U), kCorrupt, {"found 2147483648"}},
        {"alignment of another type",
         good().set("general.alignment", "32").bytes(),
         kCorrupt,
         {"general.alignment", "expected type u32, found string"}},
        {"no architecture",
         GgufWriter().tensor("a", {4}, values(4)).bytes(),
         kCorrupt,
         {"general.architecture is missing"}},
        {"architecture of another type",
         GgufWriter()
             .set("general.architecture", std::uint32_t{7})
             .tensor("a", {4}, values(4))
             .bytes(),
         kCorrupt,
         {"general.architecture"}},
        {"architecture of strange bytes",
         GgufWriter()
             .set("general.architecture", std::vector<std::string>{"\xFF"})
             .tensor("a", {4}, values(4))
             .bytes(),
         kCorrupt,
         {"general.architecture"}},
        {"name empty", with_declaration({"", {4}, 0, 0}), kCorrupt, {"tensor 0", "empty"}},
        {"name too long",
         with_declaration({long_name, {4}, 0, 0}),
         kCorrupt,
         {"at most 63 bytes, found 64"}},
        {"name not text", with_declaration({"a\xFF", {4}, 0, 0}), kCorrupt, {"'a\\xff'"}},
        {"name with control", with_declaration({"a\n", {4}, 0, 0}), kCorrupt, {"'a\\x0a'"}},
        {"name comes twice",
         good().tensor("a", {4}, values(4)).tensor("a", {4}, values(4)).bytes(),
         kCorrupt,
         {"tensor 'a' is declared twice"}},
        {"no dimensions",
         with_declaration({"a", {}, 0, 0}),
         kCorrupt,
         {"tensor 'a'", "expected 1 to 4 dimensions, found 0"}},
        {"five dimensions", with_declaration({"a", {1, 1, 1, 1, 1}, 0, 0}), kCorrupt, {"found 5"}},
        {"dimension 0",
         with_declaration({"a", {4, 0}, 0, 0}),
         kCorrupt,
         {"tensor 'a'", "dimension 1", "found 0"}},
        {"elements wrap",
         with_declaration({"a", {1ULL << 32U, 1ULL << 32U}, 0, 0}),
         kCorrupt,
         {"tensor 'a'", "2^63 elements"}},
        {"elements beyond 2^63", with_declaration({"a", {1ULL << 63U}, 0, 0}), kCorrupt, {"2^63"}},
        {"bytes wrap", with_declaration({"a", {1ULL << 62U}, 28, 0}), kCorrupt, {"2^63 bytes"}},
        {"rows not whole blocks",
         with_declaration({"a", {40, 2}, 8, 0}),
         kCorrupt,
         {"tensor 'a'", "Q8_0", "multiples of 32", "found 40"}},
        {"offset not aligned",
         with_declaration({"a", {4}, 0, 8}),
         kCorrupt,
         {"tensor 'a'", "multiple of 32, found 8"}},
        {"offset and bytes wrap",
         with_declaration({"a", {64}, 0, ~0ULL - 31}),
         kCorrupt,
         {"tensor 'a'", "2^64"}},
        {"data section wraps", with_declaration({"a", {4}, 24, ~0ULL - 63}), kCorrupt, {"2^64"}},
        {"offset beyond the file",
         with_declaration({"a", {4}, 0, 1 << 20}),
         kCorrupt,
         {"file is incomplete"}},
        {"overlap",
         model().declare({"a", {64}, 0, 0}, Bytes(512)).declare({"b", {4}, 0, 224}).bytes(),
         kCorrupt,
         {"tensor 'b' at offset 224 overlaps tensor 'a'", "256"}},
        {"two names on one range",
         model().declare({"a", {64}, 0, 0}, Bytes(512)).declare({"b", {64}, 0, 0}).bytes(),
         kCorrupt,
         {"overlaps"}},
        {"removed type 4",
         with_declaration({"a", {32}, 4, 0}),
         kUnsupported,
         {"tensor 'a'", "type 4", "removed"}},
        {"removed type 33", with_declaration({"a", {32}, 33, 0}), kUnsupported, {"removed"}},
        {"fork type 137",
         with_declaration({"a", {256}, 137, 0}),
         kUnsupported,
         {"tensor 'a'", "type 137", "ik_llama.cpp"}},
        {"fork type 202", with_declaration({"a", {256}, 202, 0}), kUnsupported, {"ik_llama.cpp"}},
        {"unknown type",
         with_declaration({"a", {256}, 57, 0}),
         kUnsupported,
         {"type 57 is not known"}},
        {"type IQ2_XXS",
         with_declaration({"blk.3.ffn_up.weight", {256, 2}, 16, 0}),
         kUnsupported,
         {"tensor 'blk.3.ffn_up.weight' is (2, 256) IQ2_XXS", "1 of 1"}},
        {"types in a list",
         model()
             .tensor("x", {4}, values(4))
             .declare({"a", {256}, 34, 32}, Bytes(54))
             .declare({"b", {256}, 21, 96}, Bytes(128))
             .bytes(),
         kUnsupported,
         {"2 of 3", "IQ3_S, TQ1_0"}},
        {"activation type", with_declaration({"a", {32}, 9, 0}), kUnsupported, {"Q8_1"}},
        {"adapter", good().set("general.type", "adapter").bytes(), kUnsupported, {"LoRA adapter"}},
        {"imatrix",
         GgufWriter().set("general.type", "imatrix").bytes(),
         kUnsupported,
         {"importance matrix"}},
        {"mmproj", good().set("general.type", "mmproj").bytes(), kUnsupported, {"mmproj"}},
        {"clip",
         GgufWriter().set("general.architecture", "clip").tensor("a", {1}, values(1)).bytes(),
         kUnsupported,
         {"mmproj"}},
        {"another kind", good().set("general.type", "voice").bytes(), kUnsupported, {"'voice'"}},
        {"vocabulary alone", model().bytes(), kUnsupported, {"vocabulary"}},
        {"split without its name",
         good().set("split.no", std::uint16_t{0}).set("split.count", std::uint16_t{2}).bytes(),
         kCorrupt,
         {"-00001-of-00002.gguf"}},
        {"split of too many parts",
         good().set("split.no", std::uint16_t{0}).set("split.count", std::uint16_t{60'000}).bytes(),
         kCorrupt,
         {"split.count"}},
        {"split number negative",
         good().set("split.no", std::int32_t{-1}).bytes(),
         kCorrupt,
         {"split.no", "found -1"}},
        {"data cut",
         cut(whole, whole.size() - 1),
         kCorrupt,
         {"file is incomplete: " + std::to_string(whole.size() - 1) + " of " +
          std::to_string(whole.size()) + " bytes"}},
        {"data absent", cut(whole, whole.size() - 128), kCorrupt, {"file is incomplete"}},
        {"infos cut", cut(whole, 90), kCorrupt, {"ends too early"}},
        {"keys cut", cut(whole, 60), kCorrupt, {"general.architecture", "ends too early"}},
    };
}

Bytes header(std::string_view text, std::size_t data = 0) {
    return SafetensorsWriter::container(text, Bytes(data));
}

std::vector<Wrong> wrong_safetensors() {
    const Bytes whole = SafetensorsWriter().tensor("a", {4}, values(4)).bytes();
    const auto one = [](std::string_view fields, std::size_t data = 16) {
        return header(R"({"a":{)" + std::string(fields) + "}}", data);
    };
    return {
        {"empty", {}, kCorrupt, {"incomplete: 0 of"}},
        {"zeros", Bytes(64), kCorrupt, {"zeros"}},
        {"pickle", text_bytes("\x80\x02}q\x01."), kUnsupported, {"pickled"}},
        {"length beyond the limit",
         ByteWriter().number(std::uint64_t{100'000'001}).raw("{}").bytes(),
         kCorrupt,
         {"100000000", "100000001"}},
        {"length wraps",
         ByteWriter().number(~std::uint64_t{0}).raw("{}").bytes(),
         kCorrupt,
         {"not a safetensors file"}},
        {"length beyond the file",
         ByteWriter().number(std::uint64_t{1000}).raw("{}").bytes(),
         kCorrupt,
         {"incomplete: 10 of 1008"}},
        {"not an object", header("[1,2,3]"), kCorrupt, {"'{'"}},
        {"not JSON", header("{\"a\":"), kCorrupt, {"not JSON"}},
        {"text after it", header("{} {}"), kCorrupt, {"not JSON"}},
        {"not UTF-8", header("{\"\xFF\":1}"), kCorrupt, {"not JSON"}},
        {"entry is a number", header(R"({"a":1})"), kCorrupt, {"tensor 'a'", "a number"}},
        {"entry is a list", header(R"({"a":[]})"), kCorrupt, {"tensor 'a'", "an array"}},
        {"entry is null", header(R"({"a":null})"), kCorrupt, {"null"}},
        {"entry is empty", header(R"({"a":{}})"), kCorrupt, {"tensor 'a'", "expected dtype"}},
        {"deep", header(R"({"a":{"shape":[[1]]}})"), kCorrupt, {"tensor 'a'", "an array"}},
        {"very deep", header("{\"a\":" + std::string(100'000, '[')), kCorrupt, {"an array"}},
        {"unknown field", one(R"("color":"red")"), kCorrupt, {"'color'"}},
        {"field twice", one(R"("dtype":"F32","dtype":"F32")"), kCorrupt, {"dtype twice"}},
        {"name twice",
         header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                8),
         kCorrupt,
         {"tensor 'a' is declared twice"}},
        {"metadata twice", header(R"({"__metadata__":{},"__metadata__":{}})"), kCorrupt, {"twice"}},
        {"metadata of numbers",
         header(R"({"__metadata__":{"a":1}})"),
         kCorrupt,
         {"__metadata__", "a number"}},
        {"metadata nested", header(R"({"__metadata__":{"a":{}}})"), kCorrupt, {"an object"}},
        {"name empty", header(R"({"":{}})"), kCorrupt, {"name"}},
        {"name with control", header(R"({"a\u0000":{}})"), kCorrupt, {"a\\x00"}},
        {"dtype unknown",
         one(R"("dtype":"F33","shape":[4],"data_offsets":[0,16])"),
         kUnsupported,
         {"tensor 'a'", "'F33'"}},
        {"dtype not computable",
         one(R"("dtype":"U32","shape":[4],"data_offsets":[0,16])"),
         kUnsupported,
         {"tensor 'a' is (4) U32"}},
        {"dtype of four bits",
         one(R"("dtype":"F4","shape":[32],"data_offsets":[0,16])"),
         kUnsupported,
         {"(32) F4"}},
        {"half a byte",
         one(R"("dtype":"F4","shape":[31],"data_offsets":[0,16])"),
         kCorrupt,
         {"tensor 'a'"}},
        {"shape negative",
         one(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"),
         kCorrupt,
         {"tensor 'a'", "negative"}},
        {"shape broken",
         one(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])"),
         kCorrupt,
         {"unsigned integer"}},
        {"shape beyond 64 bits",
         one(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,16])"),
         kCorrupt,
         {"unsigned integer"}},
        {"shape wraps",
         one(R"("dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16])"),
         kCorrupt,
         {"2^63 elements"}},
        {"bits wrap",
         one(R"("dtype":"F32","shape":[4611686018427387908],"data_offsets":[0,16])"),
         kCorrupt,
         {"tensor 'a'", "found 16"}},
        {"seventeen dimensions",
         one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])",
             4),
         kCorrupt,
         {"more than 16"}},
        {"shape and offsets differ",
         one(R"("dtype":"F32","shape":[5],"data_offsets":[0,16])"),
         kCorrupt,
         {"tensor 'a'", "expected 20 bytes for (5) F32, found 16"}},
        {"offsets of one",
         one(R"("dtype":"F32","shape":[4],"data_offsets":[0])"),
         kCorrupt,
         {"two data_offsets"}},
        {"offsets of three",
         one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16,16])"),
         kCorrupt,
         {"more than 2"}},
        {"offsets backwards",
         one(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"),
         kCorrupt,
         {"tensor 'a'", "end at 0"}},
        {"offsets beyond the file",
         one(R"("dtype":"F32","shape":[4],"data_offsets":[8,24])"),
         kCorrupt,
         {"incomplete"}},
        {"offsets near 2^64",
         one(R"("dtype":"F32","shape":[4],)"
             R"("data_offsets":[18446744073709551599,18446744073709551615])"),
         kCorrupt,
         {"2^64"}},
        {"hole at the start",
         one(R"("dtype":"F32","shape":[2],"data_offsets":[8,16])"),
         kCorrupt,
         {"leaves a hole", "expected to begin at 0"}},
        {"bytes after the last",
         one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"),
         kCorrupt,
         {"8 bytes follow the last tensor"}},
        {"overlap",
         header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                12),
         kCorrupt,
         {"tensor 'b' overlaps"}},
        {"data cut",
         cut(whole, whole.size() - 1),
         kCorrupt,
         {"file is incomplete: " + std::to_string(whole.size() - 1) + " of " +
          std::to_string(whole.size()) + " bytes"}},
    };
}

struct WrongIndex {
    const char* name;
    std::string text;
    std::string says;
};

std::vector<WrongIndex> wrong_indexes() {
    const auto file = [](std::string_view name) {
        return R"({"weight_map":{"a":")" + std::string(name) + R"("}})";
    };
    const std::string stays = "in this folder";
    return {
        {"parent", file("../a.safetensors"), stays},
        {"absolute", file("/tmp/a.safetensors"), stays},
        {"subfolder", file("sub/a.safetensors"), stays},
        {"backslash", file(R"(..\\a.safetensors)"), stays},
        {"drive", file("C:a.safetensors"), stays},
        {"dots", file(".."), stays},
        {"empty", file(""), stays},
        {"control", file("a\\u0000.safetensors"), stays},
        {"pickle", file("pytorch_model.bin"), stays},
        {"no map", "{}", "weight_map"},
        {"a list", "[]", "weight_map"},
        {"map is a list", R"({"weight_map":["a"]})", "an array"},
        {"map of numbers", R"({"weight_map":{"a":1}})", "a number"},
        {"map of objects", R"({"weight_map":{"a":{}}})", "an object"},
        {"map is a text", R"({"weight_map":"a"})", "a text"},
        {"map twice", R"({"weight_map":{"a":"a.safetensors"},"weight_map":{}})", "twice"},
        {"tensor twice", R"({"weight_map":{"a":"a.safetensors","a":"b.safetensors"}})", "twice"},
        {"not JSON", "{", "not JSON"},
        {"deep", R"({"metadata":)" + std::string(100'000, '['), "too deep"},
    };
}

void expect(const Result<Checkpoint>& result, ErrorCode code,
            const std::vector<std::string>& says) {
    QVERIFY2(!result.ok(), "opened");
    const std::string text = result.error().text();
    QVERIFY2(result.error().code == code, text.c_str());
    for (const std::string& part : says) {
        QVERIFY2(text.find(part) != std::string::npos, (text + "  lacks  " + part).c_str());
    }
}

// A folder with config.json, an index over two files, and the files.
struct ShardedFolder {
    TemporaryFolder folder;

    ShardedFolder() { std::filesystem::copy(kContainers / "sharded", folder.path()); }
    std::filesystem::path shard(int number) const {
        return folder / ("model-0000" + std::to_string(number) + "-of-00002.safetensors");
    }
    void index(std::string_view weight_map) const {
        write_file(folder / "model.safetensors.index.json",
                   R"({"weight_map":{)" + std::string(weight_map) + "}}");
    }
};

// One to four changes: bits, bytes, whole words with telling values, a cut, bytes put in between.
Bytes mutated(const Bytes& original, std::size_t header_bytes, std::mt19937& random) {
    constexpr std::uint64_t kTelling[] = {0,
                                          1,
                                          7,
                                          0xFF,
                                          0xFFFF,
                                          0x7FFFFFFF,
                                          0x80000000,
                                          0xFFFFFFFF,
                                          0x7FFFFFFFFFFFFFFF,
                                          0x8000000000000000,
                                          0xFFFFFFFFFFFFFFE0,
                                          0xFFFFFFFFFFFFFFFF};
    Bytes bytes = original;
    const auto below = [&](std::size_t limit) {
        return random() % std::max<std::size_t>(limit, 1);
    };
    for (std::size_t change = 0, count = 1 + below(4); change < count && !bytes.empty(); ++change) {
        const std::size_t at = below(std::min(bytes.size(), header_bytes));
        switch (below(6)) {
        case 0:
            bytes[at] ^= std::byte{1} << below(8);
            break;
        case 1:
            bytes[at] = static_cast<std::byte>(random());
            break;
        case 2:
        case 3: {
            const std::uint64_t word = kTelling[below(std::size(kTelling))];
            std::memcpy(bytes.data() + at, &word,
                        std::min<std::size_t>(bytes.size() - at, below(2) == 0 ? 4 : 8));
            break;
        }
        case 4:
            bytes.resize(at);
            break;
        default:
            bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), 1 + below(9),
                         static_cast<std::byte>(random()));
        }
    }
    return bytes;
}

// Reads every byte of what opened, so that a wrong range would be seen.
unsigned sum_of(const Checkpoint& checkpoint) {
    unsigned sum = 0;
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        for (const std::byte byte : tensor.data) {
            sum += std::to_integer<unsigned>(byte);
        }
    }
    return sum;
}

void mutate_and_open(const Bytes& original, std::size_t header_bytes,
                     const std::filesystem::path& file, const std::filesystem::path& to_open,
                     Need need) {
    constexpr int kMutations = 1000;
    constexpr std::size_t kMostAllocated = std::size_t{64} << 20U;
    std::mt19937 random(20261124);
    int valid = 0;
    unsigned sum = 0;
    for (int i = 0; i < kMutations; ++i) {
        // A fresh file: cutting one that is there makes some file systems write it out at once.
        std::filesystem::remove(file);
        write_file(file, mutated(original, header_bytes, random));
        reset_allocations();
        const Result<Checkpoint> result = Checkpoint::open(to_open, need);
        QVERIFY(largest_allocation() <= kMostAllocated);
        if (result.ok()) {
            ++valid;
            sum += sum_of(*result);
        } else {
            QVERIFY(!result.error().what.empty());
        }
    }
    qInfo("%d of %d mutations are valid files; sum of their bytes %u", valid, kMutations, sum);
    QVERIFY(valid < kMutations);
}

} // namespace

class FilesMalformedTest : public QObject {
    Q_OBJECT

private slots:
    void WrongGgufsAreErrorsThatSayWhatIsWrong_data() {
        QTest::addColumn<int>("row");
        int row = 0;
        for (const Wrong& wrong : wrong_ggufs()) {
            QTest::newRow(wrong.name) << row++;
        }
    }
    void WrongGgufsAreErrorsThatSayWhatIsWrong() {
        QFETCH(int, row);
        const Wrong wrong = wrong_ggufs()[static_cast<std::size_t>(row)];
        const TemporaryFolder folder;
        const std::filesystem::path path = folder / "wrong.gguf";
        write_file(path, wrong.bytes);
        reset_allocations();
        const Result<Checkpoint> result = Checkpoint::open(path);
        QVERIFY(largest_allocation() < std::size_t{1} << 20U);
        expect(result, wrong.code, wrong.says);
        QVERIFY(result.error().what.find("wrong.gguf") != std::string::npos);
    }

    void WrongSafetensorsAreErrorsThatSayWhatIsWrong_data() {
        QTest::addColumn<int>("row");
        int row = 0;
        for (const Wrong& wrong : wrong_safetensors()) {
            QTest::newRow(wrong.name) << row++;
        }
    }
    void WrongSafetensorsAreErrorsThatSayWhatIsWrong() {
        QFETCH(int, row);
        const Wrong wrong = wrong_safetensors()[static_cast<std::size_t>(row)];
        const TemporaryFolder folder;
        write_file(folder / "config.json", R"({"model_type":"qwen3"})");
        write_file(folder / "model.safetensors", wrong.bytes);
        reset_allocations();
        const Result<Checkpoint> result = Checkpoint::open(folder.path());
        QVERIFY(largest_allocation() < std::size_t{1} << 20U);
        expect(result, wrong.code, wrong.says);
        QVERIFY(result.error().what.find(utf8_from_path(folder.path())) != std::string::npos);
    }

    void WrongIndexesAreErrorsThatSayWhatIsWrong_data() {
        QTest::addColumn<int>("row");
        int row = 0;
        for (const WrongIndex& wrong : wrong_indexes()) {
            QTest::newRow(wrong.name) << row++;
        }
    }
    void WrongIndexesAreErrorsThatSayWhatIsWrong() {
        QFETCH(int, row);
        const WrongIndex wrong = wrong_indexes()[static_cast<std::size_t>(row)];
        const ShardedFolder sharded;
        write_file(sharded.folder / "model.safetensors.index.json", wrong.text);
        const Result<Checkpoint> result = Checkpoint::open(sharded.folder.path());
        expect(result, kCorrupt, {wrong.says, "model.safetensors.index.json"});
    }

    void IndexAndFilesHaveToAgree() {
        const ShardedFolder sharded;
        const std::string first = R"("layers.0.weight":"model-00001-of-00002.safetensors",)"
                                  R"("layers.1.weight":"model-00001-of-00002.safetensors",)";
        const std::string third = R"("layers.2.weight":"model-00002-of-00002.safetensors")";
        sharded.index(first + third);
        expect(Checkpoint::open(sharded.folder.path()), kCorrupt,
               {"does not name tensor 'layers.3.weight'"});
        sharded.index(first + third + R"(,"layers.3.weight":"model-00001-of-00002.safetensors")");
        expect(Checkpoint::open(sharded.folder.path()), kCorrupt,
               {"'layers.3.weight'", "expected in 'model-00001", "found in 'model-00002"});
        sharded.index(first + third + R"(,"layers.3.weight":"model-00002-of-00002.safetensors",)" +
                      R"("lm_head.weight":"model-00002-of-00002.safetensors")");
        expect(Checkpoint::open(sharded.folder.path()), kCorrupt,
               {"'lm_head.weight'", "found in no file"});
    }

    void ATensorInTwoShardsIsCorrupt() {
        const ShardedFolder sharded;
        SafetensorsWriter().tensor("layers.0.weight", {1}, values(1)).write(sharded.shard(2));
        expect(Checkpoint::open(sharded.folder.path()), kCorrupt,
               {"'layers.0.weight' is in model-00001"});
    }

    void MissingAndCutShardsAreNamed() {
        const ShardedFolder sharded;
        Bytes bytes = read_file(sharded.shard(2));
        write_file(sharded.shard(2), cut(bytes, bytes.size() - 5));
        expect(Checkpoint::open(sharded.folder.path()), kCorrupt,
               {"model-00002", "file is incomplete: 231 of 236 bytes"});
        std::filesystem::remove(sharded.shard(2));
        expect(Checkpoint::open(sharded.folder.path()), kNotFound, {"model-00002", "missing"});
    }

    void FoldersWithoutSafetensorsSayWhatTheyHold() {
        const TemporaryFolder folder;
        expect(Checkpoint::open(folder.path()), kNotFound, {"config.json"});
        write_file(folder / "config.json", R"({"model_type":"qwen3"})");
        expect(Checkpoint::open(folder.path()), kNotFound, {"model.safetensors"});
        write_file(folder / "pytorch_model.bin", "\x80\x02}q\x01.");
        expect(Checkpoint::open(folder.path()), kUnsupported, {"pickled", "'pytorch_model.bin'"});
        expect(Checkpoint::open(folder / "pytorch_model.bin"), kUnsupported, {"pickled"});
        std::filesystem::remove(folder / "pytorch_model.bin");
        write_file(folder / "model.gguf", "GGUF");
        expect(Checkpoint::open(folder.path()), kNotFound, {"Open the .gguf file"});
        write_file(folder / "qwen3-next.json", R"({"model_type":"qwen3_next"})");
        expect(Checkpoint::open(folder / "qwen3-next.json"), kNotFound, {"no weights"});
    }

    void WrongConfigsAreErrors() {
        const TemporaryFolder folder;
        const std::filesystem::path config = folder / "config.json";
        for (const char* text :
             {"", "[]", "{", "{}", R"({"architectures":[]})", R"({"architectures":[7]})",
              R"({"model_type":""})", R"({"model_type":"a\u0007"})", "{\"model_type\":\"\xFF\"}",
              R"({"model_type":"a","model_type":"b"})"}) {
            write_file(config, text);
            expect(Checkpoint::open(config, Need::HeaderOnly), kCorrupt, {"config.json"});
        }
        write_file(config, R"({"a":)" + std::string(100'000, '[') + "}");
        expect(Checkpoint::open(config, Need::HeaderOnly), kCorrupt, {"config.json", "deeper"});
        write_file(config, std::string((16 << 20) + 1, ' '));
        expect(Checkpoint::open(config, Need::HeaderOnly), kCorrupt, {"config.json", "limit"});
    }

    void PathsThatAreNoFilesAreErrors() {
        const TemporaryFolder folder;
        expect(Checkpoint::open(folder / "none.gguf"), kNotFound, {"none.gguf"});
        expect(Checkpoint::open(folder / "none.safetensors"), kNotFound, {"none.safetensors"});
        expect(Checkpoint::open(folder / "none.json", Need::HeaderOnly), kNotFound, {"none.json"});
        expect(Checkpoint::open("", Need::Tensors), kNotFound, {});
        write_file(folder / "m.gguf.part1of2", "GGUF");
        expect(Checkpoint::open(folder / "m.gguf.part1of2"), kUnsupported, {"Join the pieces"});
        write_file(folder / "m.gguf-split-a", "GGUF");
        expect(Checkpoint::open(folder / "m.gguf-split-a"), kUnsupported, {"Join the pieces"});
        std::filesystem::create_directory(folder / "config.json");
        expect(Checkpoint::open(folder.path()), ErrorCode::Io, {"not a regular file"});
    }

    void SideFilesStayInTheFolder() {
        const TemporaryFolder folder;
        std::filesystem::create_directory(folder / "model");
        std::filesystem::create_directory(folder / "model/sub");
        write_file(folder / "secret.txt", "secret");
        write_file(folder / "model/sub/secret.txt", "secret");
        write_file(folder / "model/config.json", R"({"model_type":"qwen3"})");
        const Checkpoint checkpoint =
            std::move(Checkpoint::open(folder / "model", Need::HeaderOnly)).value();
        const std::string absolute = utf8_from_path(folder / "secret.txt");
        for (const std::string& name :
             {std::string("../secret.txt"), absolute, std::string("sub/secret.txt"),
              std::string("sub\\secret.txt"), std::string("C:secret.txt"), std::string(".."),
              std::string("."), std::string(), std::string("a\0b", 3), std::string(300, 'a'),
              std::string("\xFF")}) {
            QCOMPARE(checkpoint.read_side_file(name).error().code, ErrorCode::InvalidArgument);
        }
        QCOMPARE(checkpoint.read_side_file("sub").error().code, ErrorCode::Io);
        std::filesystem::resize_file(folder / "model/sub/secret.txt", (64U << 20U) + 1);
        std::filesystem::rename(folder / "model/sub/secret.txt", folder / "model/large.json");
        QCOMPARE(checkpoint.read_side_file("large.json").error().code, kCorrupt);
    }

    void PartsOfASplitHaveToFit() {
        const auto part = [](std::uint16_t number, std::uint16_t count, std::int32_t tensors) {
            GgufWriter writer = model();
            writer.set("split.no", number)
                .set("split.count", count)
                .set("split.tensors.count", tensors);
            return writer;
        };
        const TemporaryFolder folder;
        const std::filesystem::path first = folder / "m-00001-of-00002.gguf";
        const std::filesystem::path second = folder / "m-00002-of-00002.gguf";
        part(0, 2, 2).tensor("a", {4}, values(4)).write(first);
        expect(Checkpoint::open(first), kNotFound,
               {"1 of 2 parts are missing", "'m-00002-of-00002.gguf'"});
        part(1, 2, 2).tensor("b", {4}, values(4)).write(second);
        QVERIFY(Checkpoint::open(first).ok());

        expect(Checkpoint::open((std::filesystem::copy(first, folder / "x-00002-of-00002.gguf"),
                                 folder / "x-00002-of-00002.gguf")),
               kCorrupt, {"part 1 of 2", "-00001-of-00002.gguf"});
        part(0, 2, 2).tensor("b", {4}, values(4)).write(second);
        expect(Checkpoint::open(first), kCorrupt,
               {"m-00002", "expected part 2 of 2, found part 1 of 2"});
        part(1, 3, 2).tensor("b", {4}, values(4)).write(second);
        expect(Checkpoint::open(first), kCorrupt, {"found part 2 of 3"});
        part(1, 2, 2).tensor("a", {4}, values(4)).write(second);
        expect(Checkpoint::open(first), kCorrupt, {"tensor 'a' is in m-00001"});
        part(1, 2, 2).tensor("b", {4}, values(4)).tensor("c", {4}, values(4)).write(second);
        expect(Checkpoint::open(first), kCorrupt,
               {"split.tensors.count", "expected 2 tensors", "found 3"});
        Bytes bytes = part(1, 2, 2).tensor("b", {4}, values(4)).bytes();
        write_file(second, cut(bytes, bytes.size() - 1));
        expect(Checkpoint::open(first), kCorrupt, {"m-00002", "file is incomplete"});
        std::filesystem::remove(first);
        expect(Checkpoint::open(second, Need::HeaderOnly), kNotFound, {"'m-00001"});
    }

    void AThousandMutatedGgufHeadersDoNoHarm() {
        const TemporaryFolder folder;
        const Bytes original = read_file(kContainers / "single.gguf");
        mutate_and_open(original, 2'400, folder / "a.gguf", folder / "a.gguf", Need::Tensors);
        mutate_and_open(original, 2'400, folder / "a.gguf", folder / "a.gguf", Need::HeaderOnly);
    }

    void AThousandMutatedSplitHeadersDoNoHarm() {
        const TemporaryFolder folder;
        std::filesystem::copy(kContainers / "split-00001-of-00003.gguf", folder.path());
        std::filesystem::copy(kContainers / "split-00003-of-00003.gguf", folder.path());
        mutate_and_open(read_file(kContainers / "split-00002-of-00003.gguf"), 256,
                        folder / "split-00002-of-00003.gguf", folder / "split-00001-of-00003.gguf",
                        Need::Tensors);
    }

    void AThousandMutatedSafetensorsHeadersDoNoHarm() {
        const TemporaryFolder folder;
        std::filesystem::copy(kContainers / "single", folder.path());
        mutate_and_open(read_file(kContainers / "single/model.safetensors"), 700,
                        folder / "model.safetensors", folder.path(), Need::Tensors);
    }

    void AThousandMutatedIndexesDoNoHarm() {
        const ShardedFolder sharded;
        const std::filesystem::path index = sharded.folder / "model.safetensors.index.json";
        mutate_and_open(read_file(index), 1'000, index, sharded.folder.path(), Need::Tensors);
    }
};

QTEST_GUILESS_MAIN(FilesMalformedTest)
#include "files_malformed_test.moc"
