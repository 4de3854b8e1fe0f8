// Products of the terms of one block of rows, held in registers. An item is one frame of one row: its value of channel
// c of term k lies at terms[k][offset + c].
#pragma once

#include <cstdint>

#include "common/cpu/transpose.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Items, terms of a gram and sums in all that fit the registers, together with what they are made of.
#if defined(__AVX512F__)
constexpr int tile_items = 12, tile_terms = 3, tile_sums = 12;
#elif defined(__AVX2__)
constexpr int tile_items = 6, tile_terms = 2, tile_sums = 6;
#else
constexpr int tile_items = 12, tile_terms = 1, tile_sums = 4;
#endif
constexpr int tile_products = 6;  // and products of many frames

// sum[r] += sum over Channels of term[offset[r] + c] weight[c, :] for one vector of outputs
template <int Channels, int Items, class T>
BIOMECHAU_INLINE void product_channels(const T* term, const std::int64_t* offset, const T* weight,
                                       std::int64_t weight_stride, Vector<T> (&sum)[Items]) {
  repeat<Channels>([&](int c) BIOMECHAU_INLINE_LAMBDA {
    const Vector<T> w = Vector<T>::load(weight + c * weight_stride);
    repeat<Items>([&](int r) BIOMECHAU_INLINE_LAMBDA { sum[r].add_scaled(term[offset[r] + c], w); });
  });
}

// sum[r] += sum over k, c of terms[k][offset[r] + c] weight[k, c, :] for one vector of outputs
template <int Items, class T>
BIOMECHAU_INLINE void product_tile(std::int64_t num_terms, std::int64_t num_channels, const T* const* terms,
                                   const std::int64_t* offset, const T* weight, std::int64_t weight_stride,
                                   Vector<T> (&sum)[Items]) {
  for (std::int64_t k = 0; k < num_terms; ++k, weight += num_channels * weight_stride) {
    std::int64_t c = 0;
    for (; c + 4 <= num_channels; c += 4)
      product_channels<4>(terms[k] + c, offset, weight + c * weight_stride, weight_stride, sum);
    switch (num_channels - c) {
      case 3: product_channels<3>(terms[k] + c, offset, weight + c * weight_stride, weight_stride, sum); break;
      case 2: product_channels<2>(terms[k] + c, offset, weight + c * weight_stride, weight_stride, sum); break;
      case 1: product_channels<1>(terms[k] + c, offset, weight + c * weight_stride, weight_stride, sum); break;
      default: break;
    }
  }
}

// sum[j] = sum over c of weight[c, j] x[c, :], where a row of x is one vector: channel c of so many frames
template <int Sums, class T>
BIOMECHAU_INLINE void lane_products(std::int64_t num_channels, const T* x, const T* weight, std::int64_t weight_stride,
                                    Vector<T> (&sum)[Sums]) {
  repeat<Sums>([&](int j) BIOMECHAU_INLINE_LAMBDA { sum[j] = Vector<T>::zero(); });
  for (std::int64_t c = 0; c < num_channels; ++c, x += Vector<T>::width, weight += weight_stride) {
    const Vector<T> value = Vector<T>::load(x);
    repeat<Sums>([&](int j) BIOMECHAU_INLINE_LAMBDA { sum[j].add_scaled(weight[j], value); });
  }
}

// out[k, c, :] += sum over items of terms[k][offset + c] partner[item, :] for Terms x Channels of them and one vector;
// `terms` and `out` begin at the first, rows of `out` lie `stride` apart, terms `term_stride`.
template <int Terms, int Channels, class T>
inline void gram_tile(std::int64_t num_items, const T* const* terms, std::int64_t channel, const std::int64_t* offset,
                      const T* partner, std::int64_t stride, T* out, std::int64_t term_stride) {
  Vector<T> sum[Terms][Channels];
  const T* term[Terms];
  repeat<Terms>([&](int k) BIOMECHAU_INLINE_LAMBDA {
    term[k] = terms[k] + channel;
    repeat<Channels>([&](int c) BIOMECHAU_INLINE_LAMBDA {
      sum[k][c] = Vector<T>::load(out + k * term_stride + c * stride);
    });
  });
  for (std::int64_t i = 0; i < num_items; ++i) {
    const Vector<T> p = Vector<T>::load(partner + i * stride);
    const std::int64_t at = offset[i];
    repeat<Terms>([&](int k) BIOMECHAU_INLINE_LAMBDA {
      repeat<Channels>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[k][c].add_scaled(term[k][at + c], p); });
    });
  }
  repeat<Terms>([&](int k) BIOMECHAU_INLINE_LAMBDA {
    repeat<Channels>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[k][c].store(out + k * term_stride + c * stride); });
  });
}

template <int Terms, class T>
inline void gram_terms(std::int64_t num_items, std::int64_t num_channels, const T* const* terms,
                       const std::int64_t* offset, const T* partner, std::int64_t stride, T* out) {
  const std::int64_t term_stride = num_channels * stride;
  for (std::int64_t c = 0; c < num_channels;) {
    T* at = out + c * stride;
    switch (num_channels - c) {
      case 1: gram_tile<Terms, 1>(num_items, terms, c, offset, partner, stride, at, term_stride); c += 1; break;
      case 2: gram_tile<Terms, 2>(num_items, terms, c, offset, partner, stride, at, term_stride); c += 2; break;
      case 3: gram_tile<Terms, 3>(num_items, terms, c, offset, partner, stride, at, term_stride); c += 3; break;
      default:
        if constexpr (4 * Terms <= tile_sums)
          gram_tile<Terms, 4>(num_items, terms, c, offset, partner, stride, at, term_stride);
        else
          for (int k = 0; k < Terms; ++k)
            gram_tile<1, 4>(num_items, terms + k, c, offset, partner, stride, at + k * term_stride, term_stride);
        c += 4;
    }
  }
}

// out (K, channels, stride) += sum over items of terms[k][offset + c] partner[item, :], for all of them
template <class T>
void add_gram(std::int64_t num_items, std::int64_t num_terms, std::int64_t num_channels, const T* const* terms,
              const std::int64_t* offset, const T* partner, std::int64_t stride, T* out) {
  for (std::int64_t v = 0; v < stride; v += Vector<T>::width) {
    T* const to = out + v;
    const std::int64_t step = num_channels * stride;
    std::int64_t k = 0;
    for (; k + tile_terms <= num_terms; k += tile_terms)
      gram_terms<tile_terms>(num_items, num_channels, terms + k, offset, partner + v, stride, to + k * step);
    for (; k < num_terms; ++k)
      gram_terms<1>(num_items, num_channels, terms + k, offset, partner + v, stride, to + k * step);
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
