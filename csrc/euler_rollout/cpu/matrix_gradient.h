// Gradients of M, D and K: minus the symmetric parts of sums over the frames of x r^T, with r the gradient of the force
// and x the acceleration or the state that the matrix acts on.
#pragma once

#include <cstring>

#include "common/cpu/transpose.h"
#include "euler_rollout/euler_rollout.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// out (n, n) = -(sum + sum^T) / 2
template <class T> inline void negative_symmetric_part(std::int64_t n, const T* sum, T* out) {
  using V = Vector<T>;
  symmetrize(n, sum, padded(n), n,
             [](const V& x, const V& y) BIOMECHAU_INLINE_LAMBDA { return T(-0.5) * (x + y); }, ToTensor<T>{out, n});
}

// out (n, n) = -(x r^T + r x^T) / 2
template <class T> inline void negative_symmetric_product(std::int64_t n, const T* x, const T* r, T* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T xi = T(-0.5) * x[i], ri = T(-0.5) * r[i];
#pragma omp simd
    for (std::int64_t j = 0; j < n; ++j) out[i * n + j] = xi * r[j] + ri * x[j];
  }
}

// Which sums a backward pass needs. `sums` are three panels (n, K'), for M, D and K, used only if wanted.
template <class T> class MatrixGradients {
 public:
  explicit MatrixGradients(const EulerRollout<T>& args) : args_(args), n_(args.num_coordinates) {
    const bool late = args.scheme != Scheme::implicit;  // the states before the steps: one frame late
    if (args.mass_span != Span::per_frame) terms_[0] = {args.grad_mass, args.mass_span, args.acceleration, nullptr};
    terms_[1] = {args.grad_damping, args.damping_span, args.v, late ? args.v0 : nullptr};
    terms_[2] = {args.grad_stiffness, args.stiffness_span, args.c, late ? args.c0 : nullptr};
  }

  bool any() const { return terms_[0].grad || terms_[1].grad || terms_[2].grad; }
  // Whether a sum runs over sequences.
  bool shared() const {
    for (const Term& term : terms_)
      if (term.grad && term.span == Span::shared) return true;
    return false;
  }
  std::int64_t sums_size() const { return any() ? 3 * size() : 0; }

  // sums (columns [begin, end)) = 0 of wanted matrices with this span
  void clear(Span span, std::int64_t begin, std::int64_t end, T* sums) const {
    for (int m = 0; m < 3; ++m)
      if (terms_[m].grad && terms_[m].span == span)
        for (std::int64_t i = 0; i < n_; ++i)
          std::memset(sums + m * size() + i * padded(n_) + begin, 0, (end - begin) * sizeof(T));
  }

  // sums (columns [begin, end)) += those over the frames of sequence s, with r (T, K') a panel; the sums of a matrix of
  // that sequence alone start at 0
  void add(std::int64_t s, const T* r, std::int64_t begin, std::int64_t end, T* sums) const {
    const std::int64_t row = padded(n_), num_frames = args_.num_frames;
    clear(Span::per_sequence, begin, end, sums);
    if (num_frames == 0) return;
    for (int m = 0; m < 3; ++m) {
      const Term& term = terms_[m];
      if (!term.grad) continue;
      T* sum = sums + m * size();
      const auto go_on = [&](std::int64_t i, std::int64_t j) { return Vector<T>::load(sum + i * row + j); };
      const ToPanel<T> to{sum, row};
      const T* x = term.values + s * num_frames * n_;
      if (term.initial) {
        product(n_, 1, Rows<T>{term.initial + s * n_, 1, n_}, r, row, begin, end, go_on, to);
        product(n_, num_frames - 1, Rows<T>{x, 1, n_}, r + row, row, begin, end, go_on, to);
      } else {
        product(n_, num_frames, Rows<T>{x, 1, n_}, r, row, begin, end, go_on, to);
      }
    }
  }

  // The sums of one sequence to the gradients that have an axis of sequences.
  void finish_sequence(std::int64_t s, const T* sums) const {
    for (int m = 0; m < 3; ++m)
      if (terms_[m].grad && terms_[m].span == Span::per_sequence)
        negative_symmetric_part(n_, sums + m * size(), terms_[m].grad + s * n_ * n_);
  }

  // The gradients of shared matrices, from `count` sums, in order.
  void finish_shared(std::int64_t count, const T* sums) const {
    for (int m = 0; m < 3; ++m)
      if (terms_[m].grad && terms_[m].span == Span::shared) {
        Scratch<T> total(size());
        std::memset(total.data(), 0, size() * sizeof(T));
        for (std::int64_t i = 0; i < count; ++i) {
          const T* sum = sums + i * sums_size() + m * size();
          for (std::int64_t k = 0; k < size(); ++k) total[k] += sum[k];
        }
        negative_symmetric_part(n_, total.data(), terms_[m].grad);
      }
  }

  // A mass per frame gets the gradient of its own frame only.
  void add_frame(std::int64_t s, std::int64_t t, const T* r) const {
    if (args_.mass_span != Span::per_frame || !args_.grad_mass) return;
    const std::int64_t frame = s * args_.num_frames + t;
    negative_symmetric_product(n_, args_.acceleration + frame * n_, r, args_.grad_mass + frame * n_ * n_);
  }

 private:
  struct Term {
    T* grad;
    Span span;
    const T* values;   // (S, T, K)
    const T* initial;  // (S, K): the states before the steps are these, then `values` one frame late; null: not late
  };

  std::int64_t size() const { return n_ * padded(n_); }

  const EulerRollout<T>& args_;
  std::int64_t n_;
  Term terms_[3] = {};
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
