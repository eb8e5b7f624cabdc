// From the BackNet's scores, in the secret class order, to the most probable labels, without telling them by timing or
// by addresses: every score and every padded label is read the same number of times in the same order, whatever they
// are, and what is found is kept with masks.
#ifndef INFENCLAVE_ENCLAVE_CLASS_SCORES_H_
#define INFENCLAVE_ENCLAVE_CLASS_SCORES_H_

#include <span>

#include "crypto/secret.h"
#include "protocol/manifest.h"
#include "protocol/sealed.h"

namespace infenclave {

// What an answer says to a BackNet whose output is not all finite.
inline constexpr std::string_view kNotFinite = "the BackNet answered with scores that are not finite";

class ClassScores {
 public:
  // The mapping's strings are wiped: labels live on in secret memory, padded. INVALID_ARGUMENT if the mapping does not
  // fit the manifest, with no word on its contents.
  static StatusOr<ClassScores> Create(const Manifest& manifest, ClassMapping mapping);

  // Softmax over `scores` (one per class), then the manifest's number of classes, most probable first, equal scores by
  // class. Labels come padded with zeros to the manifest's length. The code is INVALID_ARGUMENT if a score is not
  // finite.
  Answer Top(std::span<const float> scores) const;

 private:
  ClassScores() = default;

  size_t classes_ = 0, answers_ = 0, label_bytes_ = 0, label_stride_ = 0;
  SecretBytes order_;   // u32 per score: its class
  SecretBytes labels_;  // per class, padded to label_stride_
};

// e^x for x <= 0, to a relative error of 2e-7 above -87 and below that 0 for all purposes; no branch.
float ObliviousExp(float x);

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_CLASS_SCORES_H_
