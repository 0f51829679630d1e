"""The style sheet of the HTML report."""

STYLE = """
:root{--paper:#fff;--ink:#1d2330;--soft:#5b6475;--line:#e3e7ee;--fill:#f6f8fb;--good:#1a7f4e;--fair:#b7791f;--bad:#c0362c;
--skip:#c3cad6;--sent:#0b5cad;--got:#7a3ea1;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#12151c;--ink:#e6e9ef;--soft:#9aa4b5;--line:#2a303c;--fill:#1a1f29;
--good:#46b97f;--fair:#e0a84a;--bad:#f0776c;--skip:#4a5364;--sent:#6fb3f2;--got:#c79be6}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
a{color:inherit}code{font:.85em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
header{display:flex;gap:1.75rem;align-items:center;margin-bottom:2rem}
header h1{margin:0;font-size:1.9rem;line-height:1.2;overflow-wrap:anywhere}
.good{--tone:var(--good)}.fair{--tone:var(--fair)}.bad{--tone:var(--bad)}
.verdict{margin:.15rem 0 .35rem;font-weight:600;color:var(--tone)}
.facts{margin:0;color:var(--soft);font-size:.9rem}
.dial{flex:none;width:8rem;height:8rem;border-radius:50%;display:grid;place-content:center;text-align:center;
background:radial-gradient(var(--paper) 61%,transparent 62%),
conic-gradient(var(--tone) calc(var(--part)*1%),var(--line) 0)}
.dial b{font-size:2.4rem;line-height:1}.dial span{color:var(--soft);font-size:.8rem}
.suites{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
.card{display:block;padding:.9rem 1rem;border:1px solid var(--line);border-radius:.6rem;text-decoration:none}
.card h3{display:flex;justify-content:space-between;margin:0 0 .5rem;font-size:1rem}
.card p{margin:.5rem 0 0;color:var(--soft);font-size:.85rem}
.bar{display:flex;height:.5rem;border-radius:.25rem;overflow:hidden;gap:1px}
.bar .passed{background:var(--good)}.bar .failed{background:var(--bad)}.bar .skipped{background:var(--skip)}
.notes{margin:1.5rem 0 0;padding:.8rem 1rem .8rem 2rem;background:var(--fill);border-radius:.6rem;font-size:.92rem}
.grade{display:flex;gap:1.5rem;margin:1.5rem 0 0;padding:1.1rem 1.25rem;border:1px solid var(--line);
border-radius:.6rem}
.grade>b{flex:none;width:4rem;height:4rem;border-radius:.6rem;display:grid;place-content:center;font-size:2.2rem;
line-height:1;color:var(--paper);background:var(--tone)}
.grade>div{flex:1;min-width:0}.grade h3{margin:0 0 .3rem;font-size:1rem}.grade table{margin:0}
.grade td:first-child{width:2.75rem;color:var(--tone)}.grade td:nth-child(2){width:auto;display:table-cell;
overflow-wrap:anywhere}
h2{margin:2.75rem 0 1rem;font-size:1.35rem}
.clean{margin-top:2rem;font-size:1.1rem;color:var(--good);font-weight:600}
.group{margin:0 0 1.5rem;border:1px solid var(--line);border-radius:.6rem;overflow:hidden}
.group>h3{margin:0;padding:1rem 1.25rem .25rem;font-size:1.1rem}
dl{margin:0;padding:0 1.25rem 1rem;display:grid;grid-template-columns:8rem 1fr;gap:.25rem 1rem;font-size:.95rem}
dt{color:var(--soft)}dd{margin:0}
article{padding:1rem 1.25rem;border-top:1px solid var(--line)}
article:target{background:var(--fill)}
article h4{margin:.35rem 0 .15rem;font-size:1rem}article p{margin:0;color:var(--soft)}
.line{display:flex;flex-wrap:wrap;gap:.3rem .7rem;align-items:center;font-size:.9rem}
.line code{color:var(--ink)}.source{margin-left:auto}
.tag{padding:0 .45rem;border-radius:.3rem;font-size:.72rem;font-weight:700;letter-spacing:.03em;color:var(--paper)}
.tag.must{background:var(--bad)}.tag.should{background:var(--fair)}.tag.known{background:var(--soft)}
summary{cursor:pointer;padding:.35rem 0;color:var(--soft)}
ol{list-style:none;margin:.25rem 0 0;padding:.6rem .9rem;background:var(--fill);border-radius:.4rem;max-height:26rem;
overflow:auto}
ol li{padding:.15rem 0}ol span{display:block;font-size:.88rem}
ol code{display:block;overflow-wrap:anywhere;color:var(--soft)}
.sent>span{color:var(--sent)}.received>span{color:var(--got)}.note>span{color:var(--soft)}
.suite{border-top:1px solid var(--line)}.suite>summary{padding:.7rem 0;color:var(--ink);font-weight:600}
table{width:100%;border-collapse:collapse;font-size:.9rem;margin-bottom:1rem}
td{padding:.35rem .75rem .35rem 0;vertical-align:top;border-top:1px solid var(--line)}
td:first-child{width:4.5rem;font-weight:600}td code{overflow-wrap:anywhere}td:nth-child(2){width:15rem}
td small{display:block;color:var(--soft)}
.topic th{text-align:left;padding:1.1rem 0 .3rem;font-size:.95rem}
tr.passed td:first-child{color:var(--good)}tr.failed td:first-child{color:var(--bad)}
tr.skipped td:first-child{color:var(--soft);font-weight:400}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media(max-width:40rem){header{flex-direction:column;align-items:flex-start;gap:1rem}dl{grid-template-columns:1fr}
dd{margin-bottom:.5rem}td:nth-child(2){display:none}}
@media print{details{break-inside:avoid}.group{break-inside:avoid-page}main{padding:0}ol{max-height:none}}
"""
