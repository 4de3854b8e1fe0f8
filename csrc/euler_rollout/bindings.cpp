#include <cmath>

#include "common/binding.h"
#include "euler_rollout/cuda.h"

namespace biomechau {
namespace {

// The sizes of a rollout; `spans` are those of mass, damping and stiffness.
struct RolloutSizes {
  int64_t num_sequences, num_frames, num_coordinates;
  int scheme;
  double dt;
  int mass_span, damping_span, stiffness_span;

  // The settings, checked, and no memory yet.
  template <class T> EulerRollout<T> settings() const {
    check_sizes({{"num_sequences", num_sequences},
                 {"num_frames", num_frames},
                 {"num_coordinates", num_coordinates},
                 {"num_coordinates", num_coordinates}});
    if (scheme < 0 || scheme > 2) throw std::invalid_argument("scheme must be 0, 1 or 2");
    if (mass_span < 1 || mass_span > 3 || damping_span < 0 || damping_span > 2 || stiffness_span < 0 || stiffness_span > 2)
      throw std::invalid_argument("a matrix has an axis that the rollout does not know");
    EulerRollout<T> args{};
    args.num_sequences = num_sequences;
    args.num_frames = num_frames;
    args.num_coordinates = num_coordinates;
    args.scheme = static_cast<Scheme>(scheme);
    args.dt = static_cast<T>(dt);
    if (!(args.dt > 0) || !std::isfinite(args.dt))
      throw std::invalid_argument("dt must be a positive number in the precision of the tensors");
    args.mass_span = static_cast<Span>(mass_span);
    args.damping_span = static_cast<Span>(damping_span);
    args.stiffness_span = static_cast<Span>(stiffness_span);
    if (args.scheme == Scheme::implicit && args.mass_span == Span::per_frame)
      throw std::invalid_argument("a mass per frame needs the explicit or semi-implicit scheme");
    return args;
  }
  template <class T> EulerRollout<T> view(Buffer mass, Buffer c0, Buffer v0, Buffer damping, Buffer stiffness) const {
    EulerRollout<T> args = settings<T>();
    args.mass = mass.as<T>(matrices(args, args.mass_span), "mass");
    args.c0 = c0.as<T>(product({num_sequences, num_coordinates}), "c0");
    args.v0 = v0.as<T>(product({num_sequences, num_coordinates}), "v0");
    args.damping = damping.as_optional<T>(matrices(args, args.damping_span), "damping");
    args.stiffness = stiffness.as_optional<T>(matrices(args, args.stiffness_span), "stiffness");
    return args;
  }
  template <class T> int64_t matrices(const EulerRollout<T>& args, Span span) const {
    return product({args.count(span), num_coordinates, num_coordinates});
  }
  int64_t states() const { return product({num_sequences, num_frames, num_coordinates}); }
};

// Returns (kind of fault, 0 for none; index of the matrix that has it); on a GPU that goes to `fault`, if given.
std::pair<int, int64_t> euler_rollout_fwd(const RolloutSizes& sizes, Buffer mass, Buffer force, Buffer c0, Buffer v0,
                                          Buffer damping, Buffer stiffness, Buffer c, Buffer v, Buffer acceleration,
                                          Buffer factor, Buffer workspace, Buffer fault, Place place) {
  place.check();
  return dispatch(force, "force", [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = sizes.view<T>(mass, c0, v0, damping, stiffness);
    args.force = force.as<T>(sizes.states(), "force");
    args.c = c.as<T>(sizes.states(), "c");
    args.v = v.as<T>(sizes.states(), "v");
    args.acceleration = acceleration.as<T>(sizes.states(), "acceleration");
    args.factor = factor.as<T>(sizes.matrices(args, args.factor_span()), "factor");
    T* scratch = place.workspace<T>(workspace, cuda::euler_rollout_fwd_workspace(args));
    int64_t* flag = fault.as_optional<int64_t>(1, "fault");
    py::gil_scoped_release release;
    RolloutFault found;
    if (args.num_coordinates == 0 && !flag) return std::pair<int, int64_t>(found.kind, found.index);
    if constexpr (cuda_built)
      if (place.on_gpu()) {
        cuda::euler_rollout_fwd(args, scratch, flag, place.gpu());
        return std::pair<int, int64_t>(found.kind, found.index);
      }
    found = select_euler_rollout_kernels<T>().euler_rollout_fwd(args, place.threads());
    return std::pair<int, int64_t>(found.kind, found.index);
  });
}

void euler_rollout_bwd(const RolloutSizes& sizes, Buffer mass, Buffer c0, Buffer v0, Buffer damping, Buffer stiffness,
                       Buffer c, Buffer v, Buffer acceleration, Buffer factor, Buffer grad_c, Buffer grad_v,
                       Buffer grad_mass, Buffer grad_force, Buffer grad_c0, Buffer grad_v0, Buffer grad_damping,
                       Buffer grad_stiffness, Buffer workspace, Place place) {
  place.check();
  dispatch(c, "c", [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = sizes.view<T>(mass, c0, v0, damping, stiffness);
    args.c = c.as<T>(sizes.states(), "c");
    args.v = v.as<T>(sizes.states(), "v");
    args.acceleration = acceleration.as<T>(sizes.states(), "acceleration");
    args.factor = factor.as<T>(sizes.matrices(args, args.factor_span()), "factor");
    args.grad_c = grad_c.as_optional<T>(sizes.states(), "grad_c");
    args.grad_v = grad_v.as_optional<T>(sizes.states(), "grad_v");
    const int64_t states = product({sizes.num_sequences, sizes.num_coordinates});
    args.grad_mass = grad_mass.as_optional<T>(sizes.matrices(args, args.mass_span), "grad_mass");
    args.grad_force = grad_force.as<T>(sizes.states(), "grad_force");
    args.grad_c0 = grad_c0.as_optional<T>(states, "grad_c0");
    args.grad_v0 = grad_v0.as_optional<T>(states, "grad_v0");
    args.grad_damping = grad_damping.as_optional<T>(sizes.matrices(args, args.damping_span), "grad_damping");
    args.grad_stiffness = grad_stiffness.as_optional<T>(sizes.matrices(args, args.stiffness_span), "grad_stiffness");
    T* scratch = place.workspace<T>(workspace, cuda::euler_rollout_bwd_workspace(args));
    if (args.num_coordinates == 0) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::euler_rollout_bwd(args, scratch, place.gpu());
    select_euler_rollout_kernels<T>().euler_rollout_bwd(args, place.threads());
  });
}

}  // namespace

void bind_euler_rollout(py::module_& m) {
  py::class_<RolloutSizes>(m, "RolloutSizes", py::module_local())
      .def(py::init([](int64_t num_sequences, int64_t num_frames, int64_t num_coordinates, int scheme, double dt,
                       int mass_span, int damping_span, int stiffness_span) {
             return RolloutSizes{num_sequences, num_frames,   num_coordinates, scheme, dt,
                                 mass_span,     damping_span, stiffness_span};
           }),
           "num_sequences"_a, "num_frames"_a, "num_coordinates"_a, "scheme"_a, "dt"_a, "mass_span"_a, "damping_span"_a,
           "stiffness_span"_a);

  m.def("euler_rollout_fwd", &euler_rollout_fwd, "sizes"_a, "mass"_a, "force"_a, "c0"_a, "v0"_a, "damping"_a,
        "stiffness"_a, "c"_a, "v"_a, "acceleration"_a, "factor"_a, "workspace"_a, "fault"_a, "place"_a);
  m.def("euler_rollout_bwd", &euler_rollout_bwd, "sizes"_a, "mass"_a, "c0"_a, "v0"_a, "damping"_a, "stiffness"_a, "c"_a,
        "v"_a, "acceleration"_a, "factor"_a, "grad_c"_a, "grad_v"_a, "grad_mass"_a, "grad_force"_a, "grad_c0"_a,
        "grad_v0"_a, "grad_damping"_a, "grad_stiffness"_a, "workspace"_a, "place"_a);
  m.def("euler_rollout_fwd_workspace",
        [](const RolloutSizes& sizes) { return cuda::euler_rollout_fwd_workspace(sizes.settings<double>()); }, "sizes"_a);
  m.def("euler_rollout_bwd_workspace",
        [](const RolloutSizes& sizes) { return cuda::euler_rollout_bwd_workspace(sizes.settings<double>()); }, "sizes"_a);
}

}  // namespace biomechau
