// The KL oracle (Gu et al. 2018, section on the assessment framework) with its control: design §8.
//
// For photograph y and cut i every feature map IR_ij(y) is shown to the oracle V, and
//   d_i(x,y) = min over j of KL(V(x) || V(IR_ij(y)))
// is kept for y itself and for every photograph x of the control. Maps are streamed: nothing that grows with the number
// of maps or photographs stays in memory. A map without contrast is the same picture everywhere and is answered once in
// a run; equal maps of one photograph at one cut are answered once.
#ifndef INFENCLAVE_ASSESSMENT_KL_ORACLE_H_
#define INFENCLAVE_ASSESSMENT_KL_ORACLE_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "assessment/assessment.h"
#include "assessment/front_net.h"
#include "assessment/oracle.h"
#include "assessment/state.h"
#include "graph/graph.h"
#include "protocol/preprocessing.h"

namespace infenclave {

// `done` of `total` units of the stage; called from any thread, one call at a time.
using ProgressFn = std::function<void(std::string_view stage, int64_t done, int64_t total)>;

struct KlJob {
  const Graph* model = nullptr;
  Preprocessing preprocessing;
  std::vector<ValueId> cuts;  // in the plan's order
  OracleModel oracle;
  Preprocessing oracle_preprocessing;
  std::string folder;  // of the plan's files
  const Plan* plan = nullptr;
  int threads = 1;
  bool maps = true;  // else only the photographs are shown to the oracle
};

// Scores the shard's photographs that `state` does not hold yet, and saves each.
Status ScorePhotographs(const KlJob& job, Shard shard, const StateFolder& state, const ProgressFn& progress);

// Fills photographs, skipped, control and the KL scores of every cut from the records of all files. FAILED_PRECONDITION
// with what to run if some are missing; INVALID_ARGUMENT if fewer than two photographs are usable.
Status CollectKl(const KlJob& job, const StateFolder& state, Assessment& assessment);

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_KL_ORACLE_H_
