// Photographs on which a command fits something, and others on which it says what that costs.
#ifndef INFENCLAVE_CLI_PHOTOGRAPHS_H_
#define INFENCLAVE_CLI_PHOTOGRAPHS_H_

#include <map>
#include <string>
#include <vector>

#include "protocol/preprocessing.h"
#include "tensor/tensor.h"

namespace infenclave {

// Names in a folder. Every second photograph, at most 128, is for fitting; the others are for testing.
struct Photographs {
  std::vector<std::string> fitting, test;
};
StatusOr<Photographs> SplitPhotographs(const std::string& folder);

// "file<TAB>class index" per line, further columns ignored; a first line that is no such pair names the columns.
StatusOr<std::map<std::string, int64_t>> LoadTruth(const std::string& path, uint32_t classes);

class Photographer {
 public:
  Photographer(std::string folder, const Preprocessing& preprocessing)
      : folder_(std::move(folder)),
        preprocessing_(preprocessing),
        input_(DType::kF32, {1, 3, preprocessing.height, preprocessing.width}) {}
  // As the network takes it; holds until the next.
  StatusOr<TensorView> Load(const std::string& file);

 private:
  std::string folder_;
  Preprocessing preprocessing_;
  Tensor input_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_PHOTOGRAPHS_H_
