// bge-reranker/langchain in ContextualCompressionRetriever.
import type { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";
import type { Reranker } from "bge-reranker";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const { FlagAutoReranker } = await import("bge-reranker");
const { BgeRerank } = await import("bge-reranker/langchain");

const TEXTS = ["hi", "The giant panda is a bear endemic to China.", "Bread keeps in a paper bag."];

describe.skipIf(why)("bge-reranker/langchain", () => {
  let reranker: Reranker;
  beforeAll(async () => {
    reranker = await FlagAutoReranker.fromFinetuned("default");
  });
  afterAll(() => reranker?.dispose());

  async function documents() {
    const { Document } = await import("@langchain/core/documents");
    return TEXTS.map((pageContent, i) => new Document({ pageContent, metadata: { i }, id: String(i) }));
  }

  async function retrieverOf(baseCompressor: BaseDocumentCompressor) {
    const { ContextualCompressionRetriever } = await import("@langchain/classic/retrievers/contextual_compression");
    const { BaseRetriever } = await import("@langchain/core/retrievers");
    const found = await documents();
    class Fixed extends BaseRetriever {
      override lc_namespace = ["test"];
      override async _getRelevantDocuments() {
        return found;
      }
    }
    return { found, retriever: new ContextualCompressionRetriever({ baseCompressor, baseRetriever: new Fixed() }) };
  }

  it("ranks what a retriever finds, on copies", async () => {
    const { found, retriever } = await retrieverOf(new BgeRerank({ model: reranker, topN: 2 }));
    const { Document } = await import("@langchain/core/documents");
    const ranked = await retriever.invoke("what is a panda?");
    const [best] = await reranker.rerank("what is a panda?", TEXTS, { topN: 1, normalize: true });
    expect(ranked).toHaveLength(2);
    expect(ranked[0]).toBeInstanceOf(Document);
    expect(ranked[0]).toMatchObject({ pageContent: TEXTS[1], id: "1", metadata: { i: 1, relevanceScore: best?.score } });
    expect(ranked[0]).not.toBe(found[1]);
    expect(found.map(({ metadata }) => metadata)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
  });

  it("drops what scores less than the threshold", async () => {
    const { retriever } = await retrieverOf(new BgeRerank({ model: reranker, minScore: 0.2 }));
    expect(await retriever.invoke("what is a panda?")).toHaveLength(1);
  });

  it("tells callbacks of its run, also of a failed one, through the retriever and on its own", async () => {
    const { BaseCallbackHandler } = await import("@langchain/core/callbacks/base");
    const seen: string[] = [];
    class Handler extends BaseCallbackHandler {
      name = "test";
      override handleChainStart(_chain: unknown, inputs: { query?: string }, ...rest: unknown[]) {
        seen.push(`start ${rest.at(-1) ?? rest[5]} ${inputs.query} child: ${rest[1] !== undefined}`);
      }
      override handleChainEnd(outputs: { documents?: unknown[] }) {
        seen.push(`end ${outputs.documents?.length}`);
      }
      override handleChainError(error: Error) {
        seen.push(`error ${error.message}`);
      }
    }
    const { retriever } = await retrieverOf(new BgeRerank({ model: reranker }));
    await retriever.invoke("panda", { callbacks: [new Handler()] });
    expect(seen.map((line) => line.replace(/^start \S+/, "start"))).toEqual(["start panda child: true", "end 3"]);
    seen.length = 0;
    await new BgeRerank({ model: reranker }).compressDocuments(await documents(), "panda", [new Handler()]);
    expect(seen.map((line) => line.replace(/^start \S+/, "start"))).toEqual(["start panda child: false", "end 3"]);
    seen.length = 0;
    const broken = new BgeRerank({ model: "/nowhere/model.gguf" });
    await expect(broken.compressDocuments(await documents(), "panda", [new Handler()])).rejects.toThrow("/nowhere/model.gguf");
    expect(seen[1]).toContain("error ");
  });

  it("marks documents that the model did not read to the end", async () => {
    const [, long] = await documents();
    if (long) long.pageContent = "panda ".repeat(3000);
    const [ranked] = await new BgeRerank({ model: reranker }).compressDocuments([long as NonNullable<typeof long>], "panda");
    expect(ranked?.metadata).toMatchObject({ i: 1, truncated: true });
  });

  it("is one to LangChain 0.3 too: documents, callbacks, types", async () => {
    const { BaseDocumentCompressor: Base } = await import("@langchain/core-0/retrievers/document_compressors");
    const { Document } = await import("@langchain/core-0/documents");
    const { CallbackManager } = await import("@langchain/core-0/callbacks/manager");
    const compressor: InstanceType<typeof Base> = new BgeRerank({ model: reranker });
    expect(Base.isBaseDocumentCompressor(compressor)).toBe(true);
    const ended: number[] = [];
    const manager = CallbackManager.fromHandlers({
      handleChainEnd: (outputs: { documents?: unknown[] }) => void ended.push(outputs.documents?.length ?? 0),
    });
    const documents = TEXTS.map((pageContent) => new Document({ pageContent }));
    const [best] = await compressor.compressDocuments(documents, "what is a panda?", manager);
    expect(best).toBeInstanceOf(Document);
    expect(best?.pageContent).toBe(TEXTS[1]);
    expect(ended).toEqual([3]);
  });

  it("is a compressor to LangChain's own check and types", async () => {
    const { BaseDocumentCompressor: Base } = await import("@langchain/core/retrievers/document_compressors");
    const compressor: BaseDocumentCompressor = new BgeRerank();
    expect(Base.isBaseDocumentCompressor(compressor)).toBe(true);
    expect(await compressor.compressDocuments([], "q")).toEqual([]);
  });
});
