// The state of the emulated device that tests read and change.
#include "cuda_runtime.h"

namespace biomechau {
namespace cuda {
alignas(16) unsigned char shared_bytes[most_shared + guard];
}
}  // namespace biomechau

extern "C" {
__attribute__((visibility("default"))) void emulation_set_order(unsigned seed) { emulation::machine().seed = seed; }
__attribute__((visibility("default"))) void emulation_set_most_shared(std::size_t bytes) {
  emulation::machine().most_shared = bytes < biomechau::cuda::most_shared ? bytes : biomechau::cuda::most_shared;
}
__attribute__((visibility("default"))) void emulation_refuse_launches(int refuses) {
  emulation::machine().refuses_launches = refuses != 0;
}
__attribute__((visibility("default"))) void emulation_before_launch(void (*call)()) {
  emulation::machine().before_launch = call;
}
__attribute__((visibility("default"))) void emulation_set_fault(int device, int error) {
  emulation::machine().faults[device] = static_cast<cudaError_t>(error);
}
__attribute__((visibility("default"))) int emulation_device() { return emulation::current_device; }
__attribute__((visibility("default"))) int emulation_launches() { return emulation::machine().launches; }
__attribute__((visibility("default"))) std::uintptr_t emulation_stream() { return emulation::machine().stream; }
}
