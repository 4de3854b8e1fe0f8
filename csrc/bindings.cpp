// The module biomechau._core: the bindings of the ops, and what was built.
#include <exception>
#include <new>

#include "common/binding.h"
#include "common/isa_select.h"

namespace biomechau {

void bind_chebyshev_conv(py::module_& m);
void bind_force_projection(py::module_& m);
void bind_generalized_mass(py::module_& m);
void bind_euler_rollout(py::module_& m);
void bind_modal_rollout(py::module_& m);

namespace {

std::string cuda_refusal(int device) {
  if constexpr (cuda_built)
    return cuda::refusal(device);
  else
    return "this build has no CUDA kernels";
}

// A kernel throws std::bad_alloc if there is no memory for the scratch of a call.
void explain_out_of_memory(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "a kernel of biomechau has no memory for its scratch; pass fewer sequences or "
                                       "frames at a time, or set fewer threads (torch.set_num_threads)");
  }
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Kernels of biomechau: addresses and sizes in, nothing of torch.";

  py::register_local_exception_translator(&explain_out_of_memory);

  bind_chebyshev_conv(m);
  bind_force_projection(m);
  bind_generalized_mass(m);
  bind_euler_rollout(m);
  bind_modal_rollout(m);

  m.def("same_kind", &same_kind, "names"_a,
        "Whether all are tensors of one dtype, float32 or float64, and on one device; with a ? at the end of its name "
        "one may be None.");
  m.attr("dtypes") = name_tuple(dtype_names);
  m.def("isa", &isa_name, "Instruction set that the kernels run with.");
  m.def("supported_isas", &supported_isas, "Instruction sets that this processor and this build can run.");
  m.def("select_isa", &select_isa, "name"_a, "Run with another supported instruction set.");
  m.def("cuda_refusal", &cuda_refusal, "device"_a, "Why the CUDA kernels cannot run on a device; empty where they can.");
#if defined(_OPENMP)
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
  m.attr("cuda") = cuda_built;
}

}  // namespace biomechau
