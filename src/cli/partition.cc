// `infenclave partition`: a network becomes a signed, sealed bundle.
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>

#include "assessment/assessment_json.h"
#include "assessment/defence.h"
#include "base/file.h"
#include "bundle/bundle.h"
#include "bundle/class_order.h"
#include "cli/command.h"
#include "cli/model_files.h"
#include "cli/photographs.h"
#include "cli/progress.h"
#include "graph/cuts.h"
#include "graph/serialize.h"
#include "import/model.h"

namespace infenclave {
namespace {

constexpr size_t kMaxEnclaveBytes = size_t{256} << 20;

struct PartitionFlags {
  std::string model, labels, owner_key, release_key, out, cut, assessment, preprocessing, name, tee = "hardware";
  std::string images, truth, narrowed, ir_precision = "f32";
  int64_t tail = 0, model_version = 1, ir_rank = 0;
  double audits = 0, audit_tolerance = 0.02, ir_noise = 0;
  bool open = false, json = false;
};

struct Choice {
  std::string cut;
  Manifest::Verdict verdict;
};

// For the manifest, which everyone may read: attacks and verdict, no tensor's name.
std::string SummaryOf(const AssessmentSummary& assessment, const std::string& verdict) {
  std::string list;
  for (const std::string& name : assessment.attacks) list += (list.empty() ? "" : ", ") + name;
  return Concat(verdict, " by the attacks that ran: ", list.empty() ? "none" : list,
                assessment.provisional ? "; provisional, for others did not run" : "");
}

StatusOr<Choice> ReadAssessment(const PartitionFlags& flags) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(flags.assessment, kMaxAssessmentBytes));
  StatusOr<AssessmentSummary> assessment = ParseAssessmentSummary(file);
  if (!assessment.ok()) return Annotate(assessment.status(), flags.assessment);
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes model, ReadFile(flags.model, kMaxGraphBytes));
  if (assessment->model_sha256 != HexEncode(Sha256(model))) {
    return InvalidArgument(flags.assessment, ": assesses another model than ", flags.model, " (SHA-256 ",
                           assessment->model_sha256, ")");
  }
  if (flags.cut.empty() && assessment->cut.empty()) {
    return FailedPrecondition(flags.assessment, ": recommends no cut: ", assessment->why,
                              " --cut NAME beside it partitions all the same, and the manifest will say so");
  }
  Choice out{.cut = flags.cut.empty() ? assessment->cut : flags.cut};
  for (const AssessmentSummary::Cut& cut : assessment->cuts) {
    if (cut.name != out.cut) continue;
    out.verdict.assessed = true;
    out.verdict.safe = cut.verdict == "safe";
    out.verdict.summary = SummaryOf(*assessment, cut.verdict);
    out.verdict.assessment_digest = Sha256(file);
  }
  return out;
}

// A model name out of the file's name.
std::string DefaultName(const std::string& path) {
  std::string name = std::filesystem::path(path).stem().string().substr(0, 64);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') c = '-';
  }
  return name.empty() ? "model" : name;
}

// SHA-256 of the infenclave-enclave that lies beside this executable, in hex; empty if there is none.
std::string EnclaveMeasurement() {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  StatusOr<Bytes> enclave = ReadFile((self.parent_path() / "infenclave-enclave").string(), kMaxEnclaveBytes);
  return enclave.ok() ? HexEncode(Sha256(*enclave)) : "";
}

struct Outputs {
  std::string bundle, keys, policy;
  std::string narrowed;  // empty: not asked for
};

StatusOr<Outputs> PlanOutputs(std::string path, const std::string& narrowed) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  Outputs out{path, path + ".keys", path + ".policy.toml", narrowed};
  for (const std::string& file : {out.bundle, out.keys, out.policy, out.narrowed}) {
    if (file.empty()) continue;
    std::error_code error;
    if (std::filesystem::symlink_status(file, error).type() != std::filesystem::file_type::not_found) {
      return AlreadyExists(file, " exists already; choose another output or remove it");
    }
  }
  return out;
}

// All or none: the bundle comes last, and what was written before it goes when it fails.
Status WriteAll(const Outputs& outputs, const PartitionResult& result, const std::string& measurement,
                ByteSpan narrowed) {
  SecretBytes keys = EncodeBundleKeys(result.keys);
  Status status = outputs.narrowed.empty() ? OkStatus() : WriteFileAtomic(outputs.narrowed, narrowed, 0600);
  if (status.ok()) status = WriteFileAtomic(outputs.keys, keys.span(), 0600);
  if (status.ok()) {
    status = WriteFileAtomic(outputs.policy, AsBytes(StarterPolicy(result.bundle.manifest, measurement)));
  }
  if (status.ok()) status = WriteBundle(result.bundle, outputs.bundle);
  if (!status.ok()) {
    ::unlink(outputs.keys.c_str());
    ::unlink(outputs.policy.c_str());
    if (!outputs.narrowed.empty()) ::unlink(outputs.narrowed.c_str());
  }
  return status;
}

