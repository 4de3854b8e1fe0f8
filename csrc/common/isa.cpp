#include "common/isa.h"

#include "common/isa_select.h"

#include <atomic>
#include <stdexcept>

namespace biomechau {
namespace {

Isa best_isa() {
#if defined(BIOMECHAU_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

constexpr const char* names[] = {"baseline", "avx2", "avx512"};

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{best_isa()};
  return isa;
}

}  // namespace

Isa current_isa() { return chosen().load(std::memory_order_relaxed); }

std::string isa_name() { return names[static_cast<int>(current_isa())]; }

std::vector<std::string> supported_isas() {
  return {names, names + static_cast<int>(best_isa()) + 1};
}

void select_isa(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(best_isa()); ++i)
    if (name == names[i]) {
      chosen() = static_cast<Isa>(i);
      return;
    }
  throw std::invalid_argument("this processor has no kernels named '" + name + "'");
}

}  // namespace biomechau
