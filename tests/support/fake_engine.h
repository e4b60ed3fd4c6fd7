#pragma once
// An engine that says what a test told it to: scripted words with delays, loads that take a while,
// failures on order. Behaves like the real one towards EngineHost, and needs no file.

#include "app/bridge/chat_engine.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace hs::test {

class FakeEngine {
public:
    struct Script {
        std::vector<std::string> words = {"A cello ", "is a ",   "large ",
                                          "bowed ",   "string ", "instrument."};
        std::vector<std::string> thinking = {};
        std::chrono::milliseconds per_word{2};
        std::chrono::milliseconds per_load_step{2};
        int load_steps = 10;
        int fail_after_words = -1;  // then the reply ends as Failed
        bool out_of_memory = false; // then generate throws bad_alloc
        bool fail_load = false;
        bool fail_experiment = false;
        std::string reuse_note = {};
    };

    void set(Script script);
    Script script() const;
    EngineFunctions functions();

    // What was asked, for the test to look at.
    std::vector<GenerateRequest> requests() const;
    int loads() const { return m_loads; }

    // Eight layers, one full attention to three gated delta.
    static ModelSpec spec();

private:
    friend class FakeChatEngine;
    mutable std::mutex m_mutex;
    Script m_script;
    std::vector<GenerateRequest> m_requests;
    std::atomic<int> m_loads = 0;
};

} // namespace hs::test
