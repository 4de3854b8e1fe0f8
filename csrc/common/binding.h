// What the bindings of the ops share: how arguments arrive from Python, and the checks that keep kernels in bounds.
//
// A tensor arrives as (address, number of elements, dtype code), or None where it is left out. Nothing of torch is
// included or linked; meaning is checked in Python, memory safety here.
#pragma once

#include <limits>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/buffer.h"
#include "common/cuda.h"

namespace biomechau {

// Where a call runs: on the CPU with so many threads, or on a CUDA device in one of its streams.
struct Place {
  int num_threads = 1;
  int device = -1;
  std::uintptr_t stream = 0;

  bool on_gpu() const { return device >= 0; }
  cuda::Device gpu() const { return {device, stream}; }
  void check() const {
    if (on_gpu() && !cuda_built) throw std::invalid_argument("this build has no CUDA kernels");
    if (num_threads < 1) throw std::invalid_argument("num_threads must be at least 1");
  }
  // The scratch memory of a call on a GPU; the CPU kernels take their own.
  template <class T> T* workspace(const Buffer& buffer, std::int64_t numel) const {
    return on_gpu() ? buffer.as<T>(numel, "workspace") : nullptr;
  }
};

}  // namespace biomechau

namespace pybind11::detail {
template <> struct type_caster<biomechau::Buffer> {
  PYBIND11_TYPE_CASTER(biomechau::Buffer, const_name("tuple[int, int, int] | None"));
  bool load(handle source, bool) {
    if (source.is_none()) return true;
    if (!PyTuple_CheckExact(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 3) return false;
    value.address = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(source.ptr(), 0)));
    value.numel = PyLong_AsLongLong(PyTuple_GET_ITEM(source.ptr(), 1));
    value.dtype = static_cast<biomechau::Dtype>(PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 2)));
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    return value.numel >= 0;
  }
};
template <> struct type_caster<biomechau::Place> {
  PYBIND11_TYPE_CASTER(biomechau::Place, const_name("int | tuple[int, int]"));
  bool load(handle source, bool) {
    if (PyLong_CheckExact(source.ptr())) {
      value.num_threads = static_cast<int>(PyLong_AsLong(source.ptr()));
    } else {
      if (!PyTuple_CheckExact(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 2) return false;
      value.device = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 0)));
      value.stream = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(source.ptr(), 1)));
      if (value.device < 0) return false;
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

// Calls fn with a value of the kernel's element type.
template <class Fn> auto dispatch(Dtype dtype, const Fn& fn) {
  switch (dtype) {
    case Dtype::float32: return fn(float{});
    case Dtype::float64: return fn(double{});
    default: throw std::invalid_argument("kernels take float32 and float64");
  }
}

inline int64_t product(std::initializer_list<int64_t> sizes) {
  int64_t total = 1;
  for (const int64_t size : sizes) {
    if (size < 0) throw std::invalid_argument("sizes must not be negative");
    if (size != 0 && total > INT64_MAX / size) throw std::invalid_argument("sizes overflow");
    total *= size;
  }
  return total;
}

// The index arrays are read before any kernel follows them: an index out of range would be a wild write.
inline void check_rising(const int64_t* starts, int64_t count, int64_t last, const char* name) {
  bool good = starts[0] == 0 && starts[count] == last;
  for (int64_t i = 0; i < count; ++i) good &= starts[i] <= starts[i + 1];
  if (!good) throw std::invalid_argument(std::string(name) + " must rise from 0 to the number of entries");
}
template <class Index> void check_range(const Index* index, int64_t count, int64_t limit, const char* name) {
  // The sign of `wrong` gathers what is below 0 or above the last; a branch or comparison would keep the loop scalar.
  const Index last = static_cast<Index>(limit < std::numeric_limits<Index>::max() ? limit - 1
                                                                                 : std::numeric_limits<Index>::max());
  Index wrong = 0;
  for (int64_t i = 0; i < count; ++i) wrong |= index[i] | (last - index[i]);
  if (wrong < 0) throw std::invalid_argument(std::string(name) + " holds an index out of range");
}

}  // namespace biomechau