// What crosses the cut, narrowed: the network with the projection in it, its cut, and what that costs.
struct Defended {
  Graph graph;
  std::string cut;
  Projection projection;
  std::optional<IrCodes> codes;
  size_t fitted_on = 0;
  DefencePrice price;
};

StatusOr<Defended> Defend(const PartitionFlags& flags, const Graph& model, const Preprocessing& preprocessing,
                          const std::string& cut_name) {
  INFENCLAVE_ASSIGN_OR_RETURN(const ValueId cut, FindCut(model, cut_name));
  INFENCLAVE_ASSIGN_OR_RETURN(const Photographs photographs, SplitPhotographs(flags.images));
  INFENCLAVE_ASSIGN_OR_RETURN(const uint32_t classes, CountClasses(model));
  std::vector<int64_t> truth(photographs.test.size(), -1);
  if (!flags.truth.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const auto known, LoadTruth(flags.truth, classes));
    for (size_t i = 0; i < truth.size(); ++i) {
      if (const auto it = known.find(photographs.test[i]); it != known.end()) truth[i] = it->second;
    }
  }
  Photographer photographer(flags.images, preprocessing);
  const auto from = [&photographer](const std::vector<std::string>& files) {
    return [&photographer, &files](int i, std::span<float> input) -> Status {
      INFENCLAVE_ASSIGN_OR_RETURN(const TensorView picture, photographer.Load(files[i]));
      const auto values = picture.as<float>();
      std::copy(values.begin(), values.end(), input.begin());
      return OkStatus();
    };
  };
  ProgressLine line;
  const auto progress = [&line](std::string_view stage) {
    return [&line, stage](double share) { line.Update(stage, static_cast<int64_t>(100 * share), 100); };
  };
  Defended out;
  out.fitted_on = photographs.fitting.size();
  INFENCLAVE_ASSIGN_OR_RETURN(out.projection,
                              FitProjection(model, cut,
                                            {.rank = static_cast<int>(flags.ir_rank),
                                             .photographs = static_cast<int>(photographs.fitting.size())},
                                            from(photographs.fitting), progress("fitting the projection")));
  INFENCLAVE_ASSIGN_OR_RETURN(out.graph, InsertProjection(model.Clone(), cut, out.projection));
  out.cut = NarrowedName(cut_name);
  INFENCLAVE_ASSIGN_OR_RETURN(const IrPrecision precision, ParseIrPrecision(flags.ir_precision));
  if (const int largest = LargestCode(precision); largest > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(
        out.codes, FitCodes(out.graph, out.graph.Find(out.cut), largest, static_cast<int>(photographs.fitting.size()),
                            /*threads=*/1, /*seed=*/1, from(photographs.fitting), progress("fitting the codes")));
    out.projection = WithLowestAtZero(std::move(out.projection), out.codes->lowest);
    INFENCLAVE_ASSIGN_OR_RETURN(out.graph, InsertProjection(model.Clone(), cut, out.projection));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(
      out.price, PriceDefence(model, out.graph, out.cut, flags.ir_noise, out.codes ? &*out.codes : nullptr, truth,
                              /*threads=*/1, /*seed=*/1, from(photographs.test), progress("pricing")));
  return out;
}

std::string Points(const Estimate& e) {
  char text[96];
  std::snprintf(text, sizeof(text), "%.1f (%.1f to %.1f)", 100 * e.value, 100 * e.lower, 100 * e.upper);
  return text;
}

void PrintDefence(const PartitionFlags& flags, const Defended& defended) {
  const Projection& projection = defended.projection;
  const DefencePrice& price = defended.price;
  std::cout << "  ir      ";
  if (flags.ir_rank > 0) {
    std::printf("%d of %d channels, which keep %.1f %% of what the IR does to the scores; ", projection.rank,
                projection.channels, 100 * projection.kept);
  }
  if (flags.ir_noise > 0) std::printf("noise of %.3g deviations; ", flags.ir_noise);
  if (defended.codes) {
    std::printf("codes %.3g deviations apart, %.2g (root mean square) off; ", defended.codes->step,
                defended.codes->error);
  }
  std::printf("fitted on %zu photographs\n          priced on %d others (90 %% intervals): top-1 as before for %s %%",
              defended.fitted_on, price.photographs, Points(price.same_top1).c_str());
  if (price.labelled > 0) {
    std::printf(";\n          right for %.1f %% instead of %.1f %%: loss %s points", 100 * price.after.value,
                100 * price.before.value, Points(price.loss).c_str());
  }
  std::printf("\n");
}

