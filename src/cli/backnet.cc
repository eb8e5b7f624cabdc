#include <algorithm>
#include <iostream>

#include "bundle/bundle.h"
#include "cli/command.h"
#include "cli/cores.h"
#include "cli/layer_choices.h"
#include "cli/serving.h"
#include "host/backnet_server.h"
#include "host/serve_log.h"

namespace infenclave {
namespace {

constexpr auto kDrain = std::chrono::seconds(30);

struct Options {
  std::string bundle, listen = "127.0.0.1:8011", http, log = "text";
  int64_t workers = 0;
  bool json = false;
};

Status Run(const Options& options) {
  RaiseDescriptorLimit();
  StopSignal stop;
  const RememberedLayerChoices remembered;
  ServeLog log(options.log == "json", &std::cerr);
  INFENCLAVE_ASSIGN_OR_RETURN(Bundle bundle, OpenBundle(options.bundle));
  const Manifest& manifest = bundle.manifest;
  const int workers = options.workers > 0 ? static_cast<int>(options.workers) : AvailableCores();
  INFENCLAVE_ASSIGN_OR_RETURN(BackNetFactory backnet,
                              BuiltinBackNet(bundle.backnet_onnx, ServerShapeOf(BackNetShapeOf(manifest))));
  INFENCLAVE_ASSIGN_OR_RETURN(
      std::unique_ptr<BackNetServer> server,
      BackNetServer::Start(
          manifest, backnet,
          {.workers = workers, .listen = options.listen, .http = options.http, .observer = log.RequestObserver()}));
  PrintReady(options.json, server->address(), server->http_address(),
             Concat("ready on ", server->address(), ": infenclave serve ", options.bundle, " --backnet grpc://",
                    server->address(), "/", manifest.model_name));
  while (!stop.Wait(std::chrono::hours(1))) {
  }
  server->Shutdown(kDrain);
  return OkStatus();
}

}  // namespace

Command BacknetCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "backnet";
  command.summary = "Serve a bundle's BackNet alone, for 'infenclave serve --backnet' elsewhere";
  command.example = "infenclave backnet lite0.bundle --listen 0.0.0.0:8011";
  command.declare = [options](Flags& flags) {
    flags.Text("BUNDLE", &options->bundle, "the folder that 'infenclave partition' made", true);
    flags.Text("--listen", &options->listen, "HOST:PORT (port 0 picks one) or unix:PATH; 127.0.0.1:8011 if not given");
    flags.Text("--http", &options->http, "HOST:PORT for the protocol's REST half and /metrics; none if not given");
    flags.OneOf("--log", &options->log, {"text", "json"}, "for people, or a JSON object per event and request");
    flags.Int("--workers", &options->workers, "requests computed at once; 0 is one per core", 0, 1024);
    flags.Switch("--json", &options->json, "print the ready line as JSON");
  };
  command.run = [options] { return Run(*options); };
  return command;
}

}  // namespace infenclave
