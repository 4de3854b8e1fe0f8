#include "generalized_mass/generalized_mass.h"

#include <limits>

#include "generalized_mass/cpu/gradients.h"
#include "generalized_mass/cpu/sum_pairs.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

template <class T> std::int64_t first_bad_mass(const GeneralizedMass<T>& args, int num_threads) {
  constexpr std::int64_t task_masses = 1 << 14;
  const std::int64_t count = args.num_sequences * args.num_vertices;
  const std::int64_t tasks = (count + task_masses - 1) / task_masses;
  Scratch<int> bad(tasks);
  parallel_for(tasks, 1.0 * count, num_threads, [&](std::int64_t task) {
    int found = 0;
    for (std::int64_t i = task * task_masses; i < min_of(count, (task + 1) * task_masses); ++i)
      found |= !(args.mass[i] >= 0) | !(args.mass[i] <= std::numeric_limits<T>::max());
    bad[task] = found;
  });
  for (std::int64_t task = 0; task < tasks; ++task)
    for (std::int64_t i = task * task_masses; bad[task] && i < count; ++i)
      if (!(args.mass[i] >= 0) || !(args.mass[i] <= std::numeric_limits<T>::max())) return i;
  return -1;
}

// How many pieces the sum over vertices is cut into. It depends on the sizes alone: the order of the sum, and so its last
// bit, is the same for every number of threads.
std::int64_t num_pieces(std::int64_t num_groups, std::int64_t size) {
  constexpr std::int64_t most = 32, largest = 1 << 21;  // elements of all partial sums
  return max_of(1, min_of(num_groups, max_of(4, min_of(most, largest / max_of(1, size)))));
}

template <class T> std::int64_t generalized_mass_fwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t bad = first_bad_mass(args, num_threads);
  if (bad >= 0) return bad;
  const std::int64_t num_shapes = args.num_shapes, num_sequences = args.num_sequences;
  const Pairs pairs{num_shapes};
  const ShapeGroups<T, Lanes<T>> groups(args.is_packed, args.blendshapes, args.packed, num_shapes,
                                          args.num_vertices);
  const bool many = num_sequences >= many_sequences;
  const std::int64_t sequences =
      num_sequences == 1 ? 1 : round_up(num_sequences, many ? Vector<T>::width : tile_sequences);
  const std::int64_t size = pairs.count() * sequences, pieces = num_pieces(groups.count(), size);
  const std::int64_t largest = Lanes<T>::num_vectors(groups.largest()) * Vector<T>::width;
  const std::int64_t panel = sequences * largest, products = 6 * largest;
  const std::int64_t own_size = groups.values_size() + panel + products;
  Scratch<T> partial(pieces * size), own(pieces * own_size);
  Scratch<std::int32_t> own_index(pieces * groups.index_size());
  parallel_for(pieces, 2 * groups.cost() * (3 + num_sequences), num_threads, [&](std::int64_t piece) {
    T *out = partial.data() + piece * size, *values = own.data() + piece * own_size;
    T *mass = values + groups.values_size(), *scratch = mass + panel;
    for (std::int64_t i = 0; i < size; ++i) out[i] = 0;
    for (std::int64_t g = groups.begin(piece, pieces); g < groups.begin(piece + 1, pieces); ++g) {
      const ShapeGroup<T> group = groups.get(g, values, own_index.data() + piece * groups.index_size());
      load_masses(args, group, sequences, many, mass);
      if (sequences == 1)
        add_products(group, mass, pairs, scratch, out);
      else if (!many)
        for_each_tile(group, pairs, scratch,
                      [&](const ProductTile<T>& tile) { add_tile(tile, mass, sequences, out); });
      else
        for_each_tile(group, pairs, scratch, [&](const ProductTile<T>& tile) {
          for_each_vector<tile_columns, T>(0, sequences, [&](auto count, std::int64_t s) {
            add_tile_of_many<decltype(count)::value>(tile, group.num_vertices, mass, sequences, s, out);
          });
        });
    }
  });
  parallel_for(num_shapes, 1.0 * pieces * size, num_threads, [&](std::int64_t k) {
    for (std::int64_t l = k; l < num_shapes; ++l) {
      const std::int64_t at = (pairs.row(k) + l) * sequences;
      for (std::int64_t piece = 1; piece < pieces; ++piece)
        for (std::int64_t s = 0; s < num_sequences; ++s) partial[at + s] += partial[piece * size + at + s];
      for (std::int64_t s = 0; s < num_sequences; ++s) {
        T* out = args.out + s * num_shapes * num_shapes;
        out[k * num_shapes + l] = out[l * num_shapes + k] = args.scale * partial[at + s];
      }
    }
  });
  return -1;
}

