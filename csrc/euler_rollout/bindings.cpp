#include "common/binding.h"
#include "euler_rollout/cuda.h"
#include "euler_rollout/settings.h"

namespace biomechau {
namespace {

// What both directions of a rollout read. A span says which axes a matrix has beside its own two.
struct RolloutOperators {
  int64_t num_sequences, num_frames, num_coordinates;
  Buffer mass, c0, v0, damping, stiffness;
  double dt;
  int scheme;
  int mass_span, damping_span, stiffness_span;

  // The settings, checked, and no memory yet.
  template <class T> EulerRollout<T> settings() const {
    check_sizes({{"num_sequences", num_sequences},
                 {"num_frames", num_frames},
                 {"num_coordinates", num_coordinates},
                 {"num_coordinates", num_coordinates}});
    EulerRollout<T> args{};
    args.num_sequences = num_sequences;
    args.num_frames = num_frames;
    args.num_coordinates = num_coordinates;
    args.scheme = checked_scheme(scheme);
    args.dt = checked_dt<T>(dt);
    args.mass_span = checked_span(mass_span, Span::shared, Span::per_frame);
    args.damping_span = checked_span(damping_span, Span::none, Span::per_sequence);
    args.stiffness_span = checked_span(stiffness_span, Span::none, Span::per_sequence);
    if (args.scheme == Scheme::implicit && args.mass_span == Span::per_frame)
      throw std::invalid_argument("a mass per frame needs the explicit or semi-implicit scheme");
    return args;
  }
  template <class T> EulerRollout<T> view() const {
    EulerRollout<T> args = settings<T>();
    args.mass = mass.as<T>(matrices(args, args.mass_span), "mass");
    args.c0 = c0.as<T>(starts(), "c0");
    args.v0 = v0.as<T>(starts(), "v0");
    args.damping = damping.as_optional<T>(matrices(args, args.damping_span), "damping");
    args.stiffness = stiffness.as_optional<T>(matrices(args, args.stiffness_span), "stiffness");
    return args;
  }
  template <class T> int64_t matrices(const EulerRollout<T>& args, Span span) const {
    return product({args.count(span), num_coordinates, num_coordinates});
  }
  int64_t states() const { return product({num_sequences, num_frames, num_coordinates}); }
  int64_t starts() const { return product({num_sequences, num_coordinates}); }

