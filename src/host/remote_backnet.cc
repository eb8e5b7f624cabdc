#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <mutex>
#include <set>
#include <utility>

#include "host/backnet.h"
#include "host/server_picker.h"
#include "oip/infer.h"
#include "oip/open_inference.grpc.pb.h"
#include "oip/status.h"
#include "protocol/calls.h"

namespace infenclave {
namespace {

using inference::GRPCInferenceService;
using Clock = std::chrono::steady_clock;
constexpr auto kMetadataTimeout = std::chrono::seconds(5);
// Bounds what servers that hang can hold up when the caller set no deadline.
constexpr auto kInferTimeout = std::chrono::seconds(60);
constexpr size_t kSlackBytes = 64 << 10;

struct TensorNames {
  std::string input = "ir", output;  // output empty: whatever it is called
};

// ---- one server ---------------------------------------------------------------------------------------------------
struct Server {
  OipEndpoint endpoint;
  std::string address;  // as the user wrote it, for messages
  std::unique_ptr<GRPCInferenceService::Stub> stub;
  std::atomic<int64_t> max_batch{kMaxBatch};

  std::optional<TensorNames> names() const {
    const std::lock_guard lock(mutex);
    return described;
  }
  mutable std::mutex mutex;
  std::optional<TensorNames> described;  // when it has said them
};

using Metadata = inference::ModelMetadataResponse::TensorMetadata;

// A dimension of -1 has any size, and some servers say nothing of the shape. Gives the batch dimension, or -1.
StatusOr<int64_t> CheckTensor(const Metadata& tensor, DType type, const Shape& wanted, std::string_view what) {
  if (!tensor.datatype().empty() && tensor.datatype() != OipTypeOf(type)) {
    return InvalidArgument("its ", what, " '", tensor.name(), "' is ", tensor.datatype(), ", expected ",
                           OipTypeOf(type));
  }
  if (tensor.shape().empty()) return -1;
  const Shape shape(tensor.shape().begin(), tensor.shape().end());
  bool fits = shape.size() == wanted.size() + 1;
  for (size_t i = 0; fits && i < wanted.size(); ++i) fits = shape[i + 1] == -1 || shape[i + 1] == wanted[i];
  if (fits) return shape[0];
  return InvalidArgument("its ", what, " '", tensor.name(), "' has shape ", ToString(shape), ", expected ",
                         ToString(WithBatch(-1, wanted)), ": does it serve this bundle's backnet.onnx?");
}

Status Accept(Server& server, const inference::ModelMetadataResponse& metadata, const BackNetShape& shape) {
  TensorNames names;
  if (metadata.inputs_size() > 1 || metadata.outputs_size() > 1) {
    return InvalidArgument("its model has ", metadata.inputs_size(), " inputs and ", metadata.outputs_size(),
                           " outputs, expected one of each");
  }
  if (metadata.inputs_size() == 1) {
    INFENCLAVE_ASSIGN_OR_RETURN(const int64_t batch,
                                CheckTensor(metadata.inputs(0), shape.ir_dtype, shape.ir, "input"));
    if (batch > 1) {
      return InvalidArgument("its input takes batches of exactly ", batch, ": export it with a variable batch");
    }
    if (batch == 1) server.max_batch = 1;
    names.input = metadata.inputs(0).name();
  }
  if (metadata.outputs_size() == 1) {
    INFENCLAVE_RETURN_IF_ERROR(CheckTensor(metadata.outputs(0), DType::kF32, shape.output, "output").status());
    names.output = metadata.outputs(0).name();
  }
  const std::lock_guard lock(server.mutex);
  server.described = names;
  return OkStatus();
}

// Asks for the names and calls `done` on a thread of gRPC's.
void Describe(Server& server, const BackNetShape& shape, std::function<void(const Status&)> done) {
  struct Call {
    grpc::ClientContext context;
    inference::ModelMetadataRequest request;
    inference::ModelMetadataResponse response;
  };
  auto call = std::make_shared<Call>();
  call->context.set_deadline(std::chrono::system_clock::now() + kMetadataTimeout);
  call->request.set_name(server.endpoint.model);
  call->request.set_version(server.endpoint.version);
  server.stub->async()->ModelMetadata(&call->context, &call->request, &call->response,
                                      [call, &server, shape, done = std::move(done)](const grpc::Status& status) {
                                        done(status.ok() ? Accept(server, call->response, shape) : FromGrpc(status));
                                      });
}

// ---- a batch on its way -------------------------------------------------------------------------------------------
struct Servers {
  Servers(std::vector<std::unique_ptr<Server>> servers, const BackNetShape& tensors)
      : all(std::move(servers)), shape(tensors), picker(all.size()) {}
  const std::vector<std::unique_ptr<Server>> all;
  const BackNetShape shape;  // as the servers take it
  ServerPicker picker;
};

struct Job {
  std::shared_ptr<Servers> servers;
  std::span<float> output;
  BackNet::Deadline deadline;
  std::string traceparent;
  BackNet::Done done;

