#include <algorithm>
#include <vector>

#include "common/packed_binding.h"
#include "force_projection/cuda.h"

namespace biomechau {
namespace {

// The index of P, which is constant.
struct IndexBuffers {
  int64_t num_vertices, num_muscles;
  Buffer crow, col, muscle_crow, muscle_row, muscle_entry;

  // `others`: the size that the call multiplies them by, frames or shapes.
  void check_sizes(const Size& others) const {
    biomechau::check_sizes({others, {"num_vertices", num_vertices}, {"num_muscles", num_muscles}});
    biomechau::check_sizes({others, {"number of entries", col.numel}});
  }

  // Its sizes must be checked before; its indices are not.
  template <class T> Distribution<T> view(const Buffer& val, const Buffer& directions) const {
    const int64_t entries = col.numel;
    Distribution<T> p{};
    p.num_vertices = num_vertices;
    p.num_muscles = num_muscles;
    p.num_entries = entries;
    p.crow = crow.as<int64_t>(num_vertices + 1, "crow");
    p.col = col.as<int64_t>(entries, "col");
    p.muscle_crow = muscle_crow.as<int64_t>(num_muscles + 1, "muscle_crow");
    p.muscle_row = muscle_row.as<int64_t>(entries, "muscle_row");
    p.muscle_entry = muscle_entry.as<int64_t>(entries, "muscle_entry");
    p.val = val.as<T>(entries, "val");
    p.directions = directions.as_optional<T>(3 * entries, "directions");
    p.fibre = directions.given();
    return p;
  }
};

// Components of the force of a muscle.
int64_t force_width(const Buffer& directions) { return directions.given() ? 1 : 3; }

// The indices that a CPU kernel follows; those on a device are checked when a SparseMatrix is made.
template <class T> void check_by_vertex(const Distribution<T>& p) {
  check_rising(p.crow, p.num_vertices, p.num_entries, "crow");
  check_range(p.col, p.num_entries, p.num_muscles, "col");
}
template <class T> void check_by_muscle(const Distribution<T>& p) {
  check_rising(p.muscle_crow, p.num_muscles, p.num_entries, "muscle_crow");
  check_range(p.muscle_row, p.num_entries, p.num_vertices, "muscle_row");
  check_range(p.muscle_entry, p.num_entries, p.num_entries, "muscle_entry");
}

// Lists that nothing outside of this package holds: what they say is checked in the first call, their sizes in all.
class SortedBuffers {
 public:
  SortedBuffers(Buffer group_crow, Buffer muscle, Buffer list_crow, Buffer vertex, Buffer entry)
      : group_crow_(group_crow), muscle_(muscle), list_crow_(list_crow), vertex_(vertex), entry_(entry) {}

  // For a P, and the groups that the entries are sorted for: their number, and the vertices of each.
  template <class T, class Size>
  SortedEntries view(const Distribution<T>& p, int64_t num_groups, const Size& num_vertices) {
    SortedEntries sorted{};
    const int64_t num_lists = muscle_.numel;
    biomechau::check_sizes({{"number of lists", num_lists}});
    sorted.group_crow = group_crow_.as<int64_t>(num_groups + 1, "group_crow");
    sorted.muscle = muscle_.as<std::int32_t>(num_lists, "muscle");
    sorted.list_crow = list_crow_.as<int64_t>(num_lists + 1, "list_crow");
    const int64_t moving = sorted.list_crow[num_lists];
    if (moving > p.num_entries) throw std::invalid_argument("list_crow must not rise beyond the entries");
    sorted.vertex = vertex_.as<std::int32_t>(moving, "vertex");
    sorted.entry = entry_.as<std::int32_t>(p.num_entries, "entry");
    if (!is_read_) read(sorted, num_groups, num_lists);
    check_range(num_muscles_ <= p.num_muscles, "muscle");
    check_range(num_entries_ <= p.num_entries, "entry");
    for (int64_t g = 0; g < num_groups; ++g) check_range(num_vertices_[g] <= num_vertices(g), "vertex");
    return sorted;
  }

