"""The style sheet of a run's page: dark and light, narrow and printed."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--soft:#5a6574;--line:#dce1e8;--page:#fff;
--card:#f6f8fa;--good:#17693a;--bad:#b3261e;--warn:#8a5300;--moved:#7a3ea1;--rail:#e6eaef}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#98a4b3;--line:#2d3643;--page:#11151b;
--card:#181e26;--good:#6fce97;--bad:#ff8f86;--warn:#f0b45c;--moved:#cf9df0;--rail:#252d38}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif;
overflow-wrap:anywhere}
main{max-width:68rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.5rem;line-height:1.3;margin:0 0 .8rem}
h1 code{font-weight:400;color:var(--soft);font-size:1.1rem}
h2{font-size:1.1rem;margin:2.2rem 0 .6rem}h3{font-size:.8rem;color:var(--soft);margin:.9rem 0 .2rem;
font-weight:600}
p{margin:.35rem 0}code,pre,time{font-family:ui-monospace,monospace}
time,.key{font-size:.8rem;color:var(--soft)}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
p.soft{font-size:.85rem}
.tag{font-size:.75rem;font-weight:600;border:1px solid;border-radius:4px;padding:.05rem .4rem;
white-space:nowrap;vertical-align:middle}.tag.plain{color:var(--soft)}.tag.moved{color:var(--moved)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.5rem 1.2rem;
margin:.6rem 0}.facts dt{font-size:.78rem;color:var(--soft)}.facts dd{margin:0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4rem 0}
th,td{text-align:right;padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{font-size:.78rem;color:var(--soft);font-weight:600}
.scroll{overflow-x:auto}svg text{font:13px system-ui,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}.edge{fill:none;stroke:var(--soft);stroke-width:1.2}
.dot{fill:var(--soft)}.dot.good{fill:var(--good)}.dot.bad{fill:var(--bad)}
.dot.warn{fill:var(--warn)}
details{border-top:1px solid var(--line)}details:last-child{border-bottom:1px solid var(--line)}
summary{display:grid;grid-template-columns:6.6rem minmax(2.4rem,auto) 1fr auto;gap:0 .7rem;
align-items:baseline;padding:.4rem .25rem .35rem;cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
summary:hover,details[open]>summary{background:var(--card)}
summary:focus-visible{outline:2px solid var(--warn);outline-offset:-2px}
.what{min-width:0}.tags{display:flex;gap:.35rem;flex-wrap:wrap;justify-content:flex-end;
align-items:baseline}.tags i{font-style:normal;font-size:.8rem;color:var(--soft);min-width:4rem;
text-align:right}
.bar{grid-column:1/-1;width:100%;height:3px;margin-top:.3rem;display:block}
.bar .rail{fill:var(--rail)}.bar .good{fill:var(--good)}.bar .bad{fill:var(--bad)}
.bar .warn{fill:var(--warn)}.bar .plain{fill:var(--soft)}
.inside{background:var(--card);padding:.4rem .9rem .8rem}
pre{background:var(--page);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;
margin:.2rem 0;font-size:.82rem;line-height:1.45;white-space:pre-wrap;max-height:28rem;
overflow:auto}
.add{color:var(--good)}.del{color:var(--bad)}
.gap{text-align:center;color:var(--soft);font-size:.8rem;margin:0;padding:.35rem;
border-top:1px dashed var(--line)}
@media(max-width:40rem){main{padding:1.2rem .8rem 3rem}
summary{grid-template-columns:auto auto 1fr;gap:.1rem .6rem}
.what{grid-column:1/-1;grid-row:2}.tags i{min-width:0}.facts{grid-template-columns:1fr 1fr}
.inside{padding:.3rem .5rem .6rem}}
@media print{:root{--page:#fff;--card:#fff;--ink:#000}main{max-width:none;padding:0}
details,section{break-inside:avoid-page}pre{max-height:none}}
"""
