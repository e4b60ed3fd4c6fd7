#include "engine/backend/cuda/step_recorder.h"

#include <algorithm>
#include <cstring>

namespace hs {

namespace {

// Fewer kernels are begun faster one by one.
constexpr std::size_t kLeastNodes = 16;
// Lengths of a context at which attention takes another shape, one token or two.
constexpr std::size_t kMostGraphs = 12;
constexpr std::size_t kAlign = 16;

} // namespace

void StepRecorder::add(const Launch& launch, const void* params, std::size_t bytes) {
    Node node;
    node.launch = launch;
    node.params = m_now.params.size();
    node.bytes = bytes;
    m_now.nodes.push_back(node);
    m_now.params.resize((node.params + bytes + kAlign - 1) / kAlign * kAlign);
    std::memcpy(m_now.params.data() + node.params, params, bytes);
}

void StepRecorder::drop_last() {
    m_now.params.resize(m_now.nodes.back().params);
    m_now.nodes.pop_back();
}

bool StepRecorder::Sequence::same_kernels(const Sequence& other) const {
    return std::equal(nodes.begin(), nodes.end(), other.nodes.begin(), other.nodes.end(),
                      [](const Node& a, const Node& b) {
                          return a.launch.function == b.launch.function && a.bytes == b.bytes;
                      });
}

CUresult StepRecorder::flush() {
    m_recording = false;
    if (m_now.nodes.empty()) {
        return CUDA_SUCCESS;
    }
    CUresult result = CUDA_SUCCESS;
    if (m_now.nodes.size() < kLeastNodes) {
        result = run_one_by_one();
        m_now.nodes.clear();
        m_now.params.clear();
        return result;
    }
    ++m_time;
    const auto found = std::find_if(m_graphs.begin(), m_graphs.end(), [&](const auto& graph) {
        return graph->held.same_kernels(m_now);
    });
    Graph* graph = found != m_graphs.end() ? found->get() : nullptr;
    if (graph != nullptr) {
        result = update(*graph);
    } else if (m_now.same_kernels(m_before)) {
        if (m_graphs.size() == kMostGraphs) {
            const auto oldest =
                std::min_element(m_graphs.begin(), m_graphs.end(),
                                 [](const auto& a, const auto& b) { return a->used < b->used; });
            destroy(**oldest);
            m_graphs.erase(oldest);
        }
        m_graphs.push_back(std::make_unique<Graph>());
        graph = m_graphs.back().get();
        result = build(*graph);
    }
    if (graph != nullptr && result == CUDA_SUCCESS) {
        graph->used = m_time;
        result = m_driver.cuGraphLaunch(graph->exec, m_stream);
    } else if (graph == nullptr) {
        result = run_one_by_one();
        std::swap(m_before, m_now);
    }
    m_now.nodes.clear();
    m_now.params.clear();
    return result;
}

CUresult StepRecorder::run_one_by_one() {
    for (const Node& node : m_now.nodes) {
        const Launch& l = node.launch;
        void* arguments[] = {m_now.params.data() + node.params};
        const CUresult result =
            m_driver.cuLaunchKernel(l.function, l.grid[0], l.grid[1], l.grid[2], l.threads, 1, 1,
                                    l.shared_bytes, m_stream, arguments, nullptr);
        if (result != CUDA_SUCCESS) {
            return result;
        }
    }
    return CUDA_SUCCESS;
}

CUDA_KERNEL_NODE_PARAMS StepRecorder::node_params(const Node& node, void** arguments) {
    CUDA_KERNEL_NODE_PARAMS params = {};
    params.func = node.launch.function;
    params.gridDimX = node.launch.grid[0];
    params.gridDimY = node.launch.grid[1];
    params.gridDimZ = node.launch.grid[2];
    params.blockDimX = node.launch.threads;
    params.blockDimY = 1;
    params.blockDimZ = 1;
    params.sharedMemBytes = node.launch.shared_bytes;
    params.kernelParams = arguments;
    return params;
}

// Each kernel after the one before it.
CUresult StepRecorder::build(Graph& graph) {
    std::swap(graph.held, m_now);
    CUresult result = m_driver.cuGraphCreate(&graph.graph, 0);
    for (std::size_t i = 0; i < graph.held.nodes.size() && result == CUDA_SUCCESS; ++i) {
        const Node& node = graph.held.nodes[i];
        void* arguments[] = {graph.held.params.data() + node.params};
        const CUDA_KERNEL_NODE_PARAMS params = node_params(node, arguments);
        CUgraphNode made = nullptr;
        result = m_driver.cuGraphAddKernelNode(&made, graph.graph, graph.nodes.data() + i - (i > 0),
                                               i > 0 ? 1 : 0, &params);
        graph.nodes.push_back(made);
    }
    if (result == CUDA_SUCCESS) {
        result = m_driver.cuGraphInstantiate(&graph.exec, graph.graph, 0);
    }
    return result;
}

CUresult StepRecorder::update(Graph& graph) {
    for (std::size_t i = 0; i < m_now.nodes.size(); ++i) {
        const Node& now = m_now.nodes[i];
        const Node& held = graph.held.nodes[i];
        std::byte* const to = graph.held.params.data() + held.params;
        const std::byte* const from = m_now.params.data() + now.params;
        const Launch& a = now.launch;
        const Launch& b = held.launch;
        if (std::equal(a.grid, a.grid + 3, b.grid) && a.threads == b.threads &&
            a.shared_bytes == b.shared_bytes && std::memcmp(to, from, now.bytes) == 0) {
            continue;
        }
        std::memcpy(to, from, now.bytes);
        graph.held.nodes[i].launch = now.launch;
        void* arguments[] = {to};
        const CUDA_KERNEL_NODE_PARAMS params = node_params(graph.held.nodes[i], arguments);
        const CUresult result =
            m_driver.cuGraphExecKernelNodeSetParams(graph.exec, graph.nodes[i], &params);
        if (result != CUDA_SUCCESS) {
            return result;
        }
    }
    return CUDA_SUCCESS;
}

void StepRecorder::destroy(Graph& graph) {
    if (graph.exec != nullptr) {
        m_driver.cuGraphExecDestroy(graph.exec);
    }
    if (graph.graph != nullptr) {
        m_driver.cuGraphDestroy(graph.graph);
    }
}

void StepRecorder::clear() {
    for (const auto& graph : m_graphs) {
        destroy(*graph);
    }
    m_graphs.clear();
}

} // namespace hs
