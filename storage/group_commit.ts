import { CommitQueue, type CommitRequest, groupByLog } from './commit_queue.js'
import type { EncodedCommit, Journal } from './journal.js'

/** What group commit needs of the store. */
export interface GroupCommitHost {
  readonly commitBytesMax: number
  /** The journal to write to; another one after the databases were opened again. */
  readonly journal: Journal
  /** Whether commits are on their way as they should. */
  readonly isWriting: boolean
  /** A commit is durable: called in the order of the journal, before its requests resolve. */
  applied(commit: EncodedCommit): void
  /** The requests of a commit have resolved. */
  committed(): void
  /** A write was rejected. `requests` are those that were taken; the host rejects them, and what `takeAll` gives. */
  failed(error: unknown, requests: readonly CommitRequest[]): void
}

interface Commit extends EncodedCommit {
  readonly requests: readonly CommitRequest[]
}

/**
 * While one commit is written the next one gathers. Once enough for a whole one has gathered it is encoded, so that its
 * copies and checksums are made while the disk is busy, and the engine gets it as soon as the one before is durable. There
 * are never two writes at once: nothing would order them.
 */
export class GroupCommit {
  readonly #host: GroupCommitHost
  readonly #queue = new CommitQueue()
  /** Encoded and not yet written. */
  #next: Commit | undefined
  #pumping: Promise<void> | undefined

  constructor(host: GroupCommitHost) {
    this.#host = host
  }

  /** Bytes of requests that are not durable yet. */
  get bytes(): number {
    return this.#queue.bytes
  }

  /** Resolves when what is written now, and what follows it without a pause, has settled; undefined when nothing is. */
  get pumping(): Promise<void> | undefined {
    return this.#pumping
  }

  push(request: CommitRequest): void {
    this.#queue.push(request)
    if (this.#pumping === undefined) this.#pumping = this.#pump()
    else this.#encodeAhead()
  }

  /** Takes all requests that are not being written; their bytes count until `release`. */
  takeAll(): CommitRequest[] {
    const encoded = this.#next?.requests ?? []
    this.#next = undefined
    return [...encoded, ...this.#queue.take(Number.POSITIVE_INFINITY)]
  }

  /** These requests are done. */
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
      // The disk need not wait until everyone has learnt of this one.
      commit = this.#take()
      written = this.#write(commit)
      this.#host.applied(durable)
      this.#queue.release(requests)
      for (const request of requests) request.resolve()
      this.#encodeAhead()
      this.#host.committed()
      // What was pushed by those who have just been told would wait for the next push otherwise.
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
