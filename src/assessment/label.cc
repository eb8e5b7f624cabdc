#include "assessment/label.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "graph/operators.h"

namespace infenclave {
namespace {

constexpr int kMostSteps = 30;         // of Frank and Wolfe
constexpr double kSameFeatures = 0.5;  // mean correlation of matched rows from which on they share their features

using Matrix = std::vector<float>;  // square or [rows,width], row-major

// a [n,k] times b [m,k] transposed.
Matrix TimesTransposed(const Matrix& a, const Matrix& b, int n, int m, int k) {
  Matrix out(static_cast<size_t>(n) * m);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < m; ++j) {
      const float *x = &a[static_cast<size_t>(i) * k], *y = &b[static_cast<size_t>(j) * k];
      float lanes[16] = {};
      int at = 0;
      for (; at + 16 <= k; at += 16) {
        for (int lane = 0; lane < 16; ++lane) lanes[lane] += x[at + lane] * y[at + lane];
      }
      float sum = 0;
      for (float lane : lanes) sum += lane;
      for (; at < k; ++at) sum += x[at] * y[at];
      out[static_cast<size_t>(i) * m + j] = sum;
    }
  }
  return out;
}

Matrix Normalised(const HeadRows& head) {
  Matrix rows = head.rows;
  for (int i = 0; i < head.classes; ++i) {
    float* row = &rows[static_cast<size_t>(i) * head.width];
    double square = 0;
    for (int k = 0; k < head.width; ++k) square += static_cast<double>(row[k]) * row[k];
    const float scale = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0;
    for (int k = 0; k < head.width; ++k) row[k] *= scale;
  }
  return rows;
}

std::vector<double> Wide(const Matrix& m) { return {m.begin(), m.end()}; }

double Inner(const Matrix& a, const Matrix& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Of each row of a symmetric matrix its values in order: the same whatever the order of the classes.
Matrix SortedRows(Matrix m, int n) {
  for (int i = 0; i < n; ++i)
    std::sort(m.begin() + static_cast<ptrdiff_t>(i) * n, m.begin() + static_cast<ptrdiff_t>(i + 1) * n);
  return m;
}

Matrix PermutationOf(const std::vector<int>& order) {
  const size_t n = order.size();
  Matrix p(n * n);
  for (size_t i = 0; i < n; ++i) p[i * n + order[i]] = 1;
  return p;
}

std::vector<int> MatchBySortedRows(const Matrix& a, const Matrix& b, int n) {
  const Matrix x = SortedRows(a, n), y = SortedRows(b, n);
  std::vector<double> score(static_cast<size_t>(n) * n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int k = 0; k < n; ++k) {
        const float gap = x[static_cast<size_t>(i) * n + k] - y[static_cast<size_t>(j) * n + k];
        sum += gap * gap;
      }
      score[static_cast<size_t>(i) * n + j] = -sum;
    }
  }
  return BestAssignment(score, n);
}

// Maximises trace(A P B P^T) over doubly stochastic P, and takes the nearest permutation.
std::vector<int> MatchGraphs(const Matrix& a, const Matrix& b, int n) {
  std::vector<int> best = MatchBySortedRows(a, b, n);
  Matrix p = PermutationOf(best);
  for (float& v : p) v = 0.5f * v + 0.5f / static_cast<float>(n);
  for (int step = 0; step < kMostSteps; ++step) {
    // A and B are symmetric: A P B = (A (P B)), each product written with a transposed right side.
    const auto sandwich = [&](const Matrix& x) {
      const Matrix xb = TimesTransposed(x, b, n, n, n);
      Matrix t(xb.size());
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) t[static_cast<size_t>(j) * n + i] = xb[static_cast<size_t>(i) * n + j];
      }
      return TimesTransposed(a, t, n, n, n);
    };
    const Matrix slope = sandwich(p);
    best = BestAssignment(Wide(slope), n);
    Matrix q = PermutationOf(best);
    for (size_t i = 0; i < q.size(); ++i) q[i] -= p[i];
    // The objective along p + t q is a parabola.
    const double curve = Inner(sandwich(q), q), line = 2 * Inner(slope, q);
    if (line <= 1e-6) break;
    const double t = curve < 0 ? std::min(1.0, -line / (2 * curve)) : 1.0;
    for (size_t i = 0; i < p.size(); ++i) p[i] += static_cast<float>(t) * q[i];
  }
  return BestAssignment(Wide(p), n);
}