void PrintResult(const PartitionFlags& flags, const Choice& choice, const Outputs& outputs,
                 const PartitionResult& result, const std::string& measurement, const Defended* defended) {
  const Manifest& manifest = result.bundle.manifest;
  std::cout << "bundle " << outputs.bundle << ": " << manifest.model_name << " version " << manifest.model_version
            << ", cut at " << choice.cut << " " << ToString(manifest.ir_shape) << "\n"
            << "  keys    " << outputs.keys << " (secret: whoever has them can open the bundle)\n"
            << "  policy  " << outputs.policy << " (give it to your users)\n";
  if (!manifest.verdict.assessed) {
    std::cout << "  verdict not assessed: how much the cut gives away is not known (`infenclave assess`)\n";
  } else {
    std::cout << "  verdict " << manifest.verdict.summary << "\n";
  }
  if (defended != nullptr) PrintDefence(flags, *defended);
  if (manifest.ir_precision != IrPrecision::kF32) {
    const size_t floats = static_cast<size_t>(*NumElements(manifest.ir_shape)) * sizeof(float);
    std::cout << "  ir      " << NameOf(manifest.ir_precision) << ": " << IrWireOf(manifest).bytes()
              << " bytes instead of " << floats << ", which hardly hinders an attacker\n";
  }
  if (manifest.tail_layers > 0) {
    std::cout << "  tail    the last " << manifest.tail_layers
              << " linear layers stay in the enclave; the BackNet ends in " << ToString(manifest.backnet_output_shape)
              << "\n";
  }
  if (manifest.audit_per_million > 0) {
    std::cout << "  audits  " << manifest.audit_per_million << " of a million requests\n";
  }
  if (manifest.open) std::cout << "  open    anyone may ask, so no secrecy of the labels is promised\n";
  if (manifest.tee_class == TeeClass::kSimulated) {
    std::cout << "  tee     simulated: it protects nothing from the machine's owner\n";
    if (measurement.empty()) {
      std::cout << "          no infenclave-enclave lies beside infenclave: add its SHA-256 to the policy\n";
    }
  }
  std::cout << "next: infenclave serve " << flags.out << "\n";
}

Status PartitionModel(const PartitionFlags& flags) {
  if (flags.cut.empty() && flags.assessment.empty()) return UsageError("give --cut NAME or --assessment FILE");
  INFENCLAVE_ASSIGN_OR_RETURN(const IrPrecision precision, ParseIrPrecision(flags.ir_precision));
  const bool defend = flags.ir_rank > 0 || flags.ir_noise > 0 || LargestCode(precision) > 0;
  if (defend && flags.images.empty()) {
    return UsageError(
        "--ir-rank, --ir-noise and integers are fitted and priced on photographs: name a folder with --images");
  }
  if (!defend && !flags.narrowed.empty()) {
    return UsageError("--narrowed needs --ir-rank, --ir-noise, or --ir-precision int8 or int4");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Outputs outputs, PlanOutputs(flags.out, flags.narrowed));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::unique_ptr<Ed25519Signer> owner, LoadSigner(flags.owner_key));
  Choice choice{.cut = flags.cut};
  if (!flags.assessment.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(choice, ReadAssessment(flags));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<std::string> labels, LoadLabels(flags.labels));
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(flags.model));
  INFENCLAVE_ASSIGN_OR_RETURN(Preprocessing preprocessing, ChoosePreprocessing(flags.preprocessing, model));
  std::optional<Defended> defended;
  if (defend) {
    INFENCLAVE_ASSIGN_OR_RETURN(defended, Defend(flags, model.graph, preprocessing, choice.cut));
  }
  PartitionOptions options{.cut = defended ? defended->cut : choice.cut,
                           .labels = std::move(labels),
                           .model_name = flags.name.empty() ? DefaultName(flags.model) : flags.name,
                           .model_version = static_cast<uint64_t>(flags.model_version),
                           .preprocessing = preprocessing,
                           .tee_class = flags.tee == "simulated" ? TeeClass::kSimulated : TeeClass::kHardware,
                           .open = flags.open,
                           .ir_precision = precision,
                           .ir_step = defended && defended->codes ? defended->codes->step : 0,
                           .ir_noise = static_cast<float>(flags.ir_noise),
                           .tail_layers = static_cast<uint32_t>(flags.tail),
                           .audit_per_million = static_cast<uint32_t>(std::lround(flags.audits * 1e6)),
                           .audit_tolerance = static_cast<float>(flags.audit_tolerance),
                           .verdict = choice.verdict};
  if (!flags.release_key.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const std::unique_ptr<Ed25519Signer> release, LoadSigner(flags.release_key));
    options.release_key = release->public_key();
  }
  StatusOr<PartitionResult> result = MakeBundle(defended ? defended->graph : model.graph, *owner, options);
  if (!result.ok()) return Annotate(result.status(), flags.model);
  std::string measurement = EnclaveMeasurement();
  Bytes narrowed;
  if (!flags.narrowed.empty()) {
    Graph whole = defended->graph.Clone();
    if (defended->codes) {
      const ValueId at = whole.Find(defended->cut);
      INFENCLAVE_ASSIGN_OR_RETURN(whole, InsertRounding(std::move(whole), at, *defended->codes));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(narrowed, ExportOnnx(whole, {.metadata = model.metadata}));
  }
  INFENCLAVE_RETURN_IF_ERROR(WriteAll(outputs, *result, measurement, narrowed));
  if (flags.json) {
    std::cout << ManifestToJson(result->bundle.manifest);
  } else {
    PrintResult(flags, choice, outputs, *result, measurement, defended ? &*defended : nullptr);
  }
  return OkStatus();
}

}  // namespace

