// The Chebyshev convolution on a GPU: the arguments of chebyshev_conv.h with addresses on the device. The order of the
// vertices is not used. A vertex out of range gives NaN: checking it would mean waiting for the GPU.
#pragma once

#include "chebyshev_conv/chebyshev_conv.h"
#include "common/cuda.h"

namespace biomechau {
namespace cuda {

template <class T> void chebyshev_conv_fwd(const ChebyshevConv<T>&, T* workspace, Device);
template <class T> void chebyshev_conv_bwd(const ChebyshevConv<T>&, T* workspace, Device);

// Terms of a recurrence that are held at a time.
inline std::int64_t held_terms(std::int64_t num_terms) { return num_terms > 2 ? 2 : num_terms - 1; }

template <class T> ProductSizes weight_sums(const ChebyshevConv<T>& args) {
  return ProductSizes::cut(1, args.num_inputs, args.num_outputs, args.num_frames * args.num_kept);
}
template <class T> ProductSizes bias_sums(const ChebyshevConv<T>& args) {
  return ProductSizes::cut(1, 1, args.num_outputs, args.num_frames * args.num_kept);
}

// Elements of the workspaces: two terms; in the backward pass preceded by grad_out at every vertex, if only some vertices
// have an output, and followed by the pieces of the sums over frames and vertices.
template <class T> std::int64_t chebyshev_conv_fwd_workspace(const ChebyshevConv<T>& args) {
  return held_terms(args.num_terms) * args.num_frames * args.laplacian.num_vertices * args.num_outputs;
}
template <class T> std::int64_t chebyshev_conv_bwd_workspace(const ChebyshevConv<T>& args, bool some_vertices) {
  const std::int64_t rows = args.num_frames * args.laplacian.num_vertices;
  const std::int64_t of_weight = args.num_terms * weight_sums(args).partial(), of_bias = bias_sums(args).partial();
  return (some_vertices ? rows * args.num_outputs : 0) + held_terms(args.num_terms) * rows * args.num_inputs +
         (of_weight > of_bias ? of_weight : of_bias);
}

}  // namespace cuda
}  // namespace biomechau
