// tokenizer.json: whatever the bytes are, an error or a tokenizer that encodes and decodes, and the
// same from the text as from the tree.

#include "engine/core/json.h"
#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

void use(const hs::Tokenizer& tokenizer) {
    for (const std::string_view text :
         {"", "Hello, world!  ab\n\n12345", "\xF0\x9F\x98\x80 e\xCC\x81 \xFF\xE2\x82",
          "<s>aaaaaaaaaaaa"}) {
        for (const hs::Specials specials : {hs::Specials::Match, hs::Specials::Plain}) {
            const std::vector<hs::TokenId> ids = tokenizer.encode(text, specials, true);
            hs::Detokenizer detokenizer(tokenizer, {"ab"});
            for (const hs::TokenId id : ids) {
                HS_ASSERT(id >= 0 && id < tokenizer.vocab_size());
                HS_ASSERT(hs::utf8::is_valid(detokenizer.push(id)));
            }
            HS_ASSERT(hs::utf8::is_valid(detokenizer.flush()));
            HS_ASSERT(hs::utf8::is_valid(tokenizer.decode(ids)));
        }
    }
    for (hs::TokenId id = -1; id <= tokenizer.vocab_size() && id < 300; ++id) {
        tokenizer.bytes_of(id);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto from_text = hs::Tokenizer::from_tokenizer_text(text, nullptr);
    if (from_text.ok()) {
        use(*from_text);
    } else {
        HS_ASSERT(!from_text.error().what.empty());
    }
    if (const auto json = hs::parse_json(text); json.ok()) {
        const auto from_tree = hs::Tokenizer::from_tokenizer_json(*json, &*json);
        HS_ASSERT(!from_tree.ok() || from_text.ok());
    }
    return 0;
}
