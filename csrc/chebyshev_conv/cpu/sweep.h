// How one thread passes through the rows of the operator: what it computes, how the work is cut into tasks, and the pass.
#pragma once

#include <cstring>

#include "chebyshev_conv/cpu/band.h"
#include "chebyshev_conv/cpu/tiles.h"
#include "chebyshev_conv/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

constexpr std::int64_t most_frames = 16;   // of a panel: frames side by side in a row
constexpr std::int64_t most_runs = 64;     // runs of panels, each a task with gradient sums of its own
// Results larger than this are not kept in the caches: fetching the lines first would cost more than it saves.
constexpr std::int64_t streamed_bytes = 4 << 20;
constexpr std::int64_t enough_tasks = 16;  // below it the rows are shared among tasks as well

template <class T> std::int64_t padded(std::int64_t n) {
  return (n + Vector<T>::width - 1) / Vector<T>::width * Vector<T>::width;
}

// Numbers from one term's channels to the next where they lie side by side: three take the place of four, so that they
// are read back from one vector.
inline std::int64_t term_step(std::int64_t channels) { return channels == 3 ? 4 : channels; }

// Features of all frames, (X, num_rows, channels), and which of their rows belongs to row i of the band; -1 for none.
template <class T> struct Features {
  T* data;
  std::int64_t num_rows, channels;
  const std::int64_t* row;
};

// y = sum_k T_k(S) x V_k + bias and gram_k = (T_k(S) x)^T partner, where partner has the shape of y.
template <class T> struct Job {
  std::int64_t num_frames, num_terms;
  Features<const T> x;
  Features<T> y;              // data null: not wanted
  const T* bias;              // (y.channels), or null
  // (K, x.channels, y.channels), y.channels padded; for Clenshaw (x.channels, K, y.channels), a step from term to term.
  const T* weight;
  const T* partner;           // null: gram not wanted
  T* gram;                    // of each task (K, x.channels, y.channels), y.channels padded
};

// How the work is cut into tasks, each a run of panels of frames and a chunk of blocks. They depend on the sizes
// alone: the order of every sum, and so its last bit, is the same for any number of threads.
template <class T> struct Plan {
  std::int64_t frames, stride;  // of a panel, and the length of a row that holds `channels` of each
  std::int64_t panels, runs, chunks;

  Plan(const Band<T>& s, std::int64_t num_frames, std::int64_t num_terms, std::int64_t channels) : frames(1) {
    constexpr std::int64_t most = 3 * Vector<T>::width;
    std::int64_t least = 0;
    for (std::int64_t f = 1; f <= min_of(most_frames, num_frames); ++f) {
      if (f > 1 && f * channels > most) break;
      // One more for the cost of a row whatever its length.
      const std::int64_t work = (num_frames + f - 1) / f * (padded<T>(f * channels) / Vector<T>::width + 1);
      if (f == 1 || work < least) least = work, frames = f;
    }
    stride = padded<T>(frames * channels);
    panels = (num_frames + frames - 1) / frames;
    runs = min_of(panels, most_runs);
    // A chunk computes the terms of its neighbourhood too: it should be several times as large.
    const std::int64_t most_chunks = s.num_blocks / (4 * num_terms * max_of(s.reach, 1));
    chunks = max_of(1, min_of(most_chunks, (enough_tasks + max_of(runs, 1) - 1) / max_of(runs, 1)));
  }
  std::int64_t tasks() const { return runs * chunks; }
};

template <class T> inline void copy_row(std::int64_t n, const T* from, T* to) {
  switch (n) {  // sizes known to the compiler are copied without a loop
    case 1: std::memcpy(to, from, 1 * sizeof(T)); return;
    case 2: std::memcpy(to, from, 2 * sizeof(T)); return;
    case 3: std::memcpy(to, from, 3 * sizeof(T)); return;
    default: break;
  }
  std::int64_t i = 0;
  for (; i + Vector<T>::width <= n; i += Vector<T>::width) Vector<T>::load(from + i).store(to + i);
  for (; i < n; ++i) to[i] = from[i];
}

