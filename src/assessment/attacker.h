// What an attacker brings: photographs of its own, many views of each, and pictures made from nothing, with their IRs.
//
//   OUT/state/attacker/pictures.npy     u8 [N,H,W,3] as the network sees them
//   OUT/state/attacker/rgb.npy          u8 [N,112,112,3]
//   OUT/state/attacker/photograph.npy   i32 [N] (attack_job.h)
//   OUT/state/targets/pictures.npy, rgb.npy    the photographs under attack, one view each
//
// A photograph's first view is the one that a user would send; the others are crops and mirrored crops, and one in
// eight has dead leaves over a part of it. Dead leaves alone (Lee, Mumford and Huang 2001) belong to no photograph.
// Everything follows from the seed, and files are made once.
#ifndef INFENCLAVE_ASSESSMENT_ATTACKER_H_
#define INFENCLAVE_ASSESSMENT_ATTACKER_H_

#include <string>
#include <vector>

#include "assessment/attack_job.h"
#include "assessment/kl_oracle.h"
#include "graph/graph.h"
#include "image/image.h"

namespace infenclave {

inline constexpr int64_t kMostPictures = 4096;               // of the attacker, all together
inline constexpr int64_t kMostIrBytes = int64_t{512} << 20;  // of the attacker, at one cut: larger IRs need fewer pairs

// How many views of each photograph, and how many dead leaves.
struct PictureCounts {
  int photographs = 0, views = 0, leaves = 0;
};
PictureCounts CountPictures(int photographs, int most_views);

// Made by a dead-leaves process: opaque discs and rectangles, radii by a power law, colours from `palette`.
Image DeadLeaves(uint32_t width, uint32_t height, const Image& palette, uint64_t seed);

struct PictureFiles {
  std::string folder;
  RowFile pictures, rgb;
  std::vector<int32_t> photograph;  // of each row; of the attacker alone
  std::vector<Skipped> skipped;     // that could not be read
};

// `files` are paths; those that cannot be read are skipped by name. INVALID_ARGUMENT if fewer than two can.
StatusOr<PictureFiles> MakeAttackerPictures(const std::string& folder, const std::vector<std::string>& files,
                                            const Preprocessing& preprocessing, uint64_t seed, int most_views,
                                            const ProgressFn& progress);
StatusOr<PictureFiles> MakeTargetPictures(const std::string& folder, const std::vector<std::string>& files,
                                          const Preprocessing& preprocessing);

// The tensor `cut` for these rows of pictures [.,H,W,3], bf16, into a .npy; `threads` networks at work. Tensors of
// other ranks than 2 and 4 become [N,elements].
struct IrRequest {
  const Graph* model = nullptr;
  ValueId cut = kNoValue;
  const Preprocessing* preprocessing = nullptr;
  int threads = 1;
  std::vector<float> noise;  // its deviation in each channel; empty: none
  uint64_t noise_seed = 0;
};
// The deviation of each channel of the tensor over the first of these rows.
StatusOr<std::vector<float>> ChannelDeviations(const IrRequest& request, const RowFile& pictures,
                                               const std::vector<int64_t>& rows);
Status WriteIrs(const IrRequest& request, const RowFile& pictures, const std::vector<int64_t>& rows,
                const std::string& path, const ProgressFn& progress, const std::string& stage);

// Rows of the attacker that fit into kMostIrBytes at this size: whole views of all photographs first, then leaves.
std::vector<int64_t> RowsThatFit(const std::vector<int32_t>& photograph, int64_t elements);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ATTACKER_H_
