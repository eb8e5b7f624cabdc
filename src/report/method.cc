#include "report/method.h"

#include <algorithm>

#include "report/text.h"

namespace infenclave {
namespace {

struct AttackText {
  std::string_view name, asks;
};
constexpr AttackText kAttackTexts[] = {
    {"kl", "Does a feature map still look like its photograph to another classifier?"},
    {"patch", "Can a linear map from a neighbourhood of the IR restore the patch of the photograph above it?"},
    {"decoder", "Can a network trained on pairs of photographs and IRs restore unseen photographs?"},
    {"whitebox", "Can an attacker who knows the FrontNet's weights find a picture with the same IR?"},
    {"nearest", "Is the most similar IR among the attacker's own that of a similar photograph?"},
    {"label", "Can the host learn which score is which class?"}};

constexpr std::string_view kOracle =
    "<p>Cut points are the tensors through which every path from the image to the class scores passes. At each, the "
    "layers before it (the FrontNet) would run in the enclave, and its tensor (the intermediate representation, IR) is "
    "what the host sees.</p>"
    "<h3>The KL oracle</h3>"
    "<p>For photograph <em>x</em>, the IR of photograph <em>y</em> at cut <em>i</em> and the oracle <em>V</em> "
    "(Gu et al. 2018): d<sub>i</sub>(x,&nbsp;y) = min<sub>j</sub> KL(V(x)&nbsp;‖&nbsp;V(IR<sub>ij</sub>(y))), natural "
    "logarithm, probabilities at least 10<sup>−12</sup>. Each map is normalised to [0,&nbsp;255] by its minimum and "
    "maximum, resized bilinearly to the oracle's input and repeated to three channels; a map without contrast becomes "
    "mid-grey. The ratio is d<sub>i</sub>(x,&nbsp;x) over KL(V(x)&nbsp;‖&nbsp;uniform). Tensors of one pixel cannot be "
    "shown to the oracle: <em>not applicable</em>, which is not <em>safe</em>.</p>";

constexpr std::string_view kVerdict =
    "<h3>The verdict</h3>"
    "<p>The host computes everything after the cut, so a cut leaks at least what every later one leaks. A cut is "
    "<em>safe</em> if here and at every later cut the upper 95&nbsp;% bound of every score stays within its margin (an "
    "intersection–union test, which needs no correction for the number of cuts: Berger 1982), <em>unsafe</em> if a "
    "lower bound exceeds it, else <em>undecided</em>. The critical margin is the smallest with which the cut would be "
    "safe.</p>";

// What is said of attacks that recover pictures, where any ran.
constexpr std::string_view kAttackers =
    "<h3>Attacks that recover pictures</h3>"
    "<p>The attacker holds pairs (z<sub>n</sub>, x<sub>n</sub>) of IR and picture of its own photographs: crops and "
    "mirrored crops, some covered in part by dead leaves (Lee et al. 2001), and dead leaves alone. One photograph in "
    "five, with all its crops, is left out of training; whatever is chosen is chosen on those.</p><dl class=\"terms\">"
    "<dt>nearest</dt><dd>argmin<sub>n</sub> Σ<sub>c</sub> ‖z<sub>c</sub> − z<sub>nc</sub>‖² / σ<sub>c</sub>², the "
    "attacker's picture with the nearest IR, channels divided by their deviations.</dd>"
    "<dt>patch</dt><dd>W = argmin Σ<sub>n</sub> ‖x<sub>n</sub> − W z<sub>n</sub>‖² + λ‖W‖² (Hoerl and Kennard 1970), "
    "from 1, 3 or 5 places of the IR across to the patch of the picture above the middle one; neighbourhood and λ are "
    "cross-fitted by photograph (Stone 1974).</dd>"
    "<dt>decoder</dt><dd>x̂ = Wz + g<sub>θ</sub>(z), with g a residual network of 3×3 convolutions and pixel shuffle "
    "(Shi et al. 2016), trained with Adam (Kingma and Ba 2015) on ‖x̂ − x‖² / 0.03 + 1 − SSIM(x̂, x), pixels in 0 to "
    "1, and where a public network φ is given on 0.3 ‖φ(x̂) − φ(x)‖² / Var φ(x) (Johnson et al. 2016; Dosovitskiy "
    "and Brox 2016). Training ends when the validation loss has stopped falling, or at its limit, and the table says "
    "which.</dd>"
    "<dt>whitebox</dt><dd>x̂ = argmin<sub>x</sub> ‖F(x) − z‖² / Var z + λ TV(x) (Mahendran and Vedaldi 2015, "
    "equation 1; He et al. 2019), F the FrontNet and TV the total variation (Rudin et al. 1992), by Adam from the "
    "decoder's picture on; λ is the one that restores validation photographs best. It attacks a sample.</dd></dl>"
    "<p><strong>Scores</strong>, all at 112 × 112: gain over the mean of the attacker's photographs in PSNR = 10 "
    "log<sub>10</sub>(255² / MSE) and in SSIM (Wang et al. 2004, equation 13; Gaussian window of σ 1.5, 11 × 11); the "
    "share of which the oracle's first class is the photograph's; and the AUC, the share of pairs x ≠ y in which the "
    "reconstruction of x is nearer to x than to y (1 − correlation), y from all photographs or from the 5 that the "
    "oracle finds most alike, whichever is harder. Each is compared with the better of two baselines by differences "
    "per "
    "photograph: the mean image, and the same attacks given only the class scores.</p>"
    "<p><strong>Intervals</strong>: shares, Clopper and Pearson 1934, their differences Tango 1998; means, the widest "
    "of Student's <em>t</em>, of the bootstrap's percentiles and of its <em>t</em> statistics (Hall 1988); AUCs, the "
    "bootstrap of photographs, both reconstructions together.</p>"
    "<p><strong>Strength.</strong> At the cut that would be recommended attacks run again with half and a quarter of "
    "the attacker's photographs. A score that rises with them, and at that pace passes its margin within two more "
    "doublings, is undecided. An attack that recovers less than at a later cut is called under-trained.</p>";

constexpr std::string_view kSources =
    "<h3>Sources</h3><ul class=\"sources\">"
    "<li>Z. Gu et al., <cite>Confidential Inference via Ternary Model Partitioning</cite>, arXiv:1807.00969, 2018: the "
    "partition, and the KL criterion with its ratio.</li>"
    "<li>C. J. Clopper and E. S. Pearson, <cite>The use of confidence or fiducial limits illustrated in the case of "
    "the "
    "binomial</cite>, Biometrika 26, 1934.</li>"
    "<li>R. L. Berger, <cite>Multiparameter hypothesis testing and acceptance sampling</cite>, Technometrics 24, "
    "1982.</li>"
    "<li>B. Efron and R. J. Tibshirani, <cite>An Introduction to the Bootstrap</cite>, Chapman and Hall, 1993.</li>"
    "<li>A. Mahendran and A. Vedaldi, <cite>Understanding deep image representations by inverting them</cite>, CVPR "
    "2015; Z. He, T. Zhang and R. B. Lee, <cite>Model inversion attacks against collaborative inference</cite>, ACSAC "
    "2019: why a map that looks like nothing may still be inverted.</li>";
constexpr std::string_view kAttackSources =
    "<li>A. E. Hoerl and R. W. Kennard, <cite>Ridge regression</cite>, Technometrics 12, 1970; M. Stone, "
    "<cite>Cross-validatory choice and assessment of statistical predictions</cite>, J. Royal Statistical Society B "
    "36, "
    "1974.</li>"
    "<li>W. Shi et al., <cite>Real-time single image and video super-resolution using an efficient sub-pixel "
    "convolutional neural network</cite>, CVPR 2016; D. P. Kingma and J. Ba, <cite>Adam</cite>, ICLR 2015; J. Johnson, "
    "A. Alahi and L. Fei-Fei, <cite>Perceptual losses for real-time style transfer and super-resolution</cite>, ECCV "
    "2016; A. Dosovitskiy and T. Brox, <cite>Inverting visual representations with convolutional networks</cite>, CVPR "
    "2016.</li>"
    "<li>L. I. Rudin, S. Osher and E. Fatemi, <cite>Nonlinear total variation based noise removal algorithms</cite>, "
    "Physica D 60, 1992.</li>"
    "<li>Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli, <cite>Image quality assessment: from error "
    "visibility "
    "to structural similarity</cite>, IEEE Trans. Image Processing 13, 2004.</li>"
    "<li>T. Tango, <cite>Equivalence test and confidence interval for the difference in proportions for the "
    "paired-sample design</cite>, Statistics in Medicine 17, 1998; P. Hall, <cite>Theoretical comparison of bootstrap "
    "confidence intervals</cite>, Annals of Statistics 16, 1988.</li>"
    "<li>A. B. Lee, D. Mumford and J. Huang, <cite>Occlusion models for natural images</cite>, Int. J. Computer Vision "
    "41, 2001.</li>";

}  // namespace

std::string Method(const Assessment& a) {
  std::string rows;
  for (const AttackText& attack : kAttackTexts) {
    const bool ran = std::find(a.attacks.begin(), a.attacks.end(), attack.name) != a.attacks.end();
    rows += Concat("<tr><th scope=\"row\" class=\"l\">", attack.name, "</th><td class=\"l wrap\">", attack.asks,
                   "</td><td class=\"l\">", ran ? "ran" : "<strong>has not run</strong>", "</td></tr>");
  }
  const bool attacked = !a.baselines.empty();
  std::string html = "<section aria-labelledby=\"method\"><h2 id=\"method\">How this was measured</h2>";
  html += Table("attacks-table", "Attacks",
                "<th scope=\"col\" class=\"l\">Attack</th><th scope=\"col\" class=\"l\">What it "
                "asks</th><th scope=\"col\" class=\"l\">Here</th>",
                rows);
  html += Concat(
      kOracle,
      "<p><strong>Control.</strong> The AUC is the share of pairs x&nbsp;≠&nbsp;y with "
      "d<sub>i</sub>(x,&nbsp;x)&nbsp;&lt;&nbsp;d<sub>i</sub>(x,&nbsp;y), ties one half, over ",
      a.control.size(),
      " photographs. Its interval comes from a bootstrap that resamples photographs, rows and columns together, "
      "widened by Student's <em>t</em>; near 0 and 1, and for few photographs, by the exact binomial bound of disjoint "
      "pairs. Shares have Clopper–Pearson bounds.</p>",
      attacked ? kAttackers : "", kVerdict);
  return Concat(html, kSources, attacked ? kAttackSources : "", "</ul></section>");
}

}  // namespace infenclave
