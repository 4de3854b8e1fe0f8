#include "euler_rollout/euler_rollout.h"

#include "euler_rollout/cpu/matrix_gradient.h"
#include "euler_rollout/cpu/system.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

// Sums over sequences consist of at most this many partial sums.
constexpr std::int64_t max_partial_sums = 32;

// Blocks of sequences per task: one, unless the sums of the tasks are partial sums.
inline std::int64_t blocks_per_task(std::int64_t num_blocks, bool partial_sums) {
  return partial_sums ? max_of(1, (num_blocks + max_partial_sums - 1) / max_partial_sums) : 1;
}

// Operations on vectors of a product with a matrix in every frame.
template <class T> double rollout_work(const EulerRollout<T>& args) {
  return 1.0 * args.num_sequences * args.num_frames * args.num_coordinates * args.num_coordinates / width_of<T>;
}

// Vector j of row `at` of a tensor with n columns; null: 0.
template <class T>
BIOMECHAU_INLINE Vector<T> load_row(const T* tensor, std::int64_t n, std::int64_t at, std::int64_t j) {
  return tensor && j < n ? Vector<T>::load_first(tensor + at * n + j, n - j) : Vector<T>::zero();
}
template <class T>
BIOMECHAU_INLINE void store_row(const Vector<T>& value, T* tensor, std::int64_t n, std::int64_t at, std::int64_t j) {
  if (tensor && j < n) value.store_first(tensor + at * n + j, n - j);
}

// -- without D and K: all accelerations by one product with M^-1, then a double prefix sum -----------------------------

// How the work on one sequence is split if there are few sequences: into `blocks` of `size` columns. A part of the work is
// then done twice, so threads need more of it to be worth it.
struct Columns {
  std::int64_t blocks, size;

  template <class T> static Columns of(const EulerRollout<T>& args, double work) {
    const std::int64_t row = padded(args.num_coordinates), half = (row / width_of<T> + 1) / 2 * width_of<T>;
    return args.num_sequences < 4 && half < row && work > 2 * min_work ? Columns{2, half} : Columns{1, row};
  }
};

template <class T>
void accelerate(const EulerRollout<T>& args, const Step<T>& step, std::int64_t s, const T* inverse, std::int64_t begin,
                std::int64_t end) {
  const std::int64_t n = args.num_coordinates, row = padded(n), first = s * args.num_frames;
  Scratch<T> state(2 * row);
  T *const c = state.data(), *const v = c + row;
  to_panel(1, n, args.c0 + s * n, c);
  to_panel(1, n, args.v0 + s * n, v);
  product(args.num_frames, n, Rows<T>{args.force + first * n, n}, inverse, row, begin, end, FromZero<T>{},
          [&](std::int64_t t, std::int64_t j, const Vector<T>& a) BIOMECHAU_INLINE_LAMBDA {
            Vector<T> cj = Vector<T>::load(c + j), vj = Vector<T>::load(v + j);
            advance(step.h, step.explicit_position, a, &cj, &vj);
            cj.store(c + j);
            vj.store(v + j);
            store_row(a, args.acceleration, n, first + t, j);
            store_row(cj, args.c, n, first + t, j);
            store_row(vj, args.v, n, first + t, j);
          });
}

template <class T> RolloutFault prefix_sums_fwd(const EulerRollout<T>& args, System<T>& system, int num_threads) {
  const std::int64_t n = args.num_coordinates, num_sequences = args.num_sequences;
  const Columns columns = Columns::of(args, rollout_work(args));
  const bool fused = args.mass_span == Span::per_sequence && columns.blocks == 1;
  if (!fused) {
    const RolloutFault fault = system.invert_all(num_threads);
    if (fault.kind != RolloutFault::none) return fault;
  }
  const double work = rollout_work(args) + (fused ? num_sequences * inversion_work(n) : 0);
  Scratch<unsigned char> faults(num_sequences * columns.blocks);
  parallel_for(num_sequences * columns.blocks, work, num_threads, [&](std::int64_t task) {
    const std::int64_t s = task / columns.blocks, begin = task % columns.blocks * columns.size;
    Scratch<T> inverse(n * padded(n));
    faults[task] = RolloutFault::none;
    if (fused)
      faults[task] = system.invert_mass(s, inverse.data());
    else
      system.load_inverse(s, 0, inverse.data());
    if (faults[task] == RolloutFault::none)
      accelerate(args, system.step(), s, inverse.data(), begin, min_of(padded(n), begin + columns.size));
  });
  if (!fused) return {};
  return first_fault(faults.data(), num_sequences, RolloutFault::mass_asymmetric, RolloutFault::mass_indefinite);
}

