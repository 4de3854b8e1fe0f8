// The module biomechau._core: re-checks every size, releases the GIL, calls the kernels.
//
// A tensor arrives as (address, number of elements, dtype code), or None where it is left out. Nothing of torch is
// included or linked; meaning is checked in Python, memory safety here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>

#include "common/buffer.h"
#include "common/isa_select.h"
#include "euler_rollout/euler_rollout.h"
#include "force_projection/force_projection.h"
#include "generalized_mass/generalized_mass.h"

namespace py = pybind11;
using namespace py::literals;
using std::int64_t;

namespace pybind11::detail {
template <> struct type_caster<biomechau::Buffer> {
  PYBIND11_TYPE_CASTER(biomechau::Buffer, const_name("tuple[int, int, int] | None"));
  bool load(handle source, bool) {
    if (source.is_none()) return true;
    if (!PyTuple_CheckExact(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 3) return false;
    value.address = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(source.ptr(), 0)));
    value.numel = PyLong_AsLongLong(PyTuple_GET_ITEM(source.ptr(), 1));
    value.dtype = static_cast<biomechau::Dtype>(PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 2)));
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    return value.numel >= 0;
  }
};
}  // namespace pybind11::detail

namespace biomechau {
namespace {

// Calls fn with a value of the kernel's element type.
template <class Fn> auto dispatch(Dtype dtype, const Fn& fn) {
  switch (dtype) {
    case Dtype::float32: return fn(float{});
    case Dtype::float64: return fn(double{});
    default: throw std::invalid_argument("kernels take float32 and float64");
  }
}

int64_t product(std::initializer_list<int64_t> sizes) {
  int64_t total = 1;
  for (const int64_t size : sizes) {
    if (size < 0) throw std::invalid_argument("sizes must not be negative");
    if (size != 0 && total > INT64_MAX / size) throw std::invalid_argument("sizes overflow");
    total *= size;
  }
  return total;
}

void check_threads(int num_threads) {
  if (num_threads < 1) throw std::invalid_argument("num_threads must be at least 1");
}

// The index arrays are read before any kernel follows them: an index out of range would be a wild write.
void check_rising(const int64_t* starts, int64_t count, int64_t last, const char* name) {
  bool good = starts[0] == 0 && starts[count] == last;
  for (int64_t i = 0; i < count; ++i) good &= starts[i] <= starts[i + 1];
  if (!good) throw std::invalid_argument(std::string(name) + " must rise from 0 to the number of entries");
}
void check_range(const int64_t* index, int64_t count, int64_t limit, const char* name) {
  bool good = true;
  for (int64_t i = 0; i < count; ++i) good &= index[i] >= 0 && index[i] < limit;
  if (!good) throw std::invalid_argument(std::string(name) + " holds an index out of range");
}

struct DistributionBuffers {
  int64_t num_vertices, num_muscles;
  Buffer crow, col, muscle_crow, muscle_row, muscle_entry, val, directions;
  bool fibre;

  int64_t width() const { return fibre ? 1 : 3; }

