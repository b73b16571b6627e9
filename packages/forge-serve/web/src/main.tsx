import "./styles.css";
import { render } from "preact";
import { App } from "./parts/App";

render(<App />, document.getElementById("app")!);
