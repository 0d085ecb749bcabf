import type { MillraceError } from '../protocol/index.js'
import type { LogBatches, Operation } from './block.js'
import type { PartitionLog } from './partition_log.js'

/** A batch for a log, with its assigned offset. */
export interface PendingAppend {
  readonly log: PartitionLog
  readonly batch: Uint8Array
  readonly baseOffset: number
}

/** The operations of one caller: the commit takes all of them or none. */
export interface CommitRequest {
  readonly appends: readonly PendingAppend[]
  readonly operations: readonly Operation[]
  readonly bytes: number
  resolve(): void
  reject(error: MillraceError): void
}

/** The content of one commit in the form that blocks need. */
export interface CommitContent {
  /** Ascending by log id. */
  readonly logs: LogBatches[]
  readonly operations: Operation[]
}

/** Requests that wait for a commit, in order, with a count of their bytes. */
export class CommitQueue {
  #requests: CommitRequest[] = []
  #waitingBytes = 0
  #bytes = 0

  /** Bytes not yet released. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes not yet taken. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  get length(): number {
    return this.#requests.length
  }

  push(request: CommitRequest): void {
    this.#requests.push(request)
    this.#bytes += request.bytes
    this.#waitingBytes += request.bytes
  }

  /** Takes requests from the front, at least one, up to `bytesMax`. Their bytes count until `release`. */
  take(bytesMax: number): CommitRequest[] {
    let bytes = 0
    let count = 0
    for (const request of this.#requests) {
      if (count > 0 && bytes + request.bytes > bytesMax) break
      bytes += request.bytes
      count++
    }
    this.#waitingBytes -= bytes
    return this.#requests.splice(0, count)
  }

  /** Subtracts the bytes of finished requests. */
  release(requests: readonly CommitRequest[]): void {
    for (const request of requests) this.#bytes -= request.bytes
  }
}

/** Groups the batches by log, in the order of arrival. */
export function groupByLog(requests: readonly CommitRequest[]): CommitContent {
  const logs = new Map<number, { logId: number; firstOffset: number; batches: Uint8Array[]; bytes: number }>()
  const operations: Operation[] = []
  for (const request of requests) {
    for (const { log, batch, baseOffset } of request.appends) {
      const known = logs.get(log.id)
      if (known === undefined) {
        logs.set(log.id, { logId: log.id, firstOffset: baseOffset, batches: [batch], bytes: batch.length })
      } else {
        known.batches.push(batch)
        known.bytes += batch.length
      }
    }
    operations.push(...request.operations)
  }
  return { logs: [...logs.values()].sort((a, b) => a.logId - b.logId), operations }
}
