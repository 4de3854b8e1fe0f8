// The part of DLPack's C interface (version 1, github.com/dmlc/dlpack) by which torch from 2.10 on lends the memory of a
// tensor, in a tenth of the time that the methods of the tensor take.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace biomechau {

struct DlpackTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t type_code, type_bits;
  std::uint16_t type_lanes;
  const std::int64_t *shape, *strides;
  std::uint64_t byte_offset;

  static constexpr std::uint8_t integer = 0, floating = 2;  // type_code
  std::int64_t numel() const {
    std::int64_t total = 1;
    for (int i = 0; i < ndim; ++i) total *= shape[i];
    return total;
  }
  bool is_contiguous() const {
    std::int64_t step = 1;
    for (int i = ndim; i-- > 0;) {
      if (shape[i] != 1 && strides[i] != step) return numel() == 0;
      step *= shape[i];
    }
    return true;
  }
};

struct DlpackInterface {
  std::uint32_t major_version, minor_version;
  void* previous;
  void *allocate, *from_object, *to_object;
  int (*lend)(void* tensor, DlpackTensor* out);  // -1 after an error
  void* current_stream;

  // That of torch.Tensor; null if it has none.
  static const DlpackInterface* of(pybind11::handle tensor_class) {
    const char* const name = "__dlpack_c_exchange_api__";
    if (!pybind11::hasattr(tensor_class, name)) return nullptr;
    const pybind11::object capsule = tensor_class.attr(name);
    const auto* found = static_cast<DlpackInterface*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (!found) throw pybind11::error_already_set();
    return found->major_version == 1 && found->lend ? found : nullptr;
  }
};

}  // namespace biomechau
