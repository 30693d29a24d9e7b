# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the looks of the page: quiet, one accent, in light and in dark, on a phone and on paper.

Nothing here names another file. Every pair of ink and ground is listed in
:data:`READABLE`, and the tests compute its contrast.
"""

from __future__ import annotations

import typing as t

LIGHT: t.Mapping[str, str] = {
    "ground": "#fafaf9",
    "card": "#ffffff",
    "ink": "#1b2026",
    "soft": "#57606a",
    "line": "#e1e4e8",
    "accent": "#1b62ab",
    "ok": "#1a7432",
    "bad": "#b91f2b",
    "warn": "#8a5300",
    "used": "#4a86c5",
    "orphan": "#c67a2b",
    "pending": "#d9b13c",
    "quarantined": "#b9d0e8",
    "free": "#e6eaee",
    "reserved": "#c3c9d0",
    "service": "#7b8591",
    "spare": "#d7dbe0",
    "mark": "#1b2026",
    "shade": "27 98 171",
}
DARK: t.Mapping[str, str] = {
    "ground": "#101418",
    "card": "#171c21",
    "ink": "#e7eaed",
    "soft": "#9ea8b3",
    "line": "#2b323a",
    "accent": "#79b4f2",
    "ok": "#62c47b",
    "bad": "#ff8a82",
    "warn": "#e6b450",
    "used": "#4587c9",
    "orphan": "#c7782c",
    "pending": "#c29a27",
    "quarantined": "#2f4a66",
    "free": "#242b32",
    "reserved": "#3d4650",
    "service": "#76818d",
    "spare": "#2e363e",
    "mark": "#f4f6f8",
    "shade": "121 180 242",
}
READABLE = [(ink, ground) for ink in ("ink", "soft", "accent", "ok", "bad", "warn") for ground in ("ground", "card")]
"""Ink and the ground it stands on."""


def _variables(theme: t.Mapping[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in theme.items())


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:78rem;padding:clamp(1rem,3vw,2.5rem);background:var(--ground);color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:break-word}
h1,h2,h3,p,ul,ol,dl,dd,figure{margin:0;padding:0}
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}
h2{font-size:1.05rem;font-weight:600;margin-bottom:.9rem}
h3{font-size:.95rem;font-weight:600;margin-bottom:.25rem}
ul,ol{list-style:none}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
small{display:block;font-size:.8rem;color:var(--soft)}
a{color:var(--accent)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
[hidden],html:not(.scripted) .js{display:none!important}
.soft{color:var(--soft)}
.t-bad,.t-bad small{color:var(--bad)!important}
.t-warn,.t-warn small{color:var(--warn)!important}
.t-note{color:var(--soft)}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.3rem .6rem}
section{margin-top:2.75rem}
.bar{display:flex;justify-content:space-between;align-items:center;gap:1rem}
button,input,select{font:inherit;font-size:.87rem;color:inherit;background:var(--card);border:1px solid var(--line);
 border-radius:6px;padding:.3rem .6rem;max-width:100%}
button{cursor:pointer;flex:none}
button:hover{border-color:var(--accent)}

.verdict{display:flex;gap:1rem;align-items:center;margin:1.25rem 0 0;padding:1.15rem 1.25rem;background:var(--card);
 border:1px solid var(--line);border-left:5px solid var(--tone);border-radius:8px}
.v-whole{--tone:var(--ok)}.v-warn,.v-partial{--tone:var(--warn)}.v-bad{--tone:var(--bad)}.v-unseen{--tone:var(--soft)}
.sign{flex:none;width:2.4rem;height:2.4rem;border:2px solid var(--tone);border-radius:50%;color:var(--tone);
 font-size:1.2rem;font-weight:700;line-height:2.1rem;text-align:center}
.answer{font-size:1.35rem;font-weight:600;line-height:1.25}
.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:1.25rem 2rem;margin:1.5rem 0}
.figures>div{border-top:1px solid var(--line);padding-top:.7rem}
.figures dt{color:var(--soft);font-size:.85rem}
.figures dd{color:var(--soft)}
.figures b{font-size:1.7rem;font-weight:600;line-height:1.25;color:var(--ink)}
.meter{display:block;height:5px;margin:.3rem 0;border-radius:3px;background:var(--free);overflow:hidden}
.meter span{display:block;height:100%;min-width:3px;background:var(--used)}
.seen{font-size:.85rem}

.findings{background:var(--card);border:1px solid var(--line);border-radius:8px}
.findings li{display:grid;grid-template-columns:7rem 1fr;gap:.25rem 1rem;padding:.9rem 1.25rem}
.findings li+li{border-top:1px solid var(--line)}
.severity{font-weight:600}
.remedy{color:var(--soft);margin-top:.2rem}
.remedy code{color:var(--ink);background:var(--ground);border:1px solid var(--line);border-radius:4px;
 padding:.05em .35em;-webkit-box-decoration-break:clone;box-decoration-break:clone}

.remedy code span{display:inline-block;max-width:100%}
#pending td:nth-child(3){white-space:nowrap}

.legend{display:flex;flex-wrap:wrap;gap:.35rem 1.25rem;font-size:.87rem;color:var(--soft);margin:.6rem 0}
.legend b{font-weight:600;color:var(--ink)}
.sw{width:.95rem;height:.95rem;margin-right:.4rem;vertical-align:-.13rem}
figure{margin-top:1rem!important}
figcaption{margin-bottom:.4rem;color:var(--soft);font-size:.87rem}
figcaption code{color:var(--ink)}
.plot{display:flex;gap:.75rem}
.rows{position:relative;flex:none;width:7rem;font:.75rem/1 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;
 color:var(--soft);text-align:right}
.rows span{position:absolute;right:0;transform:translateY(-50%)}
.map{display:block;flex:1;width:100%;height:auto;shape-rendering:crispEdges;touch-action:pan-x pan-y}
.s{fill:none;stroke-width:1}
.m-used{stroke:var(--used)}.m-orphan{stroke:var(--orphan)}.m-pending{stroke:var(--pending)}
.m-quarantined{stroke:var(--quarantined)}.m-free{stroke:var(--free)}.m-reserved{stroke:var(--reserved)}
.m-service{stroke:var(--service)}.m-spare{stroke:var(--spare)}
.grid{fill:none;stroke:var(--ground);stroke-width:.1}
.x{fill:none;stroke:var(--mark);stroke-width:.09;shape-rendering:auto}
.ring,.at{fill:none;stroke:var(--ink);stroke-width:2px;vector-effect:non-scaling-stroke;shape-rendering:auto}
.at{stroke:var(--accent)}
.seg{min-height:1.5em;margin-top:.5rem;font-size:.87rem}
#tip{position:fixed;z-index:9;pointer-events:none;max-width:20rem;background:var(--ink);color:var(--ground);
 border-radius:5px;padding:.3rem .6rem;font-size:.83rem}
details{margin-top:.75rem}
summary{cursor:pointer;color:var(--accent);font-size:.87rem;width:fit-content}
.forecast{margin-top:1.5rem;border-top:1px solid var(--line);padding-top:.9rem}

.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.87rem}
th,td{text-align:left;vertical-align:top;padding:.4rem 1rem .4rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600}
thead th{color:var(--soft);font-weight:500;white-space:nowrap;vertical-align:bottom}
td code{white-space:nowrap}
.n{text-align:right}
.sites th,.sites td{padding-right:2rem;min-width:9rem}
.sites small{font-weight:400;max-width:17rem;overflow-wrap:anywhere}
.matrix th,.matrix td{padding:.35rem .5rem;border:1px solid var(--line);white-space:nowrap}
.matrix td{text-align:right;min-width:3.2rem}
.matrix th span{display:block;width:max-content;max-width:9rem;white-space:normal;overflow-wrap:anywhere}
.matrix tbody th,.matrix thead th:first-child{position:sticky;left:0;background:var(--ground);z-index:1}
.matrix thead th{vertical-align:bottom}
.matrix.dense{font-size:.72rem}
.matrix.dense td{min-width:2.4rem;padding:.15rem .25rem}
.matrix.dense tbody th{padding:.15rem .5rem}
.matrix.dense thead th span{writing-mode:vertical-rl;max-height:9rem}
.matrix.dense thead th:first-child span{writing-mode:initial}
.self{background:var(--line)}
.q1{background:rgb(var(--shade)/.08)}.q2{background:rgb(var(--shade)/.16)}
.q3{background:rgb(var(--shade)/.24)}.q4{background:rgb(var(--shade)/.32)}
.events li{display:grid;grid-template-columns:12rem 1fr;gap:.1rem 1rem;padding:.4rem 0;font-size:.9rem;
 border-bottom:1px solid var(--line)}
.when{color:var(--soft)}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1.25rem;align-items:center;margin-bottom:.75rem;font-size:.87rem}
.tools output{color:var(--soft)}
#nodes,#nodes thead,#nodes tbody{display:block}
#nodes thead{position:sticky;top:0;background:var(--ground);z-index:1}
#nodes tr{display:grid;gap:0 .9rem;border-bottom:1px solid var(--line);
 grid-template-columns:minmax(8rem,2.2fr) minmax(7rem,1.4fr) minmax(3.5rem,1fr) 8.6rem 7.6rem 4.2rem 5rem 4.7rem
 3.2rem 5.8rem}
#nodes tbody tr{content-visibility:auto;contain-intrinsic-size:auto 2.25rem}
#nodes th,#nodes td{border:0;padding:.4rem 0;overflow-wrap:anywhere}
#nodes td:nth-child(n+6):nth-child(-n+9){text-align:right}
#nodes td:nth-child(4),#nodes td:nth-child(5){font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;
 font-size:.82rem}
#nodes thead button{border:0;background:none;padding:0;color:inherit;font:inherit}
#nodes thead button:hover{color:var(--accent)}
#nodes tr.hit>*{background:rgb(var(--shade)/.18)}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.85rem}
"""