  std::mutex mutex;
  bool cancelled = false;
  size_t pieces = 1;  // that are not finished
  Status status;      // of the first that failed
  std::set<std::shared_ptr<grpc::ClientContext>> running;

  void FinishPiece(const Status& piece) {
    BackNet::Done last;
    {
      const std::lock_guard lock(mutex);
      if (status.ok()) status = piece;
      if (--pieces == 0) last = std::exchange(done, nullptr);  // which may hold who can cancel this
    }
    if (last) last(status);
  }
  void Cancel() {
    std::set<std::shared_ptr<grpc::ClientContext>> contexts;
    {
      const std::lock_guard lock(mutex);
      cancelled = true;
      contexts = running;
    }
    for (const auto& context : contexts) context->TryCancel();  // may call back: not under the mutex
  }
};

// Consecutive requests of a job, asked of one server after the other until one answers.
class Piece : public std::enable_shared_from_this<Piece> {
 public:
  Piece(std::shared_ptr<Job> job, int64_t first, int64_t size, ByteSpan ir, std::vector<bool> tried)
      : job_(std::move(job)), first_(first), size_(size), tried_(std::move(tried)) {
    const BackNetShape& shape = job_->servers->shape;
    AddInput(request_, "", shape.ir_dtype, WithBatch(size, shape.ir), ir);
  }

  void AskNext() {
    const auto now = Clock::now();
    if (std::chrono::system_clock::now() >= job_->deadline) {
      return job_->FinishPiece(DeadlineExceeded("no BackNet answered within the deadline", Because()));
    }
    const std::optional<ServerPicker::Picked> picked = job_->servers->picker.Pick(tried_, now);
    if (!picked) return job_->FinishPiece(last_);
    server_ = picked->server;
    patience_ = picked->patience;
    started_ = now;
    const int64_t most = server().max_batch;
    if (size_ > most) return Split(most);
    if (std::optional<TensorNames> names = server().names()) return Ask(*names);
    // One that could not be reached before.
    Describe(server(), job_->servers->shape, [self = shared_from_this()](const Status& status) {
      if (!status.ok()) return self->Failed(status, ServerPicker::Outcome::kFailure);
      self->Ask(*self->server().names());
    });
  }

 private:
  Server& server() const { return *job_->servers->all[server_]; }

  std::string Because() const { return last_.ok() ? "" : Concat(" (", MessageOf(last_), ")"); }

  void Leave(ServerPicker::Outcome outcome) { job_->servers->picker.Finish(server_, outcome, started_, Clock::now()); }

  void Ask(const TensorNames& names) {
    request_.set_model_name(server().endpoint.model);
    request_.set_model_version(server().endpoint.version);
    request_.mutable_inputs(0)->set_name(names.input);
    request_.clear_outputs();
    if (!names.output.empty()) request_.add_outputs()->set_name(names.output);
    auto context = std::make_shared<grpc::ClientContext>();
    auto deadline = job_->deadline;
    if (patience_) {
      const auto patience = std::chrono::duration_cast<std::chrono::system_clock::duration>(*patience_);
      deadline = std::min(deadline, std::chrono::system_clock::now() + patience);
    }
    context->set_deadline(deadline);
    if (!job_->traceparent.empty()) context->AddMetadata(kTraceparent, job_->traceparent);
    {
      const std::lock_guard lock(job_->mutex);
      if (!job_->cancelled) job_->running.insert(context);
    }
    response_.Clear();
    server().stub->async()->ModelInfer(
        context.get(), &request_, &response_,
        [self = shared_from_this(), context, output = names.output](const grpc::Status& status) {
          bool cancelled;
          {
            const std::lock_guard lock(self->job_->mutex);
            self->job_->running.erase(context);
            cancelled = self->job_->cancelled;
          }
          self->Received(status, output, cancelled);
        });
    const std::lock_guard lock(job_->mutex);
    if (job_->cancelled) context->TryCancel();
  }

