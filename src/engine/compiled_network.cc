#include "engine/compiled_network.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "engine/compiler.h"
#include "engine/onednn.h"
#include "engine/team.h"
#include "graph/memory_plan.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

using dnnl::memory;
using engine::Block;
using engine::Buffer;
using engine::CatchOneDnn;
using engine::CpuEngine;
using engine::Program;
using engine::Region;

// Where buffers of the arena lie. Parts of others follow them.
struct Offsets {
  std::vector<size_t> offset;
  size_t arena_bytes = 0;
};

Offsets PlanBuffers(const Program& program) {
  Offsets out;
  out.offset.resize(program.buffers.size());
  std::vector<PlannedBuffer> planned;
  std::vector<size_t> owners;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& buffer = program.buffers[i];
    if (buffer.region == Region::kArena && buffer.parent < 0 && buffer.last >= 0) {
      planned.push_back({buffer.bytes, buffer.first, buffer.last});
      owners.push_back(i);
    }
  }
  MemoryPlan plan = PlanMemory(planned);
  for (size_t i = 0; i < owners.size(); ++i) out.offset[owners[i]] = plan.offsets[i];
  out.arena_bytes = plan.arena_bytes;
  return out;
}

Status CheckTensor(std::string_view what, size_t i, DType dtype, const Shape& shape, const void* data,
                   const Shape& expected) {
  if (dtype == DType::kF32 && shape == expected && data != nullptr) return OkStatus();
  return InvalidArgument(what, " ", i, " is ", NameOf(dtype), ToString(shape), data == nullptr ? " without data" : "",
                         ", expected f32", ToString(expected));
}

}  // namespace

std::string_view NameOf(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return "f32";
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
  }
  return "?";
}

StatusOr<Precision> ParsePrecision(std::string_view name) {
  for (Precision p : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    if (name == NameOf(p)) return p;
  }
  return InvalidArgument("precision '", name, "' is none of f32, bf16, int8");
}

std::string EffectiveIsa() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse41";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
      return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "generic";
  }
}

bool HasBf16() {
  const unsigned needed = dnnl_cpu_isa_avx512_core_bf16;
  return (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & needed) == needed;
}

bool HasInt8() {
  // Without VNNI oneDNN's kernels add pairs of products in 16 bits, which can saturate.
  const unsigned isa = dnnl_get_effective_cpu_isa();
  auto has = [&](unsigned needed) { return (isa & needed) == needed; };
  return has(dnnl_cpu_isa_avx512_core_vnni) || has(dnnl_cpu_isa_avx2_vnni);
}

struct CompiledNetwork::Impl {
  // A step ready to run: nothing is looked up or allocated any more.
  struct BoundStep {
    dnnl::primitive primitive;
    engine::Kernel kernel;
    std::vector<memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
    std::vector<void*> pointers;  // a kernel's
  };
  // An argument that lies in the caller's memory.
  struct External {
    Region region;
    size_t index, offset, step, argument;
  };

  int threads = 1;
  std::string path;
  double flops = 0;
  Program program;
  std::shared_ptr<PackedWeights> weights;
  size_t weight_bytes = 0;
  Block arena;
  dnnl::stream stream;
  std::vector<BoundStep> steps;
  std::vector<External> externals;

  void Build(const EngineOptions& options);
  // `located`: where each of the program's weights lies.
  void Bind(const Offsets& offsets, const std::vector<std::byte*>& located);
  Status Execute(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs);
};

void CompiledNetwork::Impl::Build(const EngineOptions& options) {
  weights = options.weights != nullptr ? options.weights : std::make_shared<PackedWeights>();
  PackedWeights::Located packed = weights->Pack(program.weights, options.memory);
  weight_bytes = packed.bytes;
  Offsets offsets = PlanBuffers(program);
  arena = Block(offsets.arena_bytes, options.memory);
  stream = dnnl::stream(CpuEngine());
  Bind(offsets, packed.data);
  program.weights.clear();
  program.derived.clear();
}

void CompiledNetwork::Impl::Bind(const Offsets& offsets, const std::vector<std::byte*>& located) {
  std::map<size_t, std::byte*> weight_of;  // by buffer
  for (size_t i = 0; i < located.size(); ++i) {
    weight_of[static_cast<size_t>(program.weights[i].buffer)] = located[i];
  }
  for (size_t s = 0; s < program.steps.size(); ++s) {
    engine::Step& step = program.steps[s];
    BoundStep bound{std::move(step.primitive), std::move(step.kernel), {}, {}, {}};
    for (size_t a = 0; a < step.arguments.size(); ++a) {
      const engine::Place& place = step.arguments[a].place;
      size_t offset = place.offset;
      size_t id = static_cast<size_t>(place.buffer);
      for (; program.buffers[id].parent >= 0; id = static_cast<size_t>(program.buffers[id].parent)) {
        offset += program.buffers[id].parent_offset;
      }
      const Buffer& buffer = program.buffers[id];
      void* pointer = nullptr;
      if (buffer.region == Region::kArena) {
        pointer = arena.data() + offsets.offset[id] + offset;
      } else if (buffer.region == Region::kWeights) {
        pointer = weight_of.at(id) + offset;
      } else {
        externals.push_back({buffer.region, static_cast<size_t>(buffer.index), offset, s, a});
      }
      bound.pointers.push_back(pointer);
      if (!bound.kernel) {
        bound.memories.emplace_back(place.desc, CpuEngine(), pointer);
        bound.arguments.push_back({step.arguments[a].id, bound.memories.back().get()});
      }
    }
    steps.push_back(std::move(bound));
  }
  program.steps.clear();
}

