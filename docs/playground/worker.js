// Python and Graphviz. They run apart from the page, so that an endless program neither blocks it nor can't be ended.

import { loadPyodide } from "./pyodide/pyodide.mjs";
import { Graphviz } from "./graphviz/index.js";

const MOST_LINES = 500; // of what is printed: an endless program may print without end
const MOST_LETTERS = 2000; // of a line
let printed = 0;

function print(line) {
  printed += 1;
  if (printed <= MOST_LINES) postMessage({ line: line.slice(0, MOST_LETTERS) });
  if (printed === MOST_LINES) postMessage({ line: "… and what more it prints isn't shown" });
}

try {
  const [python, graphviz, rung] = await Promise.all([
    loadPyodide({ stdout: print, stderr: print }),
    Graphviz.load(),
    fetch("rung1.zip").then((answer) => answer.arrayBuffer()),
  ]);
  python.unpackArchive(rung, "zip");
  const { run } = python.pyimport("runner");

  onmessage = ({ data: program }) => {
    printed = 0;
    try {
      const shown = JSON.parse(run(program));
      if (shown.picture) shown.picture.svg = graphviz.dot(shown.picture.source);
      postMessage({ shown });
    } catch (error) {
      postMessage({ broken: `Python itself has failed, and starts anew: ${error.message}` });
    }
  };
  postMessage({ ready: true });
} catch (error) {
  postMessage({ missing: error.message });
}
