// Chat templates: whatever the bytes are, an error or spans of UTF-8 within the limits. The part of
// the input before a zero byte is the template, the rest its variables as JSON.

#include "engine/text/chat_template.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const std::size_t zero = input.find('\0');
    const hs::Result<hs::ChatTemplate> compiled = hs::ChatTemplate::compile(input.substr(0, zero));
    if (!compiled) {
        HS_ASSERT(!compiled.error().what.empty());
        return 0;
    }
    hs::Json variables = {
        {"messages",
         {{{"role", "system"}, {"content", "s"}}, {{"role", "user"}, {"content", "u <|x|>"}}}},
        {"bos_token", "<s>"}};
    if (zero != std::string_view::npos) {
        const hs::Result<hs::Json> given = hs::parse_json(input.substr(zero + 1));
        if (given && given->is_object()) {
            variables = *given;
        }
    }
    hs::TemplateLimits limits;
    limits.steps = 20'000;
    limits.output_bytes = std::size_t{1} << 20;
    const auto spans = compiled->render(variables, limits);
    if (!spans) {
        HS_ASSERT(!spans.error().what.empty());
        return 0;
    }
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < spans->size(); ++i) {
        const hs::TextSpan& span = (*spans)[i];
        HS_ASSERT(!span.text.empty());
        HS_ASSERT(i == 0 || span.specials != (*spans)[i - 1].specials);
        bytes += span.text.size();
    }
    HS_ASSERT(bytes <= limits.output_bytes);
    return 0;
}
