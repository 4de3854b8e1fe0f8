#include "modal_rollout/modal_rollout.h"

#include "common/cpu/panel.h"
#include "modal_rollout/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

// Frames that pass through all three stages while they are in cache.
constexpr std::int64_t frame_block = 32;
// With fewer sequences than this the stages run one after the other over all frames, each on all threads.
constexpr std::int64_t few_sequences = 4;

template <class T> class Rollout {
 public:
  explicit Rollout(const ModalRollout<T>& args)
      : args_(args), n_(args.num_coordinates), row_(args.row()), step_(step_of(args.scheme, args.dt)) {}

  std::int64_t row() const { return row_; }

  // rows (count, K) of a tensor times a matrix (K, K'), or copied where the coordinates are the modes
  void into_modes(std::int64_t count, const T* rows, const T* matrix, T* panel) const {
    if (args_.has_modes)
      product(count, n_, Rows<T>{rows, n_}, matrix, row_, 0, row_, FromZero<T>{}, ToPanel<T>{panel, row_});
    else
      to_panel(count, n_, rows, panel);
  }
  // and back into rows of a tensor
  void out_of_modes(std::int64_t count, const T* panel, const T* matrix, T* rows) const {
    if (args_.has_modes)
      product(count, n_, Rows<T>{panel, row_}, matrix, row_, 0, row_, FromZero<T>{}, ToTensor<T>{rows, n_});
    else
      from_panel(count, n_, panel, rows);
  }

  // q of frames [at, at + count), counted over all sequences, and modes [begin, end)
  void modal_force(std::int64_t at, std::int64_t count, std::int64_t begin, std::int64_t end, T* q) const {
    const std::int64_t inputs = args_.num_inputs;
    const ToPanel<T> to{q, row_};
    const auto go_on = [&](std::int64_t r, std::int64_t j) { return Vector<T>::load(q + r * row_ + j); };
    if (args_.muscle_force)
      product(count, inputs, Rows<T>{args_.muscle_force + at * inputs, inputs}, args_.projection_t(), row_, begin, end,
              FromZero<T>{}, to);
    if (args_.force) {
      const Rows<T> rows{args_.force + at * n_, n_};
      if (args_.muscle_force)
        product(count, n_, rows, args_.load_t(), row_, begin, end, go_on, to);
      else
        product(count, n_, rows, args_.load_t(), row_, begin, end, FromZero<T>{}, to);
    }
    if (!args_.muscle_force && !args_.force)
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t j = begin; j < end; j += width_of<T>) Vector<T>::zero().store(q + r * row_ + j);
  }

  // q (count, K') -> y in its place, w; state: y, w (2 rows) before and after
  void recur(std::int64_t count, std::int64_t begin, std::int64_t end, T* q_to_y, T* w_out, T* y, T* w) const {
    for (std::int64_t j = begin; j < end; j += width_of<T>) {
      const Mode<Vector<T>> mode = mode_at(j);
      Vector<T> yj = Vector<T>::load(y + j), wj = Vector<T>::load(w + j);
      for (std::int64_t r = 0; r < count; ++r) {
        T* at = q_to_y + r * row_ + j;
        modal_step(step_, mode, Vector<T>::load(at), &yj, &wj);
        yj.store(at);
        wj.store(w_out + r * row_ + j);
      }
      yj.store(y + j);
      wj.store(w + j);
    }
  }

  // c, v of frames [at, at + count)
  void motion(std::int64_t at, std::int64_t count, const T* y, const T* w) const {
    out_of_modes(count, y, args_.load(), args_.c + at * n_);
    out_of_modes(count, w, args_.load(), args_.v + at * n_);
  }

  // gradients of y and w in frames [at, at + count), modes [begin, end)
  void modal_gradient(std::int64_t at, std::int64_t count, std::int64_t begin, std::int64_t end, const T* grad,
                      T* out) const {
    if (grad && args_.has_modes) {
      product(count, n_, Rows<T>{grad + at * n_, n_}, args_.load_t(), row_, begin, end, FromZero<T>{},
              ToPanel<T>{out, row_});
      return;
    }
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t j = begin; j < end; j += width_of<T>)
        (grad && j < n_ ? Vector<T>::load_first(grad + (at + r) * n_ + j, n_ - j) : Vector<T>::zero())
            .store(out + r * row_ + j);
  }

  // gradients of y and w -> r, the gradient of q, in place of the first; lambda, mu (rows) after and before
  void recur_back(std::int64_t count, std::int64_t begin, std::int64_t end, T* gy_to_r, const T* gw, T* lambda,
                  T* mu) const {
    for (std::int64_t j = begin; j < end; j += width_of<T>) {
      const Mode<Vector<T>> mode = mode_at(j);
      Vector<T> lj = Vector<T>::load(lambda + j), mj = Vector<T>::load(mu + j);
      for (std::int64_t r = count; r-- > 0;) {
        T* at = gy_to_r + r * row_ + j;
        lj = lj + Vector<T>::load(at);
        mj = mj + Vector<T>::load(gw + r * row_ + j);
        modal_step_vjp(step_, mode, &lj, &mj).store(at);
      }
      lj.store(lambda + j);
      mj.store(mu + j);
    }
  }

  // gradients of the forces of frames [at, at + count)
  void force_gradient(std::int64_t at, std::int64_t count, const T* r) const {
    const Rows<T> rows{r, row_};
    const std::int64_t inputs = args_.num_inputs, input_row = args_.input_row();
    if (args_.grad_muscle_force)
      product(count, n_, rows, args_.projection(), input_row, 0, input_row, FromZero<T>{},
              ToTensor<T>{args_.grad_muscle_force + at * inputs, inputs});
    if (args_.grad_force)
      product(count, n_, rows, args_.load(), row_, 0, row_, FromZero<T>{},
              ToTensor<T>{args_.grad_force + at * n_, n_});
  }

 private:
  Mode<Vector<T>> mode_at(std::int64_t j) const {
    return {Vector<T>::load(args_.gain() + j), Vector<T>::load(args_.damping() + j),
            Vector<T>::load(args_.stiffness() + j)};
  }

  const ModalRollout<T>& args_;
  std::int64_t n_, row_;
  Step<T> step_;
};