template <class T> void generalized_mass_bwd(const GeneralizedMass<T>& args, int num_threads) {
  const std::int64_t num_shapes = args.num_shapes, num_sequences = args.num_sequences;
  const ShapeGroups<T, Lanes<T>> groups(args.is_packed, args.blendshapes, args.packed, num_shapes,
                                          args.num_vertices);
  const std::int64_t largest = Lanes<T>::num_vectors(groups.largest()) * Vector<T>::width;
  const std::int64_t pieces = num_pieces(groups.count(), 0), panel = num_sequences * largest;
  const std::int64_t many_size = Vector<T>::width * (num_shapes + round_up(num_sequences, Vector<T>::width));
  const std::int64_t own_size = groups.values_size() + max_of(args.grad_blendshapes ? panel : 0, many_size);
  Scratch<T> own(pieces * own_size);
  Scratch<std::int32_t> own_index(pieces * groups.index_size());
  const auto each_group = [&](double work, const auto& fn) {
    parallel_for(pieces, work, num_threads, [&](std::int64_t piece) {
      T* values = own.data() + piece * own_size;
      for (std::int64_t g = groups.begin(piece, pieces); g < groups.begin(piece + 1, pieces); ++g)
        fn(groups.get(g, values, own_index.data() + piece * groups.index_size()), values + groups.values_size());
    });
  };
  const double work = 2 * groups.cost() * (3 + num_sequences);
  if (args.grad_mass) {
    const bool many = num_sequences >= many_sequences;
    const std::int64_t tile = many                 ? Vector<T>::width
                              : num_sequences <= 2 ? num_sequences
                              : num_sequences <= 4 ? 4
                                                   : tile_gradients;
    const PairGradients<T> gradients(args, round_up(num_sequences, tile), true, num_threads);
    Scratch<T> zeros(num_shapes);
    for (std::int64_t k = 0; k < num_shapes; ++k) zeros[k] = 0;
    each_group(work, [&](const ShapeGroup<T>& group, T* scratch) {
      if (many)
        mass_gradient_of_many(args, group, gradients, scratch);
      else if (tile == 1)
        mass_gradient(group, gradients, zeros.data(), args.grad_mass);
      else if (tile == 2)
        mass_gradient<2>(args, group, gradients);
      else if (tile == 4)
        mass_gradient<4>(args, group, gradients);
      else
        mass_gradient<tile_gradients>(args, group, gradients);
    });
    for (std::int64_t v = groups.num_moving(); v < args.num_vertices; ++v)
      for (std::int64_t s = 0; s < num_sequences; ++s)
        args.grad_mass[s * args.num_vertices + args.packed.vertex[v]] = 0;
  }
  if (args.grad_blendshapes) {
    const PairGradients<T> gradients(args, num_sequences, false, num_threads);
    each_group(2 * work, [&](const ShapeGroup<T>& group, T* mass) {
      load_masses(args, group, num_sequences, false, mass);
      blendshape_gradient(args, group, gradients, mass);
    });
  }
}

}  // namespace

template <class T> GeneralizedMassKernels<T> generalized_mass_kernels() {
  return {generalized_mass_fwd<T>, generalized_mass_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(GeneralizedMassKernels, generalized_mass_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
