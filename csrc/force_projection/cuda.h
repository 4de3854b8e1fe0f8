// The force ops on a GPU: the arguments of force_projection.h with addresses on the device.
#pragma once

#include "common/cuda.h"
#include "force_projection/force_projection.h"

namespace biomechau {
namespace cuda {

template <class T> void distribute_forces_fwd(const DistributeForces<T>&, Device);
template <class T> void distribute_forces_bwd(const DistributeForces<T>&, Device);
template <class T> void reduced_projection_fwd(const ReducedProjection<T>&, Device);
template <class T> void reduced_projection_bwd(const ReducedProjection<T>&, Device);
template <class T> void apply_projection_fwd(const ApplyProjection<T>&, Device);
// workspace: apply_projection_bwd_workspace elements
template <class T> void apply_projection_bwd(const ApplyProjection<T>&, T* workspace, Device);

inline std::int64_t apply_projection_bwd_workspace(std::int64_t num_frames, std::int64_t num_shapes,
                                                   std::int64_t num_inputs) {
  return ProductSizes::cut(1, num_shapes, num_inputs, num_frames).partial();
}

}  // namespace cuda
}  // namespace biomechau