template <class T> void prefix_sums_bwd(const EulerRollout<T>& args, System<T>& system, int num_threads) {
  const std::int64_t n = args.num_coordinates, row = padded(n), num_frames = args.num_frames;
  const double work = 2 * rollout_work(args);
  const Columns columns = Columns::of(args, work);
  const MatrixGradients<T> gradients(args);
  const bool split = columns.blocks > 1;
  // Sequences per task, and where the task keeps its sums.
  const std::int64_t group = blocks_per_task(args.num_sequences, gradients.shared());
  const std::int64_t groups = (args.num_sequences + group - 1) / group;
  const bool kept = split || gradients.shared();
  Scratch<T> partial(kept ? groups * gradients.sums_size() : 0);
  const Step<T> step = system.step();
  parallel_for(groups * columns.blocks, work, num_threads, [&](std::int64_t task) {
    const std::int64_t g = task / columns.blocks, begin = task % columns.blocks * columns.size;
    const std::int64_t end = min_of(row, begin + columns.size);
    Scratch<T> memory(n * row + 2 * num_frames * row + (kept ? 0 : gradients.sums_size()));
    T *const inverse = memory.data(), *const grad_a = inverse + n * row, *const r = grad_a + num_frames * row;
    T* const sums = kept ? partial.data() + g * gradients.sums_size() : r + num_frames * row;
    gradients.clear(Span::shared, begin, end, sums);
    for (std::int64_t s = g * group; s < min_of(args.num_sequences, (g + 1) * group); ++s) {
      const std::int64_t first = s * num_frames;
      for (std::int64_t j = 0; j < row; j += width_of<T>) {
        Vector<T> lambda = Vector<T>::zero(), mu = Vector<T>::zero();
        for (std::int64_t t = num_frames; t-- > 0;) {
          lambda = lambda + load_row(args.grad_c, n, first + t, j);
          mu = mu + load_row(args.grad_v, n, first + t, j);
          advance_vjp(step.h, step.explicit_position, &lambda, &mu).store(grad_a + t * row + j);
        }
        if (j < begin || j >= end) continue;
        store_row(lambda, args.grad_c0, n, s, j);
        store_row(mu, args.grad_v0, n, s, j);
      }
      system.load_inverse(s, 0, inverse);
      product(num_frames, n, Rows<T>{grad_a, row}, inverse, row, begin, end, FromZero<T>{},
              [&](std::int64_t t, std::int64_t j, const Vector<T>& sum) BIOMECHAU_INLINE_LAMBDA {
                sum.store(r + t * row + j);
                store_row(sum, args.grad_force, n, first + t, j);
              });
      if (!gradients.any()) continue;
      gradients.add(s, r, begin, end, sums);
      if (!split) gradients.finish_sequence(s, sums);
    }
  });
  if (split && gradients.any())
    for (std::int64_t s = 0; s < args.num_sequences; ++s)
      gradients.finish_sequence(s, partial.data() + s * gradients.sums_size());
  if (kept) gradients.finish_shared(groups, partial.data());
}

// -- with D or K, or a mass per frame: step by step, some sequences side by side ----------------------------------------

// Sequences whose steps are taken together, as the rows of one product with D or K, which are then read only once.
template <class T> std::int64_t side_by_side(const EulerRollout<T>& args) {
  const auto shared = [](Span span) { return span == Span::none || span == Span::shared; };
  if (!shared(args.damping_span) || !shared(args.stiffness_span)) return 1;
  return args.num_sequences >= 8 ? 4 : args.num_sequences >= 4 ? 2 : 1;
}

// F^-1 of `count` sequences from s0: one panel, or one for each.
template <class T> class Inverses {
 public:
  Inverses(const EulerRollout<T>& args, const System<T>& system, std::int64_t s0, std::int64_t count)
      : args_(args), system_(system), s0_(s0), n_(args.num_coordinates), row_(padded(n_)),
        panels_(args.inverse_span() == Span::shared ? 1 : count), data_(panels_ * n_ * row_) {
    if (args.mass_span != Span::per_frame) load(0);
  }

  void at_frame(std::int64_t t) {
    if (args_.mass_span == Span::per_frame) load(t);
  }

  // finish(r, j, a) for rows a = F^-1 b of `count` sequences.
  template <class Finish> void product(std::int64_t count, const Rows<T>& b, const Finish& finish) {
    if (panels_ == 1) {
      BIOMECHAU_ISA::product(count, n_, b, data_.data(), row_, 0, row_, FromZero<T>{}, finish);
      return;
    }
    for (std::int64_t r = 0; r < count; ++r)
      BIOMECHAU_ISA::product(1, n_, Rows<T>{b.data + r * b.row, b.row}, data_.data() + r * n_ * row_, row_, 0, row_,
                             FromZero<T>{},
                             [&](std::int64_t, std::int64_t j, const Vector<T>& sum) { finish(r, j, sum); });
  }

 private:
  void load(std::int64_t t) {
    for (std::int64_t r = 0; r < panels_; ++r) system_.load_inverse(s0_ + r, t, data_.data() + r * n_ * row_);
  }

  const EulerRollout<T>& args_;
  const System<T>& system_;
  std::int64_t s0_, n_, row_, panels_;
  Scratch<T> data_;
};

