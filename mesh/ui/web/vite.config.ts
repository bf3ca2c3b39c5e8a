import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative, so that the page works wherever ui_config.content_path has it.
  base: "./",
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The server reads it (mesh/ui/pages.py): with the index comes what the page at that path needs.
    manifest: "parts.json",
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      output: {
        // What several pages need comes at once: each file more costs a slow processor milliseconds.
        codeSplitting: {
          groups: [
            {
              name: "shared",
              test: /\/src\/(?!parts\/(code|diff))|\/lucide\//,
              minShareCount: 2,
            },
          ],
        },
      },
    },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
