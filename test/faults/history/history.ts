import { closeSync, openSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

/**
 * A history: the calls of clients and their outcomes, as JSON lines, in files outside the broker. Times are
 * microseconds of
 * the machine's monotonic clock, the same for all processes. A process is one thread of control: a publisher, or one
 * life of a
 * member; its name is never reused.
 *
 * A call is two lines, `invoke` and its outcome: `ok` it happened, `fail` it did not and never will, `info` unknown. A
 * timeout and a lost connection are `info`, and so is an `invoke` without an outcome.
 */
export type HistoryEvent = Invoke | Outcome | Assigned | Revoked | Delivered | Processed | Drained | FaultMark

interface At {
  readonly at: number
  readonly process: string
}

export interface Invoke extends At {
  readonly type: 'invoke'
  /** Unique within its process. */
  readonly id: number
  readonly call: Call
}

export type Call = PublishCall | CommitCall | CommittedCall

/** Publishes a value that is unique forever. */
export interface PublishCall {
  readonly op: 'publish'
  readonly topic: string
  readonly value: string
  /** All publishes of one process and lane go to one partition, and are appended in the order of their invocations. */
  readonly lane: string
}

/** Commits, for a group, the offset of the next message to process. */
export interface CommitCall {
  readonly op: 'commit'
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Epoch of the partition's assignment, if the client knows it. */
  readonly epoch?: number
}

/** Reads a committed offset. */
export interface CommittedCall {
  readonly op: 'committed'
  readonly group: string
  readonly topic: string
  readonly partition: number
}

export interface Outcome extends At {
  readonly type: 'ok' | 'fail' | 'info'
  readonly id: number
  /** Place of an acknowledged publish. Offset -1: acknowledged as a repeat whose place the broker has forgotten. */
  readonly partition?: number
  /** Offset of an acknowledged publish, or the committed offset (-1: none). */
  readonly offset?: number
  /** Error code. */
  readonly error?: string
}

/** The process owns these partitions for its group from now on; a reader without a group "owns" its partitions. */
export interface Assigned extends At {
  readonly type: 'assigned'
  readonly group: string | null
  readonly partitions: readonly PartitionName[]
  /** Epochs of these partitions' assignments, if the client knows them. */
  readonly epoch?: number
}

/** The process no longer owns these partitions. */
export interface Revoked extends At {
  readonly type: 'revoked'
  readonly group: string | null
  readonly partitions: readonly PartitionName[]
}

export interface PartitionName {
  readonly topic: string
  readonly partition: number
}

/** Messages delivered to a process, in order. */
export interface Delivered extends At, PartitionName {
  readonly type: 'delivered'
  readonly group: string | null
  readonly records: readonly HistoryRecord[]
}

export type HistoryRecord = readonly [offset: number, value: string]

/** A process has finished these messages, and acknowledges them after this line. */
export interface Processed extends At, PartitionName {
  readonly type: 'processed'
  readonly group: string
  readonly offsets: readonly number[]
}

/**
 * A part of a complete read of a partition after the faults. Drain 1 comes after the faults, drain 2 after a restart.
 * The
 * lines of one drain and partition are consecutive; `startOffset` and `endOffset` are those of the partition at that
 * time.
 */
export interface Drained extends At, PartitionName {
  readonly type: 'drained'
  readonly drain: number
  readonly startOffset: number
  readonly endOffset: number
  readonly records: readonly HistoryRecord[]
  /** Offsets with the answer CORRUPT, as [from, to) pairs. */
  readonly corrupt?: readonly (readonly [from: number, to: number])[]
}

/** A fault begins or ends (`heal`: the broker answers again, or the network works). */
export interface FaultMark extends At {
  readonly type: 'fault'
  readonly phase: 'inject' | 'heal'
  readonly name: string
}

/** Microseconds of the machine's monotonic clock (CLOCK_MONOTONIC), comparable between processes. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n)
}

/**
 * Writes the history of one operating-system process. It gives lines to the kernel at the end of the turn that made
 * them,
 * before the process can read a reply of the broker, so that a killed process loses no line that had an effect.
 */
export class HistoryWriter {
  readonly #fd: number
  #ids = 0
  #buffer = ''
  #scheduled = false

  /** @param path file to append to */
  constructor(path: string) {
    this.#fd = openSync(path, 'a')
  }

  /** Records a call before it is made, and returns its id. */
  invoke(process: string, call: Call): number {
    const id = ++this.#ids
    this.write({ type: 'invoke', at: monotonicUs(), process, id, call })
    return id
  }

  /** Records the outcome of a call. */
  outcome(process: string, id: number, type: Outcome['type'], result: OutcomeFields = {}): void {
    this.write({ type, at: monotonicUs(), process, id, ...result })
  }

  write(event: HistoryEvent): void {
    this.#buffer += `${JSON.stringify(event)}\n`
    if (this.#buffer.length >= flushCharacters) this.flush()
    else if (!this.#scheduled) this.#schedule()
  }

  #schedule(): void {
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  /** Gives recorded lines to the kernel; call it before an acknowledgement that must come after them. */
  flush(): void {
    if (this.#buffer === '') return
    const text = this.#buffer
    this.#buffer = ''
    writeSync(this.#fd, text)
  }

  close(): void {
    this.flush()
    closeSync(this.#fd)
  }
}

export type OutcomeFields = Pick<Outcome, 'partition' | 'offset' | 'error'>

const flushCharacters = 64 * 1024

/**
 * Reads histories into one, ordered by time. Drops a last line that the end of its process cut short.
 * @throws Error naming file and line of any other invalid line
 */
export async function readHistories(paths: readonly string[]): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = []
  for (const path of paths) {
    const lines = (await readFile(path, 'utf8')).split('\n')
    const last = lines.pop()
    for (const [index, line] of lines.entries()) {
      try {
        events.push(JSON.parse(line) as HistoryEvent)
      } catch (cause) {
        throw new Error(`${path}, line ${index + 1} is no event: ${line.slice(0, 200)}`, { cause })
      }
    }
    if (last !== undefined && last !== '') tryPush(events, last)
  }
  // Stable: lines of one file with the same time keep their order.
  return events.sort((a, b) => a.at - b.at)
}

function tryPush(events: HistoryEvent[], line: string): void {
  try {
    events.push(JSON.parse(line) as HistoryEvent)
  } catch {
    // Cut off.
  }
}
