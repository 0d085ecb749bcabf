/** Finished runs stay at the head of the queue up to this number, so that most removals move no entries. */
const compactAt = 64

/** Delivered messages of a run, from `first` to before `end`. */
export interface AckRange {
  readonly run: AckRun
  readonly first: number
  readonly end: number
}

/**
 * Acknowledgements of one partition, in any order. The committable offset is the offset of the first message without an
 * acknowledgement. Pure: no sockets, timers or promises.
 *
 * Messages are delivered in runs (a run is the rest of one record batch), so the window is a queue of runs. While
 * acknowledgements arrive in order, which is the usual case, each costs a comparison and an addition. Only a run with
 * acknowledgements out of order gets a bitmap.
 */
export class AckWindow {
  /** Delivered, unacknowledged messages. */
  unacked = 0
  #floor: number
  /** Unfinished runs, oldest first; `#head` is the index of the oldest. */
  #runs: AckRun[] = []
  #head = 0
  readonly #onAck: () => void

  /**
   * @param floor offset of the first message to deliver
   * @param onAck called after every acknowledgement
   */
  constructor(floor: number, onAck: () => void = noop) {
    this.#floor = floor
    this.#onAck = onAck
  }

  /** Every message before this offset is acknowledged. */
  get committable(): number {
    const run = this.#runs[this.#head]
    return run === undefined ? this.#floor : run.firstOffset + run.ackedInOrder
  }

  /** The value of `committable` after an acknowledgement of these messages. */
  committableWith(ranges: readonly AckRange[]): number {
    const byRun = new Map<AckRun, AckRange[]>()
    for (const range of ranges) {
      const some = byRun.get(range.run)
      if (some === undefined) byRun.set(range.run, [range])
      else some.push(range)
    }
    for (let index = this.#head; index < this.#runs.length; index++) {
      const run = this.#runs[index] as AckRun
      const end = run.committableWith(byRun.get(run) ?? [])
      if (end < run.endOffset) return end
    }
    return this.#end
  }

  /** Starts a run of `count` messages from `firstOffset`, which must not be before the end of the last run. */
  open(firstOffset: number, count: number): AckRun {
    if (firstOffset > this.#end) this.#skipTo(firstOffset)
    const run = new AckRun(this, firstOffset, count)
    this.#runs.push(run)
    return run
  }

  /** Counts messages before `offset` that are in no run as acknowledged: they no longer exist. */
  skipTo(offset: number): void {
    if (offset <= this.#end) return
    this.#skipTo(offset)
    this.#onAck()
  }

  /** For `AckRun`: the application acknowledged some of its messages. */
  acked(run: AckRun, count: number): void {
    this.unacked -= count
    if (run.done && this.#runs[this.#head] === run) this.#dropDone()
    this.#onAck()
  }

  /** Offset after the last message of the last run. */
  get #end(): number {
    return this.#runs.at(-1)?.endOffset ?? this.#floor
  }

  #skipTo(offset: number): void {
    if (this.#head === this.#runs.length) this.#floor = offset
    else this.#runs.push(new AckRun(this, offset, 0))
  }

  #dropDone(): void {
    let run = this.#runs[this.#head]
    while (run?.done) {
      this.#floor = run.endOffset
      this.#head++
      run = this.#runs[this.#head]
    }
    if (run === undefined) {
      this.#runs.length = 0
      this.#head = 0
    } else if (this.#head >= compactAt) {
      this.#runs = this.#runs.slice(this.#head)
      this.#head = 0
    }
  }
}

/** Consecutive messages of one batch, delivered or not. */
export class AckRun {
  readonly firstOffset: number
  readonly count: number
  /** Number of acknowledged messages from the start of the run up to the first gap. */
  ackedInOrder = 0
  readonly window: AckWindow
  #ackedAhead: Uint8Array | undefined

  constructor(window: AckWindow, firstOffset: number, count: number) {
    this.window = window
    this.firstOffset = firstOffset
    this.count = count
  }

  get endOffset(): number {
    return this.firstOffset + this.count
  }

  get done(): boolean {
    return this.ackedInOrder === this.count
  }

  /** Counts `count` messages as delivered to the application. */
  delivered(count: number): void {
    this.window.unacked += count
  }

  /** Acknowledges the delivered message at `offset`; a repeat changes nothing. */
  ack(offset: number): void {
    if (offset - this.firstOffset !== this.ackedInOrder || this.#ackedAhead !== undefined) {
      this.ackRange(offset, offset + 1)
      return
    }
    this.ackedInOrder++
    this.window.acked(this, 1)
  }

  /** Acknowledges the delivered messages from `offset` to before `endOffset`. */
  ackRange(offset: number, endOffset: number): void {
    const from = Math.max(offset - this.firstOffset, this.ackedInOrder)
    const to = endOffset - this.firstOffset
    if (to <= from) return
    if (from > this.ackedInOrder) this.#ackedAhead ??= new Uint8Array(this.count)
    const count = this.#ackedAhead === undefined ? to - from : mark(this.#ackedAhead, from, to)
    if (this.#ackedAhead === undefined) this.ackedInOrder = to
    else while (this.#ackedAhead[this.ackedInOrder] === 1) this.ackedInOrder++
    if (count > 0) this.window.acked(this, count)
  }

  /** The committable offset after an acknowledgement of these ranges of the run. */
  committableWith(ranges: readonly AckRange[]): number {
    let offset = this.firstOffset + this.ackedInOrder
    for (const { first, end } of [...ranges].sort((a, b) => a.first - b.first)) {
      offset = this.#afterAckedAhead(offset)
      if (first <= offset) offset = Math.max(offset, end)
    }
    return this.#afterAckedAhead(offset)
  }

  #afterAckedAhead(offset: number): number {
    let index = offset - this.firstOffset
    while (this.#ackedAhead?.[index] === 1) index++
    return this.firstOffset + index
  }
}

/** Sets bytes to 1 and returns how many were 0. */
function mark(bytes: Uint8Array, from: number, to: number): number {
  let changed = 0
  for (let index = from; index < to; index++) {
    if (bytes[index] === 1) continue
    bytes[index] = 1
    changed++
  }
  return changed
}

function noop(): void {}
