#pragma once
// Runs the kernels of a decode step as one graph. A step asks for the same kernels as the one
// before it, with few parameters changed (positions, lengths), so kernels are kept until something
// needs their results, and then go to the device with one call. A sequence of kernels becomes a
// graph when it comes for the second time; its parameters follow, its shape does not. Included by
// engine/backend/cuda alone.

#include "engine/backend/cuda/driver.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hs {

class StepRecorder {
public:
    struct Launch {
        CUfunction function = nullptr;
        unsigned grid[3] = {1, 1, 1};
        unsigned threads = 0;
        unsigned shared_bytes = 0;
    };

    StepRecorder(const Driver& driver, CUstream stream)
        : m_driver(driver)
        , m_stream(stream) {}
    ~StepRecorder() { clear(); }
    StepRecorder(const StepRecorder&) = delete;
    StepRecorder& operator=(const StepRecorder&) = delete;

    // From now on kernels are kept, until flush().
    void begin() { m_recording = true; }
    bool recording() const { return m_recording; }
    void add(const Launch& launch, const void* params, std::size_t bytes);
    // Kernels kept; the last of them is taken back where another does its work too.
    std::size_t size() const { return m_now.nodes.size(); }
    void drop_last();
    // Begins all that was kept.
    CUresult flush();
    // Lets all graphs go.
    void clear();

private:
    struct Node {
        Launch launch;
        std::size_t params = 0; // offset in the bytes beside the nodes
        std::size_t bytes = 0;
    };
    struct Sequence {
        std::vector<Node> nodes;
        std::vector<std::byte> params;

        bool same_kernels(const Sequence& other) const;
    };
    struct Graph {
        Sequence held; // what it runs now
        CUgraph graph = nullptr;
        CUgraphExec exec = nullptr;
        std::vector<CUgraphNode> nodes;
        std::uint64_t used = 0; // when last
    };

    CUresult run_one_by_one();
    CUresult build(Graph& graph);
    CUresult update(Graph& graph);
    void destroy(Graph& graph);
    static CUDA_KERNEL_NODE_PARAMS node_params(const Node& node, void** arguments);

    const Driver& m_driver;
    CUstream m_stream;
    bool m_recording = false;
    Sequence m_now;
    Sequence m_before; // ran one by one
    std::vector<std::unique_ptr<Graph>> m_graphs;
    std::uint64_t m_time = 0;
};

} // namespace hs
