// Loaded before everything else (LD_PRELOAD): lets an allocation of a kernel's scratch memory fail.
#include <atomic>
#include <cstdlib>
#include <new>

static std::atomic<long> left{-1};  // allocations until the one that fails; below 0: none does
static std::atomic<long> made{0};

extern "C" {
void fail_allocation(long number) { left = number; }
long allocations() { return made; }
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  ++made;
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  const std::size_t unit = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
