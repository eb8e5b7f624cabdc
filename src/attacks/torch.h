// As little of libtorch as the attacks need: its umbrella header takes four times as long to compile.
#ifndef INFENCLAVE_ATTACKS_TORCH_H_
#define INFENCLAVE_ATTACKS_TORCH_H_

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>  // clang wants it complete

namespace infenclave {

// a [n,k] times the transpose of b [m,k], in f32, without gradients. Debian's libtorch multiplies matrices with the
// reference BLAS, thirty times slower than the oneDNN that it convolves with.
inline at::Tensor TimesTransposed(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  return at::mkldnn_linear(a.contiguous().to_mkldnn(), b.contiguous(), {}).to_dense();
}

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_TORCH_H_
