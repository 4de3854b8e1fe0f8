// The distribution matrix at a block of vertices: for every muscle that a vector of them meets, a vector of entries.
#pragma once

#include "common/cpu/threads.h"
#include "common/cpu/vector.h"
#include "force_projection/force_projection.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// A slot is one muscle at one vector of vertices; it holds P, or the three axes of P d if forces follow fibres.
template <class T> class MuscleLanes {
 public:
  static constexpr std::int64_t width = Vector<T>::width;

  // `part`: vertices that are sorted together, a multiple of the vector's width.
  MuscleLanes(const Distribution<T>& p, std::int64_t most_vertices, std::int64_t part)
      : p_(p),
        depth_(p.fibre ? 3 : 1),
        most_vectors_((most_vertices + width - 1) / width),
        part_(part),
        most_slots_(min_of(p.num_entries, most_vectors_ * p.num_muscles)),
        starts_(most_vectors_ + 1 + (most_vertices + part - 1) / part * (p.num_muscles + 1)),
        index_(3 * most_slots_ + p.num_muscles + min_of(p.num_entries, most_vertices * p.num_muscles)),
        values_(most_slots_ * depth_ * width) {
    list_ = starts_.data() + most_vectors_ + 1;
    muscle_ = index_.data();
    by_muscle_ = muscle_ + most_slots_;
    vector_ = by_muscle_ + most_slots_;
    last_ = vector_ + most_slots_;
    entry_slot_ = last_ + p.num_muscles;
    for (std::int64_t m = 0; m < p.num_muscles; ++m) last_[m] = -1;
  }

  // Vertices [first, first + num).
  void load(std::int64_t first, std::int64_t num) {
    first_ = first;
    num_ = num;
    std::int64_t count = 0, vector = 0;
    // Local copies: the compiler would read the members again after every store.
    const std::int64_t *const crow = p_.crow + first, *const col = p_.col;
    const T *const val = p_.val, *const directions = p_.fibre ? p_.directions : nullptr;
    std::int32_t *const last = last_, *entry_slot = entry_slot_;
    for (std::int64_t v = 0; v < num; ++vector) {
      const std::int64_t begin = starts_[vector] = count;
      for (std::int64_t lane = 0; lane < width && v < num; ++lane, ++v)
        for (std::int64_t e = crow[v], end = crow[v + 1]; e < end; ++e) {
          std::int32_t slot = last[col[e]];
          if (slot < begin) {
            slot = last[col[e]] = static_cast<std::int32_t>(count);
            muscle_[count] = static_cast<std::int32_t>(col[e]);
            vector_[count] = static_cast<std::int32_t>(vector);
            for (std::int64_t d = 0; d < depth_; ++d) Vector<T>::zero().store(lanes(count, d));
            ++count;
          }
          *entry_slot++ = slot;
          if (directions)
            for (int a = 0; a < 3; ++a) lanes(slot, a)[lane] = val[e] * directions[3 * e + a];
          else
            lanes(slot, 0)[lane] = val[e];
        }
    }
    starts_[vector] = count;
    for (std::int64_t s = 0; s < count; ++s) last_[muscle_[s]] = -1;
  }

  // The slots of a vector of vertices.
  std::int64_t begin(std::int64_t vector) const { return starts_[vector]; }
  std::int64_t end(std::int64_t vector) const { return starts_[vector + 1]; }
  std::int64_t count() const { return starts_[(num_ + width - 1) / width]; }
  std::int64_t most_slots() const { return most_slots_; }
  std::int64_t muscle(std::int64_t slot) const { return muscle_[slot]; }
  std::int64_t vector(std::int64_t slot) const { return vector_[slot]; }
  T* lanes(std::int64_t slot, std::int64_t axis) { return &values_[(slot * depth_ + axis) * width]; }
  const T* lanes(std::int64_t slot, std::int64_t axis) const {
    return &values_[(slot * depth_ + axis) * width];
  }

  // Puts the slots of each part of the vertices in the order of their muscles.
  void sort() {
    for (std::int64_t first = 0, part = 0; first < num_; first += part_, ++part) {
      std::int64_t* list = list_ + part * (p_.num_muscles + 1);
      const std::int64_t begin = starts_[first / width];
      const std::int64_t end = starts_[(min_of(first + part_, num_) + width - 1) / width];
      list[0] = begin;
      for (std::int64_t m = 1; m <= p_.num_muscles; ++m) list[m] = 0;
      for (std::int64_t s = begin; s < end; ++s) ++list[muscle_[s] + 1];
      for (std::int64_t m = 0; m < p_.num_muscles; ++m) list[m + 1] += list[m];
      // Each list then starts where the one before ends.
      for (std::int64_t s = begin; s < end; ++s) by_muscle_[list[muscle_[s]]++] = static_cast<std::int32_t>(s);
    }
  }

  // After that, calls fn(muscle, its slots, how many) for every part and every muscle that is met there.
  template <class Fn> void for_each_list(const Fn& fn) const {
    std::int64_t begin = 0;
    for (std::int64_t part = 0; part * part_ < num_; ++part)
      for (std::int64_t m = 0; m < p_.num_muscles; ++m) {
        const std::int64_t end = list_[part * (p_.num_muscles + 1) + m];
        if (begin < end) fn(m, by_muscle_ + begin, end - begin);
        begin = end;
      }
  }

  // Calls fn(entry, its slot, its lane) for every entry.
  template <class Fn> void for_each_entry(const Fn& fn) const {
    const std::int32_t* slot = entry_slot_;
    for (std::int64_t v = 0; v < num_; ++v)
      for (std::int64_t e = p_.crow[first_ + v]; e < p_.crow[first_ + v + 1]; ++e) fn(e, *slot++, v % width);
  }

 private:
  const Distribution<T>& p_;
  const std::int64_t depth_, most_vectors_, part_, most_slots_;
  Scratch<std::int64_t> starts_;
  Scratch<std::int32_t> index_;
  Scratch<T> values_;
  std::int64_t* list_;
  std::int32_t *muscle_, *by_muscle_, *vector_, *last_, *entry_slot_;
  std::int64_t first_ = 0, num_ = 0;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