Safety JudgeShare(const Estimate& named, double chance, double margin) {
  if (named.upper <= chance + margin) return Safety::kSafe;
  return named.lower > chance + margin ? Safety::kUnsafe : Safety::kUndecided;
}

std::vector<float> Softmax(const std::vector<float>& scores) {
  const float most = *std::max_element(scores.begin(), scores.end());
  std::vector<float> out(scores.size());
  float sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) sum += out[i] = std::exp(scores[i] - most);
  for (float& v : out) v /= sum;
  return out;
}

}  // namespace

StatusOr<HeadRows> HeadRowsOf(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t classes, NumElements(graph.value(graph.outputs[0]).shape));
  const std::vector<int> producers = Producers(graph);
  ValueId value = graph.outputs[0];
  for (int at = producers[value]; at >= 0; at = producers[value]) {
    const Node& node = graph.nodes[at];
    if (node.op == "Gemm" || node.op == "MatMul" || node.op == "Conv") {
      if (!graph.IsConstant(node.inputs[1])) break;
      const Tensor& weights = graph.constant(node.inputs[1]);
      if (weights.shape().size() < 2 || weights.dtype() != DType::kF32) break;
      INFENCLAVE_ASSIGN_OR_RETURN(const int64_t transposed, IntAttribute(node, "transB", 0));
      const bool rows_first = node.op == "Conv" || transposed != 0;
      HeadRows head;
      head.classes = static_cast<int>(rows_first ? weights.shape()[0] : weights.shape().back());
      head.width = static_cast<int>(weights.elements() / std::max(1, head.classes));
      if (head.classes != classes) break;
      const auto w = weights.as<float>();
      head.rows.resize(w.size());
      std::vector<double> mean(head.width);
      for (int i = 0; i < head.classes; ++i) {
        for (int k = 0; k < head.width; ++k) {
          const float v =
              rows_first ? w[static_cast<size_t>(i) * head.width + k] : w[static_cast<size_t>(k) * head.classes + i];
          head.rows[static_cast<size_t>(i) * head.width + k] = v;
          mean[k] += v / head.classes;
        }
      }
      for (size_t i = 0; i < w.size(); ++i) head.rows[i] -= static_cast<float>(mean[i % head.width]);
      return head;
    }
    if (node.inputs.empty()) break;
    value = node.inputs[0];
  }
  return InvalidArgument("no linear layer with constant weights makes the scores of '", graph.name, "'");
}

