/** Replay of a journal that has grown by less takes almost no time. */
const worthBytes = 4 * 1024 * 1024
/** Even then a checkpoint is due after this many intervals. */
const intervalsMax = 5
/** After a long checkpoint (thousands of changed partitions) there is a pause of this many times its duration, */
const pauseFactor = 4
/** as long as the journal to replay stays below this. */
const replayBytesMax = 256 * 1024 * 1024

/**
 * Decides when a checkpoint is worth its cost: its syncs delay those of commits, and it saves replay of the
 * journal since the previous checkpoint.
 */
export class CheckpointSchedule {
  readonly #intervalMs: number
  #journalBytes = 0
  #begunMs: number
  #durationMs = 0

  /** @param intervalMs time between checkpoints of a busy journal */
  constructor(intervalMs: number, nowMs: number) {
    this.#intervalMs = intervalMs
    this.#begunMs = nowMs
  }

  /** Records that the journal has grown by this many bytes. */
  grown(bytes: number): void {
    this.#journalBytes += bytes
  }

  /** Whether a checkpoint is due; call it about once in an interval. */
  isDue(nowMs: number): boolean {
    if (this.#journalBytes >= replayBytesMax) return true
    const sinceMs = nowMs - this.#begunMs
    if (sinceMs < this.#durationMs * (pauseFactor + 1)) return false
    return this.#journalBytes >= worthBytes || sinceMs >= this.#intervalMs * (intervalsMax - 0.5)
  }

  begun(nowMs: number): void {
    this.#begunMs = nowMs
    this.#journalBytes = 0
  }

  ended(nowMs: number): void {
    this.#durationMs = nowMs - this.#begunMs
  }
}
