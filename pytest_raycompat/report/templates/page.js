"use strict";
(() => {
  const source = document.getElementById("data");
  if (!source) return;
  const tests = JSON.parse(source.textContent);
  const body = document.querySelector("#table tbody");
  const form = document.querySelector(".filters");
  const rows = new Map(Array.from(body.rows, (row) => [Number(row.dataset.n), row]));
  const columns = document.querySelectorAll("#table thead th").length;
  const texts = tests.map((test) =>
    [test.id, test.flow, test.with, test.gap, test.verdict, test.reason, test.environment].join("\n").toLowerCase());

  // everything from a report goes into the page as text, never as markup
  const make = (name, content, className) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (content !== undefined) element.append(content);
    return element;
  };
  const part = (parent, heading, ...content) => {
    if (content.every((one) => one === null)) return;
    parent.append(make("h3", heading), ...content.filter((one) => one !== null));
  };
  const text = (value) => (value ? make("pre", value) : null);
  const json = (value) => (value && Object.keys(value).length ? make("pre", JSON.stringify(value, null, 2)) : null);
  const facts = (pairs) => {
    const list = make("dl", undefined, "facts");
    for (const [name, value] of pairs) {
      if (value === null || value === undefined || value === "") continue;
      const group = make("div");
      group.append(make("dt", name), make("dd", String(value)));
      list.append(group);
    }
    return list.children.length ? list : null;
  };
  const exception = (one) => text([
    `${one.type}: ${one.message}${one.process ? ` (in ${one.process})` : ""}`, one.traceback].filter(Boolean).join("\n"));
  const timings = (values) => {
    const entries = Object.entries(values || {});
    if (!entries.length) return null;
    const table = make("table", undefined, "small");
    for (const [phase, seconds] of entries) {
      const row = table.insertRow();
      const head = make("th", phase);
      head.scope = "row";
      row.append(head, make("td", `${seconds.toFixed(2)} s`, "number"));
    }
    return table;
  };

  const describe = (test) => {
    const parent = document.createDocumentFragment();
    parent.append(facts([
      ["environment", test.environment], ["flow", test.flow], ["with", test.with], ["outcome", test.outcome],
      ["phase", test.phase], ["gap", test.gap], ["seconds", test.seconds], ["since the baseline", test.change],
      ["at", test.file ? `${test.file}:${test.line}` : ""],
    ]) ?? "");
    part(parent, "Why", text(test.reason));
    part(parent, "Reproduce", text(test.reproduce));
    part(parent, "Attempts before", ...(test.attempts || []).map((one, n) =>
      make("p", `${n + 1}: ${one.verdict} after ${(one.seconds || 0).toFixed(1)} s${one.reason ? `: ${one.reason}` : ""}`)));
    part(parent, "With the workaround of a gap", ...(test.workarounds || []).map((one) =>
      make("p", `${one.gap}: ${one.works ? "works" : "does not work"}${
        one.exception ? `: ${one.exception.type}: ${one.exception.message}` : ""}`)));
    if (test.chain && test.chain.length) part(parent, "Exceptions, root cause first", ...test.chain.map(exception));
    part(parent, "Evidence", json(test.evidence));
    part(parent, "Timings", timings(test.timings));
    part(parent, "Measurements", facts(Object.entries(test.measurements || {}).map(([name, one]) =>
      [name, `${one.samples.map((value) => Number(value.toPrecision(4))).join(", ")} ${one.unit}`])));
    if (test.control) {
      part(parent, "Control, the same without Ray", facts([["outcome", test.control.outcome]]),
        json(test.control.parameters), test.control.exception ? exception(test.control.exception) : null,
        timings(test.control.timings));
    }
    part(parent, "End of the log", text(test.log_excerpt));
    part(parent, "Logs", text((test.logs || []).join("\n")));
    return parent;
  };

  const close = (row) => {
    const button = row.querySelector(".open");
    if (button.getAttribute("aria-expanded") === "false") return;
    button.setAttribute("aria-expanded", "false");
    button.removeAttribute("aria-controls");
    row.nextElementSibling.remove();
  };
  const open = (row) => {
    const button = row.querySelector(".open");
    if (button.getAttribute("aria-expanded") === "true") return;
    const detail = make("tr", undefined, "detail");
    const cell = make("td");
    detail.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    detail.id = `d${row.dataset.n}`;
    cell.colSpan = columns;
    cell.append(describe(tests[Number(row.dataset.n)]));
    detail.append(cell);
    row.after(detail);
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-controls", detail.id);
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (!button) return;
    const row = button.closest("tr");
    (button.getAttribute("aria-expanded") === "true" ? close : open)(row);
  });

  const status = document.getElementById("shown");
  const none = document.getElementById("none");
  const filter = () => {
    const verdicts = new Set(Array.from(form.querySelectorAll("[name=verdict]:checked"), (one) => one.value));
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const environment = form.elements.environment ? form.elements.environment.value : "";
    const change = form.elements.change ? form.elements.change.value : "";
    const flaky = form.elements.flaky ? form.elements.flaky.checked : false;
    let count = 0;
    tests.forEach((test, n) => {
      const fits = verdicts.has(test.verdict) && words.every((word) => texts[n].includes(word)) &&
        (environment === "" || String(test.column) === environment) && (change === "" || test.change === change) &&
        (!flaky || test.flaky);
      const row = rows.get(n);
      if (!fits) close(row);
      row.hidden = !fits;
      count += fits;
    });
    status.textContent = `${count} of ${tests.length} tests`;
    none.hidden = count > 0;
  };
  const showAll = () => { form.reset(); };
  let waiting = 0;
  form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, tests.length > 1000 ? 120 : 0); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter, 0));
  document.getElementById("reset").addEventListener("click", showAll);

  document.querySelectorAll("#table thead button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const descending = head.getAttribute("aria-sort") === "ascending";
      document.querySelectorAll("#table thead th[aria-sort]").forEach((one) => one.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = button.dataset.key;
      const value = (test) => (key === "verdict" ? test.order : test[key] ?? "");
      const order = tests.map((_, n) => n).sort((a, b) => {
        const [x, y] = [value(tests[a]), value(tests[b])];
        return (x < y ? -1 : x > y ? 1 : a - b) * (descending ? -1 : 1);
      });
      rows.forEach(close);
      body.append(...order.map((n) => rows.get(n)));
    });
  });

  const follow = () => {
    const match = /^#t(\d+)$/.exec(location.hash);
    const row = match && rows.get(Number(match[1]));
    if (!row) return;
    if (row.hidden) { form.reset(); setTimeout(() => { filter(); show(row); }, 0); } else show(row);
  };
  const show = (row) => {
    open(row);
    row.scrollIntoView({ block: "start" });
    row.querySelector(".open").focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  filter();  // a browser may have kept what was chosen before
  follow();
})();
