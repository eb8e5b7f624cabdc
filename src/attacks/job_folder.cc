#include "attacks/job_folder.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "attacks/picture_network.h"
#include "attacks/random.h"

namespace infenclave {
namespace {

constexpr size_t kMaxJsonBytes = 64 << 10;
constexpr int64_t kMinPhotographs = 2;
// One photograph in five judges the training; more than these would cost more than they tell.
constexpr int64_t kMaxValidationPhotographs = 40, kValidationShare = 5, kValidationRowsEach = 3;

// Every value, with a random sign, is added to one of kMaxFlat sums (count sketch: Charikar, Chen & Farach-Colton
// 2002).
at::Tensor Mix(const at::Tensor& ir) {
  const at::Tensor bucket = at::empty({ir.size(1)}, at::kLong), sign = at::empty({1, ir.size(1), 1, 1});
  Random random(0, "mix");
  for (int64_t i = 0; i < ir.size(1); ++i) {
    bucket.data_ptr<int64_t>()[i] = static_cast<int64_t>(random.Below(kMaxFlat));
    sign.data_ptr<float>()[i] = random.Next() % 2 == 0 ? 1.0f : -1.0f;
  }
  return at::zeros({ir.size(0), kMaxFlat, 1, 1}).index_add_(1, bucket, ir * sign);
}

Status WrongShape(const std::string& path, const RowFile& file, std::string_view wanted) {
  return InvalidArgument(path, ": ", NameOf(file.dtype()), ToString(file.shape()), " is not ", wanted);
}

StatusOr<Shape> IrShape(const std::string& path, const RowFile& file) {
  const Shape& s = file.shape();
  const bool known = file.dtype() == DType::kF32 || file.dtype() == DType::kBf16;
  if (!known || (s.size() != 2 && s.size() != 4)) return WrongShape(path, file, "f32 or bf16 [N,C,H,W] or [N,C]");
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] < 1) return WrongShape(path, file, "a tensor with elements");
  }
  return s.size() == 2 ? Shape{s[1], 1, 1} : Shape{s[1], s[2], s[3]};
}

}  // namespace

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> out(static_cast<size_t>(std::max<int64_t>(0, end - begin)));
  std::iota(out.begin(), out.end(), begin);
  return out;
}

Grid Grid::Of(const Shape& ir) {
  const int64_t longest = std::max(ir[1], ir[2]);
  if (longest == 1) return {.channels = std::min(ir[0], kMaxFlat), .side = 1, .patch = kPictureSide};
  for (const int64_t side : {7, 14, 28, 56}) {
    if (longest <= side) return {.channels = ir[0], .side = side, .patch = kPictureSide / side};
  }
  return {.channels = 4 * ir[0], .side = 56, .patch = 2, .folded = true};
}

at::Tensor Grid::Place(const at::Tensor& ir) const {
  if (flat()) return ir.size(1) > kMaxFlat ? Mix(ir) : ir;
  const int64_t wanted = folded ? 2 * side : side;
  const at::Tensor placed = ResizePictures(ir, wanted, wanted);
  return folded ? at::pixel_unshuffle(placed, 2) : placed;
}

StatusOr<JobFolder> JobFolder::Open(const std::string& path) {
  JobFolder folder;
  folder.path_ = path;
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes json, ReadFile(folder.File("job.json"), kMaxJsonBytes));
  StatusOr<AttackJob> job = ParseAttackJob(AsText(json));
  if (!job.ok()) return Annotate(job.status(), path);
  folder.job_ = *std::move(job);
  INFENCLAVE_RETURN_IF_ERROR(folder.OpenFiles());
  INFENCLAVE_RETURN_IF_ERROR(folder.SplitPhotographs());
  return folder;
}

