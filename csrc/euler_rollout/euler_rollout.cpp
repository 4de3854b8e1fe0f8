#include "euler_rollout/euler_rollout.h"

#include "common/linalg.h"
#include "euler_rollout/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

template <class T> constexpr T epsilon = sizeof(T) == 4 ? T(1.1920929e-07) : T(2.220446049250313e-16);

// Far above rounding, far below a matrix passed by mistake.
constexpr double symmetry_tolerance = 1e-3;

// The symmetric parts of all matrices of one kind.
template <class T> class SymmetricParts {
 public:
  SymmetricParts(const EulerRollout<T>& args, const T* matrices, Span span, int num_threads)
      : args_(args),
        span_(matrices ? span : Span::none),
        values_(args.count(span_) * size()),
        symmetric_(args.count(span_)) {
    const std::int64_t n = args.num_coordinates;
    parallel_for(args.count(span_), 4.0 * args.count(span_) * n * n, num_threads, [&](std::int64_t i) {
      symmetric_[i] = is_symmetric(n, T(symmetry_tolerance), matrices + i * size());
      symmetrize(n, matrices + i * size(), values_.data() + i * size());
    });
  }
  // Index of the first matrix that is not symmetric, or -1.
  std::int64_t first_asymmetric() {
    for (std::int64_t i = 0; i < args_.count(span_); ++i)
      if (!symmetric_[i]) return i;
    return -1;
  }
  const T* at(std::int64_t s, std::int64_t t) {
    return span_ == Span::none ? nullptr : values_.data() + args_.index(span_, s, t) * size();
  }

 private:
  std::int64_t size() const { return args_.num_coordinates * args_.num_coordinates; }
  const EulerRollout<T>& args_;
  Span span_;
  Scratch<T> values_;
  Scratch<unsigned char> symmetric_;
};

template <class T> struct System {
  SymmetricParts<T> mass, damping, stiffness;

  System(const EulerRollout<T>& args, int num_threads)
      : mass(args, args.mass, args.mass_span, num_threads),
        damping(args, args.damping, args.damping_span, num_threads),
        stiffness(args, args.stiffness, args.stiffness_span, num_threads) {}

  Matrices<T> at(const EulerRollout<T>& args, std::int64_t s, std::int64_t t) {
    const std::int64_t n = args.num_coordinates;
    return {n, mass.at(s, t), damping.at(s, t), stiffness.at(s, t),
            args.factor + args.index(args.factor_span(), s, t) * n * n};
  }
};

// True when a matrix fails the Cholesky test. Factors into `factor`.
template <class T> bool fails(std::int64_t n, T* factor) { return !cholesky(n, epsilon<T>, factor); }

// Fills args.factor. Every mass must be positive definite in every scheme: a negative one can hide behind stiffness.
template <class T> RolloutFault factorize(const EulerRollout<T>& args, System<T>& system, int num_threads) {
  if (const std::int64_t i = system.mass.first_asymmetric(); i >= 0) return {RolloutFault::mass_asymmetric, i};
  if (const std::int64_t i = system.damping.first_asymmetric(); i >= 0) return {RolloutFault::damping_asymmetric, i};
  if (const std::int64_t i = system.stiffness.first_asymmetric(); i >= 0) return {RolloutFault::stiffness_asymmetric, i};
  const std::int64_t n = args.num_coordinates, size = n * n;
  const bool implicit = args.scheme == Scheme::implicit;
  const Span span = args.factor_span();
  const std::int64_t count = args.count(span), num_masses = args.count(args.mass_span);
  Scratch<unsigned char> bad_mass(num_masses), bad_system(count);
  Scratch<T> trial(implicit ? num_masses * size : 0);
  const double work = count * n * size / 3.0;
  const std::int64_t frames = max_of(1, args.num_frames);
  parallel_for(num_masses, work, num_threads, [&](std::int64_t i) {
    const bool by_frame = args.mass_span == Span::per_frame;
    const T* mass = by_frame ? system.mass.at(i / frames, i % frames) : system.mass.at(i, 0);
    T* out = (implicit ? trial.data() : args.factor) + i * size;
    for (std::int64_t j = 0; j < size; ++j) out[j] = mass[j];
    bad_mass[i] = fails(n, out);
  });
  for (std::int64_t i = 0; i < num_masses; ++i)
    if (bad_mass[i]) return {RolloutFault::mass_indefinite, i};
  if (!implicit) return {};
  parallel_for(count, work, num_threads, [&](std::int64_t i) {
    T* out = args.factor + i * size;
    const T *mass = system.mass.at(i, 0), *damping = system.damping.at(i, 0), *stiffness = system.stiffness.at(i, 0);
    for (std::int64_t j = 0; j < size; ++j) out[j] = mass[j];
    if (damping) axpy(size, args.dt, damping, out);
    if (stiffness) axpy(size, args.dt * args.dt, stiffness, out);
    bad_system[i] = fails(n, out);
  });
  for (std::int64_t i = 0; i < count; ++i)
    if (bad_system[i]) return {RolloutFault::system_indefinite, i};
  return {};
}

template <class T> double rollout_work(const EulerRollout<T>& args) {
  return 8.0 * args.num_sequences * args.num_frames * args.num_coordinates * args.num_coordinates;
}

