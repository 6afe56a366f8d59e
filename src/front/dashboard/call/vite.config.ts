import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page works under any path and behind any proxy.
  base: "./",
  // The daemon embeds this folder (src/front/dashboard).
  build: {
    outDir: "../embedded/call",
    emptyOutDir: true,
    // Nothing inline: the page is served with a policy that refuses `data:` and inline code.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
