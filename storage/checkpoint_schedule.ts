/** A journal that has grown by less is replayed in no time. */
const worthBytes = 4 * 1024 * 1024
/** Even then there is a checkpoint after so many intervals. */
const intervalsMax = 5
/** A checkpoint that takes long, because thousands of partitions changed, is followed by a pause of so many times as long, */
const pauseFactor = 4
/** but replay must not grow beyond this. */
const replayBytesMax = 256 * 1024 * 1024

/**
 * When the next checkpoint is worth what it costs: its syncs hold up those of commits, and what it spares is replay of the
 * journal since the last one.
 */
export class CheckpointSchedule {
  readonly #intervalMs: number
  #journalBytes = 0
  #begunMs: number
  #durationMs = 0

  /** @param intervalMs at which a busy journal gets checkpoints */
  constructor(intervalMs: number, nowMs: number) {
    this.#intervalMs = intervalMs
    this.#begunMs = nowMs
  }

  /** The journal has grown by so many bytes. */
  grown(bytes: number): void {
    this.#journalBytes += bytes
  }

  /** To be asked about once in an interval. */
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