// One thread's pass through the rows for one panel of frames: block after block, term k following `reach` blocks behind
// term k - 1, so that every row is still in cache when its neighbours need it.
template <class T> class Sweep {
 public:
  Sweep(Band<T>& s, const Job<T>& job, const Plan<T>& plan, bool clenshaw, T* memory)
      : s_(s), job_(job), plan_(plan), num_terms_(job.num_terms), width_(padded<T>(job.y.channels)), rings_(num_terms_),
        terms_(num_terms_), offset_(block * plan.frames), target_(block * plan.frames),
        products_(num_terms_ * term_step(job.y.channels)), lanes_(clenshaw && 2 * plan.frames >= Vector<T>::width),
        streams_(width_ == job.y.channels && reinterpret_cast<std::uintptr_t>(job.y.data) % 64 == 0 &&
                 job.num_frames * job.y.num_rows * job.y.channels * static_cast<std::int64_t>(sizeof(T)) > streamed_bytes) {
    for (std::int64_t k = 0; k < num_terms_; ++k) {
      const std::int64_t rows = rows_held(s, num_terms_, k, clenshaw);
      rings_[k] = {memory, rows - 1, plan.stride};
      memory += rows * plan.stride;
    }
    values_ = memory;
  }

  static std::int64_t memory(const Band<T>& s, const Job<T>& job, const Plan<T>& plan, bool clenshaw) {
    std::int64_t size = 0;
    for (std::int64_t k = 0; k < job.num_terms; ++k) size += rows_held(s, job.num_terms, k, clenshaw) * plan.stride;
    if (!clenshaw) return size + block * plan.frames * padded<T>(job.y.channels);
    return size + max_of(tile_items * padded<T>(job.num_terms * term_step(job.y.channels)),
                         2 * Vector<T>::width * padded<T>(job.x.channels));
  }

  // Rows of all frames of the panel that begins with `frame`, blocks [begin, end) of the result.
  void basis(std::int64_t frame, std::int64_t begin, std::int64_t end, T* gram) {
    start(frame);
    run(begin, end, [&](std::int64_t stage, std::int64_t b) {
      if (stage == 0)
        load(b);
      else
        advance(b, stage - 1, stage, stage - 2, [stage](const Vector<T>& product, const T* before, T* to) {
          (stage == 1 ? product : next_term(product, Vector<T>::load(before))).store(to);
        });
      if (stage + 1 == num_terms_) visit(b, gram);
    });
  }

  void clenshaw(std::int64_t frame, std::int64_t begin, std::int64_t end) {
    start(frame);
    run(begin, end, [&](std::int64_t stage, std::int64_t b) {
      const std::int64_t k = num_terms_ - 1 - stage;
      if (stage == 0)
        lanes_ ? load_lane_products(b) : load_products(b);
      else
        advance(b, k + 1, k, stage == 1 ? -1 : k + 2, [k](const Vector<T>& product, const T* before, T* to) {
          const Vector<T> h = Vector<T>::load(to), after = before ? Vector<T>::load(before) : Vector<T>::zero();
          (k == 0 ? clenshaw_sum(h, product, after) : clenshaw_term(h, product, after)).store(to);
        });
      if (k == 0) store(b);
    });
  }

 private:
  void start(std::int64_t frame) {
    frame_ = frame;
    frames_ = min_of(plan_.frames, job_.num_frames - frame);
  }

  // Rows are read in visiting order, from anywhere: those of a block are fetched during the work on the one before it.
  BIOMECHAU_INLINE void fetch(std::int64_t b, const T* data, std::int64_t num_rows, std::int64_t channels,
                              const std::int64_t* row_of) const {
    if (b >= s_.num_blocks) return;
    for (std::int64_t f = frame_; f < frame_ + frames_; ++f)
      for (std::int64_t r = 0; r < rows_of(b); ++r) {
        const T* from = data + (f * num_rows + max_of(row_of[b * block + r], 0)) * channels;
        prefetch_for_read(from, from + channels);
      }
  }

  // How long a row is needed: by its neighbours in the next term, by itself in the one after, and until the result.
  static std::int64_t rows_held(const Band<T>& s, std::int64_t num_terms, std::int64_t k, bool clenshaw) {
    std::int64_t blocks = (clenshaw && k > 0 ? num_terms - k + 1 : num_terms - 1 - k) * s.reach;
    if (!clenshaw && k + 1 < num_terms) blocks = max_of(blocks, 2 * s.reach);
    return ring_rows(blocks + 1, s.num_blocks);
  }

  // Calls fn(stage, block) for every block that each stage needs, one stage `reach` blocks behind the other.
  template <class Fn> void run(std::int64_t begin, std::int64_t end, const Fn& fn) const {
    const std::int64_t last = num_terms_ - 1, lag = s_.reach;
    for (std::int64_t step = max_of(0, begin - last * lag); step < end + last * lag; ++step)
      for (std::int64_t stage = 0; stage <= last; ++stage) {
        const std::int64_t b = step - stage * lag, halo = (last - stage) * lag;
        if (b >= max_of(0, begin - halo) && b < min_of(s_.num_blocks, end + halo)) fn(stage, b);
      }
  }

  std::int64_t rows_of(std::int64_t b) const { return min_of(block, s_.num_rows - b * block); }

  // Calls fn(S times the rows of ring `from`, those rows of ring `before`, those of ring `to`) for a block's vectors.
  template <class Fn>
  void advance(std::int64_t b, std::int64_t from, std::int64_t to, std::int64_t before, const Fn& fn) {
    const Ring<T> ring = rings_[from];
    T* to_row = rings_[to].row(b * block);
    const T* before_row = before < 0 ? nullptr : rings_[before].row(b * block);
    const std::int64_t begin = b * block, end = begin + rows_of(b), stride = plan_.stride;
    for_each_column<T>(stride, [&](std::int64_t first, auto count) {
      constexpr int vectors = decltype(count)::value;
      for (std::int64_t i = begin; i < end; ++i) {
        Vector<T> product[vectors];
        multiply_row(s_, i, ring, first, product);
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t at = (i - begin) * stride + first + v * Vector<T>::width;
          fn(product[v], before_row ? before_row + at : nullptr, to_row + at);
        }
      }
    });
  }

  // T_0 = x
  void load(std::int64_t b) {
    const std::int64_t channels = job_.x.channels, first = b * block;
    T* to = rings_[0].row(first);
    fetch(b + 1, job_.x.data, job_.x.num_rows, channels, job_.x.row);
    for (std::int64_t i = first; i < first + rows_of(b); ++i, to += plan_.stride) {
      const std::int64_t row = job_.x.row[i];
      const std::int64_t used = row < 0 ? 0 : frames_ * channels;
      const T* from = job_.x.data + (frame_ * job_.x.num_rows + row) * channels;
      for (std::int64_t l = 0; l < used; l += channels, from += job_.x.num_rows * channels)
        copy_row(channels, from, to + l);
      for (std::int64_t l = used; l < plan_.stride; ++l) to[l] = 0;
    }
  }

  // The frames of those rows of a block that have a result; returns how many.
  std::int64_t find_items(std::int64_t b, std::int64_t frame_step) {
    std::int64_t count = 0;
    for (std::int64_t f = 0; f < frames_; ++f)
      for (std::int64_t r = 0; r < rows_of(b); ++r) {
        const std::int64_t row = job_.y.row[b * block + r];
        offset_[count] = r * plan_.stride + f * frame_step;
        target_[count] = ((frame_ + f) * job_.y.num_rows + row) * job_.y.channels;
        count += row >= 0;
      }
    return count;
  }

  void visit(std::int64_t b, T* gram) {
    const std::int64_t count = find_items(b, job_.x.channels);
    for (std::int64_t k = 0; k < num_terms_; ++k) terms_[k] = rings_[k].row(b * block);
    if (job_.y.data) {
      std::int64_t i = 0;
      for (; i + tile_items <= count; i += tile_items) write_products<tile_items>(i);
      for (; i + 4 <= count; i += 4) write_products<4>(i);
      for (; i < count; ++i) write_products<1>(i);
    }
    if (!job_.partner) return;
    const std::int64_t channels = job_.y.channels;
    fetch(b + 1, job_.partner, job_.y.num_rows, channels, job_.y.row);
    for (std::int64_t i = 0; i < count; ++i) {
      copy_row(channels, job_.partner + target_[i], values_ + i * width_);
      for (std::int64_t l = channels; l < width_; ++l) values_[i * width_ + l] = 0;
    }
    add_gram<T>(count, num_terms_, job_.x.channels, terms_.data(), offset_.data(), values_, width_, gram);
  }

  template <int Items> void write_products(std::int64_t item) {
    for (std::int64_t v = 0; v < width_; v += Vector<T>::width) {
      const Vector<T> bias = job_.bias ? Vector<T>::load(job_.bias + v) : Vector<T>::zero();
      Vector<T> sum[Items];
      repeat<Items>([&](int r) BIOMECHAU_INLINE_LAMBDA { sum[r] = bias; });
      product_tile<Items>(num_terms_, job_.x.channels, terms_.data(), offset_.data() + item, job_.weight + v, width_, sum);
      repeat<Items>([&](int r) BIOMECHAU_INLINE_LAMBDA {
        T* to = job_.y.data + target_[item + r] + v;
        const Vector<T> value = sum[r];  // its address may be taken: that of the sum would keep it out of registers
        if (streams_)
          value.stream(to);
        else
          value.store_first(to, job_.y.channels - v);
      });
    }
  }

  // h_k = x V_k for all k, stored where b_k goes
  void load_products(std::int64_t b) {
    const std::int64_t width = padded<T>(num_terms_ * term_step(job_.y.channels)), first = b * block;
    fetch(b + 1, job_.x.data, job_.x.num_rows, job_.x.channels, job_.x.row);
    for (std::int64_t k = 0; k < num_terms_; ++k)
      for (std::int64_t l = 0; l < rows_of(b) * plan_.stride; ++l) rings_[k].row(first)[l] = 0;
    std::int64_t count = 0;
    for (std::int64_t f = 0; f < frames_; ++f)
      for (std::int64_t r = 0; r < rows_of(b); ++r) {
        const std::int64_t row = job_.x.row[first + r];
        offset_[count] = ((frame_ + f) * job_.x.num_rows + row) * job_.x.channels;
        target_[count] = r * plan_.stride + f * job_.y.channels;
        count += row >= 0;
      }
    std::int64_t i = 0;
    for (; i + tile_items <= count; i += tile_items) {
      for (std::int64_t next = i + 2 * tile_items; next < min_of(count, i + 3 * tile_items); ++next)
        for (std::int64_t c = 0; c < job_.x.channels; c += Vector<T>::width) prefetch(job_.x.data + offset_[next] + c);
      scatter_products<tile_items>(i, width, first);
    }
    for (; i < count; ++i) scatter_products<1>(i, width, first);
  }

  template <int Items> void scatter_products(std::int64_t item, std::int64_t width, std::int64_t first) {
    for (std::int64_t v = 0; v < width; v += Vector<T>::width) {
      Vector<T> sum[Items];
      repeat<Items>([&](int r) BIOMECHAU_INLINE_LAMBDA { sum[r] = Vector<T>::zero(); });
      product_tile<Items>(1, job_.x.channels, &job_.x.data, offset_.data() + item, job_.weight + v, width, sum);
      repeat<Items>([&](int r) BIOMECHAU_INLINE_LAMBDA { sum[r].store(values_ + r * width + v); });
    }
    const std::int64_t channels = job_.y.channels, step = term_step(channels);
    for (std::int64_t k = 0; k < num_terms_; ++k) {
      T* ring = rings_[k].row(first);
      for (int r = 0; r < Items; ++r) copy_row(channels, values_ + r * width + k * step, ring + target_[item + r]);
    }
  }

  // The values of some frames of one row of x, a column for each frame; 0 where there are none.
  const T* load_columns(std::int64_t row, std::int64_t frame) {
    constexpr std::int64_t lanes = Vector<T>::width, side = block_side<T>;
    const std::int64_t channels = job_.x.channels, width = padded<T>(channels);
    T* const columns = values_ + lanes * width;
    for (std::int64_t l = 0; l < lanes; ++l) {
      T* to = values_ + l * width;
      if (row >= 0 && frame + l < frames_)
        copy_row(channels, job_.x.data + ((frame_ + frame + l) * job_.x.num_rows + row) * channels, to);
      else
        std::memset(to, 0, channels * sizeof(T));
    }
    for (std::int64_t c = 0; c < channels; c += side)
      for (std::int64_t l = 0; l < lanes; l += side)
        transpose_block<T>([&](int i) BIOMECHAU_INLINE_LAMBDA { return values_ + (l + i) * width + c; },
                           [&](int i) BIOMECHAU_INLINE_LAMBDA { return columns + (c + i) * lanes + l; });
    return columns;
  }

  // The same where a row has channel before frame: a vector holds one channel of many frames.
  void load_lane_products(std::int64_t b) {
    constexpr std::int64_t lanes = Vector<T>::width;
    const std::int64_t channels = job_.y.channels, step = term_step(channels), num_sums = num_terms_ * step;
    const std::int64_t first = b * block;
    fetch(b + 1, job_.x.data, job_.x.num_rows, job_.x.channels, job_.x.row);
    for (std::int64_t j = 0; j < num_sums; ++j)
      products_[j] = j % step < channels ? rings_[j / step].row(first) + j % step * plan_.frames : nullptr;
    for (std::int64_t r = 0; r < rows_of(b); ++r) {
      for (std::int64_t k = 0; k < num_terms_; ++k)
        for (std::int64_t l = plan_.frames * channels; l < plan_.stride; ++l) rings_[k].row(first + r)[l] = 0;
      for (std::int64_t f = 0; f < plan_.frames; f += lanes) {
        const T* x = load_columns(job_.x.row[first + r], f);
        for (std::int64_t j = 0; j < num_sums; j += tile_products) {
          Vector<T> sum[tile_products];
          lane_products(job_.x.channels, x, job_.weight + j, padded<T>(num_sums), sum);
          repeat<tile_products>([&](int i) BIOMECHAU_INLINE_LAMBDA {
            if (j + i < num_sums && products_[j + i])
              sum[i].store_first(products_[j + i] + r * plan_.stride + f, plan_.frames - f);
          });
        }
      }
    }
  }

  void store(std::int64_t b) {
    const std::int64_t channels = job_.y.channels, count = find_items(b, lanes_ ? 1 : channels);
    for (std::int64_t i = 0; i < count; ++i) {
      const T* from = rings_[0].row(b * block) + offset_[i];
      T* to = job_.y.data + target_[i];
      if (lanes_)
        for (std::int64_t c = 0; c < channels; ++c) to[c] = from[c * plan_.frames];
      else
        copy_row(channels, from, to);
      if (job_.bias)
        for (std::int64_t c = 0; c < channels; ++c) to[c] += job_.bias[c];
    }
  }

  Band<T>& s_;
  const Job<T>& job_;
  const Plan<T>& plan_;
  const std::int64_t num_terms_, width_;
  Scratch<Ring<T>> rings_;
  Scratch<const T*> terms_;                // of the block that is visited
  Scratch<std::int64_t> offset_, target_;  // of its items: where the terms lie, where the result goes
  Scratch<T*> products_;                   // of the block, by term and channel: where those of the first row go
  const bool lanes_;    // whether rows of the rings have channel before frame, which only Clenshaw's do
  T* values_;           // the partner's values, or those of x or products on their way
  const bool streams_;  // whether results go past the caches
  std::int64_t frame_ = 0, frames_ = 0;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
