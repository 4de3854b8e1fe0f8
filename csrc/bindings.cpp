// The module biomechau._core: the bindings of the ops, and what was built.
#include "common/binding.h"
#include "common/isa_select.h"

namespace biomechau {

void bind_chebyshev_conv(py::module_& m);
void bind_force_projection(py::module_& m);
void bind_generalized_mass(py::module_& m);
void bind_euler_rollout(py::module_& m);
void bind_modal_rollout(py::module_& m);

PYBIND11_MODULE(_core, m) {
  m.doc() = "Kernels of biomechau: addresses and sizes in, nothing of torch.";

  bind_chebyshev_conv(m);
  bind_force_projection(m);
  bind_generalized_mass(m);
  bind_euler_rollout(m);
  bind_modal_rollout(m);

  m.def("isa", &isa_name, "Instruction set that the kernels run with.");
  m.def("supported_isas", &supported_isas, "Instruction sets that this processor and this build can run.");
  m.def("select_isa", &select_isa, "name"_a, "Run with another supported instruction set.");
#if defined(_OPENMP)
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
  m.attr("cuda") = cuda_built;
}

}  // namespace biomechau
