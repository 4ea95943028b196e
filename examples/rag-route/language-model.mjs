// A stub in place of a language model, so that the example runs anywhere: it answers with the first source of its prompt.
// In an application: `openai("gpt-5")`, `ollama("qwen3")` ... in one line.
import { MockLanguageModelV3 } from "ai/test";

export const languageModel = new MockLanguageModelV3({
  doGenerate: async ({ prompt }) => {
    const asked = prompt
      .at(-1)
      .content.map(({ text }) => text)
      .join("");
    const source = /^\[1\] (.*)$/m.exec(asked)?.[1];
    const text = source ? `${source} [1]` : "The notes do not say.";
    return {
      content: [{ type: "text", text }],
      finishReason: { unified: "stop", raw: undefined },
      usage: { inputTokens: { total: asked.length }, outputTokens: { total: text.length } },
      warnings: [],
    };
  },
});