_NARROW = """
.rows{display:none}
.answer{font-size:1.15rem}
.figures{grid-template-columns:1fr 1fr;gap:1rem 1.25rem}
.figures b{font-size:1.4rem}
.findings li,.events li{grid-template-columns:1fr}
.findings li{padding:.85rem 1rem}
.verdict{padding:1rem}
.tools label,.tools input{width:100%}
.sites,.sites tbody,.sites tr,.sites th,.sites td{display:block;min-width:0;padding-right:0}
.sites thead{display:none}
.sites th,.sites td{border:0;padding:.3rem 0}
.sites tr{border-bottom:1px solid var(--line);padding:.5rem 0}
.sites td{padding-left:1rem}
.sites td::before{content:attr(data-to);display:block;color:var(--soft);font-size:.8rem}
.matrix th span{max-width:6rem}
#nodes thead{position:absolute;left:-99rem}
#nodes tr{grid-template-columns:1fr auto;gap:0 1rem;padding:.55rem 0}
#nodes tbody tr{contain-intrinsic-size:auto 3.6rem}
#nodes th,#nodes td{padding:0}
#nodes td:nth-child(2){text-align:right}
#nodes td:nth-child(3),#nodes td:nth-child(n+6){display:none}
#nodes td:nth-child(5){text-align:right;color:var(--soft)}
"""