template <class T> double stage_work(const ModalRollout<T>& args) {
  return 2.0 * args.num_sequences * args.num_frames * args.num_coordinates * args.num_coordinates;
}

// Sequences per task: enough for a product of several rows with their initial states.
inline std::int64_t group_size(std::int64_t num_sequences) { return max_of(1, min_of(4, num_sequences / 8)); }

// Modes of one task of a recurrence: two cache lines.
template <class T> constexpr std::int64_t mode_block = 2 * width_of<T>;

template <class T> void modal_rollout_fwd(const ModalRollout<T>& args, int num_threads) {
  const Rollout<T> rollout(args);
  const std::int64_t n = args.num_coordinates, row = args.row();
  const std::int64_t num_sequences = args.num_sequences, num_frames = args.num_frames;
  const auto start = [&](std::int64_t s, std::int64_t count, T* y, T* w) {
    rollout.into_modes(count, args.c0 + s * n, args.inverse_t(), y);
    rollout.into_modes(count, args.v0 + s * n, args.inverse_t(), w);
  };
  if (num_sequences < few_sequences) {
    const std::int64_t frames = num_sequences * num_frames, blocks = (row + mode_block<T> - 1) / mode_block<T>;
    Scratch<T> y(frames * row), w(frames * row), state(2 * num_sequences * row);
    T* const first_w = state.data() + num_sequences * row;
    start(0, num_sequences, state.data(), first_w);
    parallel_for(num_sequences * blocks, stage_work(args), num_threads, [&](std::int64_t task) {
      const std::int64_t s = task / blocks, begin = task % blocks * mode_block<T>;
      const std::int64_t end = min_of(row, begin + mode_block<T>), at = s * num_frames;
      rollout.modal_force(at, num_frames, begin, end, y.data() + at * row);
      rollout.recur(num_frames, begin, end, y.data() + at * row, w.data() + at * row, state.data() + s * row,
                    first_w + s * row);
    });
    parallel_for((frames + frame_block - 1) / frame_block, 2 * stage_work(args), num_threads, [&](std::int64_t task) {
      const std::int64_t at = task * frame_block;
      rollout.motion(at, min_of(frame_block, frames - at), y.data() + at * row, w.data() + at * row);
    });
    return;
  }
  const std::int64_t group = group_size(num_sequences);
  parallel_for((num_sequences + group - 1) / group, 3 * stage_work(args), num_threads, [&](std::int64_t task) {
    const std::int64_t first = task * group, count = min_of(group, num_sequences - first);
    Scratch<T> memory((2 * group + 2 * frame_block) * row);
    T *const state_y = memory.data(), *const state_w = state_y + group * row;
    T *const y = state_w + group * row, *const w = y + frame_block * row;
    start(first, count, state_y, state_w);
    for (std::int64_t s = 0; s < count; ++s)
      for (std::int64_t t = 0; t < num_frames; t += frame_block) {
        const std::int64_t at = (first + s) * num_frames + t, frames = min_of(frame_block, num_frames - t);
        rollout.modal_force(at, frames, 0, row, y);
        rollout.recur(frames, 0, row, y, w, state_y + s * row, state_w + s * row);
        rollout.motion(at, frames, y, w);
      }
  });
}

