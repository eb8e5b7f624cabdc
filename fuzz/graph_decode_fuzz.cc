// The stored graph's reader, and everything that runs on what it accepts before the engine does.
#include <cstdint>

#include "graph/cuts.h"
#include "graph/passes.h"
#include "graph/serialize.h"

using namespace infenclave;  // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan input(data, size);
  StatusOr<Graph> graph = DecodeGraph(input);
  if (!graph.ok()) return 0;
  StatusOr<Bytes> encoded = EncodeGraph(*graph);
  INFENCLAVE_CHECK(encoded.ok());
  INFENCLAVE_CHECK(AsText(*encoded) == AsText(input));
  CostOf(*graph).IgnoreError();
  if (StatusOr<std::vector<ValueId>> cuts = CutPoints(*graph); cuts.ok() && !cuts->empty()) {
    INFENCLAVE_CHECK(SplitAt(*graph, cuts->front()).ok());
    FindCut(*graph, "no such name").IgnoreError();
  }
  WithBatch(graph->Clone(), 3).IgnoreError();
  if (StatusOr<Graph> simple = Simplify(*std::move(graph)); simple.ok()) INFENCLAVE_CHECK(Validate(*simple).ok());
  return 0;
}
