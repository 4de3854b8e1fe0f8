// A vector of 64 bytes: one register of AVX-512, two of AVX2, four of SSE2. Kept in registers by the compilers that
// know vector types; a plain array elsewhere.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> struct Vector {
  static constexpr int width = 64 / sizeof(T);

#if defined(__GNUC__)
  typedef T Register __attribute__((vector_size(64)));
#else
  struct Register {
    T lanes[width];
  };
#endif
  Register value;

  static Vector zero() {
    Vector v;
    std::memset(&v.value, 0, sizeof(v.value));
    return v;
  }
  static Vector load(const T* from) {
    Vector v;
    std::memcpy(&v.value, from, sizeof(v.value));
    return v;
  }
  void store(T* to) const { std::memcpy(to, &value, sizeof(value)); }

  // A store past the caches to an address that is a multiple of 64; `end_stream` before others read it.
  void stream(T* to) const {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)value);
#elif defined(__AVX2__)
    __m256i half[2];
    std::memcpy(half, &value, sizeof(value));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), half[0]);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to) + 1, half[1]);
#else
    store(to);
#endif
  }

  // The first `count` elements, at most `width`; no memory beyond them is touched, the other lanes are 0.
  static Vector load_first(const T* from, std::int64_t count) {
    if (count >= width) return load(from);
#if defined(__AVX512F__)
    Vector v;
    if constexpr (sizeof(T) == 4)
      v.value = (Register)_mm512_maskz_loadu_ps(mask(count), from);
    else
      v.value = (Register)_mm512_maskz_loadu_pd(mask(count), from);
    return v;
#else
    T lanes[width] = {};
    for (std::int64_t l = 0; l < count; ++l) lanes[l] = from[l];
    return load(lanes);
#endif
  }
  void store_first(T* to, std::int64_t count) const {
    if (count >= width) return store(to);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
      _mm512_mask_storeu_ps(to, mask(count), (__m512)value);
    else
      _mm512_mask_storeu_pd(to, mask(count), (__m512d)value);
#else
    T lanes[width];
    store(lanes);
    for (std::int64_t l = 0; l < count; ++l) to[l] = lanes[l];
#endif
  }

  // this += a x
  void add_scaled(T a, const Vector& x) {
#if defined(__GNUC__)
    value += a * x.value;
#else
    for (int l = 0; l < width; ++l) value.lanes[l] += a * x.value.lanes[l];
#endif
  }

#if defined(__AVX512F__)
  // Lane l is lane index[l] of the two vectors side by side.
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  static Vector pick(const Vector& a, const Vector& b, const Index (&index)[width]) {
    Vector v;
    const __m512i from = _mm512_load_si512(index);
    if constexpr (sizeof(T) == 4)
      v.value = (Register)_mm512_permutex2var_ps((__m512)a.value, from, (__m512)b.value);
    else
      v.value = (Register)_mm512_permutex2var_pd((__m512d)a.value, from, (__m512d)b.value);
    return v;
  }
#endif

  static Vector abs(const Vector& a) { return max(a, T(-1) * a); }
#if defined(__GNUC__)
  static Vector max(Vector a, const Vector& b) { return a.value = a.value > b.value ? a.value : b.value, a; }
  friend Vector operator+(Vector a, const Vector& b) { return a.value += b.value, a; }
  friend Vector operator-(Vector a, const Vector& b) { return a.value -= b.value, a; }
  friend Vector operator*(Vector a, const Vector& b) { return a.value *= b.value, a; }
  friend Vector operator*(T a, Vector b) { return b.value *= a, b; }
#else
  static Vector max(Vector a, const Vector& b) { return a.each(b, [](T x, T y) { return x > y ? x : y; }); }
  friend Vector operator+(Vector a, const Vector& b) { return a.each(b, [](T x, T y) { return x + y; }); }
  friend Vector operator-(Vector a, const Vector& b) { return a.each(b, [](T x, T y) { return x - y; }); }
  friend Vector operator*(Vector a, const Vector& b) { return a.each(b, [](T x, T y) { return x * y; }); }
  friend Vector operator*(T a, Vector b) { return b.each(b, [a](T x, T) { return a * x; }); }
#endif

 private:
#if !defined(__GNUC__)
  template <class Fn> Vector& each(const Vector& other, const Fn& fn) {
    for (int l = 0; l < width; ++l) value.lanes[l] = fn(value.lanes[l], other.value.lanes[l]);
    return *this;
  }
#elif defined(__AVX512F__)
  static unsigned mask(std::int64_t count) { return (1u << count) - 1; }
#endif
};

inline void end_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
