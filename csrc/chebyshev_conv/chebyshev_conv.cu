// Forward and grad_x are one sum of Chebyshev terms, y = sum_k T_k(S) (x W_k), added up from its last term (Clenshaw):
// of the N x K C terms only two are in memory, in the width of y. grad_W_k = (T_k(S) x)^T grad_y walks up the terms of x.
#include "chebyshev_conv/cuda.h"
#include "chebyshev_conv/math.h"
#include "common/product.cuh"

namespace biomechau {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int group = 4;  // frames for which S and W are read once

// One step of the sum, for the rows `vertices` or all of them. Null: a term that is zero.
template <class T> struct SumStep {
  SymmetricOperator<T> laplacian;
  std::int64_t num_frames, num_rows, num_inputs, num_outputs;
  const T* x;                    // (X, N, inputs)
  const T* weight;               // of this term; entry (input, output) at input * input_stride + output * output_stride
  std::int64_t input_stride, output_stride;
  const T* next;                 // (X, N, outputs) b_k+1
  const T* after;                // (X, N, outputs) b_k+2; may be `out`
  const T* bias;                 // (outputs), or null
  const std::int64_t* vertices;  // (rows), or null
  bool last;                     // the sum itself, not b_k
  T* out;                        // (X, rows, outputs)
};

// sum[r] = row i of S times column j of x (X, N, channels), for `group` frames from x0 on
template <class T>
__device__ inline void multiply_row(const SymmetricOperator<T>& s, std::int64_t num_frames, std::int64_t x0, std::int64_t i,
                                    const T* x, std::int64_t channels, std::int64_t j, T* sum) {
  const std::int64_t frame = s.num_vertices * channels;
  for (std::int64_t e = s.crow[i]; e < s.crow[i + 1]; ++e) {
    const T val = s.val[e];
    const T* own = x + x0 * frame + s.col[e] * channels + j;
#pragma unroll
    for (int r = 0; r < group; ++r)
      if (x0 + r < num_frames) sum[r] += val * own[r * frame];
  }
}

// Each thread computes one output channel of one row, for `group` frames.
template <class T> __global__ void __launch_bounds__(threads) sum_step_kernel(SumStep<T> step) {
  const std::int64_t flat = blockIdx.x * std::int64_t(threads) + threadIdx.x;
  const std::int64_t j = flat % step.num_outputs, row = flat / step.num_outputs % step.num_rows;
  const std::int64_t x0 = flat / step.num_outputs / step.num_rows * group;
  if (x0 >= step.num_frames) return;
  const std::int64_t num_vertices = step.laplacian.num_vertices, i = step.vertices ? step.vertices[row] : row;
  const bool exists = i >= 0 && i < num_vertices;
  T h[group] = {}, product[group] = {};
  if (exists) {
    const T* x = step.x + (x0 * num_vertices + i) * step.num_inputs;
    for (std::int64_t c = 0; c < step.num_inputs; ++c) {
      const T w = step.weight[c * step.input_stride + j * step.output_stride];
#pragma unroll
      for (int r = 0; r < group; ++r)
        if (x0 + r < step.num_frames) h[r] += x[r * num_vertices * step.num_inputs + c] * w;
    }
    if (step.next) multiply_row(step.laplacian, step.num_frames, x0, i, step.next, step.num_outputs, j, product);
  }
#pragma unroll
  for (int r = 0; r < group; ++r) {
    if (x0 + r >= step.num_frames) continue;
    const T after = step.after && exists ? step.after[((x0 + r) * num_vertices + i) * step.num_outputs + j] : T(0);
    T value = step.last ? clenshaw_sum(h[r], product[r], after) : clenshaw_term(h[r], product[r], after);
    if (step.bias) value += step.bias[j];
    step.out[((x0 + r) * step.num_rows + row) * step.num_outputs + j] = exists ? value : T(NAN);
  }
}

// What a convolution multiplies and where it goes.
template <class T> struct Sum {
  const T* x;
  std::int64_t num_inputs, num_outputs, input_stride, output_stride, num_rows;
  const T* bias;
  const std::int64_t* vertices;
  T* out;
};

template <class T> void sum_terms(const Launcher& launch, const ChebyshevConv<T>& args, const Sum<T>& sum, T* terms) {
  const std::int64_t num_vertices = args.laplacian.num_vertices, num_terms = args.num_terms;
  const std::int64_t size = args.num_frames * num_vertices * sum.num_outputs, groups = blocks_for(args.num_frames, group);
  for (std::int64_t k = num_terms - 1; k >= 0; --k) {
    const bool last = k == 0;
    const std::int64_t num_rows = last ? sum.num_rows : num_vertices;
    SumStep<T> step{args.laplacian, args.num_frames, num_rows, sum.num_inputs, sum.num_outputs};
    step.x = sum.x;
    step.weight = args.weight + k * args.num_inputs * args.num_outputs;
    step.input_stride = sum.input_stride;
    step.output_stride = sum.output_stride;
    T* own = terms + (k + 1) % 2 * size;  // the place of b_k, and of b_k+2 before
    step.next = k + 1 < num_terms ? terms + k % 2 * size : nullptr;
    step.after = k + 2 < num_terms ? own : nullptr;
    step.bias = last ? sum.bias : nullptr;
    step.vertices = last ? sum.vertices : nullptr;
    step.last = last;
    step.out = last ? sum.out : own;
    launch(sum_step_kernel<T>, blocks_for(groups * num_rows * sum.num_outputs, threads), threads, 0, step);
  }
}

// out (X, N, C) = S next, or 2 S next - before with `before`, which may be `out`
template <class T>
__global__ void __launch_bounds__(threads)
    term_kernel(SymmetricOperator<T> s, std::int64_t num_frames, std::int64_t channels, const T* next, const T* before,
                T* out) {
  const std::int64_t flat = blockIdx.x * std::int64_t(threads) + threadIdx.x;
  const std::int64_t c = flat % channels, i = flat / channels % s.num_vertices;
  const std::int64_t x0 = flat / channels / s.num_vertices * group;
  if (x0 >= num_frames) return;
  T product[group] = {};
  multiply_row(s, num_frames, x0, i, next, channels, c, product);
#pragma unroll
  for (int r = 0; r < group; ++r) {
    const std::int64_t at = ((x0 + r) * s.num_vertices + i) * channels + c;
    if (x0 + r < num_frames) out[at] = before ? next_term(product[r], before[at]) : product[r];
  }
}

// A term at the rows that have an output: (X V, C).
template <class T> struct Kept {
  const T* term;
  const std::int64_t* vertices;  // null: all
  std::int64_t num_vertices, num_kept, channels;

  __device__ T operator()(std::int64_t, std::int64_t c, std::int64_t row) const {
    if (!vertices) return term[row * channels + c];
    const unsigned flat = static_cast<unsigned>(row), kept = static_cast<unsigned>(num_kept);
    const std::int64_t i = vertices[flat % kept];
    return i >= 0 && i < num_vertices ? term[(flat / kept * num_vertices + i) * channels + c] : T(NAN);
  }
};

template <class T> struct Ones {
  __device__ T operator()(std::int64_t, std::int64_t, std::int64_t) const { return T(1); }
};

// `all` (X, N, channels), zero before, receives the rows of `some` (X, P, channels)
template <class T>
__global__ void spread_rows_kernel(std::int64_t num_frames, std::int64_t num_vertices, std::int64_t num_kept,
                                   std::int64_t channels, const std::int64_t* vertices, const T* some, T* all) {
  const std::int64_t flat = blockIdx.x * std::int64_t(threads) + threadIdx.x;
  if (flat >= num_frames * num_kept * channels) return;
  const std::int64_t c = flat % channels, i = vertices[flat / channels % num_kept];
  if (i >= 0 && i < num_vertices) all[(flat / channels / num_kept * num_vertices + i) * channels + c] = some[flat];
}

}  // namespace

