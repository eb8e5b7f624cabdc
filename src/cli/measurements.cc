// `infenclave measurements`: the owner's signed list of what its releases measure.
#include "attestation/measurements.h"

#include <iostream>
#include <limits>
#include <memory>

#include "base/file.h"
#include "cli/command.h"
#include "cli/model_files.h"

namespace infenclave {
namespace {

constexpr size_t kMaxExecutableBytes = size_t{1} << 30;

struct Options {
  std::vector<std::string> files;
  std::string owner_key, simulated, out;
  int64_t version = 0;
};

StatusOr<Measurements> Collect(const Options& options) {
  Measurements out;
  for (const std::string& path : options.files) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Bytes file, ReadFile(path, kMaxMeasurementsBytes));
    const bool json = AsText(file).starts_with('{');
    StatusOr<Measurements> found = json ? ParseMeasurements(AsText(file)) : MeasurementsOfEvidence(file);
    if (!found.ok()) return Annotate(found.status(), path);
    out.Add(*found);
  }
  if (!options.simulated.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Bytes executable, ReadFile(options.simulated, kMaxExecutableBytes));
    Measurements simulated;
    simulated.simulated = {Sha256(executable)};
    out.Add(simulated);
  }
  if (out == Measurements{}) return UsageError("nothing to list: give FILE or --simulated");
  out.version = static_cast<uint64_t>(options.version);
  return out;
}

Status Sign(const Options& options) {
  if (options.version == 0) return UsageError("give --version N, higher than that of the last list");
  INFENCLAVE_ASSIGN_OR_RETURN(const Measurements measurements, Collect(options));
  INFENCLAVE_ASSIGN_OR_RETURN(const std::unique_ptr<Ed25519Signer> owner, LoadSigner(options.owner_key));
  const std::string member = MeasurementsMember(measurements);
  INFENCLAVE_ASSIGN_OR_RETURN(const Ed25519Signature signature, owner->TrySign(MeasurementsToSign(member)));
  const std::string file = MeasurementsFile(member, signature);
  INFENCLAVE_RETURN_IF_ERROR(OpenMeasurements(file, owner->public_key()).status());
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(options.out, AsBytes(file)));
  std::cout << "version " << options.version << " in " << options.out << "; policies name it: measurements = \""
            << options.out << "\"\n";
  return OkStatus();
}

}  // namespace

Command MeasurementsCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "measurements";
  command.summary = "Sign a list of what releases measure, for policies to name";
  command.example = "infenclave measurements td.quote.bin --owner-key owner.pem --version 3 -o measurements.json";
  command.declare = [options](Flags& flags) {
    flags.Texts("FILE", &options->files, "evidence of the release on your own machines, or JSON of deploy/measure.py");
    flags.Text("--simulated", &options->simulated, "an infenclave-enclave, for the simulated TEE");
    flags.Text("--owner-key", &options->owner_key, "the key that signs: a PEM file, or a PKCS#11 URI", true);
    flags.Int("--version", &options->version, "higher than that of the last list, which this one replaces", 1,
              std::numeric_limits<int64_t>::max());
    flags.Text("-o", &options->out, "file to write", true);
  };
  command.run = [options] { return Sign(*options); };
  return command;
}

}  // namespace infenclave
