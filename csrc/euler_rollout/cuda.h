// The rollout on a GPU: the arguments of euler_rollout.h with addresses on the device.
#pragma once

#include "common/cuda.h"
#include "euler_rollout/euler_rollout.h"

namespace biomechau {
namespace cuda {

// A sequence with a faulty matrix is NaN from the frame on that uses it. The first such matrix is reported in `fault` (1),
// if given, as kind * 2^fault_index_bits + index, or -1 if there is none; nothing waits for it.
template <class T> void euler_rollout_fwd(const EulerRollout<T>&, T* workspace, std::int64_t* fault, Device);
template <class T> void euler_rollout_bwd(const EulerRollout<T>&, T* workspace, Device);

// Whether no acceleration depends on the state, so that one product gives all of them.
template <class T> bool is_free(const EulerRollout<T>& args) {
  return args.damping_span == Span::none && args.stiffness_span == Span::none &&
         args.inverse_span() != Span::per_frame;
}

// The sums over frames that make the gradient of a matrix; with a frame axis there is no sum.
template <class T> ProductSizes gradient_sums(const EulerRollout<T>& args, Span span) {
  const std::int64_t n = args.num_coordinates;
  switch (span) {
    case Span::shared: return ProductSizes::cut(1, n, n, args.num_sequences * args.num_frames);
    case Span::per_sequence: return ProductSizes::cut(args.num_sequences, n, n, args.num_frames);
    default: return {};
  }
}

// Elements of the workspaces: the symmetric parts of D and K, followed in the backward pass by the pieces of one sum or,
// before, by the gradients of accelerations that do not depend on the state.
template <class T> std::int64_t euler_rollout_fwd_workspace(const EulerRollout<T>& args) {
  return (args.count(args.damping_span) + args.count(args.stiffness_span)) * args.num_coordinates *
         args.num_coordinates;
}
template <class T> std::int64_t euler_rollout_bwd_workspace(const EulerRollout<T>& args) {
  std::int64_t largest = is_free(args) ? args.num_sequences * args.num_frames * args.num_coordinates : 0;
  const Span spans[] = {args.mass_span, args.damping_span, args.stiffness_span};
  for (const Span span : spans) {
    const std::int64_t partial = gradient_sums(args, span).partial();
    if (partial > largest) largest = partial;
  }
  return euler_rollout_fwd_workspace(args) + largest;
}

}  // namespace cuda
}  // namespace biomechau
