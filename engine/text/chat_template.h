#pragma once
// Messages to text as a model's own chat template says, with the origin of every span kept: what
// came from a message is never matched against special tokens. The template language is a subset
// of Jinja2, evaluated here with limits on steps, output, depth and time; it reaches no file.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/text/tokenizer.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

class Checkpoint;

struct ChatMessage {
    std::string role; // "system", "user", "assistant", "tool"
    std::string content;
    std::string reasoning; // an assistant's thinking, given to templates as reasoning_content
};

struct TemplateLimits {
    std::size_t steps = 1'000'000;
    std::size_t output_bytes = std::size_t{16} << 20;
    int depth = 200;
    double seconds = 2.0;
};

class ChatTemplate {
public:
    // Errors: Corrupt, with the template's line.
    static Result<ChatTemplate> compile(std::string_view source);
    // The checkpoint's own template (text-and-services.md section 5.1). NotFound when it has none.
    static Result<ChatTemplate> open(const Checkpoint& checkpoint);
    // <|im_start|>role ... <|im_end|>, for checkpoints without one.
    static ChatTemplate chatml();

    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // variables: what the template may read, "messages" and "add_generation_prompt" among them.
    // Strings inside variables["messages"], ["tools"] and ["documents"] count as a person's words.
    // Errors: InvalidArgument when the template raises, Corrupt with its line, Unsupported.
    Result<std::vector<TextSpan>> render(const Json& variables,
                                         const TemplateLimits& limits = {}) const;

    // messages with the usual variables: bos/eos text of the tokenizer, generation prompt,
    // thinking.
    struct Options {
        bool add_generation_prompt = true;
        bool enable_thinking = true;
        std::string bos_token;
        std::string eos_token;
        Json extra = Json::object(); // further variables
    };
    Result<std::vector<TextSpan>> render(const std::vector<ChatMessage>& messages,
                                         const Options& options) const;

    const std::string& source() const;

private:
    struct Program;
    explicit ChatTemplate(std::unique_ptr<const Program> program);
    std::unique_ptr<const Program> m_program;
};

} // namespace hs
