#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>

#include "base/file.h"
#include "report/text.h"
#include "tests/report/synthetic.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

// Where the browser's test (browser_test.cc) and a curious reader find the pages.
std::string Keep(const std::string& name, const std::string& html) {
  const std::string folder = std::string(INFENCLAVE_BINARY_DIR) + "/report-pages";
  std::filesystem::create_directories(folder);
  const std::string path = folder + "/" + name + ".html";
  EXPECT_TRUE(WriteFileAtomic(path, AsBytes(html)).ok());
  return path;
}

// The page is too long to be printed where it disappoints.
::testing::AssertionResult Has(const std::string& html, const std::string& text) {
  if (html.find(text) != std::string::npos) return ::testing::AssertionSuccess() << "the page holds: " << text;
  return ::testing::AssertionFailure() << "the page does not hold: " << text;
}

std::string Page(const Assessment& a) { return RenderReport(a, SyntheticExhibits(a), SyntheticGallery(a)); }

TEST(Escape, LeavesNoMarkupAndNoBrokenText) {
  const struct {
    std::string_view in, want;
  } kCases[] = {{"a<b>&\"c\"", "a&lt;b&gt;&amp;&quot;c&quot;"},
                {"größe – 犬", "größe – 犬"},
                {"\xff", "\xef\xbf\xbd"},
                {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                  // an overlong slash
                {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // half a surrogate pair
                {"\xe7\x8a", "\xef\xbf\xbd\xef\xbf\xbd"},                  // cut short
                {std::string_view("a\0b\x1b", 4),
                 "a\xef\xbf\xbd"
                 "b\xef\xbf\xbd"}};
  for (const auto& c : kCases) EXPECT_EQ(Escape(c.in), c.want);
}

TEST(Numbers, ReadWell) {
  EXPECT_EQ(FormatBytes(999), "999\u202fB");
  EXPECT_EQ(FormatBytes(401408), "401\u202fkB");
  EXPECT_EQ(FormatBytes(1204224), "1.20\u202fMB");
  EXPECT_EQ(FormatBytes(999999), "1.00\u202fMB");
  EXPECT_EQ(FormatFlops(7.7e8), "770\u202fMFLOP");
  EXPECT_EQ(FormatCount(1234567), "1\u202f234\u202f567");
  EXPECT_EQ(FormatCount(12), "12");
  EXPECT_EQ(Percent(0.415), "42\u202f%");
  EXPECT_EQ(Fixed(-0.5, 1), "−0.5");
  EXPECT_EQ(Fixed(INFINITY, 2), "∞");
  EXPECT_EQ(FormatShape({1, 24, 56, 56}), "24 × 56 × 56");
}

TEST(DataUri, IsBase64) {  // RFC 4648, section 10
  const struct {
    std::string_view in, want;
  } kCases[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& c : kCases) EXPECT_EQ(DataUri("t/x", AsBytes(c.in)), "data:t/x;base64," + std::string(c.want));
}

// Every element is closed in order, ids are unique, references resolve, tables have as many cells as columns.
void CheckStructure(const std::string& html) {
  static const std::regex kTag(R"re(<(/?)([a-zA-Z0-9]+)((?:[^>"]|"[^"]*")*?)(/?)>)re");
  static const std::set<std::string> kVoid = {"meta", "link", "img", "br"};
  std::vector<std::string> open;
  std::set<std::string> ids, wanted;
  size_t columns = 0, cells = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), kTag), last; it != last; ++it) {
    const std::string name = (*it)[2], attributes = (*it)[3];
    if ((*it)[1] == "/") {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), name) << "around: " << html.substr(it->position() - 80, 120);
      open.pop_back();
      if (name == "tr") {
        if (columns == 0) columns = cells;
        EXPECT_EQ(cells, columns);
      }
      if (name == "table") columns = 0;
      continue;
    }
    if (name == "tr") cells = 0;
    if (name == "td" || name == "th") {
      std::smatch span;
      cells += std::regex_search(attributes, span, std::regex("colspan=\"(\\d+)\"")) ? std::stoul(span[1]) : 1;
    }
    std::smatch match;
    if (std::regex_search(attributes, match, std::regex(" id=\"([^\"]*)\""))) {
      EXPECT_TRUE(ids.insert(match[1]).second) << "id twice: " << match[1];
    }
    if (std::regex_search(attributes, match, std::regex("aria-labelledby=\"([^\"]*)\""))) {
      std::istringstream words(match[1]);
      for (std::string word; words >> word;) wanted.insert(word);
    }
    if (name == "img") {
      EXPECT_THAT(attributes, HasSubstr("alt=\""));
    }
    if (!kVoid.contains(name) && (*it)[4] != "/") open.push_back(name);
  }
  EXPECT_TRUE(open.empty()) << open.back();
  for (const std::string& id : wanted) EXPECT_TRUE(ids.contains(id)) << id;
}

TEST(Report, SaysWhichCutAndThatItIsProvisional) {
  const Assessment a = SyntheticAssessment(0.50);
  ASSERT_GE(a.recommended, 0);
  const std::string html = Page(a);
  Keep("safe", html);
  CheckStructure(html);
  EXPECT_THAT(html,
              HasSubstr("<h1>Cut at " + a.cuts[a.recommended].name + ": it and all later cuts pass, provisionally"));
  EXPECT_TRUE(Has(html, "The attacks patch, decoder, whitebox, nearest and label have not run."));
  EXPECT_TRUE(Has(html, a.run.command));
}