template <class T>
void steps_fwd(const EulerRollout<T>& args, System<T>& system, std::int64_t s0, std::int64_t count) {
  using V = Vector<T>;
  const std::int64_t n = args.num_coordinates, row = padded(n), num_frames = args.num_frames, size = count * row;
  const Step<T> step = system.step();
  const T *const damping = system.damping(s0), *const stiffness = system.stiffness(s0);
  Inverses<T> inverses(args, system, s0, count);
  Scratch<T> memory(5 * size);
  T *const c = memory.data(), *const v = c + size;
  T *const minus_v = v + size, *const minus_ahead = minus_v + size, *const load = minus_ahead + size;
  to_panel(count, n, args.c0 + s0 * n, c);
  to_panel(count, n, args.v0 + s0 * n, v);
  for (std::int64_t t = 0; t < num_frames; ++t) {
    const auto frame = [&](std::int64_t r) { return (s0 + r) * num_frames + t; };
    const auto start = [&](std::int64_t r, std::int64_t j) { return load_row(args.force, n, frame(r), j); };
    const auto go_on = [&](std::int64_t r, std::int64_t j) { return V::load(load + r * row + j); };
    const ToPanel<T> to_load{load, row};
    for (std::int64_t i = 0; i < size; i += width_of<T>) {
      const V vi = V::load(v + i);
      (T(-1) * vi).store(minus_v + i);
      (T(-1) * ahead(step.theta, V::load(c + i), vi)).store(minus_ahead + i);
    }
    if (damping) product(count, n, Rows<T>{minus_v, row}, damping, row, 0, row, start, to_load);
    if (stiffness) {
      const Rows<T> rows{minus_ahead, row};
      if (damping)
        product(count, n, rows, stiffness, row, 0, row, go_on, to_load);
      else
        product(count, n, rows, stiffness, row, 0, row, start, to_load);
    }
    inverses.at_frame(t);
    const Rows<T> loads = system.elastic() ? Rows<T>{load, row} : Rows<T>{args.force + frame(0) * n, num_frames * n};
    inverses.product(count, loads, [&](std::int64_t r, std::int64_t j, const V& a) {
      V cj = V::load(c + r * row + j), vj = V::load(v + r * row + j);
      advance(step.h, step.explicit_position, a, &cj, &vj);
      cj.store(c + r * row + j);
      vj.store(v + r * row + j);
      store_row(a, args.acceleration, n, frame(r), j);
      store_row(cj, args.c, n, frame(r), j);
      store_row(vj, args.v, n, frame(r), j);
    });
  }
}

// `r` (count, T, K') is filled with the gradients of the force.
template <class T>
void steps_bwd(const EulerRollout<T>& args, System<T>& system, const MatrixGradients<T>& gradients, std::int64_t s0,
               std::int64_t count, T* r) {
  using V = Vector<T>;
  const std::int64_t n = args.num_coordinates, row = padded(n), num_frames = args.num_frames, size = count * row;
  const Step<T> step = system.step();
  const T *const damping = system.damping(s0), *const stiffness = system.stiffness(s0);
  Inverses<T> inverses(args, system, s0, count);
  Scratch<T> memory(3 * size);
  T *const lambda = memory.data(), *const mu = lambda + size, *const grad_a = mu + size;
  std::memset(lambda, 0, 2 * size * sizeof(T));
  for (std::int64_t t = num_frames; t-- > 0;) {
    const auto frame = [&](std::int64_t i) { return (s0 + i) * num_frames + t; };
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < row; j += width_of<T>) {
        const std::int64_t at = i * row + j;
        V lj = V::load(lambda + at) + load_row(args.grad_c, n, frame(i), j);
        V mj = V::load(mu + at) + load_row(args.grad_v, n, frame(i), j);
        advance_vjp(step.h, step.explicit_position, &lj, &mj).store(grad_a + at);
        lj.store(lambda + at);
        mj.store(mu + at);
      }
    inverses.at_frame(t);
    inverses.product(count, Rows<T>{grad_a, row}, [&](std::int64_t i, std::int64_t j, const V& sum) {
      sum.store(r + (i * num_frames + t) * row + j);
      store_row(sum, args.grad_force, n, frame(i), j);
    });
    const Rows<T> rows{r + t * row, num_frames * row};
    if (damping)
      product(count, n, rows, damping, row, 0, row, FromZero<T>{}, [&](std::int64_t i, std::int64_t j, const V& pull) {
        (V::load(mu + i * row + j) - pull).store(mu + i * row + j);
      });
    if (stiffness)
      product(count, n, rows, stiffness, row, 0, row, FromZero<T>{},
              [&](std::int64_t i, std::int64_t j, const V& pull) {
                V lj = V::load(lambda + i * row + j), mj = V::load(mu + i * row + j);
                ahead_vjp(step.theta, pull, &lj, &mj);
                lj.store(lambda + i * row + j);
                mj.store(mu + i * row + j);
              });
    for (std::int64_t i = 0; i < count; ++i) gradients.add_frame(s0 + i, t, r + (i * num_frames + t) * row);
  }
  if (args.grad_c0) from_panel(count, n, lambda, args.grad_c0 + s0 * n);
  if (args.grad_v0) from_panel(count, n, mu, args.grad_v0 + s0 * n);
}

