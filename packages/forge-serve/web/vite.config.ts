import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8080";

export default defineConfig({
  base: "./", // the server may be mounted below a path, or stand behind a proxy
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" }, // what the libraries in it ask for
  },
  server: {
    // `npm run dev` beside a running `llamaforge serve`
    proxy: Object.fromEntries(
      ["/v1", "/api", "/admin"].map((path) => [path, { target: SERVER, changeOrigin: true, headers: { origin: SERVER } }]),
    ),
  },
});