 private:
  static Span checked_span(int span, Span first, Span last) {
    if (span < static_cast<int>(first) || span > static_cast<int>(last))
      throw std::invalid_argument("a matrix has an axis that the rollout does not know");
    return static_cast<Span>(span);
  }
};

// Returns (kind of fault, 0 for none; index of the faulty matrix); on a GPU they are reported in `fault`, if given.
std::pair<int, int64_t> euler_rollout_fwd(const RolloutOperators& operators, Buffer force, Buffer c, Buffer v,
                                          Buffer acceleration, Buffer inverse, Buffer workspace, Buffer fault,
                                          Place place) {
  place.check();
  return dispatch(force, "force", [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = operators.view<T>();
    args.force = force.as<T>(operators.states(), "force");
    args.c = c.as<T>(operators.states(), "c");
    args.v = v.as<T>(operators.states(), "v");
    args.acceleration = acceleration.as<T>(operators.states(), "acceleration");
    args.inverse = inverse.as<T>(operators.matrices(args, args.inverse_span()), "inverse");
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

void euler_rollout_bwd(const RolloutOperators& operators, Buffer c, Buffer v, Buffer acceleration, Buffer inverse,
                       Buffer grad_c, Buffer grad_v, Buffer grad_force, Buffer grad_mass, Buffer grad_c0,
                       Buffer grad_v0, Buffer grad_damping, Buffer grad_stiffness, Buffer workspace, Place place) {
  place.check();
  dispatch(c, "c", [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = operators.view<T>();
    args.c = c.as<T>(operators.states(), "c");
    args.v = v.as<T>(operators.states(), "v");
    args.acceleration = acceleration.as<T>(operators.states(), "acceleration");
    args.inverse = inverse.as<T>(operators.matrices(args, args.inverse_span()), "inverse");
    args.grad_c = grad_c.as_optional<T>(operators.states(), "grad_c");
    args.grad_v = grad_v.as_optional<T>(operators.states(), "grad_v");
    args.grad_force = grad_force.as<T>(operators.states(), "grad_force");
    args.grad_mass = grad_mass.as_optional<T>(operators.matrices(args, args.mass_span), "grad_mass");
    args.grad_c0 = grad_c0.as_optional<T>(operators.starts(), "grad_c0");
    args.grad_v0 = grad_v0.as_optional<T>(operators.starts(), "grad_v0");
    args.grad_damping = grad_damping.as_optional<T>(operators.matrices(args, args.damping_span), "grad_damping");
    args.grad_stiffness = grad_stiffness.as_optional<T>(operators.matrices(args, args.stiffness_span), "grad_stiffness");
    T* scratch = place.workspace<T>(workspace, cuda::euler_rollout_bwd_workspace(args));
    if (args.num_coordinates == 0) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::euler_rollout_bwd(args, scratch, place.gpu());
    select_euler_rollout_kernels<T>().euler_rollout_bwd(args, place.threads());
  });
}

// Elements of the scratch memory on a GPU: a function of the sizes alone.
int64_t euler_rollout_fwd_workspace(const RolloutOperators& operators) {
  return cuda::euler_rollout_fwd_workspace(operators.settings<double>());
}
int64_t euler_rollout_bwd_workspace(const RolloutOperators& operators) {
  return cuda::euler_rollout_bwd_workspace(operators.settings<double>());
}

}  // namespace

void bind_euler_rollout(py::module_& m) {
  py::class_<RolloutOperators>(m, "RolloutOperators", py::module_local())
      .def(py::init([](int64_t num_sequences, int64_t num_frames, int64_t num_coordinates, Buffer mass, Buffer c0,
                       Buffer v0, Buffer damping, Buffer stiffness, double dt, int scheme, int mass_span,
                       int damping_span, int stiffness_span) {
             return RolloutOperators{num_sequences, num_frames, num_coordinates, mass,   c0,        v0,          damping,
                                     stiffness,     dt,         scheme,          mass_span, damping_span, stiffness_span};
           }),
           "num_sequences"_a, "num_frames"_a, "num_coordinates"_a, "mass"_a, "c0"_a, "v0"_a, "damping"_a, "stiffness"_a,
           "dt"_a, "scheme"_a, "mass_span"_a, "damping_span"_a, "stiffness_span"_a);

  m.def("euler_rollout_fwd", &euler_rollout_fwd, "operators"_a, "force"_a, "c"_a, "v"_a, "acceleration"_a, "inverse"_a,
        "workspace"_a, "fault"_a, "place"_a);
  m.def("euler_rollout_bwd", &euler_rollout_bwd, "operators"_a, "c"_a, "v"_a, "acceleration"_a, "inverse"_a, "grad_c"_a,
        "grad_v"_a, "grad_force"_a, "grad_mass"_a, "grad_c0"_a, "grad_v0"_a, "grad_damping"_a, "grad_stiffness"_a,
        "workspace"_a, "place"_a);
  m.attr("schemes") = name_tuple(scheme_names);
  m.attr("spans") = name_tuple(span_names);
  m.attr("rollout_faults") = name_tuple(fault_names);
  m.attr("fault_index_bits") = fault_index_bits;
  m.attr("symmetry_tolerance") = symmetry_tolerance;
  m.def("euler_rollout_fwd_workspace", &euler_rollout_fwd_workspace, "operators"_a);
  m.def("euler_rollout_bwd_workspace", &euler_rollout_bwd_workspace, "operators"_a);
}

}  // namespace biomechau
