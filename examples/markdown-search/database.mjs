// SQLite with full text search: node:sqlite where Node has it, better-sqlite3 where it is installed.

/** @returns {Promise<{ exec(sql: string): void, prepare(sql: string): { run(...values: unknown[]): void, all(...values: unknown[]): any[] } }>} */
export async function openDatabase() {
  try {
    const { DatabaseSync } = await import("node:sqlite");
    return new DatabaseSync(":memory:");
  } catch {
    const { default: Database } = await import("better-sqlite3").catch(() => {
      throw new Error("This example needs Node 22.13 or newer, which has SQLite, or: npm install better-sqlite3");
    });
    return new Database(":memory:");
  }
}
