// Draws the figures, and makes charts and details fit for paper while the page is printed.
const figures = JSON.parse(document.getElementById("figures").textContent);
const charts = [...document.querySelectorAll(".chart")];
const PRINTED = { half: { width: 322 }, wide: { width: 664, height: 405 } }; // CSS pixels: two wide ones fill an A4 page

for (const chart of charts) {
  const { data, layout } = figures[chart.dataset.figure];
  Plotly.newPlot(chart, data, layout, { displayModeBar: false, responsive: true });
}

let opened = [];

addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((each) => (each.open = true));
  for (const chart of charts) {
    const isWide = chart.closest("figure").classList.contains("wide");
    Plotly.relayout(chart, { autosize: false, ...(isWide ? PRINTED.wide : PRINTED.half) });
  }
});

addEventListener("afterprint", () => {
  opened.forEach((each) => (each.open = false));
  for (const chart of charts) {
    const { height } = figures[chart.dataset.figure].layout;
    Plotly.relayout(chart, { autosize: true, width: null, height });
  }
});
