#include "chebyshev_conv/chebyshev_conv.h"

#include "chebyshev_conv/cpu/band.h"
#include "chebyshev_conv/cpu/sweep.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

// Runs a job; `gram`, unless null, receives the sum over the tasks of what the partner gives.
template <class T> void run(Band<T>& s, Job<T> job, bool clenshaw, T* gram, int num_threads) {
  const Plan<T> plan(s, job.num_frames, job.num_terms, clenshaw ? job.y.channels : job.x.channels);
  const std::int64_t gram_size = job.num_terms * job.x.channels * padded<T>(job.y.channels);
  const std::int64_t size = Sweep<T>::memory(s, job, plan, clenshaw);
  Scratch<T> memory(num_threads * size);
  Scratch<T> partial(gram ? plan.tasks() * gram_size : 0);
  const double work = 2.0 * job.num_frames * job.num_terms * s.num_rows * job.x.channels * job.y.channels;
  parallel_tasks(plan.tasks(), work, num_threads, [&](std::int64_t task, int thread) {
    const std::int64_t r = task / plan.chunks, chunk = task % plan.chunks;
    T* own = gram ? partial.data() + task * gram_size : nullptr;
    for (std::int64_t i = 0; own && i < gram_size; ++i) own[i] = 0;
    Sweep<T> sweep(s, job, plan, clenshaw, memory.data() + thread * size);
    const std::int64_t begin = chunk * s.num_blocks / plan.chunks, end = (chunk + 1) * s.num_blocks / plan.chunks;
    for (std::int64_t p = r * plan.panels / plan.runs; p < (r + 1) * plan.panels / plan.runs; ++p) {
      if (clenshaw)
        sweep.clenshaw(p * plan.frames, begin, end);
      else
        sweep.basis(p * plan.frames, begin, end, own);
    }
    end_stream();
  });
  if (!gram) return;
  for (std::int64_t i = 0; i < gram_size; ++i) {
    T sum = 0;
    for (std::int64_t task = 0; task < plan.tasks(); ++task) sum += partial[task * gram_size + i];
    gram[i] = sum;
  }
}

// Multiplications of a job, from the channels of x and of y: term by term, `products` of them are multiplied with weights
// or with the partner at `rows` rows; by Clenshaw, `rows` rows of x are multiplied with weights.
template <class T>
double basis_cost(const ChebyshevConv<T>& args, std::int64_t in, std::int64_t out, std::int64_t rows, int products) {
  return static_cast<double>(args.laplacian.num_entries) * (args.num_terms - 1) * in +
         static_cast<double>(args.num_terms) * products * rows * in * padded<T>(out);
}
template <class T>
double clenshaw_cost(const ChebyshevConv<T>& args, std::int64_t in, std::int64_t out, std::int64_t rows) {
  return static_cast<double>(args.laplacian.num_entries) * (args.num_terms - 1) * out +
         static_cast<double>(rows) * in * padded<T>(args.num_terms * term_step(out));
}

// V_k = W_k or W_k^T, (K, rows, cols) with cols padded, or side by side for Clenshaw: (rows, K, cols) padded.
template <class T>
void pack_weight(const ChebyshevConv<T>& args, bool transposed, bool clenshaw, T* out) {
  const std::int64_t rows = transposed ? args.num_outputs : args.num_inputs;
  const std::int64_t cols = transposed ? args.num_inputs : args.num_outputs;
  const std::int64_t width = padded<T>(clenshaw ? args.num_terms * term_step(cols) : cols);
  for (std::int64_t i = 0; i < (clenshaw ? 1 : args.num_terms) * rows * width; ++i) out[i] = 0;
  for (std::int64_t k = 0; k < args.num_terms; ++k)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c) {
        const T w = args.weight[(k * args.num_inputs + (transposed ? c : r)) * args.num_outputs + (transposed ? r : c)];
        out[clenshaw ? r * width + k * term_step(cols) + c : (k * rows + r) * width + c] = w;
      }
}

template <class T> std::int64_t weight_size(const ChebyshevConv<T>& args) {
  return args.num_terms * padded<T>(args.num_inputs) * padded<T>(args.num_outputs) +
         Vector<T>::width * max_of(args.num_inputs, args.num_outputs);
}

// Which row of the result belongs to row i of the band.
template <class T> void find_results(const ChebyshevConv<T>& args, Band<T>& s, std::int64_t* row) {
  if (!args.vertices) {
    for (std::int64_t i = 0; i < s.num_rows; ++i) row[i] = s.vertex[i];
    return;
  }
  Scratch<std::int64_t> place(s.num_rows);
  for (std::int64_t i = 0; i < s.num_rows; ++i) place[i] = -1;
  for (std::int64_t p = 0; p < args.num_kept; ++p) place[args.vertices[p]] = p;
  for (std::int64_t i = 0; i < s.num_rows; ++i) row[i] = place[s.vertex[i]];
}

