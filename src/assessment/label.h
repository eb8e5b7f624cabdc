// Which score is which class? The host sees scores in a secret order, holds the layer that makes them, and may know a
// public network of the same classes, or ask questions itself.
//
//   rows      The head's rows are matched with the public network's: by their correlations where the two share their
//             features (the model was fine-tuned from it), else by the correlations of the rows among themselves, which
//             networks of one task have in common: a quadratic assignment, solved approximately by Frank and Wolfe's
//             method (Vogelstein et al. 2015, FAQ) from the rows' sorted correlations.
//   queries   The host asks about pictures whose class it knows, and assigns classes to scores (Kuhn 1955).
#ifndef INFENCLAVE_ASSESSMENT_LABEL_H_
#define INFENCLAVE_ASSESSMENT_LABEL_H_

#include <span>
#include <string>
#include <vector>

#include "assessment/assessment.h"
#include "graph/graph.h"

namespace infenclave {

inline constexpr int kMostClassesToMatch = 2048;

// Of the last layer that makes the classes, [classes,width]; each less the mean of all.
struct HeadRows {
  int classes = 0, width = 0;
  std::vector<float> rows;
};
// INVALID_ARGUMENT where no linear layer with constant weights makes the scores.
StatusOr<HeadRows> HeadRowsOf(const Graph& graph);

// The column for each row of score [n,n] such that the sum is the largest (the Hungarian method, n^3 steps).
std::vector<int> BestAssignment(std::span<const double> score, int n);

// For each class of the head the class of the public one, as an attacker without other knowledge would match them. Both
// have the same number of classes, at most kMostClassesToMatch.
std::vector<int> MatchRows(const HeadRows& head, const HeadRows& known);

// One picture of a known class (of the public network's), and what the host saw: scores in the model's order.
struct Query {
  int known_class = 0;
  std::vector<float> scores;
};
// `same[k]`: the public network's class that the model's class k is, -1 for none. The classes that the queries are of,
// `per_class` of each at most, in their order.
LabelAttempt AttemptQueries(std::span<const Query> queries, int per_class, const std::vector<int>& same, double margin);
LabelAttempt AttemptRows(const HeadRows& head, const HeadRows& known, const std::vector<int>& same, double margin);

// For each class of the model the class of the public network: by name where both have labels, else the same number
// where both have as many. Empty if neither is possible.
std::vector<int> SameClasses(int classes, const std::vector<std::string>& labels, int known_classes,
                             const std::vector<std::string>& known_labels);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_LABEL_H_
