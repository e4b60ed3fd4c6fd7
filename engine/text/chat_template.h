#pragma once
// Messages to text as a model's own chat template says, with the origin of every span kept: what
// came from a message is never matched against special tokens. The template language is a subset
// of Jinja2, evaluated here with limits on steps, output, depth and time; it reaches no file.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/text/tokenizer.h"

#include <cstddef>
#include <ctime>
#include <memory>
#include <optional>
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
    int depth = 200; // of macros that call each other
    double seconds = 2.0;
    std::optional<std::tm> local_time; // what strftime_now shows; the clock's time when empty
};

// What a template can be told and what it does unasked, found by rendering it.
struct ChatTemplateTraits {
    bool system_role = false;     // a system message appears in its output
    bool thinking_switch = false; // enable_thinking (or thinking) changes what it prints
    bool opens_thinking = false;  // its generation prompt ends inside an open <think>
};

class ChatTemplate {
public:
    // Errors: Corrupt or Unsupported, with the template's line.
    static Result<ChatTemplate> compile(std::string_view source);
    // The checkpoint's own template: chat_template.jinja, else the one in tokenizer_config.json,
    // else chat_template.json, else GGUF metadata. Where there is one named "tool_use", render
    // takes it when there are tools. NotFound when there is none.
    static Result<ChatTemplate> open(const Checkpoint& checkpoint);
    // <|im_start|>role ... <|im_end|>, for checkpoints without one.
    static ChatTemplate chatml();

    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // variables: what the template may read, "messages" and "add_generation_prompt" among them.
    // All strings in them count as a person's words and come out as Specials::Plain, except the
    // variables whose name ends in "_token" and the well-known roles of messages: a template may
    // build its markup from those. What filters and methods cut out of a person's words or make of
    // them stays Plain, character by character. Adjacent spans differ in kind; none is empty.
    // Errors: InvalidArgument when the template raises (its own words) or the variables are no
    // object, Corrupt with the template's line, Unsupported.
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
    // Found once, when the template was compiled.
    const ChatTemplateTraits& traits() const;

private:
    struct Program;
    explicit ChatTemplate(std::unique_ptr<const Program> program);
    std::unique_ptr<const Program> m_program;
};

} // namespace hs
