// The entries of the distribution matrix in the order in which the reduced projection visits them.
#pragma once

#include "common/cpu/shape_group.h"
#include "force_projection/force_projection.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// The entries of P at the vertices of a group, muscle after muscle.
struct EntryLists {
  std::int64_t count;          // muscles that the group meets
  const std::int32_t* muscle;  // of each list
  const std::int64_t* start;   // of each list, and the end of the last
  const std::int32_t* vertex;  // of each entry, counted in the group
  const std::int32_t* entry;
};

// Makes the lists of a group if the caller has none.
class EntrySorter {
 public:
  EntrySorter(std::int64_t num_muscles, std::int64_t most_entries)
      : starts_(2 * num_muscles + 1), memory_(2 * num_muscles + 5 * most_entries), num_muscles_(num_muscles) {
    next_ = starts_.data() + num_muscles + 1;
    place_ = memory_.data();
    muscle_ = place_ + num_muscles;
    vertex_ = muscle_ + num_muscles;
    entry_ = vertex_ + most_entries;
    met_vertex_ = entry_ + most_entries;
    met_place_ = met_vertex_ + most_entries;
    met_entry_ = met_place_ + most_entries;
    for (std::int64_t m = 0; m < num_muscles; ++m) place_[m] = -1;
  }

  template <class T> EntryLists sort(const Distribution<T>& p, const ShapeGroup<T>& group) {
    std::int64_t total = 0, count = 0, *start = starts_.data();
    for (std::int64_t v = 0; v < group.num_vertices; ++v)
      for (std::int64_t e = p.crow[group.vertex[v]]; e < p.crow[group.vertex[v] + 1]; ++e) {
        std::int32_t& place = place_[p.col[e]];
        if (place < 0) {
          place = static_cast<std::int32_t>(count);
          muscle_[count] = static_cast<std::int32_t>(p.col[e]);
          start[++count] = 0;
        }
        ++start[place + 1];
        met_vertex_[total] = static_cast<std::int32_t>(v);
        met_place_[total] = place;
        met_entry_[total++] = static_cast<std::int32_t>(e);
      }
    start[0] = 0;
    for (std::int64_t l = 0; l < count; ++l) {
      start[l + 1] += start[l];
      next_[l] = start[l];
      place_[muscle_[l]] = -1;
    }
    for (std::int64_t i = 0; i < total; ++i) {
      const std::int64_t at = next_[met_place_[i]]++;
      vertex_[at] = met_vertex_[i];
      entry_[at] = met_entry_[i];
    }
    return {count, muscle_, start, vertex_, entry_};
  }

 private:
  Scratch<std::int64_t> starts_;
  Scratch<std::int32_t> memory_;
  std::int64_t num_muscles_, *next_;
  std::int32_t *place_, *muscle_, *vertex_, *entry_, *met_vertex_, *met_place_, *met_entry_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
