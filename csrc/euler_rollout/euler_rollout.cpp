#include "euler_rollout/euler_rollout.h"

#include "common/linalg.h"
#include "euler_rollout/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

template <class T> constexpr T epsilon = sizeof(T) == 4 ? T(1.1920929e-07) : T(2.220446049250313e-16);

// Far above rounding, far below a matrix passed by mistake.
constexpr double symmetry_tolerance = 1e-3;

// Index of the first of `count` matrices (n, n) that is not symmetric or not finite, or -1.
template <class T>
std::int64_t first_asymmetric(std::int64_t n, const T* matrices, std::int64_t count, int num_threads) {
  if (!matrices) return -1;
  Scratch<unsigned char> good(count);
  parallel_for(count, 3.0 * count * n * n, num_threads,
               [&](std::int64_t i) { good[i] = is_symmetric(n, T(symmetry_tolerance), matrices + i * n * n); });
  for (std::int64_t i = 0; i < count; ++i)
    if (!good[i]) return i;
  return -1;
}

// The symmetric parts of D or K, one or one a sequence.
template <class T> class SymmetricParts {
 public:
  SymmetricParts(const EulerRollout<T>& args, const T* matrices, Span span)
      : args_(args), span_(matrices ? span : Span::none), values_(args.count(span_) * size()) {
    for (std::int64_t i = 0; i < args.count(span_); ++i)
      symmetrize(args.num_coordinates, matrices + i * size(), values_.data() + i * size());
  }
  const T* at(std::int64_t s) {
    return span_ == Span::none ? nullptr : values_.data() + args_.index(span_, s, 0) * size();
  }

 private:
  std::int64_t size() const { return args_.num_coordinates * args_.num_coordinates; }
  const EulerRollout<T>& args_;
  Span span_;
  Scratch<T> values_;
};

// What every step of a rollout reads.
template <class T> class System {
 public:
  explicit System(const EulerRollout<T>& args)
      : args_(args),
        damping_(args, args.damping, args.damping_span),
        stiffness_(args, args.stiffness, args.stiffness_span) {}

  const T* damping(std::int64_t s) { return damping_.at(s); }
  const T* stiffness(std::int64_t s) { return stiffness_.at(s); }
  Step<T> step(std::int64_t s, std::int64_t t) {
    const std::int64_t n = args_.num_coordinates;
    const T theta = args_.scheme == Scheme::implicit ? args_.dt : T(0);
    return {n,           args_.dt,        theta, args_.scheme == Scheme::explicit_euler,
            damping(s), stiffness(s), args_.factor + args_.index(args_.factor_span(), s, t) * n * n};
  }

 private:
  const EulerRollout<T>& args_;
  SymmetricParts<T> damping_, stiffness_;
};

// Cholesky factors of `count` matrices, each made by fill(i, out) in place; index of the first that fails, or -1.
template <class T, class Fill>
std::int64_t factorize_all(std::int64_t n, std::int64_t count, T* out, int num_threads, const Fill& fill) {
  Scratch<unsigned char> good(count);
  parallel_for(count, count * n * n * n / 3.0, num_threads, [&](std::int64_t i) {
    fill(i, out + i * n * n);
    good[i] = cholesky(n, epsilon<T>, out + i * n * n);
  });
  for (std::int64_t i = 0; i < count; ++i)
    if (!good[i]) return i;
  return -1;
}

// Checks every matrix and fills args.factor. The mass must be positive definite in every scheme: a negative one could
// hide behind stiffness.
template <class T> RolloutFault factorize(const EulerRollout<T>& args, System<T>& system, int num_threads) {
  const std::int64_t n = args.num_coordinates, size = n * n, num_masses = args.count(args.mass_span);
  std::int64_t bad = first_asymmetric(n, args.mass, num_masses, num_threads);
  if (bad >= 0) return {RolloutFault::mass_asymmetric, bad};
  bad = first_asymmetric(n, args.damping, args.count(args.damping_span), num_threads);
  if (bad >= 0) return {RolloutFault::damping_asymmetric, bad};
  bad = first_asymmetric(n, args.stiffness, args.count(args.stiffness_span), num_threads);
  if (bad >= 0) return {RolloutFault::stiffness_asymmetric, bad};

  const bool implicit = args.scheme == Scheme::implicit;
  Scratch<T> trial(implicit ? num_masses * size : 0);
  bad = factorize_all(n, num_masses, implicit ? trial.data() : args.factor, num_threads,
                      [&](std::int64_t i, T* out) { symmetrize(n, args.mass + i * size, out); });
  if (bad >= 0) return {RolloutFault::mass_indefinite, bad};
  if (!implicit) return {};

  bad = factorize_all(n, args.count(args.factor_span()), args.factor, num_threads, [&](std::int64_t s, T* out) {
    symmetrize(n, args.mass + args.index(args.mass_span, s, 0) * size, out);
    if (const T* damping = system.damping(s)) axpy(size, args.dt, damping, out);
    if (const T* stiffness = system.stiffness(s)) axpy(size, args.dt * args.dt, stiffness, out);
  });
  if (bad >= 0) return {RolloutFault::system_indefinite, bad};
  return {};
}