std::vector<int> BestAssignment(std::span<const double> score, int n) {
  INFENCLAVE_CHECK(score.size() == static_cast<size_t>(n) * n);
  // Shortest augmenting paths with potentials (Jonker and Volgenant 1987), on costs -score; rows and columns from 1.
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> u(n + 1), v(n + 1), least(n + 1);
  std::vector<int> row_of(n + 1), way(n + 1);
  std::vector<uint8_t> used(n + 1);
  for (int row = 1; row <= n; ++row) {
    row_of[0] = row;
    int column = 0;
    std::fill(least.begin(), least.end(), infinity);
    std::fill(used.begin(), used.end(), 0);
    do {
      used[column] = 1;
      const int from = row_of[column];
      double delta = infinity;
      int next = 0;
      for (int j = 1; j <= n; ++j) {
        if (used[j]) continue;
        const double reduced = -score[static_cast<size_t>(from - 1) * n + (j - 1)] - u[from] - v[j];
        if (reduced < least[j]) {
          least[j] = reduced;
          way[j] = column;
        }
        if (least[j] < delta) {
          delta = least[j];
          next = j;
        }
      }
      for (int j = 0; j <= n; ++j) {
        if (used[j]) {
          u[row_of[j]] += delta;
          v[j] -= delta;
        } else {
          least[j] -= delta;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = way[column]) row_of[column] = row_of[way[column]];
  }
  std::vector<int> assignment(n);
  for (int j = 1; j <= n; ++j) assignment[row_of[j] - 1] = j - 1;
  return assignment;
}

std::vector<int> MatchRows(const HeadRows& head, const HeadRows& known) {
  const int n = head.classes;
  INFENCLAVE_CHECK(known.classes == n && n <= kMostClassesToMatch);
  const Matrix a = Normalised(head), b = Normalised(known);
  if (head.width == known.width) {
    const Matrix cosines = TimesTransposed(a, b, n, n, head.width);
    std::vector<int> match = BestAssignment(Wide(cosines), n);
    double mean = 0;
    for (int i = 0; i < n; ++i) mean += cosines[static_cast<size_t>(i) * n + match[i]] / n;
    if (mean > kSameFeatures) return match;
  }
  return MatchGraphs(TimesTransposed(a, a, n, n, head.width), TimesTransposed(b, b, n, n, known.width), n);
}

LabelAttempt AttemptRows(const HeadRows& head, const HeadRows& known, const std::vector<int>& same, double margin) {
  LabelAttempt attempt;
  attempt.method = "rows";
  attempt.classes = head.classes;
  const std::vector<int> match = MatchRows(head, known);
  int right = 0;
  for (int k = 0; k < head.classes; ++k) right += match[k] == same[k];
  attempt.named = ShareOf(right, head.classes);
  attempt.chance = 1.0 / head.classes;
  attempt.safety = JudgeShare(attempt.named, attempt.chance, margin);
  return attempt;
}

LabelAttempt AttemptQueries(std::span<const Query> queries, int per_class, const std::vector<int>& same,
                            double margin) {
  LabelAttempt attempt;
  attempt.method = per_class == 1 ? "1 query a class" : Concat(per_class, " queries a class");
  std::map<int, std::pair<int, std::vector<double>>> seen;  // by class: queries, and the sum of what they gave
  const int n = static_cast<int>(same.size());
  for (const Query& query : queries) {
    auto& [count, sum] = seen[query.known_class];
    if (count == per_class) continue;
    ++count;
    sum.resize(n);
    const std::vector<float> p = Softmax(query.scores);
    for (int k = 0; k < n; ++k) sum[k] += p[k];
  }
  attempt.classes = static_cast<int>(seen.size());
  if (seen.empty()) return attempt;
  // One row for each class that was asked about; the rest of the square is indifferent.
  std::vector<double> score(static_cast<size_t>(n) * n);
  std::vector<int> classes;
  for (const auto& [known_class, asked] : seen) {
    if (static_cast<int>(classes.size()) == n) break;
    std::copy(asked.second.begin(), asked.second.end(), score.begin() + static_cast<ptrdiff_t>(classes.size()) * n);
    classes.push_back(known_class);
  }
  const std::vector<int> assigned = BestAssignment(score, n);
  int right = 0;
  for (size_t i = 0; i < classes.size(); ++i) right += same[assigned[i]] == classes[i];
  attempt.classes = static_cast<int>(classes.size());
  attempt.named = ShareOf(right, attempt.classes);
  attempt.chance = 1.0 / n;
  attempt.safety = JudgeShare(attempt.named, attempt.chance, margin);
  return attempt;
}

std::vector<int> SameClasses(int classes, const std::vector<std::string>& labels, int known_classes,
                             const std::vector<std::string>& known_labels) {
  std::vector<int> same;
  if (static_cast<int>(labels.size()) == classes && static_cast<int>(known_labels.size()) == known_classes) {
    std::map<std::string, int> numbers;
    for (int k = 0; k < known_classes; ++k) numbers.emplace(known_labels[k], k);
    for (const std::string& label : labels) {
      const auto it = numbers.find(label);
      same.push_back(it == numbers.end() ? -1 : it->second);
    }
  } else if (classes == known_classes) {
    same.resize(classes);
    std::iota(same.begin(), same.end(), 0);
  }
  return same;
}

}  // namespace infenclave
