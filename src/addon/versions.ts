// Versions that package.json states too, as constants: a bundler may rewrite the path by which it would be read. A unit test
// keeps the two equal.

/** Version of this package. */
export const packageVersion = "0.1.0";

/** Version of ggml that this package runs on. */
export const ggmlVersion = "0.23.0";

/** Version of the packages that carry it. */
export const ggmlPrebuilt = "3.21.1";
