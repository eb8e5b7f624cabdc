#include "assessment/assessment_json.h"

#include <cmath>
#include <utility>

#include "nlohmann/json.hpp"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxJsonDepth = 16;

// JSON has no infinity (a photograph with bound 0 has an infinite ratio): null.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Interval(const Estimate& e) { return Json::array({Number(e.lower), Number(e.upper)}); }

// The verdict's words: true, false, "undecided", "not applicable".
Json Safe(Safety safety) {
  if (safety == Safety::kSafe) return true;
  if (safety == Safety::kUnsafe) return false;
  return std::string(NameOf(safety));
}

Json KlJson(const Assessment& a, const CutResult& cut) {
  if (!cut.kl) return {{"safe", Safe(Safety::kNotApplicable)}, {"reason", cut.kl_not_applicable}};
  const KlScores& kl = *cut.kl;
  Json bounds = Json::array(), d = Json::array(), maps = Json::array(), tops = Json::array();
  for (const Photograph& p : a.photographs) bounds.push_back(Number(p.bound));
  for (const Revealed& r : kl.photographs) {
    d.push_back(Number(r.d));
    maps.push_back(r.map);
    tops.push_back(r.answer.label);
  }
  return {{"bound", std::move(bounds)},
          {"d", std::move(d)},
          {"deciding_map", std::move(maps)},
          {"deciding_map_top1", std::move(tops)},
          {"ratio",
           {{"min", Number(kl.ratio_min)},
            {"p05", Number(kl.ratio_p05)},
            {"median", Number(kl.ratio_median)},
            {"max", Number(kl.ratio_max)}}},
          {"ratio_ge_1_share", kl.ratio_ge_1.value},
          {"ratio_ge_1_interval", Interval(kl.ratio_ge_1)},
          {"oracle_top1_share", kl.top1.value},
          {"oracle_top1_interval", Interval(kl.top1)},
          {"auc", kl.auc.value},
          {"auc_interval", Interval(kl.auc)},
          {"safe", Safe(cut.verdict.own)},
          {"maps", {{"total", kl.maps}, {"scored", kl.scored}, {"constant", kl.constant}, {"repeated", kl.repeated}}}};
}

std::string_view NameOf(Doubt doubt) {
  switch (doubt) {
    case Doubt::kNotRun:
      return "not run";
    case Doubt::kLimitedByData:
      return "attacker limited by data";
    case Doubt::kStrengthUnknown:
      return "not tried with fewer photographs";
    case Doubt::kNone:
      break;
  }
  return "";
}

void AddEstimate(Json& json, const std::string& name, const Estimate& e) {
  json[name] = Number(e.value);
  json[name + "_interval"] = Interval(e);
}

Json ScoresJson(const AttackScores& scores) {
  Json json = {{"images", scores.images}};
  AddEstimate(json, "psnr", scores.psnr);
  AddEstimate(json, "ssim", scores.ssim);
  AddEstimate(json, "top1", scores.top1);
  AddEstimate(json, "top5", scores.top5);
  AddEstimate(json, "auc", scores.auc);
  json["auc_against"] = scores.look_alikes ? "look-alikes" : "all";
  return json;
}

Json DifferencesJson(const AttackRun& run) {
  Json json = Json::object();
  for (const Score& score : run.differences) {
    json[score.name] = {{"value", Number(score.estimate.value)},
                        {"interval", Interval(score.estimate)},
                        {"baseline", score.baseline},
                        {"margin", score.margin},
                        {"safe", Safe(Judge(score))}};
    if (score.doubt != Doubt::kNone) json[score.name]["doubt"] = NameOf(score.doubt);
  }
  return json;
}

Safety OwnOf(const AttackRun& run) {
  Safety safety = Safety::kSafe;
  for (const Score& score : run.differences) {
    const Safety own = Judge(score);
    if (own == Safety::kUnsafe || safety == Safety::kSafe) safety = own;
  }
  return safety;
}

