// Theme, filter and order of the nodes, and the node CIDR under the pointer or the arrow keys. The script reads no data
// except the page itself. page.py removes comments and indentation.
"use strict";
(() => {
  const root = document.documentElement, id = (name) => document.getElementById(name);
  root.classList.add("scripted");

  // --- theme: that of the system, until the button is pressed ---
  const system = matchMedia("(prefers-color-scheme: dark)");
  id("theme").addEventListener("click", () => {
    const dark = (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
    root.dataset.theme = dark ? "light" : "dark";
  });

  // --- nodes: filter and order ---
  const body = id("nodes").tBodies[0], rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const states = rows.map((row) => row.cells[1].firstChild.data.slice(2));
  const show = () => {
    const words = id("filter").value.toLowerCase().split(/\s+/).filter(Boolean), state = id("state").value;
    let shown = 0;
    rows.forEach((row, at) => {
      const fits = (!state || states[at] === state) && words.every((word) => texts[at].includes(word));
      row.hidden = !fits;
      shown += fits;
    });
    const all = shown === rows.length;
    id("shown").textContent = all ? "" : `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  };
  id("filter").addEventListener("input", show);
  id("state").addEventListener("change", show);

  // The value by which a cell is ordered: a column has numbers, addresses or texts (data-t: n, a, t).
  const number = (text) => { const found = parseFloat(text.replace(/,/g, "")); return isNaN(found) ? -1 : found; };
  const address = (text) => {
    const parts = text.match(/^(\d+)\.(\d+)\.(\d+)\.(\d+)/);
    return parts ? parts.slice(1).reduce((sum, part) => sum * 256 + +part, 0) : -1;
  };
  const words = new Intl.Collator("en", { numeric: true });
  const headers = [...id("nodes").tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      headers.forEach((other) => other.firstChild.replaceChildren(other.textContent.replace(/ [▲▼]$/, "")));
      button.textContent += up ? " ▲" : " ▼";
      const kind = header.dataset.t, read = kind === "n" ? number : kind === "a" ? address : (text) => text;
      const keyed = rows.map((row) => [read(row.cells[column].textContent), row]);
      keyed.sort(kind === "t" ? (a, b) => words.compare(a[0], b[0]) : (a, b) => a[0] - b[0]);
      if (!up) keyed.reverse();
      body.append(...keyed.map((pair) => pair[1]));
    });
  });

  // --- the map: the cell under the pointer, and movement by the arrow keys ---
  const labels = ["used", "orphan", "pending", "quarantined", "free", "reserved", "Services", "too small"];
  let owners = null; // rows of nodes and of released node CIDRs, by the number of the node CIDR
  const owner = (number) => {
    if (!owners) {
      owners = new Map();
      for (const row of document.querySelectorAll("tr[data-n]")) owners.set(+row.dataset.n, row);
    }
    return owners.get(number);
  };
  const dotted = (address) => [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
  // The text about a cell, and the row of its node or of its release.
  const about = (map, cell) => {
    const data = map.dataset;
    if (!map.cells) map.cells = JSON.parse(data.cells);
    let from = 0, state = 7;
    for (const [kind, length] of map.cells) { if (cell < from + length) { state = kind; break; } from += length; }
    const first = address(data.address) + cell * +data.size;
    const name = `${dotted(first)}/${32 - Math.log2(+data.size)}`;
    const row = state < 4 ? owner(+data.first + cell) : null;
    if (!row) return { text: `${name}: ${labels[state]}`, row: null };
    const cells = [...row.cells].map((each) => (each.firstChild ? each.firstChild.textContent : ""));
    if (row.closest("#pending")) {
      return { text: `${name}: ${labels[state]}, released by ${cells[1]}; free when ${cells[3]}`, row };
    }
    const site = cells[2] === "\u2013" ? "" : ` (${cells[2]})`;
    return { text: `${name}: ${labels[state]}, ${cells[0]}${site}, since ${cells[9]}; ${cells[1].slice(2)}`, row };
  };
  const tip = id("tip"), text = id("node-cidr");
  for (const map of document.querySelectorAll("svg.map")) {
    const columns = +map.dataset.columns, high = map.viewBox.baseVal.height;
    const total = JSON.parse(map.dataset.cells).reduce((sum, run) => sum + run[1], 0);
    const mark = document.createElementNS(map.namespaceURI, "path");
    mark.setAttribute("class", "at");
    map.append(mark);
    let at = -1;
    const go = (cell) => {
      at = cell;
      mark.setAttribute("d", at < 0 ? "" : `M${at % columns} ${Math.floor(at / columns)}h1v1h-1z`);
    };
    const under = (event) => {
      const box = map.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * columns);
      const cell = Math.floor((event.clientY - box.top) / box.height * high) * columns + column;
      return column >= 0 && column < columns && cell >= 0 && cell < total ? cell : -1;
    };
    map.addEventListener("pointermove", (event) => {
      const cell = under(event);
      go(cell);
      tip.hidden = cell < 0;
      if (cell < 0) return;
      tip.textContent = about(map, cell).text;
      const right = event.clientX + 14 + tip.offsetWidth < innerWidth;
      tip.style.left = `${Math.max(4, right ? event.clientX + 14 : event.clientX - 14 - tip.offsetWidth)}px`;
      const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
      tip.style.top = `${below ? event.clientY + 18 : event.clientY - 10 - tip.offsetHeight}px`;
    });
    map.addEventListener("pointerleave", () => { tip.hidden = true; go(-1); });
    const open = (cell) => {
      const found = cell < 0 ? null : about(map, cell);
      text.textContent = found ? found.text : "";
      return found;
    };
    map.addEventListener("click", (event) => {
      const found = open(under(event));
      document.querySelectorAll("tr.hit").forEach((row) => row.classList.remove("hit"));
      if (found && found.row) found.row.classList.add("hit");
    });
    map.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      let next = event.key === "Home" ? 0 : event.key === "End" ? total - 1 : step ? (at < 0 ? 0 : at + step) : null;
      if (event.key === "Enter" && at >= 0) {
        const found = about(map, at);
        if (found.row) {
          found.row.hidden = false;
          found.row.classList.add("hit");
          found.row.scrollIntoView({ block: "center" });
        }
      }
      if (next === null) return;
      event.preventDefault();
      if (next >= 0 && next < total) { go(next); open(next); }
    });
  }
})();
