#include <algorithm>
#include <condition_variable>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "attestation/policy.h"
#include "base/file.h"
#include "cli/collateral.h"
#include "cli/command.h"
#include "cli/serving.h"
#include "client/client.h"

namespace infenclave {
namespace {

constexpr size_t kMaxInFlight = 16;

struct Options {
  std::vector<std::string> images;
  std::string policy, server, credential, collateral;
  bool json = false;
};

// Loads, seals and sends pictures on one thread per core, with a bounded number in flight; hands the answers out in the
// pictures' order.
class Classifier {
 public:
  Classifier(Client* client, const std::vector<std::string>& images)
      : client_(client), images_(images), answers_(images.size()) {
    const size_t threads = std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), images.size());
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~Classifier() {
    for (std::thread& thread : threads_) thread.join();
  }

  const StatusOr<Answer>& Wait(size_t i) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_[i].has_value(); });
    return *answers_[i];
  }

 private:
  void Work() {
    while (true) {
      size_t i = 0;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return in_flight_ < kMaxInFlight || next_ == images_.size(); });
        if (next_ == images_.size()) return;
        i = next_++;
        ++in_flight_;
      }
      StatusOr<Image> image = LoadImage(images_[i]);
      if (!image.ok()) {
        Put(i, image.status());
        continue;
      }
      client_->ClassifyAsync(*image, [this, i](StatusOr<Answer> answer) {
        Put(i, answer.ok() ? std::move(answer) : Annotate(answer.status(), images_[i]));
      });
    }
  }
  void Put(size_t i, StatusOr<Answer> answer) {
    const std::lock_guard lock(mutex_);
    answers_[i] = std::move(answer);
    --in_flight_;
    changed_.notify_all();
  }

  Client* const client_;
  const std::vector<std::string>& images_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<StatusOr<Answer>>> answers_;
  size_t next_ = 0, in_flight_ = 0;
  std::vector<std::thread> threads_;
};

void PrintTable(const std::string& file, const Answer& answer) {
  std::cout << file << "\n";
  for (const AnswerClass& found : answer.classes) {
    std::cout << std::setw(8) << std::fixed << std::setprecision(2) << 100 * found.probability << " %  " << found.label
              << "\n";
  }
  std::cout.flush();
}

nlohmann::ordered_json ToJson(const std::string& file, const Answer& answer) {
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const AnswerClass& found : answer.classes) {
    classes.push_back({{"label", found.label}, {"probability", found.probability}});
  }
  return {{"file", file}, {"classes", classes}};
}

StatusOr<Client::Options> ClientOptions(const Options& options) {
  Client::Options client;
  client.server = options.server;
  INFENCLAVE_ASSIGN_OR_RETURN(client.policy, LoadPolicy(options.policy));
  INFENCLAVE_ASSIGN_OR_RETURN(client.collateral, OpenCollateral(options.collateral));
  if (!options.credential.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(client.credential, ReadFile(options.credential, kMaxCredentialBytes));
    if (Status status = DecodeCredential(client.credential).status(); !status.ok()) {
      return Annotate(status, options.credential);
    }
  }
  return client;
}

Status Classify(const Options& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(Client::Options client_options, ClientOptions(options));
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(std::move(client_options)));
  if (client->appraisal().manifest.tee_class == TeeClass::kSimulated) {
    std::cerr << "WARNING: " << kSimulatedWarning << "\n";
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  size_t failed = 0;
  Status refusal;
  Classifier classifier(client.get(), options.images);
  for (size_t i = 0; i < options.images.size(); ++i) {
    const StatusOr<Answer>& answer = classifier.Wait(i);
    if (!answer.ok()) {
      ++failed;
      if (answer.status().code() == StatusCode::kPermissionDenied) refusal = answer.status();
      if (options.images.size() > 1) std::cerr << "infenclave classify: " << answer.status().message() << "\n";
      if (options.images.size() == 1) return answer.status();
    } else if (options.json) {
      json.push_back(ToJson(options.images[i], *answer));
    } else {
      PrintTable(options.images[i], *answer);
    }
  }
  if (options.json) std::cout << json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  if (failed == 0) return OkStatus();
  const std::string summary = Concat(failed, " of ", options.images.size(), " pictures failed");
  return refusal.ok() ? Internal(summary) : PermissionDenied(summary);
}

}  // namespace

Command ClassifyCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "classify";
  command.summary = "Attest a server, seal pictures to it, and print what it says they show";
  command.example = "infenclave classify cat.jpg dog.jpg --policy lite0.bundle.policy.toml --server 127.0.0.1:8001";
  command.declare = [options](Flags& flags) {
    flags.Texts("IMAGE", &options->images, "JPEG, PNG or WebP files", true);
    flags.Text("--policy", &options->policy, "what evidence to accept", true);
    flags.Text("--server", &options->server, "HOST:PORT", true);
    flags.Text("--credential", &options->credential,
               "the owner's invitation, for bundles that are not open to everyone");
    DeclareCollateral(flags, &options->collateral);
    flags.Switch("--json", &options->json, "print JSON");
  };
  command.run = [options] { return Classify(*options); };
  return command;
}

}  // namespace infenclave