template <class T> void chebyshev_conv_fwd(const ChebyshevConv<T>& args, T* workspace, Device device) {
  const Launcher launch("chebyshev_conv", device);
  sum_terms(launch, args,
            Sum<T>{args.x, args.num_inputs, args.num_outputs, args.num_outputs, 1, args.num_kept, args.bias,
                   args.vertices, args.out},
            workspace);
}

template <class T> void chebyshev_conv_bwd(const ChebyshevConv<T>& args, T* workspace, Device device) {
  const Launcher launch("chebyshev_conv_bwd", device);
  const SymmetricOperator<T>& s = args.laplacian;
  const std::int64_t num_rows = args.num_frames * s.num_vertices, num_kept = args.num_frames * args.num_kept;
  if (num_kept > 0xffffffffLL) throw std::invalid_argument("chebyshev_conv_bwd: more than 2^32 rows");
  T* terms = workspace + (args.vertices ? num_rows * args.num_outputs : 0);
  const std::int64_t size = num_rows * args.num_inputs;
  T* pieces = terms + held_terms(args.num_terms) * size;

  if (args.grad_x) {
    const T* grad_out = args.grad_out;
    if (args.vertices) {
      launch.fill_bytes(workspace, 0, num_rows * args.num_outputs * sizeof(T));
      launch(spread_rows_kernel<T>, blocks_for(num_kept * args.num_outputs, threads), threads, 0, args.num_frames,
             s.num_vertices, args.num_kept, args.num_outputs, args.vertices, args.grad_out, workspace);
      grad_out = workspace;
    }
    sum_terms(launch, args,
              Sum<T>{grad_out, args.num_outputs, args.num_inputs, 1, args.num_outputs, s.num_vertices, nullptr, nullptr,
                     args.grad_x},
              terms);
  }
  const Strided<T> grad_out{args.grad_out, 0, 1, args.num_outputs};
  if (args.grad_weight) {
    const ProductSizes sizes = weight_sums(args);
    const T *before = nullptr, *term = args.x;
    for (std::int64_t k = 0; k < args.num_terms; ++k) {
      if (k > 0) {
        T* next = terms + (k - 1) % 2 * size;
        launch(term_kernel<T>, blocks_for(blocks_for(args.num_frames, group) * s.num_vertices * args.num_inputs, threads),
               threads, 0, s, args.num_frames, args.num_inputs, term, before, next);
        before = term;
        term = next;
      }
      launch_product(launch, sizes, Kept<T>{term, args.vertices, s.num_vertices, args.num_kept, args.num_inputs}, false,
                     grad_out, false, pieces + k * sizes.partial());
    }
    launch_sum_pieces(launch, args.num_terms, sizes.pieces, sizes.rows * sizes.cols, pieces, args.grad_weight);
  }
  if (args.grad_bias) {
    const ProductSizes sizes = bias_sums(args);
    launch_product(launch, sizes, Ones<T>{}, false, grad_out, false, pieces);
    launch_sum_pieces(launch, 1, sizes.pieces, sizes.cols, pieces, args.grad_bias);
  }
}

#define BIOMECHAU_INSTANTIATE(T)                                                      \
  template void chebyshev_conv_fwd<T>(const ChebyshevConv<T>&, T* workspace, Device); \
  template void chebyshev_conv_bwd<T>(const ChebyshevConv<T>&, T* workspace, Device);
BIOMECHAU_INSTANTIATE(float)
BIOMECHAU_INSTANTIATE(double)

}  // namespace cuda
}  // namespace biomechau
