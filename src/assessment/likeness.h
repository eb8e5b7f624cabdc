// What an attack recovered, compared with the photographs: design §8's scores, all at 112x112.
#ifndef INFENCLAVE_ASSESSMENT_LIKENESS_H_
#define INFENCLAVE_ASSESSMENT_LIKENESS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assessment/attack_job.h"
#include "assessment/oracle_pool.h"

namespace infenclave {

inline constexpr size_t kPictureValues = size_t{3} * kPictureSide * kPictureSide;
inline constexpr int kLookAlikes = 5;

// The photographs under attack, as an attacker would like to have them.
struct Targets {
  std::vector<float> truth;                  // [n,112,112,3] in 0..255
  std::vector<float> mean;                   // [112,112,3]: the mean of the attacker's photographs
  std::vector<double> mean_psnr, mean_ssim;  // of the mean, for each
  std::vector<float> probabilities;          // [n,classes]: what the oracle says of each photograph
  int classes = 0;
  int n() const { return static_cast<int>(truth.size() / kPictureValues); }
  std::span<const float> Truth(int i) const { return std::span(truth).subspan(i * kPictureValues, kPictureValues); }
};

// Of n reconstructions, in the order of their photographs.
struct Likeness {
  std::vector<double> psnr, ssim;   // gain over the mean image, of each
  std::vector<uint8_t> top1, top5;  // whether the photograph's top-1 is the reconstruction's, or among its first five
  std::vector<float> distance;      // [n,n]: 1 - correlation of reconstruction x with photograph y
  bool same_for_all = false;        // one picture for every photograph, to within half a grey level: it shows nothing
  int n() const { return static_cast<int>(psnr.size()); }
};

// From `truth` and `mean`.
void FillMeanScores(Targets& targets);

// `reconstructions` f32 [n,112,112,3] of the first n targets; values are clamped to 0..255. The oracle sees them
// stretched to its input, as they are the network's view and not a photograph to be cropped again.
StatusOr<Likeness> Compare(const Targets& targets, std::span<const float> reconstructions, OraclePool& oracle);
// The first n alone.
Likeness FirstOf(const Likeness& likeness, int n);

// [n,n]: 1 where the oracle finds x and y among the kLookAlikes most alike of either, by KL(V(x) || V(y)) to the
// others; symmetric, so that a reconstruction that is the same for all has an AUC of one half.
std::vector<uint8_t> LookAlikes(const Targets& targets, int n);

// Kept between runs. INVALID_ARGUMENT for another version or damage.
Bytes EncodeLikeness(const Likeness& likeness);
StatusOr<Likeness> DecodeLikeness(ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_LIKENESS_H_