template <class T> void modal_rollout_bwd(const ModalRollout<T>& args, int num_threads) {
  const Rollout<T> rollout(args);
  const std::int64_t n = args.num_coordinates, row = args.row();
  const std::int64_t num_sequences = args.num_sequences, num_frames = args.num_frames;
  const auto finish = [&](std::int64_t s, std::int64_t count, const T* lambda, const T* mu) {
    if (args.grad_c0) rollout.out_of_modes(count, lambda, args.inverse(), args.grad_c0 + s * n);
    if (args.grad_v0) rollout.out_of_modes(count, mu, args.inverse(), args.grad_v0 + s * n);
  };
  if (num_sequences < few_sequences) {
    const std::int64_t frames = num_sequences * num_frames, blocks = (row + mode_block<T> - 1) / mode_block<T>;
    Scratch<T> r(frames * row), gw(frames * row), state(2 * num_sequences * row);
    T* const mu = state.data() + num_sequences * row;
    std::memset(state.data(), 0, 2 * num_sequences * row * sizeof(T));
    parallel_for(num_sequences * blocks, 2 * stage_work(args), num_threads, [&](std::int64_t task) {
      const std::int64_t s = task / blocks, begin = task % blocks * mode_block<T>;
      const std::int64_t end = min_of(row, begin + mode_block<T>), at = s * num_frames;
      rollout.modal_gradient(at, num_frames, begin, end, args.grad_c, r.data() + at * row);
      rollout.modal_gradient(at, num_frames, begin, end, args.grad_v, gw.data() + at * row);
      rollout.recur_back(num_frames, begin, end, r.data() + at * row, gw.data() + at * row, state.data() + s * row,
                         mu + s * row);
    });
    finish(0, num_sequences, state.data(), mu);
    parallel_for((frames + frame_block - 1) / frame_block, stage_work(args), num_threads, [&](std::int64_t task) {
      const std::int64_t at = task * frame_block;
      rollout.force_gradient(at, min_of(frame_block, frames - at), r.data() + at * row);
    });
    return;
  }
  const std::int64_t group = group_size(num_sequences);
  parallel_for((num_sequences + group - 1) / group, 3 * stage_work(args), num_threads, [&](std::int64_t task) {
    const std::int64_t first = task * group, count = min_of(group, num_sequences - first);
    Scratch<T> memory((2 * group + 2 * frame_block) * row);
    T *const lambda = memory.data(), *const mu = lambda + group * row;
    T *const r = mu + group * row, *const gw = r + frame_block * row;
    std::memset(lambda, 0, 2 * group * row * sizeof(T));
    for (std::int64_t s = 0; s < count; ++s)
      for (std::int64_t end = num_frames; end > 0;) {
        const std::int64_t frames = end % frame_block ? end % frame_block : frame_block;
        end -= frames;
        const std::int64_t at = (first + s) * num_frames + end;
        rollout.modal_gradient(at, frames, 0, row, args.grad_c, r);
        rollout.modal_gradient(at, frames, 0, row, args.grad_v, gw);
        rollout.recur_back(frames, 0, row, r, gw, lambda + s * row, mu + s * row);
        rollout.force_gradient(at, frames, r);
      }
    finish(first, count, lambda, mu);
  });
}

}  // namespace

template <class T> ModalRolloutKernels<T> modal_rollout_kernels() {
  return {modal_rollout_fwd<T>, modal_rollout_bwd<T>};
}
BIOMECHAU_INSTANTIATE_KERNELS(ModalRolloutKernels, modal_rollout_kernels)

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
