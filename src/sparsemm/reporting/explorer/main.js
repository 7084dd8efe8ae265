// The page's frame: models, views, theme, link; a pane a model.

const NAMES = { heads: "Heads", kept: "Kept tokens", scores: "Scores and cost", answers: "Answers" };
const MAKE = { heads: HeadsView, kept: KeptView, scores: ScoresView, answers: AnswersView };
const panes = [0, 1].map((pane) => ({
  title: el("h2", {}), box: el("div", { class: "pane" }),
  views: Object.fromEntries(VIEWS.map((view) => [view, new MAKE[view](pane)])),
}));

const tabs = el("div", { role: "tablist", "aria-label": "Views", onkeydown: (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = VIEWS[(VIEWS.indexOf(state.view) + step + VIEWS.length) % VIEWS.length];
  setState({ view: next });
  document.getElementById(`tab-${next}`).focus();
} }, VIEWS.map((view) => el("button", { type: "button", role: "tab", id: `tab-${view}`, "aria-controls": "main",
  text: NAMES[view], onclick: () => setState({ view }) })));

const names = DATA.models.map((model) => [model.name, model.name]);
const first = picker("Model", names, (value) => setState({ models: [value, ...state.models.slice(1)] }), "model");
const second = picker("beside", [["", "none"], ...names],
  (value) => setState({ models: value ? [state.models[0], value] : [state.models[0]] }), "beside");
const theme = el("button", { type: "button", "data-control": "theme",
  onclick: () => setState({ theme: isDark() ? "light" : "dark" }) });
const copied = el("span", { role: "status", class: "note" });
const copy = el("button", { type: "button", "data-control": "link", text: "Copy link", onclick: async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    copied.textContent = "copied";
  } catch {
    copied.textContent = "the address bar has it";
  }
  setTimeout(() => { copied.textContent = ""; }, 3000);
} });

function facts() {
  return el("footer", {}, el("ul", {}, Object.entries(DATA.facts).map(([key, value]) => el("li", { text: `${key}: ${value}` }))));
}

document.getElementById("app").replaceChildren(
  el("header", {}, el("h1", { text: DATA.title }), el("div", { class: "bar" }, first.box, DATA.models.length > 1 ? second.box : null,
    theme, copy, copied), tabs),
  el("main", { id: "main", role: "tabpanel", tabindex: "-1" }, panes.map(({ title, box }) => el("div", { class: "panebox" }, title, box))),
  facts());

function show() {
  applyTheme();
  theme.textContent = isDark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  first.set(state.models[0]);
  second.set(state.models[1] || "");
  for (const view of VIEWS) {
    const tab = document.getElementById(`tab-${view}`);
    tab.setAttribute("aria-selected", view === state.view ? "true" : "false");
    tab.tabIndex = view === state.view ? 0 : -1;
  }
  document.getElementById("main").setAttribute("aria-labelledby", `tab-${state.view}`);
  document.body.classList.toggle("double", state.models.length > 1);
  panes.forEach(({ title, box, views }, at) => {
    const model = MODEL[state.models[at]];
    box.parentElement.hidden = !model;
    if (!model) return;
    title.textContent = model.name;
    const view = views[state.view];
    if (box.firstChild !== view.box) box.replaceChildren(view.box);
    view.update(model);
  });
  document.documentElement.dataset.ready = "true";
}

listeners.push(show);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();
