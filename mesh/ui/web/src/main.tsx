import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import { App } from "./app";
import { followLinks } from "./live/place";
import "./live/settings";

const root = document.getElementById("app");
if (root) {
  followLinks();
  // What the page shows is asked for first, and comes while this is drawn.
  queueMicrotask(() => render(<App />, root));
}