Status CompiledNetwork::Impl::Execute(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs) {
  for (const External& external : externals) {
    const void* base = external.region == Region::kInput ? inputs[external.index].data : outputs[external.index].data;
    void* pointer = static_cast<std::byte*>(const_cast<void*>(base)) + external.offset;
    BoundStep& step = steps[external.step];
    step.pointers[external.argument] = pointer;
    if (!step.kernel) step.memories[external.argument].set_data_handle(pointer);
  }
  for (BoundStep& step : steps) {
    if (step.kernel) {
      step.kernel(step.pointers);
      continue;
    }
    dnnl_status_t status = dnnl_primitive_execute(step.primitive.get(), stream.get(),
                                                  static_cast<int>(step.arguments.size()), step.arguments.data());
    if (status != dnnl_success) {
      return Internal("step ", &step - steps.data(), ": oneDNN status ", static_cast<int>(status));
    }
  }
  return OkStatus();
}

void WarmUpEngine(int threads) {
  dnnl_set_jit_profiling_flags(0);
  engine::TeamScope team(threads);
  // One primitive, made and run: whatever oneDNN sets up late is set up now.
  std::array<float, 64> data{};
  Status ignored = CatchOneDnn("warm-up", [&] {
    memory::desc desc = engine::PlainDesc({1, 64}, memory::data_type::f32);
    memory m(desc, CpuEngine(), data.data());
    dnnl::stream stream(CpuEngine());
    dnnl::eltwise_forward::primitive_desc pd(
        {dnnl::prop_kind::forward_inference, dnnl::algorithm::eltwise_relu, desc, 0.0f, 0.0f}, CpuEngine());
    dnnl::eltwise_forward(pd).execute(stream, {{DNNL_ARG_SRC, m}, {DNNL_ARG_DST, m}});
    return OkStatus();
  });
}

StatusOr<CompiledNetwork> CompiledNetwork::Compile(const Graph& graph, const EngineOptions& options) {
  const bool quantized = std::any_of(graph.nodes.begin(), graph.nodes.end(),
                                     [](const Node& node) { return node.op == "QuantizeLinear" && !IsOpaque(node); });
  if (options.precision == Precision::kInt8 && !quantized) {
    return InvalidArgument("precision int8 needs a quantised network; `infenclave quantize` makes one");
  }
  if (options.batch < 1 || options.threads < 1) {
    return InvalidArgument("batch ", options.batch, " and threads ", options.threads, ": expected at least 1 each");
  }
  const bool bf16 = options.precision == Precision::kBf16 && HasBf16();
  auto impl = std::make_unique<Impl>();
  impl->threads = options.threads;
  impl->path = EffectiveIsa() + (bf16 ? "/bf16" : "/f32");
  if (options.precision == Precision::kBf16 && !bf16) impl->path += " (no bf16 here)";
  if (quantized) impl->path += HasInt8() ? "+int8" : " (no int8 here)";
  engine::TeamScope team(options.threads);
  INFENCLAVE_RETURN_IF_ERROR(CatchOneDnn("engine", [&]() -> Status {
    Graph batched;
    const Graph* source = &graph;
    if (options.batch != 1) {
      INFENCLAVE_ASSIGN_OR_RETURN(batched, WithBatch(graph.Clone(), options.batch));
      source = &batched;
    }
    for (const Node& node : source->nodes) {
      if (!IsOpaque(node)) impl->flops += FlopsOf({*source, node});
    }
    engine::Compiler compiler(*source, bf16 ? memory::data_type::bf16 : memory::data_type::f32, options.memory,
                              {options.threads, options.measuring});
    INFENCLAVE_ASSIGN_OR_RETURN(impl->program, compiler.Compile());
    impl->Build(options);
    return OkStatus();
  }));
  return CompiledNetwork(std::move(impl));
}

CompiledNetwork::CompiledNetwork(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CompiledNetwork::CompiledNetwork(CompiledNetwork&&) noexcept = default;
CompiledNetwork& CompiledNetwork::operator=(CompiledNetwork&&) noexcept = default;
CompiledNetwork::~CompiledNetwork() = default;

Status CompiledNetwork::Run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs) {
  const Program& program = impl_->program;
  if (inputs.size() != program.input_shapes.size() || outputs.size() != program.output_shapes.size()) {
    return InvalidArgument(inputs.size(), " inputs and ", outputs.size(), " outputs, expected ",
                           program.input_shapes.size(), " and ", program.output_shapes.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorView& t = inputs[i];
    INFENCLAVE_RETURN_IF_ERROR(CheckTensor("input", i, t.dtype, t.shape, t.data, program.input_shapes[i]));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const MutableTensorView& t = outputs[i];
    INFENCLAVE_RETURN_IF_ERROR(CheckTensor("output", i, t.dtype, t.shape, t.data, program.output_shapes[i]));
  }
  engine::TeamScope team(impl_->threads);
  return CatchOneDnn("engine", [&] { return impl_->Execute(inputs, outputs); });
}

const std::vector<Shape>& CompiledNetwork::input_shapes() const { return impl_->program.input_shapes; }
const std::vector<Shape>& CompiledNetwork::output_shapes() const { return impl_->program.output_shapes; }
const std::string& CompiledNetwork::path() const { return impl_->path; }
const std::vector<CompiledNetwork::Layer>& CompiledNetwork::layers() const { return impl_->program.layers; }
size_t CompiledNetwork::arena_bytes() const { return impl_->arena.bytes(); }
size_t CompiledNetwork::weight_bytes() const { return impl_->weight_bytes; }
double CompiledNetwork::flops() const { return impl_->flops; }

}  // namespace infenclave
