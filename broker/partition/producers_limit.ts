import { isMillraceError } from '../../protocol/index.js'
import { opKinds } from '../../storage/index.js'
import type { Logger } from '../log.js'
import type { Shard } from '../shard.js'
import { encodeProducersForgotten } from './producers_view.js'

/** Limit of the producers of one operation. */
const producersPerOp = 4_000

/** Forgets producers over the limits, by an operation of the journal soon after the commit that went over them. */
export class ProducersLimit {
  readonly #shard: Pick<Shard, 'producers' | 'commit'>
  readonly #logger: Logger
  #running: Promise<void> | undefined
  #isClosed = false

  constructor(shard: Pick<Shard, 'producers' | 'commit'>, logger: Logger) {
    this.#shard = shard
    this.#logger = logger
    shard.producers.onExcess = () => this.#wake()
    this.#wake()
  }

  /** Forgets nothing more, and waits for a commit in progress. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#shard.producers.onExcess = () => {}
    await this.#running
  }

  #wake(): void {
    this.#running ??= this.#run()
  }

  /** Never rejects. After an error, the next batch over a limit tries again. */
  async #run(): Promise<void> {
    const { producers } = this.#shard
    // One operation for all batches of a commit: the store still applies them in this turn.
    await new Promise((resolve) => setImmediate(resolve))
    try {
      for (;;) {
        const found = this.#isClosed ? [] : producers.excess(producersPerOp)
        if (found.length === 0) break
        const payload = encodeProducersForgotten(found)
        await this.#shard.commit([{ kind: opKinds.producersForgotten, payload }])
      }
    } catch (error) {
      if (!isMillraceError(error, 'CLOSED'))
        this.#logger.warn(
          { err: error },
          'producers over the limits could not be forgotten; the broker tries again',
        )
    }
    // In the turn of the last look: a batch that comes next starts a new run.
    this.#running = undefined
  }
}
