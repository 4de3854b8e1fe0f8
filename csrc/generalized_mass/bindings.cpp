#include "common/binding.h"
#include "generalized_mass/cuda.h"

namespace biomechau {
namespace {

template <class T>
GeneralizedMass<T> generalized_mass_args(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                                         Buffer blendshapes, Buffer mass) {
  GeneralizedMass<T> args{};
  args.num_sequences = num_sequences;
  args.num_vertices = num_vertices;
  args.num_shapes = num_shapes;
  args.scale = static_cast<T>(scale);
  args.blendshapes = blendshapes.as<T>(product({num_shapes, num_vertices, 3}), "blendshapes");
  args.mass = mass.as<T>(product({num_sequences, num_vertices}), "mass");
  return args;
}

// Returns the flat index of the first bad mass, or -1; on a GPU that goes to `fault`, where the buffer is given.
int64_t generalized_mass_fwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                             Buffer blendshapes, Buffer mass, Buffer out, Buffer workspace, Buffer fault, Place place) {
  place.check();
  return dispatch(blendshapes.dtype, [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, mass);
    args.out = out.as<T>(product({num_sequences, num_shapes, num_shapes}), "out");
    T* scratch = place.workspace<T>(
        workspace, cuda::generalized_mass_fwd_workspace(num_sequences, num_vertices, num_shapes));
    int64_t* flag = fault.as_optional<int64_t>(1, "fault");
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) {
        cuda::generalized_mass_fwd(args, scratch, flag, place.gpu());
        return int64_t(-1);
      }
    return select_generalized_mass_kernels<T>().generalized_mass_fwd(args, place.num_threads);
  });
}

void generalized_mass_bwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                          Buffer blendshapes, Buffer mass, Buffer grad_out, Buffer grad_blendshapes, Buffer grad_mass,
                          Buffer workspace, Place place) {
  place.check();
  dispatch(blendshapes.dtype, [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, mass);
    args.grad_out = grad_out.as<T>(product({num_sequences, num_shapes, num_shapes}), "grad_out");
    args.grad_blendshapes = grad_blendshapes.as_optional<T>(product({num_shapes, num_vertices, 3}), "grad_blendshapes");
    args.grad_mass = grad_mass.as_optional<T>(product({num_sequences, num_vertices}), "grad_mass");
    T* scratch = place.workspace<T>(workspace, cuda::generalized_mass_bwd_workspace(num_sequences, num_shapes));
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::generalized_mass_bwd(args, scratch, place.gpu());
    select_generalized_mass_kernels<T>().generalized_mass_bwd(args, place.num_threads);
  });
}

}  // namespace

void bind_generalized_mass(py::module_& m) {
  m.def("generalized_mass_fwd", &generalized_mass_fwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "mass"_a, "out"_a, "workspace"_a, "fault"_a, "place"_a);
  m.def("generalized_mass_bwd", &generalized_mass_bwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "mass"_a, "grad_out"_a, "grad_blendshapes"_a, "grad_mass"_a, "workspace"_a, "place"_a);
  m.def("generalized_mass_fwd_workspace", &cuda::generalized_mass_fwd_workspace, "num_sequences"_a, "num_vertices"_a,
        "num_shapes"_a);
  m.def("generalized_mass_bwd_workspace", &cuda::generalized_mass_bwd_workspace, "num_sequences"_a, "num_shapes"_a);
}

}  // namespace biomechau
