export interface PlatformRecord {
  readonly area: string;
  readonly combination: string;
  readonly how: string;
  readonly result: "pass" | "fail" | "skip";
  readonly detail: string;
  /** Day of the run. */
  readonly date?: string;
  /** Platform of the machine that ran it. */
  readonly on?: string;
}
export function readRecords(name: string): PlatformRecord[];
export function readAllRecords(): PlatformRecord[];
export function writeRecords(name: string, records: readonly PlatformRecord[]): void;
