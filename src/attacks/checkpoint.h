// What an attack keeps in its folder while it works: named tensors in one file, replaced whole or not at all.
#ifndef INFENCLAVE_ATTACKS_CHECKPOINT_H_
#define INFENCLAVE_ATTACKS_CHECKPOINT_H_

#include <map>
#include <string>

#include "attacks/torch.h"
#include "base/status.h"

namespace infenclave {

// Of f32, f64 or i64.
using NamedTensors = std::map<std::string, at::Tensor>;

// `job` is whatever the tensors depend on.
Status SaveCheckpoint(const std::string& path, const std::string& job, const NamedTensors& tensors);
// Empty if there is none, or one of another job, or a damaged one: the attack then begins anew.
NamedTensors LoadCheckpoint(const std::string& path, const std::string& job);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_CHECKPOINT_H_
