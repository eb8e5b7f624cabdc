// The report's gallery: at each cut the feature maps that the oracle recognised most, beside their photographs.
#ifndef INFENCLAVE_ASSESSMENT_EXHIBITS_H_
#define INFENCLAVE_ASSESSMENT_EXHIBITS_H_

#include <string>
#include <string_view>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/kl_oracle.h"

namespace infenclave {

struct EncodedPicture {
  Bytes bytes;
  std::string_view mime;  // "image/png" or "image/jpeg"
  int width = 0, height = 0;
};

struct Exhibit {
  int cut = 0, photograph = 0;  // indices into Assessment
  Revealed revealed;
  EncodedPicture photograph_picture;  // as the network sees it: cropped
  EncodedPicture map_picture;
  bool constant = false;  // the map has no contrast: the oracle saw plain grey
};

// By cut, the smallest ratio first. The maps are computed again: the assessment keeps none.
StatusOr<std::vector<Exhibit>> MakeExhibits(const KlJob& job, const Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_EXHIBITS_H_
