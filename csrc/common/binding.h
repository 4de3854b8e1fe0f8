// What the bindings of the ops share: how arguments arrive from Python, and the checks that keep kernels in bounds.
//
// A tensor arrives as itself (tensor.h says how it is read), as (address, number of elements, dtype code), or as None if it
// is not given. Nothing of torch is included or linked; meaning is checked in Python, memory safety here.
#pragma once

#include <climits>
#include <initializer_list>
#include <string>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/buffer.h"
#include "common/cuda.h"
#include "common/index_checks.h"
#include "common/tensor.h"

namespace biomechau {

// Where a call runs: on the CPU with a number of threads, or on a CUDA device in one of its streams.
struct Place {
  std::int64_t num_threads = 1;
  int device = -1;
  std::uintptr_t stream = 0;

  bool on_gpu() const { return device >= 0; }
  cuda::Device gpu() const { return {device, stream}; }
  void check() const {
    if (on_gpu() && !cuda_built) throw std::invalid_argument("this build has no CUDA kernels");
    // An OpenMP runtime keeps a record of every thread on the stack of the caller.
    constexpr std::int64_t most = 4096;
    if (num_threads < 1 || num_threads > most)
      throw std::invalid_argument("num_threads must lie between 1 and " + std::to_string(most) + ", got " +
                                  std::to_string(num_threads));
  }
  int threads() const { return static_cast<int>(num_threads); }
  // The scratch memory of a call on a GPU; the CPU kernels allocate their own.
  template <class T> T* workspace(const Buffer& buffer, std::int64_t numel) const {
    return on_gpu() ? buffer.as<T>(numel, "workspace") : nullptr;
  }
};

}  // namespace biomechau

namespace pybind11::detail {
template <> struct type_caster<biomechau::Buffer> {
  PYBIND11_TYPE_CASTER(biomechau::Buffer, const_name("Tensor | tuple[int, int, int] | None"));
  bool load(handle source, bool) {
    if (source.is_none()) return true;
    if (!PyTuple_CheckExact(source.ptr())) return biomechau::read_tensor(source, &value);
    if (PyTuple_GET_SIZE(source.ptr()) != 3) return false;
    value.address = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(source.ptr(), 0)));
    value.numel = PyLong_AsLongLong(PyTuple_GET_ITEM(source.ptr(), 1));
    const long dtype = PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 2));
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    value.dtype = static_cast<biomechau::Dtype>(dtype);
    return value.numel >= 0 && dtype >= 0 && dtype < biomechau::num_dtypes;
  }
};
template <> struct type_caster<biomechau::Place> {
  PYBIND11_TYPE_CASTER(biomechau::Place, const_name("int | tuple[int, int]"));
  bool load(handle source, bool) {
    if (PyLong_CheckExact(source.ptr())) {
      value.num_threads = PyLong_AsLongLong(source.ptr());
    } else {
      if (!PyTuple_CheckExact(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 2) return false;
      const long device = PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 0));
      value.stream = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(source.ptr(), 1)));
      if (device < 0 || device > INT_MAX) {
        PyErr_Clear();
        return false;
      }
      value.device = static_cast<int>(device);
    }
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    return true;
  }
};
}  // namespace pybind11::detail

namespace biomechau {

namespace py = pybind11;
using namespace py::literals;
using std::int64_t;

// Names in the order of their numbers, for Python.
template <std::size_t N> py::tuple name_tuple(const char* const (&names)[N]) {
  py::tuple found(N);
  for (std::size_t i = 0; i < N; ++i) found[i] = names[i];
  return found;
}

// Calls fn with a value of the element type of the argument that decides which kernel runs.
template <class Fn> auto dispatch(const Buffer& buffer, const char* name, const Fn& fn) {
  switch (buffer.dtype) {
    case Dtype::float32: return fn(float{});
    case Dtype::float64: return fn(double{});
    default:
      throw std::invalid_argument(std::string(name) + " must be float32 or float64, got " + dtype_name(buffer.dtype));
  }
}

// A size of a call and its name in Python.
struct Size {
  const char* name;
  int64_t value;
};

// Refuses sizes that a kernel's arithmetic could overflow with. Each must fit 32 bits, as the indices in packed
// blendshapes and lists of entries do. At most, kernels multiply all sizes of a call, rounded up to tiles of at most
// `tile`, and that by numbers of threads or pieces that are smaller than the rest of the 64 bits; a call that is refused
// here would not finish in a lifetime.
inline void check_sizes(std::initializer_list<Size> sizes) {
  constexpr double most_together = 0x1p56, tile = 64;
  double together = 1;
  for (const Size& size : sizes) {
    if (size.value < 0 || size.value > INT32_MAX)
      throw std::invalid_argument(std::string(size.name) + " must lie between 0 and " + std::to_string(INT32_MAX) +
                                  ", got " + std::to_string(size.value));
    together *= static_cast<double>(size.value) + tile;
  }
  if (together <= most_together) return;
  std::string list;
  for (const Size& size : sizes)
    list += (list.empty() ? "" : ", ") + std::string(size.name) + " = " + std::to_string(size.value);
  throw std::invalid_argument("the sizes are too large together: " + list);
}

// The number of elements of a buffer, from sizes that are checked.
inline int64_t product(std::initializer_list<int64_t> sizes) {
  int64_t total = 1;
  for (const int64_t size : sizes) total *= size;
  return total;
}

inline void check_rising(const int64_t* starts, int64_t count, int64_t last, const char* name) {
  if (!select_index_checks<int64_t>().rise(starts, count, last))
    throw std::invalid_argument(std::string(name) + " must rise from 0 to the number of entries");
}
inline void check_range(bool good, const char* name) {
  if (!good) throw std::invalid_argument(std::string(name) + " holds an index out of range");
}
template <class Index> void check_range(const Index* index, int64_t count, int64_t limit, const char* name) {
  check_range(select_index_checks<Index>().are_in_range(index, count, limit), name);
}

}  // namespace biomechau
