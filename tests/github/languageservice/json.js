// Import JSON as GitHub's packages do: without saying that it is JSON, which Node asks for.
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";

export async function load(url, context, next) {
  if (!url.endsWith(".json")) return next(url, context);
  const source = `export default ${readFileSync(fileURLToPath(url), "utf8")}`;
  return { format: "module", shortCircuit: true, source };
}

if (!import.meta.url.includes("?hooks")) register(`${import.meta.url}?hooks`);