 private:
  void read(const SortedEntries& sorted, int64_t num_groups, int64_t num_lists) {
    check_rising(sorted.group_crow, num_groups, num_lists, "group_crow");
    check_rising(sorted.list_crow, num_lists, vertex_.numel, "list_crow");
    num_muscles_ = end_of(sorted.muscle, 0, num_lists, "muscle");
    num_entries_ = end_of(sorted.entry, 0, entry_.numel, "entry");
    num_vertices_.clear();
    for (int64_t g = 0; g < num_groups; ++g)
      num_vertices_.push_back(end_of(sorted.vertex, sorted.list_crow[sorted.group_crow[g]],
                                     sorted.list_crow[sorted.group_crow[g + 1]], "vertex"));
    is_read_ = true;
  }

  // One more than the largest of the indices from `begin` to `end`.
  static int64_t end_of(const std::int32_t* index, int64_t begin, int64_t end, const char* name) {
    check_range(index + begin, end - begin, INT32_MAX, name);
    return begin == end ? 0 : *std::max_element(index + begin, index + end) + int64_t{1};
  }

  Buffer group_crow_, muscle_, list_crow_, vertex_, entry_;
  bool is_read_ = false;
  int64_t num_muscles_ = 0, num_entries_ = 0;  // the fewest that there must be
  std::vector<int64_t> num_vertices_;          // likewise, of each group
};

using Sorted = SortedBuffers*;  // or null

// What forward and backward share, checked.
template <class T>
DistributeForces<T> distribute_forces_args(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_frames,
                                           Buffer force, const Place& place) {
  p.check_sizes({"num_frames", num_frames});
  DistributeForces<T> args{};
  args.distribution = p.view<T>(val, directions);
  if (!place.on_gpu()) {
    check_by_vertex(args.distribution);
    check_by_muscle(args.distribution);
  }
  args.num_frames = num_frames;
  args.force = force.as<T>(product({num_frames, p.num_muscles, force_width(directions)}), "force");
  return args;
}

void distribute_forces_fwd(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_frames, Buffer force,
                           Buffer out, Place place) {
  place.check();
  dispatch(val, "val", [&](auto zero) {
    using T = decltype(zero);
    DistributeForces<T> args = distribute_forces_args<T>(p, val, directions, num_frames, force, place);
    args.out = out.as<T>(product({num_frames, p.num_vertices, 3}), "out");
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::distribute_forces_fwd(args, place.gpu());
    select_force_projection_kernels<T>().distribute_forces_fwd(args, place.threads());
  });
}

void distribute_forces_bwd(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_frames, Buffer force,
                           Buffer grad_out, Buffer grad_val, Buffer grad_force, Buffer grad_directions, Place place) {
  place.check();
  dispatch(val, "val", [&](auto zero) {
    using T = decltype(zero);
    const int64_t entries = p.col.numel;
    DistributeForces<T> args = distribute_forces_args<T>(p, val, directions, num_frames, force, place);
    args.grad_out = grad_out.as<T>(product({num_frames, p.num_vertices, 3}), "grad_out");
    args.grad_val = grad_val.as_optional<T>(entries, "grad_val");
    args.grad_force = grad_force.as_optional<T>(product({num_frames, p.num_muscles, force_width(directions)}),
                                                "grad_force");
    args.grad_directions = grad_directions.as_optional<T>(3 * entries, "grad_directions");
    if (args.grad_directions && !directions.given()) throw std::invalid_argument("grad_directions needs directions");
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::distribute_forces_bwd(args, place.gpu());
    select_force_projection_kernels<T>().distribute_forces_bwd(args, place.threads());
  });
}

// `by_vertex`: the kernel follows the entries from vertex to vertex, also where they are sorted.
template <class T>
ReducedProjection<T> reduced_projection_args(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_shapes,
                                             Buffer blendshapes, Packed packed, Sorted sorted,
                                             bool by_vertex, const Place& place) {
  p.check_sizes({"num_shapes", num_shapes});
  ReducedProjection<T> args{};
  args.distribution = p.view<T>(val, directions);
  args.is_sorted = sorted && !place.on_gpu();
  if (!place.on_gpu() && (by_vertex || !sorted)) check_by_vertex(args.distribution);
  args.num_shapes = num_shapes;
  args.is_packed = packed != nullptr;
  if (packed) {
    packed->check(num_shapes, p.num_vertices, place);
    args.packed = packed->view<T>(
        [](int64_t vertices, int64_t shapes) { return vertices * ((3 * shapes + 15) / 16 * 16); });
    if (sorted)
      args.sorted = sorted->view<T>(args.distribution, args.packed.num_groups, [&](int64_t g) {
        return args.packed.vertex_crow[g + 1] - args.packed.vertex_crow[g];
      });
  } else {
    args.blendshapes = blendshapes.as<T>(product({num_shapes, p.num_vertices, 3}), "blendshapes");
    if (args.is_sorted) {
      const int64_t blocks = (p.num_vertices + projection_block - 1) / projection_block;
      args.sorted = sorted->view<T>(args.distribution, blocks, [&](int64_t i) {
        return std::min(projection_block, p.num_vertices - i * projection_block);
      });
      if (args.sorted.list_crow[args.sorted.group_crow[blocks]] < args.distribution.num_entries)
        throw std::invalid_argument("list_crow must rise to the number of entries");
    }
  }
  return args;
}

void reduced_projection_fwd(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_shapes, Buffer blendshapes,
                            Packed packed, Sorted sorted, Buffer out, Place place) {
  place.check();
  dispatch(val, "val", [&](auto zero) {
    using T = decltype(zero);
    ReducedProjection<T> args = reduced_projection_args<T>(p, val, directions, num_shapes, blendshapes, packed, sorted,
                                                           false, place);
    args.out = out.as<T>(product({num_shapes, p.num_muscles, force_width(directions)}), "out");
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::reduced_projection_fwd(args, place.gpu());
    select_force_projection_kernels<T>().reduced_projection_fwd(args, place.threads());
  });
}

void reduced_projection_bwd(const IndexBuffers& p, Buffer val, Buffer directions, int64_t num_shapes, Buffer blendshapes,
                            Packed packed, Sorted sorted, Buffer grad_out,
                            Buffer grad_blendshapes, Buffer grad_val, Buffer grad_directions, Place place) {
  place.check();
  dispatch(val, "val", [&](auto zero) {
    using T = decltype(zero);
    const int64_t entries = p.col.numel;
    ReducedProjection<T> args = reduced_projection_args<T>(p, val, directions, num_shapes, blendshapes, packed, sorted,
                                                           grad_blendshapes.given(), place);
    args.grad_out = grad_out.as<T>(product({num_shapes, p.num_muscles, force_width(directions)}), "grad_out");
    args.grad_blendshapes = grad_blendshapes.as_optional<T>(product({num_shapes, p.num_vertices, 3}),
                                                            "grad_blendshapes");
    args.grad_val = grad_val.as_optional<T>(entries, "grad_val");
    args.grad_directions = grad_directions.as_optional<T>(3 * entries, "grad_directions");
    if (args.grad_directions && !directions.given()) throw std::invalid_argument("grad_directions needs directions");
    if (packed && args.grad_blendshapes) throw std::invalid_argument("packed blendshapes have no gradient");
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::reduced_projection_bwd(args, place.gpu());
    select_force_projection_kernels<T>().reduced_projection_bwd(args, place.threads());
  });
}

void check_projection_sizes(int64_t num_frames, int64_t num_shapes, int64_t num_inputs) {
  check_sizes({{"num_frames", num_frames}, {"num_shapes", num_shapes}, {"num_inputs", num_inputs}});
}

template <class T>
ApplyProjection<T> apply_projection_args(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection,
                                         Buffer force) {
  check_projection_sizes(num_frames, num_shapes, num_inputs);
  ApplyProjection<T> args{};
  args.num_frames = num_frames;
  args.num_shapes = num_shapes;
  args.num_inputs = num_inputs;
  args.projection = projection.as<T>(product({num_shapes, num_inputs}), "projection");
  args.force = force.as<T>(product({num_frames, num_inputs}), "force");
  return args;
}

void apply_projection_fwd(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection, Buffer force,
                          Buffer out, Place place) {
  place.check();
  dispatch(projection, "projection", [&](auto zero) {
    using T = decltype(zero);
    ApplyProjection<T> args = apply_projection_args<T>(num_frames, num_shapes, num_inputs, projection, force);
    args.out = out.as<T>(product({num_frames, num_shapes}), "out");
    if (num_frames == 0 || num_shapes == 0) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::apply_projection_fwd(args, place.gpu());
    select_force_projection_kernels<T>().apply_projection_fwd(args, place.threads());
  });
}

void apply_projection_bwd(int64_t num_frames, int64_t num_shapes, int64_t num_inputs, Buffer projection, Buffer force,
                          Buffer grad_out, Buffer grad_projection, Buffer grad_force, Buffer workspace, Place place) {
  place.check();
  dispatch(projection, "projection", [&](auto zero) {
    using T = decltype(zero);
    ApplyProjection<T> args = apply_projection_args<T>(num_frames, num_shapes, num_inputs, projection, force);
    args.grad_out = grad_out.as<T>(product({num_frames, num_shapes}), "grad_out");
    args.grad_projection = grad_projection.as_optional<T>(product({num_shapes, num_inputs}), "grad_projection");
    args.grad_force = grad_force.as_optional<T>(product({num_frames, num_inputs}), "grad_force");
    T* scratch = place.workspace<T>(workspace, cuda::apply_projection_bwd_workspace(num_frames, num_shapes, num_inputs));
    if (num_inputs == 0 || (num_frames == 0 && num_shapes == 0)) return;
    py::gil_scoped_release release;
    if constexpr (cuda_built)
      if (place.on_gpu()) return cuda::apply_projection_bwd(args, scratch, place.gpu());
    select_force_projection_kernels<T>().apply_projection_bwd(args, place.threads());
  });
}

int64_t apply_projection_bwd_workspace(int64_t num_frames, int64_t num_shapes, int64_t num_inputs) {
  check_projection_sizes(num_frames, num_shapes, num_inputs);
  return cuda::apply_projection_bwd_workspace(num_frames, num_shapes, num_inputs);
}

}  // namespace

void bind_force_projection(py::module_& m) {
  py::class_<IndexBuffers>(m, "DistributionIndex", py::module_local())
      .def(py::init([](int64_t num_vertices, Buffer crow, Buffer col, Buffer muscle_crow, Buffer muscle_row,
                       Buffer muscle_entry, int64_t num_muscles) {
             return IndexBuffers{num_vertices, num_muscles, crow, col, muscle_crow, muscle_row, muscle_entry};
           }),
           "num_vertices"_a, "crow"_a, "col"_a, "muscle_crow"_a, "muscle_row"_a, "muscle_entry"_a, "num_muscles"_a);

  py::class_<SortedBuffers>(m, "SortedEntries", py::module_local())
      .def(py::init([](Buffer group_crow, Buffer muscle, Buffer list_crow, Buffer vertex, Buffer entry) {
             return SortedBuffers(group_crow, muscle, list_crow, vertex, entry);
           }),
           "group_crow"_a, "muscle"_a, "list_crow"_a, "vertex"_a, "entry"_a);

  m.attr("projection_block") = projection_block;

  m.def("distribute_forces_fwd", &distribute_forces_fwd, "index"_a, "val"_a, "directions"_a, "num_frames"_a, "force"_a,
        "out"_a, "place"_a);
  m.def("distribute_forces_bwd", &distribute_forces_bwd, "index"_a, "val"_a, "directions"_a, "num_frames"_a, "force"_a,
        "grad_out"_a, "grad_val"_a, "grad_force"_a, "grad_directions"_a, "place"_a);
  m.def("reduced_projection_fwd", &reduced_projection_fwd, "index"_a, "val"_a, "directions"_a, "num_shapes"_a,
        "blendshapes"_a, "packed"_a, "sorted"_a, "out"_a, "place"_a);
  m.def("reduced_projection_bwd", &reduced_projection_bwd, "index"_a, "val"_a, "directions"_a, "num_shapes"_a,
        "blendshapes"_a, "packed"_a, "sorted"_a, "grad_out"_a, "grad_blendshapes"_a, "grad_val"_a, "grad_directions"_a,
        "place"_a);
  m.def("apply_projection_fwd", &apply_projection_fwd, "num_frames"_a, "num_shapes"_a, "num_inputs"_a, "projection"_a,
        "force"_a, "out"_a, "place"_a);
  m.def("apply_projection_bwd", &apply_projection_bwd, "num_frames"_a, "num_shapes"_a, "num_inputs"_a, "projection"_a,
        "force"_a, "grad_out"_a, "grad_projection"_a, "grad_force"_a, "workspace"_a, "place"_a);
  m.def("apply_projection_bwd_workspace", &apply_projection_bwd_workspace, "num_frames"_a, "num_shapes"_a,
        "num_inputs"_a);
}

}  // namespace biomechau
