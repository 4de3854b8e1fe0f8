#include "chebyshev_conv/cuda.h"

#include <vector>

#include "common/binding.h"

namespace biomechau {
namespace {

// The index of S, which is constant.
struct GraphBuffers {
  int64_t num_vertices;
  Buffer crow, col, order;

  template <class T> SymmetricOperator<T> view(const Buffer& val, const Place& place) const {
    const int64_t entries = col.numel;
    SymmetricOperator<T> s{};
    s.num_vertices = num_vertices;
    s.num_entries = entries;
    s.crow = crow.as<int64_t>(num_vertices + 1, "crow");
    s.col = col.as<int64_t>(entries, "col");
    s.val = val.as<T>(entries, "val");
    s.order = order.as_optional<int64_t>(num_vertices, "order");
    if (place.on_gpu()) return s;  // indices on a device are checked when a SparseMatrix is made
    check_rising(s.crow, num_vertices, entries, "crow");
    check_range(s.col, entries, num_vertices, "col");
    if (s.order) check_permutation(s.order);
    return s;
  }

 private:
  void check_permutation(const int64_t* index) const {
    check_range(index, num_vertices, num_vertices, "order");
    std::vector<char> seen(static_cast<std::size_t>(num_vertices));
    for (int64_t i = 0; i < num_vertices; ++i) seen[static_cast<std::size_t>(index[i])] = 1;
    for (const char once : seen)
      if (!once) throw std::invalid_argument("order must hold every vertex once");
  }
};

// `num_kept`: vertices with an output.
void check_convolution_sizes(int64_t num_vertices, int64_t num_frames, int64_t num_terms, int64_t num_inputs,
                             int64_t num_outputs, int64_t num_kept) {
  const auto sizes = {Size{"num_vertices", num_vertices}, Size{"num_frames", num_frames}, Size{"num_terms", num_terms},
                      Size{"num_inputs", num_inputs}, Size{"num_outputs", num_outputs}};
  check_sizes(sizes);
  for (const Size& size : sizes)
    if (size.value < 1) throw std::invalid_argument(std::string(size.name) + " must be at least 1, got 0");
  if (num_kept < 0 || num_kept > num_vertices)
    throw std::invalid_argument("vertices must have " + std::to_string(num_vertices) + " elements at most, got " +
                                std::to_string(num_kept));
}

// What forward and backward share, checked.
template <class T>
ChebyshevConv<T> chebyshev_conv_args(const GraphBuffers& graph, Buffer val, int64_t num_frames, int64_t num_terms,
                                     int64_t num_inputs, int64_t num_outputs, Buffer x, Buffer weight, Buffer vertices,
                                     const Place& place) {
  const int64_t num_kept = vertices.given() ? vertices.numel : graph.num_vertices;
  check_convolution_sizes(graph.num_vertices, num_frames, num_terms, num_inputs, num_outputs, num_kept);
  check_sizes({{"num_frames", num_frames}, {"number of entries", graph.col.numel}});
  ChebyshevConv<T> args{};
  args.laplacian = graph.view<T>(val, place);
  args.num_frames = num_frames;
  args.num_terms = num_terms;
  args.num_inputs = num_inputs;
  args.num_outputs = num_outputs;
  args.num_kept = num_kept;
  args.x = x.as<T>(product({num_frames, graph.num_vertices, num_inputs}), "x");
  args.weight = weight.as<T>(product({num_terms, num_inputs, num_outputs}), "weight");
  args.vertices = vertices.as_optional<int64_t>(args.num_kept, "vertices");
  return args;
}

// After the sizes: the number of vertices is known only from this buffer until it is compared with that of the results.
template <class T> void check_vertices(const ChebyshevConv<T>& args, const Place& place) {
  if (!args.vertices || place.on_gpu()) return;
  check_range(args.vertices, args.num_kept, args.laplacian.num_vertices, "vertices");
  for (int64_t i = 1; i < args.num_kept; ++i)
    if (args.vertices[i - 1] >= args.vertices[i]) throw std::invalid_argument("vertices must rise");
}

void chebyshev_conv_fwd(const GraphBuffers& graph, Buffer val, int64_t num_frames, int64_t num_terms,
                        int64_t num_inputs, int64_t num_outputs, Buffer x, Buffer weight, Buffer bias, Buffer vertices,
                        Buffer out, Buffer workspace, Place place) {
  place.check();
  dispatch(x, "x", [&](auto zero) {
    using T = decltype(zero);
    ChebyshevConv<T> args =
        chebyshev_conv_args<T>(graph, val, num_frames, num_terms, num_inputs, num_outputs, x, weight, vertices, place);
    args.bias = bias.as_optional<T>(num_outputs, "bias");
    args.out = out.as<T>(product({num_frames, args.num_kept, num_outputs}), "out");
    check_vertices(args, place);
    T* scratch = place.workspace<T>(workspace, cuda::chebyshev_conv_fwd_workspace(args));
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::chebyshev_conv_fwd(args, scratch, place.gpu());
    select_chebyshev_conv_kernels<T>().chebyshev_conv_fwd(args, place.threads());
  });
}

void chebyshev_conv_bwd(const GraphBuffers& graph, Buffer val, int64_t num_frames, int64_t num_terms,
                        int64_t num_inputs, int64_t num_outputs, Buffer x, Buffer weight, Buffer vertices,
                        Buffer grad_out, Buffer grad_x, Buffer grad_weight, Buffer grad_bias,
                        Buffer workspace, Place place) {
  place.check();
  dispatch(x, "x", [&](auto zero) {
    using T = decltype(zero);
    ChebyshevConv<T> args =
        chebyshev_conv_args<T>(graph, val, num_frames, num_terms, num_inputs, num_outputs, x, weight, vertices, place);
    args.grad_out = grad_out.as<T>(product({num_frames, args.num_kept, num_outputs}), "grad_out");
    check_vertices(args, place);
    args.grad_x = grad_x.as_optional<T>(product({num_frames, graph.num_vertices, num_inputs}), "grad_x");
    args.grad_weight = grad_weight.as_optional<T>(product({num_terms, num_inputs, num_outputs}), "grad_weight");
    args.grad_bias = grad_bias.as_optional<T>(num_outputs, "grad_bias");
    T* scratch = place.workspace<T>(workspace, cuda::chebyshev_conv_bwd_workspace(args));
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::chebyshev_conv_bwd(args, scratch, place.gpu());
    select_chebyshev_conv_kernels<T>().chebyshev_conv_bwd(args, place.threads());
  });
}

// The sizes alone; num_kept is None where every vertex has an output.
ChebyshevConv<double> chebyshev_conv_sizes(int64_t num_vertices, int64_t num_frames, int64_t num_terms,
                                           int64_t num_inputs, int64_t num_outputs, std::optional<int64_t> num_kept) {
  check_convolution_sizes(num_vertices, num_frames, num_terms, num_inputs, num_outputs,
                          num_kept.value_or(num_vertices));
  ChebyshevConv<double> args{};
  args.laplacian.num_vertices = num_vertices;
  args.num_frames = num_frames;
  args.num_terms = num_terms;
  args.num_inputs = num_inputs;
  args.num_outputs = num_outputs;
  args.num_kept = num_kept.value_or(num_vertices);
  return args;
}
int64_t chebyshev_conv_fwd_workspace(int64_t num_vertices, int64_t num_frames, int64_t num_terms, int64_t num_inputs,
                                     int64_t num_outputs, std::optional<int64_t> num_kept) {
  return cuda::chebyshev_conv_fwd_workspace(
      chebyshev_conv_sizes(num_vertices, num_frames, num_terms, num_inputs, num_outputs, num_kept));
}
int64_t chebyshev_conv_bwd_workspace(int64_t num_vertices, int64_t num_frames, int64_t num_terms, int64_t num_inputs,
                                     int64_t num_outputs, std::optional<int64_t> num_kept) {
  return cuda::chebyshev_conv_bwd_workspace(
      chebyshev_conv_sizes(num_vertices, num_frames, num_terms, num_inputs, num_outputs, num_kept));
}

}  // namespace

void bind_chebyshev_conv(py::module_& m) {
  py::class_<GraphBuffers>(m, "Graph", py::module_local())
      .def(py::init([](int64_t num_vertices, Buffer crow, Buffer col, Buffer order) {
             return GraphBuffers{num_vertices, crow, col, order};
           }),
           "num_vertices"_a, "crow"_a, "col"_a, "order"_a);

  m.def("chebyshev_conv_fwd", &chebyshev_conv_fwd, "graph"_a, "val"_a, "num_frames"_a, "num_terms"_a,
        "num_inputs"_a, "num_outputs"_a, "x"_a, "weight"_a, "bias"_a, "vertices"_a, "out"_a, "workspace"_a, "place"_a);
  m.def("chebyshev_conv_bwd", &chebyshev_conv_bwd, "graph"_a, "val"_a, "num_frames"_a, "num_terms"_a,
        "num_inputs"_a, "num_outputs"_a, "x"_a, "weight"_a, "vertices"_a, "grad_out"_a, "grad_x"_a, "grad_weight"_a,
        "grad_bias"_a, "workspace"_a, "place"_a);
  m.def("chebyshev_conv_fwd_workspace", &chebyshev_conv_fwd_workspace, "num_vertices"_a, "num_frames"_a, "num_terms"_a,
        "num_inputs"_a, "num_outputs"_a, "num_kept"_a);
  m.def("chebyshev_conv_bwd_workspace", &chebyshev_conv_bwd_workspace, "num_vertices"_a, "num_frames"_a, "num_terms"_a,
        "num_inputs"_a, "num_outputs"_a, "num_kept"_a);
}

}  // namespace biomechau