template <class T> void all_steps_bwd(const EulerRollout<T>& args, System<T>& system, int num_threads) {
  const std::int64_t row = padded(args.num_coordinates), beside = side_by_side(args);
  const MatrixGradients<T> gradients(args);
  const std::int64_t blocks = (args.num_sequences + beside - 1) / beside;
  const std::int64_t group = beside * blocks_per_task(blocks, gradients.shared());
  const std::int64_t groups = (args.num_sequences + group - 1) / group;
  Scratch<T> partial(gradients.shared() ? groups * gradients.sums_size() : 0);
  parallel_for(groups, 6 * rollout_work(args), num_threads, [&](std::int64_t g) {
    Scratch<T> memory(beside * args.num_frames * row + (gradients.shared() ? 0 : gradients.sums_size()));
    T* const r = memory.data();
    T* const sums =
        gradients.shared() ? partial.data() + g * gradients.sums_size() : r + beside * args.num_frames * row;
    gradients.clear(Span::shared, 0, row, sums);
    const std::int64_t last = min_of(args.num_sequences, (g + 1) * group);
    for (std::int64_t s0 = g * group; s0 < last; s0 += beside) {
      const std::int64_t count = min_of(beside, last - s0);
      steps_bwd(args, system, gradients, s0, count, r);
      for (std::int64_t s = s0; s < s0 + count && gradients.any(); ++s) {
        gradients.add(s, r + (s - s0) * args.num_frames * row, 0, row, sums);
        gradients.finish_sequence(s, sums);
      }
    }
  });
  if (gradients.shared()) gradients.finish_shared(groups, partial.data());
}

// ----------------------------------------------------------------------------------------------------------------------

template <class T> bool is_prefix_sum(const EulerRollout<T>& args, const System<T>& system) {
  return !system.elastic() && args.mass_span != Span::per_frame;
}

template <class T> RolloutFault euler_rollout_fwd(const EulerRollout<T>& args, int num_threads) {
  System<T> system(args);
  if (is_prefix_sum(args, system)) return prefix_sums_fwd(args, system, num_threads);
  // The mass is checked first, but D and K are part of the matrix that is inverted.
  const RolloutFault elastic = system.prepare_elastic(num_threads), fault = system.invert_all(num_threads);
  if (fault.kind == RolloutFault::mass_asymmetric) return fault;
  if (elastic.kind != RolloutFault::none) return elastic;
  if (fault.kind != RolloutFault::none) return fault;
  const std::int64_t beside = side_by_side(args);
  parallel_for((args.num_sequences + beside - 1) / beside, 3 * rollout_work(args), num_threads, [&](std::int64_t g) {
    steps_fwd(args, system, g * beside, min_of(beside, args.num_sequences - g * beside));
  });
  return {};
}

template <class T> void euler_rollout_bwd(const EulerRollout<T>& args, int num_threads) {
  System<T> system(args);
  if (is_prefix_sum(args, system)) return prefix_sums_bwd(args, system, num_threads);
  system.prepare_elastic(num_threads);
  all_steps_bwd(args, system, num_threads);
}

}  // namespace

template <class T> EulerRolloutKernels<T> euler_rollout_kernels() {
  return {euler_rollout_fwd<T>, euler_rollout_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(EulerRolloutKernels, euler_rollout_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
