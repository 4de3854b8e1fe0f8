// Up: T_k x = 2 S T_k-1 x - T_k-2 x for all k, then one product of all terms with all weights, at the rows with an
// output. Down (Clenshaw): one product makes h_k = x W_k for all k, then b_k = h_k + 2 S b_k+1 - b_k+2 takes the place of
// h_k. The forward pass goes the way on which the recurrence has fewer channels. S is symmetric, so grad_x is the same
// sum with the roles of inputs and outputs exchanged: down, in the width of x. grad_W_k = (T_k x)^T grad_y is one product
// of all terms with grad_y, with a row of ones for the bias.
#include "chebyshev_conv/cuda.h"
#include "chebyshev_conv/math.h"
#include "chebyshev_conv/products.cuh"

namespace biomechau {
namespace cuda {
namespace {

// -- the recurrence ---------------------------------------------------------------------------------------------------

constexpr int threads = 256;
constexpr int group = 4;  // frames for which S is read once

// One step up or down. Null: a term that is zero.
template <class T> struct RecurrenceStep {
  SymmetricOperator<T> laplacian;
  std::int64_t num_frames;
  unsigned num_rows, channels;
  const T* next;                 // (X, N, channels) T_k-1 x, or b_k+1
  const T* before;               // (X, N, channels) T_k-2 x, or b_k+2
  const T* added;                // (X, N, channels) h_k; null: up
  const T* bias;                 // (channels), or null
  const std::int64_t* vertices;  // (rows), or null: all
  bool last;                     // down: the sum itself, not b_k
  T* out;                        // (X, rows, channels); may be `added`

  unsigned blocks_of_group() const {
    return static_cast<unsigned>(blocks_for(std::int64_t(num_rows) * channels, threads));
  }
  std::int64_t blocks() const { return blocks_for(num_frames, group) * blocks_of_group(); }
};

// Each thread takes one channel of one row, for `group` frames.
template <class T>
__global__ void __launch_bounds__(threads) step_kernel(RecurrenceStep<T> step, unsigned blocks_of_group) {
  const unsigned channels = step.channels, flat = blockIdx.x % blocks_of_group * threads + threadIdx.x;
  const unsigned row = flat / channels, c = flat - row * channels;
  if (row >= step.num_rows) return;
  const SymmetricOperator<T>& s = step.laplacian;
  const std::int64_t x0 = std::int64_t(blockIdx.x / blocks_of_group) * group, frame = s.num_vertices * channels;
  const int count = static_cast<int>(smaller(group, step.num_frames - x0));
  const std::int64_t vertex = step.vertices ? step.vertices[row] : row;
  const bool exists = vertex >= 0 && vertex < s.num_vertices;
  const unsigned i = exists ? static_cast<unsigned>(vertex) : 0;

  T product[group] = {};
  if (step.next) {
    const char* next[group];  // frame by frame; the first one in the place of those beyond the last
#pragma unroll
    for (int r = 0; r < group; ++r)
      next[r] = reinterpret_cast<const char*>(step.next + (x0 + (r < count ? r : 0)) * frame);
    const int end = static_cast<int>(s.crow[i + 1]);
#pragma unroll 4
    for (int e = static_cast<int>(s.crow[i]); e < end; ++e) {
      const T val = s.val[e];
      const unsigned bytes = (static_cast<unsigned>(s.col[e]) * channels + c) * static_cast<unsigned>(sizeof(T));
#pragma unroll
      for (int r = 0; r < group; ++r) product[r] += val * *reinterpret_cast<const T*>(next[r] + bytes);
    }
  }
  const std::int64_t at = x0 * frame + i * channels + c;
  const T bias = step.bias ? step.bias[c] : T(0);
#pragma unroll
  for (int r = 0; r < group; ++r) {
    if (r >= count) break;
    const T before = step.before ? step.before[at + r * frame] : T(0);
    T value;
    if (step.added) {
      const T h = step.added[at + r * frame];
      value = (step.last ? clenshaw_sum(h, product[r], before) : clenshaw_term(h, product[r], before)) + bias;
    } else {
      value = step.before ? next_term(product[r], before) : product[r];
    }
    step.out[((x0 + r) * step.num_rows + row) * channels + c] = exists ? value : T(NAN);
  }
}

template <class T> void launch_step(const Launcher& launch, const RecurrenceStep<T>& step) {
  launch(step_kernel<T>, step.blocks(), threads, 0, step, step.blocks_of_group());
}

// -- the passes -------------------------------------------------------------------------------------------------------

// T_1 x .. T_K-1 x, one behind the other.
template <class T> void make_terms(const Launcher& launch, const ChebyshevConv<T>& args, T* terms) {
  const std::int64_t size = args.num_frames * args.laplacian.num_vertices * args.num_inputs;
  RecurrenceStep<T> step{};
  step.laplacian = args.laplacian;
  step.num_frames = args.num_frames;
  step.num_rows = static_cast<unsigned>(args.laplacian.num_vertices);
  step.channels = static_cast<unsigned>(args.num_inputs);
  step.next = args.x;
  for (std::int64_t k = 1; k < args.num_terms; ++k) {
    step.out = terms + (k - 1) * size;
    launch_step(launch, step);
    step.before = step.next;
    step.next = step.out;
  }
}

// out = sum_k T_k h_k, from h_0 .. h_K-1 one behind the other, which it changes.
template <class T>
void sum_down(const Launcher& launch, const ChebyshevConv<T>& args, std::int64_t channels, T* sums,
              std::int64_t num_rows, const std::int64_t* vertices, const T* bias, T* out) {
  const std::int64_t size = args.num_frames * args.laplacian.num_vertices * channels;
  RecurrenceStep<T> step{};
  step.laplacian = args.laplacian;
  step.num_frames = args.num_frames;
  step.channels = static_cast<unsigned>(channels);
  for (std::int64_t k = args.num_terms - (args.num_terms > 1 ? 2 : 1); k >= 0; --k) {  // b_K-1 = h_K-1
    T* own = sums + k * size;
    step.last = k == 0;
    step.num_rows = static_cast<unsigned>(step.last ? num_rows : args.laplacian.num_vertices);
    step.vertices = step.last ? vertices : nullptr;
    step.bias = step.last ? bias : nullptr;
    step.next = k + 1 < args.num_terms ? own + size : nullptr;
    step.before = k + 2 < args.num_terms ? own + 2 * size : nullptr;
    step.added = own;
    step.out = step.last ? out : own;
    launch_step(launch, step);
  }
}

// Rows, weights, and the bytes of a frame are counted in 32 bits.
template <class T> void check_sizes(const char* op, const ChebyshevConv<T>& args) {
  constexpr std::int64_t most = 0x7fffff00, most_bytes = 0xffffff00;
  const std::int64_t channels = args.num_inputs > args.num_outputs ? args.num_inputs : args.num_outputs;
  if (args.num_frames * args.laplacian.num_vertices > most ||
      args.laplacian.num_vertices * channels > most_bytes / std::int64_t(sizeof(T)) ||
      args.num_terms * args.num_inputs * args.num_outputs > most)
    throw std::invalid_argument(std::string(op) +
                                ": more than 2^31 vertices in all frames or weights, or 4 GB of features in a frame");
}

}  // namespace

template <class T> void chebyshev_conv_fwd(const ChebyshevConv<T>& args, T* workspace, Device device) {
  const Launcher launch("chebyshev_conv", device);
  check_sizes("chebyshev_conv", args);
  const auto inputs = static_cast<unsigned>(args.num_inputs), outputs = static_cast<unsigned>(args.num_outputs);
  const auto num_terms = static_cast<unsigned>(args.num_terms);
  const std::int64_t num_rows = args.num_frames * args.laplacian.num_vertices;
  Multiplication<T> m{};
  m.weight = args.weight;
  m.inner_channel = outputs;
  m.col_channel = 1;
  m.x.first = args.x;
  m.x.channels = inputs;
  m.out.channels = outputs;
  if (goes_up(args)) {
    make_terms(launch, args, workspace);
    m.rows = kept_rows(args);
    m.gathers = true;
    m.x.others = workspace;
    m.x.size = num_rows * inputs;
    m.out.first = args.out;
    m.num_inner = num_terms * inputs;
    m.num_cols = outputs;
    m.inner_plane = inputs * outputs;
    m.bias = args.bias;
    launch_multiply(launch, m);
  } else {
    m.rows = {static_cast<unsigned>(num_rows), 0, 0, nullptr};
    m.out.first = workspace;
    m.out.size = num_rows * outputs;
    m.out.others = workspace + m.out.size;
    m.num_inner = inputs;
    m.num_cols = num_terms * outputs;
    m.col_plane = inputs * outputs;
    launch_multiply(launch, m);
    sum_down(launch, args, outputs, workspace, args.num_kept, args.vertices, args.bias, args.out);
  }
}

template <class T> void chebyshev_conv_bwd(const ChebyshevConv<T>& args, T* workspace, Device device) {
  const Launcher launch("chebyshev_conv_bwd", device);
  check_sizes("chebyshev_conv_bwd", args);
  const auto inputs = static_cast<unsigned>(args.num_inputs), outputs = static_cast<unsigned>(args.num_outputs);
  const std::int64_t num_vertices = args.laplacian.num_vertices, size = args.num_frames * num_vertices * inputs;
  if (args.grad_x) {
    // h_k = grad_out W_k^T; zero where there is no output
    if (args.vertices) launch.fill_bytes(workspace, 0, args.num_terms * size * sizeof(T));
    Multiplication<T> m{};
    m.rows = kept_rows(args);
    m.scatters = true;
    m.x.first = args.grad_out;
    m.x.channels = m.num_inner = outputs;
    m.out = {workspace, workspace + size, size, inputs};
    m.num_cols = static_cast<unsigned>(args.num_terms) * inputs;
    m.weight = args.weight;
    m.inner_channel = 1;
    m.col_plane = inputs * outputs;
    m.col_channel = outputs;
    launch_multiply(launch, m);
    sum_down<T>(launch, args, inputs, workspace, num_vertices, nullptr, nullptr, args.grad_x);
  }
  if (!args.grad_weight && !args.grad_bias) return;
  if (args.grad_weight) make_terms(launch, args, workspace);
  const WeightSums sums(args);
  WeightProduct<T> p{};
  p.rows = kept_rows(args);
  p.terms = {args.x, workspace, size, inputs};
  p.num_weights = args.grad_weight ? static_cast<unsigned>(args.num_terms) * inputs : 0;
  p.num_results = p.num_weights + (args.grad_bias ? 1 : 0);
  p.num_cols = outputs;
  p.length = static_cast<unsigned>(sums.length);
  p.grad_out = args.grad_out;
  p.partial = workspace + args.num_terms * size;
  if (p.num_results <= 32)
    launch_weight_sums<32>(launch, p, sums.pieces);
  else
    launch_weight_sums<128>(launch, p, sums.pieces);
  const std::int64_t count = std::int64_t(p.num_results) * outputs;
  launch(sum_weights_kernel<T>, blocks_for(count, sum_columns), sum_threads, sum_threads * sizeof(T), sums.pieces,
         std::int64_t(p.num_weights) * outputs, count, p.partial, args.grad_weight, args.grad_bias);
}

#define BIOMECHAU_INSTANTIATE(T)                                                      \
  template void chebyshev_conv_fwd<T>(const ChebyshevConv<T>&, T* workspace, Device); \
  template void chebyshev_conv_bwd<T>(const ChebyshevConv<T>&, T* workspace, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
