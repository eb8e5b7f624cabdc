// The page's two galleries: what attackers recovered, and the feature maps that the oracle recognised.
#ifndef INFENCLAVE_REPORT_GALLERY_H_
#define INFENCLAVE_REPORT_GALLERY_H_

#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/exhibits.h"
#include "assessment/gallery.h"

namespace infenclave {

// Each is empty where there is nothing to show.
std::string RecoveredGallery(const Assessment& assessment, const Gallery& gallery);
std::string MapGallery(const Assessment& assessment, const std::vector<Exhibit>& exhibits);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_GALLERY_H_
