// The Chebyshev convolution on a GPU: the arguments of chebyshev_conv.h with addresses on the device. The order of the
// vertices is not used. A vertex out of range gives NaN: checking it would mean waiting for the GPU.
#pragma once

#include "chebyshev_conv/chebyshev_conv.h"
#include "common/cuda.h"

namespace biomechau {
namespace cuda {

template <class T> void chebyshev_conv_fwd(const ChebyshevConv<T>&, T* workspace, Device);
template <class T> void chebyshev_conv_bwd(const ChebyshevConv<T>&, T* workspace, Device);

// Whether the recurrence of the forward pass runs on the inputs, up its terms, rather than on the outputs.
template <class T> bool goes_up(const ChebyshevConv<T>& args) { return args.num_inputs <= args.num_outputs; }

// How the sums that make the gradients of weight and bias are cut. It, and so their order, depends on the sizes alone.
struct WeightSums {
  std::int64_t pieces, length;  // of the rows of features

  template <class T> explicit WeightSums(const ChebyshevConv<T>& args) {
    constexpr std::int64_t most = 1024, shortest = 64;
    const std::int64_t rows = args.num_frames * args.num_kept;
    length = blocks_for(rows, most);
    if (length < shortest) length = shortest;
    pieces = blocks_for(rows, length);
  }
};

// Elements of the workspaces: the terms but the first, or the sums of all; in the backward pass followed by the pieces.
template <class T> std::int64_t chebyshev_conv_fwd_workspace(const ChebyshevConv<T>& args) {
  const std::int64_t rows = args.num_frames * args.laplacian.num_vertices;
  return rows * (goes_up(args) ? (args.num_terms - 1) * args.num_inputs : args.num_terms * args.num_outputs);
}
template <class T> std::int64_t chebyshev_conv_bwd_workspace(const ChebyshevConv<T>& args) {
  const std::int64_t weights = args.num_terms * args.num_inputs, rows = args.num_frames * args.laplacian.num_vertices;
  return rows * weights + WeightSums(args).pieces * (weights + 1) * args.num_outputs;
}

}  // namespace cuda
}  // namespace biomechau