_MIDDLE = """
#nodes tr{grid-template-columns:minmax(6rem,2fr) minmax(6rem,1.4fr) minmax(3rem,1fr) 8.6rem 7.6rem 4rem 4.8rem}
#nodes :is(td,th):nth-child(n+8){display:none}
"""

_PAPER = """
@page{margin:14mm}
body{max-width:none;padding:0;font-size:10.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.js,#tip,.skip{display:none!important}
section{margin-top:1.6rem;break-inside:auto}
h2,h3,figcaption{break-after:avoid}
tr,li,figure,.verdict{break-inside:avoid}
.scroll{overflow:visible}
.map{min-width:0!important}
#nodes{display:table;font-size:7.5pt}
#nodes thead{display:table-header-group;position:static}
#nodes tbody{display:table-row-group}
#nodes tr{display:table-row;content-visibility:visible!important}
#nodes :is(td,th):nth-child(n){display:table-cell;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line)}
#nodes :is(td,th):nth-child(n+3){white-space:nowrap}
#nodes td:nth-child(4),#nodes td:nth-child(5){font-size:7pt}
.matrix{font-size:7pt}
.matrix th,.matrix td,.matrix.dense td{min-width:0;padding:.1rem .2rem}
.matrix thead th span{writing-mode:vertical-rl;max-height:7rem}
.matrix thead th:first-child span{writing-mode:initial}
"""

STYLE = (
    f":root{{color-scheme:light;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{_variables(DARK)}}}}}"
    f"@media screen{{:root[data-theme=light]{{color-scheme:light;{_variables(LIGHT)}}}"
    f":root[data-theme=dark]{{color-scheme:dark;{_variables(DARK)}}}}}"
    f"{_RULES}@media screen and (max-width:70rem){{{_MIDDLE}}}@media screen and (max-width:46rem){{{_NARROW}}}"
    f"@media print{{{_PAPER}}}"
)
"""The whole style sheet."""
