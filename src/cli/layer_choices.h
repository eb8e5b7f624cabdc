// Remembers from one run of the program to the next which implementation of each layer was measured to be the fastest
// (engine/compiled_network.h): in $XDG_CACHE_HOME/infenclave/layers, or ~/.cache/infenclave/layers. A file that cannot
// be read, written or made sense of costs time and nothing else.
#ifndef INFENCLAVE_CLI_LAYER_CHOICES_H_
#define INFENCLAVE_CLI_LAYER_CHOICES_H_

#include <string>

namespace infenclave {

class RememberedLayerChoices {
 public:
  RememberedLayerChoices();   // reads
  ~RememberedLayerChoices();  // writes what is new
  RememberedLayerChoices(const RememberedLayerChoices&) = delete;
  RememberedLayerChoices& operator=(const RememberedLayerChoices&) = delete;

 private:
  std::string path_;  // empty: nowhere
  std::string known_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_LAYER_CHOICES_H_
