import { setTimeout as pause } from 'node:timers/promises'
import type { Lane } from './lane.js'

/** Pause after a failed read or write. */
const failurePauseMs = 200

/** The functions of the group that reading ahead uses. */
export interface ReadAheadHost {
  /** Whether more messages should be ready. */
  wants(): boolean
  /** Reads some messages of a lane. */
  scan(lane: Lane): Promise<void>
  failed(error: unknown): void
}

/** Reads the lanes of a group in turn, one read at a time, until enough messages are ready. */
export class ReadAhead {
  readonly #host: ReadAheadHost
  #lanes: Lane[] = []
  #next = 0
  #isPlanned = false
  #running: Promise<void> | undefined

  constructor(host: ReadAheadHost) {
    this.#host = host
  }

  add(lane: Lane): void {
    this.#lanes.push(lane)
  }

  remove(lane: Lane): void {
    this.#lanes = this.#lanes.filter((other) => other !== lane)
  }

  /** Schedules a read, if more messages are wanted by then. */
  plan(): void {
    if (this.#isPlanned || this.#running !== undefined) return
    this.#isPlanned = true
    setImmediate(() => {
      this.#isPlanned = false
      this.#running ??= this.#run().finally(() => {
        this.#running = undefined
        // No event announced the messages that arrived during the run.
        if (this.#host.wants() && this.#lanes.some(canBeRead)) this.plan()
      })
    })
  }

  async #run(): Promise<void> {
    try {
      while (this.#host.wants()) {
        const lane = this.#take()
        if (lane === undefined) break
        await this.#host.scan(lane)
      }
    } catch (error) {
      this.#host.failed(error)
      await pause(failurePauseMs, undefined, { ref: false })
    }
  }

  #take(): Lane | undefined {
    const lanes = this.#lanes
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(this.#next + i) % lanes.length] as Lane
      if (!canBeRead(lane)) continue
      this.#next = (this.#next + i + 1) % lanes.length
      return lane
    }
    return undefined
  }
}

function canBeRead(lane: Lane): boolean {
  return lane.hasMore && lane.hasRoom
}