template <class T> void chebyshev_conv_fwd(const ChebyshevConv<T>& args, int num_threads) {
  Band<T> s(args.laplacian);
  Scratch<std::int64_t> results(s.num_rows);
  find_results(args, s, results.data());
  const bool clenshaw = clenshaw_cost(args, args.num_inputs, args.num_outputs, s.num_rows) <
                        basis_cost(args, args.num_inputs, args.num_outputs, args.num_kept, 1);
  Scratch<T> weight(weight_size(args)), bias(padded<T>(args.num_outputs));
  pack_weight(args, false, clenshaw, weight.data());
  for (std::int64_t c = 0; c < padded<T>(args.num_outputs); ++c)
    bias[c] = args.bias && c < args.num_outputs ? args.bias[c] : T(0);
  Job<T> job{};
  job.num_frames = args.num_frames;
  job.num_terms = args.num_terms;
  job.x = {args.x, s.num_rows, args.num_inputs, s.vertex.data()};
  job.y = {args.out, args.num_kept, args.num_outputs, results.data()};
  job.bias = args.bias ? bias.data() : nullptr;
  job.weight = weight.data();
  run<T>(s, job, clenshaw, nullptr, num_threads);
}

// grad_bias = sum over frames and vertices of grad_out, in pieces of a fixed size.
template <class T> void bias_gradient(const ChebyshevConv<T>& args, int num_threads) {
  constexpr std::int64_t piece = 4096;
  const std::int64_t rows = args.num_frames * args.num_kept, channels = args.num_outputs;
  const std::int64_t pieces = (rows + piece - 1) / piece;
  Scratch<T> partial(pieces * channels);
  parallel_for(pieces, static_cast<double>(rows) * channels, num_threads, [&](std::int64_t p) {
    T* sum = partial.data() + p * channels;
    for (std::int64_t c = 0; c < channels; ++c) sum[c] = 0;
    for (std::int64_t i = p * piece; i < min_of(rows, (p + 1) * piece); ++i) {
      const T* grad = args.grad_out + i * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += grad[c];
    }
  });
  for (std::int64_t c = 0; c < channels; ++c) {
    T sum = 0;
    for (std::int64_t p = 0; p < pieces; ++p) sum += partial[p * channels + c];
    args.grad_bias[c] = sum;
  }
}

template <class T> void chebyshev_conv_bwd(const ChebyshevConv<T>& args, int num_threads) {
  if (args.grad_bias) bias_gradient(args, num_threads);
  if (!args.grad_x && !args.grad_weight) return;
  Band<T> s(args.laplacian);
  Scratch<std::int64_t> results(s.num_rows);
  find_results(args, s, results.data());
  const std::int64_t inputs = args.num_inputs, outputs = args.num_outputs;
  const Features<const T> x{args.x, s.num_rows, inputs, s.vertex.data()};
  const Features<const T> grad_out{args.grad_out, args.num_kept, outputs, results.data()};
  // T_k(S) grad_out gives both gradients at once; each alone may cost less with terms that have the channels of x.
  const double joint = basis_cost(args, outputs, inputs, s.num_rows, 2);
  const double of_grad_out = basis_cost(args, outputs, inputs, s.num_rows, 1);
  const double by_clenshaw = clenshaw_cost(args, outputs, inputs, args.num_kept);
  const double of_x = basis_cost(args, inputs, outputs, args.num_kept, 1);
  const bool clenshaw = by_clenshaw < of_grad_out, gram_of_x = of_x <= of_grad_out;
  const bool together = args.grad_x && args.grad_weight &&
                        joint < (clenshaw ? by_clenshaw : of_grad_out) + (gram_of_x ? of_x : of_grad_out);
  Scratch<T> weight(weight_size(args)), gram(weight_size(args));
  Job<T> job{};
  job.num_frames = args.num_frames;
  job.num_terms = args.num_terms;
  if (args.grad_x) {
    pack_weight(args, true, clenshaw && !together, weight.data());
    job.x = grad_out;
    job.y = {args.grad_x, s.num_rows, inputs, s.vertex.data()};
    job.weight = weight.data();
    job.partner = together ? args.x : nullptr;
    run<T>(s, job, clenshaw && !together, together ? gram.data() : nullptr, num_threads);
  }
  if (!args.grad_weight) return;
  if (!together) {
    job.x = gram_of_x ? x : grad_out;
    job.y = gram_of_x ? Features<T>{nullptr, args.num_kept, outputs, results.data()}
                      : Features<T>{nullptr, s.num_rows, inputs, s.vertex.data()};
    job.partner = gram_of_x ? args.grad_out : args.x;
    run<T>(s, job, false, gram.data(), num_threads);
  }
  const bool transposed = together || !gram_of_x;
  for (std::int64_t k = 0; k < args.num_terms; ++k)
    for (std::int64_t c = 0; c < inputs; ++c)
      for (std::int64_t d = 0; d < outputs; ++d)
        args.grad_weight[(k * inputs + c) * outputs + d] = transposed
                                                               ? gram[(k * outputs + d) * padded<T>(inputs) + c]
                                                               : gram[(k * inputs + c) * padded<T>(outputs) + d];
}

}  // namespace

template <class T> ChebyshevConvKernels<T> chebyshev_conv_kernels() {
  return {chebyshev_conv_fwd<T>, chebyshev_conv_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(ChebyshevConvKernels, chebyshev_conv_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
