// layers_bench SVG MODEL...: the paper's performance figure. Latency and throughput of the confidential service against
// the number of layers inside the enclave, from none (the engine alone, in the clear) to all that a cut can leave
// there; printed, and drawn into the file SVG.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "base/file.h"
#include "bench/served.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "import/model.h"

namespace infenclave {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kPoints = 7;
constexpr int kLatencyRuns = 15;
constexpr auto kTime = std::chrono::milliseconds(1500);

struct Point {
  size_t layers = 0;
  double ms = 0, per_second = 0;
};
struct Curve {
  std::string network;
  std::vector<Point> points;
};

template <typename F>
StatusOr<double> MedianMs(const F& one) {
  std::vector<double> ms;
  for (int i = 0; i < kLatencyRuns + 3; ++i) {
    const auto before = Clock::now();
    INFENCLAVE_RETURN_IF_ERROR(one());
    if (i >= 3) ms.push_back(Milliseconds(Clock::now() - before));
  }
  return Median(ms);
}

// Nothing inside: what the engine needs for the picture's tensor, on one core and on all.
StatusOr<Point> InTheClear(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, EngineOptions{}));
  const Tensor in(DType::kF32, network.input_shapes()[0]);
  Tensor out(DType::kF32, network.output_shapes()[0]);
  const TensorView input = in.view();
  const MutableTensorView output = out.mutable_view();
  Point point;
  INFENCLAVE_ASSIGN_OR_RETURN(point.ms, MedianMs([&] { return network.Run({&input, 1}, {&output, 1}); }));
  point.per_second = 1000 / point.ms * Cores();
  return point;
}

StatusOr<Point> Served(const Graph& graph, const std::string& cut) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Service> service, Serve(graph, {.cut = cut}));
  const Image image = SomePicture(graph);
  Point point;
  INFENCLAVE_ASSIGN_OR_RETURN(point.ms, MedianMs([&] { return service->client->Classify(image).status(); }));
  INFENCLAVE_ASSIGN_OR_RETURN(const Rate rate, ServedThroughput(*service->client, image, kTime));
  point.per_second = rate.per_second;
  return point;
}

StatusOr<Curve> Measure(const std::string& file) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(file));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(model.graph));
  Curve curve{std::filesystem::path(file).stem().string(), {}};
  std::cout << curve.network << ", " << model.graph.nodes.size() << " layers\n"
            << "  inside        ms   requests/s\n";
  const auto add = [&](size_t layers, StatusOr<Point> point) -> Status {
    INFENCLAVE_RETURN_IF_ERROR(point.status());
    point->layers = layers;
    curve.points.push_back(*point);
    std::cout << std::fixed << std::setprecision(2) << std::setw(8) << layers << std::setw(10) << point->ms
              << std::setw(13) << point->per_second << std::endl;
    return OkStatus();
  };
  INFENCLAVE_RETURN_IF_ERROR(add(0, InTheClear(model.graph)));
  size_t before = 0;
  for (size_t i = 0; i < kPoints; ++i) {
    const ValueId cut = cuts[i * (cuts.size() - 1) / (kPoints - 1)];
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(model.graph, cut));
    const size_t layers = parts.front.nodes.size();
    if (layers == before) continue;
    before = layers;
    const Status status = add(layers, Served(model.graph, model.graph.value(cut).name));
    // After its last linear layer a network cannot be cut: the order of the classes would show.
    if (status.code() == StatusCode::kInvalidArgument || status.code() == StatusCode::kFailedPrecondition) break;
    INFENCLAVE_RETURN_IF_ERROR(status);
  }
  return curve;
}

// One panel: a line per network, both axes from zero.
std::string Panel(const std::vector<Curve>& curves, const std::string& title, double left,
                  const std::function<double(const Point&)>& y) {
  constexpr double kWidth = 360, kHeight = 240, kTop = 40;
  constexpr const char* kColours[] = {"#0b62a4", "#c2571a", "#3b7d23", "#7a3b9c"};
  double most_x = 1, most_y = 1e-9;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) {
      most_x = std::max(most_x, static_cast<double>(point.layers));
      most_y = std::max(most_y, y(point));
    }
  }
  std::ostringstream out;
  out << std::fixed << std::setprecision(1);
  out << "<g transform=\"translate(" << left << "," << kTop << ")\"><text y=\"-14\">" << title << "</text>"
      << "<path d=\"M0 0V" << kHeight << "H" << kWidth << "\" fill=\"none\" stroke=\"#555\"/>"
      << "<text x=\"-6\" y=\"10\" text-anchor=\"end\">" << most_y << "</text><text x=\"-6\" y=\"" << kHeight
      << "\" text-anchor=\"end\">0</text><text x=\"" << kWidth << "\" y=\"" << kHeight + 16 << "\" text-anchor=\"end\">"
      << static_cast<int>(most_x) << " layers inside</text>";
  for (size_t i = 0; i < curves.size(); ++i) {
    out << "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" << kColours[i % 4] << "\" points=\"";
    for (const Point& point : curves[i].points) {
      out << static_cast<double>(point.layers) / most_x * kWidth << "," << kHeight - y(point) / most_y * kHeight << " ";
    }
    out << "\"/><text x=\"" << kWidth - 110 << "\" y=\"" << 14 + 16 * static_cast<double>(i) << "\" fill=\""
        << kColours[i % 4] << "\">" << curves[i].network << "</text>";
  }
  return out.str() + "</g>";
}

Status Run(const std::string& svg, const std::vector<std::string>& files) {
  std::cout << Machine() << ", simulated TEE\n";
  std::vector<Curve> curves;
  for (const std::string& file : files) {
    INFENCLAVE_ASSIGN_OR_RETURN(Curve curve, Measure(file));
    curves.push_back(std::move(curve));
  }
  const std::string drawing = Concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 920 320\" font-family=\"sans-serif\" font-size=\"12\">",
      "<title>Latency and throughput against layers inside the enclave</title>",
      Panel(curves, "Median latency, ms", 60, [](const Point& p) { return p.ms; }),
      Panel(curves, "Requests a second", 520, [](const Point& p) { return p.per_second; }), "</svg>\n");
  return WriteFileAtomic(svg, ToBytes(AsBytes(drawing)));
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: layers_bench SVG MODEL...\n";
    return 2;
  }
  const infenclave::Status status = infenclave::Run(argv[1], {argv + 2, argv + argc});
  if (status.ok()) return 0;
  std::cerr << "layers_bench: " << infenclave::MessageOf(status) << "\n";
  return 1;
}
