// An attack that trains, as a folder: `assess` writes it, its child `infenclave-attacks FOLDER` works on it (libtorch
// stays out of the parent), and the parent reads what came of it. Both sides include this header.
//
//   job.json                  AttackJob
//   attacker.ir.npy           IRs of the attacker's pictures, [N,C,H,W] or [N,C], f32 or bf16
//   attacker.rgb.npy          u8 [N,112,112,3]: each of them at 112x112 (the network's input, after Prepare(), resized
//                             with image/Resize, bilinear)
//   attacker.photograph.npy   i32 [N]: of which photograph a row is a crop. Validation splits by photograph, never by
//                             row. kNoPhotograph: made from none (synthetic); used for training alone
//   target.ir.npy             [M,...]: the IRs under attack, otherwise as attacker.ir.npy
//   frontnet.graph            whitebox: graph/serialize.h, input [1,3,H,W], output the cut
//   preprocessing.json        whitebox: image/LoadPreprocessing's form, of the size of the graph's input
//   start.npy                 whitebox: f32 [M,112,112,3] in 0..255, where the descent starts
//   features.graph            decoder, optional: a network whose output's differences count in the loss. Input
//   [1,3,H,W] features.json             with it: its preprocessing
//
// The child writes, each whole or not at all and result.json last:
//   reconstruction.npy        f32 [M,112,112,3] in 0..255
//   result.json               AttackResult
// and keeps checkpoint.bin and ridge.bin meanwhile: run again on the same folder, it goes on where it was, and a folder
// with a result.json is done. On standard output it prints progress, one JSON object a line (AttackProgress); on
// standard error one line that says why it failed. Exit status 0, or 1.
#ifndef INFENCLAVE_ASSESSMENT_ATTACK_JOB_H_
#define INFENCLAVE_ASSESSMENT_ATTACK_JOB_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "tensor/tensor.h"

namespace infenclave {

inline constexpr int64_t kPictureSide = 112;
inline constexpr int32_t kNoPhotograph = -1;

struct AttackJob {
  std::string attack;  // "patch", "decoder" or "whitebox"
  std::string cut;     // for messages and the result
  uint64_t seed = 1;
  double budget_seconds = 0;         // of training; 0: until the validation loss has stopped falling
  int64_t max_steps = 0;             // 0: the attack's own limit
  int64_t attacker_photographs = 0;  // use only so many of them, drawn by seed (the smaller set is part of the larger);
                                     // 0: all. Synthetic rows always stay
};
std::string AttackJobToJson(const AttackJob& job);
StatusOr<AttackJob> ParseAttackJob(std::string_view json);

struct AttackResult {
  std::string attack, cut;
  uint64_t seed = 0;
  int64_t steps = 0;
  bool converged = false;                              // the validation loss had stopped falling
  std::string why;                                     // why it stopped, one phrase
  std::vector<std::pair<int64_t, double>> validation;  // step, loss on photographs left out of training
  int64_t parameters = 0;                              // that were fitted
  double seconds = 0;                                  // all sittings together
  int64_t attacker_photographs = 0;                    // that were used
};
std::string AttackResultToJson(const AttackResult& result);
StatusOr<AttackResult> ParseAttackResult(std::string_view json);

struct AttackProgress {
  int64_t step = 0, of = 0;  // `of` is where it stops at the latest
  double loss = 0;           // on validation photographs, the last measured
  double seconds_left = 0;   // at the latest
};
std::string AttackProgressToJson(const AttackProgress& progress);  // without the line's end
std::optional<AttackProgress> ParseAttackProgress(std::string_view line);

// Writes a .npy row by row; the file appears under its name when Close() has succeeded.
class RowWriter {
 public:
  // f32, bf16, u8 or i32; `shape` with the number of rows in dimension 0.
  static StatusOr<RowWriter> Create(const std::string& path, DType dtype, const Shape& shape);
  RowWriter(RowWriter&&) = default;
  RowWriter& operator=(RowWriter&&) = default;
  ~RowWriter();  // without Close(), nothing remains

  // One row or several, of the file's dtype; f32 is narrowed where the file is bf16.
  Status Append(const TensorView& rows);
  Status Close();  // an error unless every row was written

 private:
  RowWriter() = default;
  Status Write(ByteSpan bytes);

  std::string path_, temporary_;
  UniqueFd fd_;
  DType dtype_ = DType::kF32;
  int64_t elements_left_ = 0;
};

// A .npy that is read where it lies (mapped into memory), so that it may be larger than the memory.
class RowFile {
 public:
  static StatusOr<RowFile> Open(const std::string& path);
  RowFile() = default;
  RowFile(RowFile&& other) noexcept { *this = std::move(other); }
  RowFile& operator=(RowFile&& other) noexcept;
  ~RowFile();

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t rows() const { return shape_.empty() ? 0 : shape_[0]; }
  // Row i, [shape without dimension 0]; any alignment.
  ByteSpan Row(int64_t i) const;

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  size_t row_bytes_ = 0, offset_ = 0, mapped_bytes_ = 0;
  const uint8_t* mapped_ = nullptr;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ATTACK_JOB_H_
