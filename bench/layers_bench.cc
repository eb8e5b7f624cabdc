// layers_bench SVG MODEL...: the paper's performance figure. Latency and throughput of the confidential service against
// the number of layers inside the enclave, from none (the engine alone, in the clear) to all that a cut can leave
// there; printed, and drawn into the file SVG.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "base/file.h"
#include "bench/served.h"
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

// Nothing inside: the engine alone, on one core and on all.
StatusOr<Point> InTheClear(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bare bare, Bare::Make(graph));
  const Image image = SomePicture(graph);
  Point point;
  INFENCLAVE_ASSIGN_OR_RETURN(point.ms, MedianMs([&] { return bare.Run(image); }));
  INFENCLAVE_ASSIGN_OR_RETURN(const Rate rate, BareThroughput(graph, image, kTime));
  point.per_second = rate.per_second;
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

// The least of 1, 2, 4, 6 and 8 times a power of ten that is not below: half of it reads well, too.
double RoundUp(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (double step : {1.0, 2.0, 4.0, 6.0, 8.0}) {
    if (step * power >= value) return step * power;
  }
  return 10 * power;
}

constexpr double kWidth = 220, kHeight = 150, kColumn = 300, kRow = 230, kLeft = 60, kTop = 80;
constexpr double kLetter = 7;  // at most, on average

// One network, both axes from zero. The point with nothing inside is hollow: it is not confidential.
std::string Panel(const Curve& curve, const std::string& title, double left, double top,
                  const std::function<double(const Point&)>& y) {
  double most = 0;
  for (const Point& point : curve.points) most = std::max(most, y(point));
  const double top_y = RoundUp(std::max(most, 1e-9));
  const auto most_x = static_cast<double>(std::max<size_t>(curve.points.back().layers, 1));
  std::ostringstream line, marks, out;
  for (const Point& point : curve.points) {
    const double at_x = static_cast<double>(point.layers) / most_x * kWidth, at_y = kHeight * (1 - y(point) / top_y);
    line << at_x << "," << at_y << " ";
    marks << "<circle cx=\"" << at_x << "\" cy=\"" << at_y << "\" r=\"3\" fill=\""
          << (point.layers == 0 ? "#fff" : "#0b62a4") << "\"/>";
  }
  out << "<g transform=\"translate(" << left << "," << top << ")\"><text y=\"-12\">" << title << "</text>"
      << "<path d=\"M0 " << kHeight / 2 << "H" << kWidth << "M0 0H" << kWidth << "\" stroke=\"#ddd\"/>"
      << "<path d=\"M0 0V" << kHeight << "H" << kWidth << "\" fill=\"none\" stroke=\"#555\"/>";
  for (double share : {0.0, 0.5, 1.0}) {
    out << "<text x=\"-6\" y=\"" << kHeight * (1 - share) + 4 << "\" text-anchor=\"end\">" << share * top_y
        << "</text>";
  }
  for (double share : {0.0, 1.0}) {
    out << "<text x=\"" << share * kWidth << "\" y=\"" << kHeight + 16 << "\" text-anchor=\"middle\">" << share * most_x
        << "</text>";
  }
  out << "<text x=\"" << kWidth / 2 << "\" y=\"" << kHeight + 16 << "\" text-anchor=\"middle\">layers inside</text>"
      << "<g stroke=\"#0b62a4\" stroke-width=\"2\"><polyline fill=\"none\" points=\"" << line.str() << "\"/>"
      << marks.str() << "</g></g>";
  return out.str();
}

std::string Drawing(const std::vector<Curve>& curves) {
  const std::string heading = Machine() + ", simulated TEE";
  const double width = std::max(kColumn * static_cast<double>(curves.size()) + 20,
                                kLeft + kLetter * static_cast<double>(heading.size()));
  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << " " << kTop + 2 * kRow
      << "\" font-family=\"sans-serif\" font-size=\"12\">"
      << "<title>Latency and throughput against layers inside the enclave</title>"
      << "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"" << kLeft << "\" y=\"20\">" << heading
      << "</text><text x=\"" << kLeft << "\" y=\"38\">Hollow: the engine alone, in the clear.</text>";
  for (size_t i = 0; i < curves.size(); ++i) {
    const double left = kLeft + kColumn * static_cast<double>(i);
    out << Panel(curves[i], curves[i].network + ": median latency, ms", left, kTop, [](const Point& p) { return p.ms; })
        << Panel(curves[i], curves[i].network + ": requests a second", left, kTop + kRow,
                 [](const Point& p) { return p.per_second; });
  }
  return out.str() + "</svg>\n";
}

Status Run(const std::string& svg, const std::vector<std::string>& files) {
  std::cout << Machine() << ", simulated TEE\n";
  std::vector<Curve> curves;
  for (const std::string& file : files) {
    INFENCLAVE_ASSIGN_OR_RETURN(Curve curve, Measure(file));
    curves.push_back(std::move(curve));
  }
  const std::string drawing = Drawing(curves);
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