  template <class T> Distribution<T> view() const {
    static const T no_directions[3] = {};
    const int64_t entries = col.numel;
    Distribution<T> p{};
    p.num_vertices = num_vertices;
    p.num_muscles = num_muscles;
    p.num_entries = entries;
    p.crow = crow.as<int64_t>(product({num_vertices}) + 1, "crow");
    p.col = col.as<int64_t>(entries, "col");
    p.muscle_crow = muscle_crow.as<int64_t>(product({num_muscles}) + 1, "muscle_crow");
    p.muscle_row = muscle_row.as<int64_t>(entries, "muscle_row");
    p.muscle_entry = muscle_entry.as<int64_t>(entries, "muscle_entry");
    p.val = val.as<T>(entries, "val");
    if (fibre) {
      p.directions = directions.as<T>(3 * entries, "directions");
      if (entries == 0) p.directions = no_directions;  // never read; non-null says that forces are scalars
    }
    check_rising(p.crow, num_vertices, entries, "crow");
    check_rising(p.muscle_crow, num_muscles, entries, "muscle_crow");
    check_range(p.col, entries, num_muscles, "col");
    check_range(p.muscle_row, entries, num_vertices, "muscle_row");
    check_range(p.muscle_entry, entries, entries, "muscle_entry");
    return p;
  }
};

// What forward and backward share, checked.
template <class T>
DistributeForces<T> distribute_forces_args(const DistributionBuffers& p, int64_t num_frames, Buffer force) {
  DistributeForces<T> args{};
  args.distribution = p.view<T>();
  args.num_frames = num_frames;
  args.force = force.as<T>(product({num_frames, p.num_muscles, p.width()}), "force");
  return args;
}

void distribute_forces_fwd(const DistributionBuffers& p, int64_t num_frames, Buffer force, Buffer out, int num_threads) {
  check_threads(num_threads);
  dispatch(p.val.dtype, [&](auto zero) {
    using T = decltype(zero);
    DistributeForces<T> args = distribute_forces_args<T>(p, num_frames, force);
    args.out = out.as<T>(product({num_frames, p.num_vertices, 3}), "out");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().distribute_forces_fwd(args, num_threads);
  });
}

void distribute_forces_bwd(const DistributionBuffers& p, int64_t num_frames, Buffer force, Buffer grad_out,
                           Buffer grad_val, Buffer grad_force, Buffer grad_directions, int num_threads) {
  check_threads(num_threads);
  dispatch(p.val.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t entries = p.col.numel;
    DistributeForces<T> args = distribute_forces_args<T>(p, num_frames, force);
    args.grad_out = grad_out.as<T>(product({num_frames, p.num_vertices, 3}), "grad_out");
    args.grad_val = grad_val.as_optional<T>(entries, "grad_val");
    args.grad_force = grad_force.as_optional<T>(product({num_frames, p.num_muscles, p.width()}), "grad_force");
    args.grad_directions = grad_directions.as_optional<T>(3 * entries, "grad_directions");
    if (args.grad_directions && !p.fibre) throw std::invalid_argument("grad_directions needs directions");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().distribute_forces_bwd(args, num_threads);
  });
}

template <class T>
ReducedProjection<T> reduced_projection_args(const DistributionBuffers& p, int64_t num_shapes, Buffer blendshapes) {
  ReducedProjection<T> args{};
  args.distribution = p.view<T>();
  args.num_shapes = num_shapes;
  args.blendshapes = blendshapes.as<T>(product({num_shapes, p.num_vertices, 3}), "blendshapes");
  return args;
}

void reduced_projection_fwd(const DistributionBuffers& p, int64_t num_shapes, Buffer blendshapes, Buffer out,
                            int num_threads) {
  check_threads(num_threads);
  dispatch(p.val.dtype, [&](auto zero) {
    using T = decltype(zero);
    ReducedProjection<T> args = reduced_projection_args<T>(p, num_shapes, blendshapes);
    args.out = out.as<T>(product({num_shapes, p.num_muscles, p.width()}), "out");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().reduced_projection_fwd(args, num_threads);
  });
}

void reduced_projection_bwd(const DistributionBuffers& p, int64_t num_shapes, Buffer blendshapes, Buffer grad_out,
                            Buffer grad_blendshapes, Buffer grad_val, Buffer grad_directions, int num_threads) {
  check_threads(num_threads);
  dispatch(p.val.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t entries = p.col.numel;
    ReducedProjection<T> args = reduced_projection_args<T>(p, num_shapes, blendshapes);
    args.grad_out = grad_out.as<T>(product({num_shapes, p.num_muscles, p.width()}), "grad_out");
    args.grad_blendshapes = grad_blendshapes.as_optional<T>(product({num_shapes, p.num_vertices, 3}), "grad_blendshapes");
    args.grad_val = grad_val.as_optional<T>(entries, "grad_val");
    args.grad_directions = grad_directions.as_optional<T>(3 * entries, "grad_directions");
    if (args.grad_directions && !p.fibre) throw std::invalid_argument("grad_directions needs directions");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().reduced_projection_bwd(args, num_threads);
  });
}