Command PartitionCommand() {
  auto flags = std::make_shared<PartitionFlags>();
  return {.name = "partition",
          .summary = "Cut a network in three and seal it into a signed bundle",
          .example =
              "infenclave partition efficientnet-lite0.onnx --labels imagenet.txt --owner-key owner.pem "
              "--assessment out/assessment.json -o lite0.bundle",
          .declare =
              [flags](Flags& f) {
                f.Text("MODEL", &flags->model, "ONNX file, or a Darknet .cfg beside its .weights", /*required=*/true);
                f.Text("--labels", &flags->labels, "class names, one a line, in the model's order", /*required=*/true);
                f.Text("--owner-key", &flags->owner_key,
                       "the key that signs (`infenclave keygen`): a PEM file, or a PKCS#11 URI", /*required=*/true);
                f.Text("--release-key", &flags->release_key,
                       "who may release the bundle's keys, for 'provision --release-key'; a new key if not given");
                f.Text("-o", &flags->out, "the bundle, a folder that must not exist", /*required=*/true);
                f.Text("--cut", &flags->cut, "the tensor to cut at (`infenclave inspect` lists them)");
                f.Text("--assessment", &flags->assessment,
                       "assessment.json: cut where it recommends, and sign its verdict");
                f.Int("--tail", &flags->tail, "linear layers at the end to keep in the enclave, too", 0, 1000);
                f.Int("--ir-rank", &flags->ir_rank,
                      "let so many channels out at the cut, those that matter most to the scores (default: 0, all)", 0,
                      1 << 20);
                f.Real("--ir-noise", &flags->ir_noise,
                       "noise on what crosses the cut, in deviations of each channel (default: 0)", 0, 100);
                f.OneOf("--ir-precision", &flags->ir_precision, {"f32", "bf16", "int8", "int4"},
                        "of what crosses the cut: for bandwidth, not against attackers");
                f.Text(
                    "--images", &flags->images,
                    "photographs for --ir-rank, --ir-noise, int8 and int4: half to fit on, half to say what it costs");
                f.Text("--labels-tsv", &flags->truth, "their right classes, one 'file<TAB>class index' a line");
                f.Text("--narrowed", &flags->narrowed,
                       "the whole network with --ir-rank and rounding in it, an ONNX file: for `infenclave assess "
                       "--cuts CUT/narrowed`");
                f.Real("--audits", &flags->audits,
                       "share of requests whose BackNet output the enclave checks by computing it itself (default: 0)",
                       0, 1);
                f.Real("--audit-tolerance", &flags->audit_tolerance,
                       "largest difference that passes, as a share of the output's range (default: 0.02)", 0, 1);
                f.OneOf("--tee", &flags->tee, {"hardware", "simulated"}, "which kind of TEE may serve it");
                f.Switch("--open", &flags->open, "let anyone ask, without a credential: labels are not secret then");
                f.Text("--preprocessing", &flags->preprocessing,
                       "how images are prepared: a preset or a JSON file (default: what the model says)");
                f.Text("--name", &flags->name, "the name that clients call (default: the file's)");
                f.Int("--model-version", &flags->model_version, "policies can refuse lower ones", 1,
                      std::numeric_limits<int64_t>::max());
                f.Switch("--json", &flags->json, "print the manifest as JSON");
              },
          .run = [flags] { return PartitionModel(*flags); }};
}

}  // namespace infenclave
