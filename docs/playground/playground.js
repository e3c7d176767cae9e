// The page where you type: sends the program to worker.js, and shows what comes back: an error, or a graph and its steps.
"use strict";

(() => {
  const page = document.getElementById("playground");
  const part = (name) => page.querySelector("." + name);
  const [examples, runButton, stopButton, status] = ["examples", "run", "stop", "status"].map(part);
  const [back, next, slider, graph] = ["back", "next", "step", "graph"].map(part);
  const editor = page.querySelector("textarea");

  let worker; // which is new after each Stop: nothing else ends an endless loop
  let ready = false;
  let running = false;
  let wanted = true; // to run as soon as Python is ready, as at first
  let picture;

  function show(element, text) {
    element.textContent = text;
    element.hidden = !text;
  }

  // Running

  function start() {
    ready = false;
    status.textContent = "Loading Python (14 MB) …";
    worker = new Worker("worker.js", { type: "module" });
    worker.onerror = () => fail("Python could not be started: this browser may be too old, or a file is missing.");
    worker.onmessage = ({ data }) => {
      if (data.ready) {
        ready = true;
        status.textContent = "Ready";
        if (wanted) run();
      } else if (data.missing) {
        fail(`Python could not be started: ${data.missing}`);
      } else if (data.broken) {
        stop(data.broken);
      } else if (data.line !== undefined) {
        const printed = part("printed");
        printed.textContent += data.line + "\n";
        printed.hidden = false;
      } else {
        end(data.shown);
      }
    };
  }

  function fail(reason) {
    show(part("problem"), reason);
    status.textContent = "";
    runButton.disabled = true;
  }

  function run() {
    wanted = !ready;
    if (running || !ready) return;
    running = true;
    runButton.disabled = true;
    stopButton.disabled = false;
    status.textContent = "Running …";
    for (const name of ["error", "printed", "note"]) show(part(name), "");
    number(0);
    worker.postMessage(editor.value);
  }

  function stop(reason) {
    worker.terminate();
    end({ note: reason });
    start();
  }

  function end(shown) {
    running = false;
    runButton.disabled = false;
    stopButton.disabled = true;
    status.textContent = shown.error ? "Ended by an error" : "Done";
    if (shown.error) explain(shown.error);
    if (shown.value) {
      part("printed").textContent += shown.value + "\n";
      part("printed").hidden = false;
    }
    show(part("note"), shown.note);
    part("picture").hidden = !shown.picture;
    if (shown.picture) draw(shown.picture);
  }

  function explain({ lines, text, message }) {
    const [line, ...callers] = lines;
    const from = callers.length ? `, called from line ${callers.slice(0, 5).join(", from line ")}` : "";
    show(part("error"), line ? `Line ${line}${from}:` : message);
    if (!line) return;
    const code = document.createElement("code");
    code.textContent = text;
    const words = document.createElement("div");
    words.textContent = message;
    part("error").append(" ", code, words);
    number(line);
  }

  // The editor

  function number(wrong) {
    const lines = editor.value.split("\n");
    const numbers = lines.map((_, i) => {
      const mark = document.createElement(i + 1 === wrong ? "mark" : "span");
      mark.textContent = i + 1;
      return [mark, "\n"];
    });
    part("numbers").replaceChildren(...numbers.flat());
    editor.rows = lines.length;
  }

  function choose() {
    editor.value = examples.value;
    number(0);
  }

  // Tab stays what it is everywhere, the way to the next control: Enter indents, and Backspace takes that back.

  function beforeCursor() {
    return editor.value.slice(0, editor.selectionStart).split("\n").pop();
  }

  function outdent() {
    const [before, { selectionStart: start, selectionEnd: end }] = [beforeCursor(), editor];
    if (start === end && /^ +$/.test(before)) editor.selectionStart = start - (((before.length - 1) % 4) + 1);
  }

  function indent(event) {
    const before = beforeCursor();
    const spaces = before.match(/^ */)[0] + (before.trimEnd().endsWith(":") ? "    " : "");
    event.preventDefault();
    document.execCommand("insertText", false, "\n" + spaces); // unlike setting .value, it can be undone
  }

  // The graph

  function draw(found) {
    picture = found;
    const svg = new DOMParser().parseFromString(picture.svg, "image/svg+xml").documentElement;
    const { width } = svg.viewBox.baseVal;
    svg.removeAttribute("height");
    graph.replaceChildren(svg);
    // As wide as there is room, but with letters of 10 pixels at least: the rest is reached by scrolling.
    svg.setAttribute("width", Math.min(width, Math.max(graph.clientWidth - 2, 0.72 * width)));
    picture.boxes = {};
    for (const group of svg.querySelectorAll("g.node, g.edge")) {
      picture.boxes[group.querySelector("title").textContent] ??= [];
      picture.boxes[group.querySelector("title").textContent].push(group);
    }
    slider.max = picture.steps.length - 1;
    go(0);
  }

  function go(number) {
    const steps = picture.steps;
    number = Math.max(0, Math.min(number, steps.length - 1));
    slider.value = number;
    back.disabled = number === 0;
    next.disabled = number === steps.length - 1;
    part("count").textContent = `${number} of ${steps.length - 1}`;

    const { at, gets, says, labels, names } = steps[number];
    for (const [title, groups] of Object.entries(picture.boxes)) {
      const [from, to] = title.split("->"); // an edge has two ids in its title
      for (const group of groups) {
        group.classList.toggle("now", (to ?? from) === at);
        group.classList.toggle("gets", gets.includes(title));
        if (to) continue;
        const words = labels[title].split(" | ");
        group.querySelectorAll("text").forEach((text, i) => (text.textContent = words[i] ?? ""));
      }
    }
    const [sentence, ...lines] = says;
    part("says").replaceChildren(sentence, list(lines));
    part("names").tBodies[0].replaceChildren(...names.map(row));
    part("names").hidden = !names.length;
    if (at) reveal(picture.boxes[at][0]);
  }

  function list(lines) {
    const all = document.createElement("ul");
    all.append(
      ...lines.map((text) => {
        const line = document.createElement("li");
        line.textContent = text;
        return line;
      }),
    );
    return all;
  }

  function row(cells) {
    const all = document.createElement("tr");
    for (const text of cells) all.insertCell().textContent = text;
    return all;
  }

  // Scrolls the graph, and not the page, which would jump under the button that was pressed.
  function reveal(box) {
    const [inner, outer] = [box.getBoundingClientRect(), graph.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right)
      graph.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2;
    if (inner.top < outer.top || inner.bottom > outer.bottom)
      graph.scrollTop += (inner.top + inner.bottom - outer.top - outer.bottom) / 2;
  }

  page.onkeydown = (event) => event.stopPropagation(); // else the arrow keys would turn the pages of the book
  choose();
  if (location.protocol === "file:") {
    fail(
      "Opened as a file, this page may not start Python. In the folder of the book run `python -m http.server`, " +
        "and open http://localhost:8000/playground/index.html instead.",
    );
    return;
  }
  examples.onchange = () => {
    choose();
    run();
  };
  editor.oninput = () => number(0);
  editor.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
    else if (event.key === "Enter" && !event.isComposing) indent(event);
    else if (event.key === "Backspace") outdent();
  };
  runButton.onclick = run;
  stopButton.onclick = () => stop("Stopped.");
  back.onclick = () => go(slider.valueAsNumber - 1);
  next.onclick = () => go(slider.valueAsNumber + 1);
  slider.oninput = () => go(slider.valueAsNumber);
  start();
})();
