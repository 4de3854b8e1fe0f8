// The state of the emulated device that tests read and change.
#include "cuda_runtime.h"

#include <sys/mman.h>
#include <unistd.h>

namespace biomechau {
namespace cuda {
alignas(16) unsigned char shared_bytes[most_shared + guard];
}
}  // namespace biomechau

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::size_t whole_pages(std::size_t size) { return (size + page - 1) / page * page; }

}  // namespace

extern "C" {
// Memory of the device between two pages that nobody can access: it ends where the second begins, or begins where the
// first ends. What the pages between them hold besides is 0xff. Null where there is none.
__attribute__((visibility("default"))) unsigned char* emulation_allocate(std::size_t size, int at_begin) {
  const std::size_t usable = whole_pages(size);
  void* all = mmap(nullptr, usable + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  unsigned char* first = static_cast<unsigned char*>(all) + page;
  if (usable > 0) {
    if (mprotect(first, usable, PROT_READ | PROT_WRITE) != 0) return nullptr;
    std::memset(first, 0xff, usable);
  }
  return at_begin ? first : first + usable - size;
}
// Whether nothing was written beside it.
__attribute__((visibility("default"))) int emulation_free(unsigned char* memory, std::size_t size, int at_begin) {
  const std::size_t usable = whole_pages(size);
  unsigned char* first = at_begin ? memory : memory + size - usable;
  const unsigned char* rest = at_begin ? memory + size : first;
  const int untouched = std::all_of(rest, rest + (usable - size), [](unsigned char byte) { return byte == 0xff; });
  munmap(first - page, usable + 2 * page);
  return untouched;
}
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
