import { commands, isMillraceError, RecordCursor, splitBatches } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'

export interface ReaderPlan {
  readonly address: { readonly host: string; readonly port: number }
  readonly topicId: number
  /** End offset of each partition; it reads from 0 to there. */
  readonly ends: readonly number[]
  readonly fetchBytesMax: number
}

/**
 * Reads partitions with the wire protocol alone, one fetch for each partition at the same time, and can stop reading
 * its socket. After a disconnect it continues from its positions over a new connection.
 */
export class StallingReader {
  readonly #plan: ReaderPlan
  readonly #positions: number[]
  #client: RawClient | undefined
  #stalled = false
  /** Connections that the broker ended. */
  thrownOut = 0
  /** Received messages that were not the next ones. */
  readonly problems: string[] = []

  constructor(plan: ReaderPlan) {
    this.#plan = plan
    this.#positions = plan.ends.map(() => 0)
  }

  get isDone(): boolean {
    return this.#positions.every((position, partition) => position >= (this.#plan.ends[partition] ?? 0))
  }

  /** Connects, stops reading and asks for everything. Resolves when it has read to its end, after `resume`. */
  async run(): Promise<void> {
    while (!this.isDone) {
      const client = await connectHello(this.#plan.address)
      this.#client = client
      if (this.#stalled) client.socket.pause()
      try {
        await Promise.all(
          this.#plan.ends.map((end, partition) => this.#readPartition(client, partition, end)),
        )
      } catch (error) {
        if (!isMillraceError(error, 'CONNECTION_LOST')) throw error
        this.thrownOut++
      }
      client.destroy()
    }
  }

  stall(): void {
    this.#stalled = true
    this.#client?.socket.pause()
  }

  resume(): void {
    this.#stalled = false
    this.#client?.socket.resume()
  }

  async #readPartition(client: RawClient, partition: number, end: number): Promise<void> {
    const { topicId, fetchBytesMax: bytesMax } = this.#plan
    for (let offset = this.#positions[partition] ?? 0; offset < end; ) {
      const request = { waitMs: 5_000, bytesMin: 1, bytesMax }
      const entry = [topicId, partition, offset, bytesMax] as const
      const { payload } = await client.request(commands.fetch, { ...request, partitions: [entry] })
      offset = this.#take(partition, offset, payload)
      this.#positions[partition] = offset
    }
  }

  /** Returns the next offset. */
  #take(partition: number, from: number, run: Uint8Array): number {
    let expected = from
    for (const batch of splitBatches(run)) {
      const cursor = new RecordCursor(batch)
      while (cursor.next()) {
        if (cursor.offset < from) continue
        if (cursor.offset !== expected)
          this.problems.push(`partition ${partition}: expected offset ${expected}, got ${cursor.offset}`)
        const value = Buffer.from(cursor.records.subarray(cursor.valueStart, cursor.valueStart + 24))
        if (!value.toString('latin1').startsWith(`${partition}/${cursor.offset}/`))
          this.problems.push(`partition ${partition}, offset ${cursor.offset} has the value "${value}"`)
        expected = cursor.offset + 1
      }
    }
    return expected
  }
}

/** The value at an offset of a partition that a StallingReader recognizes. */
export function readerValue(partition: number, offset: number, lengthBytes: number): Uint8Array {
  return Buffer.from(`${partition}/${offset}/`.padEnd(lengthBytes, '.'))
}