template <class T>
ApplyProjection<T> apply_projection_args(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection,
                                         Buffer force) {
  ApplyProjection<T> args{};
  args.num_frames = num_frames;
  args.num_shapes = num_shapes;
  args.num_inputs = num_inputs;
  args.projection = projection.as<T>(product({num_shapes, num_inputs}), "projection");
  args.force = force.as<T>(product({num_frames, num_inputs}), "force");
  return args;
}

void apply_projection_fwd(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection, Buffer force,
                          Buffer out, int num_threads) {
  check_threads(num_threads);
  dispatch(projection.dtype, [&](auto zero) {
    using T = decltype(zero);
    ApplyProjection<T> args = apply_projection_args<T>(num_frames, num_shapes, num_inputs, projection, force);
    args.out = out.as<T>(product({num_frames, num_shapes}), "out");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().apply_projection_fwd(args, num_threads);
  });
}

void apply_projection_bwd(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection, Buffer force,
                          Buffer grad_out, Buffer grad_projection, Buffer grad_force, int num_threads) {
  check_threads(num_threads);
  dispatch(projection.dtype, [&](auto zero) {
    using T = decltype(zero);
    ApplyProjection<T> args = apply_projection_args<T>(num_frames, num_shapes, num_inputs, projection, force);
    args.grad_out = grad_out.as<T>(product({num_frames, num_shapes}), "grad_out");
    args.grad_projection = grad_projection.as_optional<T>(product({num_shapes, num_inputs}), "grad_projection");
    args.grad_force = grad_force.as_optional<T>(product({num_frames, num_inputs}), "grad_force");
    py::gil_scoped_release release;
    select_force_projection_kernels<T>().apply_projection_bwd(args, num_threads);
  });
}

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

int64_t generalized_mass_fwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                             Buffer blendshapes, Buffer mass, Buffer out, int num_threads) {
  check_threads(num_threads);
  return dispatch(blendshapes.dtype, [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, mass);
    args.out = out.as<T>(product({num_sequences, num_shapes, num_shapes}), "out");
    py::gil_scoped_release release;
    return select_generalized_mass_kernels<T>().generalized_mass_fwd(args, num_threads);
  });
}

void generalized_mass_bwd(int64_t num_sequences, int64_t num_vertices, int64_t num_shapes, double scale,
                          Buffer blendshapes, Buffer mass, Buffer grad_out, Buffer grad_blendshapes, Buffer grad_mass,
                          int num_threads) {
  check_threads(num_threads);
  dispatch(blendshapes.dtype, [&](auto zero) {
    using T = decltype(zero);
    GeneralizedMass<T> args =
        generalized_mass_args<T>(num_sequences, num_vertices, num_shapes, scale, blendshapes, mass);
    args.grad_out = grad_out.as<T>(product({num_sequences, num_shapes, num_shapes}), "grad_out");
    args.grad_blendshapes = grad_blendshapes.as_optional<T>(product({num_shapes, num_vertices, 3}), "grad_blendshapes");
    args.grad_mass = grad_mass.as_optional<T>(product({num_sequences, num_vertices}), "grad_mass");
    py::gil_scoped_release release;
    select_generalized_mass_kernels<T>().generalized_mass_bwd(args, num_threads);
  });
}

// The sizes of a rollout; `spans` are those of mass, damping and stiffness.
struct RolloutSizes {
  int64_t num_sequences, num_frames, num_coordinates;
  int scheme;
  double dt;
  int mass_span, damping_span, stiffness_span;

