// Whether the kernels of this build can run on a GPU.
#include <cuda_runtime.h>

#include "common/cuda.h"

namespace biomechau {
namespace cuda {
namespace {

// Compiled like all kernels: where this one can be loaded, they can.
__global__ void nothing_kernel() {}

}  // namespace

std::string refusal(int device) {
  int before = device;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess && before != device) error = cudaSetDevice(device);
  cudaFuncAttributes attributes;
  if (error == cudaSuccess)
    error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&nothing_kernel));
  if (before != device) cudaSetDevice(before);
  if (error != cudaSuccess) cudaGetLastError();  // otherwise the next call would see the error
  switch (error) {
    case cudaErrorInsufficientDriver:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInvalidDeviceFunction: return cudaGetErrorString(error);
    default: return {};  // other errors are reported by the call itself
  }
}

}  // namespace cuda
}  // namespace biomechau
