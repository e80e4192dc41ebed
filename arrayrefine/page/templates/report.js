"use strict";
(() => {
  const value = (cell) => cell.dataset.key ?? cell.textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sortBy = (heading) => {
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const first = heading.classList.contains("num") ? "descending" : "ascending";
    const second = first === "descending" ? "ascending" : "descending";
    const order = heading.getAttribute("aria-sort") === first ? second : first;
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
    const known = rows.filter(([text]) => text !== "–");
    known.sort((a, b) => sign * compare(a[0], b[0]));
    const unknown = rows.filter(([text]) => text === "–"); // at the end either way
    table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
  };
  for (const button of document.querySelectorAll("table.sortable thead button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();

  // Beside a viewer (`arrayrefine view`), places become buttons that go there.
  const link = () => {
    for (const place of document.querySelectorAll("span[data-where]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "go";
      button.textContent = place.textContent;
      button.title = "Show in the viewer";
      button.addEventListener("click", () => {
        const [x, y, z] = place.dataset.where.split(",").map(Number);
        parent.postMessage({ arrayrefine: "go", label: place.textContent, centre: [x, y, z] }, location.origin);
      });
      place.replaceChildren(button);
    }
  };
  if (parent !== window) {
    addEventListener("message", (event) => {
      if (event.origin !== location.origin || event.data?.arrayrefine !== "viewer") return;
      link();
      document.querySelector("figcaption .go")?.click();
    }, { once: true });
    parent.postMessage({ arrayrefine: "ready" }, location.origin);
  }
})();
