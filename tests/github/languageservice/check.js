// GitHub's own checks: node check.js PROJECT STANDINS FILE... prints what they find, as JSON.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { validate } from "@actions/languageservice";
import { registerLogger } from "@actions/languageservice/log";
import { fileIdentifier } from "@actions/workflow-parser/workflows/file-reference";
import { TextDocument } from "vscode-languageserver-textdocument";
import { parse } from "yaml";

const [project, standins, ...files] = process.argv.slice(2);
const failed = [];
registerLogger({ info() {}, log() {}, warn() {}, error: (text) => failed.push(text) });

const read = (path) => readFileSync(join(project, path), "utf8");
const config = {
  fileProvider: {
    getFileContent: async (reference) => ({
      name: fileIdentifier(reference),
      content: read(reference.path),
    }),
  },
  // A stand-in declares the inputs of the action for which it stands.
  actionsMetadataProvider: {
    fetchActionMetadata: async ({ owner, name, path }) =>
      parse(readFileSync(join(standins, owner, name, path ?? "", "action.yml"), "utf8")),
  },
};

const found = [];
for (const file of files) {
  const document = TextDocument.create(`file:///${file}`, "yaml", 1, read(file));
  for (const { message, range, severity } of await validate(document, config)) {
    const level = severity === undefined || severity === 1 ? "error" : "warning";
    found.push({ file, line: range.start.line + 1, level, message });
  }
}
for (const message of failed) found.push({ file: "", line: 0, level: "error", message });
console.log(JSON.stringify(found));
