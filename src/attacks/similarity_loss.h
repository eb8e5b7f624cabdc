// SSIM as assessment/similarity.h has it, differentiable, and the loss of the attacks that train.
#ifndef INFENCLAVE_ATTACKS_SIMILARITY_LOSS_H_
#define INFENCLAVE_ATTACKS_SIMILARITY_LOSS_H_

#include "attacks/torch.h"

namespace infenclave {

// Of pictures [n,3,h,w] in 0..1, h and w at least 11: the mean over them.
at::Tensor MeanSsim(const at::Tensor& a, const at::Tensor& b);

// Mean squared error in units of kPixelUnit plus 1 - SSIM: the two that the assessment scores, of like weight where
// little is recovered and where nearly all is.
inline constexpr double kPixelUnit = 0.03;
at::Tensor PictureLoss(const at::Tensor& reconstruction, const at::Tensor& picture);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_SIMILARITY_LOSS_H_
