// Assessments made up for tests of the page: a network of 32 cuts like EfficientNet-Lite0's, whose AUC falls with
// depth.
#ifndef INFENCLAVE_TESTS_REPORT_SYNTHETIC_H_
#define INFENCLAVE_TESTS_REPORT_SYNTHETIC_H_

#include <algorithm>
#include <cmath>

#include "assessment/assessment.h"
#include "assessment/exhibits.h"
#include "assessment/gallery.h"
#include "assessment/statistics.h"
#include "image/image.h"

namespace infenclave {

// `last_auc` is where the AUC ends; the last cut is a vector, to which the oracle does not apply.
inline Assessment SyntheticAssessment(double last_auc, int cuts = 32, int photographs = 24) {
  Assessment a;
  a.model = "models/efficientnet-lite0.onnx";
  a.oracle = "models/efficientnet-lite2.onnx";
  a.model_sha256 = std::string(64, 'a');
  a.oracle_sha256 = std::string(64, 'b');
  a.attacks = {"kl"};
  a.cut_points = cuts;
  a.total_flops = 770000000;
  a.classes = 1000;
  a.labels.assign(1000, "golden retriever");
  a.seed = 1;
  Random random(17);
  for (int i = 0; i < photographs; ++i) {
    a.photographs.push_back({Concat("photo-", i, ".jpg"), std::string(64, 'c'), {i, 0.9}, 5 + random.Uniform(), 5.4});
    a.control.push_back(i);
  }
  a.skipped = {{"labels.tsv", "not a JPEG, PNG or WebP picture"}};
  for (int i = 0; i < cuts; ++i) {
    CutResult cut;
    const double depth = static_cast<double>(i) / (cuts - 1);
    const int64_t side = i < 3 ? 112 : i < 7 ? 56 : i < 12 ? 28 : i < 24 ? 14 : 7, maps = 16 + 8 * i;
    cut.name = Concat("blocks.", i / 3, i % 3 == 0 ? ".expand" : i % 3 == 1 ? ".depthwise" : ".project");
    cut.depth = i;
    cut.shape = i + 1 == cuts ? Shape{1, 1280} : Shape{1, maps, side, side};
    cut.cost.ir_bytes = 4 * maps * (i + 1 == cuts ? 1 : side * side);
    cut.cost.flops = static_cast<int64_t>(7.7e8 * depth);
    cut.cost.flops_share = depth;
    cut.cost.weight_bytes = static_cast<int64_t>(18e6 * depth * depth);
    cut.cost.peak_bytes = 9633792;
    cut.cost.memory_bytes = cut.cost.weight_bytes + 6000000;
    cut.cost.front_ms = 0.4 + 9 * depth;
    cut.cost.back_ms = 9.6 * (1 - depth);
    if (i + 1 == cuts) {
      cut.kl_not_applicable = "the tensor has no height and width";
    } else {
      KlScores kl;
      kl.maps = kl.scored = static_cast<int>(maps);
      for (const Photograph& p : a.photographs) {
        const double ratio = std::max(0.0, 0.05 + 1.05 * (1 - std::exp(-3.5 * depth)) * (0.7 + 0.6 * random.Uniform()));
        kl.photographs.push_back({ratio * p.bound, 3, {random.Uniform() < depth ? 7 : p.answer.label, 0.4}});
      }
      std::vector<double> ratios;
      double above = 0, same = 0;
      for (size_t p = 0; p < kl.photographs.size(); ++p) {
        ratios.push_back(kl.photographs[p].d / a.photographs[p].bound);
        above += ratios.back() >= 1;
        same += kl.photographs[p].answer.label == a.photographs[p].answer.label;
      }
      kl.ratio_min = Quantile(ratios, 0);
      kl.ratio_p05 = Quantile(ratios, 0.05);
      kl.ratio_median = Quantile(ratios, 0.5);
      kl.ratio_max = Quantile(ratios, 1);
      kl.ratio_ge_1 = ShareOf(above, photographs);
      kl.top1 = ShareOf(same, photographs);
      const double auc = last_auc + (1 - last_auc) * std::exp(-4 * depth) - 0.004 * (i % 4);
      const double reach = 0.35 * std::sqrt(auc * (1 - auc) + 0.01) * std::sqrt(24.0 / photographs) * 0.5;
      kl.auc = {auc, std::max(0.0, auc - reach), std::min(1.0, auc + reach * 0.7)};
      cut.kl = kl;
    }
    a.cuts.push_back(std::move(cut));
  }
  a.run = {
      "infenclave assess models/efficientnet-lite0.onnx --oracle models/efficientnet-lite2.onnx --images photographs "
      "-o assessment",
      "0.1.0",
      "Example Processor",
      "avx512_core",
      2,
      "2026-11-24T18:00:00Z",
      1234.5,
      123456};
  Conclude(a);
  return a;
}

// The same, attacked: what patch and decoder recover falls with depth.
inline Assessment SyntheticAttacked(double last_auc) {
  Assessment a = SyntheticAssessment(last_auc);
  a.attacks = {"kl", "patch", "decoder", "label"};
  a.attacker_photographs = 24;
  a.attacker_pictures = 720;
  a.mean_psnr = 12.5;
  a.mean_ssim = 0.24;
  for (int i = 0; i < 24; ++i) a.targets.push_back(i);
  const auto scores = [](double gain) {
    const auto around = [](double v, double reach) { return Estimate{v, v - reach, v + reach}; };
    return AttackScores{
        24, around(15 * gain, 0.5), around(gain, 0.03), {gain, 0, 1}, {gain, 0, 1}, around(0.5 + gain / 2, 0.05), true};
  };
  a.baselines = {{"nothing", scores(0), {}}, {"output/decoder", scores(0.02), {}}};
  for (size_t i = 0; i < a.cuts.size(); ++i) {
    const double gain = 0.7 * std::exp(-0.1 * static_cast<double>(i));
    for (const char* attack : {"patch", "decoder"}) {
      if (std::string_view(attack) == "decoder" && i % 5 != 0) continue;  // it bisects
      AttackRun run;
      run.attack = attack;
      run.scores = scores(gain);
      for (const char* name : {"psnr", "ssim", "top1", "auc"}) {
        run.differences.push_back({attack, name, {gain, gain - 0.02, gain + 0.02}, 0.05, {}, "output/decoder"});
      }
      a.cuts[i].attacks.push_back(std::move(run));
    }
  }
  a.label.emplace();
  a.label->attempts = {{"rows", 1000, {0.61, 0.58, 0.63}, 0.001, Safety::kUnsafe}};
  a.label->advice = "Do not count on the secret order of the classes.";
  Conclude(a);
  return a;
}

// A gradient in place of photographs and pictures; the SSIM beside it falls with depth.
inline Gallery SyntheticGallery(const Assessment& a) {
  Gallery gallery;
  if (a.baselines.empty()) return gallery;
  Image image{112, 112, {}};
  for (int i = 0; i < 112 * 112; ++i) {
    const uint8_t rgb[] = {static_cast<uint8_t>(2 * (i % 112)), static_cast<uint8_t>(2 * (i / 112)), 120};
    image.rgb.insert(image.rgb.end(), rgb, rgb + 3);
  }
  const EncodedPicture picture{EncodeJpeg(image, 80).value(), "image/jpeg", 112, 112};
  gallery.photographs = {3, 1, 4, 0, 5};
  gallery.originals.assign(5, picture);
  gallery.recovered.push_back({-1, "decoder", std::vector<Recovered::Item>(5, {picture, 13.1, 0.26})});
  for (size_t cut = 0; cut < a.cuts.size(); ++cut) {
    for (const AttackRun& run : a.cuts[cut].attacks) {
      const size_t sample = run.attack == "decoder" ? 3 : 5;
      gallery.recovered.push_back({static_cast<int>(cut), run.attack,
                                   std::vector<Recovered::Item>(sample, {picture, 20.5, run.scores.ssim.value})});
    }
  }
  return gallery;
}

// Four exhibits a cut, of a photograph that is a gradient and maps that are checkerboards.
inline std::vector<Exhibit> SyntheticExhibits(const Assessment& a) {
  const auto picture = [](uint32_t side, bool map) {
    Image image{side, side, {}};
    for (uint32_t y = 0; y < side; ++y) {
      for (uint32_t x = 0; x < side; ++x) {
        const uint8_t v = map ? (x / 3 + y / 3) % 2 * 160 + 40 : 255 * x / side;
        const uint8_t rgb[] = {v, map ? v : static_cast<uint8_t>(255 * y / side), map ? v : uint8_t{120}};
        image.rgb.insert(image.rgb.end(), rgb, rgb + 3);
      }
    }
    return EncodedPicture{map ? EncodePng(image).value() : EncodeJpeg(image, 80).value(),
                          map ? "image/png" : "image/jpeg", static_cast<int>(side), static_cast<int>(side)};
  };
  std::vector<Exhibit> exhibits;
  for (size_t cut = 0; cut < a.cuts.size(); ++cut) {
    if (!a.cuts[cut].kl) continue;
    for (int i = 0; i < 4; ++i) {
      exhibits.push_back(
          {static_cast<int>(cut), i, a.cuts[cut].kl->photographs[i], picture(144, false), picture(28, true), i == 3});
    }
  }
  return exhibits;
}

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_REPORT_SYNTHETIC_H_