TEST(Report, SaysThatNoCutIsSafe) {
  const Assessment a = SyntheticAssessment(0.85);
  ASSERT_EQ(a.recommended, -1);
  const std::string html = Page(a);
  Keep("unsafe", html);
  CheckStructure(html);
  EXPECT_TRUE(Has(html, "<h1>No cut is safe: keep the whole network inside"));
  EXPECT_TRUE(Has(html, "have not run"));
}

TEST(Report, SaysHowManyPhotographsWouldDecide) {
  const Assessment a = SyntheticAssessment(0.56, 20, 12);
  ASSERT_EQ(a.recommended, -1);
  const std::string html = Page(a);
  Keep("undecided", html);
  CheckStructure(html);
  EXPECT_TRUE(Has(html, "<h1>No cut is shown to be safe"));
  EXPECT_TRUE(std::regex_search(html, std::regex("about [0-9]+ photographs would decide; 12 were used")));
}

TEST(Report, IsSelfContained) {
  const std::string html = Page(SyntheticAssessment(0.50));
  EXPECT_FALSE(Has(html, "http://"));
  EXPECT_FALSE(Has(html, "https://"));
  EXPECT_FALSE(Has(html, "<script"));
  EXPECT_FALSE(Has(html, "@import"));
  EXPECT_FALSE(Has(html, "url("));
}

TEST(Report, EveryChartedNumberStandsInATable) {
  const Assessment a = SyntheticAssessment(0.50);
  const std::string html = Page(a);
  for (const CutResult& cut : a.cuts) {
    EXPECT_TRUE(Has(html, "<td>" + FormatFlops(static_cast<double>(cut.cost.flops)) + "</td>"));
    if (!cut.kl) continue;
    EXPECT_TRUE(Has(html, "<td>" + Fixed(cut.kl->auc.value, 3) + "</td><td>" + FormatInterval(cut.kl->auc, 3)));
    EXPECT_TRUE(Has(html, "<td>" + Fixed(cut.kl->ratio_median, 2) + "</td>"));
  }
}

TEST(Report, ShowsWhatAttackersRecoveredBesideTheBaselines) {
  const std::string html = Page(SyntheticAttacked(0.5));
  Keep("attacked", html);
  CheckStructure(html);
  EXPECT_TRUE(Has(html, "What attackers recovered"));
  EXPECT_TRUE(Has(html, "id=\"ssim-860-t\""));
  EXPECT_TRUE(Has(html, "id=\"recovered-auc-340-t\""));
  EXPECT_TRUE(Has(html, "baseline output/decoder"));
  EXPECT_TRUE(Has(html, "0.700"));  // the gain of patch at the first cut, in the table
  EXPECT_TRUE(Has(html, "Classes named by the host"));
  EXPECT_TRUE(Has(html, "The attacks whitebox and nearest have not run"));
}

TEST(Report, ShowsPhotographsBesideWhatWasMadeOfThem) {
  Assessment a = SyntheticAttacked(0.5);
  a.photographs[3].file = "<i>\".jpg";
  const std::string html = Page(a);
  EXPECT_TRUE(Has(html, "The first 5 photographs under attack"));
  EXPECT_TRUE(Has(html, "<h3 id=\"board-0\">The scores alone</h3>"));
  EXPECT_TRUE(Has(html, "alt=\"what decoder made of &lt;i&gt;&quot;.jpg\""));
  EXPECT_TRUE(Has(html, "<b>0.70</b> 20.5&nbsp;dB"));
  EXPECT_TRUE(Has(html, "<td>not in the sample</td>"));
  EXPECT_TRUE(Has(html, "Mahendran and Vedaldi 2015"));
  const std::string unattacked = Page(SyntheticAssessment(0.5));
  EXPECT_FALSE(Has(unattacked, "what attackers made"));
  EXPECT_FALSE(Has(unattacked, "Dosovitskiy"));
}

TEST(Report, EscapesWhateverNamesHold) {
  Assessment a = SyntheticAssessment(0.50, 6);
  a.model = "<script>alert(1)</script>.onnx";
  a.labels.assign(1000, "\"><img src=x onerror=y>");
  a.photographs[0].file = "\xff<b>.jpg";
  a.cuts[2].name = "a\"b<c>";
  a.skipped = {{"<i>", "&"}};
  a.run.command = "infenclave assess '<script>'";
  Conclude(a);
  const std::string html = Page(a);
  CheckStructure(html);
  EXPECT_FALSE(Has(html, "<script"));
  EXPECT_FALSE(Has(html, "<img src=x"));
  EXPECT_FALSE(Has(html, "<b>.jpg"));
}

TEST(Report, HoldsForOneCutAndForMany) {
  for (int cuts : {2, 7, 150}) {
    const std::string html = Page(SyntheticAssessment(0.50, cuts));
    Keep("cuts-" + std::to_string(cuts), html);
    CheckStructure(html);
    EXPECT_LT(html.size(), size_t{8} << 20);
  }
}

}  // namespace
}  // namespace infenclave
