// The attack without training: of its own pictures the attacker takes the one whose IR is nearest.
#ifndef INFENCLAVE_ASSESSMENT_NEAREST_H_
#define INFENCLAVE_ASSESSMENT_NEAREST_H_

#include <cstdint>
#include <vector>

#include "assessment/attack_job.h"

namespace infenclave {

// For every target the mean of the attacker's pictures at the least distance, f32 [M,112,112,3]: one picture, or
// several where IRs are equal (a constant tensor: all of them). The distance is Euclid's, after each channel's
// deviation over the attacker's IRs has been made 1; channels that are constant count as they are. `photographs` limits
// the attacker to its first ones (0: all); pictures of none are not used. INVALID_ARGUMENT for files that do not fit.
StatusOr<std::vector<float>> Nearest(const RowFile& attacker_ir, const RowFile& attacker_rgb,
                                     const std::vector<int32_t>& photograph, const RowFile& target_ir, int photographs);

// With the target's own photograph among the attacker's: the chance of naming it, 1 over the number of equal IRs, of
// each target. It is 1 wherever IRs differ at all: without noise an IR confirms a guess.
std::vector<double> Matches(const RowFile& target_ir);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_NEAREST_H_
