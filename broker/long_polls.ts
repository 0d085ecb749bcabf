import { coarseWaitMs } from './coarse_wait.js'
import type { DataWaiter, Partition } from './partition/partition.js'

/**
 * Waits until partitions have a number of new bytes, until a timeout, or until another event wakes it. Each wait has
 * one
 * timer, whatever the number of partitions.
 */
export class DataWait implements DataWaiter {
  readonly #partitions: readonly Partition[]
  readonly #polls: LongPolls
  readonly #timer: NodeJS.Timeout
  readonly #resolve: () => void
  readonly over: Promise<void>
  #missingBytes: number
  #isOver = false

  constructor(polls: LongPolls, partitions: readonly Partition[], missingBytes: number, waitMs: number) {
    this.#polls = polls
    this.#partitions = partitions
    this.#missingBytes = missingBytes
    let resolveOver = (): void => {}
    this.over = new Promise((resolve) => {
      resolveOver = resolve
    })
    this.#resolve = resolveOver
    this.#timer = setTimeout(() => this.end(), coarseWaitMs(waitMs))
    for (const partition of partitions) partition.wait(this)
    polls.add(this)
  }

  dataArrived(bytes: number): void {
    this.#missingBytes -= bytes
    if (this.#missingBytes <= 0) this.end()
  }

  interrupted(): void {
    this.end()
  }

  /** Ends the wait; a closing connection calls it too. */
  readonly end = (): void => {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#timer)
    for (const partition of this.#partitions) partition.stopWaiting(this)
    this.#polls.delete(this)
    this.#resolve()
  }
}

/** All waits of the process, so that a drain can end them. */
export class LongPolls {
  readonly #waits = new Set<DataWait>()
  #drained = false

  get size(): number {
    return this.#waits.size
  }

  add(wait: DataWait): void {
    this.#waits.add(wait)
    if (this.#drained) wait.end()
  }

  delete(wait: DataWait): void {
    this.#waits.delete(wait)
  }

  /** Ends every wait, and every later wait at once. */
  drain(): void {
    this.#drained = true
    for (const wait of [...this.#waits]) wait.end()
  }
}