Json AttacksJson(const CutResult& cut) {
  Json attacks = Json::object();
  for (const AttackRun& run : cut.attacks) {
    Json json = ScoresJson(run.scores);
    json["safe"] = Safe(OwnOf(run));
    json["over_baseline"] = DifferencesJson(run);
    json["training"] = {{"photographs", run.photographs}, {"steps", run.steps}, {"parameters", run.parameters},
                        {"converged", run.converged},     {"why", run.why},     {"seconds", run.seconds}};
    if (!run.parts.empty()) {
      json["with_fewer_photographs"] = Json::array();
      for (const AttackRun::Part& part : run.parts) {
        Json scores = ScoresJson(part.scores);
        scores["photographs"] = part.photographs;
        json["with_fewer_photographs"].push_back(std::move(scores));
      }
    }
    if (!run.repeats.empty()) {
      json["other_seeds"] = Json::array();
      for (const AttackScores& scores : run.repeats) json["other_seeds"].push_back(ScoresJson(scores));
    }
    if (run.match) json["match"] = *run.match;
    if (!run.weaker_than.empty()) json["under_trained"] = {{"weaker_than_at", run.weaker_than}};
    attacks[run.attack] = std::move(json);
  }
  return attacks;
}

Json BaselinesJson(const Assessment& a) {
  Json json = Json::object();
  if (a.baselines.empty()) return json;
  json["mean_image"] = {{"psnr", a.mean_psnr}, {"ssim", a.mean_ssim}};
  for (const BaselineRun& run : a.baselines) json[run.name] = ScoresJson(run.scores);
  return json;
}

Json LabelJson(const Assessment& a) {
  if (!a.label) return nullptr;
  Json attempts = Json::array();
  for (const LabelAttempt& attempt : a.label->attempts) {
    attempts.push_back({{"method", attempt.method},
                        {"classes", attempt.classes},
                        {"named", attempt.named.value},
                        {"named_interval", Interval(attempt.named)},
                        {"chance", attempt.chance},
                        {"safe", Safe(attempt.safety)}});
  }
  Json json = {{"attempts", std::move(attempts)}, {"advice", a.label->advice}};
  if (!a.label->not_applicable.empty()) json["not_applicable"] = a.label->not_applicable;
  return json;
}

Json CostJson(const CutCost& cost) {
  const auto ms = [](const std::optional<double>& v) { return v ? Json(*v) : Json(nullptr); };
  return {{"ir_bytes", cost.ir_bytes},
          {"frontnet",
           {{"flops", cost.flops},
            {"flops_share", cost.flops_share},
            {"weight_bytes", cost.weight_bytes},
            {"peak_bytes", cost.peak_bytes},
            {"memory_bytes", cost.memory_bytes},
            {"ms", ms(cost.front_ms)}}},
          {"backnet", {{"ms", ms(cost.back_ms)}}}};
}

Json VerdictJson(const Assessment& a, const CutResult& cut) {
  const CutVerdict& v = cut.verdict;
  Json verdict = {{"safe", Safe(v.safety)}};
  if (v.deciding_cut >= 0) {
    const Score& score = a.cuts[v.deciding_cut].scores[v.deciding_score];
    verdict["decided_by"] = {{"cut", a.cuts[v.deciding_cut].name},
                             {"attack", score.attack},
                             {"score", score.name},
                             {"margin", score.margin}};
    if (score.images_to_decide) verdict["images_to_decide"] = *score.images_to_decide;
  }
  Json critical = Json::object();
  for (const auto& c : v.critical) critical[c.attack][c.score] = Number(c.margin);
  verdict["critical_margin"] = std::move(critical);
  return verdict;
}

Json CutJson(const Assessment& a, const CutResult& cut) {
  return {{"name", cut.name},          {"depth", cut.depth},          {"shape", cut.shape},
          {"kl", KlJson(a, cut)},      {"attacks", AttacksJson(cut)}, {"verdict", VerdictJson(a, cut)},
          {"cost", CostJson(cut.cost)}};
}

Json PhotographsJson(const Assessment& a) {
  Json images = Json::array();
  for (const Photograph& p : a.photographs) {
    images.push_back({{"file", p.file},
                      {"sha256", p.sha256},
                      {"oracle_top1", p.answer.label},
                      {"oracle_probability", p.answer.probability},
                      {"bound", Number(p.bound)},
                      {"grey", Number(p.grey)}});
  }
  return images;
}

}  // namespace