  void Received(const grpc::Status& status, const std::string& output, bool cancelled) {
    if (cancelled) {
      Leave(ServerPicker::Outcome::kNeither);
      return job_->FinishPiece(Cancelled("all callers gave up"));
    }
    if (!status.ok()) return Refused(FromGrpc(status));
    if (Status read = ReadScores(output); !read.ok()) return Failed(read, ServerPicker::Outcome::kFailure);
    Leave(ServerPicker::Outcome::kSuccess);
    job_->FinishPiece(OkStatus());
  }

  void Refused(const Status& status) {
    const bool exhausted = status.code() == StatusCode::kResourceExhausted;
    const bool too_large = exhausted && MessageOf(status).find("larger than max") != std::string::npos;
    if (size_ > 1 && (too_large || status.code() == StatusCode::kInvalidArgument)) {
      // Servers limit their messages or batches without telling beforehand; half of it may do.
      const int64_t half = size_ / 2;
      if (server().max_batch > half) server().max_batch = half;
      Leave(ServerPicker::Outcome::kNeither);
      return AskNext();
    }
    const bool late = status.code() == StatusCode::kDeadlineExceeded;
    if (late && std::chrono::system_clock::now() >= job_->deadline && !patience_) {
      Leave(ServerPicker::Outcome::kNeither);  // it may have been given too little time
      return job_->FinishPiece(Annotated(status));
    }
    Failed(status, exhausted ? ServerPicker::Outcome::kNeither : ServerPicker::Outcome::kFailure);
  }

  void Failed(const Status& status, ServerPicker::Outcome outcome) {
    Leave(outcome);
    tried_[server_] = true;
    last_ = Annotated(status);
    AskNext();
  }

  Status Annotated(const Status& status) const { return Annotate(status, Concat("BackNet ", server().address)); }

  // Into their place in the job's output. The enclave looks at them again, but a server that makes nonsense is passed
  // over here.
  Status ReadScores(const std::string& name) {
    INFENCLAVE_ASSIGN_OR_RETURN(TensorData scores, ReadF32Output(response_, name));
    const Shape wanted = WithBatch(size_, job_->servers->shape.output);
    if (scores.shape != wanted) {
      return Internal("output '", name, "' has shape ", ToString(scores.shape), ", expected ", ToString(wanted));
    }
    const size_t floats = job_->servers->shape.output_floats();
    const std::span<float> out =
        job_->output.subspan(static_cast<size_t>(first_) * floats, static_cast<size_t>(size_) * floats);
    std::memcpy(out.data(), scores.data.data(), scores.data.size());
    if (!std::ranges::all_of(out, [](float score) { return std::isfinite(score); })) {
      return Internal("output '", name, "' holds numbers that are not finite");
    }
    return OkStatus();
  }

  void Split(int64_t most) {
    Leave(ServerPicker::Outcome::kNeither);
    const ByteSpan ir = AsBytes(request_.raw_input_contents(0));
    const size_t each = ir.size() / static_cast<size_t>(size_);
    std::vector<std::shared_ptr<Piece>> pieces;
    for (int64_t at = 0; at < size_; at += most) {
      const int64_t count = std::min(most, size_ - at);
      pieces.push_back(std::make_shared<Piece>(
          job_, first_ + at, count, ir.subspan(static_cast<size_t>(at) * each, static_cast<size_t>(count) * each),
          tried_));
    }
    {
      const std::lock_guard lock(job_->mutex);
      job_->pieces += pieces.size() - 1;
    }
    for (const auto& piece : pieces) piece->AskNext();
  }

  const std::shared_ptr<Job> job_;
  const int64_t first_, size_;
  std::vector<bool> tried_;
  Status last_;  // why the server before failed

