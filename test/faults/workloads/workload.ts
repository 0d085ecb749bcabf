import type { Client, ConnectOptions } from '../../../client/index.js'
import type { Random } from '../../helpers/random.js'
import type { HistoryWriter } from '../history/history.js'

/**
 * What clients do while faults happen, as a value: `table.ts` lists all. A workload runs in a process of its own (main.ts) and
 * notes everything in a history; its checks are those of the history's kinds of events, in ../history/checks.
 */
export interface Workload {
  readonly name: string
  readonly topics: readonly { readonly name: string; readonly partitions: number }[]
  /** Groups whose committed offsets are asked for after the faults. */
  readonly groups: readonly string[]
  /** Runs until `context.stop` is aborted, and then until every call has its outcome. */
  run(context: WorkloadContext): Promise<void>
}

export interface WorkloadContext {
  readonly history: HistoryWriter
  readonly random: Random
  /** Begins the names of processes and values, so that none comes twice in a history. */
  readonly prefix: string
  readonly stop: AbortSignal
  /** Messages a second that one publisher aims at. */
  readonly publisherRate: number
  /** Payloads are of random sizes up to this. */
  readonly valueBytesMax: number
  /** Time after which a message is given up, with an unknown outcome. */
  readonly deliveryTimeoutMs: number
  readonly sessionTimeoutMs: number
  /** A client of its own, closed when the workload has ended. */
  client(options?: ConnectOptions): Promise<Client>
  readonly address: { readonly host: string; readonly port: number }
  /** Counts calls that succeeded, for whoever times the faults. */
  progress(published: number, processed: number): void
}