std::string AssessmentToJson(const Assessment& a) {
  Json json = {{"format", "infenclave.assessment/1"}, {"model", a.model},
               {"model_sha256", a.model_sha256},      {"oracle", a.oracle},
               {"oracle_sha256", a.oracle_sha256},    {"attacks_run", a.attacks},
               {"attacks_not_run", AttacksNotRun(a)}, {"images", PhotographsJson(a)}};
  Json skipped = Json::array();
  for (const Skipped& s : a.skipped) skipped.push_back({{"file", s.file}, {"reason", s.reason}});
  json["skipped"] = std::move(skipped);
  json["control"] = a.control;
  json["cut_points"] = a.cut_points;
  json["cuts"] = Json::array();
  for (const CutResult& cut : a.cuts) json["cuts"].push_back(CutJson(a, cut));
  json["attacker"] = {{"photographs", a.attacker_photographs}, {"pictures", a.attacker_pictures}};
  json["targets"] = a.targets;
  json["baselines"] = BaselinesJson(a);
  json["label"] = LabelJson(a);
  json["recommended"] = {{"cut", a.recommended < 0 ? Json(nullptr) : Json(a.cuts[a.recommended].name)},
                         {"why", a.why},
                         {"provisional", a.provisional}};
  json["settings"] = {{"margins",
                       {{"kl_auc", a.margins.kl_auc},
                        {"auc", a.margins.auc},
                        {"ssim", a.margins.ssim},
                        {"psnr", a.margins.psnr},
                        {"top1", a.margins.top1},
                        {"label", a.margins.label}}},
                      {"seed", a.seed},
                      {"ir_noise", a.ir_noise},
                      {"ir_views", a.ir_views},
                      {"maps", a.maps_limit == 0 ? Json("all") : Json(a.maps_limit)},
                      {"interval", "one-sided 95 % at either end"},
                      {"oracle_classes", a.classes},
                      {"network_flops", a.total_flops}};
  json["run"] = {{"command", a.run.command}, {"version", a.run.version},        {"processor", a.run.processor},
                 {"engine", a.run.engine},   {"threads", a.run.threads},        {"finished", a.run.finished},
                 {"seconds", a.run.seconds}, {"evaluations", a.run.evaluations}};
  // File names are whatever the folder holds: bytes that are no UTF-8 are replaced.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

StatusOr<AssessmentSummary> ParseAssessmentSummary(ByteSpan bytes) {
  if (bytes.size() > kMaxAssessmentBytes)
    return InvalidArgument("assessment.json: more than ", kMaxAssessmentBytes, " bytes");
  bool too_deep = false;
  const auto depth = [&too_deep](int level, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep |= level > kMaxJsonDepth;
    return level <= kMaxJsonDepth;
  };
  const nlohmann::json json = nlohmann::json::parse(bytes.begin(), bytes.end(), depth, /*allow_exceptions=*/false);
  if (json.is_discarded() || too_deep) return InvalidArgument("assessment.json: not JSON, or nested too deeply");
  if (!json.is_object() || json.value("format", nlohmann::json()) != "infenclave.assessment/1") {
    return InvalidArgument("assessment.json: 'format' is not \"infenclave.assessment/1\"");
  }
  // nlohmann's at() and get() throw; nothing leaves this function.
  try {
    AssessmentSummary summary;
    json.at("model_sha256").get_to(summary.model_sha256);
    json.at("attacks_run").get_to(summary.attacks);
    const nlohmann::json& recommended = json.at("recommended");
    if (!recommended.at("cut").is_null()) recommended.at("cut").get_to(summary.cut);
    recommended.at("why").get_to(summary.why);
    recommended.at("provisional").get_to(summary.provisional);
    for (const nlohmann::json& cut : json.at("cuts")) {
      const nlohmann::json& safe = cut.at("verdict").at("safe");
      summary.cuts.push_back({cut.at("name").get<std::string>(),
                              safe.is_boolean() ? safe.get<bool>() ? "safe" : "unsafe" : safe.get<std::string>()});
    }
    return summary;
  } catch (const nlohmann::json::exception& e) {
    return InvalidArgument("assessment.json: ", e.what());
  }
}

}  // namespace infenclave
