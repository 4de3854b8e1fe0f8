// The entries of the distribution matrix in the order in which the reduced projection visits them.
#pragma once

#include "common/cpu/threads.h"
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

// The lists of group g that the caller has made.
inline EntryLists given_lists(const SortedEntries& sorted, std::int64_t g) {
  const std::int64_t first = sorted.group_crow[g];
  return {sorted.group_crow[g + 1] - first, sorted.muscle + first, sorted.list_crow + first, sorted.vertex,
          sorted.entry};
}

// Makes the lists of a group if the caller has none.
class EntrySorter {
 public:
  EntrySorter(std::int64_t num_muscles, std::int64_t most_entries)
      : starts_(2 * num_muscles + 1), memory_(num_muscles + 2 * most_entries), num_muscles_(num_muscles) {
    next_ = starts_.data() + num_muscles + 1;
    muscle_ = memory_.data();
    vertex_ = muscle_ + num_muscles;
    entry_ = vertex_ + most_entries;
  }

  // Of `count` vertices, of which v is vertex(v) of the face.
  template <class T, class Vertex> EntryLists sort(const Distribution<T>& p, std::int64_t count, const Vertex& vertex) {
    // Local copies: the compiler would read the members again after every store.
    const std::int64_t *const crow = p.crow, *const col = p.col;
    std::int64_t *const start = starts_.data(), *const next = next_;
    std::int32_t *const vertices = vertex_, *const entries = entry_;
    for (std::int64_t m = 0; m < num_muscles_; ++m) next[m] = 0;
    for (std::int64_t v = 0; v < count; ++v)
      for (std::int64_t e = crow[vertex(v)], end = crow[vertex(v) + 1]; e < end; ++e) ++next[col[e]];
    std::int64_t lists = 0, total = 0;
    for (std::int64_t m = 0; m < num_muscles_; ++m) {
      if (next[m] == 0) continue;
      muscle_[lists] = static_cast<std::int32_t>(m);
      start[lists++] = total;
      total += next[m];
      next[m] = start[lists - 1];
    }
    start[lists] = total;
    for (std::int64_t v = 0; v < count; ++v)
      for (std::int64_t e = crow[vertex(v)], end = crow[vertex(v) + 1]; e < end; ++e) {
        const std::int64_t at = next[col[e]]++;
        vertices[at] = static_cast<std::int32_t>(v);
        entries[at] = static_cast<std::int32_t>(e);
      }
    return {lists, muscle_, start, vertices, entries};
  }

 private:
  Scratch<std::int64_t> starts_;
  Scratch<std::int32_t> memory_;
  std::int64_t num_muscles_, *next_;
  std::int32_t *muscle_, *vertex_, *entry_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