Status JobFolder::OpenFiles() {
  const std::string ir_path = File("attacker.ir.npy"), rgb_path = File("attacker.rgb.npy"),
                    target_path = File("target.ir.npy"), photograph_path = File("attacker.photograph.npy");
  INFENCLAVE_ASSIGN_OR_RETURN(attacker_ir_, RowFile::Open(ir_path));
  INFENCLAVE_ASSIGN_OR_RETURN(attacker_rgb_, RowFile::Open(rgb_path));
  INFENCLAVE_ASSIGN_OR_RETURN(target_ir_, RowFile::Open(target_path));
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile photographs, RowFile::Open(photograph_path));

  INFENCLAVE_ASSIGN_OR_RETURN(ir_shape_, IrShape(ir_path, attacker_ir_));
  INFENCLAVE_ASSIGN_OR_RETURN(const Shape target_shape, IrShape(target_path, target_ir_));
  if (target_shape != ir_shape_) {
    return InvalidArgument(target_path, ": IRs of ", ToString(target_shape), ", but the attacker's are ",
                           ToString(ir_shape_));
  }
  const int64_t rows = attacker_ir_.rows();
  if (attacker_rgb_.dtype() != DType::kU8 || attacker_rgb_.shape() != Shape{rows, kPictureSide, kPictureSide, 3}) {
    return WrongShape(rgb_path, attacker_rgb_, Concat("u8[", rows, ",112,112,3], one for each IR"));
  }
  if (photographs.dtype() != DType::kI32 || photographs.shape() != Shape{rows}) {
    return WrongShape(photograph_path, photographs, Concat("i32[", rows, "], one for each IR"));
  }
  photographs_.resize(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(&photographs_[static_cast<size_t>(i)], photographs.Row(i).data(), sizeof(int32_t));
    if (PhotographOf(i) < kNoPhotograph) {
      return InvalidArgument(photograph_path, ": row ", i, " is of photograph ", PhotographOf(i));
    }
  }
  grid_ = Grid::Of(ir_shape_);
  const auto check_finite = [&](const std::string& path, const RowFile& file) {
    for (int64_t i = 0; i < file.rows(); ++i) {
      if (!at::isfinite(Read(file, {i})).all().item<bool>()) {
        return InvalidArgument(path, ": the IR of row ", i, " is not finite");
      }
    }
    return OkStatus();
  };
  INFENCLAVE_RETURN_IF_ERROR(check_finite(ir_path, attacker_ir_));
  return check_finite(target_path, target_ir_);
}

Status JobFolder::SplitPhotographs() {
  std::set<int32_t> distinct(photographs_.begin(), photographs_.end());
  distinct.erase(kNoPhotograph);
  std::vector<int32_t> order(distinct.begin(), distinct.end());
  Shuffle(order, Random(job_.seed, "photographs"));
  if (job_.attacker_photographs > 0 && job_.attacker_photographs < static_cast<int64_t>(order.size())) {
    order.resize(static_cast<size_t>(job_.attacker_photographs));
  }
  photographs_used_ = static_cast<int64_t>(order.size());
  if (photographs_used_ < kMinPhotographs) {
    return InvalidArgument(File("attacker.photograph.npy"), ": ", photographs_used_, " photographs; at least ",
                           kMinPhotographs, " are needed, so that some can be left out of training");
  }
  const int64_t left_out = std::clamp<int64_t>(photographs_used_ / kValidationShare, 1, kMaxValidationPhotographs);
  std::map<int32_t, int64_t> validation_rows;
  const std::set<int32_t> training(order.begin() + left_out, order.end());
  for (int64_t i = 0; i < left_out; ++i) validation_rows[order[static_cast<size_t>(i)]] = 0;
  for (int64_t row = 0; row < static_cast<int64_t>(photographs_.size()); ++row) {
    const int32_t photograph = PhotographOf(row);
    if (photograph == kNoPhotograph) {
      synthetic_.push_back(row);
    } else if (training.contains(photograph)) {
      training_.push_back(row);
    } else if (const auto at = validation_rows.find(photograph);
               at != validation_rows.end() && at->second++ < kValidationRowsEach) {
      validation_.push_back(row);
    }
  }
  return OkStatus();
}

at::Tensor JobFolder::Read(const RowFile& file, const std::vector<int64_t>& rows) const {
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), ir_shape_[0], ir_shape_[1], ir_shape_[2]},
                             file.dtype() == DType::kBf16 ? at::kBFloat16 : at::kFloat);
  auto* to = static_cast<uint8_t*>(out.data_ptr());
  for (const int64_t row : rows) {
    const ByteSpan from = file.Row(row);
    std::memcpy(to, from.data(), from.size());
    to += from.size();
  }
  return out.to(at::kFloat);
}

at::Tensor JobFolder::Pictures(const std::vector<int64_t>& rows) const {
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), kPictureSide, kPictureSide, 3}, at::kByte);
  auto* to = out.data_ptr<uint8_t>();
  for (const int64_t row : rows) {
    const ByteSpan from = attacker_rgb_.Row(row);
    std::memcpy(to, from.data(), from.size());
    to += from.size();
  }
  return out.permute({0, 3, 1, 2}).to(at::kFloat).contiguous() / 255;
}

}  // namespace infenclave
