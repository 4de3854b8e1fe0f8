#include "common/packed_binding.h"
#include "generalized_mass/cuda.h"

namespace biomechau {
namespace {

// Every pair of shapes is multiplied.
void check_mass_sizes(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes) {
  check_sizes({{"num_sequences", num_sequences},
               {"num_vertices", num_vertices},
               {"num_shapes", num_shapes},
               {"num_shapes", num_shapes}});
}

// What forward and backward share, checked.
template <class T>
GeneralizedMass<T> generalized_mass_args(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                                         Buffer blendshapes, Packed packed, Buffer mass, const Place& place) {
  check_mass_sizes(num_sequences, num_vertices, num_shapes);
  GeneralizedMass<T> args{};
  args.num_sequences = num_sequences;
  args.num_vertices = num_vertices;
  args.num_shapes = num_shapes;
  args.scale = static_cast<T>(scale);
  args.is_packed = packed != nullptr;
  if (packed) {
    constexpr int64_t width = 64 / sizeof(T);
    packed->check(num_shapes, num_vertices, place);
    args.packed = packed->view<T>([](int64_t vertices, int64_t shapes) {
      return (vertices + width - 1) / width * shapes * 3 * width;
    });
  } else {
    args.blendshapes = blendshapes.as<T>(product({num_shapes, num_vertices, 3}), "blendshapes");
  }
  args.mass = mass.as<T>(product({num_sequences, num_vertices}), "mass");
  return args;
}

// Returns the flat index of the first bad mass, or -1; on a GPU it is reported in `fault`, if given.
int64_t generalized_mass_fwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                             Buffer blendshapes, Packed packed, Buffer mass, Buffer out, Buffer workspace,
                             Buffer fault, Place place) {
  place.check();
  return dispatch(mass, "mass", [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, packed, mass, place);
    args.out = out.as<T>(product({num_sequences, num_shapes, num_shapes}), "out");
    T* scratch = place.workspace<T>(
        workspace, cuda::generalized_mass_fwd_workspace(num_sequences, num_vertices, num_shapes));
    int64_t* flag = fault.as_optional<int64_t>(1, "fault");
    if (num_sequences == 0 && !flag) return int64_t(-1);
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) {
        cuda::generalized_mass_fwd(args, scratch, flag, place.gpu());
        return int64_t(-1);
      }
    return select_generalized_mass_kernels<T>().generalized_mass_fwd(args, place.threads());
  });
}

void generalized_mass_bwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                          Buffer blendshapes, Packed packed, Buffer mass, Buffer grad_out,
                          Buffer grad_blendshapes, Buffer grad_mass, Buffer workspace, Place place) {
  place.check();
  dispatch(mass, "mass", [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, packed, mass, place);
    args.grad_out = grad_out.as<T>(product({num_sequences, num_shapes, num_shapes}), "grad_out");
    args.grad_blendshapes = grad_blendshapes.as_optional<T>(product({num_shapes, num_vertices, 3}), "grad_blendshapes");
    args.grad_mass = grad_mass.as_optional<T>(product({num_sequences, num_vertices}), "grad_mass");
    if (packed && args.grad_blendshapes) throw std::invalid_argument("packed blendshapes have no gradient");
    T* scratch = place.workspace<T>(workspace, cuda::generalized_mass_bwd_workspace(num_sequences, num_shapes));
    if (num_vertices == 0 || (num_sequences == 0 && num_shapes == 0)) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::generalized_mass_bwd(args, scratch, place.gpu());
    select_generalized_mass_kernels<T>().generalized_mass_bwd(args, place.threads());
  });
}

int64_t generalized_mass_fwd_workspace(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes) {
  check_mass_sizes(num_sequences, num_vertices, num_shapes);
  return cuda::generalized_mass_fwd_workspace(num_sequences, num_vertices, num_shapes);
}
int64_t generalized_mass_bwd_workspace(int64_t num_sequences, int64_t num_shapes) {
  check_mass_sizes(num_sequences, 0, num_shapes);
  return cuda::generalized_mass_bwd_workspace(num_sequences, num_shapes);
}

}  // namespace

void bind_generalized_mass(py::module_& m) {
  py::class_<PackedBuffers>(m, "PackedBlendshapes", py::module_local())
      .def(py::init([](int64_t num_shapes, int64_t num_vertices, Buffer vertex_crow, Buffer shape_crow, Buffer vertex,
                       Buffer shape, Buffer values) {
             return PackedBuffers{num_shapes, num_vertices, vertex_crow, shape_crow, vertex, shape, values};
           }),
           "num_shapes"_a, "num_vertices"_a, "vertex_crow"_a, "shape_crow"_a, "vertex"_a, "shape"_a, "values"_a);

  m.def("generalized_mass_fwd", &generalized_mass_fwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "packed"_a, "mass"_a, "out"_a, "workspace"_a, "fault"_a, "place"_a);
  m.def("generalized_mass_bwd", &generalized_mass_bwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "packed"_a, "mass"_a, "grad_out"_a, "grad_blendshapes"_a, "grad_mass"_a, "workspace"_a,
        "place"_a);
  m.def("generalized_mass_fwd_workspace", &generalized_mass_fwd_workspace, "num_sequences"_a, "num_vertices"_a,
        "num_shapes"_a);
  m.def("generalized_mass_bwd_workspace", &generalized_mass_bwd_workspace, "num_sequences"_a, "num_shapes"_a);
}

}  // namespace biomechau
