#include "cuda/launch.cuh"

#include <dlfcn.h>

namespace perception {
namespace {

using GetStream = AOTITorchError (*)(int32_t, void**);

GetStream find_get_stream() {
  void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
  void* symbol = dlsym(library ? library : RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream");
  return reinterpret_cast<GetStream>(symbol);
}

}  // namespace

cudaStream_t current_stream(const Tensor& tensor) {
  static const GetStream get_stream = find_get_stream();
  if (!get_stream) throw std::runtime_error("this torch has no CUDA (libtorch_cuda is not loaded)");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(get_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(error));
}

}  // namespace perception
