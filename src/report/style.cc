#include "report/style.h"

namespace infenclave {

// Contrast of every text colour on its ground is at least 4.5 to 1 in both schemes.
const std::string_view kStyleSheet = R"css(
:root{color-scheme:light dark;--page:#fff;--panel:#f5f6f8;--ink:#171b21;--soft:#525b66;--line:#d9dee4;--faint:#eceff2;
--accent:#1c5d99;--band:#c9dced;--safe:#0a7352;--unsafe:#b23218;--undecided:#8a5a00;--none:#667080;--zone:#eaf4ef}
@media(prefers-color-scheme:dark){:root{--page:#13161a;--panel:#1b1f25;--ink:#e7eaee;--soft:#a3adb9;--line:#343b44;
--faint:#252a31;--accent:#82b6ea;--band:#2a4560;--safe:#4fc79f;--unsafe:#ff8f70;--undecided:#e5b44f;--none:#98a2ae;
--zone:#17271f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans",Arial,sans-serif;font-variant-numeric:tabular-nums}
header,main,footer{max-width:58rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:3.5rem}
section{margin-top:4rem}
h1,h2,h3{line-height:1.25;text-wrap:balance;letter-spacing:-.011em;font-weight:650}
h1{font-size:clamp(1.6rem,1.1rem + 2.2vw,2.35rem);margin:.4rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.4rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}
p,ul{max-width:42rem;margin:.6rem 0}
li{margin:.3rem 0}
a{color:var(--accent)}
a:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
code{overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.9rem 1rem;white-space:pre-wrap;
overflow-wrap:anywhere}
.over{color:var(--soft);font-size:.875rem;margin:0;letter-spacing:.01em;max-width:none;overflow-wrap:anywhere}
.lead{font-size:1.075rem}
.note{border-left:3px solid var(--undecided);padding:.15rem 0 .15rem 1rem;margin:1.2rem 0}
sub,sup{line-height:0}
section>h3{margin-top:1.8rem}
.terms{max-width:42rem;margin:.6rem 0}.terms dt{font-weight:600}.terms dd{margin:0 0 .6rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.6rem,1fr));gap:1.2rem 1rem;margin:1.8rem 0 0;
padding:1.2rem 0 0;border-top:1px solid var(--line)}
.facts dt{color:var(--soft);font-size:.8125rem}
.facts dd{margin:.1rem 0 0;font-size:1.2rem;font-weight:600}
.facts small{display:block;font-weight:400;font-size:.8125rem;color:var(--soft)}
figure{margin:1.6rem 0 0}
figcaption{color:var(--soft);font-size:.875rem;max-width:42rem;margin-top:.5rem}
figure>.heading{font-weight:600;margin:0 0 .5rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.5rem 0 0;font-size:.8125rem;
color:var(--soft);max-width:none}
.legend li{display:flex;align-items:center;gap:.4rem;margin:0}
.key{display:inline-block;width:1.25rem;height:.75rem;border-radius:2px}
.key.median{height:2px;background:var(--accent)}.key.band{background:var(--band)}
.key.inside{background:var(--accent)}.key.outside{background:var(--band)}
.key.dash{height:0;border-radius:0;border-top:1.5px dashed var(--ink)}
.key.dots{height:0;border-radius:0;border-top:2px dotted var(--none)}
.key.chosen{width:0;height:1rem;border-left:2px solid var(--accent);margin:0 .5rem}
svg{display:block;max-width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--soft);font-family:inherit}
svg .axis-title{fill:var(--ink)}
.grid{stroke:var(--faint)}.axis,.bracket{stroke:var(--line)}.bracket{stroke-width:1.5}
.zone{fill:var(--zone)}.band{fill:var(--band)}
.line{fill:none;stroke-width:1.75;stroke-linejoin:round}.line.strong{stroke:var(--accent)}
.line.quiet{stroke:var(--line);stroke-width:1.25}
.margin{stroke:var(--ink);stroke-dasharray:5 3}.chance{stroke:var(--none);stroke-dasharray:1.5 3}
.chosen{stroke:var(--accent);stroke-width:2;fill:none}
.brace{stroke:var(--accent);stroke-width:3;fill:none}.brace.out{stroke:var(--line)}
.whisker{stroke-width:1.75}
.whisker.safe{stroke:var(--safe)}.whisker.unsafe{stroke:var(--unsafe)}.whisker.undecided{stroke:var(--undecided)}
.mark.safe{fill:var(--safe)}.mark.unsafe{fill:var(--unsafe)}.mark.undecided{fill:var(--undecided)}
.mark.none{fill:var(--page);stroke:var(--none);stroke-width:1.5}
.cell{fill-opacity:.16}.cell.safe{fill:var(--safe)}.cell.unsafe{fill:var(--unsafe)}.cell.undecided{fill:var(--undecided)}
.cell.none{fill:var(--none)}
.dot{fill:var(--accent)}.bar.inside{fill:var(--accent)}.bar.outside{fill:var(--band)}
.line.by-nearest,.whisker.by-nearest{stroke:var(--none)}.line.by-patch,.whisker.by-patch{stroke:var(--undecided)}
.line.by-decoder,.whisker.by-decoder{stroke:var(--accent)}.line.by-whitebox,.whisker.by-whitebox{stroke:var(--unsafe)}
.line.by-nearest{stroke-dasharray:2 3}.line.by-patch{stroke-dasharray:7 3}.line.by-whitebox{stroke-dasharray:9 3 2 3}
circle.by-nearest{fill:var(--none)}circle.by-patch{fill:var(--undecided)}circle.by-decoder{fill:var(--accent)}
circle.by-whitebox{fill:var(--unsafe)}
.key.by-nearest{height:0;border-radius:0;border-top:2px dotted var(--none)}
.key.by-patch{height:0;border-radius:0;border-top:2px dashed var(--undecided)}
.key.by-decoder{height:2px;background:var(--accent)}
.key.by-whitebox{height:0;border-radius:0;border-top:3px double var(--unsafe)}
.icon{display:inline-block;vertical-align:-.08em;flex:none}
.narrow{display:none}
.thirds{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,16.5rem),1fr));gap:1.5rem}
.thirds figure{margin-top:.8rem}
.verdict{display:inline-flex;align-items:center;gap:.4rem;white-space:nowrap}
.verdict.safe{color:var(--safe)}.verdict.unsafe{color:var(--unsafe)}.verdict.undecided{color:var(--undecided)}
.verdict.none{color:var(--soft)}
.exhibit{border-top:1px solid var(--line);padding:.9rem 0 1.6rem}
.exhibit header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.1rem 1.2rem;padding:0;margin:0 0 .7rem;max-width:none}
.exhibit header p{font-size:.8125rem;color:var(--soft);margin:0}
.pairs{display:grid;grid-template-columns:repeat(4,1fr);gap:1rem;list-style:none;margin:0;padding:0;max-width:none}
.pairs li{margin:0;font-size:.75rem;line-height:1.35;color:var(--soft);overflow-wrap:anywhere}
.pairs .two{display:grid;grid-template-columns:1fr 1fr;gap:3px;margin-bottom:.35rem}
.pairs img{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:cover;border-radius:3px;background:var(--panel)}
.pairs b{color:var(--ink);font-weight:600}
.pairs .hit{color:var(--unsafe);font-weight:600}
.board{table-layout:fixed}
.board th,.board td{border:0;padding:0 3px .4rem 0;text-align:left;vertical-align:top;white-space:normal;
overflow-wrap:anywhere;color:var(--soft);font-size:.72rem;line-height:1.3}
.board td:last-child{padding-right:3px}
.board th{width:5.2rem;color:var(--ink);font-size:.8125rem;padding-top:.2rem}
.board img{display:block;width:100%;height:auto;border-radius:3px;background:var(--panel);margin-bottom:.15rem}
.board b{color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0 0}
table{border-collapse:collapse;font-size:.78rem;width:100%}
caption{text-align:left;font-weight:600;font-size:.9375rem;padding-bottom:.5rem}
th,td{padding:.38rem .45rem;text-align:right;vertical-align:baseline;white-space:nowrap;border-bottom:1px solid var(--faint)}
th{font-weight:600}
thead th{color:var(--soft);border-bottom:1px solid var(--line);vertical-align:bottom;line-height:1.3;white-space:normal}
.l{text-align:left}.wrap{white-space:normal;overflow-wrap:anywhere;min-width:8rem}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
tr.pick>*{background:var(--panel)}
tbody th{font-weight:400}
tr.pick th{font-weight:650}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--page);padding:.5rem 1rem;z-index:1}
footer{margin-top:4rem;padding-top:1.2rem;padding-bottom:3rem;color:var(--soft);font-size:.8125rem}
@media(max-width:46rem){header{padding-top:2rem}header,main,footer{padding-left:1rem;padding-right:1rem}
section{margin-top:3rem}.wide{display:none}.narrow{display:block}.pairs{grid-template-columns:repeat(2,1fr)}
.board th{width:3.9rem;font-size:.69rem}.board th,.board td,.board td:last-child{padding-right:2px}}
@media print{@page{margin:14mm 12mm}:root{color-scheme:light;--page:#fff;--panel:#f5f6f8;--ink:#000;--soft:#444;
--line:#bbb;--faint:#e4e4e4;--accent:#1c5d99;--band:#c9dced;--safe:#0a7352;--unsafe:#b23218;--undecided:#8a5a00;
--none:#667080;--zone:#eaf4ef}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
html{font-size:80%}header,main,footer{max-width:none;padding:0}header{padding-top:0}section{margin-top:8mm}
.wide{display:block}.narrow{display:none}.skip{display:none}
.scroll{overflow:visible}table{font-size:7pt}th,td{padding:.2rem .3rem;white-space:normal}
figure,.exhibit,tr,pre{break-inside:avoid}h2,h3,caption{break-after:avoid}thead{display:table-header-group}
.pairs{grid-template-columns:repeat(4,1fr)}.thirds{grid-template-columns:repeat(3,1fr)}.facts{grid-template-columns:repeat(6,1fr)}}
)css";

}  // namespace infenclave
