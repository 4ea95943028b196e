// bge-reranker/ai-sdk in `ai` 7 and 6.
import type { Reranker } from "bge-reranker";
import type { BgeRerankingModel } from "bge-reranker/ai-sdk";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const { FlagAutoReranker } = await import("bge-reranker");
const { bgeReranker, bgeRerankingModel, createBgeReranker } = await import("bge-reranker/ai-sdk");

const DOCUMENTS = ["hi", "The giant panda is a bear endemic to China.", "Bread keeps in a paper bag."];

describe.skipIf(why)("bge-reranker/ai-sdk", () => {
  let reranker: Reranker;
  let model: BgeRerankingModel;
  beforeAll(async () => {
    reranker = await FlagAutoReranker.fromFinetuned("default");
    model = bgeRerankingModel(reranker);
  });
  afterAll(() => reranker?.dispose());

  describe.each([
    ["ai 7", () => import("ai")],
    ["ai 6", () => import("ai-6") as unknown as Promise<typeof import("ai")>],
  ])("%s", (_, load) => {
    it("ranks texts, with scores as the library's", async () => {
      const { rerank } = await load();
      const result = await rerank({ model, documents: DOCUMENTS, query: "what is a panda?", topN: 2 });
      const expected = await reranker.rerank("what is a panda?", DOCUMENTS, { topN: 2, normalize: true });
      expect(result.ranking.map(({ originalIndex, score }) => [originalIndex, score])).toEqual(
        expected.map(({ index, score }) => [index, score]),
      );
      expect(result.rerankedDocuments[0]).toBe(DOCUMENTS[1]);
      expect(result.providerMetadata?.bgeReranker).toEqual({
        tokens: expected.reduce((sum, { tokens }) => sum + tokens, 0),
        truncated: [],
      });
      expect(result.response.modelId).toBe("default-reranker-en");
    });

    it("ranks objects: by their text, a field of the call's, or their JSON with a warning", async () => {
      const { rerank } = await load();
      const warned = vi.fn();
      globalThis.AI_SDK_LOG_WARNINGS = warned;
      const query = "what is a panda?";
      const objects = DOCUMENTS.map((text, id) => ({ id, text }));
      expect((await rerank({ model, documents: objects, query })).rerankedDocuments[0]).toBe(objects[1]);
      const bodies = DOCUMENTS.map((body, id) => ({ id, body }));
      const field = { bgeReranker: { field: "body" } };
      const byField = await rerank({ model, documents: bodies, query, providerOptions: field });
      const texts = await rerank({ model, documents: DOCUMENTS, query });
      expect(byField.ranking.map(({ score }) => score)).toEqual(texts.ranking.map(({ score }) => score));
      expect(warned).not.toHaveBeenCalled();
      await rerank({ model, documents: bodies, query });
      expect(JSON.stringify(warned.mock.calls)).toContain('3 of 3 documents have no string \\"text\\"');
      globalThis.AI_SDK_LOG_WARNINGS = undefined;
    });

    it("warns of what was cut, and says of which documents", async () => {
      const { rerank } = await load();
      const warned = vi.fn();
      globalThis.AI_SDK_LOG_WARNINGS = warned;
      const long = "panda ".repeat(2000);
      const result = await rerank({ model, documents: ["short", long], query: "panda" });
      expect(result.providerMetadata?.bgeReranker?.truncated).toEqual([1]);
      expect(JSON.stringify(warned.mock.calls)).toContain("did not read 1 of 2 documents to the end");
      globalThis.AI_SDK_LOG_WARNINGS = undefined;
    });

    it("takes options of the library, and refuses those it does not know", async () => {
      const { rerank } = await load();
      const call = (bgeReranker: Record<string, string | number | boolean>) =>
        rerank({ model, documents: DOCUMENTS, query: "what is a panda?", providerOptions: { bgeReranker }, maxRetries: 0 });
      expect((await call({ normalize: false })).ranking[0]?.score).toBeCloseTo(
        (await reranker.rerank("what is a panda?", DOCUMENTS))[0]?.logit as number,
        6,
      );
      expect((await call({ minScore: 0.2 })).ranking).toHaveLength(1);
      await expect(call({ topK: 2 })).rejects.toThrow("Did you mean `topN`?");
      await expect(call({ cutoffLayers: 8 })).rejects.toThrow("`cutoffLayers` is an option of");
    });

    it("ends when it is aborted", async () => {
      const { rerank } = await load();
      const controller = new AbortController();
      const documents = Array.from({ length: 500 }, (_, i) => `${"panda bear ".repeat(150)}${i}`);
      const call = rerank({ model, documents, query: "what is a panda?", abortSignal: controller.signal });
      setTimeout(() => controller.abort(new Error("enough")), 20);
      await expect(call).rejects.toThrow("enough");
    });

    it("stands in registries and custom providers", async () => {
      const { createProviderRegistry, customProvider, rerank, NoSuchModelError } = await load();
      const provider = createBgeReranker({ models: { small: reranker } });
      const registry = createProviderRegistry({ bge: provider });
      const query = "what is a panda?";
      const fromRegistry = await rerank({ model: registry.rerankingModel("bge:small"), documents: DOCUMENTS, query });
      const custom = customProvider({ rerankingModels: { best: model } });
      const fromCustom = await rerank({ model: custom.rerankingModel("best"), documents: DOCUMENTS, query });
      expect(fromRegistry.ranking).toEqual(fromCustom.ranking);
      expect(provider.rerankingModel("small")).toBe(provider.rerankingModel("small"));
      try {
        registry.languageModel("bge:small");
        expect.unreachable();
      } catch (error) {
        expect(NoSuchModelError.isInstance(error)).toBe(true);
      }
    });
  });

  it("loads a model by name at the first call, and again after an error", async () => {
    const byName = bgeReranker.reranking();
    expect(byName.modelId).toBe("default");
    const { ranking } = await byName.doRerank({ documents: { type: "text", values: DOCUMENTS }, query: "what is a panda?" });
    expect(ranking[0]?.index).toBe(1);
    await bgeReranker.dispose();
    const missing = bgeRerankingModel("/nowhere/model.gguf");
    const call = () => missing.doRerank({ documents: { type: "text", values: ["a"] }, query: "q" });
    await expect(call()).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await expect(call()).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
  });

  it("is of the SDK's own types", async () => {
    // Checked by the compiler, in types.test.ts.
    const check = async () => {
      const seven: import("@ai-sdk/provider-7").RerankingModelV3 = model;
      const six: import("@ai-sdk/provider-6").RerankingModelV3 = model;
      const provider: import("@ai-sdk/provider-6").ProviderV3 = bgeReranker;
      const { rerank } = await import("ai-6");
      return [seven, six, provider, await rerank({ model, documents: DOCUMENTS, query: "" })];
    };
    expect(check).toBeTypeOf("function");
  });
});
