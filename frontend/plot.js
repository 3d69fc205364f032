/**
 * The only module that knows Plotly: it loads it once (from this server, after first paint), draws with a safe
 * configuration and gives the two themes.
 */

const CONFIG = {
  displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: false, displayModeBar: "hover",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toImage"], doubleClick: false, scrollZoom: false,
};

/** Colours of the plot in each theme; the rest of the page takes the same ones from styles.css. */
export const THEMES = {
  light: {
    text: "#1a2230", muted: "#586274", grid: "#e8ebf0", axis: "#c6ccd6", surface: "#ffffff", front: "#0b62c4",
    a: "#0b62c4", b: "#b1480b", knee: "#8a6100", over: "#b4232f", baseline: "#6d3fa8", mark: "#0d7a5f",
  },
  dark: {
    text: "#e7ebf2", muted: "#9ba7b8", grid: "#242c38", axis: "#3d4757", surface: "#151b24", front: "#69b1ff",
    a: "#69b1ff", b: "#ff9d5c", knee: "#f2c14e", over: "#ff8088", baseline: "#c3a1f2", mark: "#5fd3b0",
  },
};

const FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif";

/** Traces a saved picture has besides those drawn, per plot. @type {WeakMap<HTMLElement, () => object[]>} */
const savedToo = new WeakMap();

/** The plot as it looks on the page, its overlay included, as a file. */
const saveButton = (Plotly) => ({
  name: "save", title: "Download plot as SVG", icon: Plotly.Icons.camera,
  click: (plot) => Plotly.downloadImage({ data: [...plot.data, ...savedToo.get(plot)()], layout: plot.layout, config: CONFIG }, { format: "svg", filename: "tradespace-front", width: plot.layout.width, height: plot.layout.height }),
});

/** @type {Promise<any>|null} */
let loading = null;

/** @returns {Promise<any>} Plotly, fetched on first use */
export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.querySelector('meta[name="plotly-url"]').content;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("The plotting library could not be loaded from this server."));
    };
    document.head.append(script);
  });
  return loading;
}

/**
 * Draws or updates. Layout parts common to all plots are filled in here.
 * @param {HTMLElement} element @param {object[]} traces @param {object} layout @param {"light"|"dark"} theme
 * @param {() => object[]} [saved] further traces of a saved picture
 * @returns {Promise<any>} the element with Plotly's events
 */
export async function draw(element, traces, layout, theme, saved = () => []) {
  const Plotly = await loadPlotly();
  savedToo.set(element, saved);
  const colours = THEMES[theme];
  const axis = {
    gridcolor: colours.grid, linecolor: colours.axis, tickcolor: colours.axis, zeroline: false, ticks: "outside", ticklen: 4,
    showline: true, tickfont: { size: 11.5, color: colours.muted }, automargin: false, fixedrange: false,
  };
  return Plotly.react(element, traces, {
    font: { family: FONT, size: 12, color: colours.text }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hovermode: "closest", hoverdistance: 24, showlegend: false, dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.muted, activecolor: colours.text },
    hoverlabel: { align: "left", bgcolor: colours.surface, bordercolor: colours.axis, font: { family: FONT, size: 12, color: colours.text } },
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
  }, { ...CONFIG, modeBarButtonsToAdd: [saveButton(Plotly)] });
}

/** @param {HTMLElement} element frees what Plotly keeps for it */
export function purge(element) {
  window.Plotly?.purge(element);
}
