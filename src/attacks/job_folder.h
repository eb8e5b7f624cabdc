// A job's folder (assessment/attack_job.h) opened and checked: who is in it, and its rows as libtorch's tensors.
#ifndef INFENCLAVE_ATTACKS_JOB_FOLDER_H_
#define INFENCLAVE_ATTACKS_JOB_FOLDER_H_

#include <string>
#include <vector>

#include "assessment/attack_job.h"
#include "attacks/torch.h"

namespace infenclave {

// How a tensor [C,H,W] lies on the picture: it is brought to `side` x `side` places, each above `patch` x `patch`
// pixels, side * patch = 112. Tensors larger than 56 are folded, 2 x 2 places into the channels; tensors of other sizes
// are resized, to the next larger side that divides 112. A flat tensor is one place above the whole picture; one of
// very many values is mixed at random into kMaxFlat.
inline constexpr int64_t kMaxFlat = 4096;

struct Grid {
  int64_t channels = 0, side = 0, patch = 0;
  bool folded = false;

  static Grid Of(const Shape& ir);  // [C,H,W]
  bool flat() const { return side == 1; }
  at::Tensor Place(const at::Tensor& ir) const;  // [n,C,H,W] -> [n,channels,side,side]
};

class JobFolder {
 public:
  // Every file but frontnet.graph, start.npy and features.graph is read and checked here: shapes that agree, IRs that
  // are finite, photographs enough to leave some out.
  static StatusOr<JobFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return Concat(path_, "/", name); }
  const AttackJob& job() const { return job_; }
  const Shape& ir_shape() const { return ir_shape_; }  // [C,H,W]; a flat tensor is [C,1,1]
  const Grid& grid() const { return grid_; }
  int64_t targets() const { return target_ir_.rows(); }

  // Rows of the attacker's pictures. Training and validation share no photograph; synthetic rows belong to neither.
  const std::vector<int64_t>& training() const { return training_; }
  const std::vector<int64_t>& validation() const { return validation_; }
  const std::vector<int64_t>& synthetic() const { return synthetic_; }
  int32_t PhotographOf(int64_t row) const { return photographs_[static_cast<size_t>(row)]; }
  int64_t photographs_used() const { return photographs_used_; }

  // [n,C,H,W], as they were stored.
  at::Tensor AttackerIr(const std::vector<int64_t>& rows) const { return Read(attacker_ir_, rows); }
  at::Tensor TargetIr(const std::vector<int64_t>& rows) const { return Read(target_ir_, rows); }
  // [n,3,112,112] in 0..1.
  at::Tensor Pictures(const std::vector<int64_t>& rows) const;

 private:
  Status OpenFiles();
  Status SplitPhotographs();
  at::Tensor Read(const RowFile& file, const std::vector<int64_t>& rows) const;

  std::string path_;
  AttackJob job_;
  RowFile attacker_ir_, attacker_rgb_, target_ir_;
  Shape ir_shape_;
  Grid grid_;
  std::vector<int32_t> photographs_;  // of each row
  std::vector<int64_t> training_, validation_, synthetic_;
  int64_t photographs_used_ = 0;
};

// 0, 1, .. n-1, from `begin` on.
std::vector<int64_t> Range(int64_t begin, int64_t end);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_JOB_FOLDER_H_
