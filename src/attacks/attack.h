// The attacks of `infenclave-attacks`. Each works on one opened folder and gives the reconstructions of its targets.
#ifndef INFENCLAVE_ATTACKS_ATTACK_H_
#define INFENCLAVE_ATTACKS_ATTACK_H_

#include <functional>
#include <string>

#include "attacks/job_folder.h"

namespace infenclave {

using ProgressFunction = std::function<void(const AttackProgress&)>;

struct Outcome {
  at::Tensor reconstruction;  // [M,3,112,112] in 0..1
  AttackResult result;        // but for what the job says, and the seconds of patch
};

// ridge.h, fitted on all photographs.
StatusOr<Outcome> RunPatch(const JobFolder& folder, const ProgressFunction& progress);
// A convolutional decoder that is trained on top of ridge.h's reconstruction.
StatusOr<Outcome> RunDecoder(const JobFolder& folder, const ProgressFunction& progress);
// Descent on the picture, through the FrontNet.
StatusOr<Outcome> RunWhitebox(const JobFolder& folder, const ProgressFunction& progress);

// Works on the job in `path` to its end and writes the result; at once where there is one. No exception leaves it.
Status RunJob(const std::string& path, const ProgressFunction& progress);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_ATTACK_H_
