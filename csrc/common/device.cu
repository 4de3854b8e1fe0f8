// Whether the kernels of this build can run on a GPU.
#include <cuda_runtime.h>

#include "common/cuda.h"

namespace biomechau {
namespace cuda {
namespace {

// Compiled as all kernels are: where this one can be loaded, they can.
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
  if (error != cudaSuccess) cudaGetLastError();  // or the next call would be told of it
  switch (error) {
    case cudaErrorInsufficientDriver:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInvalidDeviceFunction: return cudaGetErrorString(error);
    default: return {};  // what else is wrong is the call's to say
  }
}

}  // namespace cuda
}  // namespace biomechau
