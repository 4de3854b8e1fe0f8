// Forward: a block owns a tile of the upper triangle of M, some sequences and a piece of the vertices (few.cuh,
// many.cuh). A second kernel adds the pieces in order.
// Backward: a block owns 32 vertices, one per lane; all lanes read G at the same address.
#include <type_traits>

#include "common/product.cuh"
#include "generalized_mass/cuda.h"
#include "generalized_mass/few.cuh"
#include "generalized_mass/many.cuh"
#include "generalized_mass/math.h"

namespace biomechau {
namespace cuda {
namespace {

constexpr int group = mass_group;
constexpr int warps = 8;            // of a block of the backward pass
constexpr int backward_threads = warps * warp_size;

// Slots that a block of mirror_sum_kernel owns: many pieces are shared by several threads.
BIOMECHAU_INLINE int slots_of_block(const MassPieces& sizes) { return sizes.few ? sum_columns : sum_threads; }

// out (S, K, K) from the upper triangles of M in partial (pieces, S, slots)
template <class T> __global__ void __launch_bounds__(sum_threads, 4) mirror_sum_kernel(MassSums<T> sums) {
  const GeneralizedMass<T>& args = sums.args;
  const MassPieces& sizes = sums.sizes;
  const int own_slots = slots_of_block(sizes), own = static_cast<int>(threadIdx.x) % own_slots;
  const std::int64_t slots = sizes.slots(), count = args.num_sequences * slots;
  const std::int64_t flat = blockIdx.x * std::int64_t(own_slots) + own, s = flat / slots;
  const int slot = static_cast<int>(flat - s * slots), area = sizes.edge * sizes.edge, square = slot / area;
  const MassTile tile(static_cast<int>(args.num_shapes), sizes, square / sizes.squares);
  int k = 0, l = 0;
  tile.part.square(tile.first + square % sizes.squares, sizes.edge, &k, &l);
  k += slot % area / sizes.edge;
  l += slot % sizes.edge;
  const bool exists = flat < count && tile.has(square % sizes.squares, sizes) && k < tile.part.rows &&
                      l < tile.part.cols && (k <= l || !tile.part.is_diagonal());
  const T* partial = sums.partial + flat;
  T total = 0;
  if (sizes.few) {
    total = sum_pieces<T>(sizes.pieces, [&](std::int64_t piece) { return exists ? partial[piece * count] : T(0); });
  } else if (exists) {
#pragma unroll 8
    for (int piece = 0; piece < static_cast<int>(sizes.pieces); ++piece, partial += count) total += *partial;
  }
  if (static_cast<int>(threadIdx.x) >= own_slots || !exists) return;
  const std::int64_t n = args.num_shapes;
  T* out = args.out + s * n * n;
  k += tile.part.k0;
  l += tile.part.l0;
  out[k * n + l] = out[l * n + k] = args.scale * total;
}

std::int64_t padded_sequences(std::int64_t num_sequences) { return blocks_for(num_sequences, group) * group; }

// packed (K, K, width) = the symmetric parts of the output gradients, zero for the sequences that fill the last group
template <class T>
__global__ void pack_gradients_kernel(GeneralizedMass<T> args, std::int64_t width, T* packed) {
  const std::int64_t flat = blockIdx.x * std::int64_t(blockDim.x) + threadIdx.x, n = args.num_shapes;
  if (flat >= n * n * width) return;
  const std::int64_t s = flat % width, k = flat / width / n, l = flat / width % n;
  const T* grad = args.grad_out + s * n * n;
  packed[flat] = s < args.num_sequences ? (grad[k * n + l] + grad[l * n + k]) / 2 : T(0);
}

// The values of one pair for a group of sequences, read sixteen bytes at a time.
template <class T> struct alignas(16) Group {
  T values[group];
};

// How a block of the backward pass uses its shared memory.
template <class T> struct BackwardMemory {
  T* sums;      // (warps, group, warp_size)
  int* active;  // (K) shapes that move any vertex of the block, rising
  int* moves;   // (K) whether a shape does, then, behind it, how many do
  T* shapes;    // (K, warp_size, 3), where it fits

  static std::size_t size(std::int64_t num_shapes, bool with_shapes) {
    return (warps * group * warp_size + (with_shapes ? num_shapes * warp_size * 3 : 0)) * sizeof(T) +
           2 * (num_shapes + 1) * sizeof(int);
  }
  __device__ BackwardMemory(std::int64_t num_shapes, bool with_shapes) {
    sums = shared_memory<T>();
    shapes = sums + warps * group * warp_size;
    active = reinterpret_cast<int*>(shapes + (with_shapes ? num_shapes * warp_size * 3 : 0));
    moves = active + num_shapes;
  }
};

// Fills `active` and returns how many there are. `own` is the lane's vertex in the first shape, `stride` leads to the
// next shape.
template <class T>
__device__ int find_active(std::int64_t num_shapes, const T* own, std::int64_t stride, const BackwardMemory<T>& memory) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const int n = static_cast<int>(num_shapes);
  for (int k = warp; k < n; k += warps) {
    const T* b = own + k * stride;
    const unsigned moved = __ballot_sync(whole_warp, b[0] != 0 || b[1] != 0 || b[2] != 0);
    if (lane == 0) memory.moves[k] = moved != 0;
  }
  __syncthreads();
  if (warp == 0) {
    int count = 0;
    for (int k0 = 0; k0 < n; k0 += warp_size) {
      const bool is_active = k0 + lane < n && memory.moves[k0 + lane];
      const unsigned all = __ballot_sync(whole_warp, is_active);
      if (is_active) memory.active[count + __popc(all & ((1u << lane) - 1))] = k0 + lane;
      count += __popc(all);
    }
    if (lane == 0) memory.moves[n] = count;
  }
  __syncthreads();
  return memory.moves[n];
}

// shapes_in_shared: where the block's shapes lie is known to the compiler, so that it loads them accordingly.
template <bool shapes_in_shared, class T>
__global__ void __launch_bounds__(backward_threads, sizeof(T) == 4 ? 4 : 2)
    gradients_kernel(GeneralizedMass<T> args, std::int64_t width, const T* packed) {
  const BackwardMemory<T> memory(args.num_shapes, shapes_in_shared);
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const std::int64_t start = blockIdx.x * std::int64_t(warp_size), vertex = start + lane, n = args.num_shapes;
  const std::int64_t last = args.num_vertices - 1;
  const bool inside = vertex <= last;

  // A lane beyond the last vertex computes that vertex too, and writes nothing.
  const T* own = args.blendshapes + (inside ? vertex : last) * 3;
  std::conditional_t<shapes_in_shared, int, std::int64_t> stride = args.num_vertices * 3;
  if constexpr (shapes_in_shared) {
    constexpr unsigned row = warp_size * 3;
    const T* first = args.blendshapes + start * 3;
    const auto end = static_cast<unsigned>(smaller(row, (last + 1 - start) * 3));
    const auto num_vertices = static_cast<unsigned>(args.num_vertices), count = static_cast<unsigned>(n) * row;
    for (unsigned i = threadIdx.x; i < count; i += backward_threads) {
      const unsigned k = i / row, at = i % row;
      memory.shapes[i] = first[std::uint64_t(k) * num_vertices * 3 + (at < end ? at : end - 3 + at % 3)];
    }
    own = memory.shapes + lane * 3;
    stride = warp_size * 3;
    __syncthreads();
  }
  const int count = find_active(n, own, stride, memory);
  const int groups = static_cast<int>(width / group);

  if (args.grad_mass) {
    // grad_m_si = scale <G_s, B(i)^T B(i)>: warps share the groups of sequences, and remaining warps the rows.
    const int together = groups >= 5 ? 8 : groups >= 3 ? 4 : groups;
    const int splits = warps / together;
    for (int first = 0; first < groups; first += together) {
      const int own_group = first + warp % together;
      T sum[group] = {};
      if (own_group < groups)
        for (int j = warp / together; j < count; j += splits) {
          const int k = memory.active[j];
          const T* b = own + k * stride;
          const T shape[3] = {b[0], b[1], b[2]};
          const T* gradient = packed + k * n * width + own_group * group;  // of pairs with shape k
          for (int i = j; i < count; ++i) {
            const unsigned l = memory.active[i];
            const T* other = own + l * stride;
            const T product = (i == j ? 1 : 2) * pair(shape, other[0], other[1], other[2]);
            const Group<T> g = *reinterpret_cast<const Group<T>*>(gradient + l * std::uint64_t(unsigned(width)));
#pragma unroll
            for (int s = 0; s < group; ++s) sum[s] += product * g.values[s];
          }
        }
#pragma unroll
      for (int s = 0; s < group; ++s) memory.sums[(warp * group + s) * warp_size + lane] = sum[s];
      __syncthreads();
      // The rows' shares of one group and sequence, added by one thread per vertex.
      for (int task = warp; task < together * group; task += warps) {
        const std::int64_t s = (first + task / group) * group + task % group;
        T total = 0;
        for (int split = 0; split < splits; ++split)
          total += memory.sums[((split * together + task / group) * group + task % group) * warp_size + lane];
        if (inside && s < args.num_sequences) args.grad_mass[s * args.num_vertices + vertex] = args.scale * total;
      }
      __syncthreads();
    }
  }

  if (args.grad_blendshapes)
    // grad_B_k(i) = 2 scale sum_l B_l(i) sum_s m_si G_s[k, l]
    for (std::int64_t k = warp; k < n; k += warps) {
      T grad[3] = {0, 0, 0};
      for (int at = 0; at < groups; ++at) {
        T mass[group];
        const T* gradient = packed + k * n * width + at * group;
#pragma unroll
        for (int s = 0; s < group; ++s) {
          const std::int64_t sequence = at * group + s;
          mass[s] = inside && sequence < args.num_sequences ? args.mass[sequence * args.num_vertices + vertex] : T(0);
        }
        for (int i = 0; i < count; ++i) {
          const unsigned l = memory.active[i];
          const Group<T> g = *reinterpret_cast<const Group<T>*>(gradient + l * std::uint64_t(unsigned(width)));
          T weight = 0;
#pragma unroll
          for (int s = 0; s < group; ++s) weight += mass[s] * g.values[s];
          const T* b = own + l * stride;
          const T shape[3] = {b[0], b[1], b[2]};
          pair_vjp(shape, weight, grad);
        }
      }
      if (inside)
        for (int a = 0; a < 3; ++a)
          args.grad_blendshapes[(k * args.num_vertices + vertex) * 3 + a] = 2 * args.scale * grad[a];
    }
}

}  // namespace

template <class T>
void generalized_mass_fwd(const GeneralizedMass<T>& args, T* workspace, std::int64_t* fault, Device device) {
  const Launcher launch("generalized_mass", device);
  const MassPieces sizes(args.num_sequences, args.num_vertices, args.num_shapes);
  if (fault) launch.fill_bytes(fault, 0xff, sizeof(*fault));
  const MassSums<T> sums{args, sizes, workspace, fault};
  const bool wide = args.num_sequences > 32 && sizeof(T) == 4;
  if (args.num_sequences == 1)
    launch_few<1>(launch, sums);
  else if (sizes.few)
    launch_few<few_group<T>>(launch, sums);
  else if (wide)
    launch_many<sizeof(T) == 4 ? 64 : 32>(launch, sums);
  else
    launch_many<32>(launch, sums);
  launch(mirror_sum_kernel<T>, blocks_for(args.num_sequences * sizes.slots(), slots_of_block(sizes)), sum_threads,
         sum_threads * sizeof(T), sums);
}

template <class T> void generalized_mass_bwd(const GeneralizedMass<T>& args, T* workspace, Device device) {
  constexpr int threads = 256;
  const Launcher launch("generalized_mass_bwd", device);
  const std::int64_t width = padded_sequences(args.num_sequences);
  launch(pack_gradients_kernel<T>, blocks_for(args.num_shapes * args.num_shapes * width, threads), threads, 0, args,
         width, workspace);
  const std::int64_t blocks = blocks_for(args.num_vertices, warp_size);
  const std::size_t with_shapes = BackwardMemory<T>::size(args.num_shapes, true);
  if (with_shapes <= launch.most_shared_bytes())
    launch(gradients_kernel<true, T>, blocks, backward_threads, with_shapes, args, width, workspace);
  else
    launch(gradients_kernel<false, T>, blocks, backward_threads, BackwardMemory<T>::size(args.num_shapes, false), args,
           width, workspace);
}

#define BIOMECHAU_INSTANTIATE(T)                                                                              \
  template void generalized_mass_fwd<T>(const GeneralizedMass<T>&, T* workspace, std::int64_t* fault, Device); \
  template void generalized_mass_bwd<T>(const GeneralizedMass<T>&, T* workspace, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
