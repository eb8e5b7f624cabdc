#include "report/gallery.h"

#include <algorithm>
#include <cmath>

#include "report/charts.h"
#include "report/text.h"

namespace infenclave {
namespace {

std::string Img(const EncodedPicture& picture, const std::string& alt) {
  return Concat("<img alt=\"", alt, "\" width=\"", picture.width, "\" height=\"", picture.height, "\" src=\"",
                DataUri(picture.mime, picture.bytes), "\">");
}

std::string OriginalsRow(const Assessment& a, const Gallery& gallery) {
  std::string row = "<tr><th scope=\"row\">original</th>";
  for (size_t i = 0; i < gallery.photographs.size(); ++i) {
    const Photograph& photograph = a.photographs[gallery.photographs[i]];
    row += Concat("<td>", Img(gallery.originals[i], Concat("photograph ", Escape(photograph.file))), "<b>",
                  Escape(LabelOf(a, photograph.answer.label)), "</b></td>");
  }
  return row + "</tr>";
}

std::string RecoveredRow(const Assessment& a, const Gallery& gallery, const Recovered& recovered) {
  std::string row = Concat("<tr><th scope=\"row\">", Escape(recovered.attack), "</th>");
  for (size_t i = 0; i < gallery.photographs.size(); ++i) {
    if (i >= recovered.items.size()) {
      row += "<td>not in the sample</td>";
      continue;
    }
    const Recovered::Item& item = recovered.items[i];
    const std::string alt = Concat("what ", recovered.attack, " made of ", a.photographs[gallery.photographs[i]].file);
    row += Concat("<td>", Img(item.picture, Escape(alt)), "<b>", Fixed(item.ssim, 2), "</b> ", Fixed(item.psnr, 1),
                  "&nbsp;dB</td>");
  }
  return row + "</tr>";
}

// The photographs, then one row for each of the attacks in recovered[begin, end).
std::string Board(const Assessment& a, const Gallery& gallery, size_t begin, size_t end, const std::string& id) {
  std::string rows = OriginalsRow(a, gallery);
  for (size_t i = begin; i < end; ++i) rows += RecoveredRow(a, gallery, gallery.recovered[i]);
  return Concat("<table class=\"board\" aria-labelledby=\"", id, "\"><tbody>", rows, "</tbody></table>");
}

std::string ExhibitItem(const Assessment& a, const Exhibit& exhibit) {
  const Photograph& photograph = a.photographs[exhibit.photograph];
  const Answer &seen = photograph.answer, &guessed = exhibit.revealed.answer;
  const bool hit = seen.label == guessed.label;
  const std::string truth = Escape(LabelOf(a, seen.label)), guess = Escape(LabelOf(a, guessed.label));
  return Concat(
      "<li><div class=\"two\">", Img(exhibit.photograph_picture, Concat("photograph ", Escape(photograph.file))),
      Img(exhibit.map_picture, Concat("feature map ", exhibit.revealed.map, " of it")), "</div><b>", truth, "</b> ",
      Percent(seen.probability), " → <span class=\"", hit ? "hit" : "", "\">", guess, "</span> ",
      Percent(guessed.probability), "<br>map ", exhibit.revealed.map, exhibit.constant ? " (no contrast)" : "",
      ", ratio ", Fixed(photograph.bound > 0 ? exhibit.revealed.d / photograph.bound : INFINITY, 2), "</li>");
}

}  // namespace

std::string MapGallery(const Assessment& a, const std::vector<Exhibit>& exhibits) {
  if (exhibits.empty()) return "";
  std::string html =
      "<section aria-labelledby=\"maps\"><h2 id=\"maps\">What the oracle recognised</h2><p>At each cut, the "
      "photographs "
      "with the smallest KL ratio, each beside the feature map that gave it away. Under them, what the oracle says of "
      "the photograph and of the map; in colour where both are the same.</p>";
  for (size_t begin = 0; begin < exhibits.size();) {
    const CutResult& cut = a.cuts[exhibits[begin].cut];
    html += Concat("<article class=\"exhibit\"><header><h3>", cut.depth + 1, ". ", Escape(cut.name), "</h3><p>",
                   FormatShape(cut.shape), "</p><p>", VerdictBadge(cut.verdict.own), "</p><p>AUC ",
                   Fixed(cut.kl->auc.value, 2), "</p></header><ul class=\"pairs\">");
    size_t end = begin;
    for (; end < exhibits.size() && exhibits[end].cut == exhibits[begin].cut; ++end)
      html += ExhibitItem(a, exhibits[end]);
    html += "</ul></article>";
    begin = end;
  }
  return html + "</section>";
}

std::string RecoveredGallery(const Assessment& a, const Gallery& gallery) {
  if (gallery.recovered.empty() || gallery.photographs.empty()) return "";
  const size_t shown = gallery.photographs.size();
  std::string html = Concat(
      "<section aria-labelledby=\"recovered\"><h2 id=\"recovered\">Photographs, and what attackers made of them</h2>"
      "<p>",
      shown == 1 ? "One of the photographs" : Concat("The first ", shown, " photographs"),
      " under attack in an order drawn by seed, the same at every cut: nobody chose them by how well they came out. "
      "Under each picture its SSIM and PSNR with the photograph; the mean of the attacker's own photographs has, over "
      "all, ",
      Fixed(a.mean_ssim, 2), " and ", Fixed(a.mean_psnr, 1), "&nbsp;dB.</p>");
  for (size_t begin = 0, end = 0; begin < gallery.recovered.size(); begin = end) {
    const int at = gallery.recovered[begin].cut;
    while (end < gallery.recovered.size() && gallery.recovered[end].cut == at) ++end;
    const std::string id = Concat("board-", at + 1);
    std::string head = Concat("<h3 id=\"", id, "\">The scores alone</h3><p>what the host sees at any cut</p>");
    if (at >= 0) {
      const CutResult& cut = a.cuts[at];
      head = Concat("<h3 id=\"", id, "\">", cut.depth + 1, ". ", Escape(cut.name), "</h3><p>", FormatShape(cut.shape),
                    "</p><p>", VerdictBadge(cut.verdict.safety), "</p>");
    }
    html += Concat("<article class=\"exhibit\"><header>", head, "</header>", Board(a, gallery, begin, end, id),
                   "</article>");
  }
  return html + "</section>";
}

}  // namespace infenclave
