#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <deque>
#include <filesystem>
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
#include "cli/cores.h"
#include "cli/progress.h"
#include "cli/serving.h"
#include "client/client.h"

namespace infenclave {
namespace {

constexpr size_t kMaxInFlight = 32, kMaxUnread = 256;
constexpr size_t kFewPictures = 16;  // of which nobody needs to know how far they are

struct Options {
  std::vector<std::string> images;
  std::string policy, server, credential, collateral;
  bool json = false;
};

bool IsPicture(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".webp";
}

// The pictures below a folder, in the order of their names.
StatusOr<std::vector<std::string>> PicturesIn(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  using Iterator = std::filesystem::recursive_directory_iterator;
  for (Iterator file(folder, error); !error && file != Iterator(); file.increment(error)) {
    std::error_code gone;
    if (IsPicture(file->path()) && file->is_regular_file(gone)) files.push_back(file->path().string());
  }
  if (error) return NotFound(folder, ": ", error.message());
  if (files.empty()) return NotFound(folder, ": no .jpg, .jpeg, .png or .webp file in this folder");
  std::ranges::sort(files);
  return files;
}

// The arguments one after the other: a file, the files of a folder, or for "-" the lines of standard input, each read
// when it is wanted.
class Paths {
 public:
  static StatusOr<Paths> Of(const std::vector<std::string>& arguments) {
    Paths paths;
    for (const std::string& argument : arguments) {
      if (std::error_code error; argument != "-" && std::filesystem::is_directory(argument, error)) {
        INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<std::string> files, PicturesIn(argument));
        paths.list_.insert(paths.list_.end(), files.begin(), files.end());
      } else {
        paths.list_.push_back(argument);
        paths.stream_ |= argument == "-";
      }
    }
    return paths;
  }
  std::optional<std::string> Next() {
    while (next_ < list_.size()) {
      if (list_[next_] != "-") return list_[next_++];
      for (std::string line; std::getline(std::cin, line);) {
        if (!line.empty()) return line;
      }
      ++next_;
    }
    return std::nullopt;
  }
  // How many there are, unless standard input is among them.
  std::optional<size_t> size() const { return stream_ ? std::nullopt : std::optional(list_.size()); }

 private:
  std::vector<std::string> list_;
  size_t next_ = 0;
  bool stream_ = false;
};

// Loads, seals and sends pictures on one thread per core, with a bounded number in flight; hands the answers out in the
// pictures' order.
class Classifier {
 public:
  struct Result {
    std::string file;
    std::optional<StatusOr<Answer>> answer;
  };

  Classifier(Client* client, Paths* paths) : client_(client), paths_(paths) {
    const size_t threads =
        std::min<size_t>(static_cast<size_t>(AvailableCores()), paths->size().value_or(kMaxInFlight));
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~Classifier() {
    for (std::thread& thread : threads_) thread.join();
  }

  // The next picture's, with its answer; nothing after the last.
  std::optional<Result> Next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_.empty() ? ended_ : results_.front()->answer.has_value(); });
    if (results_.empty()) return std::nullopt;
    Result result = std::move(*results_.front());
    results_.pop_front();
    changed_.notify_all();
    return result;
  }

 private:
  void Work() {
    while (Result* result = Begin()) {
      StatusOr<Image> image = LoadImage(result->file);
      if (!image.ok()) {
        Put(result, image.status());
        continue;
      }
      client_->ClassifyAsync(*image, [this, result](StatusOr<Answer> answer) {
        Put(result, answer.ok() ? std::move(answer) : Annotate(answer.status(), result->file));
      });
    }
  }
  // Takes the next path; waits while enough are in flight or unread. Paths are taken one at a time, so that they keep
  // their order although taking one may have to wait for standard input.
  Result* Begin() {
    const std::lock_guard taking(taking_);
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return in_flight_ < kMaxInFlight && results_.size() < kMaxUnread; });
      if (ended_) return nullptr;
    }
    std::optional<std::string> path = paths_->Next();
    const std::lock_guard lock(mutex_);
    if (!path.has_value()) {
      ended_ = true;
      changed_.notify_all();
      return nullptr;
    }
    ++in_flight_;
    return results_.emplace_back(std::make_unique<Result>(Result{*std::move(path), std::nullopt})).get();
  }
  void Put(Result* result, StatusOr<Answer> answer) {
    const std::lock_guard lock(mutex_);
    result->answer = std::move(answer);
    --in_flight_;
    changed_.notify_all();
  }

  Client* const client_;
  Paths* const paths_;
  std::mutex taking_, mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Result>> results_;  // from the first that Next() has not given out
  size_t in_flight_ = 0;
  bool ended_ = false;
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

// Answers as they come: tables, or one JSON array.
class Printer {
 public:
  Printer(bool json, std::optional<size_t> total) : json_(json), total_(total) {
    // On a terminal the answers themselves show how far it is.
    if (total.value_or(kFewPictures + 1) > kFewPictures && isatty(STDOUT_FILENO) == 0) progress_.emplace();
  }
  void Print(const std::string& file, const Answer& answer) {
    if (!json_) return PrintTable(file, answer);
    using nlohmann::ordered_json;
    std::cout << (printed_++ == 0 ? "[\n" : ",\n")
              << ToJson(file, answer).dump(2, ' ', false, ordered_json::error_handler_t::replace) << std::flush;
  }
  void Done(size_t done) {
    const size_t total = total_.value_or(done + 1);  // of a stream, always one more
    if (progress_) progress_->Update("classify", static_cast<int64_t>(done), static_cast<int64_t>(total));
  }
  void End() {
    if (json_) std::cout << (printed_ == 0 ? "[]\n" : "\n]\n");
  }

 private:
  const bool json_;
  const std::optional<size_t> total_;
  std::optional<ProgressLine> progress_;
  size_t printed_ = 0;
};

Status Classify(const Options& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(Paths paths, Paths::Of(options.images));
  INFENCLAVE_ASSIGN_OR_RETURN(Client::Options client_options, ClientOptions(options));
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(std::move(client_options)));
  if (client->appraisal().manifest.tee_class == TeeClass::kSimulated) {
    std::cerr << "WARNING: " << kSimulatedWarning << "\n";
  }
  const bool alone = paths.size() == 1;
  size_t done = 0, failed = 0;
  Status refusal;
  Printer printer(options.json, paths.size());
  Classifier classifier(client.get(), &paths);
  while (std::optional<Classifier::Result> result = classifier.Next()) {
    const StatusOr<Answer>& answer = *result->answer;
    printer.Done(++done);
    if (answer.ok()) {
      printer.Print(result->file, *answer);
      continue;
    }
    if (alone) return answer.status();
    ++failed;
    if (answer.status().code() == StatusCode::kPermissionDenied) refusal = answer.status();
    std::cerr << "infenclave classify: " << answer.status().message() << "\n";
  }
  printer.End();
  if (failed == 0) return OkStatus();
  const std::string summary = Concat(failed, " of ", done, " pictures failed");
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
    flags.Texts("IMAGE", &options->images, "JPEG, PNG or WebP files, folders of them, or - for paths on standard input",
                true);
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
