import type { Sample } from './worker.js'

/** The cost of a message at a size of the log. */
export interface GrowthPoint {
  /** In 10^9 bytes of values. */
  readonly gigabytes: number
  readonly messagesPerS: number
  readonly mbPerS: number
  /** Processor time of the broker. */
  readonly brokerUsPerMessage: number
  /** Processor time of the broker and the publisher. */
  readonly usPerMessage: number
}

interface Observation {
  readonly filler: Sample
  readonly broker: Sample
}

/** 1, 2, 5, 10, 20 and so on, and the size itself. */
export function growthSizes(gigabytes: number): readonly number[] {
  const sizes = Array.from({ length: 12 }, (_, i) => [1, 2, 5][i % 3] as number).map(
    (size, i) => size * 10 ** Math.floor(i / 3),
  )
  return [...sizes.filter((size) => size < gigabytes), gigabytes]
}

/** Measures the cost of messages by the size of the log, over an interval before each of some sizes. */
export class GrowthMeter {
  readonly #sizes: number[]
  readonly #intervalGb: number
  #from: Observation | undefined

  /**
   * @param sizes in 10^9 bytes, ascending
   * @param intervalGb size of an interval; at most the first size and the smallest step
   */
  constructor(sizes: readonly number[], intervalGb: number) {
    this.#sizes = [...sizes]
    this.#intervalGb = intervalGb
  }

  /** Adds samples of the publisher and of the broker from the same moment; returns a point when one is complete. */
  observe(filler: Sample, broker: Sample): GrowthPoint | undefined {
    const [gigabytes] = this.#sizes
    if (gigabytes === undefined) return undefined
    const reached = filler.bytes / 1e9
    if (reached >= gigabytes - this.#intervalGb) this.#from ??= { filler, broker }
    if (reached < gigabytes || this.#from === undefined || this.#from.filler === filler) return undefined
    const from = this.#from
    this.#from = undefined
    this.#sizes.shift()
    return pointOf(gigabytes, from, { filler, broker })
  }
}

function pointOf(gigabytes: number, from: Observation, to: Observation): GrowthPoint {
  const messages = to.filler.messages - from.filler.messages
  const seconds = (to.filler.timeMs - from.filler.timeMs) / 1000
  const brokerUs = (to.broker.cpuMs - from.broker.cpuMs) * 1000
  const fillerUs = (to.filler.cpuMs - from.filler.cpuMs) * 1000
  return {
    gigabytes,
    messagesPerS: messages / seconds,
    mbPerS: (to.filler.bytes - from.filler.bytes) / seconds / 1e6,
    brokerUsPerMessage: brokerUs / messages,
    usPerMessage: (brokerUs + fillerUs) / messages,
  }
}
