#include <chrono>
#include <exception>

#include "attacks/attack.h"
#include "import/npy.h"

namespace infenclave {
namespace {

Status WriteReconstruction(const std::string& path, const at::Tensor& pictures) {
  const at::Tensor rows = (pictures.clamp(0, 1) * 255).permute({0, 2, 3, 1}).contiguous();
  const TensorView view{DType::kF32, {rows.size(0), kPictureSide, kPictureSide, 3}, rows.data_ptr()};
  return WriteFileAtomic(path, EncodeNpy(view));
}

StatusOr<Outcome> Attack(const JobFolder& folder, const ProgressFunction& progress) {
  if (folder.job().attack == "patch") return RunPatch(folder, progress);
  if (folder.job().attack == "decoder") return RunDecoder(folder, progress);
  return RunWhitebox(folder, progress);
}

Status Run(const std::string& path, const ProgressFunction& progress) {
  const auto started = std::chrono::steady_clock::now();
  INFENCLAVE_ASSIGN_OR_RETURN(const JobFolder folder, JobFolder::Open(path));
  if (ReadFile(folder.File("result.json"), size_t{1} << 24).ok()) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(Outcome outcome, Attack(folder, progress));
  AttackResult& result = outcome.result;
  result.attack = folder.job().attack;
  result.cut = folder.job().cut;
  result.seed = folder.job().seed;
  result.attacker_photographs = folder.photographs_used();
  if (result.seconds == 0) {
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  }
  INFENCLAVE_RETURN_IF_ERROR(WriteReconstruction(folder.File("reconstruction.npy"), outcome.reconstruction));
  return WriteFileAtomic(folder.File("result.json"), AsBytes(AttackResultToJson(result)));
}

}  // namespace

Status RunJob(const std::string& path, const ProgressFunction& progress) {
  try {
    return Run(path, progress);
  } catch (const c10::Error& error) {
    return Internal(path, ": libtorch: ", error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(path, ": out of memory");
  } catch (const std::exception& error) {
    return Internal(path, ": ", error.what());
  }
}

}  // namespace infenclave
