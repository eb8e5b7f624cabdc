// The oracle: an independently trained classifier that says what it sees in a photograph or in a feature map.
//
// One Oracle belongs to one thread (engine/compiled_network.h) and answers up to batch() pictures at a time.
#ifndef INFENCLAVE_ASSESSMENT_ORACLE_H_
#define INFENCLAVE_ASSESSMENT_ORACLE_H_

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "assessment/feature_map.h"
#include "assessment/remote_model.h"
#include "engine/compiled_network.h"
#include "graph/graph.h"
#include "image/image.h"

namespace infenclave {

// Whether the network's last step that computes is a Softmax: then its output is probabilities, else logits.
bool EndsInSoftmax(const Graph& graph);

// Where an oracle computes: here, by a network with one input [1,3,H,W] and one output of K >= 2 classes; or on a
// server. Borrowed.
struct OracleModel {
  OracleModel() = default;
  OracleModel(const Graph& network) : graph(&network) {}     // NOLINT(google-explicit-constructor)
  OracleModel(const RemoteModel& model) : remote(&model) {}  // NOLINT(google-explicit-constructor)
  const Graph* graph = nullptr;
  const RemoteModel* remote = nullptr;
};

class Oracle {
 public:
  // The model's input is of the preprocessing's size. Oracles made from one graph may share their weights.
  static StatusOr<Oracle> Create(const OracleModel& model, const Preprocessing& preprocessing, int batch,
                                 std::shared_ptr<PackedWeights> weights = nullptr);

  int batch() const { return batch_; }
  int classes() const { return classes_; }
  int width() const { return static_cast<int>(preprocessing_.width); }
  int height() const { return static_cast<int>(preprocessing_.height); }

  // Fills slot k, 0 <= k < batch(): a photograph, prepared as the oracle was trained; a picture of what a network saw,
  // stretched to the input and not cropped again; or a normalised feature map [map_height,map_width], resized and
  // repeated to three channels (feature_map.h).
  void SetPhotograph(int k, const Image& photograph);
  void SetPicture(int k, const Image& picture);
  void SetMap(int k, std::span<const float> map, int map_height, int map_width);

  // Answers the first `count` slots. An error if an answer is not finite.
  Status Evaluate(int count);
  std::span<const float> Probabilities(int k) const;  // [classes()], after Evaluate

 private:
  Oracle(const Preprocessing& preprocessing, int batch, int classes);
  std::span<float> Slot(int k);

  std::optional<CompiledNetwork> network_;
  const RemoteModel* remote_ = nullptr;  // where there is no network
  Preprocessing preprocessing_;
  int batch_, classes_;
  bool softmax_ = false;  // the network's answers are probabilities
  Tensor input_, output_;
  std::vector<float> probabilities_;                    // [batch,classes]
  std::map<std::pair<int, int>, MapResizer> resizers_;  // by the map's size
  std::vector<float> grey_;                             // [height,width]
};

// KL(V(x) || Q) for many answers Q and a fixed set of photographs x: natural logarithm, probabilities clamped at 1e-12.
inline constexpr double kLeastProbability = 1e-12;

class KlRows {
 public:
  KlRows() = default;
  explicit KlRows(int classes) : classes_(classes) {}
  void Add(std::span<const float> probabilities);
  int size() const { return static_cast<int>(minus_entropy_.size()); }
  double Bound(int x) const;  // KL(V(x) || uniform)
  // out[x] for every x. The value for one x does not depend on which others there are.
  void Against(std::span<const float> answer, std::span<float> out) const;

 private:
  int classes_ = 0;
  std::vector<double> p_;  // [size,classes]
  std::vector<double> minus_entropy_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_ORACLE_H_
