// What a host sees at a cut, narrowed: fewer channels, chosen by what the BackNet makes of them, and channels of unit
// deviation, so that noise of one size is noise in units of each channel's deviation.
//
// A narrowed network is the network with two 1x1 convolutions at the cut, down to `rank` channels and up again:
//
//   u = V'L^-1 D^-1 (z - m)     z' = m + D L V u
//
// m and D: mean and deviation of each channel of z over photographs; LL': the channels' correlations (Cholesky); V: the
// `rank` leading eigenvectors of L'GL, where G is the mean of J'J and J the derivatives of the scores by the channels
// (each divided by its deviation). Of all projections to `rank` channels this one changes the scores least, to first
// order and on average; and every channel of u has deviation 1. J is measured by differences, one BackNet run a channel
// and photograph, over random signs of the places, whose mean square is the sum over places.
#ifndef INFENCLAVE_ASSESSMENT_DEFENCE_H_
#define INFENCLAVE_ASSESSMENT_DEFENCE_H_

#include <functional>
#include <string>
#include <vector>

#include "assessment/statistics.h"
#include "graph/graph.h"

namespace infenclave {

// Fills the network's input with the i-th photograph.
using LoadPhotograph = std::function<Status(int i, std::span<float> input)>;

struct Projection {
  int channels = 0, rank = 0;
  std::vector<float> down, down_bias;  // [rank,channels], [rank]
  std::vector<float> up, up_bias;      // [channels,rank], [channels]
  double kept = 1;                     // share of what the channels do to the scores, to first order
};

struct ProjectionOptions {
  int rank = 0;         // 0: all channels, each by itself, only brought to unit deviation
  int photographs = 0;  // to fit on
  int threads = 1;
  uint64_t seed = 1;
};

// At a cut with maps, [1,C,H,W]; INVALID_ARGUMENT for another, and for a rank above C.
StatusOr<Projection> FitProjection(const Graph& model, ValueId cut, const ProjectionOptions& options,
                                   const LoadPhotograph& load, const std::function<void(double)>& progress);

// Codes for what crosses the cut: multiples of one step from a lowest value of each channel, so that rounding is an
// error of one size in units of each channel's deviation. What lies beyond the codes is cut off.
struct IrCodes {
  int largest = 0;  // 255 or 15
  float step = 0;
  std::vector<float> lowest;  // of each channel: code 0
  double error = 0;           // root of the mean square of what is lost, in deviations
};
// `narrowed` is the tensor of a network with a projection. Step and lowest values are those of many that lose least on
// the photographs, `photographs` of them.
StatusOr<IrCodes> FitCodes(const Graph& narrowed_model, ValueId narrowed, int largest, int photographs, int threads,
                           uint64_t seed, const LoadPhotograph& load, const std::function<void(double)>& progress);
// The projection whose channels are 0 where they were lowest.
Projection WithLowestAtZero(Projection projection, const std::vector<float>& lowest);
// What the BackNet makes of the code of a value that is 0 at its lowest.
float Rounded(const IrCodes& codes, float value);
// The network whose tensor of that name is rounded so, for attacks on it.
StatusOr<Graph> InsertRounding(Graph model, ValueId narrowed, const IrCodes& codes);

// The network with the projection at the cut; the narrowed tensor is called NarrowedName(the cut's name).
StatusOr<Graph> InsertProjection(Graph model, ValueId cut, const Projection& projection);
std::string NarrowedName(std::string_view cut);

// What a defence costs, on photographs that it was not fitted on.
struct DefencePrice {
  int photographs = 0;
  Estimate same_top1;      // share whose top-1 is as before
  int labelled = 0;        // of them, those with a known class
  Estimate before, after;  // top-1 of those
  Estimate loss;           // paired: before minus after
};

// `truth[i]` is the class of photograph i, -1 where it is not known. Noise is drawn by seed, and added before `codes`
// round, where there are any.
StatusOr<DefencePrice> PriceDefence(const Graph& model, const Graph& defended, std::string_view narrowed, double noise,
                                    const IrCodes* codes, const std::vector<int64_t>& truth, int threads, uint64_t seed,
                                    const LoadPhotograph& load, const std::function<void(double)>& progress);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_DEFENCE_H_
