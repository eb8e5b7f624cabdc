// Operators that move or rename elements: views, Transpose, Concat.
#include <algorithm>
#include <numeric>

#include "engine/compiler.h"
#include "engine/onednn.h"

namespace infenclave::engine {
namespace {

// The layout of `first` with `size` indices along `axis`, all dimensions before which are 1.
memory::desc Widened(const memory::desc& first, int axis, int64_t size) {
  dnnl_memory_desc_t d = first.data;
  d.dims[axis] = d.padded_dims[axis] = size;
  memory::dim elements = 1;
  for (int i = 0; i < d.ndims; ++i) elements *= d.padded_dims[i];
  for (int i = 0; i < axis; ++i) d.format_desc.blocking.strides[i] = elements;
  return memory::desc(d);
}

// Whether all operands are integers of one scale and type.
bool JoinsIntegers(Compiler& c, const Node& node) {
  const Place* first = c.Quantized(node.inputs[0]);
  return first != nullptr && node.activation.kind == FusedActivation::Kind::kNone &&
         std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
           const Place* place = c.Quantized(id);
           return place != nullptr && place->scale == first->scale && place->zero == first->zero &&
                  place->desc.data_type() == first->desc.data_type();
         });
}

// Operands that lie one after the other in the result need no copy: their buffers become parts of one.
StatusOr<bool> TryEmbed(Compiler& c, const Node& node, int axis, bool integers) {
  std::vector<Place> places;
  for (ValueId id : node.inputs) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place place, integers ? c.InAny(id) : c.In(id));
    const Shape& shape = c.graph().value(id).shape;
    const Buffer& buffer = c.buffer(place.buffer);
    bool alone = buffer.region == Region::kArena && buffer.parent < 0 && place.offset == 0 &&
                 buffer.bytes == place.desc.get_size() &&
                 std::none_of(places.begin(), places.end(), [&](const Place& p) { return p.buffer == place.buffer; });
    bool outer_ones = std::all_of(shape.begin(), shape.begin() + axis, [](int64_t d) { return d == 1; });
    if (!alone || !outer_ones || !IsOutermost(place.desc, axis)) return false;
    if (!places.empty() && Widened(place.desc, axis, 1) != Widened(places[0].desc, axis, 1)) return false;
    places.push_back(place);
  }
  Place out = c.NewPlace(Widened(places[0].desc, axis, c.view(node).out().shape[static_cast<size_t>(axis)]));
  out.scale = places[0].scale;
  out.zero = places[0].zero;
  size_t offset = 0;
  for (const Place& place : places) {
    c.Embed(place.buffer, out.buffer, offset);
    offset += place.desc.get_size();
  }
  INFENCLAVE_CHECK(offset == out.desc.get_size());
  INFENCLAVE_RETURN_IF_ERROR(c.Define(node, out, /*activate=*/true));
  return true;
}

}  // namespace

Status CompileView(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place place, c.InAny(node.inputs[0]));
  return c.DefineReshaped(node, place);
}

namespace {

// The operands as they lie (one of another type than the first: row-major), or all row-major where `plain`. False if
// only oneDNN's slow implementation can join them.
StatusOr<bool> TryConcat(Compiler& c, const Node& node, int axis, bool plain, bool integers) {
  std::vector<memory::desc> descs;
  std::vector<Argument> arguments;
  INFENCLAVE_ASSIGN_OR_RETURN(Place first, integers ? c.InAny(node.inputs[0]) : c.In(node.inputs[0]));
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(Place place, integers ? c.InAny(node.inputs[i]) : c.In(node.inputs[i]));
    if (integers) {
      place = c.QuantizedAs(node.inputs[i], ChannelsLastDesc(DimsOf(place.desc), place.desc.data_type()));
    } else if (plain || place.desc.data_type() != first.desc.data_type()) {
      INFENCLAVE_ASSIGN_OR_RETURN(place, c.InPlain(node.inputs[i], first.desc.data_type()));
    }
    descs.push_back(place.desc);
    arguments.push_back({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), place});
  }
  dnnl::concat::primitive_desc pd(axis, descs, CpuEngine(), Attributes());
  if (!plain && std::string_view(pd.impl_info_str()).starts_with("ref")) return false;
  Place dst = c.NewPlace(pd.dst_desc());
  dst.scale = first.scale;
  dst.zero = first.zero;
  arguments.push_back({DNNL_ARG_DST, dst});
  c.Emit(node, pd, std::move(arguments));
  INFENCLAVE_RETURN_IF_ERROR(c.Define(node, dst, /*activate=*/true));
  return true;
}

}  // namespace

Status CompileConcat(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t attribute, IntAttribute(node, "axis", 0));
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t axis, NormalizeAxis(attribute, c.view(node).out().shape.size()));
  const bool integers = JoinsIntegers(c, node);
  INFENCLAVE_ASSIGN_OR_RETURN(bool done, TryEmbed(c, node, static_cast<int>(axis), integers));
  // Blocks of channels that the parts do not fill are what oneDNN is slow at.
  for (bool plain : {false, true}) {
    if (done) break;
    INFENCLAVE_ASSIGN_OR_RETURN(done, TryConcat(c, node, static_cast<int>(axis), plain, integers));
  }
  return OkStatus();
}

// No bytes move: the same buffer read along permuted axes. Whoever needs another order reorders.
Status CompileTranspose(Compiler& c, const Node& node, int) {
  INFENCLAVE_ASSIGN_OR_RETURN(Place place, c.InAny(node.inputs[0]));
  const size_t rank = c.view(node).shape(0).size();
  std::vector<int64_t> reversed(rank);
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<int64_t> perm, IntsAttribute(node, "perm", reversed));
  std::vector<int> moves(rank);
  for (size_t i = 0; i < rank; ++i) moves[static_cast<size_t>(perm[i])] = static_cast<int>(i);
  place.desc = place.desc.permute_axes(moves);
  return c.Define(node, place);
}

}  // namespace infenclave::engine