  size_t server_ = 0;
  std::optional<ServerPicker::Duration> patience_;
  Clock::time_point started_;
  inference::ModelInferRequest request_;
  inference::ModelInferResponse response_;
};

std::vector<float> Widen(ByteSpan ir) {
  std::vector<float> wide(ir.size() / sizeof(uint16_t));
  for (size_t i = 0; i < wide.size(); ++i) {
    uint16_t narrow;
    std::memcpy(&narrow, ir.data() + i * sizeof(narrow), sizeof(narrow));
    wide[i] = Bf16ToF32(narrow);
  }
  return wide;
}

std::vector<BackNetState> StatesOf(const Servers& servers) {
  const std::vector<ServerPicker::Load> loads = servers.picker.loads(Clock::now());
  std::vector<BackNetState> states;
  for (size_t i = 0; i < loads.size(); ++i) {
    states.push_back(
        {servers.all[i]->address, !loads[i].ejected, loads[i].in_flight, loads[i].answered, loads[i].failed});
  }
  return states;
}

class Remote final : public BackNet {
 public:
  Remote(std::shared_ptr<Servers> servers, DType ir_dtype) : servers_(std::move(servers)), ir_dtype_(ir_dtype) {}

  BackNetStates states() const override {
    return [servers = servers_] { return StatesOf(*servers); };
  }

  Started Start(const Batch& batch, Done done) override {
    auto job = std::make_shared<Job>();
    job->servers = servers_;
    job->output = batch.output;
    job->deadline = std::min(batch.deadline, std::chrono::system_clock::now() + kInferTimeout);
    job->traceparent = batch.traceparent;
    job->done = std::move(done);
    std::vector<float> wide;
    ByteSpan ir = batch.ir;
    if (ir_dtype_ == DType::kBf16) {
      wide = Widen(ir);
      ir = {reinterpret_cast<const uint8_t*>(wide.data()), wide.size() * sizeof(float)};
    }
    std::make_shared<Piece>(job, 0, batch.size, ir, std::vector<bool>(servers_->all.size()))->AskNext();
    return {std::nullopt, [job] { job->Cancel(); }};
  }

 private:
  const std::shared_ptr<Servers> servers_;
  const DType ir_dtype_;  // of the enclave's side
};

}  // namespace

StatusOr<BackNetFactory> RemoteBackNet(const std::vector<OipEndpoint>& endpoints, const BackNetShape& enclave_side) {
  const BackNetShape shape = ServerShapeOf(enclave_side);
  const size_t floats = static_cast<size_t>(NumElements(shape.ir).value_or(0)) + shape.output_floats();
  std::vector<std::unique_ptr<Server>> all;
  for (const OipEndpoint& endpoint : endpoints) {
    auto server = std::make_unique<Server>();
    server->endpoint = endpoint;
    server->address = Concat("grpc://", endpoint.target, "/", endpoint.model);
    const size_t max_message_bytes = kMaxBatch * floats * sizeof(float) + kSlackBytes;
    // Where we have nobody else to ask, gRPC may know one: another address of the same name.
    const bool retry = endpoints.size() == 1 || IsTargetUri(endpoint.target);
    server->stub = GRPCInferenceService::NewStub(MakeBalancedChannel(endpoint.target, max_message_bytes, retry));
    all.push_back(std::move(server));
  }
  auto servers = std::make_shared<Servers>(std::move(all), shape);
  std::vector<std::future<Status>> described;
  for (const auto& server : servers->all) {
    auto promise = std::make_shared<std::promise<Status>>();
    described.push_back(promise->get_future());
    Describe(*server, shape, [promise](const Status& status) { promise->set_value(status); });
  }
  bool reached = false;
  Status absent, wrong;
  for (size_t i = 0; i < described.size(); ++i) {
    const Status status = Annotate(described[i].get(), Concat("BackNet ", servers->all[i]->address));
    const bool away = status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
    if (status.ok()) reached = true;
    if (away && absent.ok()) absent = status;
    if (!status.ok() && !away && wrong.ok()) wrong = status;
  }
  INFENCLAVE_RETURN_IF_ERROR(wrong);
  if (!reached) return absent;
  return BackNetFactory([servers, ir_dtype = enclave_side.ir_dtype]() -> StatusOr<std::unique_ptr<BackNet>> {
    return std::make_unique<Remote>(servers, ir_dtype);
  });
}

}  // namespace infenclave
