// What Python passes for a tensor: its address, number of elements and type.
// The binding compares every buffer with the sizes of the call before a kernel may touch it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <pybind11/pybind11.h>

namespace biomechau {

enum class Dtype : int { float32 = 0, float64 = 1, int64 = 2, int32 = 3 };
constexpr int num_dtypes = 4;
constexpr const char* dtype_names[num_dtypes] = {"float32", "float64", "int64", "int32"};  // as in torch
inline const char* dtype_name(Dtype dtype) { return dtype_names[static_cast<int>(dtype)]; }

template <class T> struct DtypeOf;
template <> struct DtypeOf<float> { static constexpr Dtype value = Dtype::float32; };
template <> struct DtypeOf<double> { static constexpr Dtype value = Dtype::float64; };
template <> struct DtypeOf<std::int32_t> { static constexpr Dtype value = Dtype::int32; };
template <> struct DtypeOf<std::int64_t> { static constexpr Dtype value = Dtype::int64; };

struct Buffer {
  std::uintptr_t address = 0;
  std::int64_t numel = 0;
  Dtype dtype = Dtype::float32;
  pybind11::object owner = {};  // the tensor whose memory it is, which lives as long as the buffer

  bool given() const { return owner || address != 0 || numel != 0; }

  // The elements, if type and count are those that the caller's sizes require.
  template <class T> T* as(std::int64_t expected, const char* name) const {
    if (dtype != DtypeOf<T>::value)
      refuse(name, std::string("be ") + dtype_name(DtypeOf<T>::value) + ", got " + dtype_name(dtype));
    if (numel != expected)
      refuse(name, "have " + std::to_string(expected) + " elements, got " + std::to_string(numel));
    if (numel != 0 && address == 0) refuse(name, "have an address, got 0");
    if (address % alignof(T) != 0)
      refuse(name, "lie at a multiple of " + std::to_string(alignof(T)) + " bytes, got address " + std::to_string(address));
    return reinterpret_cast<T*>(address);
  }

  // Null if the argument was not given.
  template <class T> T* as_optional(std::int64_t expected, const char* name) const {
    return given() ? as<T>(expected, name) : nullptr;
  }

 private:
  [[noreturn]] static void refuse(const char* name, const std::string& what) {
    throw std::invalid_argument(std::string(name) + " must " + what);
  }
};

}  // namespace biomechau
