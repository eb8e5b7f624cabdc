// The report's second gallery: some of the photographs under attack, and what each attack made of them at each cut.
//
// They are the first of a random order, the same at every cut, so nobody has chosen them by how well they came out.
#ifndef INFENCLAVE_ASSESSMENT_GALLERY_H_
#define INFENCLAVE_ASSESSMENT_GALLERY_H_

#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/exhibits.h"

namespace infenclave {

// What one attack recovered at one cut, or given only the scores.
struct Recovered {
  int cut = 0;         // index into Assessment::cuts; -1: the scores alone
  std::string attack;  // "decoder"
  struct Item {
    EncodedPicture picture;
    double psnr = 0, ssim = 0;  // to the photograph; gains they are not
  };
  std::vector<Item> items;  // of Gallery::photographs; fewer where the attack had a sample
};

struct Gallery {
  std::vector<int> photographs;           // indices into Assessment::photographs
  std::vector<EncodedPicture> originals;  // as the attacks would like to have them: the network's view at 112x112
  std::vector<Recovered> recovered;       // the scores alone first, then by cut
};

// From the files that the attacks left in `out`. An attack whose pictures are no longer there is left out.
StatusOr<Gallery> MakeGallery(const std::string& out, const Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_GALLERY_H_
