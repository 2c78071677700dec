"use strict";
(() => {
  const components = JSON.parse(document.getElementById("page-data").textContent);
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    // Never as HTML: texts are whatever stood in the data.
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const PAGE = 10;

  // Light, dark, or as the system is.
  const theme = document.querySelector(".theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const root = document.documentElement;
      const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      theme.textContent = isDark ? "Dark" : "Light";
    });
  }

  // Tables sort by any column.
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      if (head.dataset.fixed !== undefined) return;
      const button = make("button", "", head.textContent.trim());
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const isRising = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && column === 0);
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
        const body = table.tBodies[0];
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const isNumber = x !== "" && y !== "" && !Number.isNaN(Number(x)) && !Number.isNaN(Number(y));
          return isNumber ? Number(x) - Number(y) : x.localeCompare(y);
        });
        body.append(...(isRising ? rows : rows.reverse()));
      });
    });
  }

  const labels = (names) => (names.length ? names.join(", ") : "no label");

  const item = (row) => {
    const line = make("li");
    line.append(make("div", "text", row.text || "(empty text)"));
    const verdict = make("div", "verdict");
    if (row.right) {
      verdict.append(make("span", "true", labels(row.predicted)));
    } else {
      verdict.append(make("span", "false", labels(row.predicted)), document.createTextNode(", not "), make("span", "true", labels(row.true)));
    }
    verdict.append(make("div", "score", `score ${row.score.toFixed(3)}, text ${row.place + 1}`));
    line.append(verdict);
    return line;
  };

  for (const section of document.querySelectorAll("[data-component]")) {
    const component = components[Number(section.dataset.component)];
    const list = section.querySelector(".texts");
    const more = section.querySelector(".more");
    const said = section.querySelector(".said");
    const search = section.querySelector("input[type=search]");
    const reset = section.querySelector(".reset");
    const cells = [...section.querySelectorAll(".matrix td button")];
    let chosen = null;
    let n = PAGE;

    const show = () => {
      const words = search ? search.value.toLocaleLowerCase() : "";
      const wanted = component.texts.filter((row) => {
        const inCell = chosen ? row.cells.some(([a, b]) => a === chosen.row && b === chosen.column) : !row.right;
        return inCell && (!words || `${row.text}\n${row.true}\n${row.predicted}`.toLocaleLowerCase().includes(words));
      });
      list.replaceChildren(...wanted.slice(0, n).map(item));
      more.hidden = wanted.length <= n;
      reset.hidden = !chosen && !words;
      const total = chosen ? chosen.n : component.n_errors;
      const kind = chosen ? chosen.words : "texts that are wrong, the surest mistakes first";
      const known = wanted.length < total && !words ? `, ${wanted.length} of them on this page` : "";
      said.textContent = words ? `${wanted.length} with “${search.value}” among ${kind}` : `${total} ${kind}${known}`;
    };

    if (list) {
      more.addEventListener("click", () => { n += 5 * PAGE; show(); });
      search.addEventListener("input", () => { n = PAGE; show(); });
      reset.addEventListener("click", () => {
        chosen = null; search.value = ""; n = PAGE;
        cells.forEach((cell) => cell.setAttribute("aria-pressed", "false"));
        show();
      });
      for (const cell of cells) {
        cell.addEventListener("click", () => {
          cells.forEach((other) => other.setAttribute("aria-pressed", String(other === cell)));
          chosen = { row: cell.dataset.row, column: cell.dataset.column, n: Number(cell.textContent), words: cell.dataset.words };
          n = PAGE; search.value = "";
          show();
          said.scrollIntoView({ block: "nearest" });
        });
      }
      section.querySelector(".tools.for-texts").hidden = false;
      show();
    }

    // The matrix in another order.
    const order = section.querySelector("select.order");
    if (order) {
      order.closest(".tools").hidden = false;
      const table = section.querySelector(".matrix");
      const heads = [...table.tHead.rows[0].cells].slice(1);
      const rows = [...table.tBodies[0].rows];
      const bodies = rows.map((row) => [...row.cells].slice(1));
      const key = { data: (e) => Number(e.dataset.position), name: (e) => e.dataset.label, texts: (e) => -Number(e.dataset.texts), mistakes: (e) => -Number(e.dataset.mistakes) };
      const sorted = (elements) => {
        const by = key[order.value];
        const places = elements.map((_, i) => i);
        places.sort((i, j) => {
          const [a, b] = [by(elements[i]), by(elements[j])];
          return typeof a === "number" ? a - b || i - j : a.localeCompare(b);
        });
        return places;
      };
      order.addEventListener("change", () => {
        const columns = sorted(heads);
        table.tHead.rows[0].append(...columns.map((i) => heads[i]));
        rows.forEach((row, r) => row.append(...columns.map((i) => bodies[r][i])));
        table.tBodies[0].append(...sorted(rows).map((i) => rows[i]));
      });
    }

    // What a threshold buys.
    const slider = section.querySelector(".slider input");
    if (slider && component.thresholds.length) {
      section.querySelector(".slider").hidden = false;
      const output = section.querySelector(".slider output");
      const points = component.thresholds;
      const say = () => {
        const at = Number(slider.value);
        if (component.exclusive) {
          const taken = points.filter((one) => one.threshold >= at).pop();
          output.textContent = taken
            ? `Scores of ${at.toFixed(2)} and above: ${percent(taken.share)} of the texts (${taken.n}), ${percent(taken.right.value)} of them right; the other ${percent(1 - taken.share)} are left to people.`
            : `No text has a score of ${at.toFixed(2)} or more.`;
        } else {
          const one = points.reduce((best, point) => (Math.abs(point.threshold - at) < Math.abs(best.threshold - at) ? point : best));
          const precision = one.precision === null ? "nothing is given" : `precision ${percent(one.precision)}`;
          const recall = one.recall === null ? "" : `, recall ${percent(one.recall)}`;
          output.textContent = `Labels with scores of ${one.threshold.toFixed(2)} and above (${one.n}): ${precision}${recall}, F ${percent(one.f ?? 0)}.`;
        }
        slider.setAttribute("aria-valuetext", output.textContent);
      };
      slider.addEventListener("input", say);
      say();
    }
  }

  // Paper cannot be opened.
  addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach((one) => { one.open = true; }));
})();
