import { CommitQueue, type CommitRequest, groupByLog } from './commit_queue.js'
import type { EncodedCommit, Journal } from './journal.js'

/** The functions that group commit needs from the store. */
export interface GroupCommitHost {
  readonly commitBytesMax: number
  /** The journal to write to; a new one after the databases were reopened. */
  readonly journal: Journal
  /** Whether commits proceed normally. */
  readonly isWriting: boolean
  /** A commit is durable: the call comes in the order of the journal, before its requests resolve. */
  applied(commit: EncodedCommit): void
  /** The requests of a commit have resolved. */
  committed(): void
  /**
   * A write was rejected. `requests` are the requests of the write; the host rejects them, and those from `takeAll`.
   */
  failed(error: unknown, requests: readonly CommitRequest[]): void
}

interface Commit extends EncodedCommit {
  readonly requests: readonly CommitRequest[]
}

/**
 * During the write of one commit the next one gathers requests. When it is full, the committer encodes it, so that its
 * copies and checksums overlap with the disk, and the engine gets it as soon as the previous one is durable. There
 * are never two writes at once, because nothing would order them.
 */
export class GroupCommit {
  readonly #host: GroupCommitHost
  readonly #queue = new CommitQueue()
  /** Encoded, but not yet written. */
  #next: Commit | undefined
  #pumping: Promise<void> | undefined

  constructor(host: GroupCommitHost) {
    this.#host = host
  }

  /** Bytes of requests that are not durable yet. */
  get bytes(): number {
    return this.#queue.bytes
  }

  /**
   * Resolves when the current write, and the writes that follow it without a pause, have settled; undefined if there is
   * none.
   */
  get pumping(): Promise<void> | undefined {
    return this.#pumping
  }

  push(request: CommitRequest): void {
    this.#queue.push(request)
    if (this.#pumping === undefined) this.#pumping = this.#pump()
    else this.#encodeAhead()
  }

  /** Takes all requests except those of the current write; their bytes count until `release`. */
  takeAll(): CommitRequest[] {
    const encoded = this.#next?.requests ?? []
    this.#next = undefined
    return [...encoded, ...this.#queue.take(Number.POSITIVE_INFINITY)]
  }

  /** Subtracts the bytes of finished requests. */
  release(requests: readonly CommitRequest[]): void {
    this.#queue.release(requests)
  }

  async #pump(): Promise<void> {
    // Requests that arrive in the same turn of the event loop, from any connection, share the commit.
    await new Promise<void>((resolve) => setImmediate(resolve))
    let commit = this.#take()
    let written = this.#write(commit)
    while (commit !== undefined) {
      const { requests } = commit
      try {
        await written
      } catch (error) {
        this.#host.failed(error, requests)
        break
      }
      const durable = commit
      // The next write starts before the requests of this one resolve.
      commit = this.#take()
      written = this.#write(commit)
      this.#host.applied(durable)
      this.#queue.release(requests)
      for (const request of requests) request.resolve()
      this.#encodeAhead()
      this.#host.committed()
      // Otherwise requests that the resolved callers push now would wait for the next push.
      commit ??= this.#take()
      written ??= this.#write(commit)
    }
    this.#pumping = undefined
  }

  #write(commit: Commit | undefined): Promise<void> | undefined {
    return commit === undefined ? undefined : this.#host.journal.write(commit)
  }

  #take(): Commit | undefined {
    if (!this.#host.isWriting) return undefined
    const commit = this.#next ?? this.#encode()
    this.#next = undefined
    return commit
  }

  #encodeAhead(): void {
    const { commitBytesMax, isWriting } = this.#host
    if (this.#next === undefined && isWriting && this.#queue.waitingBytes >= commitBytesMax)
      this.#next = this.#encode()
  }

  #encode(): Commit | undefined {
    if (this.#queue.length === 0) return undefined
    const requests = this.#queue.take(this.#host.commitBytesMax)
    const { logs, operations } = groupByLog(requests)
    return { ...this.#host.journal.encode(logs, operations), requests }
  }
}