  template <class T> EulerRollout<T> view(Buffer mass, Buffer c0, Buffer v0, Buffer damping, Buffer stiffness) const {
    if (scheme < 0 || scheme > 2) throw std::invalid_argument("scheme must be 0, 1 or 2");
    if (mass_span < 1 || mass_span > 3 || damping_span < 0 || damping_span > 2 || stiffness_span < 0 || stiffness_span > 2)
      throw std::invalid_argument("a matrix has an axis that the rollout does not know");
    EulerRollout<T> args{};
    args.num_sequences = num_sequences;
    args.num_frames = num_frames;
    args.num_coordinates = num_coordinates;
    states();  // refuses sizes whose products overflow
    args.scheme = static_cast<Scheme>(scheme);
    args.dt = static_cast<T>(dt);
    if (!(args.dt > 0) || !std::isfinite(args.dt))
      throw std::invalid_argument("dt must be a positive number in the precision of the tensors");
    args.mass_span = static_cast<Span>(mass_span);
    args.damping_span = static_cast<Span>(damping_span);
    args.stiffness_span = static_cast<Span>(stiffness_span);
    if (args.scheme == Scheme::implicit && args.mass_span == Span::per_frame)
      throw std::invalid_argument("a mass per frame needs the explicit or semi-implicit scheme");
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

// Returns (kind of fault, 0 for none; index of the matrix that has it).
std::pair<int, int64_t> euler_rollout_fwd(const RolloutSizes& sizes, Buffer mass, Buffer force, Buffer c0, Buffer v0,
                                          Buffer damping, Buffer stiffness, Buffer c, Buffer v, Buffer acceleration,
                                          Buffer factor, int num_threads) {
  check_threads(num_threads);
  return dispatch(force.dtype, [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = sizes.view<T>(mass, c0, v0, damping, stiffness);
    args.force = force.as<T>(sizes.states(), "force");
    args.c = c.as<T>(sizes.states(), "c");
    args.v = v.as<T>(sizes.states(), "v");
    args.acceleration = acceleration.as<T>(sizes.states(), "acceleration");
    args.factor = factor.as<T>(sizes.matrices(args, args.factor_span()), "factor");
    py::gil_scoped_release release;
    const RolloutFault fault = select_euler_rollout_kernels<T>().euler_rollout_fwd(args, num_threads);
    return std::pair<int, int64_t>(fault.kind, fault.index);
  });
}

void euler_rollout_bwd(const RolloutSizes& sizes, Buffer mass, Buffer c0, Buffer v0, Buffer damping, Buffer stiffness,
                       Buffer c, Buffer v, Buffer acceleration, Buffer factor, Buffer grad_c, Buffer grad_v,
                       Buffer grad_mass, Buffer grad_force, Buffer grad_c0, Buffer grad_v0, Buffer grad_damping,
                       Buffer grad_stiffness, int num_threads) {
  check_threads(num_threads);
  dispatch(c.dtype, [&](auto zero) {
    using T = decltype(zero);
    EulerRollout<T> args = sizes.view<T>(mass, c0, v0, damping, stiffness);
    args.c = c.as<T>(sizes.states(), "c");
    args.v = v.as<T>(sizes.states(), "v");
    args.acceleration = acceleration.as<T>(sizes.states(), "acceleration");
    args.factor = factor.as<T>(sizes.matrices(args, args.factor_span()), "factor");
    args.grad_c = grad_c.as<T>(sizes.states(), "grad_c");
    args.grad_v = grad_v.as<T>(sizes.states(), "grad_v");
    const int64_t states = product({sizes.num_sequences, sizes.num_coordinates});
    args.grad_mass = grad_mass.as_optional<T>(sizes.matrices(args, args.mass_span), "grad_mass");
    args.grad_force = grad_force.as<T>(sizes.states(), "grad_force");
    args.grad_c0 = grad_c0.as_optional<T>(states, "grad_c0");
    args.grad_v0 = grad_v0.as_optional<T>(states, "grad_v0");
    args.grad_damping = grad_damping.as_optional<T>(sizes.matrices(args, args.damping_span), "grad_damping");
    args.grad_stiffness = grad_stiffness.as_optional<T>(sizes.matrices(args, args.stiffness_span), "grad_stiffness");
    py::gil_scoped_release release;
    select_euler_rollout_kernels<T>().euler_rollout_bwd(args, num_threads);
  });
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "CPU kernels of biomechau: addresses and sizes in, nothing of torch.";

  py::class_<DistributionBuffers>(m, "Distribution")
      .def(py::init([](int64_t num_vertices, int64_t num_muscles, Buffer crow, Buffer col, Buffer muscle_crow,
                       Buffer muscle_row, Buffer muscle_entry, Buffer val, Buffer directions, bool fibre) {
             return DistributionBuffers{num_vertices, num_muscles,  crow, col,        muscle_crow,
                                        muscle_row,   muscle_entry, val,  directions, fibre};
           }),
           "num_vertices"_a, "num_muscles"_a, "crow"_a, "col"_a, "muscle_crow"_a, "muscle_row"_a, "muscle_entry"_a,
           "val"_a, "directions"_a, "fibre"_a);
  py::class_<RolloutSizes>(m, "RolloutSizes")
      .def(py::init([](int64_t num_sequences, int64_t num_frames, int64_t num_coordinates, int scheme, double dt,
                       int mass_span, int damping_span, int stiffness_span) {
             return RolloutSizes{num_sequences, num_frames,   num_coordinates, scheme, dt,
                                 mass_span,     damping_span, stiffness_span};
           }),
           "num_sequences"_a, "num_frames"_a, "num_coordinates"_a, "scheme"_a, "dt"_a, "mass_span"_a, "damping_span"_a,
           "stiffness_span"_a);

  m.def("distribute_forces_fwd", &distribute_forces_fwd, "distribution"_a, "num_frames"_a, "force"_a, "out"_a,
        "num_threads"_a);
  m.def("distribute_forces_bwd", &distribute_forces_bwd, "distribution"_a, "num_frames"_a, "force"_a, "grad_out"_a,
        "grad_val"_a, "grad_force"_a, "grad_directions"_a, "num_threads"_a);
  m.def("reduced_projection_fwd", &reduced_projection_fwd, "distribution"_a, "num_shapes"_a, "blendshapes"_a, "out"_a,
        "num_threads"_a);
  m.def("reduced_projection_bwd", &reduced_projection_bwd, "distribution"_a, "num_shapes"_a, "blendshapes"_a,
        "grad_out"_a, "grad_blendshapes"_a, "grad_val"_a, "grad_directions"_a, "num_threads"_a);
  m.def("apply_projection_fwd", &apply_projection_fwd, "num_frames"_a, "num_shapes"_a, "num_inputs"_a, "projection"_a,
        "force"_a, "out"_a, "num_threads"_a);
  m.def("apply_projection_bwd", &apply_projection_bwd, "num_frames"_a, "num_shapes"_a, "num_inputs"_a, "projection"_a,
        "force"_a, "grad_out"_a, "grad_projection"_a, "grad_force"_a, "num_threads"_a);
  m.def("generalized_mass_fwd", &generalized_mass_fwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "mass"_a, "out"_a, "num_threads"_a);
  m.def("generalized_mass_bwd", &generalized_mass_bwd, "num_sequences"_a, "num_vertices"_a, "num_shapes"_a, "scale"_a,
        "blendshapes"_a, "mass"_a, "grad_out"_a, "grad_blendshapes"_a, "grad_mass"_a, "num_threads"_a);
  m.def("euler_rollout_fwd", &euler_rollout_fwd, "sizes"_a, "mass"_a, "force"_a, "c0"_a, "v0"_a, "damping"_a,
        "stiffness"_a, "c"_a, "v"_a, "acceleration"_a, "factor"_a, "num_threads"_a);
  m.def("euler_rollout_bwd", &euler_rollout_bwd, "sizes"_a, "mass"_a, "c0"_a, "v0"_a, "damping"_a, "stiffness"_a, "c"_a,
        "v"_a, "acceleration"_a, "factor"_a, "grad_c"_a, "grad_v"_a, "grad_mass"_a, "grad_force"_a, "grad_c0"_a,
        "grad_v0"_a, "grad_damping"_a, "grad_stiffness"_a, "num_threads"_a);

  m.def("isa", &isa_name, "Instruction set that the kernels run with.");
  m.def("supported_isas", &supported_isas, "Instruction sets that this processor and this build can run.");
  m.def("select_isa", &select_isa, "name"_a, "Run with another supported instruction set.");
#if defined(_OPENMP)
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
  m.attr("cuda") = false;
}

}  // namespace biomechau