template <class T> RolloutFault euler_rollout_fwd(const EulerRollout<T>& args, int num_threads) {
  const std::int64_t n = args.num_coordinates;
  System<T> system(args, num_threads);
  const RolloutFault fault = factorize(args, system, num_threads);
  if (fault.kind != RolloutFault::none) return fault;
  parallel_for(args.num_sequences, rollout_work(args), num_threads, [&](std::int64_t s) {
    const T *c = args.c0 + s * n, *v = args.v0 + s * n;
    for (std::int64_t t = 0; t < args.num_frames; ++t) {
      const std::int64_t at = (s * args.num_frames + t) * n;
      const Matrices<T> m = system.at(args, s, t);
      if (args.scheme == Scheme::implicit)
        step_implicit(m, args.dt, args.force + at, c, v, args.c + at, args.v + at);
      else
        step_with_acceleration(m, args.dt, args.scheme == Scheme::explicit_euler, args.force + at, c, v, args.c + at,
                               args.v + at);
      c = args.c + at;
      v = args.v + at;
    }
  });
  return {};
}

// out (K, K) = symmetric part of -sum over frames of r x^T, frames of sequences [first, last), rows [begin, end) of it
// written to `raw`. x is v+ - v over h, or the state before or after the step.
enum class Partner { acceleration, velocity, position };

template <class T>
void add_outer_products(const EulerRollout<T>& args, Partner partner, std::int64_t s, std::int64_t first_frame,
                        std::int64_t last_frame, std::int64_t begin, std::int64_t end, T* raw) {
  const std::int64_t n = args.num_coordinates;
  const bool after = args.scheme == Scheme::implicit;
  for (std::int64_t t = first_frame; t < last_frame; ++t) {
    const std::int64_t at = (s * args.num_frames + t) * n;
    const T* r = args.grad_force + at;
    const bool position = partner == Partner::position;
    const T* next = (position ? args.c : args.v) + at;
    const T* start = (position ? args.c0 : args.v0) + s * n;
    const T* previous = t == 0 ? start : next - n;
    for (std::int64_t i = begin; i < end; ++i) {
      T* row = raw + i * n;
      if (partner == Partner::acceleration) {
        const T scale = -r[i] / args.dt;
#pragma omp simd
        for (std::int64_t j = 0; j < n; ++j) row[j] += scale * (next[j] - previous[j]);
      } else {
        axpy(n, -r[i], after ? next : previous, row);
      }
    }
  }
}

template <class T>
void matrix_gradient(const EulerRollout<T>& args, Partner partner, Span span, T* grad, int num_threads) {
  if (!grad) return;
  const std::int64_t n = args.num_coordinates, count = args.count(span);
  const double work = 2.0 * args.num_sequences * args.num_frames * n * n;
  Scratch<T> raw(count * n * n);
  for (std::int64_t i = 0; i < count * n * n; ++i) raw[i] = 0;
  if (span == Span::shared) {
    constexpr std::int64_t rows = 8;  // rows of the one sum that a task owns
    parallel_for((n + rows - 1) / rows, work, num_threads, [&](std::int64_t task) {
      for (std::int64_t s = 0; s < args.num_sequences; ++s)
        add_outer_products(args, partner, s, 0, args.num_frames, task * rows, min_of(n, (task + 1) * rows), raw.data());
    });
  } else {
    const bool by_frame = span == Span::per_frame;
    parallel_for(count, work, num_threads, [&](std::int64_t i) {
      const std::int64_t s = by_frame ? i / args.num_frames : i;
      const std::int64_t first = by_frame ? i % args.num_frames : 0;
      add_outer_products(args, partner, s, first, by_frame ? first + 1 : args.num_frames, 0, n, raw.data() + i * n * n);
    });
  }
  for (std::int64_t i = 0; i < count; ++i) symmetrize(n, raw.data() + i * n * n, grad + i * n * n);
}

template <class T> void euler_rollout_bwd(const EulerRollout<T>& args, int num_threads) {
  const std::int64_t n = args.num_coordinates;
  System<T> system(args, num_threads);
  Scratch<T> adjoints(2 * args.num_sequences * n);
  parallel_for(args.num_sequences, rollout_work(args), num_threads, [&](std::int64_t s) {
    T* lambda = adjoints.data() + 2 * s * n;
    T* mu = lambda + n;
    for (std::int64_t k = 0; k < 2 * n; ++k) lambda[k] = 0;
    for (std::int64_t t = args.num_frames; t-- > 0;) {
      const std::int64_t at = (s * args.num_frames + t) * n;
      const Matrices<T> m = system.at(args, s, t);
      axpy(n, T(1), args.grad_c + at, lambda);
      axpy(n, T(1), args.grad_v + at, mu);
      if (args.scheme == Scheme::implicit)
        step_implicit_vjp(m, args.dt, lambda, mu, args.grad_force + at);
      else
        step_with_acceleration_vjp(m, args.dt, args.scheme == Scheme::explicit_euler, lambda, mu, args.grad_force + at);
    }
    for (std::int64_t k = 0; k < n; ++k) {
      if (args.grad_c0) args.grad_c0[s * n + k] = lambda[k];
      if (args.grad_v0) args.grad_v0[s * n + k] = mu[k];
    }
  });
  matrix_gradient(args, Partner::acceleration, args.mass_span, args.grad_mass, num_threads);
  matrix_gradient(args, Partner::velocity, args.damping_span, args.grad_damping, num_threads);
  matrix_gradient(args, Partner::position, args.stiffness_span, args.grad_stiffness, num_threads);
}

}  // namespace

template <class T> EulerRolloutKernels<T> euler_rollout_kernels() {
  return {euler_rollout_fwd<T>, euler_rollout_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(EulerRolloutKernels, euler_rollout_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
