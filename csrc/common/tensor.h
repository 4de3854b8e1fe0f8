// Tensors of torch, read by DLPack's C interface or by their Python methods: nothing of torch is included or linked.
#pragma once

#include "common/buffer.h"
#include "common/dlpack.h"

namespace biomechau {

// Attributes and methods of Python objects, methods without arguments.
class Name {
 public:
  explicit Name(const char* name) : name_(PyUnicode_InternFromString(name)) {}
  pybind11::object get(pybind11::handle self) const { return checked(PyObject_GetAttr(self.ptr(), name_)); }
  pybind11::object call(pybind11::handle self) const { return checked(PyObject_CallMethodNoArgs(self.ptr(), name_)); }

 private:
  static pybind11::object checked(PyObject* result) {
    if (!result) throw pybind11::error_already_set();
    return pybind11::reinterpret_steal<pybind11::object>(result);
  }
  PyObject* name_;
};

struct TensorClass {
  PyTypeObject* type;  // lives for ever
  const DlpackInterface* dlpack;

  static const TensorClass& get() {
    static TensorClass found{};
    if (!found.type) {
      pybind11::object type = pybind11::module_::import("torch").attr("Tensor");
      found.dlpack = DlpackInterface::of(type);
      found.type = reinterpret_cast<PyTypeObject*>(type.release().ptr());
    }
    return found;
  }
};

inline bool is_tensor(pybind11::handle object) { return PyObject_TypeCheck(object.ptr(), TensorClass::get().type); }

// The dtype of a tensor; false if no kernel takes it.
inline bool read_dtype(pybind11::handle tensor, Dtype* dtype) {
  static const Name name("dtype");
  static PyObject* known[num_dtypes] = {};  // a dtype of torch is one object, which lives for ever
  const pybind11::object found = name.get(tensor);
  for (int code = 0; code < num_dtypes; ++code)
    if (known[code] == found.ptr()) return *dtype = static_cast<Dtype>(code), true;
  const std::string text = pybind11::str(found);
  for (int code = 0; code < num_dtypes; ++code)
    if (text == std::string("torch.") + dtype_names[code]) {
      known[code] = found.inc_ref().ptr();
      return *dtype = static_cast<Dtype>(code), true;
    }
  return false;
}

// The memory of a tensor as DLPack lends it; false if it does not, as of sparse tensors, if the memory is not contiguous,
// or if no kernel takes the dtype.
inline bool read_lent(const DlpackInterface& dlpack, pybind11::handle tensor, Buffer* buffer) {
  DlpackTensor lent{};
  if (dlpack.lend(tensor.ptr(), &lent)) {
    PyErr_Clear();
    return false;
  }
  const bool is_float = lent.type_code == DlpackTensor::floating, is_wide = lent.type_bits == 64;
  if (!is_float && lent.type_code != DlpackTensor::integer) return false;
  if (!is_wide && lent.type_bits != 32) return false;
  buffer->dtype = is_float ? (is_wide ? Dtype::float64 : Dtype::float32) : (is_wide ? Dtype::int64 : Dtype::int32);
  buffer->address = reinterpret_cast<std::uintptr_t>(lent.data) + lent.byte_offset;
  buffer->numel = lent.numel();
  return lent.is_contiguous();
}

// The memory of a tensor with its values contiguous, as the kernels read them: of a copy if they are not. False if the
// object is no tensor, or one of a dtype that no kernel takes.
inline bool read_tensor(pybind11::handle source, Buffer* buffer) {
  static const Name is_neg("is_neg"), contiguous("contiguous"), resolve_neg("resolve_neg"), data_ptr("data_ptr"),
      numel("numel");
  if (!is_tensor(source)) return false;
  buffer->owner = pybind11::reinterpret_borrow<pybind11::object>(source);
  const bool negative = is_neg.call(source).ptr() != Py_False;
  const DlpackInterface* const dlpack = TensorClass::get().dlpack;
  if (dlpack && !negative && read_lent(*dlpack, source, buffer)) return true;
  if (!read_dtype(source, &buffer->dtype)) return false;
  buffer->owner = resolve_neg.call(contiguous.call(source));
  buffer->address = static_cast<std::uintptr_t>(PyLong_AsUnsignedLongLong(data_ptr.call(buffer->owner).ptr()));
  buffer->numel = PyLong_AsLongLong(numel.call(buffer->owner).ptr());
  return true;
}

// Whether all are tensors of one dtype, float32 or float64, and on one device; with a ? at the end of its name one may be
// None.
inline bool same_kind(const pybind11::tuple& names, const pybind11::args& tensors) {
  static const Name device_of("device");
  pybind11::object device;
  Dtype first{};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const pybind11::handle tensor = PyTuple_GET_ITEM(tensors.ptr(), i);
    if (tensor.is_none()) {
      const std::string_view name = names[i].cast<std::string_view>();
      if (name.back() != '?') return false;
      continue;
    }
    Dtype dtype{};
    if (!is_tensor(tensor) || !read_dtype(tensor, &dtype)) return false;
    if (dtype != Dtype::float32 && dtype != Dtype::float64) return false;
    pybind11::object other = device_of.get(tensor);
    if (!device) {
      first = dtype;
      device = std::move(other);
    } else if (dtype != first || !device.equal(other)) {
      return false;
    }
  }
  return true;
}

}  // namespace biomechau
