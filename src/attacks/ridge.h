// The closed-form attack: ridge regression from an IR's neighbourhood to the patch of the picture above it.
//
// IR and picture are taken relative to their means at each place, channels scaled to unit deviation and turned into
// their principal components, of which the first are kept where a neighbourhood of all would have more than
// kMaxFeatures values. Neighbourhood (1, 3 or 5 places wide) and regularisation are those that predict best,
// cross-fitted: each photograph by a model that has seen none of its pictures (Hoerl & Kennard 1970; Stone 1974). A
// flat IR predicts the picture at 28x28.
#ifndef INFENCLAVE_ATTACKS_RIDGE_H_
#define INFENCLAVE_ATTACKS_RIDGE_H_

#include <functional>
#include <vector>

#include "attacks/checkpoint.h"
#include "attacks/job_folder.h"

namespace infenclave {

inline constexpr int64_t kMaxFeatures = 896;

class Ridge {
 public:
  // `rows` are of photographs. `progress` gets the share that is done.
  static Ridge Fit(const JobFolder& folder, const std::vector<int64_t>& rows,
                   const std::function<void(double)>& progress);
  // The same of the training photographs, kept in the folder from one sitting to the next.
  static StatusOr<Ridge> OfTraining(const JobFolder& folder);

  // [n,C,H,W] -> [n,3,112,112] in 0..1, by the model of all rows.
  at::Tensor Predict(const at::Tensor& ir) const { return PredictBy(weights_.back(), ir); }
  // By a model that has not seen the photograph; one that no row was of counts as unseen by all.
  at::Tensor PredictUnseen(const at::Tensor& ir, int32_t photograph) const;

  double error() const { return error_; }  // mean squared, of cross-fitted predictions of pixels in 0..1
  int64_t parameters() const { return weights_.back().numel(); }
  int64_t kernel() const { return kernel_; }
  const at::Tensor& mean_picture() const { return mean_picture_; }  // [1,3,112,112]

 private:
  friend class RidgeFitter;
  NamedTensors Save() const;
  bool Load(const NamedTensors& saved, const Grid& grid);
  at::Tensor Features(const at::Tensor& ir) const;  // [n,kept,side,side]
  at::Tensor PredictBy(const at::Tensor& weights, const at::Tensor& ir) const;

  Grid grid_;
  at::Tensor mean_ir_, mean_picture_, projection_;  // [1,C,side,side], [1,3,112,112], [kept,C]
  int64_t kernel_ = 1;
  std::vector<int32_t> fold_of_;     // by photograph, -1 where there is none
  std::vector<at::Tensor> weights_;  // [targets, kept * kernel^2]: of each fold's complement, then of all
  double error_ = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_RIDGE_H_
