#include "common/binding.h"
#include "euler_rollout/settings.h"
#include "modal_rollout/cuda.h"

namespace biomechau {
namespace {

// The sizes of a rollout in modes.
struct ModalSizes {
  int64_t num_sequences, num_frames, num_coordinates, num_inputs;
  int scheme;
  double dt;
  bool has_modes;

  template <class T> ModalRollout<T> view(Buffer constants) const {
    check_sizes({{"num_sequences", num_sequences},
                 {"num_frames", num_frames},
                 {"num_coordinates", num_coordinates},
                 {"num_coordinates", num_coordinates},
                 {"num_inputs", num_inputs}});
    ModalRollout<T> args{};
    args.num_sequences = num_sequences;
    args.num_frames = num_frames;
    args.num_coordinates = num_coordinates;
    args.num_inputs = num_inputs;
    args.scheme = checked_scheme(scheme);
    args.dt = checked_dt<T>(dt);
    args.has_modes = has_modes;
    args.constants = constants.as<T>(args.num_constants(), "constants");
    return args;
  }
  int64_t states() const { return product({num_sequences, num_frames, num_coordinates}); }
  int64_t inputs() const { return product({num_sequences, num_frames, num_inputs}); }
  int64_t starts() const { return product({num_sequences, num_coordinates}); }
};

void modal_rollout_fwd(const ModalSizes& sizes, Buffer constants, Buffer force, Buffer muscle_force, Buffer c0,
                       Buffer v0, Buffer c, Buffer v, Place place) {
  place.check();
  dispatch(c, "c", [&](auto zero) {
    using T = decltype(zero);
    ModalRollout<T> args = sizes.view<T>(constants);
    args.muscle_force = muscle_force.as_optional<T>(sizes.inputs(), "muscle_force");
    args.force = force.as_optional<T>(sizes.states(), "force");
    args.c0 = c0.as<T>(sizes.starts(), "c0");
    args.v0 = v0.as<T>(sizes.starts(), "v0");
    args.c = c.as<T>(sizes.states(), "c");
    args.v = v.as<T>(sizes.states(), "v");
    if (sizes.num_coordinates == 0) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::modal_rollout_fwd(args, place.gpu());
    select_modal_rollout_kernels<T>().modal_rollout_fwd(args, place.threads());
  });
}

void modal_rollout_bwd(const ModalSizes& sizes, Buffer constants, Buffer grad_c, Buffer grad_v, Buffer grad_force,
                       Buffer grad_muscle_force, Buffer grad_c0, Buffer grad_v0, Place place) {
  place.check();
  dispatch(constants, "constants", [&](auto zero) {
    using T = decltype(zero);
    ModalRollout<T> args = sizes.view<T>(constants);
    if (sizes.states() > 0 && !grad_c.given() && !grad_v.given())
      throw std::invalid_argument("grad_c or grad_v must be given");
    args.grad_c = grad_c.as_optional<T>(sizes.states(), "grad_c");
    args.grad_v = grad_v.as_optional<T>(sizes.states(), "grad_v");
    args.grad_muscle_force = grad_muscle_force.as_optional<T>(sizes.inputs(), "grad_muscle_force");
    args.grad_force = grad_force.as_optional<T>(sizes.states(), "grad_force");
    args.grad_c0 = grad_c0.as_optional<T>(sizes.starts(), "grad_c0");
    args.grad_v0 = grad_v0.as_optional<T>(sizes.starts(), "grad_v0");
    if (sizes.num_coordinates == 0 && !args.grad_muscle_force) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::modal_rollout_bwd(args, place.gpu());
    select_modal_rollout_kernels<T>().modal_rollout_bwd(args, place.threads());
  });
}

}  // namespace

void bind_modal_rollout(py::module_& m) {
  py::class_<ModalSizes>(m, "ModalSizes", py::module_local())
      .def(py::init([](int64_t num_sequences, int64_t num_frames, int64_t num_coordinates, int64_t num_inputs,
                       int scheme, double dt, bool has_modes) {
             return ModalSizes{num_sequences, num_frames, num_coordinates, num_inputs, scheme, dt, has_modes};
           }),
           "num_sequences"_a, "num_frames"_a, "num_coordinates"_a, "num_inputs"_a, "scheme"_a, "dt"_a, "has_modes"_a);

  m.attr("modal_row_multiple") = ModalRollout<float>::row_multiple;
  m.def("modal_rollout_fwd", &modal_rollout_fwd, "sizes"_a, "constants"_a, "force"_a, "muscle_force"_a, "c0"_a,
        "v0"_a, "c"_a, "v"_a, "place"_a);
  m.def("modal_rollout_bwd", &modal_rollout_bwd, "sizes"_a, "constants"_a, "grad_c"_a, "grad_v"_a, "grad_force"_a,
        "grad_muscle_force"_a, "grad_c0"_a, "grad_v0"_a, "place"_a);
}

}  // namespace biomechau
