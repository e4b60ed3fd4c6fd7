#pragma once
// Result<T> and Error: failure as a value, until someone can act on it.
// Not for our own mistakes: those are HS_ASSERT, which stays on in release builds.

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace hs {

// Each code leads to a different act of the person: correct the request, look elsewhere, fetch the
// file again, use another model, free memory, change the device, check the disk or the network.
enum class ErrorCode { InvalidArgument, NotFound, Corrupt, Unsupported, OutOfMemory, Device, Io };

const char* to_string(ErrorCode code);

// What went wrong, on which file, layer or tensor, with what was expected and found.
struct Error {
    ErrorCode code = ErrorCode::InvalidArgument;
    std::string what;   // "expected (1024, 4096) bf16, found (512, 4096)"
    std::string remedy; // what the person can do; may be empty

    // Prepends where it happened: "layers.7.mixer.k_proj: expected ...".
    Error with_context(std::string_view context) &&;
    // what and remedy as one line of text.
    std::string text() const;
};

template <class T>
class [[nodiscard]] Result {
public:
    Result(T value)
        : m_state(std::in_place_index<0>, std::move(value)) {}
    Result(Error error)
        : m_state(std::in_place_index<1>, std::move(error)) {}
    template <class U>
    requires(std::is_convertible_v<U, T> && !std::is_same_v<std::decay_t<U>, Result> &&
             !std::is_same_v<std::decay_t<U>, T> && !std::is_same_v<std::decay_t<U>, Error>)
        Result(U&& value)
        : m_state(std::in_place_index<0>, std::forward<U>(value)) {}

    bool ok() const { return m_state.index() == 0; }
    explicit operator bool() const { return ok(); }

    T& value() & { return std::get<0>(m_state); }
    const T& value() const& { return std::get<0>(m_state); }
    T&& value() && { return std::get<0>(std::move(m_state)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    const Error& error() const& { return std::get<1>(m_state); }
    Error&& error() && { return std::get<1>(std::move(m_state)); }

    // Passes a value through and adds a clause to an error.
    Result with_context(std::string_view context) && {
        if (ok()) {
            return std::move(*this);
        }
        return std::get<1>(std::move(m_state)).with_context(context);
    }

private:
    std::variant<T, Error> m_state;
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error)
        : m_error(std::move(error)) {}

    bool ok() const { return !m_error.has_value(); }
    explicit operator bool() const { return ok(); }
    void value() const {}

    const Error& error() const& { return *m_error; }
    Error&& error() && { return *std::move(m_error); }

    Result with_context(std::string_view context) && {
        if (ok()) {
            return {};
        }
        return std::move(*m_error).with_context(context);
    }

private:
    std::optional<Error> m_error;
};

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

} // namespace hs

// The value of a Result, or an early return with its error. A GNU statement expression, which
// every compiler we build with has (GCC, Clang, MinGW).
#define TRY(...)                                                                                   \
    ({                                                                                             \
        auto hs_try_result = (__VA_ARGS__);                                                        \
        if (!hs_try_result.ok()) {                                                                 \
            return std::move(hs_try_result).error();                                               \
        }                                                                                          \
        std::move(hs_try_result).value();                                                          \
    })

// A broken invariant of ours ends the program with file and line; no file or click can reach it.
#define HS_ASSERT(expression)                                                                      \
    ((expression) ? static_cast<void>(0) : ::hs::assertion_failed(#expression, __FILE__, __LINE__))