template <class T> double rollout_work(const EulerRollout<T>& args) {
  return 8.0 * args.num_sequences * args.num_frames * args.num_coordinates * args.num_coordinates;
}

template <class T> RolloutFault euler_rollout_fwd(const EulerRollout<T>& args, int num_threads) {
  const std::int64_t n = args.num_coordinates;
  System<T> system(args);
  const RolloutFault fault = factorize(args, system, num_threads);
  if (fault.kind != RolloutFault::none) return fault;
  parallel_for(args.num_sequences, rollout_work(args), num_threads, [&](std::int64_t s) {
    const T *c = args.c0 + s * n, *v = args.v0 + s * n;
    for (std::int64_t t = 0; t < args.num_frames; ++t) {
      const std::int64_t at = (s * args.num_frames + t) * n;
      euler_step(system.step(s, t), args.force + at, c, v, args.acceleration + at, args.c + at, args.v + at);
      c = args.c + at;
      v = args.v + at;
    }
  });
  return {};
}

// What r multiplies in the gradient of a matrix, frame by frame: the accelerations, or the states before or after the
// steps.
template <class T> struct Partner {
  const T* values;   // (S, T, K)
  const T* initial;  // (S, K): the states before the steps are these, then `values` one frame late; null: not late
};

// raw (K, K), rows [begin, end) -= sum over frames [first, last) of sequence s of r x^T
template <class T>
void subtract_outer_products(const EulerRollout<T>& args, const Partner<T>& partner, std::int64_t s, std::int64_t first,
                             std::int64_t last, std::int64_t begin, std::int64_t end, T* raw) {
  const std::int64_t n = args.num_coordinates;
  for (std::int64_t t = first; t < last; ++t) {
    const std::int64_t at = (s * args.num_frames + t) * n;
    const T* x = !partner.initial ? partner.values + at : t == 0 ? partner.initial + s * n : partner.values + at - n;
    for (std::int64_t i = begin; i < end; ++i) axpy(n, -args.grad_force[at + i], x, raw + i * n);
  }
}

template <class T>
void matrix_gradient(const EulerRollout<T>& args, const Partner<T>& partner, Span span, T* grad, int num_threads) {
  if (!grad) return;
  const std::int64_t n = args.num_coordinates, count = args.count(span);
  const double work = 2.0 * args.num_sequences * args.num_frames * n * n;
  Scratch<T> raw(count * n * n);
  for (std::int64_t i = 0; i < count * n * n; ++i) raw[i] = 0;
  if (span == Span::shared) {
    constexpr std::int64_t rows = 8;  // rows of the one sum that a task owns
    parallel_for((n + rows - 1) / rows, work, num_threads, [&](std::int64_t task) {
      for (std::int64_t s = 0; s < args.num_sequences; ++s)
        subtract_outer_products(args, partner, s, 0, args.num_frames, task * rows, min_of(n, (task + 1) * rows),
                                raw.data());
    });
  } else {
    const bool by_frame = span == Span::per_frame;
    parallel_for(count, work, num_threads, [&](std::int64_t i) {
      const std::int64_t s = by_frame ? i / args.num_frames : i;
      const std::int64_t first = by_frame ? i % args.num_frames : 0;
      subtract_outer_products(args, partner, s, first, by_frame ? first + 1 : args.num_frames, 0, n,
                              raw.data() + i * n * n);
    });
  }
  for (std::int64_t i = 0; i < count; ++i) symmetrize(n, raw.data() + i * n * n, grad + i * n * n);
}

template <class T> void euler_rollout_bwd(const EulerRollout<T>& args, int num_threads) {
  const std::int64_t n = args.num_coordinates;
  System<T> system(args);
  Scratch<T> adjoints(2 * args.num_sequences * n);
  parallel_for(args.num_sequences, rollout_work(args), num_threads, [&](std::int64_t s) {
    T* lambda = adjoints.data() + 2 * s * n;
    T* mu = lambda + n;
    for (std::int64_t k = 0; k < 2 * n; ++k) lambda[k] = 0;
    for (std::int64_t t = args.num_frames; t-- > 0;) {
      const std::int64_t at = (s * args.num_frames + t) * n;
      axpy(n, T(1), args.grad_c + at, lambda);
      axpy(n, T(1), args.grad_v + at, mu);
      euler_step_vjp(system.step(s, t), lambda, mu, args.grad_force + at);
    }
    for (std::int64_t k = 0; k < n; ++k) {
      if (args.grad_c0) args.grad_c0[s * n + k] = lambda[k];
      if (args.grad_v0) args.grad_v0[s * n + k] = mu[k];
    }
  });
  const bool late = args.scheme != Scheme::implicit;
  matrix_gradient(args, Partner<T>{args.acceleration, nullptr}, args.mass_span, args.grad_mass, num_threads);
  matrix_gradient(args, Partner<T>{args.v, late ? args.v0 : nullptr}, args.damping_span, args.grad_damping, num_threads);
  matrix_gradient(args, Partner<T>{args.c, late ? args.c0 : nullptr}, args.stiffness_span, args.grad_stiffness,
                  num_threads);
}

}  // namespace

template <class T> EulerRolloutKernels<T> euler_rollout_kernels() {
  return {euler_rollout_fwd<T>, euler_rollout_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(EulerRolloutKernels, euler_rollout_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
