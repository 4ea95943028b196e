// Makes the files of a shape, in a process of its own.
import { fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "prepare.mjs");

/** @param request - { shapeName, layers, files, counts, tokenizerFile } */
export function prepare(request) {
  return new Promise((resolve, reject) => {
    const child = fork(program, { stdio: ["ignore", "inherit", "inherit", "ipc"], serialization: "advanced" });
    let answer;
    child.on("message", (message) => {
      answer = message;
    });
    child.on("close", (code) => {
      if (answer?.result) resolve(answer.result);
      else reject(new Error(answer?.error ?? `The files of the shape could not be made: the process ended with code ${code}`));
    });
    child.send(request);
  });
}
