// The bounded binary format in which the FrontNet, the tail and the audits' copy of the BackNet are stored.
//
// Canonical (see base/bytes.h), versioned, without opaque nodes; constants' elements are little-endian. Decode holds
// every limit below before it allocates, allocates no more than a small multiple of its input, validates the structure,
// and infers every shape again rather than believe it. What it accepts is exactly what EncodeGraph would have written.
#ifndef INFENCLAVE_GRAPH_SERIALIZE_H_
#define INFENCLAVE_GRAPH_SERIALIZE_H_

#include "graph/graph.h"

namespace infenclave {

inline constexpr size_t kMaxGraphBytes = size_t{2} << 30;
inline constexpr size_t kMaxGraphNodes = 1 << 16;
inline constexpr size_t kMaxGraphValues = 1 << 18;
inline constexpr size_t kMaxNameBytes = 512;
inline constexpr size_t kMaxAttributes = 64;  // of one node

StatusOr<Bytes> EncodeGraph(const Graph& graph);
// Constants are placed in `memory`; RESOURCE_EXHAUSTED if it has no room.
StatusOr<Graph> DecodeGraph(ByteSpan bytes, std::pmr::memory_resource* memory = std::pmr::get_default_resource());

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_SERIALIZE_H_
