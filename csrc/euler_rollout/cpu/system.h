// The matrices of a rollout: checked, made symmetric, inverted.
#pragma once

#include "common/cpu/inverse.h"
#include "euler_rollout/euler_rollout.h"
#include "euler_rollout/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// The first matrix with the first kind of fault, otherwise the first with the second kind.
inline RolloutFault first_fault(const unsigned char* faults, std::int64_t count, RolloutFault::Kind first,
                                RolloutFault::Kind second = RolloutFault::none) {
  for (std::int64_t i = 0; i < count; ++i)
    if (faults[i] == first) return {first, i};
  for (std::int64_t i = 0; i < count; ++i)
    if (faults[i] != RolloutFault::none) return {second, i};
  return {};
}

// What every step of a rollout reads: D and K as symmetric panels, and F^-1 of args.inverse.
template <class T> class System {
 public:
  explicit System(const EulerRollout<T>& args)
      : args_(args),
        n_(args.num_coordinates),
        size_(n_ * padded(n_)),
        damping_(args.damping ? args.count(args.damping_span) * size_ : 0),
        stiffness_(args.stiffness ? args.count(args.stiffness_span) * size_ : 0) {}

  bool elastic() const { return args_.damping_span != Span::none || args_.stiffness_span != Span::none; }
  // F is M, unless the scheme is implicit and there is D or K.
  bool solves_mass() const { return args_.scheme != Scheme::implicit || !elastic(); }

  Step<T> step() const { return step_of(args_.scheme, args_.dt); }
  const T* damping(std::int64_t s) { return panel(args_.damping, damping_, args_.damping_span, s); }
  const T* stiffness(std::int64_t s) { return panel(args_.stiffness, stiffness_, args_.stiffness_span, s); }

  // F^-1 of frame t of sequence s as a panel.
  void load_inverse(std::int64_t s, std::int64_t t, T* panel) const {
    to_panel(n_, n_, args_.inverse + args_.index(args_.inverse_span(), s, t) * n_ * n_, panel);
  }

  // The symmetric parts of D and K.
  RolloutFault prepare_elastic(int num_threads) {
    const RolloutFault fault = prepare(args_.damping, args_.damping_span, damping_, RolloutFault::damping_asymmetric,
                                       num_threads);
    if (fault.kind != RolloutFault::none) return fault;
    return prepare(args_.stiffness, args_.stiffness_span, stiffness_, RolloutFault::stiffness_asymmetric, num_threads);
  }

  // Mass i checked and inverted into the panel and args.inverse; returns what is wrong with it.
  RolloutFault::Kind invert_mass(std::int64_t i, T* panel) const {
    if (!symmetric_part(n_, T(symmetry_tolerance), args_.mass + i * n_ * n_, panel))
      return RolloutFault::mass_asymmetric;
    if (!invert(n_, PanelEntries<T>{panel, padded(n_)}, solves_mass() ? panel : nullptr))
      return RolloutFault::mass_indefinite;
    if (solves_mass()) from_panel(n_, n_, panel, args_.inverse + i * n_ * n_);
    return RolloutFault::none;
  }

  // All of args.inverse. The mass must be positive definite in every scheme: stiffness could hide a negative one.
  RolloutFault invert_all(int num_threads) {
    const std::int64_t num_masses = args_.count(args_.mass_span);
    const RolloutFault fault =
        for_all(num_masses, num_threads, RolloutFault::mass_asymmetric, RolloutFault::mass_indefinite,
                [&](std::int64_t i, T* panel) { return invert_mass(i, panel); });
    if (fault.kind != RolloutFault::none || solves_mass()) return fault;
    const double h = args_.dt;
    return for_all(args_.count(args_.inverse_span()), num_threads, RolloutFault::system_indefinite, RolloutFault::none,
                   [&](std::int64_t s, T* panel) {
                     symmetric_part(n_, T(1), args_.mass + args_.index(args_.mass_span, s, 0) * n_ * n_, panel);
                     const std::int64_t row = padded(n_);
                     const T *const pull = damping(s), *const spring = stiffness(s);
                     const auto entries = [&](std::int64_t i, std::int64_t j) BIOMECHAU_INLINE_LAMBDA {
                       using V = Vector<double>;
                       V entry = V::load_as(panel + i * row + j);
                       if (pull) entry.add_scaled(h, V::load_as(pull + i * row + j));
                       if (spring) entry.add_scaled(h * h, V::load_as(spring + i * row + j));
                       return entry;
                     };
                     if (!invert(n_, entries, panel)) return static_cast<int>(RolloutFault::system_indefinite);
                     from_panel(n_, n_, panel, args_.inverse + s * n_ * n_);
                     return static_cast<int>(RolloutFault::none);
                   });
  }

 private:
  const T* panel(const T* given, Scratch<T>& panels, Span span, std::int64_t s) {
    return given ? panels.data() + args_.index(span, s, 0) * size_ : nullptr;
  }

  // fn(i, panel) for each matrix, which returns what is wrong with it.
  template <class Fn>
  RolloutFault for_all(std::int64_t count, int num_threads, RolloutFault::Kind first, RolloutFault::Kind second,
                       const Fn& fn) const {
    Scratch<unsigned char> faults(count);
    parallel_for(count, count * inversion_work(n_), num_threads, [&](std::int64_t i) {
      Scratch<T> panel(size_);
      faults[i] = static_cast<unsigned char>(fn(i, panel.data()));
    });
    return first_fault(faults.data(), count, first, second);
  }

  RolloutFault prepare(const T* matrices, Span span, Scratch<T>& panels, RolloutFault::Kind kind, int num_threads) {
    const std::int64_t count = matrices ? args_.count(span) : 0;
    Scratch<unsigned char> faults(count);
    parallel_for(count, 4.0 * count * n_ * n_, num_threads, [&](std::int64_t i) {
      const bool good = symmetric_part(n_, T(symmetry_tolerance), matrices + i * n_ * n_, panels.data() + i * size_);
      faults[i] = good ? RolloutFault::none : kind;
    });
    return first_fault(faults.data(), count, kind);
  }

  const EulerRollout<T>& args_;
  std::int64_t n_, size_;
  Scratch<T> damping_, stiffness_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
